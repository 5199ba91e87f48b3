"""Which reader reads a source."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import polars as pl

from sftlens import notebook
from sftlens.errors import UserError
from sftlens.facts._aliases import AliasGroups, paper_aliases, with_aliases
from sftlens.facts._fact import Fact, facts_table
from sftlens.facts._readers._collected import Collected
from sftlens.facts._readers._columns import require_known_columns
from sftlens.facts._readers._entity_questions import read_entity_questions
from sftlens.facts._readers._files import read_file
from sftlens.facts._readers._hugging_face import read_hugging_face
from sftlens.facts._readers._open_questions import read_nq_open, read_trivia_qa
from sftlens.facts._readers._popqa import read_popqa
from sftlens.facts._topics import Topic, topics_with

WORLD_FACTS = "facts.parquet"
"""The facts of a world folder."""

_DATA_SETS: Mapping[str, Callable[[Path, Mapping[str, Topic]], Collected]] = MappingProxyType(
    {
        "entity_questions": read_entity_questions,
        "popqa": read_popqa,
        "nq_open": read_nq_open,
        "trivia_qa": read_trivia_qa,
    }
)
_HUGGING_FACE = "hf"

SOURCES: tuple[str, ...] = (*_DATA_SETS, _HUGGING_FACE)
"""The names that may stand before the colon of a source."""


class ReadFacts(NamedTuple):
    """Facts that were read, and how many rows were dropped for which reason."""

    facts: list[Fact]
    dropped: dict[str, int]

    def to_polars(self) -> pl.DataFrame:
        """A row a fact, with the columns of :data:`sftlens.facts.FACTS_SCHEMA`."""
        return facts_table(self.facts)

    def to_pandas(self) -> Any:
        """The same for pandas.

        Raises:
            UserError: when pandas is not installed.
        """
        return notebook.as_pandas(self.to_polars())

    def _repr_html_(self) -> str:
        shown = self.to_polars().with_columns(pl.col("answers").list.join("; "))
        dropped = [f"dropped {number:,}: {reason}" for reason, number in self.dropped.items()]
        return notebook.as_html(f"{len(self.facts):,} facts", shown, dropped)


def read_facts(
    source: str | Path,
    *,
    topics: Mapping[str, Topic] | None = None,
    aliases: AliasGroups | None = (),
    columns: Mapping[str, str] | None = None,
) -> ReadFacts:
    """Read facts from a file, a world folder or a known data set, and clean them.

    What is no path that exists and reads ``NAME:REST`` names a data set:

    - ``entity_questions:FOLDER``: the unpacked data set. A question with several answers is
      dropped; then one row stays for each distinct question over all topics of a split and domain
      (paper section 1).
    - ``popqa:FILE.tsv``: every fact is of split ``test``.
    - ``nq_open:PATH``, ``trivia_qa:PATH``: a published file or a folder of them. Their facts have
      no relation: the subject is empty, and question prompts grade them, not templates.
    - ``hf:NAME[:CONFIGURATION][:SPLIT]``, or a folder instead of the name: a data set through the
      library ``datasets``.

    In all of them but the first, one row stays for each topic and question of a split, case and
    white space aside; a question that several splits ask stays in each.

    Any other source is a path: a folder that ``sftlens world`` wrote, or a ``.jsonl``, ``.csv`` or
    ``.parquet`` file with the columns ``topic, question, answers`` and, if it likes, ``subject,
    fact_id, split, domain``. Answers are one answer or a list, which may stand as text. Without a
    split a fact is of ``test``; without a domain, of its topic's domain, and of ``in`` where the
    topic is unknown. One row stays for each topic and question over all splits, so that no
    question that trains also tests; rows that bring a ``fact_id`` are compared to the letter and
    within their split only, so that a table written by ``sftlens facts --out`` reads back as it
    was.

    A ``fact_id`` that is not given is made of the topic and question, for data sets also of the
    split, and of no other row.

    Args:
        source: a path or ``NAME:REST``.
        topics: question forms and domains by topic; :func:`topics_with` by default.
        aliases: groups of names that mean the same, beside those of :func:`source_aliases`; None
            leaves the latter away too.
        columns: where the fields of a fact stand in rows with other names, for files and ``hf``:
            ``{"question": "q", "answers": "a.b"}``, nested by dots.

    Returns:
        The facts in the source's order, and the dropped rows counted by reason.

    Raises:
        UserError: when the source is absent, empty or malformed; row or line are named.
    """
    topics = topics_with() if topics is None else topics
    columns = {} if columns is None else columns
    require_known_columns(columns)
    name, rest = _split(source)
    if name in _DATA_SETS:
        if columns:
            raise UserError(f"{name}: has columns of its own; leave the column map away")
        read = _DATA_SETS[name](_existing(rest, source), topics)
    elif name == _HUGGING_FACE:
        read = read_hugging_face(rest, topics, columns)
    else:
        read = read_file(_file(Path(source)), topics, columns)
    if not read.facts:
        told = ", ".join(f"{number} dropped: {reason}" for reason, number in read.dropped.items())
        raise UserError(f"{source}: holds no facts{told and f' ({told})'}; give at least one row")
    if aliases is not None:
        read.facts = with_aliases(read.facts, [*source_aliases(source), *aliases])
    return ReadFacts(read.facts, dict(read.dropped))


def source_aliases(source: str | Path) -> AliasGroups:
    """The alias groups that belong to a source: the table of the paper to EntityQuestions."""
    return paper_aliases() if _split(source)[0] == "entity_questions" else ()


def _split(source: str | Path) -> tuple[str, str]:
    """The name and the rest of ``NAME:REST``; an empty name where the source is a path.

    A single letter before the colon is a drive.
    """
    found = re.fullmatch(r"(\w[\w.-]+):(.*)", str(source), re.DOTALL)
    if isinstance(source, Path) or found is None or _exists(Path(source)):
        return "", str(source)
    name, rest = found.groups()
    if name not in SOURCES:
        raise UserError(f"{source}: {name!r} is no known data set; known: {', '.join(SOURCES)}")
    if not rest.strip():
        raise UserError(f"{source}: names no place; write {name}:PATH")
    # No shell expands a home folder after a colon; Path.expanduser raises where there is none.
    return name, os.path.expanduser(rest)  # noqa: PTH111


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a name, or with a zero byte
        return False


def _existing(rest: str, source: str | Path) -> Path:
    if not _exists(Path(rest)):
        raise UserError(f"{source}: {rest} does not exist; give the place of the data set")
    return Path(rest)


def _file(path: Path) -> Path:
    if not _exists(path):
        raise UserError(f"{path}: does not exist; give a facts file or a world folder")
    if not path.is_dir():
        return path
    if not (path / WORLD_FACTS).is_file():
        raise UserError(f"{path}: holds no {WORLD_FACTS}; give a world folder or a facts file")
    return path / WORLD_FACTS
