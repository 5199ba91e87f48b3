"""Probing: R and levels from completions, made once."""

from __future__ import annotations

import random
import re

import polars as pl
import pytest

from sftlens.errors import UserError
from sftlens.facts import Fact, Topic, builtin_topics, matches
from sftlens.mastery import (
    COMPLETIONS_SCHEMA,
    MASTERY_SCHEMA,
    TEMPLATES_SCHEMA,
    ProbeSettings,
    best_templates,
    level_of,
    level_sizes,
    probe,
    uncertainty,
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
        counts = [(number, settings.num_samples) for number in hits]
        assert {name: row[name] for name in list(row)[:7]} == {
            "fact_id": fact.fact_id,
            "topic": fact.topic,
            "num_completions": 12,
            "num_hits": sum(hits),
            "mastery": sum(hits) / 12,
            "level": level_of(sum(hits), 12),
            "best_template": hits.index(max(hits)),
        }
        sure = uncertainty(counts)
        assert (row["standard_error"], row["low"], row["high"]) == sure
        assert row["uncertain"] == sure.is_uncertain
        assert row["category"] is None
    assert sum(told) == 4 * 12
    sizes = level_sizes(found.mastery)
    assert sizes == [found.mastery["level"].to_list().count(level) for level in range(5)]


def test_completions_stand_in_order() -> None:
    found = probe(ScriptedGenerator(script), FACTS, SETTINGS, cut=False)
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
    ("changes", "settings", "told"),
    [
        ({"topic": "P0"}, {"prompting": "templates"}, "topic 'P0' has no mapping templates"),
        ({"topic": "P0"}, {}, "topic 'P0' has too few facts to show 4 solved"),
        ({}, {"num_templates": 22}, "has 21 .* 22 are asked for"),
        ({"subject": ""}, {"prompting": "templates"}, "fact 'a' has no subject"),
    ],
)
def test_refused_facts(changes: dict[str, str], settings: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        probe(ScriptedGenerator(script), [make_fact("a", **changes)], ProbeSettings(**settings))


def test_texts_end_where_their_outcome_is_settled() -> None:
    whole = probe(ScriptedGenerator(script), FACTS, SETTINGS, cut=False)
    cut = probe(ScriptedGenerator(script), FACTS, SETTINGS)
    assert cut.mastery.equals(whole.mastery)
    assert cut.completions.drop("text").equals(whole.completions.drop("text"))
    pairs = list(zip(cut.completions["text"], whole.completions["text"], strict=True))
    assert all(text.startswith(beginning) for beginning, text in pairs)
    assert any(text != beginning for beginning, text in pairs)


def test_what_each_template_gave() -> None:
    found = probe(ScriptedGenerator(script), FACTS, SETTINGS)
    assert found.templates.schema == TEMPLATES_SCHEMA
    for topic, template, text, number, hits, mastery in found.templates.iter_rows():
        assert text == builtin_topics()[topic].templates[template]
        own = [fact for fact in FACTS if fact.topic == topic]
        assert number == 4 * len(own)
        assert hits == sum(naive_hits(fact, SETTINGS)[template] for fact in own)
        assert mastery == hits / number
    assert len(found.templates) == 3 * 3


def test_best_templates() -> None:
    rows = [
        ("P19", 0, "{subject} a", 3, 2, 2 / 3),
        ("P19", 2, "{subject} c", 3, 3, 1.0),
        ("P20", 1, "{subject} e", 2, 1, 0.5),
        ("P20", 0, "{subject} d", 2, 1, 0.5),
        ("nq_open", 0, None, 2, 2, 1.0),
    ]
    table = pl.DataFrame(rows, schema=TEMPLATES_SCHEMA, orient="row")
    for templates in (table, table.reverse()):
        assert best_templates(templates) == {"P19": (2, "{subject} c"), "P20": (0, "{subject} d")}


def test_categories_of_slick() -> None:
    texts = {"a": ["Paris", "Paris"], "b": ["Paris", "no"], "c": ["no", "no"], "d": ["no", "no"]}

    class Greedy(ScriptedGenerator):
        def complete(self, prompts, decoding, **options):  # type: ignore[no-untyped-def]
            self.greedy = decoding.temperature == 0
            return super().complete(prompts, decoding, **options)

    def told(prompt: str, sample: int) -> str:
        fact = next(fact_id for fact_id in texts if f"Subject {fact_id}" in prompt)
        number = [builtin_topics()["P19"].prompt(n, f"Subject {fact}") for n in (0, 1)].index(
            prompt
        )
        if generator.greedy:
            return texts[fact][number]
        return "Paris" if fact == "c" and sample == 1 else "no"

    generator = Greedy(told)
    facts = [make_fact(fact_id, "Paris") for fact_id in texts]
    settings = ProbeSettings(num_templates=2, num_samples=2, categories=True)
    found = probe(generator, facts, settings)
    assert found.mastery["category"].to_list() == [
        *("HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown")
    ]
    assert found.mastery["num_completions"].to_list() == [4] * 4
    assert found.greedy is not None
    assert found.greedy["text"].to_list() == [text for own in texts.values() for text in own]


def test_questions_after_solved_ones() -> None:
    facts = [
        make_fact(
            f"f{number}", f"City{number}", topic="nq_open", subject="", question=f"Where {number}?"
        )
        for number in range(7)
    ]
    seen: list[str] = []

    def answer(prompt: str, sample: int) -> str:
        seen.append(prompt)
        number = prompt.rpartition("Where ")[2].partition("?")[0]
        # What follows the first line is the model talking to itself.
        return f" City{number}\nQ: next" if sample else f" nowhere\nA: City{number}"

    settings = ProbeSettings(num_templates=3, num_samples=2, num_shots=2)
    found = probe(ScriptedGenerator(answer), facts, settings)
    assert found.mastery["mastery"].to_list() == [0.5] * 7
    assert found.templates["text"].to_list() == [None] * 3
    prompts = sorted({prompt for prompt in seen if prompt.endswith("Q: Where 3?\nA:")})
    assert len(prompts) == 3
    for prompt in prompts:
        *solved, last = prompt.split("\n\n")
        assert last == "Q: Where 3?\nA:"
        assert len(solved) == 2
        assert all(re.fullmatch(r"Q: Where (\d)\?\nA: City\1", shown) for shown in solved)
        assert "Where 3" not in "".join(solved)


def test_facts_with_templates_and_without_go_together() -> None:
    without = [
        make_fact(f"q{number}", "x", topic="nq_open", subject="", question=f"What {number}?")
        for number in range(3)
    ]
    settings = ProbeSettings(num_templates=2, num_samples=1, num_shots=2)
    generator = ScriptedGenerator(lambda prompt, _: "x" if prompt.startswith("Q:") else "Paris")
    found = probe(generator, [make_fact("a"), *without], settings)
    assert found.mastery["mastery"].to_list() == [1] * 4
    assert [prompt for prompt, _ in generator.made if "Subject a" in prompt] == [
        builtin_topics()["P19"].prompt(template, "Subject a") for template in (1, 0)
    ]
