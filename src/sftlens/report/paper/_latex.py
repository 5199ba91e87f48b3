"""Tables as LaTeX for a paper: booktabs, percent, each interval in small print below its value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

import polars as pl

from sftlens.report.paper._layout import Entry, LaidOut, Layout, Row, lay_out

_MANY_COLUMNS = 8  # with their intervals they fill an article's line of 345 pt
_NOTHING = "--"
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


def latex_table(table: pl.DataFrame, layout: Layout, *, caption: str, label: str) -> str:
    """A ``longtable``, to be read in by a document that uses ``booktabs`` and ``longtable``.

    What is surely above that which it is compared with is bold, what is surely below is slanted.

    Args:
        table: one measured value a row.
        layout: how to lay it out.
        caption: plain text.
        label: for references, after ``tab:``; plain letters.
    """
    laid = lay_out(table, layout)
    head = _heads(laid)
    columns = _columns(laid, layout)
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
            *_body(laid, len(columns), stacked=not layout.wide),
            r"\end{longtable}",
            r"}",
            "",
        ]
    )


def escaped(text: str) -> str:
    """Text as LaTeX shows it, control characters as spaces; other scripts need LuaLaTeX."""
    return "".join(_SPECIAL.get(char, char if char.isprintable() else " ") for char in text)


def _columns(laid: LaidOut, layout: Layout) -> list[str]:
    named = [*layout.names][layout.groups :]
    measured = [measure.value if measure.unit == "text" else None for measure in layout.measures]
    measured *= laid.num_entries // len(measured)
    widths = [layout.wide.get(name) for name in named]
    columns = ["l" if width is None else rf"p{{{width:g}\linewidth}}" for width in widths]
    for column in measured:
        width = layout.wide.get(column or "")
        kind = "r" if column is None else "l"
        columns.append(kind if width is None else rf"p{{{width:g}\linewidth}}")
    return columns


def _heads(laid: LaidOut) -> list[str]:
    titles, measures = map(_escaped_all, (laid.titles, laid.measures))
    if laid.across is None:
        return [_line([*titles, *measures])]
    blank = [""] * len(titles)
    upwards = (reversed(_escaped_all(lines)) for lines in laid.across)
    *upper, last = reversed([*zip_longest(*upwards, fillvalue="")])
    if len(measures) == 1:
        return [*(_line([*blank, *names]) for names in upper), _line([*titles, *last])]
    assert not upper, "a title over several measures takes one line"
    spans = [rf"\multicolumn{{{len(measures)}}}{{c}}{{{name}}}" for name in last]
    return [_line([*blank, *spans]), _line([*titles, *measures * len(laid.across)])]


def _escaped_all(texts: Sequence[str]) -> list[str]:
    """Each as LaTeX shows it."""
    return [escaped(text) for text in texts]


def _body(laid: LaidOut, num_columns: int, *, stacked: bool) -> Iterator[str]:
    previous: object = None
    for row in laid.rows:
        group = row.group or row.names[0]
        if group != previous:
            if previous is not None:
                yield r"\midrule"
            if row.group:
                name = escaped(row.group)
                yield _line([rf"\multicolumn{{{num_columns}}}{{@{{}}l}}{{\textit{{{name}}}}}"], "*")
        previous = group
        yield from _spanning(row, laid) if row.spans else _lines(row, stacked=stacked)


def _lines(row: Row, *, stacked: bool) -> Iterator[str]:
    names = _names(row)
    values, intervals = zip(*map(_cell, row.entries), strict=True)
    if stacked and any(intervals):
        yield _line([*names, *values], "*[-0.6ex]")
        yield _line([*("" for _ in names), *intervals])
    else:
        pairs = zip(values, intervals, strict=True)
        yield _line([*names, *(" ".join(pair).rstrip() for pair in pairs)])


def _spanning(row: Row, laid: LaidOut) -> Iterator[str]:
    (entry,) = row.entries
    text = " ".join(_cell(entry)).rstrip()
    yield _line([*_names(row), rf"\multicolumn{{{laid.num_entries}}}{{l}}{{{text}}}"])


def _line(cells: Sequence[str], end: str = "") -> str:
    return " & ".join(cells) + rf" \\{end}"


def _names(row: Row) -> list[str]:
    return [_NOTHING if name is None else escaped(name) for name in row.names]


def _cell(entry: Entry | None) -> tuple[str, str]:
    """The value, and its interval or nothing."""
    if entry is None:
        return _NOTHING, ""
    if not entry.is_number:
        return escaped(entry.text), ""
    text = _number(entry.text)
    if entry.sure:
        text = rf"\{'textbf' if entry.sure > 0 else 'textsl'}{{{text}}}"
    if entry.limits is None:
        return text, ""
    low, high = map(_number, entry.limits)
    return text, rf"{{\tiny [{low},\,{high}]}}"


def _number(text: str) -> str:
    return text.replace("-", r"\ensuremath{-}")
