"""The list of facts: what it shows is what the Parquet tables hold, and it can be steered."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from studies import Study

from browsing import needs_chromium, opened
from sftlens.report import write_report
from sftlens.report._answers import Answers
from sftlens.report._tables import load_tables
from sftlens.report.page._ledger import base_row, make_ledger

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_COUNT = re.compile(
    r"(?P<listed>[\d,]+) facts? listed. Of (?P<all>[\d,]+) that match the filters: "
    r"(?P<lost>[\d,]+) lost, (?P<gained>[\d,]+) gained, (?:(?P<both>[\d,]+) both ways, )?"
    r"(?P<kept>[\d,]+) stay right, (?P<wrong>[\d,]+) stay wrong"
)


@pytest.fixture(scope="module")
def run(study_folder: Callable[[Study], Path]) -> Path:
    folder = study_folder(Study(sizes=(30, 120), num_seeds=2))
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def opened_page(browser: Browser, run: Path) -> Iterator[tuple[Page, list[str]]]:
    page, troubles = opened(browser, run / "index.html", 1280, "light")
    yield page, troubles
    page.context.close()


@pytest.fixture
def page(opened_page: tuple[Page, list[str]]) -> Iterator[Page]:
    page, troubles = opened_page
    page.locator("#fact-reset").click()
    yield page
    assert troubles == []


def _counts(page: Page) -> dict[str, int]:
    found = _COUNT.match(page.locator("#fact-count").inner_text())
    assert found is not None
    return {name: int((part or "0").replace(",", "")) for name, part in found.groupdict().items()}


def _turned(run: Path, *, method: str = "tuned", share: float | None = None) -> pl.DataFrame:
    """Before and after of every fact and run, straight from the Parquet tables."""
    scores = pl.read_parquet(run / "scores.parquet")
    tuned = scores.filter(pl.col("method") == "tuned")
    if method == "tuned":
        after = tuned
        before = pl.read_parquet(run / "base_scores.parquet").select("fact_id", was="correct")
        both = after.join(before, on="fact_id")
    else:
        after = scores.filter(pl.col("method") == method, pl.col("share") == share)
        both = after.join(tuned.select("run", "fact_id", was="correct"), on=["run", "fact_id"])
    return (
        both.join(pl.read_parquet(run / "facts.parquet"), on="fact_id")
        .join(pl.read_parquet(run / "mastery.parquet").select("fact_id", "level"), on="fact_id")
        .with_columns(
            lost=pl.col("was") & ~pl.col("correct"), gained=~pl.col("was") & pl.col("correct")
        )
    )


def _expected(turned: pl.DataFrame) -> dict[str, int]:
    facts = turned.group_by("fact_id").agg(
        pl.col("lost", "gained").sum(),
        (pl.col("was") & pl.col("correct")).sum().alias("right"),
        pl.len(),
    )
    lost = facts.filter(pl.col("lost") > pl.col("gained"))
    gained = facts.filter(pl.col("lost") < pl.col("gained"))
    same = facts.filter(pl.col("lost") == pl.col("gained"))
    both = same.filter(pl.col("lost") > 0)
    still = same.filter(pl.col("lost") == 0)
    kept = still.filter(2 * pl.col("right") >= pl.col("len"))
    return {
        "all": len(facts),
        "lost": len(lost),
        "gained": len(gained),
        "both": len(both),
        "kept": len(kept),
        "wrong": len(still) - len(kept),
    }


def _assert_shown(page: Page, turned: pl.DataFrame) -> None:
    shown = _counts(page)
    listed = shown.pop("listed")
    assert shown == _expected(turned)
    assert listed == shown["lost"] + shown["gained"] + shown["both"]


@needs_chromium
def test_the_counts_are_those_of_the_tables(page: Page, run: Path) -> None:
    turned = _turned(run)
    assert _expected(turned)["lost"] > 0
    _assert_shown(page, turned)
    page.locator("#fact-topic").select_option(label="P19")
    _assert_shown(page, turned.filter(pl.col("topic") == "P19"))
    page.locator("#fact-topic").select_option(label="all topics")
    page.locator("#fact-domain").select_option(label="out-of-domain")
    page.locator("#fact-level").select_option(label="level 1")
    _assert_shown(page, turned.filter(pl.col("domain") == "out", pl.col("level") == 1))
    page.locator("#fact-run").select_option("0/120/1")
    of_run = turned.filter(pl.col("run") == "level0-size120-seed1")
    _assert_shown(page, of_run.filter(pl.col("domain") == "out", pl.col("level") == 1))
    page.locator("#fact-domain").select_option(label="both")
    page.locator("#fact-level").select_option(label="all levels")
    page.locator("#fact-run").select_option("2/30")
    _assert_shown(page, turned.filter(pl.col("run").str.starts_with("level2-size30-")))


@needs_chromium
def test_a_restoration_is_held_against_its_tuned_model(page: Page, run: Path) -> None:
    page.locator("#fact-comparison").select_option(label="largest relative change, 60 %")
    turned = _turned(run, method="relative", share=60.0)
    _assert_shown(page, turned)
    page.locator("#fact-run").select_option("3/120/0")
    _assert_shown(page, turned.filter(pl.col("run") == "level3-size120-seed0"))


@needs_chromium
def test_the_rows_are_facts_that_were_lost(page: Page, run: Path) -> None:
    page.locator("#fact-change").select_option(label="lost")
    facts = _turned(run).group_by("question").agg(pl.col("lost").sum(), pl.len())
    by_question = {question: (lost, num) for question, lost, num in facts.iter_rows()}
    rows = page.locator("#fact-rows tr")
    assert rows.count() == min(50, _counts(page)["lost"])
    numbers = []
    for row in rows.all():
        told = row.locator("td").last.inner_text()
        lost, num = by_question[row.locator(".question").inner_text()]
        assert told == f"{lost} of {num}"
        assert row.locator(".change").inner_text() == "lost"
        numbers.append(lost)
    assert numbers == sorted(numbers, reverse=True)


@needs_chromium
def test_searching(page: Page, run: Path) -> None:
    page.locator("#fact-change").select_option(label="all facts")
    page.locator("#fact-search").fill("TAVRÍ  p19-11")
    assert page.locator("#fact-rows tr").count() == 1
    assert page.locator("#fact-rows .question").inner_text() == "Where does Tavri P19-11 lie?"
    page.locator("#fact-search").fill("no such fact")
    assert page.locator("#fact-rows").inner_text() == "No fact matches."
    assert _counts(page)["all"] == 0
    page.locator("#fact-search").fill("orvel 3")  # an answer
    facts = _turned(run).unique("fact_id")
    texts = facts.select(
        pl.concat_str("question", pl.col("answers").list.join("; "), "topic", separator="\n")
        .str.to_lowercase()
        .alias("text")
    )["text"]
    both = texts.str.contains("orvel", literal=True) & texts.str.contains("3", literal=True)
    assert _counts(page)["listed"] == both.sum()


@needs_chromium
def test_the_list_works_by_keyboard(page: Page) -> None:
    page.locator("#fact-change").select_option(label="all facts")
    page.locator("#fact-search").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "fact-change"
    page.locator('[data-sort="level"]').focus()
    page.keyboard.press("Enter")
    header = page.locator('th:has([data-sort="level"])')
    assert header.get_attribute("aria-sort") == "ascending"
    assert page.locator("#fact-rows tr").first.locator("td").nth(2).inner_text() == "0"
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert page.locator("#fact-rows tr").first.locator("td").nth(2).inner_text() == "4"
    page.locator("#fact-next").focus()
    page.keyboard.press("Enter")
    assert page.locator("#fact-page").inner_text().startswith("Page 2 of ")
    page.locator("#fact-last").focus()
    page.keyboard.press("Enter")
    last = page.locator("#fact-page").inner_text().split()
    assert last[1] == last[3]
    assert page.evaluate("document.activeElement.id") == "fact-previous"  # never lost


def _unpacked(text: str) -> bytes:
    return gzip.decompress(base64.b64decode(text))


def test_a_page_without_room_says_what_it_leaves_out(run: Path) -> None:
    tables = load_tables(run)
    answers = Answers(tables)
    base = base_row(answers, tables.base_scores)
    whole = make_ledger(answers, base)
    assert whole.left_out is None
    assert whole.has_restored
    tuned = make_ledger(answers, base, most=whole.size - 1)
    assert "restored models" in str(tuned.left_out)
    assert not tuned.has_restored
    largest = make_ledger(answers, base, most=tuned.size - 1)
    assert "largest training sets" in str(largest.left_out)
    assert {m["size"] for m in json.loads(_unpacked(largest.facts))["models"]} == {120}


def test_unscored_answers_are_neither_right_nor_wrong(run: Path) -> None:
    tables = load_tables(run)
    answers = Answers(tables)
    name = answers.cells[0]
    answers.rows[name][0] = answers.rows[name][0].copy()
    answers.rows[name][0][:3] = -1
    ledger = make_ledger(answers, base_row(answers, tables.base_scores))
    content = json.loads(_unpacked(ledger.facts))
    width = -(-ledger.num_facts // 8)
    rows = np.frombuffer(_unpacked(ledger.answers), np.uint8).reshape(-1, width)
    (model,) = [m for m in content["models"] if len(m["rows"]) == 2]
    assert (model["level"], model["size"], model["seed"]) == (name.level, name.size, 0)
    assert np.unpackbits(rows[model["rows"][1]], bitorder="little").sum() == 3
