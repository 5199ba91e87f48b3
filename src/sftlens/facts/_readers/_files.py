"""Facts from the user's own files."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sftlens.errors import UserError
from sftlens.facts._fact import Domain, Fact
from sftlens.facts._matching import fold
from sftlens.facts._readers import _checks
from sftlens.facts._readers._collected import Collected, fact_id
from sftlens.facts._readers._columns import REQUIRED_COLUMNS, renamed, require_columns
from sftlens.facts._readers._json import json_lines, parse
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
        fact, has_id = _fact(renamed(row, columns), where, topics)
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
    answers = columns.get("answers", "answers")
    for where, row in delimited_rows(path, columns, REQUIRED_COLUMNS, delimiter=","):
        cell = row[answers]
        if cell.lstrip().startswith("["):
            yield where, {**row, answers: parse(cell, f"{where}: answers {_checks.shown(cell)}")}
        else:
            yield where, row


def delimited_rows(
    path: Path, columns: Mapping[str, str], required: tuple[str, ...], *, delimiter: str
) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV or TSV file, each with the place that an error names.

    Raises:
        UserError: when the file is malformed or lacks a column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True, delimiter=delimiter)
            try:
                if reader.fieldnames is None:
                    return
                require_columns(reader.fieldnames, columns, required, f"{path}, line 1")
                for row in reader:
                    where = f"{path}, line {reader.line_num}"
                    if None in row or None in row.values():
                        raise UserError(
                            f"{where}: has not {len(reader.fieldnames)} fields; mend it"
                        )
                    yield where, row
            except csv.Error as error:
                where = f"{path}, line {reader.reader.line_num}"
                raise UserError(f"{where}: is no CSV ({error}); mend it") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from None


def _parquet_rows(path: Path, columns: Mapping[str, str]) -> _Rows:
    table = read_table(path, remedy="write it again")
    require_columns(table.columns, columns, REQUIRED_COLUMNS, str(path))
    for number, row in enumerate(table.iter_rows(named=True), start=1):
        yield f"{path}, row {number}", row


def _fact(row: Mapping[str, Any], where: str, topics: Mapping[str, Topic]) -> tuple[Fact, bool]:
    """The fact of a row, and whether the row brought its id."""
    topic = _checks.text(row, "topic", where)
    question = _checks.text(row, "question", where)
    answers = _checks.answers(row["answers"], where)
    if not answers:
        raise UserError(f"{where}: answers {row['answers']!r} holds no answer; give at least one")
    given = own_id(row, where)
    fact = Fact(
        given or fact_id(topic, fold(question)),
        topic,
        subject_of(row, where),
        question,
        answers,
        _checks.split(row.get("split") or "test", where),
        domain_of(row, topic, topics, where),
    )
    return fact, given is not None


def own_id(row: Mapping[str, Any], where: str) -> str | None:
    """The id that a row brings, if it does.

    Raises:
        UserError: when it is no text.
    """
    value = row.get("fact_id")
    if value is None or value == "":
        return None
    return _checks.text({"fact_id": str(value)}, "fact_id", where)


def subject_of(row: Mapping[str, Any], where: str) -> str:
    """The subject of a row; empty where it has none.

    Raises:
        UserError: when it is no text.
    """
    if row.get("subject") in (None, ""):
        return ""
    return _checks.text(row, "subject", where)


def domain_of(
    row: Mapping[str, Any], topic: str, topics: Mapping[str, Topic], where: str
) -> Domain:
    """The domain of a row; without one that of its topic, ``in`` where the topic is unknown.

    Raises:
        UserError: when it is no domain.
    """
    if row.get("domain"):
        return _checks.domain(row["domain"], where)
    return topics[topic].domain if topic in topics else "in"
