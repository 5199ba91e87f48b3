"""Whatever a fact, a topic, a run or a model is called, the page shows it as text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from studies import Study

from browsing import needs_chromium, opened
from sftlens.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = needs_chromium

SCRIPT = "<script>alert('script')</script>"
IMAGE = '"><img src=x onerror=alert(1)>'
LONG = "long " + "Q" * 9_995
ARABIC = "أين تقع مدينة <b>القاهرة</b>؟"
NAMES = (SCRIPT, IMAGE, LONG, ARABIC)


@pytest.fixture(scope="module")
def path(study_folder: Callable[[Study], Path]) -> Path:
    run = study_folder(Study(sizes=(30, 120), num_seeds=1, model=IMAGE + LONG))
    topics = dict(zip(("P17", "P19", "P26", "P40"), NAMES, strict=True))
    for name in ("facts", "mastery", "divergence"):
        frame = pl.read_parquet(run / f"{name}.parquet")
        renamed = frame.with_columns(pl.col("topic").replace(topics))
        if name == "facts":
            tests = frame.filter(pl.col("split") == "test", pl.col("topic") == "P17")["fact_id"]
            questions = dict(zip(tests[:4], NAMES, strict=True))
            asked = pl.col("fact_id").replace_strict(questions, default=pl.col("question"))
            accepted = pl.concat_list(pl.col("fact_id").replace_strict(questions, default="Orvel"))
            renamed = renamed.with_columns(question=asked, answers=accepted)
        renamed.write_parquet(run / f"{name}.parquet")
    for name in ("runs", "scores", "divergence", "concentration", "restorations", "tensors"):
        frame = pl.read_parquet(run / f"{name}.parquet")
        odd = {"level0-size30-seed0": SCRIPT, "level1-size30-seed0": LONG}
        frame.with_columns(pl.col("run").replace(odd)).write_parquet(run / f"{name}.parquet")
    return write_report(run)


def _found(page: Page, words: str) -> list[str]:
    """The questions that a search finds; whole topics are named so too."""
    page.locator("#fact-search").fill(words)
    return page.locator("#fact-rows .question").all_inner_texts()


@pytest.mark.parametrize("width", [390, 1280])
def test_names_are_shown_as_text(browser: Browser, path: Path, width: int) -> None:
    page, troubles = opened(browser, path, width, "light")
    page.locator("#fact-change").select_option(label="all facts")
    assert SCRIPT in _found(page, "alert('script')")
    assert IMAGE in _found(page, "onerror=alert")
    assert ARABIC in _found(page, "القاهرة")
    question = page.locator("#fact-rows .question", has_text=ARABIC)
    assert question.evaluate("(e) => getComputedStyle(e).direction") == "rtl"
    (cut,) = [text for text in _found(page, "long q") if text.startswith("long QQQ")]
    assert len(cut) < 300
    row = page.locator("#fact-rows tr", has=page.locator(".question", has_text="long QQQ"))
    row.locator("button", has_text="Show all").first.click()
    assert row.locator(".question").inner_text() == LONG
    assert page.evaluate("document.documentElement.scrollWidth") == width
    topics = page.locator("#fact-topic option").all_text_contents()
    assert {SCRIPT, IMAGE, ARABIC} <= set(topics)
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert page.locator("img").count() == 0
    assert page.locator("b", has_text="القاهرة").count() == 0
    assert page.locator("#model").inner_text().startswith(f"Base model: {IMAGE}")
    assert page.title().startswith(f"What fine-tuning did to {IMAGE}")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    labels = page.locator('[data-figure="topics"] .ytick').all_text_contents()
    assert f"{SCRIPT} in" in labels
    assert troubles == []
    page.context.close()
