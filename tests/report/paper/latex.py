"""A strict reading of the LaTeX that tables are written in; no TeX is needed."""

from __future__ import annotations

import re

_COMMANDS = {
    "begin", "end", "caption", "label", "footnotesize", "scriptsize", "tiny", "setlength",
    "tabcolsep", "toprule", "midrule", "bottomrule", "endfirsthead", "endhead", "endlastfoot",
    "ensuremath", "multicolumn", "linewidth", "textbf", "textit", "textsl",
    "textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater", "textbar",
    "textquotedbl", "alpha", "times", "textsuperscript",
}  # fmt: skip
_TOKEN = re.compile(r"%[^\n]*|\\[A-Za-z]+|\\.|[{}$&#_^~<>|\"]|[^\\{}$&#_^~<>|\"%]+", re.DOTALL)


def rows_of(text: str) -> list[list[str]]:
    """The cells of each row of a longtable's body, intervals behind the values they stand below.

    Headings of groups are no rows, and a cell that spans columns stands in the first of them.

    Raises:
        AssertionError: when braces or environments do not match, a character is not escaped, a
            command is not known, or a row has not as many cells as the table has columns.
    """
    depth = 0
    for token in _TOKEN.findall(text):
        if token.startswith("%") or token in ("\\\\", "&") or token in ("\\{", "\\}"):
            continue
        if token == "{":
            depth += 1
        elif token == "}":
            depth -= 1
            assert depth >= 0, "a brace is closed that was not opened"
        elif token.startswith("\\"):
            assert token[1:] in _COMMANDS or token[1:] in set("$&#%_,"), token
        else:
            assert len(token) > 1 or token not in '$#_^~<>|"', token
            assert not set(token) & set('$#_^~<>|"'), token
    assert depth == 0, "a brace stays open"
    (columns,) = re.findall(r"\\begin\{longtable\}\{@\{\}(.*)@\{\}\}\n", text)
    num_columns = len(re.sub(r"p\{[^}]*\}", "p", columns))
    assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") == 1
    body = text.split("\\endlastfoot\n")[1].split("\\end{longtable}")[0]
    rows: list[list[str]] = []
    below = False
    for line in body.splitlines():
        if line == r"\midrule" or line.startswith(rf"\multicolumn{{{num_columns}}}{{@{{}}l}}"):
            assert not below, line
            continue
        found = re.fullmatch(r"(.*) \\\\(\*\[-0\.6ex\])?", line)
        assert found, line
        cells = [cell.strip() for cell in re.split(r"(?<!\\)&", found[1])]
        assert sum(map(_width, cells)) == num_columns, line
        if below:
            rows[-1] = [
                f"{above} {cell}".strip() for above, cell in zip(rows[-1], cells, strict=True)
            ]
        else:
            rows.append(cells)
        below = bool(found[2])
    assert not below, "values wait for their intervals"
    return rows


def _width(cell: str) -> int:
    spanned = re.match(r"\\multicolumn\{(\d+)\}", cell)
    return int(spanned[1]) if spanned else 1
