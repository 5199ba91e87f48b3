"""Facts from the user's files and from world folders."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sftlens.errors import UserError
from sftlens.facts._fact import DOMAINS, SPLITS, Fact
from sftlens.facts._matching import fold
from sftlens.facts._topics import builtin_topics
from sftlens.tables import read_table

WORLD_FACTS = "facts.parquet"
"""The facts of a world folder."""

REQUIRED_COLUMNS = ("topic", "subject", "question", "answers")
_SUFFIXES = (".jsonl", ".csv", ".parquet")


class ReadFacts(NamedTuple):
    """Facts that were read, and how many rows were dropped for which reason."""

    facts: list[Fact]
    dropped: dict[str, int]


def read_facts(source: str | Path) -> ReadFacts:
    """Read facts from a file or a world folder.

    Args:
        source: a ``.jsonl``, ``.csv`` or ``.parquet`` file with the columns ``topic, subject,
            question, answers`` and, if it likes, ``fact_id, split, domain``; or a folder that
            ``sftlens world`` wrote. In CSV, answers are one answer or a JSON list. Without a
            split a fact is of ``test``; without a domain, of its topic's domain.

    Returns:
        The facts in the file's order. Rows that repeat a topic's question are dropped and counted.

    Raises:
        UserError: when the source is absent, empty or malformed; row or line are named.
    """
    path = Path(source)
    if path.is_dir():
        if not (path / WORLD_FACTS).is_file():
            raise UserError(f"{path}: holds no {WORLD_FACTS}; give a world folder or a facts file")
        path = path / WORLD_FACTS
    if not path.exists():
        raise UserError(f"{source}: does not exist; give a facts file or a world folder")
    if path.suffix not in _SUFFIXES:
        raise UserError(f"{path}: is none of {', '.join(_SUFFIXES)}; convert it to one of them")
    facts: list[Fact] = []
    seen: set[tuple[str, str]] = set()
    dropped: Counter[str] = Counter()
    for where, row in _rows(path):
        fact = _fact(row, f"{path}, {where}")
        key = (fact.topic, fold(fact.question))
        if key in seen:
            dropped["repeated question"] += 1
            continue
        seen.add(key)
        facts.append(fact)
    if not facts:
        raise UserError(f"{path}: holds no facts; give a file with at least one row")
    ids = Counter(fact.fact_id for fact in facts)
    fact_id, uses = ids.most_common(1)[0]
    if uses > 1:
        raise UserError(f"{path}: fact_id {fact_id!r} stands {uses} times; make the ids unique")
    return ReadFacts(facts, dict(dropped))


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        if path.suffix == ".jsonl":
            yield from _json_rows(path)
        elif path.suffix == ".csv":
            yield from _csv_rows(path)
        else:
            yield from _parquet_rows(path)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from None


def _json_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}, line {number}: is no JSON ({error}); mend it") from None
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number}: is no JSON object; write one a line")
            _require_columns(row, f"{path}, line {number}")
            yield f"line {number}", row


def _csv_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            if reader.fieldnames is None:
                return
            _require_columns(dict.fromkeys(reader.fieldnames), f"{path}, line 1")
            for row in reader:
                where = f"line {reader.line_num}"
                if None in row or None in row.values():
                    raise UserError(
                        f"{path}, {where}: has not {len(reader.fieldnames)} fields; mend it"
                    )
                yield where, {**row, "answers": _csv_answers(row["answers"], f"{path}, {where}")}
        except csv.Error as error:
            raise UserError(
                f"{path}, line {reader.reader.line_num}: is no CSV ({error}); mend it"
            ) from None


def _csv_answers(cell: str, where: str) -> Any:
    if not cell.lstrip().startswith("["):
        return [cell]
    try:
        return json.loads(cell)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: answers {cell!r} is no JSON list ({error}); mend it") from None


def _parquet_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    table = read_table(path, remedy="write it again")
    _require_columns(dict.fromkeys(table.columns), str(path))
    for number, row in enumerate(table.iter_rows(named=True), start=1):
        yield f"row {number}", row


def _require_columns(row: Mapping[str, Any], where: str) -> None:
    missing = [column for column in REQUIRED_COLUMNS if column not in row]
    if missing:
        raise UserError(
            f"{where}: column {', '.join(missing)} is missing; "
            f"needed: {', '.join(REQUIRED_COLUMNS)}"
        )


def _fact(row: Mapping[str, Any], where: str) -> Fact:
    topic, subject, question = (_text(row, name, where) for name in REQUIRED_COLUMNS[:3])
    answers = row["answers"]
    if isinstance(answers, str):
        answers = [answers]
    if not isinstance(answers, list | tuple) or not answers:
        raise UserError(f"{where}: answers {answers!r} is no list of answers; give at least one")
    for answer in answers:
        if not _is_text(answer):
            raise UserError(f"{where}: answer {answer!r} is no text; give a non-empty answer")
    split = row.get("split") or "test"
    known = builtin_topics().get(topic)
    domain = row.get("domain") or (known.domain if known else "in")
    if split not in SPLITS:
        raise UserError(f"{where}: split {split!r} is unknown; use {', '.join(SPLITS)}")
    if domain not in DOMAINS:
        raise UserError(f"{where}: domain {domain!r} is unknown; use {', '.join(DOMAINS)}")
    if row.get("fact_id") is None or row["fact_id"] == "":
        identity = json.dumps([topic, fold(question)], ensure_ascii=True)
        fact_id = f"{topic}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    else:
        fact_id = str(row["fact_id"])
        if not _is_text(fact_id):
            raise UserError(f"{where}: fact_id {fact_id!r} is no text; give a non-empty one")
    return Fact(fact_id, topic, subject, question, tuple(answers), split, domain)


def _text(row: Mapping[str, Any], column: str, where: str) -> str:
    value = row[column]
    if not _is_text(value):
        raise UserError(f"{where}: {column} {value!r} is no text; give a non-empty one")
    return str(value)


def _is_text(value: object) -> bool:
    """Whether a value is text with something in it; half a surrogate pair is no text."""
    if not isinstance(value, str) or not fold(value):
        return False
    return not any("\ud800" <= sign <= "\udfff" for sign in value)
