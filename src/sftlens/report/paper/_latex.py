"""Tables as LaTeX for a paper: booktabs, percent, each interval in small print below its value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import polars as pl

from sftlens.report.paper._latex_text import NOTHING, escaped, name_text, number_text

_MANY_COLUMNS = 8  # with their intervals they fill an article's line of 345 pt


class Measure(NamedTuple):
    """What stands in the cells.

    Attributes:
        title: over its column.
        value: column of the value.
        interval: columns of its limits, or none.
        unit: ``fraction`` (shown as percent), ``count``, ``number``, ``text``, or the column
            that tells the unit of each row.
        beside: columns of the limits of a difference: where they lie above zero the value is
            bold, where they lie below it is slanted.
    """

    title: str
    value: str = "value"
    interval: tuple[str, str] | None = ("low", "high")
    unit: str = "fraction"
    beside: tuple[str, str] | None = None


class Layout(NamedTuple):
    """How a table stands on paper.

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
        wide: columns that hold sentences, with their width as a fraction of the line; intervals
            then stand beside their values.
    """

    names: Mapping[str, str]
    measures: Sequence[Measure]
    groups: int = 0
    across: str | None = None
    across_title: str = ""
    across_names: Mapping[str, Sequence[str]] = {}
    only: Mapping[str, Sequence[str]] = {}
    wide: Mapping[str, float] = {}


class _Cell(NamedTuple):
    value: str
    interval: str = ""


def latex_table(table: pl.DataFrame, layout: Layout, *, caption: str, label: str) -> str:
    """A ``longtable``, to be read in by a document that uses ``booktabs`` and ``longtable``.

    A row that has no place across, as a tuned model has none among the shares that are restored,
    spans all of them.

    Args:
        table: one measured value a row.
        layout: how to lay it out.
        caption: plain text.
        label: for references, after ``tab:``; plain letters.
    """
    for column, values in layout.only.items():
        table = table.filter(pl.col(column).is_in(list(values)))
    across = _across(table, layout)
    head = _heads(layout, across)
    columns = [_column(layout, name) for name in [*layout.names][layout.groups :]]
    columns += [
        _column(layout, measure.value) if measure.unit == "text" else "r"
        for _ in across
        for measure in layout.measures
    ]
    print_size, gap = ("footnotesize", 3) if len(columns) < _MANY_COLUMNS else ("scriptsize", 2)
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,longtable}",
            rf"{{\{print_size}\setlength{{\tabcolsep}}{{{gap}pt}}",
            rf"\begin{{longtable}}{{@{{}}{''.join(columns)}@{{}}}}",
            rf"\caption{{{escaped(caption)}}}\label{{tab:{label.replace('_', '-')}}} \\",
            r"\toprule",
            *head,
            r"\midrule",
            r"\endfirsthead",
            r"\toprule",
            *head,
            r"\midrule",
            r"\endhead",
            r"\bottomrule",
            r"\endlastfoot",
            *_body(table, layout, across),
            r"\end{longtable}",
            r"}",
            "",
        ]
    )


def _across(table: pl.DataFrame, layout: Layout) -> list[object]:
    if layout.across is None:
        return [None]
    values = [*table[layout.across].drop_nulls().unique(maintain_order=True)] or [None]
    return sorted(values) if table[layout.across].dtype.is_numeric() else values


def _heads(layout: Layout, across: Sequence[object]) -> list[str]:
    titles = [escaped(title) for title in layout.names.values()][layout.groups :]
    measures = [escaped(measure.title) for measure in layout.measures]
    if layout.across is None:
        return [" & ".join(titles + measures) + r" \\"]
    blank = [""] * len(titles)
    upwards = (reversed(_head_lines(layout, value)) for value in across)
    *upper, last = reversed([*zip_longest(*upwards, fillvalue="")])
    if len(measures) == 1:
        rows = [*([*blank, *names] for names in upper), [*titles, *last]]
    else:
        assert not upper, "a title over several measures takes one line"
        spans = [rf"\multicolumn{{{len(measures)}}}{{c}}{{{name}}}" for name in last]
        rows = [[*blank, *spans], [*titles, *measures * len(across)]]
    return [" & ".join(row) + r" \\" for row in rows]


def _head_lines(layout: Layout, value: object) -> list[str]:
    given = layout.across_names.get(str(value))
    if given is not None:
        return [escaped(line) for line in given]
    return [f"{escaped(layout.across_title)} {name_text(value)}".strip()]


def _column(layout: Layout, name: str) -> str:
    width = layout.wide.get(name)
    return "l" if width is None else rf"p{{{width:g}\linewidth}}"


def _body(table: pl.DataFrame, layout: Layout, across: Sequence[object]) -> Iterator[str]:
    num_columns = len(layout.names) - layout.groups + len(across) * len(layout.measures)
    previous: tuple[object, ...] | None = None
    for index, found in _rows(table, layout):
        group = index[: layout.groups or 1]
        if group != previous:
            if previous is not None:
                yield r"\midrule"
            if layout.groups:
                name = _group_name([*layout.names.values()], group)
                yield rf"\multicolumn{{{num_columns}}}{{@{{}}l}}{{\textit{{{name}}}}} \\*"
        previous = group
        names = [name_text(value) for value in index[layout.groups :]]
        if layout.across is not None and None in found:
            assert len(found) == 1, f"{index} has a place across, and none"
            cells = [_cell(found[None], measure) for measure in layout.measures]
            yield from _spanning(names, cells, len(across))
        else:
            cells = [
                _cell(found[value], measure) if value in found else _Cell(NOTHING)
                for value in across
                for measure in layout.measures
            ]
            yield from _lines(names, cells, stacked=not layout.wide)


def _group_name(titles: Sequence[str], group: Sequence[object]) -> str:
    parts = [
        f"{escaped(title)} {name_text(value)}".lstrip()
        for title, value in zip(titles, group, strict=False)
        if value is not None
    ]
    name = ", ".join(part[0].lower() + part[1:] for part in parts)
    return name[:1].upper() + name[1:]


def _lines(names: Sequence[str], cells: Sequence[_Cell], *, stacked: bool) -> Iterator[str]:
    if not stacked or not any(cell.interval for cell in cells):
        yield " & ".join([*names, *(" ".join(cell).rstrip() for cell in cells)]) + r" \\"
        return
    yield " & ".join([*names, *(cell.value for cell in cells)]) + r" \\*[-0.6ex]"
    yield " & ".join([*("" for _ in names), *(cell.interval for cell in cells)]) + r" \\"


def _spanning(names: Sequence[str], cells: Sequence[_Cell], num_across: int) -> Iterator[str]:
    assert len(cells) == 1, "only one measure can span what stands across"
    (cell,) = cells
    text = f"{cell.value} {cell.interval}".strip()
    yield " & ".join([*names, rf"\multicolumn{{{num_across}}}{{l}}{{{text}}}"]) + r" \\"


def _rows(
    table: pl.DataFrame, layout: Layout
) -> list[tuple[tuple[object, ...], dict[object, Mapping[str, Any]]]]:
    """The rows on paper, in the table's order, with a row of the table for each value across."""
    found: dict[tuple[object, ...], dict[object, Mapping[str, Any]]] = {}
    for row in table.iter_rows(named=True):
        index = tuple(row[name] for name in layout.names)
        key = None if layout.across is None else row[layout.across]
        cells = found.setdefault(index, {})
        assert key not in cells, f"two rows of {index}, {key}"
        cells[key] = row
    return list(found.items())


def _cell(row: Mapping[str, Any], measure: Measure) -> _Cell:
    value = row[measure.value]
    unit = row.get(measure.unit, measure.unit)
    if value is None:
        return _Cell(NOTHING)
    if unit in ("text", "count"):
        return _Cell(name_text(value))
    text = _marked(number_text(value, unit), [row[name] for name in measure.beside or ()])
    limits = [row[name] for name in measure.interval or ()]
    if not limits or None in limits:
        return _Cell(text)
    low, high = (number_text(limit, unit) for limit in limits)
    return _Cell(text, rf"{{\tiny [{low},\,{high}]}}")


def _marked(text: str, limits: Sequence[float | None]) -> str:
    if not limits or None in limits:
        return text
    low, high = (limit for limit in limits if limit is not None)
    if low > 0:
        return rf"\textbf{{{text}}}"
    return rf"\textsl{{{text}}}" if high < 0 else text
