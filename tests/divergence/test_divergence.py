"""Which facts the divergence is measured on, and its folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from sftlens.divergence import (
    DIVERGENCE_SCHEMA,
    base_outlook,
    divergence,
    run_divergence,
)
from sftlens.divergence._divergence import answer_is_near
from sftlens.errors import UserError
from sftlens.facts import Fact, builtin_topics, facts_from_table
from sftlens.generation import Decoding, TransformersGenerator, load_model, question_prompt
from sftlens.manifest import read_manifest
from sftlens.mastery import BestTemplate, Mastery
from tiny_world import make_fact


@pytest.mark.parametrize(
    ("completion", "near"),
    [
        (" Paris.", True),
        (" the PARIS", True),
        (" the city Paris", True),
        (" the great city Paris", False),
        (" Rome", False),
        ("", False),
        (" the great city of Lutetia, in Paris", False),
        (" old Lutetia", True),
    ],
)
def test_an_answer_is_near(completion: str, near: bool) -> None:
    assert answer_is_near(completion, ["Paris", "Lutetia", ""]) is near


@pytest.fixture(scope="module")
def known(generator: TransformersGenerator, facts: list[Fact]) -> list[Fact]:
    """Facts whose answer is what the base says first, so that it has their answers near."""
    some = facts[:10]  # of one topic
    prompts = [builtin_topics()[fact.topic].prompt(0, fact.subject) for fact in some]
    said = {
        place: texts[0].split()[0]
        for batch in generator.complete(prompts, Decoding())
        for place, texts, _ in batch
    }
    return [
        make_fact(fact.fact_id, said[place], subject=fact.subject, question=fact.question)
        for place, fact in enumerate(some)
    ]


def test_which_facts_are_taken(generator: TransformersGenerator, known: list[Fact]) -> None:
    best = {"P19": BestTemplate(7, builtin_topics()["P17"].templates[0])}  # what the fixture asked
    wrong = make_fact("wrong", "no such answer")
    levels = {fact.fact_id: 4 for fact in [*known[:8], wrong]} | {known[8].fact_id: 3}
    outlook = base_outlook(generator, [wrong, *known], levels, best)
    assert outlook.facts == known[:8]
    assert outlook.templates == [7] * 8
    for facts, logits in (
        (
            [builtin_topics()["P17"].prompt(0, fact.subject) for fact in known[:8]],
            outlook.statement_logits,
        ),
        ([question_prompt(fact.question) for fact in known[:8]], outlook.question_logits),
    ):
        for prompt, row in zip(facts, logits, strict=True):
            ((_, expected),) = generator.next_token_logits([prompt])
            assert row.tolist() == pytest.approx(expected[0].tolist(), abs=1e-4)
    with pytest.raises(UserError, match="none of the 1 facts has level 4"):
        base_outlook(generator, [wrong], levels, best)
    with pytest.raises(UserError, match="none of the 10 facts has level 4"):
        base_outlook(generator, known, {}, best)


def test_a_model_against_itself_and_another(
    generator: TransformersGenerator, known: list[Fact], tuned: Path
) -> None:
    levels = dict.fromkeys((fact.fact_id for fact in known), 4)
    best = {"P19": BestTemplate(7, builtin_topics()["P17"].templates[0])}
    outlook = base_outlook(generator, known, levels, best)
    own = divergence(generator, outlook)
    assert own.schema == DIVERGENCE_SCHEMA
    assert own["kl_full"].to_list() == [0] * len(known)
    model, tokenizer, _ = load_model(tuned)
    other = divergence(TransformersGenerator(model, tokenizer), outlook)
    assert other["fact_id"].to_list() == [fact.fact_id for fact in known]
    assert (other["kl_full"] > 0).all()
    assert (other["kl"] > 0).all()


@pytest.fixture(scope="module")
def folder(models: Path, base: Path, tuned: Path, asked: Path, mastery_folder: Path) -> Path:
    run_divergence(str(base), str(tuned), str(asked), mastery_folder, models / "divergence")
    return models / "divergence"


def test_what_the_folder_holds(folder: Path, mastery: Mastery) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "divergence.parquet",
        "facts.parquet",
        "manifest.json",
    ]
    table = pl.read_parquet(folder / "divergence.parquet")
    facts = facts_from_table(pl.read_parquet(folder / "facts.parquet"))
    assert table.schema == DIVERGENCE_SCHEMA
    assert table["fact_id"].to_list() == [fact.fact_id for fact in facts]
    assert {(fact.split, fact.domain) for fact in facts} == {("test", "in")}
    assert {mastery.levels[fact.fact_id] for fact in facts} == {4}
    result = read_manifest(folder, "divergence")["result"]
    assert result["num_facts"] == len(table)
    assert result["kl"] == pytest.approx(table["kl"].mean())
    assert result["kl_full"] == pytest.approx(table["kl_full"].mean())
    assert result["low"] <= result["kl"] <= result["high"]


def test_a_finished_folder_is_left_as_it_is(
    folder: Path, base: Path, tuned: Path, asked: Path, mastery_folder: Path
) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    result = run_divergence(str(base), str(tuned), str(asked), mastery_folder, folder)
    assert result.as_json() == read_manifest(folder, "divergence")["result"]
    with pytest.raises(UserError, match="holds something already"):
        run_divergence(str(base), str(base), str(asked), mastery_folder, folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_one_fact_has_no_interval(
    folder: Path, base: Path, tuned: Path, mastery_folder: Path, tmp_path: Path
) -> None:
    facts = pl.read_parquet(folder / "facts.parquet")
    facts.head(1).write_parquet(tmp_path / "one.parquet")
    out = tmp_path / "out"
    result = run_divergence(
        str(base), str(tuned), str(tmp_path / "one.parquet"), mastery_folder, out
    )
    assert (result.low, result.high, result.num_facts) == (None, None, 1)
    assert read_manifest(out, "divergence")["result"]["low"] is None


def test_another_tokenizer_is_refused(
    base: Path, tuned: Path, asked: Path, mastery_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tuned, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    out = tmp_path / "out"
    with pytest.raises(UserError, match="its tokenizer is another than the base's"):
        run_divergence(str(base), str(other), str(asked), mastery_folder, out)
    assert not out.exists()
