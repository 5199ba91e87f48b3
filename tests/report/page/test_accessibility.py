"""axe-core finds nothing to mend in the page, in the light and in the dark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from studies import Study

from axe import found_by_axe, needs_axe
from browsing import needs_chromium, opened
from sftlens.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [needs_chromium, needs_axe]


@pytest.fixture(scope="module")
def path(study_folder: Callable[[Study], Path]) -> Path:
    return write_report(study_folder(Study(sizes=(30, 120), num_seeds=2)))


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing(browser: Browser, path: Path, scheme: str, width: int) -> None:
    page, troubles = opened(browser, path, width, scheme)
    assert found_by_axe(page) == []
    assert troubles == []
    page.context.close()
