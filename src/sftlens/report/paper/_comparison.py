"""The paper's numbers beside a study's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sftlens.report.paper._contents import CONTENTS
from sftlens.report.paper._study import Study
from sftlens.report.paper._write import make_table
from sftlens.yaml_files import read_yaml

_PUBLISHED = Path(__file__).with_name("published.yaml")
_LARGEST = 1920  # of the paper, but for "all"
_PERCENT = 100

_WHAT = {
    "domain": pl.String,
    "level": pl.Int64,
    "test_level": pl.String,
    "ranking": pl.String,
    "top": pl.Float64,
    "strategy": pl.String,
    "method": pl.String,
    "share": pl.Float64,
}
COMPARISON_SCHEMA = pl.Schema(
    {
        "name": pl.String(),
        "source": pl.String(),
        **{name: kind() for name, kind in _WHAT.items()},
        "paper_size": pl.Int64(),
        "size": pl.Int64(),
        "paper": pl.Float64(),
        "here": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
    }
)
"""One row a number of the paper; fractions, shares in percent.

name: of our table. source: where in the paper. domain … share: what was measured; null where the
table has no such column. paper_size and size: training facts there and here. paper: the number
there. here, low, high: the number here with its 95 % interval; null where it was not measured.
"""


class Published(NamedTuple):
    """One number of the paper.

    Attributes:
        name: of our table.
        what: what was measured, by column of that table; without the size.
        size: of the training sets; None where the number stands for all sizes.
        value: a fraction.
    """

    name: str
    what: dict[str, Any]
    size: int | None
    value: float


def published() -> list[Published]:
    """The paper's numbers for LLaMA-3-8B."""
    content = read_yaml(_PUBLISHED, "the paper's numbers")
    return [
        Published(name, {k: v for k, v in row.items() if k != "size"}, row.get("size"), value)
        for name, rows in content.items()
        if isinstance(rows, list)
        for row, value in _expanded(rows)
    ]


def comparison(run: Path | Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The paper's Tables 2, 3, 4, 6 and 7 beside those of a study.

    The paper's 1,920 training facts are held against as many, and where a level has no such
    runs, against its largest size (of those restored, for restorations); another size only
    against the same one. Where the paper gives one number for all training levels and sizes
    (Table 3), the study's stand at that size of each level.

    Args:
        run: the run folder of a study, or its tables by name.

    Returns:
        :data:`COMPARISON_SCHEMA`.
    """
    study = Study(run)
    specs = {spec.name: spec for spec in CONTENTS}
    numbers = published()
    tables = {name: make_table(specs[name], study).table for name in {n.name for n in numbers}}
    rows = [
        {"name": number.name, "source": specs[number.name].source, **row}
        for number in numbers
        for row in _beside(number, tables[number.name])
    ]
    return pl.DataFrame(rows, schema=COMPARISON_SCHEMA)


def _expanded(rows: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], float]]:
    for row in rows:
        what = {k: v for k, v in row.items() if k not in ("levels", "value")}
        if "levels" in row:
            for level, value in enumerate(row["levels"]):
                yield {**what, "level": level}, value / _PERCENT
        else:
            yield what, row["value"] / _PERCENT


def _beside(number: Published, table: pl.DataFrame | None) -> list[dict[str, Any]]:
    told = {**number.what, "paper_size": number.size, "paper": number.value}
    found = None if table is None else _found(number, table)
    if found is None or found.is_empty():
        return [told]
    return [
        {
            **told,
            **{key: row[key] for key in ("level", "share") if key in row},
            "size": row["size"],
            "here": row["value"],
            "low": row["low"],
            "high": row["high"],
        }
        for row in found.iter_rows(named=True)
    ]


def _found(number: Published, table: pl.DataFrame) -> pl.DataFrame:
    for column, value in number.what.items():
        table = table.filter(pl.col(column) == value)
    if number.name == "strategies":
        return table
    size = pl.col("size")
    if number.size not in (None, _LARGEST):
        return table.filter(size == number.size)
    nearest = pl.when((size == _LARGEST).any()).then(_LARGEST).otherwise(size.max())
    return table.filter(size == nearest.over("level"))
