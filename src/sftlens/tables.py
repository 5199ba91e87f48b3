"""Parquet tables of the user's, read with the error told."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from sftlens.errors import UserError


def read_table(path: Path, *, remedy: str, columns: Iterable[str] = ()) -> pl.DataFrame:
    """A table from a Parquet file.

    Args:
        path: the file; its name is taken as it is, also where it holds ``*`` or ``[``.
        remedy: what to do when it cannot be read.
        columns: those it must have.

    Raises:
        UserError: when it cannot be read or lacks a column.
    """
    try:
        table = pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: cannot be read as Parquet ({reason}); {remedy}") from None
    if missing := [column for column in columns if column not in table.columns]:
        raise UserError(f"{path}: column {', '.join(missing)} is missing; {remedy}")
    return table
