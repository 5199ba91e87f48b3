"""Who answered what, read from tables of many millions of rows without holding them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sftlens.errors import UserError, first_line
from sftlens.report._answers import Row
from sftlens.report.inference._evidence import NotMeasuredError

ABSENT = -2  # of a fact without a row
UNSCORED = -1  # of a row without a verdict
_BATCH = 1 << 20  # rows
_TEXTS = ("run", "method", "fact_id")

Key = tuple[object, ...]


def read_answers(
    source: Path | pl.DataFrame, name: str, keys: Sequence[str], facts: Sequence[str], verdict: str
) -> dict[Key, Row]:
    """The verdicts of a table, one row for each key over the given facts.

    Args:
        source: a Parquet file, or a table.
        name: of the table, for errors.
        keys: the columns that tell the models apart.
        facts: ids, sorted; rows of other facts are passed over.
        verdict: the column that says whether an answer is right.

    Returns:
        1 right, 0 wrong, -1 unscored, -2 absent, by key.

    Raises:
        NotMeasuredError: when a column is missing.
        UserError: when the file cannot be read, or a fact has two rows of the same key.
    """
    columns = [*keys, "fact_id", verdict]
    place = {fact: number for number, fact in enumerate(facts)}
    rows: dict[Key, Row] = {}
    try:
        for batch in _batches(source, name, columns):
            _take(batch, name, place, rows)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(name, error) from None
    return rows


def fact_ids(source: Path | pl.DataFrame, name: str) -> list[str]:
    """The ids of the facts that a table has rows of, sorted.

    Raises:
        NotMeasuredError: when it has no column ``fact_id``.
        UserError: when the file cannot be read.
    """
    found: set[str] = set()
    try:
        for batch in _batches(source, name, ["fact_id"]):
            found.update(batch.column(0).unique().to_pylist())
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(name, error) from None
    return sorted(found)


def _unreadable(name: str, error: Exception) -> UserError:
    return UserError(f"table {name}: cannot be read ({first_line(error)}); run the study again")


def _batches(
    source: Path | pl.DataFrame, name: str, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    if isinstance(source, pl.DataFrame):
        _require(source.columns, name, columns)
        yield from source.select(columns).to_arrow().to_batches(max_chunksize=_BATCH)
        return
    _require(pq.read_schema(source.absolute()).names, name, columns)
    texts = [column for column in columns if column in _TEXTS]
    with pq.ParquetFile(source.absolute(), read_dictionary=texts) as file:
        yield from file.iter_batches(batch_size=_BATCH, columns=list(columns))


def _require(present: Sequence[str], name: str, columns: Sequence[str]) -> None:
    if missing := [column for column in columns if column not in present]:
        raise NotMeasuredError(f"table {name} has no column {missing[0]}")


def _take(batch: pa.RecordBatch, name: str, place: Mapping[str, int], rows: dict[Key, Row]) -> None:
    *keys, fact_id, verdict = batch.columns
    codes, ids = _coded(fact_id)
    of_code = np.array([place.get(str(one), -1) for one in ids] + [-1], dtype=np.int64)
    position = of_code[codes]
    verdicts = pc.fill_null(verdict.cast(pa.bool_()).cast(pa.int8()), UNSCORED)
    values = np.asarray(verdicts, dtype=np.int8)
    combined = np.zeros(len(batch), dtype=np.int64)
    parts = []
    for column in keys:
        part, texts = _coded(column)
        parts.append([*texts, None])
        combined = combined * len(parts[-1]) + np.where(part < 0, len(texts), part)
    known = position >= 0
    combined, position, values = combined[known], position[known], values[known]
    if combined.max(initial=0) <= np.iinfo(np.int16).max:
        combined = combined.astype(np.int16)  # which numpy sorts by radix
    order = np.argsort(combined, kind="stable")
    present, starts = np.unique(combined[order], return_index=True)
    for code, members in zip(present, np.split(order, starts[1:]), strict=True):
        key = _key(int(code), parts)
        row = rows.setdefault(key, np.full(len(place), ABSENT, dtype=np.int8))
        at = position[members]
        if (row[at] != ABSENT).any() or len(np.unique(at)) < len(at):
            raise UserError(
                f"table {name}: has two rows of the same model and fact; "
                "the tables must come from one study"
            )
        row[at] = values[members]


def _coded(column: pa.Array) -> tuple[NDArray[np.int64], list[object]]:
    """Each value as a number into the list of distinct ones; -1 where it is null."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    codes = np.asarray(pc.fill_null(column.indices.cast(pa.int64()), -1))
    return codes, column.dictionary.to_pylist()


def _key(code: int, parts: Sequence[Sequence[object]]) -> Key:
    key: list[object] = []
    for values in reversed(parts):
        code, digit = divmod(code, len(values))
        key.append(values[digit])
    return tuple(reversed(key))
