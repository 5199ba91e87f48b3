"""axe-core finds nothing to mend in the page, in the light and in the dark."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsing import needs_chromium, opened
from studies import Study

from sftlens.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_ROOT = Path(__file__).parents[3]
AXE = Path(os.environ.get("SFTLENS_AXE", _ROOT / "node_modules" / "axe-core" / "axe.min.js"))

pytestmark = [
    needs_chromium,
    pytest.mark.skipif(
        not AXE.is_file(),
        reason="axe-core is not installed: npm install --no-save axe-core, or set SFTLENS_AXE to "
        "an axe.min.js",
    ),
]


@pytest.fixture(scope="module")
def path(study_folder: Callable[[Study], Path]) -> Path:
    return write_report(study_folder(Study(sizes=(30, 120), num_seeds=2)))


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing(browser: Browser, path: Path, scheme: str, width: int) -> None:
    page, troubles = opened(browser, path, width, scheme)
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document)")
    told = [
        f"{one['id']} ({one['impact']}): {one['help']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]
    assert found["passes"]
    assert told == []
    assert troubles == []
    page.context.close()
