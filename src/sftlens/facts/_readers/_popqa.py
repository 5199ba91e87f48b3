"""PopQA (Mallen et al., ACL 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from sftlens.errors import UserError
from sftlens.facts._fact import Fact
from sftlens.facts._matching import fold
from sftlens.facts._readers import _collected, _values
from sftlens.facts._readers._collected import Collected, fact_id
from sftlens.facts._readers._files import delimited_rows
from sftlens.facts._topics import Topic

_COLUMNS = ("subj", "prop", "question", "possible_answers")

TOPICS: Mapping[str, str] = MappingProxyType(
    {
        "occupation": "P106",
        "place of birth": "P19",
        "genre": "P136",
        "father": "P22",
        "country": "P17",
        "producer": "P162",
        "director": "P57",
        "capital of": "P1376",
        "screenwriter": "P58",
        "composer": "P86",
        "color": "P462",
        "religion": "P140",
        "sport": "P641",
        "author": "P50",
        "mother": "P25",
        "capital": "P36",
    }
)
"""Topics by the names of PopQA's relations; its ``capital`` asks for the capital of the subject."""


def read_popqa(path: Path, topics: Mapping[str, Topic]) -> Collected:
    """Facts of the published table, all of split ``test``.

    Raises:
        UserError: when the table is malformed or lacks a column.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the .tsv file of PopQA")
    collected = Collected()
    for where, row in delimited_rows(path, {}, _COLUMNS, delimiter="\t"):
        topic = TOPICS.get(row["prop"])
        subject, question = (_values.text(row, column, where) for column in ("subj", "question"))
        answers, refused = _values.answers(row["possible_answers"], where)
        if not collected.has_answer(answers, refused):
            continue
        if topic is None:
            collected.drop(_collected.UNKNOWN_TOPIC)
        else:
            identity = fact_id(topic, "test", question)
            domain = topics[topic].domain if topic in topics else "out"
            fact = Fact(identity, topic, subject, question, answers, "test", domain)
            collected.add(fact, (topic, fold(question)))
    return collected
