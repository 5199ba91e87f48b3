"""Parquet tables of the user's, read with the error told."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from sftlens.errors import UserError, first_line

_OF_POLARS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)


def read_table(
    path: Path, *, remedy: str, columns: Iterable[str] = (), only: Iterable[str] | None = None
) -> pl.DataFrame:
    """A table from a Parquet file.

    Args:
        path: the file; its name is taken as it is, also where it holds ``*`` or ``[``.
        remedy: what to do when it cannot be read.
        columns: those it must have.
        only: those that are read, as far as it has them; None reads all. Of a table of texts and
            numbers the numbers are a small part.

    Raises:
        UserError: when it cannot be read or lacks a column.
    """
    try:
        # Arrow's reader refuses damaged files, over which polars' can abort the process.
        with pq.ParquetFile(path) as file:
            content = file.read(columns=None if only is None else list(only))
        content.validate(full=True)
        table = pl.DataFrame(content)
    except (OSError, ValueError, pa.ArrowException, *_OF_POLARS) as error:
        raise UserError(
            f"{path}: cannot be read as Parquet ({first_line(error)}); {remedy}"
        ) from None
    if missing := [column for column in columns if column not in table.columns]:
        raise UserError(f"{path}: column {', '.join(missing)} is missing; {remedy}")
    return table
