"""A written page, read back as text and tables."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

_VOID = {"meta", "input"}


class Page(HTMLParser):
    """The tables (by ``data-table``), the text by element id, and the links of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str]]] = []
        self._told: dict[str, list[str]] = {}
        self._open: list[tuple[str, str | None]] = []
        self._table: list[list[str]] | None = None
        self._cell = False
        self.feed(self.source)
        self.texts = {
            name: re.sub(r"\s+", " ", " ".join(["", *told])) for name, told in self._told.items()
        }

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        if tag not in _VOID:
            self._open.append((tag, given.get("id")))
        if tag == "table":
            self._table = self.tables.setdefault(given["data-table"], [])
        elif tag == "tr" and self._table is not None:
            self._table.append([])
        elif tag in ("td", "th") and self._table is not None:
            self._table[-1].append("")
            self._cell = True

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass
        if tag == "table":
            self._table = None
        elif tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] in ("script", "style"):
            return
        data = data.replace("\N{NO-BREAK SPACE}", " ")
        for _, name in self._open:
            if name:
                self._told.setdefault(name, []).append(data)
        if self._cell and self._table:
            self._table[-1][-1] = " ".join([self._table[-1][-1], data.strip()]).strip()

    def claim(self, name: str) -> tuple[str, str]:
        """A claim's verdict and everything that stands with it."""
        row = re.search(rf'<tr data-claim="{name}">(.*?)</tr>', self.source, re.DOTALL)
        assert row is not None
        verdict = re.search(r'<span class="verdict [^"]*">([^<]*)<', row[1])
        assert verdict is not None
        return verdict[1], re.sub(r"<[^>]*>", " ", row[1]).replace("\N{NO-BREAK SPACE}", " ")

    def rows(self, table: str) -> list[list[str]]:
        """A table's rows without its header."""
        return self.tables[table][1:]
