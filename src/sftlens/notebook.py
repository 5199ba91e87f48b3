"""Results as tables: for a notebook, and as data frames."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sftlens.errors import UserError

if TYPE_CHECKING:
    import polars as pl

_MAX_ROWS = 60
_SCALARS = (str, int, float, bool)


class Tabular(ABC):
    """A result that is a table; a base for dataclasses."""

    @abstractmethod
    def to_polars(self) -> pl.DataFrame:
        """The table."""

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints: the fields by name."""
        return dict(vars(self))

    def to_pandas(self) -> Any:
        """The same for pandas.

        Raises:
            UserError: when pandas is not installed.
        """
        return as_pandas(self.to_polars())


def one_row(result: Mapping[str, Any]) -> pl.DataFrame:
    """A table of one row with what is a single value of a result."""
    import polars as pl

    told = {
        name: [value]
        for name, value in result.items()
        if value is None or isinstance(value, _SCALARS)
    }
    return pl.DataFrame(told)


def many_rows(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A table of these rows; a column may be null in the first of them."""
    import polars as pl

    return pl.DataFrame(list(rows), infer_schema_length=None)


def as_pandas(table: pl.DataFrame) -> Any:
    """The table as a pandas data frame.

    Raises:
        UserError: when pandas is not installed.
    """
    try:
        import_module("pandas")
    except ImportError:
        raise UserError(
            "to_pandas: pandas is not installed; `pip install pandas`, or take to_polars()"
        ) from None
    return table.to_pandas()


def as_html(title: str, table: pl.DataFrame, notes: Sequence[str] = ()) -> str:
    """A table for a notebook, at most 60 rows of it; everything in it is shown as text."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.columns)
    body = "".join(
        f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.head(_MAX_ROWS).iter_rows()
    )
    told = list(notes)
    if len(table) > _MAX_ROWS:
        told.append(f"{len(table) - _MAX_ROWS:,} more rows: see to_polars()")
    return (
        f"<div><p><strong>{html.escape(title)}</strong></p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        + "".join(f"<p>{html.escape(note)}</p>" for note in told)
        + "</div>"
    )


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, int | float):
        text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
        return f'<td style="text-align:right">{text}</td>'
    return f"<td>{'–' if value is None else html.escape(str(value))}</td>"
