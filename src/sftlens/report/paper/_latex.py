"""Tables as LaTeX for a paper: booktabs, percent, intervals in small brackets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "‖": r"\textbar\textbar{}",
    "−": r"\ensuremath{-}",
    "×": r"\ensuremath{\times}",
    "α": r"\ensuremath{\alpha}",
    "²": r"\textsuperscript{2}",
}
_NOTHING = "--"
_FRACTIONS = ("fraction", "accuracy")  # units that a reader is shown as percent


class Measure(NamedTuple):
    """What stands in the cells.

    Attributes:
        title: over its column.
        value: column of the value.
        interval: columns of its limits, or none.
        unit: ``fraction`` (shown as percent), ``count``, ``number``, ``text``, or the column
            that tells the unit of each row.
    """

    title: str
    value: str = "value"
    interval: tuple[str, str] | None = ("low", "high")
    unit: str = "fraction"


class Layout(NamedTuple):
    """How a table stands on paper.

    Attributes:
        names: columns that name a row, with their titles.
        across: the column whose values become columns; None where every row is one already.
        across_title: its title, before its values.
        measures: what stands in the cells.
        only: columns and the values of the rows that are shown, the others being left to the
            files; by column.
        wide: columns that hold sentences, with their width as a fraction of the line.
    """

    names: Mapping[str, str]
    measures: Sequence[Measure]
    across: str | None = None
    across_title: str = ""
    only: Mapping[str, Sequence[str]] = {}
    wide: Mapping[str, float] = {}


def latex_table(table: pl.DataFrame, layout: Layout, *, caption: str, label: str) -> str:
    """A ``longtable``, to be read in by a document that uses ``booktabs`` and ``longtable``.

    Args:
        table: one measured value a row.
        layout: how to lay it out.
        caption: plain text.
        label: for references, after ``tab:``; plain letters.
    """
    for column, values in layout.only.items():
        table = table.filter(pl.col(column).is_in(list(values)))
    across = _across(table, layout)
    head = [*_heads(layout, across)]
    columns = "".join(_column(layout, name) for name in layout.names)
    columns += "".join(
        _column(layout, measure.value) if measure.unit == "text" else "r"
        for _ in across
        for measure in layout.measures
    )
    body: list[str] = []
    previous: object = None
    for index, cells in _cells(table, layout):
        if body and index[0] != previous:
            body.append(r"\midrule")
        previous = index[0]
        row = [_name(value) for value in index]
        for value in across:
            row += [
                _shown(cells[value], measure) if value in cells else _NOTHING
                for measure in layout.measures
            ]
        body.append(" & ".join(row) + r" \\")
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,longtable}",
            r"{\small",
            rf"\begin{{longtable}}{{@{{}}{columns}@{{}}}}",
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
            *body,
            r"\end{longtable}",
            r"}",
            "",
        ]
    )


def escaped(text: str) -> str:
    """Text as LaTeX shows it, control characters as spaces; other scripts need LuaLaTeX."""
    return "".join(_SPECIAL.get(char, char if char.isprintable() else " ") for char in text)


def _across(table: pl.DataFrame, layout: Layout) -> list[object]:
    if layout.across is None:
        return [None]
    values = table[layout.across].unique(maintain_order=True).to_list()
    if table[layout.across].dtype.is_numeric():
        return sorted(values, key=lambda value: (value is not None, value or 0))
    return values


def _heads(layout: Layout, across: Sequence[object]) -> list[str]:
    titles = [escaped(title) for title in layout.names.values()]
    measures = [escaped(measure.title) for measure in layout.measures]
    if layout.across is None:
        return [" & ".join(titles + measures) + r" \\"]
    names = [_name(value) for value in across]
    if len(measures) == 1:
        names = [f"{escaped(layout.across_title)} {name}".strip() for name in names]
        return [" & ".join(titles + names) + r" \\"]
    spans = [
        rf"\multicolumn{{{len(measures)}}}{{c}}"
        rf"{{{f'{escaped(layout.across_title)} {name}'.strip()}}}"
        for name in names
    ]
    first = " & ".join([""] * len(titles) + spans) + r" \\"
    return [first, " & ".join(titles + measures * len(names)) + r" \\"]


def _column(layout: Layout, name: str) -> str:
    width = layout.wide.get(name)
    return "l" if width is None else rf"p{{{width:g}\linewidth}}"


def _cells(
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


def _name(value: object) -> str:
    if value is None:
        return _NOTHING
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else escaped(str(value))


def _shown(row: Mapping[str, Any], measure: Measure) -> str:
    value = row[measure.value]
    unit = row.get(measure.unit, measure.unit)
    if value is None:
        return _NOTHING
    if unit in ("text", "count"):
        return _name(value)
    text = _number(value, unit)
    limits = [row[name] for name in measure.interval or ()]
    if not limits or None in limits:
        return text
    low, high = (_number(limit, unit) for limit in limits)
    return rf"{text} {{\scriptsize [{low}, {high}]}}"


def _number(value: float, unit: str) -> str:
    text = f"{100 * value:.1f}" if unit in _FRACTIONS else f"{value:.3f}"
    negative = text.startswith("-") and float(text) != 0
    return (r"\ensuremath{-}" if negative else "") + text.lstrip("-")
