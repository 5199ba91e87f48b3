"""The paper's tables on the page are those of the files beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from pages import Page
from studies import Study

from sftlens.report import write_report
from sftlens.report.page._paper_tables import SHOWN
from sftlens.report.paper import write_paper_tables

DOMAINS = {"in": "In-domain", "out": "Out-of-domain"}


@pytest.fixture(scope="module")
def run(study_folder: Callable[[Study], Path]) -> Path:
    folder = study_folder(Study())
    write_paper_tables(folder)
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return Page(write_report(run))


def shown(row: dict[str, float]) -> str:
    value, low, high = (f"{100 * row[name]:.1f}" for name in ("value", "low", "high"))
    return f"{value} {low} to {high}"


def grouped(rows: list[list[str]]) -> dict[tuple[str, str], list[str]]:
    """Cells by the name over them and the row's own."""
    group, found = "", {}
    for row in rows:
        if len(row) == 1:
            (group,) = row
        else:
            found[group, row[0]] = row[1:]
    return found


def test_every_table_is_shown_or_told_to_be_missing(run: Path, page: Page) -> None:
    names = {spec.name for spec in SHOWN}
    measured = {path.stem for path in (run / "paper").glob("*.parquet")} & names
    assert {f"paper-{name}" for name in measured} == {
        name for name in page.tables if name.startswith("paper-")
    }
    missing = [spec for spec in SHOWN if spec.name not in measured]
    assert missing
    for spec in missing:
        title = spec.title[0].lower() + spec.title[1:]
        assert title in page.texts["missing-tables"]


def test_accuracy_by_size(run: Path, page: Page) -> None:
    table = pl.read_parquet(run / "paper" / "accuracy_by_size.parquet")
    head, *rows = page.tables["paper-accuracy_by_size"]
    found = grouped(rows)
    sizes = sorted(set(table["size"]))
    assert head == ["Level", *(f"{size:,}" for size in sizes)]
    for row in table.iter_rows(named=True):
        cells = found[DOMAINS[row["domain"]], str(row["level"])]
        assert cells[sizes.index(row["size"])] == shown(row)
    assert sum(map(len, found.values())) == len(table)


def test_restorations_with_the_tuned_model_and_what_is_sure(run: Path, page: Page) -> None:
    table = pl.read_parquet(run / "paper" / "restoration.parquet")
    head, *rows = page.tables["paper-restoration"]
    found = grouped(rows)
    shares = sorted(table["share"].drop_nulls().unique())
    assert head == ["Method", *(f"{share:g}" for share in shares)]
    for row in table.iter_rows(named=True):
        group = f"{DOMAINS[row['domain']]}, level {row['level']}, size {row['size']}"
        cells = found[group, row["method"]]
        if row["share"] is None:
            assert cells == [shown(row)]
        else:
            assert cells[shares.index(row["share"])] == shown(row)
    classes = [given.get("class", "") for tag, given in page.tags if tag == "td"]
    assert sum("above" in name for name in classes) == count(run, pl.col("difference_low") > 0)
    assert sum("below" in name for name in classes) == count(run, pl.col("difference_high") < 0)


def count(run: Path, sure: pl.Expr) -> int:
    """Rows of the tables that mark what is sure."""
    names = ("restoration", "training_set")
    paths = [run / "paper" / f"{name}.parquet" for name in names]
    return sum(len(pl.read_parquet(path).filter(sure)) for path in paths if path.is_file())


def test_the_cautions_count_the_comparisons(run: Path, page: Page) -> None:
    table = pl.read_parquet(run / "paper" / "restoration.parquet")
    compared = len(table.filter(pl.col("method") != "tuned"))
    num_facts = len(pl.read_parquet(run / "mastery.parquet"))
    text = page.texts["be-careful"]
    assert f"{compared:,} differences between restored and tuned models" in text
    assert f"about {compared / 20:,.0f} would look sure by chance" in text
    assert f"The levels of these {num_facts:,} facts" in text
