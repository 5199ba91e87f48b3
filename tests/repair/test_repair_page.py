"""The page of a repair in a browser: for every reader, in the light, in the dark and in print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from axe import found_by_axe, needs_axe
from browsing import needs_chromium, opened
from sftlens.repair import RepairResult
from sftlens.repair._page import _FRONT, _MARKS
from sftlens.style import PALETTE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = needs_chromium


def colours(page: Page) -> tuple[str, str, str]:
    """Of the ground, of the text, and of the text in the chart."""
    ground, text, chart = page.evaluate(
        """[getComputedStyle(document.documentElement).backgroundColor,
            getComputedStyle(document.body).color,
            getComputedStyle(document.querySelector("#front .xtick text")).fill]"""
    )
    return ground, text, chart


@needs_axe
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing(
    browser: Browser, repaired: RepairResult, scheme: str, width: int
) -> None:
    page, troubles = opened(browser, Path(repaired.out) / "index.html", width, scheme)
    assert page.locator("#front .main-svg").count()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert found_by_axe(page) == []
    assert troubles == []
    page.context.close()


def test_the_chart_follows_the_page_and_print_is_light(
    browser: Browser, repaired: RepairResult
) -> None:
    page, _ = opened(browser, Path(repaired.out) / "index.html", 1280, "light")
    light = colours(page)
    page.emulate_media(color_scheme="dark")
    page.locator("html[data-drawn=dark]").wait_for()
    dark = colours(page)
    assert all(one != other for one, other in zip(light, dark, strict=True))
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert colours(page) == light
    page.emulate_media(media="screen", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert colours(page) == dark
    page.context.close()


def test_every_colour_of_the_chart_has_one_for_a_dark_page() -> None:
    assert {_FRONT, *(colour for colour, _, _ in _MARKS.values())} <= PALETTE.keys()
