"""Remedies of refusals, followed as a user would: the command that a message names succeeds."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from calls import Call

from sftlens.facts import read_facts

FACT = {"topic": "P19", "subject": "Ada", "question": "Where was Ada born?", "answers": ["London"]}


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    path = tmp_path / "facts.jsonl"
    path.write_text(json.dumps(FACT))
    return path


def choices(refusal: str) -> list[str]:
    """What stands behind "use", "choose from" or "is not one of", by commas."""
    found = re.search(r"(?:use|choose from|is not one of) ([\w, '-]+)(?:$|\.;)", refusal)
    assert found is not None, refusal
    return found[1].strip().replace("'", "").split(", ")


@pytest.mark.parametrize("command", ["facts", "probe"])
def test_a_field_that_holds_the_answers(
    sftlens: Call, tmp_path: Path, base: Path, command: str
) -> None:
    source, table = tmp_path / "nested.jsonl", tmp_path / "table.parquet"
    source.write_text(json.dumps({**FACT, "answers": {"text": ["London"], "start": [3]}}))
    first = [source] if command == "facts" else [base, source, "--out", tmp_path / "out"]
    found = re.search(r"`(sftlens .*)`", sftlens(command, *first).refusal)
    assert found is not None
    names = {"FACTS": str(source), "FILE.parquet": str(table)}
    sftlens(*(names.get(word, word) for word in shlex.split(found[1])[1:]))
    assert [fact.answers for fact in read_facts(str(table)).facts] == [("London",)]


def test_an_output_of_another_kind(sftlens: Call, tmp_path: Path, facts: Path) -> None:
    refusal = sftlens("facts", facts, "--out", tmp_path / "table.csv").refusal
    assert "give --out a name that ends in .parquet" in refusal
    sftlens("facts", facts, "--out", tmp_path / "table.parquet")
    assert read_facts(str(tmp_path / "table.parquet")).facts


def test_an_export_of_another_kind(sftlens: Call, tmp_path: Path, facts: Path) -> None:
    refusal = sftlens("facts", facts, "--export", "helm", tmp_path / "tasks").refusal
    assert "use --export lm-eval DIR" in refusal
    sftlens("facts", facts, "--export", "lm-eval", tmp_path / "tasks")
    assert list((tmp_path / "tasks").glob("**/*.yaml"))


def test_a_split_that_is_unknown(sftlens: Call, facts: Path) -> None:
    splits = choices(sftlens("facts", facts, "--split", "dev").refusal)
    sources = [facts.with_name(f"{split}.jsonl") for split in splits]
    for split, source in zip(splits, sources, strict=True):
        source.write_text(json.dumps({**FACT, "split": split}))
        assert sftlens("facts", source, "--split", split, "--json").json["num_facts"] == 1


def test_echoed_facts_are_left_out(sftlens: Call, tmp_path: Path, facts: Path) -> None:
    echoed = {**FACT, "question": "Where was Ada of London born?"}
    facts.write_text("\n".join(map(json.dumps, [FACT, {**echoed, "subject": "Ada of London"}])))
    assert "--echoed drop leaves them out" in sftlens("facts", facts).out
    assert sftlens("facts", facts, "--echoed", "drop", "--json").json["num_facts"] == 1


def test_restoring_without_a_place(sftlens: Call, tmp_path: Path, base: Path, tuned: Path) -> None:
    job = ("restore", base, tuned, "--share", 20)
    refusal = sftlens(*job).refusal
    assert "name the folder to write, or give --dry-run" in refusal
    assert sftlens(*job, "--dry-run", "--json").json["outputs"]
    assert sftlens(*job, "--out", tmp_path / "restored", "--json").json["outputs"]


@pytest.mark.parametrize("flag", ["--region", "--method", "--dtype"])
def test_words_to_choose_from(sftlens: Call, base: Path, tuned: Path, flag: str) -> None:
    job = ("restore", base, tuned, "--dry-run", "--json")
    words = choices(sftlens(*job, "--share", 20, flag, "x").refusal)
    assert len(words) > 2
    for word in words:
        called = sftlens(*job, "--share", 20, flag, word)
        if called.code:  # a method that follows from the data alone
            assert "takes no share" in called.refusal
            called = sftlens(*job, flag, word)
        assert called.json["outputs"], word


def test_layers_that_the_model_lacks(sftlens: Call, base: Path, tuned: Path) -> None:
    refusal = sftlens("diff", base, tuned, "--layers", "0-40").refusal
    found = re.search(r"the model has \d+ layers, (\d+) to (\d+)", refusal)
    assert found is not None, refusal
    assert sftlens("diff", base, tuned, "--layers", f"{found[1]}-{found[2]}", "--json").json


def test_a_budget_without_a_pilot(sftlens: Call, tmp_path: Path) -> None:
    job = ("advise", tmp_path / "base", tmp_path / "facts", "--out", tmp_path / "out")
    assert "ask for one with --pilot" in sftlens(*job, "--budget", 8).refusal
    assert "facts: does not exist" in sftlens(*job, "--budget", 8, "--pilot").refusal


def test_the_report_of_one_run(sftlens: Call, tmp_path: Path) -> None:
    refusal = sftlens("report", tmp_path, "--out", tmp_path / "out").refusal
    assert "leave --out away, or name two runs or more" in refusal
    assert "--out" not in sftlens("report", tmp_path).refusal  # which now speaks of the folder
    assert "--out" not in sftlens("report", tmp_path, tmp_path, "--out", tmp_path / "a").refusal


def test_a_folder_of_another_command(
    sftlens: Call, tmp_path: Path, base: Path, world: Path, mastery_folder: Path
) -> None:
    job = ("score", base, world, "--out", tmp_path / "out", "--mastery")
    assert "give the folder that `sftlens probe` wrote" in sftlens(*job, world).refusal
    assert sftlens(*job, mastery_folder, "--max-new-tokens", 2, "--json").json["accuracy"]
