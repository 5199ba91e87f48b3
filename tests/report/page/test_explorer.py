"""The restoration explorer: its slider, and its numbers against the Parquet tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from studies import SHARES, Study

from browsing import needs_chromium, opened
from sftlens.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def run(study_folder: Callable[[Study], Path]) -> Path:
    folder = study_folder(Study(sizes=(120,), num_seeds=2))
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def opened_page(browser: Browser, run: Path) -> Iterator[tuple[Page, list[str]]]:
    page, troubles = opened(browser, run / "index.html", 390, "dark")
    yield page, troubles
    page.context.close()


@pytest.fixture
def page(opened_page: tuple[Page, list[str]]) -> Iterator[Page]:
    page, troubles = opened_page
    yield page
    assert troubles == []


@pytest.fixture(scope="module")
def scored(run: Path) -> pl.DataFrame:
    facts = pl.read_parquet(run / "facts.parquet").select("fact_id", "domain", "split")
    level = pl.read_parquet(run / "mastery.parquet").select("fact_id", test_level="level")
    base = pl.read_parquet(run / "base_scores.parquet").select("fact_id", base="correct")
    runs = pl.read_parquet(run / "runs.parquet")
    scores = pl.read_parquet(run / "scores.parquet")
    for other, key in ((facts, "fact_id"), (level, "fact_id"), (base, "fact_id"), (runs, "run")):
        scores = scores.join(other, on=key)
    return scores.filter(pl.col("split") == "test")


def _choose(page: Page, level: int, run: str, method: str, share: float | None) -> None:
    page.locator("#restorer-group").select_option(label=f"level {level}, 120 facts")
    page.locator("#restorer-run").select_option(label=run)
    page.locator("#restorer-method").select_option(label=method)
    place = 0 if share is None else 1 + SHARES.index(share)
    page.locator("#restorer-share").fill(str(place))


def _cells(page: Page, domain: int) -> list[list[str]]:
    rows = page.locator("#restorer-tables table").nth(domain).locator("tbody tr").all()
    return [
        [" ".join(cell.inner_text().split()) for cell in row.locator("td").all()] for row in rows
    ]


def _number(text: str) -> float:
    return float(text.split()[0].replace("\N{MINUS SIGN}", "-").replace(",", ""))


@pytest.mark.parametrize(
    ("method", "name"), [("relative", "largest relative change"), ("random", "random choice")]
)
@pytest.mark.parametrize("seed", [None, 1])
def test_the_numbers_are_those_of_the_tables(
    page: Page, scored: pl.DataFrame, run: Path, method: str, name: str, seed: int | None
) -> None:
    _choose(page, 3, "all 2 seeds" if seed is None else f"seed {seed}", name, 40.0)
    of_runs = scored.filter(
        pl.col("level") == 3, pl.lit(value=True) if seed is None else pl.col("seed") == seed
    )
    tuned = of_runs.filter(pl.col("method") == "tuned")
    restored = of_runs.filter(pl.col("method") == method, pl.col("share") == 40.0)
    for place, domain in enumerate(("in", "out")):
        rows = _cells(page, place)
        assert len(rows) == 6
        for frame, column in ((tuned, 0), (restored, 1)):
            here = frame.filter(pl.col("domain") == domain)
            means = []
            for level in range(5):
                part = here.filter(pl.col("test_level") == level)["correct"]
                means.append(100 * float(np.mean(part.to_numpy())))
                assert _number(rows[level][column]) == pytest.approx(means[-1], abs=0.051)
            assert _number(rows[5][column]) == pytest.approx(np.mean(means), abs=0.051)
            assert " to " in rows[5][column]
    both = restored.join(tuned.select("run", "fact_id", was="correct"), on=["run", "fact_id"])
    gained = both.filter(~pl.col("was"), pl.col("correct"))
    expected = {
        "Come back": gained["base"].sum(),
        "Newly right": (~gained["base"]).sum(),
        "Newly lost": len(both.filter(pl.col("was"), ~pl.col("correct"))),
    }
    tiles = page.locator("#restorer-tiles > div")
    told = {tile.locator("dt").inner_text(): tile.locator("dd").first for tile in tiles.all()}
    for label, value in expected.items():
        assert told[label].inner_text() == f"{value:,}"
    norms = pl.read_parquet(run / "restorations.parquet").filter(
        pl.col("method") == method, pl.col("share") == 40.0, pl.col("run").str.contains("level3")
    )
    removed = 100 * norms["norm_removed"].mean()
    assert _number(told["Squared norm removed"].inner_text()) == pytest.approx(removed, abs=0.051)


def test_the_intervals_are_those_of_the_tables_on_the_page(page: Page) -> None:
    """Over all seeds the explorer shows the very text of the table by share."""
    _choose(page, 2, "all 2 seeds", "plain interpolation", 20.0)
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    rows = page.locator('[data-table="restoration-2"] tbody tr').all()
    texts = [row.inner_text().replace("\N{NO-BREAK SPACE}", " ").split("\t") for row in rows]
    (row,) = [text for text in texts if text[:2] == ["plain interpolation", "20 %"]]
    assert row[2:] == [_cells(page, place)[5][1] for place in (0, 1)]


def test_the_slider_moves_by_keyboard(page: Page) -> None:
    _choose(page, 1, "all 2 seeds", "largest relative change", None)
    slider = page.locator("#restorer-share")
    assert slider.get_attribute("aria-valuetext") == "none, the tuned model"
    assert {row[1] for row in _cells(page, 0)} == {"the same model"}
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#restorer-told").inner_text() == "1\N{NO-BREAK SPACE}%"
    page.keyboard.press("End")
    assert slider.get_attribute("aria-valuetext") == "60\N{NO-BREAK SPACE}%"
    before = page.locator("#restorer-summary").inner_text()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#restorer-summary").inner_text() != before
    page.locator("#restorer-method").select_option(label="random choice")
    assert page.locator("#restorer-told").inner_text() == "40\N{NO-BREAK SPACE}%"  # kept


def test_the_facts_of_a_restoration_are_listed(page: Page) -> None:
    _choose(page, 4, "seed 1", "random choice", 60.0)
    page.locator("#restorer-facts").click()
    chosen = page.locator("#fact-comparison").evaluate("(e) => e.selectedOptions[0].textContent")
    assert chosen == "random choice, 60 %"
    assert page.locator("#fact-run").input_value() == "4/120/1"
    lost = page.locator("#restorer-tiles > div", has_text="Newly lost").locator("dd").first
    page.locator("#fact-change").select_option(label="lost")
    assert int(lost.inner_text()) > 0
    assert page.locator("#fact-count").inner_text().startswith(f"{lost.inner_text()} fact")
