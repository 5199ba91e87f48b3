"""A page opened from disk in Chromium, with the network off and all trouble written down."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
)
PATIENCE = 120_000  # milliseconds, for a busy machine

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


def opened(
    browser: Browser, path: Path, width: int, scheme: str, *, has_charts: bool = True
) -> tuple[Page, list[str]]:
    """The page, drawn, and a list that takes console messages, dialogs, errors and requests.

    Args:
        browser: the fixture of this name.
        path: of the page.
        width: of the window, in CSS pixels.
        scheme: ``light`` or ``dark``.
        has_charts: whether code draws in it, which tells when it is done.
    """
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
        offline=True,
    )
    context.set_default_timeout(PATIENCE)
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
    if has_charts:
        page.wait_for_selector("html[data-drawn]", state="attached", timeout=PATIENCE)
    return page, troubles
