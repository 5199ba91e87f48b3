"""EntityQuestions (Sciavolino et al., EMNLP 2021), cleaned as in the paper (section 1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sftlens.errors import UserError
from sftlens.facts._fact import SPLITS, Fact, Split
from sftlens.facts._readers import _collected, _values
from sftlens.facts._readers._collected import Collected, fact_id
from sftlens.facts._readers._json import json_rows, parse, read_text
from sftlens.facts._readers._splits import split_of_name
from sftlens.facts._topics import Topic

_FOLDERS = ("train", "dev", "test")


class _Part(NamedTuple):
    """One file: the questions of one topic and split."""

    path: Path
    topic: str
    split: Split


def read_entity_questions(path: Path, topics: Mapping[str, Topic]) -> Collected:
    """Facts of the unpacked data set, of one of its folders, or of one of its files.

    A set is one split and one domain. The facts come split by split, topic by topic in the order
    of ``topics``, and where several topics of a set ask the same, the first of them keeps it.

    Raises:
        UserError: when no file has the form ``P19.train.json``, or one is malformed.
    """
    collected = Collected()
    order = list(topics)
    parts = sorted(
        _parts(path),
        key=lambda part: (
            SPLITS.index(part.split),
            order.index(part.topic) if part.topic in topics else len(order),
            part.path,
        ),
    )
    for part in parts:
        _read_part(part, topics.get(part.topic), collected)
    return collected


def _parts(path: Path) -> list[_Part]:
    folders = [path, *(path / name for name in _FOLDERS)]
    files = [path] if path.is_file() else [file for at in folders for file in at.glob("*.json")]
    found = [(file, re.fullmatch(r"(P\d+)\.(train|dev|test)\.json", file.name)) for file in files]
    parts = [_Part(file, name[1], split_of_name(name[2])) for file, name in found if name]
    if not parts:
        raise UserError(
            f"{path}: holds no file like train/P19.train.json; "
            "give the folder that dataset.zip unpacks to"
        )
    return parts


def _read_part(part: _Part, topic: Topic | None, collected: Collected) -> None:
    for where, row in json_rows(part.path, parse(read_text(part.path), str(part.path))):
        question = _values.text(row, "question", where)
        answers, refused = _values.answers(row.get("answers"), where)
        if not collected.has_answer(answers, refused):
            continue
        if len(answers) > 1:
            collected.drop(_collected.SEVERAL_ANSWERS)
        elif topic is None:
            collected.drop(_collected.UNKNOWN_TOPIC)
        elif (subject := topic.subject(question)) is None:
            collected.drop(_collected.OTHER_FORM)
        else:
            # Questions are told apart to the letter: only that gives the paper's totals.
            identity = fact_id(topic.topic, part.split, question)
            fact = Fact(identity, topic.topic, subject, question, answers, part.split, topic.domain)
            collected.add(fact, (part.split, topic.domain, question))
