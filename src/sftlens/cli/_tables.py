"""Small tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sftlens import rounding
from sftlens.texts import printable


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on standard output; everything in it is shown as text."""
    print_line(title)
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(
            Text(printable(column)), justify="left" if number == 0 else "right", no_wrap=number == 0
        )
    for row in rows:
        table.add_row(*(Text("–" if cell is None else printable(str(cell))) for cell in row))
    Console().print(table)


def print_line(text: str) -> None:
    """Print a line on standard output as it is."""
    Console().print(Text(printable(text)), soft_wrap=True)


def percent(value: float | None) -> str:
    """A fraction in percent with one decimal; – for what was not measured."""
    return rounding.percent(value, missing="–")
