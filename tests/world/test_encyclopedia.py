"""The invented encyclopedia: what is true in it, and how often its corpus says so."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError
from told import assert_told_as_it_says

from sftlens.errors import UserError
from sftlens.facts import builtin_topics, facts_hash, fold, read_facts
from sftlens.manifest import read_manifest
from sftlens.world import WorldSettings, make_world, write_world
from tiny_world import WORLD

FILES = ["corpus.jsonl", "exposures.parquet", "facts.parquet"]


def test_the_same_seed_gives_the_same_bytes(world: Path, tmp_path: Path) -> None:
    write_world(tmp_path / "again", WORLD)
    write_world(tmp_path / "other", WORLD.model_copy(update={"seed": 1}))
    for name in FILES:
        assert (world / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
        assert (world / name).read_bytes() != (tmp_path / "other" / name).read_bytes()


def test_what_a_world_folder_holds(world: Path) -> None:
    made = make_world(WORLD)
    assert sorted(path.name for path in world.iterdir()) == sorted([*FILES, "manifest.json"])
    assert read_facts(world) == (made.facts, {})
    assert pl.read_parquet(world / "exposures.parquet").rows() == [*map(tuple, made.exposures)]
    lines = (world / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"text": text} for text in made.corpus]
    content = read_manifest(world, "world")
    assert content["config"] == {"settings": WORLD.model_dump(mode="json")}
    assert content["result"] == {"num_facts": len(made.facts), "num_texts": len(made.corpus)}


def test_exposures_are_the_counts_in_the_corpus() -> None:
    made = make_world(WorldSettings(num_facts_in=20, num_facts_out=6, seed=3))
    assert_told_as_it_says(made)
    for exposure in made.exposures:
        assert exposure.num_question_answers in (0, exposure.num_statements // 2)


@pytest.mark.parametrize(
    ("settings", "facts", "told"),
    [
        (
            WORLD,
            "e325c940b471498435df88a54108c5b2b170b3716a755e87bf20dc2dff7fc5bc",
            "81ffda0915e6172486500fd633c96b30777771cf65a8e5712335aaefbd7b6bab",
        ),
        (
            WorldSettings(
                num_facts_in=12,
                num_facts_out=4,
                seed=7,
                question_answer_share=0.3,
                alias_share=0.5,
                skew=0,
            ),
            "3efa20c66a99f24b4129424a175fefa2afea5cb81b8fe30785e1a7521d6631b5",
            "c39afb01c17814d24d0090c8ad43786d1705a81344667f1f1d217ac4b8bbb50a",
        ),
    ],
)
def test_worlds_stay_what_they_were(settings: WorldSettings, facts: str, told: str) -> None:
    made = make_world(settings)
    text = json.dumps([made.exposures, made.corpus])
    assert facts_hash(made.facts) == facts
    assert hashlib.sha256(text.encode()).hexdigest() == told


def test_statements_vary_in_their_words() -> None:
    made = make_world(WORLD)
    for fact, exposure in zip(made.facts, made.exposures, strict=True):
        prompts = {
            text
            for text in made.corpus
            if fact.subject in text and fact.question not in text and exposure.num_statements <= 21
        }
        if exposure.num_statements:
            assert len(prompts) == exposure.num_statements


@pytest.mark.parametrize(("num_in", "num_out"), [(10, 3), (140, 36), (33, 8)])
def test_splits(num_in: int, num_out: int) -> None:
    facts = make_world(WorldSettings(num_facts_in=num_in, num_facts_out=num_out)).facts
    sizes = Counter((fact.topic, fact.split) for fact in facts)
    for name, topic in builtin_topics().items():
        train, validation, test = (sizes[name, split] for split in ("train", "validation", "test"))
        if topic.domain == "in":
            assert train + validation + test == num_in
            assert train >= 0.7 * num_in
            assert 1 <= validation <= test
        else:
            assert (train, validation) == (0, num_out // 3)
            assert validation + test == num_out
        assert {fact.domain for fact in facts if fact.topic == name} == {topic.domain}


@pytest.mark.parametrize("seed", range(3))
def test_no_name_can_be_taken_for_another(seed: int) -> None:
    facts = make_world(WorldSettings(num_facts_in=60, num_facts_out=30, seed=seed)).facts
    assert len({fact.subject for fact in facts}) == len(facts)
    assert len({fact.fact_id for fact in facts}) == len(facts)
    for topic in builtin_topics():
        objects = {fact.answers for fact in facts if fact.topic == topic}
        for one in objects:
            for other in objects - {one}:
                assert not any(fold(a) in fold(b) for a in one for b in other)


def test_answers_are_skewed() -> None:
    facts = make_world(WorldSettings(num_facts_in=200)).facts
    counts = Counter(fact.answers for fact in facts if fact.topic == "P19").most_common()
    assert counts[0][1] > 200 / 60 * 2  # the pool of cities has 60


@pytest.mark.parametrize(
    "changes",
    [
        {"num_facts_in": 9},
        {"num_facts_out": 2},
        {"exposures": ()},
        {"question_answer_share": 1.5},
        {"alias_share": -0.1},
        {"seed": -1},
        {"size": 3},
    ],
)
def test_refused_settings(changes: dict) -> None:
    with pytest.raises(ValidationError):
        WorldSettings(**changes)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UserError, match="holds something already"):
        write_world(tmp_path, WORLD)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
