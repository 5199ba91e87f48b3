"""A strict reading of the LaTeX that tables are written in; no TeX is needed."""

from __future__ import annotations

import re

_COMMANDS = {
    "begin", "end", "caption", "label", "small", "scriptsize", "toprule", "midrule", "bottomrule",
    "endfirsthead", "endhead", "endlastfoot", "ensuremath", "multicolumn", "linewidth",
    "textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater", "textbar",
    "textquotedbl", "alpha", "times", "textsuperscript",
}  # fmt: skip
_TOKEN = re.compile(r"%[^\n]*|\\[A-Za-z]+|\\.|[{}$&#_^~<>|\"]|[^\\{}$&#_^~<>|\"%]+", re.DOTALL)


def rows_of(text: str) -> list[list[str]]:
    """The cells of each row of a longtable's body.

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
            assert token[1:] in _COMMANDS or token[1:] in set("$&#%_"), token
        else:
            assert len(token) > 1 or token not in '$#_^~<>|"', token
            assert not set(token) & set('$#_^~<>|"'), token
    assert depth == 0, "a brace stays open"
    (columns,) = re.findall(r"\\begin\{longtable\}\{@\{\}(.*)@\{\}\}\n", text)
    num_columns = len(re.sub(r"p\{[^}]*\}", "p", columns))
    assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") == 1
    body = text.split("\\endlastfoot\n")[1].split("\\end{longtable}")[0]
    rows = []
    for line in body.splitlines():
        if line != r"\midrule":
            assert line.endswith(r" \\"), line
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)&", line[:-3])])
            assert len(rows[-1]) == num_columns, line
    return rows
