"""What axe-core finds to mend in a page that is open in a browser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

_ROOT = Path(__file__).parents[1]
AXE = Path(os.environ.get("SFTLENS_AXE", _ROOT / "node_modules" / "axe-core" / "axe.min.js"))

needs_axe = pytest.mark.skipif(
    not AXE.is_file(),
    reason="axe-core is not installed: npm install --no-save axe-core, or set SFTLENS_AXE to "
    "an axe.min.js",
)


def found_by_axe(page: Page) -> list[str]:
    """Its violations, with every closed part of the page opened.

    Raises:
        AssertionError: when it looked at nothing.
    """
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document)")
    assert found["passes"]
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]
