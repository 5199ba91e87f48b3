"""Completions on disk as they are made, so that none is ever made twice.

A ledger is a folder with one folder for each way of making completions (the model and how it
decodes, hashed), which takes them by what they complete: the text of the prompt and the number of
the sample. Nothing else counts, so that other templates, facts, samples, answers, batch sizes or
numbers of devices find whatever is there already.

While a process works, it appends one line a batch to a file of its own; a line that it was killed
over is not read. When it ends its lines become a Parquet file. Several may work at the same time.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import polars as pl

from sftlens.errors import UserError, first_line
from sftlens.manifest import content_key
from sftlens.outputs import new_file, require_writable
from sftlens.tables import columns_of, read_table
from sftlens.texts import json_text

LEDGER_SCHEMA = pl.Schema(
    {"prompt": pl.String(), "sample": pl.Int32(), "text": pl.String(), "cut": pl.Boolean()}
)
"""``cut``: the text was left as soon as its outcome was settled, so it may be a beginning only."""

_ABOUT = "about.json"


class Entry(NamedTuple):
    """One completion."""

    prompt: str
    sample: int
    text: str
    cut: bool


class Ledger:
    """The completions of one way of making them; a context, in which it takes new ones.

    Args:
        folder: the ledger; made when the first completion comes.
        about: the way: everything that a completion depends on beside prompt and sample.

    Raises:
        UserError: when the folder cannot be a ledger, or what lies there is damaged.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: is a file; choose a folder for the ledger")
        require_writable(folder)
        self.folder = folder / content_key(about)
        self._about = dict(about)
        self._lines = self.folder / f"{uuid.uuid4().hex}.jsonl"
        self._file: BinaryIO | None = None
        self._before = self._files()
        self._read: dict[Path, pl.DataFrame] = {}

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            if kind is None:
                self._pack()
        if kind is None and self.folder.is_dir():
            self._begin()  # what lies there may have been taken over from elsewhere

    def add(self, batch: Sequence[Entry]) -> None:
        """Take a batch: when this returns, killing the process does not lose it."""
        if not batch:
            return
        if self._file is None:
            self._begin()
            self._file = self._lines.open("ab", buffering=0)
        line = json.dumps(batch, ensure_ascii=True).encode() + b"\n"
        while line:
            line = line[self._file.write(line) :]

    def known(self, prompts: Iterable[str]) -> pl.DataFrame:
        """The completions of some prompts that were there when the ledger was opened.

        As :func:`each_once` gives them. What lies there is read once, however often this is asked.
        """
        for path in self._before:
            if path not in self._read:
                self._read[path] = _read(path)
        return each_once(_of_prompts(self._read.values(), prompts))

    def table(self, prompts: Iterable[str] | None = None) -> pl.DataFrame:
        """The completions, as :func:`each_once` gives them.

        Args:
            prompts: of these prompts only.
        """
        return each_once(_of_prompts(map(_read, self._files()), prompts))

    def _begin(self) -> None:
        """Make the folder, now that something comes into it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / _ABOUT).is_file():
            with new_file(self.folder / _ABOUT) as path:
                path.write_text(json_text(self._about, indent=2), "utf-8")

    def _pack(self) -> None:
        """Make a Parquet file of this process's lines."""
        with new_file(self._lines.with_suffix(".parquet")) as path:
            _read_lines(self._lines).write_parquet(path)
        self._lines.unlink()

    def _files(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(p for p in self.folder.iterdir() if p.suffix in (".jsonl", ".parquet"))


def each_once(entries: pl.DataFrame) -> pl.DataFrame:
    """Completions, :data:`LEDGER_SCHEMA`, sorted by prompt and sample, each once.

    Of one that was made several times a whole text is taken before one that was cut, and of several
    that were cut the longest: the shorter are its beginning.
    """
    return (
        entries.with_columns(length=pl.col("text").str.len_bytes())
        .sort("prompt", "sample", "cut", "length", "text", descending=[False] * 3 + [True, False])
        .unique(["prompt", "sample"], keep="first", maintain_order=True)
        .drop("length")
    )


def _of_prompts(tables: Iterable[pl.DataFrame], prompts: Iterable[str] | None) -> pl.DataFrame:
    if prompts is not None:
        wanted = pl.DataFrame({"prompt": sorted(set(prompts))}, schema={"prompt": pl.String})
        tables = [table.join(wanted, on="prompt", how="semi") for table in tables]
    return pl.concat([LEDGER_SCHEMA.to_frame(), *tables])


def _read(path: Path) -> pl.DataFrame:
    if path.suffix == ".jsonl":
        try:
            return _read_lines(path)
        except FileNotFoundError:
            path = path.with_suffix(".parquet")  # its process has just packed it
    table = read_table(path, remedy="remove it", columns=columns_of(LEDGER_SCHEMA))
    return table.select(LEDGER_SCHEMA.names())


def _read_lines(path: Path) -> pl.DataFrame:
    entries: list[list[Any]] = []
    try:
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):  # else its process was killed while it wrote
                    entries += json.loads(line)
        return pl.DataFrame(entries, schema=LEDGER_SCHEMA, orient="row")
    except (ValueError, TypeError, RecursionError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path}: is damaged ({first_line(error)}); remove it") from None
