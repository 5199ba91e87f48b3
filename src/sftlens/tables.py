"""Parquet tables, read by name and checked.

A path is the name of one file here. polars takes ``*``, ``?`` and ``[`` in a path for a pattern,
and polars and Arrow a leading ``~`` for the home folder, so that no other module reads with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from sftlens.errors import UserError, first_line

Kind: TypeAlias = "pl.DataType | type[pl.DataType]"
"""A type of polars, with or without its parameters."""

_OF_POLARS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
_SHOWN = 80  # characters of a value in a message


class Column(NamedTuple):
    """The values that a column may hold.

    Attributes:
        kind: their type. Integers are taken from any type of whole numbers, numbers from any type
            of numbers, texts from categories.
        nullable: whether a value may be missing.
        low: the lowest value, of numbers.
        high: the highest value.
        among: the texts that are known; empty where any is taken.
        is_optional: whether the table may do without the column.
    """

    kind: Kind
    nullable: bool = False
    low: float | None = None
    high: float | None = None
    among: tuple[str, ...] = ()
    is_optional: bool = False


Columns: TypeAlias = Mapping[str, Column]


def columns_of(
    schema: Mapping[str, Kind],
    *,
    nullable: Iterable[str] = (),
    optional: Iterable[str] = (),
    between: Mapping[str, tuple[float, float]] | None = None,
    among: Mapping[str, tuple[str, ...]] | None = None,
) -> dict[str, Column]:
    """The columns of a schema, with what is nullable, optional or bounded named."""
    may_lack, may_miss, ranges = set(nullable), set(optional), between or {}
    return {
        name: Column(
            kind,
            nullable=name in may_lack,
            low=ranges[name][0] if name in ranges else None,
            high=ranges[name][1] if name in ranges else None,
            among=(among or {}).get(name, ()),
            is_optional=name in may_miss,
        )
        for name, kind in schema.items()
    }


def read_table(
    path: Path,
    *,
    remedy: str,
    columns: Columns | None = None,
    key: Iterable[str] = (),
    only: Iterable[str] | None = None,
) -> pl.DataFrame:
    """Read a table from a Parquet file.

    Args:
        path: the file; its name is taken as it is, also where it holds ``*`` or ``[``.
        remedy: what to do when it cannot be read.
        columns: those it must have, with the values they may hold; they come in these types.
        key: columns that no two rows have alike.
        only: those that are read, as far as it has them; None reads all. Of a table of texts and
            numbers the numbers are a small part.

    Raises:
        UserError: when it cannot be read, lacks a column or holds other values; the row is named.
    """
    try:
        # Arrow's reader refuses damaged files, over which polars' can abort the process.
        with pq.ParquetFile(path.absolute()) as file:  # it expands a leading ~
            content = file.read(columns=None if only is None else list(only))
        content.validate(full=True)
        table = pl.DataFrame(content)
    except (OSError, ValueError, pa.ArrowException, *_OF_POLARS) as error:
        raise UserError(
            f"{path}: cannot be read as Parquet ({first_line(error)}); {remedy}"
        ) from None
    return checked_table(table, columns or {}, source=str(path), remedy=remedy, key=key)


def checked_table(
    table: pl.DataFrame,
    columns: Columns,
    *,
    source: str,
    remedy: str,
    key: Iterable[str] = (),
) -> pl.DataFrame:
    """Check a table, and give it with its columns in the types asked for.

    Args:
        table: any table; its other columns stay as they are.
        columns: those it must have, with the values they may hold.
        source: the table's name, for the error.
        remedy: what to do when it is refused.
        key: columns that no two rows have alike.

    Raises:
        UserError: when a column is missing or holds other values; the first such row is named,
            counted from 1.
    """
    missing = [name for name in columns if name not in table.columns]
    if lacking := [name for name in missing if not columns[name].is_optional]:
        raise UserError(f"{source}: column {', '.join(lacking)} is missing; {remedy}")
    checked = {
        name: _checked(table[name], column, source, remedy)
        for name, column in columns.items()
        if name not in missing
    }
    table = table.with_columns(**checked)
    names = list(key)
    if names and (repeated := table.select(names).is_duplicated()).any():
        row = repeated.arg_max() or 0
        told = ", ".join(f"{name} {_shown(table[name][row])}" for name in names)
        raise UserError(f"{source}: {told} is in two rows; {remedy}")
    return table


def scan_tables(paths: Iterable[Path]) -> pl.LazyFrame:
    """Tables of one schema that a command wrote, one below the other, read as they are needed."""
    return pl.scan_parquet([path.absolute() for path in paths], glob=False)


def _checked(values: pl.Series, column: Column, source: str, remedy: str) -> pl.Series:
    typed = _typed(values, column)
    if typed is None:
        raise UserError(
            f"{source}: column {values.name} holds {_kind(values.dtype)}, not "
            f"{_kind(column.kind)}; {remedy}"
        )

    def refuse(wrong: pl.Series, why: str) -> None:
        if wrong.any():
            row = wrong.arg_max() or 0
            value = _shown(values[row])
            raise UserError(f"{source}, row {row + 1}: {values.name} {value} {why}; {remedy}")

    if not column.nullable:
        refuse(typed.is_null(), "is no value")
    if typed.dtype.is_float():
        refuse(~typed.is_finite().fill_null(value=True), "is not a finite number")
    if column.low is not None:
        refuse((typed < column.low).fill_null(value=False), f"is below {column.low:g}")
    if column.high is not None:
        refuse((typed > column.high).fill_null(value=False), f"is above {column.high:g}")
    if column.among:
        known = typed.is_in(list(column.among)) | typed.is_null()
        refuse(~known, f"is none of {', '.join(column.among)}")
    return typed


def _typed(values: pl.Series, column: Column) -> pl.Series | None:
    """The values in a column's type; None where they are of another one."""
    kind, found = column.kind, values.dtype
    if found.is_float() and column.nullable:
        values = values.fill_nan(None)
    if found == kind or found == pl.Null:
        wanted = True
    elif kind.is_integer():
        wanted = found.is_integer() or (found.is_float() and _is_whole(values))
    elif kind.is_float():
        wanted = found.is_numeric()
    elif kind == pl.String:
        wanted = found in (pl.Categorical, pl.Enum)
    else:
        wanted = isinstance(found, pl.List) and kind == pl.List and found.inner == pl.Null
    if not wanted:
        return None
    try:
        return values.cast(kind)
    except _OF_POLARS:  # a number beyond the type
        return None


def _is_whole(values: pl.Series) -> bool:
    """True where a column of numbers has no fractions, as pandas stores integers with gaps."""
    known = values.drop_nulls()
    return bool((known.is_finite() & (known == known.floor())).all())


def _kind(kind: Kind) -> str:
    text = str(kind)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
