"""The paper's numbers beside a study's."""

from __future__ import annotations

import polars as pl
import pytest
from small_study import small_study

from sftlens.report.paper import COMPARISON_SCHEMA, comparison


def row(table: pl.DataFrame, **where: object) -> dict[str, object]:
    for column, value in where.items():
        table = table.filter(pl.col(column).eq_missing(pl.lit(value)))
    assert len(table) == 1, table
    return table.row(0, named=True)


def test_the_papers_numbers_stand_where_nothing_was_measured() -> None:
    table = comparison({})
    assert table.schema == COMPARISON_SCHEMA
    assert table["here"].null_count() == len(table)
    assert table["paper"].null_count() == 0
    assert table["paper"].is_between(0, 1).all()
    assert set(table["source"]) == {f"Table {k}" for k in (2, 3, 4, 6, 7)}
    best = row(table, name="restoration", level=2, method="relative", share=20.0)
    assert (best["paper"], best["paper_size"]) == (pytest.approx(0.6221), 1920)


def test_the_largest_size_here_is_held_against_1920() -> None:
    table = comparison(small_study())
    found = row(table, name="accuracy_by_level", domain="in", level=0, test_level="mean")
    assert (found["size"], found["paper_size"]) == (8, 1920)
    assert (found["here"], found["paper"]) == pytest.approx((0.35, 0.4547))
    lacking = row(table, name="accuracy_by_level", domain="in", level=1, test_level="mean")
    assert (lacking["here"], lacking["size"]) == (None, None)
    of_240 = table.filter(paper_size=240)
    assert of_240["here"].null_count() == len(of_240) == 10
    held = table.filter(name="concentration", top=5.0)
    assert held["level"].to_list() == [0, 2]
    assert held["here"].to_list() == pytest.approx([0.81, 0.81])
    trained = row(table, name="training_set", share=20.0)
    assert (trained["here"], trained["paper"]) == pytest.approx((0.875, 0.8906))
    restored = row(table, name="strategies", strategy="restoration", domain="in")
    assert (restored["level"], restored["share"]) == (2, 20.0)
    assert restored["here"] == pytest.approx(0.7)


def test_1920_itself_goes_before_a_larger_size() -> None:
    study = small_study()
    sizes = pl.when(pl.col("seed") == 0).then(1920).otherwise(9000)
    study["runs"] = study["runs"].with_columns(size=sizes)
    table = comparison(study)
    found = row(table, name="accuracy_by_level", domain="in", level=0, test_level="mean")
    assert (found["size"], found["here"]) == (1920, pytest.approx(0.3))
