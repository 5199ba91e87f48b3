"""PopQA: the published table's form."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from sftlens.errors import UserError
from sftlens.facts import read_facts, topics_with

COLUMNS = [
    *("id", "subj", "prop", "obj", "subj_id", "prop_id", "obj_id", "s_aliases", "o_aliases"),
    *("s_uri", "o_uri", "s_wiki_title", "o_wiki_title", "s_pop", "o_pop", "question"),
    "possible_answers",
]
PROPS = {
    "occupation": ("P106", "out"),
    "place of birth": ("P19", "in"),
    "genre": ("P136", "out"),
    "father": ("P22", "out"),
    "country": ("P17", "in"),
    "producer": ("P162", "out"),
    "director": ("P57", "out"),
    "capital of": ("P1376", "out"),
    "screenwriter": ("P58", "out"),
    "composer": ("P86", "out"),
    "color": ("P462", "out"),
    "religion": ("P140", "out"),
    "sport": ("P641", "out"),
    "author": ("P50", "out"),
    "mother": ("P25", "out"),
    "capital": ("P36", "in"),
}


def write(path: Path, *rows: dict[str, str], quoting: int = csv.QUOTE_MINIMAL) -> str:
    """A table of rows that tell some columns; gives its source."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(
            file, COLUMNS, delimiter="\t", restval="1", quoting=quoting, quotechar='"'
        )
        writer.writeheader()
        writer.writerows(rows)
    return f"popqa:{path}"


def asked(subject: str, prop: str, *answers: str, **changes: str) -> dict[str, str]:
    question = f"{prop} of {subject}?"
    listed = json.dumps(list(answers))
    return {
        **{"subj": subject, "prop": prop, "question": question, "possible_answers": listed},
        **changes,
    }


def test_every_relation(tmp_path: Path) -> None:
    rows = [asked("A", prop, "X") for prop in PROPS]
    read, dropped = read_facts(write(tmp_path / "popqa.tsv", *rows))
    assert [(fact.topic, fact.domain) for fact in read] == list(PROPS.values())
    assert {fact.split for fact in read} == {"test"}
    assert dropped == {}
    topics = topics_with()
    assert all(len(topics[fact.topic].templates) == 21 for fact in read)


def test_a_row_becomes_a_fact(tmp_path: Path) -> None:
    row = asked('Georgi "G" Kajlev', "occupation", "politician", "political leader", "pol.")
    (fact,) = read_facts(write(tmp_path / "popqa.tsv", row)).facts
    assert fact.subject == 'Georgi "G" Kajlev'
    assert fact.question == 'occupation of Georgi "G" Kajlev?'
    assert fact.answers == ("politician", "political leader", "pol.")
    assert fact.fact_id.startswith("P106-")


def test_lists_that_are_not_quoted(tmp_path: Path) -> None:
    header = "\t".join(COLUMNS)
    cells = [
        {"prop": "color", "possible_answers": '["red", "dark red"]'}.get(c, c) for c in COLUMNS
    ]
    (tmp_path / "popqa.tsv").write_text(f"{header}\n" + "\t".join(cells) + "\n")
    (fact,) = read_facts(f"popqa:{tmp_path / 'popqa.tsv'}").facts
    assert fact.answers == ("red", "dark red")


def test_what_is_dropped_and_why(tmp_path: Path) -> None:
    rows = [
        asked("A", "color", "red"),
        asked("A", "color", "blue"),
        asked("a", "color", "blue"),
        asked("B", "color"),
        asked("B", "color", possible_answers=""),
        asked("B", "taste", "sweet"),
    ]
    read, dropped = read_facts(write(tmp_path / "popqa.tsv", *rows))
    assert [fact.answers for fact in read] == [("red",)]
    assert dropped == {"repeated question": 2, "no answer": 2, "topic is unknown": 1}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"possible_answers": "[red"}, "line 2: answers '[red' begins like a list"),
        ({"possible_answers": '{"a": 1}'}, "line 2: answers '{\"a\": 1}' is an object"),
        ({"subj": ""}, "line 2: subj '' is no text"),
        ({"question": " "}, "line 2: question ' ' is no text"),
    ],
)
def test_refused_rows(tmp_path: Path, changes: dict[str, str], told: str) -> None:
    source = write(tmp_path / "popqa.tsv", asked("A", "color", "red", **changes))
    with pytest.raises(UserError) as refusal:
        read_facts(source)
    assert f"popqa.tsv, {told}" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_refused_tables(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a folder; give the \.tsv file"):
        read_facts(f"popqa:{tmp_path}")
    path = tmp_path / "popqa.tsv"
    path.write_text("id\tsubj\tprop\tquestion\n1\tA\tcolor\tA?\n")
    with pytest.raises(UserError, match="line 1: column possible_answers is missing"):
        read_facts(f"popqa:{path}")
    path.write_text("")
    with pytest.raises(UserError, match="holds no facts"):
        read_facts(f"popqa:{path}")
