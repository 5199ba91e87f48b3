"""The page in a real browser, from disk, with the network off."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from studies import Study

from sftlens.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def path(study_folder: Callable[[Study], Path]) -> Path:
    return write_report(study_folder(Study(model="<script>alert(1)</script>")))


def _opened(browser: Browser, path: Path, width: int, scheme: str) -> tuple[Page, list[str]]:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
        offline=True,
    )
    page = context.new_page()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
    page.on(
        "request",
        lambda request: (
            None if request.url == path.as_uri() else troubles.append(f"request: {request.url}")
        ),
    )
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)
    return page, troubles


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_draws_itself(browser: Browser, path: Path, width: int, scheme: str) -> None:
    page, troubles = _opened(browser, path, width, scheme)
    num_plots = page.locator(".plot").count()
    assert num_plots == 22
    assert page.locator(".plot:has(svg.main-svg)").count() == num_plots
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert "<script>alert(1)</script>" in page.locator("#summary").inner_text()
    ink = page.evaluate("document.querySelector('.plot').layout.font.color")
    assert ink == {"light": "#1d242c", "dark": "#e6eaef"}[scheme]
    assert troubles == []
    page.context.close()


def test_hovering_shows_the_exact_number(browser: Browser, path: Path) -> None:
    page, troubles = _opened(browser, path, 1280, "light")
    plot = page.locator('[data-figure="accuracy-in"]')
    plot.scroll_into_view_if_needed()
    plot.locator(".scatterlayer .trace").first.locator(".point").first.hover(force=True)
    label = page.locator('[data-figure="accuracy-in"] .hoverlayer .hovertext')
    label.first.wait_for(timeout=10_000)
    text = label.first.text_content() or ""
    assert "Trained on level" in text
    assert "%" in text
    assert " to " in text
    assert troubles == []
    page.context.close()


def test_choosing_a_training_level(browser: Browser, path: Path) -> None:
    page, troubles = _opened(browser, path, 1280, "light")
    assert page.locator(".panel:visible").count() == 1
    page.locator(".tabs label", has_text="level 3").click()
    assert page.locator(".panel:visible").get_attribute("data-level") == "3"
    shown = page.locator('[data-figure="restoration-3-in"]')
    box, drawn = shown.bounding_box(), shown.locator("svg.main-svg").first.bounding_box()
    assert box is not None
    assert drawn is not None
    assert abs(box["width"] - drawn["width"]) < 2
    assert troubles == []
    page.context.close()


def test_the_tables_are_there_without_javascript(browser: Browser, path: Path) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator("noscript p").count() == 1  # elements only where scripts are off
    assert page.locator(".chart:visible").count() == 0
    page.locator("#restoration details summary").first.click()
    assert page.locator('[data-table="gains"]').is_visible()
    context.close()
