"""Parquet tables of which only a part is needed."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from sftlens.report._tables import load_tables
from sftlens.report.inference import read_study
from sftlens.tables import read_table


def test_no_other_columns_are_read(tmp_path: Path) -> None:
    table = pl.DataFrame({"a": [1, 2], "b": [["x"], []], "c": ["long", "texts"]})
    table.write_parquet(tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet", remedy="write it again", only=["b", "a", "absent"])
    assert sorted(found.columns) == ["a", "b"]
    assert found.select("a", "b").equals(table.select("a", "b"))


def test_answers_are_not_read_for_claims_and_report(
    demo_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[set[str]] = []
    read = pq.ParquetFile.read

    def told(file: pq.ParquetFile, columns: list[str] | None = None) -> object:
        found = read(file, columns=columns)
        asked.append(set(found.column_names))
        return found

    monkeypatch.setattr(pq.ParquetFile, "read", told)
    study = read_study(demo_run)
    tables = load_tables(demo_run)
    assert asked
    assert not any("answer" in columns for columns in asked)
    assert len(study["scores"]) == len(tables.scores) > 0
