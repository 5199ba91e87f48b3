"""NQ-open and TriviaQA: the forms they are published in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sftlens.errors import UserError
from sftlens.facts import read_facts, topics_with


def write_lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_release(path: Path, *rows: Any) -> Path:
    path.write_text(json.dumps({"Data": rows, "Domain": "Web", "Version": 1.0}, indent=2))
    return path


def nq(question: str, *answers: str) -> dict[str, Any]:
    return {"question": question, "answer": list(answers)}


def official(question: str, value: str, *aliases: str, normalized: list[str] | None = None) -> Any:
    answer = {"Value": value, "Aliases": list(aliases), "Type": "WikipediaEntity"}
    if normalized is not None:
        answer["NormalizedAliases"] = normalized
    return {"Question": question, "QuestionId": "tc_1", "Answer": answer, "EntityPages": []}


def hub(question: str, value: str, *aliases: str) -> dict[str, Any]:
    answer = {"value": value, "aliases": list(aliases), "normalized_value": value.lower()}
    return {"question": question, "question_id": "tc_1", "answer": answer}


def test_nq_open(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "NQ-open.dev.jsonl", nq("who made it", "A", "B"), nq("when"))
    read, dropped = read_facts(f"nq_open:{path}")
    (fact,) = read
    assert (fact.topic, fact.subject, fact.question) == ("nq_open", "", "who made it")
    assert (fact.answers, fact.split, fact.domain) == (("A", "B"), "validation", "in")
    assert dropped == {"no answer": 1}
    assert "nq_open" not in topics_with()


def test_the_forms_of_trivia_qa_read_alike(tmp_path: Path) -> None:
    facts = [
        read_facts(f"trivia_qa:{path}").facts
        for path in (
            write_release(tmp_path / "web-dev.json", official("Q?", "St. Paul", "Saint Paul")),
            write_lines(tmp_path / "dev.jsonl", hub("Q?", "St. Paul", "Saint Paul")),
            write_lines(tmp_path / "dev.json", hub("Q?", "St. Paul", "Saint Paul")),
            write_lines(tmp_path / "dev-2.json", *[hub("Q?", "St. Paul", "Saint Paul")] * 2),
        )
    ]
    assert facts[0] == facts[1] == facts[2] == facts[3]
    assert facts[0][0].answers == ("St. Paul", "Saint Paul")
    assert (facts[0][0].topic, facts[0][0].split) == ("trivia_qa", "validation")


def test_normalized_aliases_count_and_no_answer_twice(tmp_path: Path) -> None:
    row = official("Q?", "The Wasps", "the wasps", "Wasps!", normalized=["wasps", "", "The  wasps"])
    path = write_release(tmp_path / "web-train.json", row)
    (fact,) = read_facts(f"trivia_qa:{path}").facts
    assert fact.answers == ("The Wasps", "Wasps!", "wasps")


def test_questions_without_answers_are_dropped(tmp_path: Path) -> None:
    rows = [{"Question": "Q?", "QuestionId": "tc_2"}, official("R?", "X")]
    write_release(tmp_path / "web-test-without-answers.json", *rows)
    read, dropped = read_facts(f"trivia_qa:{tmp_path}")
    assert [(fact.question, fact.split) for fact in read] == [("R?", "test")]
    assert dropped == {"no answer": 1}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("NQ-open.train.jsonl", "train"),
        ("NQ-open.efficientqa.dev.1.1.jsonl", "validation"),
        ("validation-00000-of-00001.jsonl", "validation"),
        ("NQ-open.test.jsonl", "test"),
        ("verified-web-DEV.jsonl", "validation"),
        ("trainers.jsonl", "test"),
        ("questions.jsonl", "test"),
    ],
)
def test_the_split_is_in_the_name(tmp_path: Path, name: str, split: str) -> None:
    path = write_lines(tmp_path / name, nq("who", "A"))
    assert read_facts(f"nq_open:{path}").facts[0].split == split


def test_a_folder(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.train.jsonl", nq("who", "A"), nq("WHO", "B"), nq("when", "C"))
    write_lines(tmp_path / "b.train.jsonl", nq("when", "D"))
    write_lines(tmp_path / "c.test.jsonl", nq("who", "A"))
    (tmp_path / "README.md").write_text("no data")
    read, dropped = read_facts(f"nq_open:{tmp_path}")
    assert [(fact.question, fact.split) for fact in read] == [
        ("who", "train"),
        ("when", "train"),
        ("who", "test"),
    ]
    assert dropped == {"repeated question": 2}
    assert len({fact.fact_id for fact in read}) == 3
    alone = write_lines(tmp_path / "d.test.jsonl", nq("who", "Z"))
    assert read_facts(f"nq_open:{alone}").facts[0].fact_id == read[2].fact_id


@pytest.mark.parametrize(
    ("source", "content", "told"),
    [
        ("nq_open", '{"question": "who", "answer": true}', "1 dropped: answer true or false"),
        ("nq_open", '{"question": "who", "answer": "[3"}', "line 1: answers '[3' begins like"),
        ("nq_open", '{"answer": ["A"]}', "line 1: question None is no text"),
        ("nq_open", "[]\n", "holds no facts"),
        ("nq_open", '[{"question": "who", "answer": {}}]', "row 1: answers {} is no list"),
        ("nq_open", "3", "holds 3 where a list of rows belongs"),
        ("nq_open", "{", "line 1: is no JSON"),
        ("trivia_qa", '{"question": "who", "answer": ["A"]}', "line 1: answer ['A'] is no object"),
        ("trivia_qa", '{"question": "who", "answer": {"value": {}}}', "line 1: answers [{}, None"),
        ("trivia_qa", '{"Data": [{"Question": [3]}]}', "row 1: question [3] is no text"),
        ("trivia_qa", '{"Data": 3}', "holds 3 where a list of rows belongs"),
    ],
)
def test_refused_files(tmp_path: Path, source: str, content: str, told: str) -> None:
    path = tmp_path / "dev.json"
    path.write_text(content)
    with pytest.raises(UserError) as refusal:
        read_facts(f"{source}:{path}")
    assert told.lower() in str(refusal.value).lower()
    assert "\n" not in str(refusal.value)


def test_a_folder_without_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no \.json or \.jsonl file"):
        read_facts(f"nq_open:{tmp_path}")
