"""``sftlens facts``: known data sets, own topics, aliases, and parts of the facts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from calls import Call

from sftlens.facts import facts_table, read_facts

EVERY_COUNTRY = ["France", "United States of America", "Netherlands", "Peru"]


def write(folder: Path, topic: str, split: str, form: str, answers: list[str]) -> None:
    path = folder / split / f"{topic}.{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"question": form.format(f"{split} {number}"), "answers": [answer]}
        for number, answer in enumerate(answers)
    ]
    path.write_text(json.dumps(rows))


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Of three topics 4, 3 and 2 train facts, and a test fact of each."""
    folder = tmp_path / "entity questions"
    for split, kept in (("train", slice(None)), ("test", slice(1))):
        write(folder, "P17", split, "Which country is {} located in?", EVERY_COUNTRY[kept])
        write(folder, "P19", split, "Where was {} born?", ["Rome", "Kyiv", "Lima"][kept])
        write(folder, "P50", split, "Who is the author of {}?", ["A", "B"][kept])
    return f"entity_questions:{folder}"


def counts(result: dict[str, Any]) -> dict[str, int]:
    return {" ".join(list(row.values())[:3]): row["num_facts"] for row in result["counts"]}


def test_all(sftlens: Call, source: str) -> None:
    result = sftlens("facts", source, "--json").json
    assert counts(result) == {
        "in test P17": 1,
        "in test P19": 1,
        "in train P17": 4,
        "in train P19": 3,
        "out test P50": 1,
        "out train P50": 2,
    }
    assert (result["num_facts"], result["num_left_out"], result["num_with_aliases"]) == (12, 0, 3)
    assert (result["dropped"], result["topics_without_templates"]) == ({}, [])
    shown = sftlens("facts", source).out
    assert "aliases added to 3 facts" in shown
    assert "dropped" not in shown


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--split", "test"], {"in test P17": 1, "in test P19": 1, "out test P50": 1}),
        (["--split", "test", "--domain", "out"], {"out test P50": 1}),
        (
            ["--split", "train", "--split", "test", "--topic", "P50"],
            {"out test P50": 1, "out train P50": 2},
        ),
        (
            ["--topic", "P19", "--topic", "P17", "--split", "train", "--limit", "2"],
            {"in train P17": 2, "in train P19": 2},
        ),
    ],
)
def test_parts(sftlens: Call, source: str, flags: list[str], expected: dict[str, int]) -> None:
    result = sftlens("facts", source, *flags, "--json").json
    assert counts(result) == expected
    assert result["num_facts"] == sum(expected.values()) == 12 - result["num_left_out"]
    assert f"left out {result['num_left_out']}: not chosen" in sftlens("facts", source, *flags).out


def test_the_written_table_is_read_by_every_command(
    sftlens: Call, source: str, tmp_path: Path
) -> None:
    out = tmp_path / "facts.parquet"
    flags = ("--limit", 2, "--seed", 7)
    result = sftlens("facts", source, *flags, "--out", out, "--json").json
    assert result["out"] == str(out)
    facts = read_facts(out).facts
    assert len(facts) == result["num_facts"] == 6
    every = {fact.fact_id: fact for fact in read_facts(source).facts}
    assert facts == [every[fact.fact_id] for fact in facts]
    again = sftlens("facts", out, "--json").json
    assert (again["counts"], again["dropped"]) == (result["counts"], {})
    assert "holds something already" in sftlens("facts", source, "--out", out).refusal
    refusal = sftlens("facts", source, "--out", tmp_path / "facts.csv").refusal
    assert "ends in .parquet" in refusal
    assert not (tmp_path / "facts.csv").exists()


def test_the_facts_as_tasks_of_the_harness(sftlens: Call, source: str, tmp_path: Path) -> None:
    out = tmp_path / "tasks"
    flags = ("--topic", "P17", "--topic", "P50", "--export", "lm-eval", out)
    assert sftlens("facts", source, *flags, "--json").json["export"] == str(out)
    read = {
        path.stem: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in out.glob("*.jsonl")
    }
    numbers = {task: len(rows) for task, rows in read.items()}
    assert numbers == {
        "sftlens_in_test": 1,
        "sftlens_in_train": 4,
        "sftlens_out_test": 1,
        "sftlens_out_train": 2,
    }
    answers = {answer for row in read["sftlens_in_train"] for answer in row["answers"]}
    assert {"United States of America", "USA"} <= answers
    assert "holds something already" in sftlens("facts", source, *flags).refusal
    shown = sftlens("facts", source, "--split", "test", "--export", "lm-eval", tmp_path / "b").out
    assert "sftlens_in_test, sftlens_out_test and the group of them" in shown
    other = sftlens("facts", source, "--export", "helm", tmp_path / "c").refusal
    assert "--export 'helm': is unknown; use --export lm-eval DIR" in other
    assert sftlens("facts", source, "--json").json["export"] is None


def test_aliases(sftlens: Call, source: str, tmp_path: Path) -> None:
    file = tmp_path / "aliases.yaml"
    file.write_text("- [Peru, Perú]\n")
    with_file = sftlens("facts", source, "--aliases", file, "--json").json
    assert with_file["num_with_aliases"] == 4
    assert sftlens("facts", source, "--aliases", "none", "--json").json["num_with_aliases"] == 0
    assert "aliases" not in sftlens("facts", source, "--aliases", "none").out
    table = tmp_path / "facts.csv"
    table.write_text("topic,question,answers\nP17,A?,Peru\nP17,B?,USA\n")
    assert sftlens("facts", table, "--json").json["num_with_aliases"] == 0
    out = tmp_path / "facts.parquet"
    sftlens("facts", table, "--aliases", file, "--out", out)
    assert pl.read_parquet(out)["answers"].to_list() == [["Peru", "Perú"], ["USA"]]
    assert "absent.yaml" in sftlens("facts", table, "--aliases", "absent.yaml").refusal


def test_own_topics(sftlens: Call, tmp_path: Path) -> None:
    facts = tmp_path / "facts.jsonl"
    rows = [
        {"topic": topic, "subject": "S", "question": "S?", "answers": "A"} for topic in ("x", "y")
    ]
    facts.write_text("\n".join(map(json.dumps, rows)))
    topics = tmp_path / "topics.yaml"
    topics.write_text(
        "x: {domain: out, question: '{subject}?', templates: ['{subject} is {object}.']}\n"
    )
    without = sftlens("facts", facts, "--json").json
    assert without["topics_without_templates"] == ["x", "y"]
    assert counts(without) == {"in test x": 1, "in test y": 1}
    found = sftlens("facts", facts, "--topics", topics, "--json").json
    assert found["topics_without_templates"] == ["y"]
    assert counts(found) == {"out test x": 1, "in test y": 1}
    assert (
        "no mapping templates, so not to be probed: y;"
        in sftlens("facts", facts, "--topics", topics).out
    )
    topics.write_text("x: {question: '{subject}?', templates: ['{subject} is {object} now']}\n")
    refusal = sftlens("facts", facts, "--topics", topics).refusal
    assert "'{subject} is {object} now' goes on after {object}" in refusal


def test_columns(sftlens: Call, tmp_path: Path) -> None:
    facts = tmp_path / "facts.jsonl"
    facts.write_text('{"topic": "t", "q": "A?", "a": {"b": ["X"]}}\n')
    flags = ("--column", "question=q", "--column", "answers=a.b")
    out = tmp_path / "out.parquet"
    assert sftlens("facts", facts, *flags, "--out", out, "--json").json["num_facts"] == 1
    assert pl.read_parquet(out).equals(facts_table(read_facts(out).facts))
    assert pl.read_parquet(out)["question"].to_list() == ["A?"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--split", "dev"], "--split 'dev': is unknown; use train, validation, test"),
        (["--domain", "near"], "near"),
        (["--topic", "P20"], "no fact has topic P20; there are P17, P19, P50"),
        (["--topic", "P19", "--domain", "out"], "there are in test, in train"),
        (["--limit", "0"], "limit"),
        (["--column", "question"], "'question': is no FIELD=COLUMN"),
        (["--column", "question=q"], "entity_questions: has columns of its own"),
        (["--column", "a=b"], "'a' is no field of a fact"),
        (["--column", "topic=a", "--column", "topic=b"], "topic has a column already"),
        (["--topics", "absent.yaml"], "absent.yaml: does not exist"),
    ],
)
def test_refused_options(sftlens: Call, source: str, flags: list[str], told: str) -> None:
    assert told in sftlens("facts", source, *flags).refusal


def test_refused_sources(sftlens: Call, source: str, tmp_path: Path) -> None:
    refusal = sftlens("facts", "wikidata:dump").refusal
    assert "'wikidata' is no known data set; known: entity_questions, popqa" in refusal
    path = tmp_path / "entity questions" / "test" / "P19.test.json"
    path.write_text('[{"question": "Where was A born?", "answers": {"a": "b"}}]')
    assert f"{path}, row 1: answers {{'a': 'b'}} is no list" in sftlens("facts", source).refusal


def test_echoed_facts_are_counted_and_dropped(sftlens: Call, tmp_path: Path) -> None:
    path, out = tmp_path / "facts.csv", tmp_path / "facts.parquet"
    path.write_text(
        "topic,question,answers\n"
        "P36,What is the capital of Lutsk Raion?,Lutsk\n"
        "P36,What is the capital of Panjgur District?,Panjgur\n"
        "P36,What is the capital of France?,Paris\n"
    )
    kept = sftlens("facts", path, "--out", out, "--json").json
    assert (kept["num_facts"], kept["num_echoed"], kept["dropped"]) == (3, 2, {})
    assert kept["counts"][0]["num_echoed"] == 2
    assert pl.read_parquet(out)["echoed"].to_list() == [True, True, False]
    shown = sftlens("facts", path).out
    assert "echoed: 2 facts (66.7 %) have an answer in their own question" in shown
    dropped = sftlens("facts", out, "--echoed", "drop", "--json").json
    assert (dropped["num_facts"], dropped["num_echoed"], dropped["num_left_out"]) == (1, 0, 0)
    assert dropped["dropped"] == {"answer in its own question": 2}
