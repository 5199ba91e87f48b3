"""The page in a real browser, from disk, with the network off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from studies import Study

from browsing import needs_chromium, opened
from sftlens.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def path(study_folder: Callable[[Study], Path]) -> Path:
    return write_report(study_folder(Study(model="<script>alert(1)</script>")))


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_draws_itself(browser: Browser, path: Path, width: int, scheme: str) -> None:
    page, troubles = opened(browser, path, width, scheme)
    num_plots = page.locator(".plot").count()
    assert num_plots == 22
    assert page.locator(".plot:has(svg.main-svg)").count() == num_plots
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert "<script>alert(1)</script>" in page.locator("#model").inner_text()
    ink = page.evaluate("document.querySelector('.plot').layout.font.color")
    assert ink == {"light": "#1d242c", "dark": "#e6eaef"}[scheme]
    assert troubles == []
    page.context.close()


def test_hovering_shows_the_exact_number(browser: Browser, path: Path) -> None:
    page, troubles = opened(browser, path, 1280, "light")
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
    page, troubles = opened(browser, path, 1280, "light")
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
    assert page.locator("noscript p").count() == 3  # elements only where scripts are off
    assert page.locator(".chart:visible").count() == 0
    page.locator("#restoration details summary").first.click()
    assert page.locator('[data-table="gains"]').is_visible()
    context.close()


def test_the_theme_is_chosen_and_kept(browser: Browser, path: Path) -> None:
    page, troubles = opened(browser, path, 1280, "light")

    def shown() -> tuple[str, str]:
        page.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return back, page.evaluate("document.querySelector('.plot').layout.font.color")

    light = ("rgb(246, 247, 248)", "#1d242c")
    dark = ("rgb(16, 20, 24)", "#e6eaef")
    assert shown() == light
    page.locator("#theme").focus()
    page.keyboard.press("Enter")
    assert page.locator("#theme").inner_text() == "Theme: dark"
    assert shown() == dark
    page.reload()
    assert shown() == dark
    page.locator("#theme").click()
    assert page.locator("#theme").inner_text() == "Theme: light"
    assert shown() == light
    assert troubles == []
    page.context.close()


def test_printing_is_light_and_whole(browser: Browser, path: Path) -> None:
    page, troubles = opened(browser, path, 1280, "dark")
    num_open = page.locator("details[open]").count()
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.evaluate("document.querySelector('.plot').layout.font.color") == "#1d242c"
    assert page.locator(".panel:visible").count() == page.locator(".panel").count()
    assert page.locator("details:not([open])").count() == 0
    assert page.locator(".filters:visible, .pager:visible, input[type=range]:visible").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == num_open
    assert troubles == []
    page.context.close()
