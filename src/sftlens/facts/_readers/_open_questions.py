"""Open questions without a relation: NQ-open (Lee et al., ACL 2019) and TriviaQA (Joshi et al.,
ACL 2017)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sftlens.errors import UserError
from sftlens.facts._fact import Fact
from sftlens.facts._matching import fold
from sftlens.facts._readers import _values
from sftlens.facts._readers._collected import Collected, fact_id
from sftlens.facts._readers._columns import at
from sftlens.facts._readers._json import json_lines, json_rows, read_text
from sftlens.facts._readers._splits import split_of_name
from sftlens.facts._topics import Topic

_SUFFIXES = (".json", ".jsonl")


class _Row(NamedTuple):
    """The question of a row, and the value that holds its answers."""

    question: str
    answers: object


def read_nq_open(path: Path, topics: Mapping[str, Topic]) -> Collected:
    """Facts of the published JSON lines, topic ``nq_open``.

    Raises:
        UserError: naming line or row.
    """
    return _read(path, "nq_open", _nq_open, topics)


def read_trivia_qa(path: Path, topics: Mapping[str, Topic]) -> Collected:
    """Facts of the official release or of JSON lines as the hub has them, topic ``trivia_qa``.

    The value is the first answer; its aliases and their normalized forms are accepted too.

    Raises:
        UserError: naming line or row.
    """
    return _read(path, "trivia_qa", _trivia_qa, topics)


def _nq_open(row: Mapping[str, Any], where: str) -> _Row:
    return _Row(_values.text(row, "question", where), row.get("answer"))


def _trivia_qa(row: Mapping[str, Any], where: str) -> _Row:
    official = "Question" in row
    question = _values.text(row, "Question" if official else "question", where)
    answer = row.get("Answer" if official else "answer")
    if not isinstance(answer, dict | None):
        raise UserError(f"{where}: answer {_values.shown(answer)} is no object; fix it")
    names = ["Value", "Aliases", "NormalizedAliases"]
    if not official:
        names = ["value", "aliases", "normalized_aliases"]
    return _Row(question, [at(answer, name) for name in names])


def _read(
    path: Path,
    topic: str,
    row_of: Callable[[Mapping[str, Any], str], _Row],
    topics: Mapping[str, Topic],
) -> Collected:
    collected = Collected()
    domain = topics[topic].domain if topic in topics else "in"
    for file in _files(path):
        split = split_of_name(file.name)
        for where, row in _rows(file):
            question, value = row_of(row, where)
            answers, refused = _values.answers(value, where)
            if not collected.has_answer(answers, refused):
                continue
            unique: dict[str, str] = {}
            for answer in answers:
                unique.setdefault(fold(answer), answer)
            identity = fact_id(topic, split, question)
            fact = Fact(identity, topic, "", question, tuple(unique.values()), split, domain)
            collected.add(fact, (split, fold(question)))
    return collected


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())
    if not files:
        raise UserError(f"{path}: holds no {' or '.join(_SUFFIXES)} file; give the data set's")
    return files


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a list, of an object with ``Data``, or of JSON lines."""
    if path.suffix != ".json":
        return json_lines(path)
    text = read_text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return json_lines(path)
    if isinstance(content, dict) and "Data" not in content:
        return json_lines(path)  # a single line
    return json_rows(path, content["Data"] if isinstance(content, dict) else content)
