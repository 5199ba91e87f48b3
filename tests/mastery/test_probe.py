"""Probing: R and levels from completions, made once."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest

from sftlens.errors import UserError
from sftlens.facts import Fact, Topic, builtin_topics, matches
from sftlens.mastery import (
    COMPLETIONS_SCHEMA,
    MASTERY_SCHEMA,
    ProbeSettings,
    level_of,
    level_sizes,
    probe,
)
from tiny_world import ScriptedGenerator, make_fact

SETTINGS = ProbeSettings(num_templates=3, num_samples=4)
FACTS = [
    make_fact("a", "Paris", "City of Light"),
    make_fact("b", "Lyon", topic="P20"),
    make_fact("c", "Iran", topic="P17", split="test"),
    make_fact("d", "Rome"),
]


def script(prompt: str, sample: int) -> str:
    """Something that depends on prompt and sample alone; about half of it gives an answer."""
    pick = random.Random(f"{prompt} {sample}")
    words = ["PARIS", "the city  of light", "Lyon.", "an Iranian", "Rome", "nothing", ""]
    return f"{pick.choice(words)} {pick.choice(words)}"


def naive_hits(fact: Fact, settings: ProbeSettings) -> list[int]:
    """Hits of each template, straight from the definition (paper section 2)."""
    return [
        sum(
            matches(script(prompt, sample), fact.answers, settings.matching)
            for sample in range(settings.num_samples)
        )
        for prompt in (
            builtin_topics()[fact.topic].prompt(template, fact.subject)
            for template in range(settings.num_templates)
        )
    ]


@pytest.mark.parametrize("matching", ["contains", "words", "exact"])
def test_mastery_by_its_definition(matching: str) -> None:
    settings = SETTINGS.model_copy(update={"matching": matching})
    told: list[int] = []
    found = probe(ScriptedGenerator(script), FACTS, settings, advance=told.append)
    assert found.mastery.schema == MASTERY_SCHEMA
    for fact, row in zip(FACTS, found.mastery.iter_rows(named=True), strict=True):
        hits = naive_hits(fact, settings)
        assert row == {
            "fact_id": fact.fact_id,
            "topic": fact.topic,
            "num_completions": 12,
            "num_hits": sum(hits),
            "mastery": sum(hits) / 12,
            "level": level_of(sum(hits), 12),
            "best_template": hits.index(max(hits)),
        }
    assert sum(told) == 4 * 12
    sizes = level_sizes(found.mastery)
    assert sizes == [found.mastery["level"].to_list().count(level) for level in range(5)]


def test_completions_stand_in_order() -> None:
    found = probe(ScriptedGenerator(script), FACTS, SETTINGS)
    assert found.completions.schema == COMPLETIONS_SCHEMA
    expected = [
        (fact.fact_id, template, sample)
        for fact in FACTS
        for template in range(3)
        for sample in range(4)
    ]
    assert found.completions.select("fact_id", "template", "sample").rows() == expected
    by_id = {fact.fact_id: fact for fact in FACTS}
    for fact_id, template, sample, text, hit in found.completions.iter_rows():
        fact = by_id[fact_id]
        assert text == script(builtin_topics()[fact.topic].prompt(template, fact.subject), sample)
        assert hit == matches(text, fact.answers)


def test_no_facts() -> None:
    found = probe(ScriptedGenerator(script), [], SETTINGS)
    assert (len(found.completions), len(found.mastery)) == (0, 0)
    assert level_sizes(found.mastery) == [0] * 5


def test_own_topics() -> None:
    topics = {"mine": Topic("mine", "mine", "in", "Who {subject}?", ("{subject} is",))}
    settings = ProbeSettings(num_templates=1, num_samples=2)
    generator = ScriptedGenerator(lambda prompt, sample: f"{prompt} {sample}")
    fact = make_fact("a", "Ada is 1", topic="mine", subject="Ada")
    found = probe(generator, [fact], settings, topics=topics)
    assert found.completions["text"].to_list() == ["Ada is 0", "Ada is 1"]
    assert found.mastery["mastery"].to_list() == [0.5]


@pytest.mark.parametrize(
    ("topic", "num_templates", "told"),
    [("P0", 1, "topic 'P0' has no mapping templates"), ("P19", 22, "has 21 .* 22 are asked for")],
)
def test_refused_topics(topic: str, num_templates: int, told: str) -> None:
    settings = ProbeSettings(num_templates=num_templates)
    with pytest.raises(UserError, match=told):
        probe(ScriptedGenerator(script), [make_fact("a", topic=topic)], settings)


@pytest.fixture
def many() -> list[Fact]:
    """Facts of three parts."""
    return [make_fact(f"{number:04d}", "Paris") for number in range(600)]


def test_what_is_done_is_not_done_again(many: list[Fact], tmp_path: Path) -> None:
    settings = ProbeSettings(num_templates=1, num_samples=2)
    whole = probe(ScriptedGenerator(script), many, settings)
    failing = ScriptedGenerator(script, fails_after=400)
    with pytest.raises(RuntimeError, match="the generator fails"):
        probe(failing, many, settings, parts=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    second, told = ScriptedGenerator(script), []
    found = probe(second, many, settings, parts=tmp_path, advance=told.append)
    assert second.num_prompts == 600 - 256
    assert sum(told) == 1200
    third = ScriptedGenerator(script)
    again = probe(third, many, settings, parts=tmp_path)
    assert third.num_prompts == 0
    for one in (found, again):
        assert one.completions.equals(whole.completions)
        assert one.mastery.equals(whole.mastery)


def test_a_part_is_whole_or_not_there(
    many: list[Fact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("out of order")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", fail)
    with pytest.raises(OSError, match="out of order"):
        probe(ScriptedGenerator(script), many, SETTINGS, parts=tmp_path)
    assert list(tmp_path.iterdir()) == []
