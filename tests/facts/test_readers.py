"""Facts from files: what is read, what is refused."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sftlens.errors import UserError
from sftlens.facts import (
    SOURCES,
    Topic,
    facts_from_table,
    facts_hash,
    facts_table,
    fold,
    read_facts,
)
from tiny_world import make_fact

ROW = {
    "topic": "P19",
    "subject": "Ada Lovelace",
    "question": "Where was Ada Lovelace born?",
    "answers": ["London", "London, England"],
}
OTHER = {**ROW, "subject": "Alan Turing", "question": "Where was Alan Turing born?"}


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({**row, "answers": json.dumps(row["answers"])})
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pl.DataFrame(rows).write_parquet(path)
    return path


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], Path]] = {
    "facts.jsonl": write_jsonl,
    "facts.csv": write_csv,
    "facts.parquet": write_parquet,
}
formats = pytest.mark.parametrize("name", WRITERS)


@formats
def test_the_columns_that_must_be_there_are_enough(tmp_path: Path, name: str) -> None:
    (fact,), dropped = read_facts(WRITERS[name](tmp_path / name, [ROW]))
    assert (fact.topic, fact.subject, fact.question) == (
        "P19",
        "Ada Lovelace",
        "Where was Ada Lovelace born?",
    )
    assert fact.answers == ("London", "London, England")
    assert (fact.split, fact.domain) == ("test", "in")
    assert fact.fact_id.startswith("P19-")
    assert dropped == {}


@formats
def test_the_other_columns_are_read(tmp_path: Path, name: str) -> None:
    row = {**ROW, "fact_id": "x", "split": "train", "domain": "out"}
    (fact,), _ = read_facts(WRITERS[name](tmp_path / name, [row]))
    assert (fact.fact_id, fact.split, fact.domain) == ("x", "train", "out")


def test_every_format_reads_alike(tmp_path: Path) -> None:
    read = [read_facts(write(tmp_path / name, [ROW, OTHER])) for name, write in WRITERS.items()]
    assert read[0] == read[1] == read[2]


@formats
def test_a_world_reads_back_from_every_format(
    facts: list, world: Path, tmp_path: Path, name: str
) -> None:
    rows = facts_table(facts).to_dicts()
    assert read_facts(WRITERS[name](tmp_path / name, rows)).facts == facts
    assert read_facts(world / "facts.parquet").facts == facts


def test_the_domain_is_that_of_the_topic(tmp_path: Path) -> None:
    rows = [ROW, {**ROW, "topic": "P26"}, {**ROW, "topic": "my own"}]
    read = read_facts(write_jsonl(tmp_path / "facts.jsonl", rows)).facts
    assert [fact.domain for fact in read] == ["in", "out", "in"]


def test_answers_may_be_one_text(tmp_path: Path) -> None:
    (tmp_path / "facts.csv").write_text("topic,subject,question,answers\nP19,A,A?,Paris\n")
    write_jsonl(tmp_path / "facts.jsonl", [{**ROW, "answers": "Paris"}])
    write_parquet(tmp_path / "facts.parquet", [{**ROW, "answers": "Paris"}])
    for name in WRITERS:
        assert read_facts(tmp_path / name).facts[0].answers == ("Paris",)


@formats
def test_repeated_questions_are_dropped_and_counted(tmp_path: Path, name: str) -> None:
    shouted = {**ROW, "question": "WHERE was  Ada Lovelace born?"}
    rows = [ROW, shouted, OTHER, ROW, {**ROW, "topic": "P20"}]
    read, dropped = read_facts(WRITERS[name](tmp_path / name, rows))
    assert [(fact.topic, fact.subject) for fact in read] == [
        ("P19", "Ada Lovelace"),
        ("P19", "Alan Turing"),
        ("P20", "Ada Lovelace"),
    ]
    assert dropped == {"repeated question": 2}


def test_a_question_stays_in_one_split(tmp_path: Path) -> None:
    rows = [{**ROW, "split": "train"}, ROW, {**OTHER, "split": "train"}]
    read, dropped = read_facts(write_jsonl(tmp_path / "facts.jsonl", rows))
    assert [(fact.subject, fact.split) for fact in read] == [
        ("Ada Lovelace", "train"),
        ("Alan Turing", "train"),
    ]
    assert dropped == {"repeated question": 1}


def test_an_id_does_not_depend_on_the_split_or_on_other_rows(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    (alone,) = read_facts(write_jsonl(path, [ROW])).facts
    read = read_facts(write_jsonl(path, [OTHER, {**ROW, "split": "train"}])).facts
    assert read[1].fact_id == alone.fact_id != read[0].fact_id
    assert alone.fact_id == "P19-b4d5a4769d5e"


@formats
def test_rows_with_ids_are_compared_to_the_letter(tmp_path: Path, name: str) -> None:
    rows = [
        {**ROW, "fact_id": "a", "split": "test"},
        {**ROW, "fact_id": "b", "split": "train"},
        {**ROW, "fact_id": "c", "split": "test", "question": ROW["question"].upper()},
        {**ROW, "fact_id": "d", "split": "test"},
    ]
    read, dropped = read_facts(WRITERS[name](tmp_path / name, rows))
    assert [fact.fact_id for fact in read] == ["a", "b", "c"]
    assert dropped == {"repeated question": 1}


@formats
@pytest.mark.parametrize("subject", ["", "absent"])
def test_a_fact_may_have_no_subject(tmp_path: Path, name: str, subject: str) -> None:
    row = {**ROW, "subject": ""}
    if subject == "absent":
        del row["subject"]
    (fact,), _ = read_facts(WRITERS[name](tmp_path / name, [row]))
    assert fact.subject == ""


@formats
def test_columns_of_other_names(tmp_path: Path, name: str) -> None:
    rows = [{"relation": "P19", "q": "Where was A born?", "answers": ["Paris"], "question": "no"}]
    columns = {"topic": "relation", "question": "q"}
    (fact,), _ = read_facts(WRITERS[name](tmp_path / name, rows), columns=columns)
    assert (fact.topic, fact.question, fact.answers) == ("P19", "Where was A born?", ("Paris",))


def test_nested_columns(tmp_path: Path) -> None:
    rows = [
        {"topic": "t", "question": "A?", "a.b": ["flat"]},
        {"topic": "t", "question": "B?", "a": {"b": ["nested"]}},
        {"topic": "t", "question": "C?", "a": [{"b": "one"}, {"b": "two"}]},
    ]
    path = write_jsonl(tmp_path / "facts.jsonl", rows)
    read = read_facts(path, columns={"answers": "a.b"}).facts
    assert [fact.answers for fact in read] == [("flat",), ("nested",), ("one", "two")]
    with pytest.raises(UserError, match=r"line 1: column c is missing; .* found: .*a\.b"):
        read_facts(path, columns={"answers": "a.b", "subject": "c"})
    with pytest.raises(UserError, match="'answer' is no field of a fact; use fact_id, topic"):
        read_facts(path, columns={"answer": "a.b"})


def test_own_topics_tell_the_domain(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "facts.jsonl", [{**ROW, "topic": "mine"}])
    mine = Topic("mine", "mine", "out", "{subject}?", ("{subject} is",))
    assert read_facts(path, topics={"mine": mine}).facts[0].domain == "out"


def test_aliases_are_added_to_answers(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "facts.jsonl", [{**ROW, "answers": ["USA"]}])
    assert read_facts(path).facts[0].answers == ("USA",)
    widened = read_facts(path, aliases=[["usa", "The States"]]).facts
    assert widened[0].answers == ("USA", "The States")


def test_paths_with_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (expected,) = read_facts(write_jsonl(tmp_path / "facts.jsonl", [ROW])).facts
    for name in ("popqa:facts.jsonl", "my:facts.jsonl", "C:facts.jsonl"):
        write_jsonl(tmp_path / name, [ROW])
        assert read_facts(name).facts == read_facts(Path(name)).facts == [expected]
    with pytest.raises(UserError, match=r"^D:\\facts\.csv: does not exist"):
        read_facts("D:\\facts.csv")
    with pytest.raises(UserError, match=r"^some/folder:facts\.csv: does not exist"):
        read_facts("some/folder:facts.csv")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("pop_qa:data", "'pop_qa' is no known data set; known: entity_questions, popqa, nq_open, "),
        ("popqa:", "names no place; write popqa:PATH"),
        *((f"{name}:absent", "absent does not exist") for name in SOURCES if name != "hf"),
        ("x" * 5000, "does not exist"),
        ("a\0b", "does not exist"),
        ("popqa:a\0b", "does not exist"),
        ("", "holds no facts.parquet"),
    ],
)
def test_refused_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=re.escape(told)):
        read_facts(source)


def test_the_home_folder_after_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "nq.jsonl").write_text('{"question": "who", "answer": ["A"]}')
    assert len(read_facts("nq_open:~/nq.jsonl").facts) == 1


def test_a_data_set_takes_no_column_map(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="popqa: has columns of its own"):
        read_facts(f"popqa:{tmp_path}", columns={"question": "q"})


def test_a_byte_order_mark_and_blank_lines_are_no_hindrance(tmp_path: Path) -> None:
    text = f"\n{json.dumps(ROW)}\n\n"
    (tmp_path / "facts.jsonl").write_text(text, encoding="utf-8-sig")
    (tmp_path / "facts.csv").write_text(
        "topic,subject,question,answers\r\nP19,A,A?,Paris\r\n", encoding="utf-8-sig"
    )
    assert len(read_facts(tmp_path / "facts.jsonl").facts) == 1
    assert len(read_facts(tmp_path / "facts.csv").facts) == 1


def line(**changes: Any) -> bytes:
    row = {key: value for key, value in {**ROW, **changes}.items() if value != "absent"}
    return json.dumps(row).encode() + b"\n"


GOOD = line()
HEADER = b"topic,subject,question,answers\n"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("facts.jsonl", b"", "holds no facts"),
        ("facts.jsonl", b"\n \n", "holds no facts"),
        ("facts.jsonl", GOOD + b"{topic\n", "line 2: is no JSON"),
        ("facts.jsonl", GOOD + b"[" * 100_000 + b"\n", "line 2: is no JSON"),
        ("facts.jsonl", GOOD + b"\n[1]\n", "line 3: is no JSON object"),
        ("facts.jsonl", line(answers="absent"), "line 1: column answers is missing"),
        ("facts.jsonl", b"{}\n", "line 1: column topic, question, answers is missing"),
        ("facts.jsonl", line(answers={"a": 1}), "line 1: answers .* is no list of answers"),
        ("facts.jsonl", line(subject=[3]), "line 1: subject .* is no text"),
        ("facts.jsonl", line(topic=["P19"]), "line 1: topic .* is no text"),
        ("facts.jsonl", line(subject="\ud800"), "line 1: subject .* is no text"),
        ("facts.jsonl", line(fact_id={}), "line 1: fact_id {} is no text"),
        ("facts.jsonl", line(question=None), "line 1: question None is no text"),
        ("facts.jsonl", line(split="dev"), "line 1: split 'dev' is unknown"),
        ("facts.jsonl", line(split=["train"]), "line 1: split"),
        ("facts.jsonl", line(domain="near"), "line 1: domain 'near' is unknown"),
        ("facts.jsonl", GOOD + b'{"topic": "\xff"}\n', "is not UTF-8"),
        ("facts.csv", b"", "holds no facts"),
        ("facts.csv", HEADER, "holds no facts"),
        ("facts.csv", b"topic,subject,answers\nP19,A,B\n", "line 1: column question is missing"),
        ("facts.csv", HEADER + b"P19,A,A?\n", "line 2: has 3 fields, not 4"),
        ("facts.csv", HEADER + b"P19,A,A?,B,C\n", "line 2: has 5 fields, not 4"),
        (
            "facts.csv",
            HEADER + b'P19,A,A?,"[""B"""\n',
            "line 2: answers .* begins like a list and is none",
        ),
        ("facts.csv", HEADER + b'P19,A,A?,"B\n', "line 2: is no CSV"),
        ("facts.csv", HEADER + b"P19,A,A?,\xff\n", "is not UTF-8"),
        ("facts.parquet", b"", "cannot be read as Parquet"),
        ("facts.parquet", b"PAR1 and so on PAR1", "cannot be read as Parquet"),
        ("facts.txt", GOOD, "is none of .jsonl, .csv, .parquet"),
    ],
)
def test_refused_files(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=told) as refusal:
        read_facts(path)
    assert str(refusal.value).startswith(str(path))
    assert "\n" not in str(refusal.value)


def test_refused_parquet_tables(tmp_path: Path) -> None:
    path = tmp_path / "facts.parquet"
    for rows, told in [
        ([{**ROW, "answers": None}], "holds no facts .1 dropped: no answer"),
        ([{key: value for key, value in ROW.items() if key != "topic"}], "column topic is missing"),
        ([{**ROW, "subject": b"3"}], "row 1: subject b'3' is no text"),
    ]:
        write_parquet(path, rows)
        with pytest.raises(UserError, match=told):
            read_facts(path)
    whole = write_parquet(path, [ROW, OTHER]).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_facts(path)


def test_refused_places(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_facts(tmp_path / "absent.jsonl")
    with pytest.raises(UserError, match=r"holds no facts\.parquet"):
        read_facts(tmp_path)


@formats
def test_ids_must_be_unique(tmp_path: Path, name: str) -> None:
    rows = [{**row, "fact_id": "same"} for row in (ROW, OTHER)]
    with pytest.raises(UserError, match="fact_id 'same' stands 2 times"):
        read_facts(WRITERS[name](tmp_path / name, rows))


SPELLED = re.compile(r"\s*([+-]?\d+\.0*|<\w+>|true|false|\d{4}-\d\d-\d\d.*)\s*", re.IGNORECASE)
texts = (
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
    .filter(fold)
    .filter(lambda text: not SPELLED.fullmatch(text))
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(texts, texts, st.lists(texts, min_size=1, max_size=3)), min_size=1))
def test_any_text_reads_back(tmp_path: Path, rows: list[tuple[str, str, list[str]]]) -> None:
    named = [
        {"topic": "P19", "subject": subject, "question": question, "answers": answers}
        for subject, question, answers in rows
    ]
    expected = {fold(row["question"]): row for row in reversed(named)}
    for name, write in WRITERS.items():
        read, dropped = read_facts(write(tmp_path / name, named))
        assert {fold(fact.question) for fact in read} == set(expected)
        for fact in read:
            row = expected[fold(fact.question)]
            assert (fact.subject, fact.question) == (row["subject"], row["question"])
            assert list(fact.answers) == row["answers"]
        assert sum(dropped.values()) == len(rows) - len(read)


def test_the_table_gives_the_facts_back(facts: list) -> None:
    assert facts_from_table(facts_table(facts)) == facts


def test_the_hash_tells_facts_apart() -> None:
    fact = make_fact("a", "Paris")
    assert facts_hash([fact]) == facts_hash([make_fact("a", "Paris")])
    different = [
        [],
        [fact, fact],
        [make_fact("b", "Paris")],
        [make_fact("a", "Paris", "London")],
        [make_fact("a", "Paris", split="test")],
    ]
    assert len({facts_hash(facts) for facts in [[fact], *different]}) == 6
