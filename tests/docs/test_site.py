"""The built site: without a warning, and without a network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return out


def test_every_page_has_its_place(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    for name in ("start", "how-to/repair", "concepts/controls", "commands/probe", "python/facts"):
        assert (site / f"{name}.html").is_file()
    assert "changelog.html" in home
    assert not (site / "_site").exists()
    for path in (ROOT / "examples").glob("*.py"):
        page = site / "how-to" / "examples" / f"{path.stem}.html"
        assert "import" in page.read_text(encoding="utf-8")


def test_no_link_leaves_the_site_for_the_repository(site: Path) -> None:
    for path in site.rglob("*.html"):
        for target in re.findall(r'href="(?!https?:)([^"#?]+)', path.read_text(encoding="utf-8")):
            if path.name != "404.html":
                assert (path.parent / target).exists(), (path.relative_to(site), target)


def test_formulas_are_mathml(site: Path) -> None:
    page = (site / "concepts" / "parameter-level.html").read_text(encoding="utf-8")
    assert page.count("<math") > 10
    for path in site.rglob("*.html"):
        assert 'class="arithmatex"' not in path.read_text(encoding="utf-8"), path


def test_commands_and_python_come_from_the_code(site: Path) -> None:
    from sftlens import weights
    from sftlens.cli import COMMANDS

    for name in COMMANDS:
        assert (site / "commands" / f"{name}.html").is_file()
    rooms = {path.parent.name for path in (ROOT / "src" / "sftlens").glob("*/__init__.py")}
    assert {path.stem for path in (site / "python").glob("*.html")} == rooms - {"cli"} | {"index"}
    overview = (site / "python" / "index.html").read_text(encoding="utf-8")
    assert all(f">sftlens.{room}<" in overview for room in rooms - {"cli"})
    page = (site / "python" / "weights.html").read_text(encoding="utf-8")
    told = set(re.findall(r'id="sftlens\.weights\.(\w+)"', page))
    assert set(weights.__all__) <= told
    for path in (site / "python").glob("*.html"):
        assert not re.search(r":(func|class|meth|data):", path.read_text(encoding="utf-8")), path


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_it_works_from_a_disk(site: Path) -> None:
    """In a thread of its own: a browser of other tests may be open in this one."""
    with ThreadPoolExecutor(1) as apart:
        assert apart.submit(troubles_of, site).result() == []


def troubles_of(site: Path) -> list[str]:
    """Requests that leave the site and errors, while some pages are read and searched."""
    from playwright.sync_api import sync_playwright

    troubles: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(offline=True, viewport={"width": 390, "height": 844}).new_page()

        def watch(request: Any) -> None:
            if not request.url.startswith(("file:", "data:", "blob:")):
                troubles.append(request.url)

        page.on("request", watch)
        page.on("console", lambda told: troubles.append(told.text) if told.type == "error" else 0)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        for name in ("index", "concepts/parameter-level", "python/weights", "results/repair"):
            page.goto((site / f"{name}.html").as_uri())
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 390, (name, wide)
        page.locator("label[for=__search]").first.click()
        page.locator("input[name=query]").press_sequentially("concentration")
        page.wait_for_selector(".md-search-result__item a", timeout=60_000)
        browser.close()
    return troubles
