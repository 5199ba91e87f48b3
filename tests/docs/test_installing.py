"""The documentation's ``pip install`` lines, with a wheel of this tree in the place of PyPI's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from documented import ROOT, SHELL, blocks, inline_installs, installs, lines, pages

_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
LINES = sorted(
    {
        tuple(words)
        for page in pages()
        for block in blocks(page)
        if block.language in SHELL and block.reason is None
        for words in lines(block.text)
        if installs(words)
    }
)


def pip(*words: str, within: Path) -> None:
    """Run pip without an index and without dependencies, which this environment has already.

    Raises:
        AssertionError: with what pip told, when it failed.
    """
    command = [sys.executable, "-m", "pip", *words, "--no-index", "--no-deps"]
    command.append("--disable-pip-version-check")
    done = subprocess.run(command, cwd=within, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel is built from, without what earlier builds left."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    shutil.copytree(ROOT / "src", tree / "src", ignore=_LEFT_OUT)
    return tree


@pytest.fixture(scope="module")
def wheel(tree: Path) -> Path:
    held = {path for path in (tree / "src").rglob("*") if path.is_file()}
    pip("wheel", ".", "--no-build-isolation", "--wheel-dir", "dist", within=tree)
    built = {path for path in (tree / "src").rglob("*") if path.is_file()} - held
    assert all(path.parent.suffix == ".egg-info" for path in built)
    [wheel] = (tree / "dist").glob("*.whl")
    return wheel


def test_the_wheel_holds_every_file_of_the_package(tree: Path, wheel: Path) -> None:
    """Templates, styles and scripts of pages and the YAML files too."""
    files = (path for path in (tree / "src" / "sftlens").rglob("*") if path.is_file())
    expected = {str(path.relative_to(tree / "src")) for path in files}
    with ZipFile(wheel) as file:
        found = {name for name in file.namelist() if ".dist-info/" not in name}
    assert found == expected
    assert {Path(name).suffix for name in found} >= {".py", ".typed", ".yaml", ".j2", ".css", ".js"}


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_the_lines_install_a_command_that_starts(
    words: tuple[str, ...], wheel: Path, tmp_path: Path
) -> None:
    pip(*words[1:], "--find-links", str(wheel.parent), "--target", "here", within=tmp_path)
    folder = tmp_path / "here"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    code = "import sftlens; print(sftlens.__file__)"
    for command in ([str(folder / "bin" / "sftlens"), "--help"], [sys.executable, "-c", code]):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == folder / "sftlens" / "__init__.py"


def test_extras_that_a_sentence_names_exist() -> None:
    for page in pages():
        for words in inline_installs(page):
            assert installs(words), f"{page.relative_to(ROOT)}: {' '.join(words)}"
