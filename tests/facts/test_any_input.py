"""Whatever a file holds, it is facts, or refused in one line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sftlens.errors import UserError
from sftlens.facts import (
    DOMAINS,
    SPLITS,
    ReadFacts,
    facts_from_table,
    facts_table,
    fold,
    read_facts,
)

SOURCES = {
    "facts.jsonl": "{}",
    "facts.csv": "{}",
    "facts.parquet": "{}",
    "P19.train.json": "entity_questions:{}",
    "popqa.tsv": "popqa:{}",
    "nq.dev.json": "nq_open:{}",
    "nq.dev.jsonl": "nq_open:{}",
    "web-dev.json": "trivia_qa:{}",
}
every_source = pytest.mark.parametrize("name", SOURCES)

surrogates = st.sampled_from(["\ud800", "a\udfffb"])
texts = st.one_of(st.text(max_size=8), surrogates, st.sampled_from(["train", "P19", "color", "["]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["Value", "value", "Aliases", "a"]), inner, max_size=2),
    ),
    max_leaves=4,
)
COLUMNS = (
    *("fact_id", "topic", "subject", "question", "answers", "split", "domain"),
    *("answer", "Question", "Answer", "subj", "prop", "possible_answers"),
)
rows = st.lists(st.dictionaries(st.sampled_from(COLUMNS), values), max_size=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


def read_or_refuse(name: str, path: Path) -> None:
    """What is read keeps every promise of a fact; a refusal is one line that names the file."""
    try:
        read = read_facts(SOURCES[name].format(path))
    except UserError as refusal:
        told = str(refusal)
    else:
        _check(read)
        return
    assert "\n" not in told
    assert str(path) in told


def _check(read: ReadFacts) -> None:
    assert read.facts
    assert len({fact.fact_id for fact in read.facts}) == len(read.facts)
    for fact in read.facts:
        assert fact.split in SPLITS
        assert fact.domain in DOMAINS
        assert all(map(fold, (fact.topic, fact.question, *fact.answers)))
        assert fact.answers
    assert facts_from_table(facts_table(read.facts)) == read.facts


@every_source
@settings(max_examples=40)
@given(content=st.one_of(st.binary(), st.text().map(str.encode)))
@example(content=b"")
@example(content=b"\xef\xbb\xbf[]")
@example(content=b"\0")
@example(content=b"[" * 5000)
@example(content=b"9" * 5000)
@example(content=b"question\tprop\tsubj\tpossible_answers\n\r\r\n\x00\t\t\t")
def test_any_bytes(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    read_or_refuse(name, folder / name)


@pytest.mark.parametrize("name", [name for name in SOURCES if "json" in name])
@settings(max_examples=60)
@given(rows=rows, form=st.sampled_from(["lines", "list", "Data"]))
def test_any_json_rows(folder: Path, name: str, rows: list[dict[str, Any]], form: str) -> None:
    if form == "lines":
        text = "\n".join(map(json.dumps, rows))
    else:
        text = json.dumps(rows if form == "list" else {"Data": rows})
    (folder / name).write_text(text)
    read_or_refuse(name, folder / name)


@pytest.mark.parametrize(("name", "delimiter"), [("facts.csv", ","), ("popqa.tsv", "\t")])
@settings(max_examples=60)
@given(rows=st.lists(st.lists(st.text(st.characters(codec="utf-8")), min_size=5, max_size=5)))
def test_any_cells(folder: Path, name: str, delimiter: str, rows: list[list[str]]) -> None:
    header = {
        "facts.csv": ["topic", "question", "answers", "subject", "fact_id"],
        "popqa.tsv": ["subj", "prop", "question", "possible_answers", "id"],
    }
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header[name], *rows])
    read_or_refuse(name, folder / name)


@settings(max_examples=40)
@given(
    table=st.fixed_dictionaries(
        dict.fromkeys(
            ("topic", "question", "answers", "fact_id"),
            st.one_of(
                st.lists(st.none() | st.text(st.characters(codec="utf-8")), min_size=2, max_size=2),
                st.lists(st.integers(0, 9), min_size=2, max_size=2),
                st.lists(st.lists(st.text("ab"), max_size=2), min_size=2, max_size=2),
                st.just([{"a": "b"}, {"a": None}]),
                st.just([b"\xff", b""]),
            ),
        )
    )
)
def test_any_table(folder: Path, table: dict[str, list[Any]]) -> None:
    pl.DataFrame(table, strict=False).write_parquet(folder / "facts.parquet")
    read_or_refuse("facts.parquet", folder / "facts.parquet")


@settings(max_examples=60)
@given(place=st.integers(0, 2000), byte=st.integers(0, 255))
def test_a_damaged_table(folder: Path, place: int, byte: int) -> None:
    path = folder / "facts.parquet"
    row = {"topic": "t", "subject": "s", "question": "q", "answers": ["a"]}
    pl.DataFrame([row] * 3).write_parquet(path)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = byte
    path.write_bytes(content)
    read_or_refuse("facts.parquet", path)
