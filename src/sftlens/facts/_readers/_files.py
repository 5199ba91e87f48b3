"""Facts from the user's own files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sftlens.delimited import read_delimited
from sftlens.errors import UserError
from sftlens.facts._fact import FACT_FIELDS, Domain, Fact
from sftlens.facts._matching import fold
from sftlens.facts._readers import _values
from sftlens.facts._readers._collected import Collected, fact_id
from sftlens.facts._readers._columns import REQUIRED_COLUMNS, renamed, require_columns
from sftlens.facts._readers._json import json_lines
from sftlens.facts._topics import Topic
from sftlens.tables import read_table

_Rows = Iterator[tuple[str, Mapping[str, Any]]]


def read_file(path: Path, topics: Mapping[str, Topic], columns: Mapping[str, str]) -> Collected:
    """Facts of a ``.jsonl``, ``.csv`` or ``.parquet`` file; see :func:`sftlens.facts.read_facts`.

    Raises:
        UserError: naming line or row.
    """
    readers = {".jsonl": _json_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}
    if path.suffix not in readers:
        raise UserError(f"{path}: is none of {', '.join(readers)}; convert it to one of them")
    collected = Collected()
    for where, row in readers[path.suffix](path, columns):
        row = renamed(row, columns)
        answers, refused = _values.answers(row["answers"], where)
        if not collected.has_answer(answers, refused):
            continue
        fact, has_id = _fact(row, answers, where, topics)
        if has_id:
            collected.add(fact, ("to the letter", fact.topic, fact.split, fact.question))
        else:
            collected.add(fact, (fact.topic, fold(fact.question)))
    require_unique_ids(collected, str(path))
    return collected


def require_unique_ids(collected: Collected, source: str) -> None:
    """Refuse facts of which two have the same id.

    Raises:
        UserError: naming the id.
    """
    ids = Counter(fact.fact_id for fact in collected.facts)
    for repeated, uses in ids.most_common(1):
        if uses > 1:
            raise UserError(
                f"{source}: fact_id {repeated!r} stands {uses} times; make the ids unique"
            )


def _json_rows(path: Path, columns: Mapping[str, str]) -> _Rows:
    for where, row in json_lines(path):
        require_columns(row, columns, REQUIRED_COLUMNS, where)
        yield where, row


def _csv_rows(path: Path, columns: Mapping[str, str]) -> _Rows:
    return delimited_rows(path, columns, REQUIRED_COLUMNS, delimiter=",")


def delimited_rows(
    path: Path, columns: Mapping[str, str], required: tuple[str, ...], *, delimiter: str
) -> _Rows:
    """The rows of a CSV or TSV file, each with the place that an error names.

    Raises:
        UserError: when the file is malformed or lacks a column.
    """

    def used(header: Sequence[str]) -> list[str]:
        require_columns(header, columns, required, f"{path}, line 1")
        places = {place.split(".")[0] for place in columns.values()}
        return [name for name in header if name in places or name in (*required, *FACT_FIELDS)]

    return read_delimited(path, delimiter=delimiter, used=used)


def _parquet_rows(path: Path, columns: Mapping[str, str]) -> _Rows:
    table = read_table(path, remedy="write it again")
    require_columns(table.columns, columns, REQUIRED_COLUMNS, str(path))
    for number, row in enumerate(table.iter_rows(named=True), start=1):
        yield f"{path}, row {number}", row


def _fact(
    row: Mapping[str, Any], answers: tuple[str, ...], where: str, topics: Mapping[str, Topic]
) -> tuple[Fact, bool]:
    """The fact of a row, and whether the row brought its id."""
    topic = _values.text(row, "topic", where)
    question = _values.text(row, "question", where)
    given = _values.optional_text(row, "fact_id", where)
    fact = Fact(
        given or fact_id(topic, fold(question)),
        topic,
        _values.optional_text(row, "subject", where) or "",
        question,
        answers,
        _values.split(row, where) or "test",
        domain_of(row, topic, topics, where),
    )
    return fact, given is not None


def domain_of(
    row: Mapping[str, Any], topic: str, topics: Mapping[str, Topic], where: str
) -> Domain:
    """The domain of a row; without one that of its topic, ``in`` where the topic is unknown.

    Raises:
        UserError: when it is no domain.
    """
    known = topics[topic].domain if topic in topics else "in"
    return _values.domain(row, where) or known
