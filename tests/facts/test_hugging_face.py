"""Data sets through the library ``datasets``, from local folders."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pytest

from sftlens.errors import UserError
from sftlens.facts import read_facts

COLUMNS = {"question": "q", "answers": "a.text"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write(folder: Path, **splits: list[dict[str, Any]]) -> Path:
    """A data set of JSON lines, one file a split."""
    folder.mkdir(parents=True)
    for split, rows in splits.items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return folder


def row(question: str, *answers: str) -> dict[str, Any]:
    return {"q": question, "a": {"text": list(answers), "start": [0] * len(answers)}}


def test_every_split_of_a_folder(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "trivia",
        train=[row("A?", "X", "Y"), row("a?", "Z"), row("B?")],
        validation=[row("A?", "X")],
    )
    read, dropped = read_facts(f"hf:{folder}", columns=COLUMNS)
    assert [(fact.topic, fact.subject, fact.question, fact.split) for fact in read] == [
        ("trivia", "", "A?", "train"),
        ("trivia", "", "A?", "validation"),
    ]
    assert read[0].answers == ("X", "Y")
    assert dropped == {"repeated question": 1, "no answer": 1}
    assert read_facts(f"hf:{folder}:validation", columns=COLUMNS).facts == read[1:]
    assert read_facts(f"hf:{folder}:train[:1]", columns=COLUMNS).facts == read[:1]


@pytest.mark.parametrize("name", ["exp[1]", "run*", "what?", "{a,b}", "a b", "~x"])
def test_the_name_of_a_folder_is_no_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Of ``run*`` the library would load the folder ``run-b`` too, of ``exp[1]`` nothing."""
    monkeypatch.chdir(tmp_path)
    write(Path(name), train=[row("Mine?", "yes")])
    write(Path("run-b"), train=[row("Not mine?", "no")])
    for source in (f"hf:{name}", f"hf:{tmp_path / name}"):
        assert [fact.question for fact in read_facts(source, columns=COLUMNS).facts] == ["Mine?"]
    write(Path(f"{name}-wrong"), train=[{"q": "Mine?"}])
    with pytest.raises(UserError) as refusal:
        read_facts(f"hf:{name}-wrong", columns=COLUMNS)
    assert str(refusal.value).startswith(f"hf:{name}-wrong: ")


def test_what_is_added_to_such_a_folder_is_found(tmp_path: Path) -> None:
    folder = write(tmp_path / "exp[1]", train=[row("A?", "a")], test=[row("B?", "b")])
    read_facts(f"hf:{folder}", columns=COLUMNS)
    (folder / "test.jsonl").unlink()
    (folder / "validation.jsonl").write_text(json.dumps(row("C?", "c")) + "\n")
    found = read_facts(f"hf:{folder}", columns=COLUMNS).facts
    assert {(fact.question, fact.split) for fact in found} == {
        ("A?", "train"),
        ("C?", "validation"),
    }


def test_a_parquet_folder_with_the_columns_of_a_fact(tmp_path: Path) -> None:
    folder = tmp_path / "a:b" / "data"
    folder.mkdir(parents=True)
    rows = {
        "fact_id": ["1", "2"],
        "topic": ["P26", "mine"],
        "subject": ["Ada", None],
        "question": ["Who is Ada married to?", "Who?"],
        "answers": ["William", "Him"],
        "split": ["train", None],
        "picture": [b"no picture", b""],
    }
    pl.DataFrame(rows).write_parquet(folder / "train.parquet")
    read = read_facts(f"hf:{folder}").facts
    assert [(fact.fact_id, fact.topic, fact.subject, fact.domain) for fact in read] == [
        ("1", "P26", "Ada", "out"),
        ("2", "mine", "", "in"),
    ]
    assert [fact.answers for fact in read] == [("William",), ("Him",)]
    assert [fact.split for fact in read] == ["train", "train"]


@pytest.mark.parametrize(
    ("rows", "columns", "told"),
    [
        ([row("A?", "X")], {}, "column question, answers is missing; .* found: q, a"),
        ([row("A?", "X")], {**COLUMNS, "topic": "t"}, "column t is missing"),
        ([row("A?", "X"), row("", "X")], COLUMNS, "split train, row 2: question '' is no text"),
        ([row("A?", "")], COLUMNS, "holds no facts .1 dropped: no answer"),
        ([{"q": ["B"], "a": {"text": "X"}}], COLUMNS, "row 1: question .'B'. is no text"),
        ([{"q": "A?", "a": {"text": {"b": 3}}}], COLUMNS, "row 1: answers {'b': 3} is no list"),
        ([{"q": "A?", "a": 3}], COLUMNS, "holds no facts .1 dropped: no answer"),
    ],
)
def test_refused_rows(
    tmp_path: Path, rows: list[dict[str, Any]], columns: dict[str, str], told: str
) -> None:
    folder = write(tmp_path / "data", train=rows)
    with pytest.raises(UserError, match=told) as refusal:
        read_facts(f"hf:{folder}", columns=columns)
    assert "\n" not in str(refusal.value)


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", train=[row("A?", "X")])
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "train.parquet").write_bytes(b"PAR1 and so on PAR1")
    for place in (f"{folder}:dev", tmp_path / "empty", broken):
        with pytest.raises(UserError, match="cannot be loaded") as refusal:
            read_facts(f"hf:{place}", columns=COLUMNS)
        assert str(refusal.value).startswith(f"hf:{tmp_path}")
        assert "\n" not in str(refusal.value)
    with pytest.raises(UserError, match=r"is a file; give its folder"):
        read_facts(f"hf:{folder}/train.jsonl", columns=COLUMNS)


def with_configurations(folder: Path, *names: str) -> Path:
    """A data set of several configurations, as TriviaQA has them."""
    lines = ["---", "configs:"]
    for name in names:
        write(folder / name, validation=[row(f"What is {name}?", "X")], train=[row("A?", "X")])
        lines += [f"- config_name: {name}", "  data_files:"]
        for split in ("train", "validation"):
            lines += [f"  - split: {split}", f"    path: {name}/{split}.jsonl"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
    return folder


def test_a_data_set_of_several_configurations(tmp_path: Path) -> None:
    folder = with_configurations(tmp_path / "trivia", "rc", "rc.nocontext", "train")

    def questions(words: str) -> list[str]:
        return [fact.question for fact in read_facts(f"hf:{folder}{words}", columns=COLUMNS).facts]

    assert questions(":rc.nocontext:validation") == ["What is rc.nocontext?"]
    assert questions(":rc:validation[:1]") == ["What is rc?"]
    assert questions(":rc") == ["A?", "What is rc?"]
    # Of a word that is both, the configuration is meant.
    assert questions(":train") == ["A?", "What is train?"]
    for words, told in (
        ("", rf"has the configurations rc, rc.nocontext, train; name one, as in (hf:{folder}:rc)$"),
        (":validation", r"has the configurations .*; name one, as in (hf:\S+:rc:validation)$"),
        (":web:validation", r"has no configuration web; it has .*, so write (hf:\S+:validation)$"),
    ):
        with pytest.raises(UserError, match=told) as refusal:
            questions(words)
        remedy = re.search(told, str(refusal.value))[1]  # type: ignore[index]
        assert read_facts(remedy, columns=COLUMNS).facts
    with pytest.raises(UserError, match=r"write hf:\S+:CONFIGURATION:SPLIT"):
        questions(":rc:train:validation")


def test_a_default_configuration_beside_others(tmp_path: Path) -> None:
    folder = with_configurations(tmp_path / "trivia", "default", "rc")
    read = read_facts(f"hf:{folder}:validation", columns=COLUMNS).facts
    assert [fact.question for fact in read] == ["What is default?"]
    plain = write(tmp_path / "plain", train=[row("A?", "X")])
    assert read_facts(f"hf:{plain}:default:train", columns=COLUMNS).facts


def test_nothing_is_fetched_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", connect)
    with pytest.raises(UserError, match="hf:nobody/nothing: cannot be loaded"):
        read_facts("hf:nobody/nothing")


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match="needs datasets; run `pip install datasets`"):
        read_facts(f"hf:{tmp_path}")
