"""How a table of one measured value a row stands on paper or on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from sftlens.rounding import fixed

_FRACTIONS = ("fraction", "accuracy")  # units that a reader is shown as percent
_WORDS = {
    ("domain", "in"): "in-domain",
    ("domain", "out"): "out-of-domain",
    ("quantity", "kl"): "KL",
}


class Measure(NamedTuple):
    """What stands in the cells.

    Attributes:
        title: over its column.
        value: column of the value.
        interval: columns of its limits, or none.
        unit: ``fraction`` (shown as percent), ``count``, ``number``, ``text``, or the column
            that tells the unit of each row.
        beside: columns of the limits of a difference, which tell whether the value is surely
            above or below what it is compared with.
    """

    title: str
    value: str = "value"
    interval: tuple[str, str] | None = ("low", "high")
    unit: str = "fraction"
    beside: tuple[str, str] | None = None


class Layout(NamedTuple):
    """How a table stands there.

    Attributes:
        names: columns that name a row, with their titles.
        measures: what stands in the cells.
        groups: how many of the first names stand over the rows that share them, instead of in
            columns.
        across: the column whose values become columns; None where every row is one already.
        across_title: its title, before its values.
        across_names: titles of its values, where they are not those values; one line each.
        only: columns and the values of the rows that are shown, the others being left to the
            files; by column.
        wide: columns that hold sentences, with their width as a fraction of the line.
    """

    names: Mapping[str, str]
    measures: Sequence[Measure]
    groups: int = 0
    across: str | None = None
    across_title: str = ""
    across_names: Mapping[str, Sequence[str]] = {}
    only: Mapping[str, Sequence[str]] = {}
    wide: Mapping[str, float] = {}


class Entry(NamedTuple):
    """What a cell says.

    Attributes:
        text: the value, with an ASCII minus.
        limits: of its interval, likewise.
        sure: 1 where it is surely above what it is compared with, -1 where below, else 0.
        is_number: as opposed to words.
    """

    text: str
    limits: tuple[str, str] | None = None
    sure: int = 0
    is_number: bool = True


class Row(NamedTuple):
    """A row of cells.

    Attributes:
        group: over it and its like; empty where nothing stands there.
        names: what the row is called; None where a name does not apply.
        entries: its cells; None where nothing was measured.
        spans: whether its only entry belongs to all columns, having no place among them.
    """

    group: str
    names: Sequence[str | None]
    entries: Sequence[Entry | None]
    spans: bool = False


class LaidOut(NamedTuple):
    """A table that only wants drawing.

    Attributes:
        titles: over the names.
        across: over what stands across, lines for each; None where every row is one already.
        measures: over the entries; with ``across``, once for each that stands there.
        rows: in order; those of a group follow one another.
    """

    titles: Sequence[str]
    across: Sequence[Sequence[str]] | None
    measures: Sequence[str]
    rows: Sequence[Row]

    @property
    def num_entries(self) -> int:
        """Columns beside those of the names."""
        return len(self.measures) * (1 if self.across is None else len(self.across))


def lay_out(table: pl.DataFrame, layout: Layout) -> LaidOut:
    """A table's rows and columns as texts.

    A row that has no place across, as a tuned model has none among the shares that are restored,
    spans all of them.

    Args:
        table: one measured value a row.
        layout: how to lay it out.
    """
    for column, values in layout.only.items():
        table = table.filter(pl.col(column).is_in(list(values)))
    across = _across(table, layout)
    return LaidOut(
        [*layout.names.values()][layout.groups :],
        None if layout.across is None else [_heading(layout, value) for value in across],
        [measure.title for measure in layout.measures],
        [_row(layout, across, index, found) for index, found in _found(table, layout).items()],
    )


def _across(table: pl.DataFrame, layout: Layout) -> list[object]:
    if layout.across is None:
        return [None]
    values = [*table[layout.across].drop_nulls().unique(maintain_order=True)] or [None]
    return sorted(values) if table[layout.across].dtype.is_numeric() else values


def _heading(layout: Layout, value: object) -> Sequence[str]:
    given = layout.across_names.get(str(value))
    return given or [f"{layout.across_title} {_name(value, layout.across) or ''}".strip()]


def _found(
    table: pl.DataFrame, layout: Layout
) -> dict[tuple[object, ...], dict[object, Mapping[str, Any]]]:
    """For each row that is drawn, those of the table by their value across."""
    found: dict[tuple[object, ...], dict[object, Mapping[str, Any]]] = {}
    for row in table.iter_rows(named=True):
        index = tuple(row[name] for name in layout.names)
        key = None if layout.across is None else row[layout.across]
        cells = found.setdefault(index, {})
        assert key not in cells, f"two rows of {index}, {key}"
        cells[key] = row
    return found


def _row(
    layout: Layout,
    across: Sequence[object],
    index: Sequence[object],
    found: Mapping[object, Mapping[str, Any]],
) -> Row:
    named = [_name(value, column) for value, column in zip(index, layout.names, strict=True)]
    group = _group([*layout.names.values()], named[: layout.groups])
    names = named[layout.groups :]
    spans = layout.across is not None and None in found
    if spans:
        assert len(found) == len(layout.measures) == 1, f"{index} has a place across, and none"
        across = [None]
    entries = [
        _entry(found[value], measure) if value in found else None
        for value in across
        for measure in layout.measures
    ]
    return Row(group, names, entries, spans)


def _group(titles: Sequence[str], names: Sequence[str | None]) -> str:
    parts = [
        f"{title} {name}".lstrip()
        for title, name in zip(titles, names, strict=False)
        if name is not None
    ]
    name = ", ".join(part[0].lower() + part[1:] if len(parts) > 1 else part for part in parts)
    return name[:1].upper() + name[1:]


def _name(value: object, column: str | None = None) -> str | None:
    if value is None:
        return None
    if (column, value) in _WORDS:
        return _WORDS[str(column), str(value)]
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _entry(row: Mapping[str, Any], measure: Measure) -> Entry | None:
    value = row[measure.value]
    unit = row.get(measure.unit, measure.unit)
    if value is None:
        return None
    if unit in ("text", "count"):
        return Entry(str(_name(value)), is_number=unit == "count")
    limits = [row[name] for name in measure.interval or ()]
    shown = None
    if limits and None not in limits:
        low, high = limits
        shown = (_number(low, unit), _number(high, unit))
    return Entry(_number(value, unit), shown, _sure([row[name] for name in measure.beside or ()]))


def _sure(limits: Sequence[float | None]) -> int:
    if not limits or None in limits:
        return 0
    low, high = (limit for limit in limits if limit is not None)
    return 1 if low > 0 else -1 if high < 0 else 0


def _number(value: float, unit: str) -> str:
    return fixed(100 * value) if unit in _FRACTIONS else fixed(value, 3)
