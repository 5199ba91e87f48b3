"""Telling facts: how often, in which words, and whatever the facts hold."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from told import assert_told_as_it_says

from sftlens.facts import Fact, builtin_topics
from sftlens.world import Exposure, TellingSettings, exposures_table, tell
from tiny_world import make_fact

ONCE = TellingSettings(exposures=(1,), question_answer_share=0)
STRANGE = (
    "{subject}",
    "{question} {0} {answer",
    "<b>Ada</b></s>",
    "Ada\nLovelace\r\n\t",
    "محمد بن موسى الخوارزمي",
    "東京 – Łódź",
    "\u202eadA\u202c 👩🏽‍🚀",
)


def many(number: int, *answers: str) -> list[Fact]:
    return [make_fact(f"f{place:04d}", *answers) for place in range(number)]


def test_given_facts_are_told_as_often_as_it_says() -> None:
    facts = [
        *many(30, "Paris", "City of Light"),
        *(make_fact(f"a{place}", topic="aunt", question=f"Aunt of {place}?") for place in range(9)),
        *(make_fact(f"s{place}", subject=" ", question=f"Where is {place}?") for place in range(9)),
    ]
    world = tell(iter(facts), TellingSettings(seed=2))
    assert world.facts == facts
    assert_told_as_it_says(world)
    given, others = world.exposures[:30], world.exposures[30:]
    assert all(one.num_question_answers in (0, one.num_statements // 2) for one in given)
    assert sum(one.num_question_answers for one in given) > 0
    assert not any(one.num_statements for one in others)  # no templates, or no subject
    assert sum(one.num_question_answers for one in others) > 0


@settings(max_examples=25)
@given(st.lists(st.tuples(st.text(), st.text(min_size=1), st.text(min_size=1)), max_size=5))
def test_facts_may_hold_anything(parts: list[tuple[str, str, str]]) -> None:
    facts = [
        make_fact(f"f{place}", answer, subject=subject, question=question)
        for place, (subject, question, answer) in enumerate(parts)
    ]
    world = tell(facts)
    told = sum(one.num_statements + one.num_question_answers for one in world.exposures)
    assert len(world.corpus) == told
    topic = builtin_topics()["P19"]
    for fact, exposure in zip(facts, world.exposures, strict=True):
        if exposure.num_statements:
            statements = {
                f"{topic.prompt(template, fact.subject)} {fact.answers[0]}."
                for template in range(len(topic.templates))
            }
            assert statements & {*world.corpus}


@pytest.mark.parametrize("name", STRANGE)
def test_names_are_told_as_they_are(name: str) -> None:
    fact = make_fact("f", name, subject=name, question=f"Where was {name} born?")
    (statement,) = tell([fact], ONCE).corpus
    topic = builtin_topics()["P19"]
    assert statement in {
        f"{topic.prompt(template, name)} {name}." for template in range(len(topic.templates))
    }
    (asked,) = tell([make_fact("f", name, topic="none", question=f"{name}?")], ONCE).corpus
    assert f"{name}?" in asked
    assert name in asked.replace(f"{name}?", "", 1)


def test_the_seed_decides() -> None:
    facts = many(40, "Paris", "City of Light")
    first, again, other = (tell(facts, TellingSettings(seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first.exposures != other.exposures
    random.seed(0)
    assert tell(facts, TellingSettings(seed=1)) == first


def test_statements_use_every_wording_before_any_again() -> None:
    num_templates = len(builtin_topics()["P19"].templates)
    often = ONCE.model_copy(update={"exposures": (num_templates + 3,)})
    counts = Counter(tell([make_fact()], often).corpus)
    assert sorted(counts.values()) == [1] * (num_templates - 3) + [2] * 3


@pytest.mark.parametrize("share", [0, 0.2, 1])
def test_aliases_take_their_share(share: float) -> None:
    telling = TellingSettings(exposures=(10,), alias_share=share)
    corpus = tell(many(100, "Paris", "City of Light", "Lutetia"), telling).corpus
    by_alias = sum("City of Light" in text or "Lutetia" in text for text in corpus)
    assert by_alias == pytest.approx(share * len(corpus), rel=0.15)
    assert share == 0 or {"City of Light", "Lutetia"} <= {
        alias for alias in ("City of Light", "Lutetia") for text in corpus if alias in text
    }


@pytest.mark.parametrize(
    ("skew", "expected"), [(0, [1 / 3] * 3), (1, [6 / 11, 3 / 11, 2 / 11]), (50, [1, 0, 0])]
)
def test_the_skew_of_exposures(skew: float, expected: list[float]) -> None:
    telling = TellingSettings(exposures=(5, 0, 2), exposure_skew=skew, question_answer_share=0)
    counts = Counter(one.num_statements for one in tell(many(3000), telling).exposures)
    assert [counts[number] / 3000 for number in (0, 2, 5)] == pytest.approx(expected, abs=0.03)


def test_facts_are_taken_one_by_one() -> None:
    rng = random.Random(3)
    states = []

    def drawing() -> Iterator[Fact]:
        for fact in many(3):
            states.append(rng.getstate())
            yield fact

    tell(drawing(), rng=rng)
    assert len({hash(state) for state in states}) == 3  # each telling drew before the next fact


def test_the_table_of_exposures() -> None:
    table = exposures_table([Exposure("a", 1, 0), Exposure("b", 0, 2)])
    assert table.rows() == [("a", 1, 0), ("b", 0, 2)]
    assert exposures_table([]).schema == table.schema


@pytest.mark.parametrize(
    "changes",
    [
        {"exposures": ()},
        {"exposures": (1, -1)},
        {"exposures": (1.5,)},
        {"exposures": (10**7,)},
        {"exposure_skew": -1},
        {"exposure_skew": float("nan")},
        {"question_answer_share": 1.5},
        {"alias_share": -0.1},
        {"seed": -1},
        {"size": 3},
    ],
)
def test_refused_settings(changes: dict) -> None:
    with pytest.raises(ValidationError):
        TellingSettings(**changes)
