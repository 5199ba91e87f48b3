"""Parquet tables: read by name, in part, and checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

import sftlens
from sftlens.errors import UserError
from sftlens.report._tables import load_tables
from sftlens.report.inference import read_study
from sftlens.tables import Column, columns_of, read_table, scan_tables

HOSTILE = ["exp[1]", "a*b", "what?", "{a,b}", "50%20", "#1", "~", "-out", "a b", "two\nlines"]
COLUMNS = columns_of(
    {"fact_id": pl.String(), "level": pl.Int32(), "kl": pl.Float64(), "domain": pl.String()},
    nullable=["kl"],
    between={"level": (0, 4)},
    among={"domain": ("in", "out")},
)
GOOD = {"fact_id": ["a", "b"], "level": [0, 4], "kl": [0.5, None], "domain": ["in", "out"]}


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


@pytest.mark.parametrize("name", HOSTILE)
def test_a_path_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A neighbour that a pattern would match is left alone, also by a relative path."""
    monkeypatch.chdir(tmp_path)
    for folder, value in ((Path(name), 1), (Path("aXb"), 2), (Path("exp1"), 2)):
        folder.mkdir()
        pl.DataFrame({"x": [value]}).write_parquet(folder.absolute() / "t.parquet")
    path = Path(name) / "t.parquet"
    assert read_table(path, remedy="write it again")["x"].to_list() == [1]
    assert scan_tables([path, path]).collect()["x"].to_list() == [1, 1]


def test_no_other_module_reads_parquet() -> None:
    """Elsewhere a path could become a pattern, or a damaged file end the process."""
    reads = re.compile(r"\b(?:read|scan)_parquet\b|\bParquetFile\(|\bpq\.read|\bpa_dataset\b")
    found = {
        path.name
        for path in Path(sftlens.__file__).parent.rglob("*.py")
        if reads.search(path.read_text(encoding="utf-8"))
    }
    # _reading.py streams tables of many millions of rows; a file's name is a name for Arrow too.
    assert found == {"tables.py", "_reading.py"}


def test_columns_come_in_their_types(tmp_path: Path) -> None:
    """pandas stores integers with gaps as floats, and texts that repeat as categories."""
    table = pl.DataFrame(GOOD).with_columns(
        pl.col("level").cast(pl.Float64),
        pl.col("kl").fill_null(float("nan")),
        pl.col("domain").cast(pl.Categorical),
        other=pl.lit(True),
    )
    table.write_parquet(tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet", remedy="write it again", columns=COLUMNS)
    assert found.drop("other").equals(pl.DataFrame(GOOD, schema_overrides={"level": pl.Int32}))
    assert found["other"].to_list() == [True, True]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("level", [0, 7], "row 2: level 7 is above 4"),
        ("level", [-1, 0], "row 1: level -1 is below 0"),
        ("level", [0, None], "row 2: level None is no value"),
        ("level", ["0", "1"], "column level holds String, not Int32"),
        ("level", [0.5, 1.0], "column level holds Float64, not Int32"),
        ("level", [2**40, 1], "column level holds Int64, not Int32"),
        ("level", [True, False], "column level holds Boolean, not Int32"),
        ("kl", [float("inf"), 0.0], "row 1: kl inf is not a finite number"),
        ("kl", [[1.0], [2.0]], "column kl holds List"),
        ("domain", ["in", "neither"], "row 2: domain 'neither' is none of in, out"),
        ("fact_id", [b"a", b"b"], "column fact_id holds Binary"),
        ("fact_id", ["a", "a"], "fact_id 'a' is in two rows"),
        ("fact_id", [{"x": 1}, {"x": 2}], "column fact_id holds Struct"),
        ("fact_id", [None, None], "row 1: fact_id None is no value"),
    ],
)
def test_other_values_are_refused(
    tmp_path: Path, column: str, values: list[object], message: str
) -> None:
    pl.DataFrame({**GOOD, column: values}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(UserError) as refusal:
        read_table(
            tmp_path / "t.parquet", remedy="write it again", columns=COLUMNS, key=["fact_id"]
        )
    assert message in str(refusal.value)
    assert str(refusal.value).startswith(str(tmp_path / "t.parquet"))
    assert str(refusal.value).endswith("; write it again")
    assert "\n" not in str(refusal.value)


def test_a_missing_column_is_refused_unless_it_is_optional(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "t.parquet")
    optional = {"a": Column(pl.Int64()), "b": Column(pl.Int64(), is_optional=True)}
    table = read_table(tmp_path / "t.parquet", remedy="write it again", columns=optional)
    assert table.columns == ["a"]
    with pytest.raises(UserError, match="column b is missing"):
        read_table(
            tmp_path / "t.parquet", remedy="write it again", columns={"b": Column(pl.Int64())}
        )


@pytest.mark.parametrize(
    "damage", [lambda _: b"", lambda _: b"no Parquet", lambda data: data[: len(data) // 2]]
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame(GOOD).write_parquet(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_table(path, remedy="write it again")
