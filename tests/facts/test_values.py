"""Values in other spellings: the same table gives the same facts from every source."""

from __future__ import annotations

import csv
import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import polars as pl
import pytest

from sftlens.errors import UserError
from sftlens.facts import ReadFacts, read_facts

ANSWERS: list[tuple[Any, tuple[str, ...]]] = [
    ("Oslo", ("Oslo",)),
    (["Oslo", "Christiania"], ("Oslo", "Christiania")),
    ('["Oslo", "Christiania"]', ("Oslo", "Christiania")),
    ("['Oslo', \"King's Lynn\"]", ("Oslo", "King's Lynn")),
    ("['Oslo' 'Christiania']", ("Oslo", "Christiania")),  # NumPy's, as datasets writes CSV
    ("['Oslo'\n \"King's Lynn\"]", ("Oslo", "King's Lynn")),
    ("[1952 1994]", ("1952", "1994")),
    ("['Oslo', None, nan]", ("Oslo",)),
    ([["Oslo"], ["Christiania"]], ("Oslo", "Christiania")),
    ("NA", ("NA",)),
    ("None", ("None",)),
    ("nan", ("nan",)),
    ("null", ("null",)),
    ("007", ("007",)),
    ("1.50", ("1.50",)),
    ("1969.0", ("1969",)),
    ("1969-07-20T00:00:00", ("1969-07-20",)),
    ("1969-07-20 20:17:00", ("1969-07-20 20:17:00",)),
    ("(I Can't Get No) Satisfaction", ("(I Can't Get No) Satisfaction",)),
    (["Oslo", "<unk>"], ("Oslo",)),
    ("", ()),
    ("[]", ()),
    ("<unk>", ()),
    ("[UNK]", ()),
    ("True", ()),
]


def rows_of(answers: list[Any]) -> list[dict[str, Any]]:
    return [
        {
            "fact_id": str(number),
            "topic": "P36",
            "subject": f"Land {number}",
            "question": f"What is the capital of Land {number}?",
            "answers": answer,
            "split": "test",
        }
        for number, answer in enumerate(answers)
    ]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            listed = isinstance(row["answers"], list)
            answers = json.dumps(row["answers"]) if listed else row["answers"]
            writer.writerow({**row, "answers": answers})


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows), encoding="utf-8")


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    texts = [
        {
            **row,
            "answers": json.dumps(row["answers"])
            if isinstance(row["answers"], list)
            else row["answers"],
        }
        for row in rows
    ]
    pl.DataFrame(texts).write_parquet(path)


WRITERS = {".csv": write_csv, ".jsonl": write_jsonl, ".parquet": write_parquet}


def from_all(tmp_path: Path, rows: list[dict[str, Any]], **writers: Any) -> dict[str, ReadFacts]:
    """The facts of a table from each file, and from a data set of the same file."""
    found = {}
    for suffix, write in {**WRITERS, **writers}.items():
        folder = tmp_path / f"set{suffix}"
        folder.mkdir()
        path = folder / f"test{suffix}"
        write(path, rows)
        found[suffix] = read_facts(path)
        found[f"hf{suffix}"] = read_facts(f"hf:{folder}")
    return found


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_the_same_table_in_every_format_gives_the_same_facts(tmp_path: Path) -> None:
    # Columns of JSON lines hold one type each in a data set: lists go as text there.
    rows = rows_of([json.dumps(a) if isinstance(a, list) else a for a, _ in ANSWERS])
    found = from_all(tmp_path, rows)
    expected = {f"Land {n}": answers for n, (_, answers) in enumerate(ANSWERS) if answers}
    for source, (facts, dropped) in found.items():
        assert {fact.subject: fact.answers for fact in facts} == expected, source
        assert facts == found[".csv"].facts, source
        assert dropped == {
            "no answer": 2,
            "answer withheld": 2,
            "answer true or false": 1,
            "answer withheld, beside others that stay": 1,
        }, source


@pytest.mark.parametrize(
    ("values", "spelled"),
    [
        ([1, 1952], ["1", "1952"]),
        ([1.0, 2.5], ["1", "2.5"]),
        ([date(1969, 7, 20), date(1971, 1, 1)], ["1969-07-20", "1971-01-01"]),
        ([datetime(1969, 7, 20), datetime(1971, 1, 1)], ["1969-07-20", "1971-01-01"]),
        ([datetime(1969, 7, 20, 20, 17)], ["1969-07-20 20:17:00"]),
    ],
)
def test_numbers_and_dates_have_one_spelling(
    tmp_path: Path, values: list[Any], spelled: list[str]
) -> None:
    def typed(path: Path, rows: list[dict[str, Any]]) -> None:
        pl.DataFrame(rows).write_parquet(path)

    def by_polars(path: Path, rows: list[dict[str, Any]]) -> None:
        pl.DataFrame(rows).write_csv(path)

    writers = {".parquet": typed, ".csv": by_polars}
    for source, read in from_all(tmp_path, rows_of(values), **writers).items():
        assert [fact.answers for fact in read.facts] == [(text,) for text in spelled], source


def test_numbers_as_subjects_and_ids(tmp_path: Path) -> None:
    row = {"topic": 36, "subject": 433.0, "question": "Who found 433?", "answers": ["Witt"]}
    pl.DataFrame([{**row, "fact_id": 1.0}]).write_parquet(tmp_path / "facts.parquet")
    write_jsonl(tmp_path / "facts.jsonl", [{**row, "fact_id": 1}])
    write_csv(tmp_path / "facts.csv", [{**row, "fact_id": "1"}])
    read = [read_facts(tmp_path / f"facts{suffix}").facts for suffix in WRITERS]
    assert read[0] == read[1] == read[2]
    (fact,) = read[0]
    assert (fact.fact_id, fact.topic, fact.subject) == ("1", "36", "433")


def test_missing_values_are_missing_in_every_field(tmp_path: Path) -> None:
    rows = [
        {"topic": "P36", "question": "A?", "answers": "X", "subject": 1.0, "split": "train"},
        {"topic": "P36", "question": "B?", "answers": None, "subject": None, "split": None},
        {"topic": "P36", "question": "C?", "answers": "Y", "subject": float("nan"), "split": " "},
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "facts.parquet")
    facts, dropped = read_facts(tmp_path / "facts.parquet")
    assert [(fact.subject, fact.split) for fact in facts] == [("1", "train"), ("", "test")]
    assert dropped == {"no answer": 1}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("['Oslo', 'Bergen' 'Vik']", "has commas between some items only"),
        ("['a' 'b' ... 'y' 'z']", "was cut short when it was printed"),
        ('["Oslo", "Christiania"', "begins like a list and is none"),
        ("[Untitled]", "begins like a list and is none"),
        ("['Oslo'] and more", "begins like a list and is none"),
        ("['Oslo'", "begins like a list and is none"),
        ("[array(['Oslo'], dtype=object)]", "begins like a list and is none"),
        ("{'text': ['Oslo'], 'start': [0]}", "is an object and no list"),
    ],
)
def test_text_that_begins_like_a_list_is_refused(tmp_path: Path, value: str, told: str) -> None:
    for suffix, write in WRITERS.items():
        write(tmp_path / f"facts{suffix}", rows_of(["Oslo", value]))
        with pytest.raises(UserError, match=told) as refusal:
            read_facts(tmp_path / f"facts{suffix}")
        assert "\n" not in str(refusal.value)
    # The remedy.
    write_csv(tmp_path / "facts.csv", rows_of([json.dumps([value])]))
    assert read_facts(tmp_path / "facts.csv").facts[0].answers == (value,)


def test_values_of_other_libraries() -> None:
    from sftlens.facts._readers._values import answers

    assert answers(np.array(["Oslo", "Vik"], dtype=object), "").texts == ("Oslo", "Vik")
    assert answers(np.array([1.0, np.nan]), "").texts == ("1",)
    assert answers([np.int64(3), np.datetime64("1969-07-20")], "").texts == ("3", "1969-07-20")
    assert answers(Decimal("12.00"), "").texts == ("12",)
    assert answers([b"raw", float("inf"), "\ud800"], "").refused == ("answer not text",) * 3
    assert answers([True, np.False_], "").refused == ("answer true or false",) * 2


def test_objects_in_columns_of_text(tmp_path: Path) -> None:
    answer = {"value": "Oslo", "aliases": ["Oslo", "Christiania"]}
    for form in (answer, json.dumps(answer)):
        write_jsonl(tmp_path / "facts.jsonl", rows_of([form]))
        columns = {"answers": "answers.aliases"}
        (fact,) = read_facts(tmp_path / "facts.jsonl", columns=columns).facts
        assert fact.answers == ("Oslo", "Christiania")


def test_withheld_answers_of_trivia_qa(tmp_path: Path) -> None:
    hidden = {"aliases": [], "normalized_aliases": [], "normalized_value": "", "value": "<unk>"}
    lines = [{"question": f"Which is town {n}?", "answer": hidden} for n in range(3)]
    write_jsonl(tmp_path / "test.jsonl", lines)
    with pytest.raises(UserError, match=r"holds no facts \(3 dropped: answer withheld\)"):
        read_facts(f"trivia_qa:{tmp_path / 'test.jsonl'}")


def test_headers_with_blanks(tmp_path: Path) -> None:
    path = tmp_path / "facts.csv"
    path.write_text('topic , question, answers\nP36, "What, then?", "[""Oslo"", ""Vik""]"\n')
    (fact,) = read_facts(path).facts
    assert (fact.topic, fact.question, fact.answers) == ("P36", "What, then?", ("Oslo", "Vik"))
    path.write_text("topic,question,answers\nP36, What?,Oslo\n")
    assert read_facts(path).facts[0].question == " What?"


def test_a_column_that_stands_twice(tmp_path: Path) -> None:
    path = tmp_path / "facts.csv"
    path.write_text("topic,question,answers,question\nP36,A?,Oslo,B?\n")
    with pytest.raises(UserError, match="line 1: column question stands 2 times in the header"):
        read_facts(path)
    path.write_text("topic,question,answers, note,note,,\nP36,A?,Oslo,x,y,,\n")
    assert len(read_facts(path).facts) == 1
    with pytest.raises(UserError, match="column note stands 2 times"):
        read_facts(path, columns={"subject": "note"})
