"""Facts whose answer stands in their question."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sftlens.errors import UserError
from sftlens.facts import (
    builtin_topics,
    facts_from_table,
    facts_table,
    is_echoed,
    read_facts,
    select_facts,
)
from tiny_world import make_fact

DATA = Path(__file__).parents[3] / "shared" / "data" / "entity_questions"


@pytest.mark.parametrize(
    ("question", "subject", "answers", "echoed"),
    [
        ("What is the capital of Lutsk Raion?", "Lutsk Raion", ["Lutsk"], True),
        ("What is the capital of France?", "France", ["Paris"], False),
        ("What is the capital of FRANCE?", "", ["France"], True),
        # Whatever would be counted as an answer in a completion.
        ("What is the capital of Tomsky District?", "", ["Tomsk"], True),
        ("Which company is IBM 5100 produced by?", "", ["International Machines", "IBM"], True),
        ("Which country does music come from?", "", ["United States", "US"], False),
        ("What is it?", "The São Paulo Museum", ["sa\N{COMBINING TILDE}o paulo"], True),
        ("What is it?", "", ["What is it, then?"], False),
    ],
)
def test_is_echoed(question: str, subject: str, answers: list[str], echoed: bool) -> None:
    fact = replace(make_fact("a", "x"), question=question, subject=subject, answers=tuple(answers))
    assert is_echoed(fact) is echoed
    table = facts_table([fact])
    assert table["echoed"].to_list() == [echoed]
    assert facts_from_table(table) == facts_from_table(table.drop("echoed")) == [fact]


def test_echoed_facts_can_be_dropped_before_the_draw() -> None:
    facts = [
        replace(make_fact(str(n), "Lutsk"), question=f"{'Lutsk' if n % 2 else 'Town'} {n}?")
        for n in range(12)
    ]
    kept = select_facts(facts, echoed="drop", limit=6)
    assert len(kept) == 6
    assert not any(map(is_echoed, kept))
    with pytest.raises(UserError, match="every fact chosen has its answer in its own question"):
        select_facts(facts[1::2], echoed="drop")


@pytest.mark.skipif(not DATA.is_dir(), reason=f"EntityQuestions is not beside the project: {DATA}")
def test_how_many_facts_of_entity_questions_are_echoed() -> None:
    facts = read_facts(f"entity_questions:{DATA}/test").facts
    table = facts_table(facts)

    def percent(**of: str) -> float:
        return round(100 * float(table.filter(**of)["echoed"].mean()), 1)  # type: ignore[arg-type]

    assert len(facts) == 9_555 + 11_613
    assert (percent(domain="in"), percent(domain="out")) == (9.8, 4.6)
    assert [percent(topic=topic) for topic in ("P36", "P176", "P276")] == [42.4, 30.1, 28.6]
    assert set(table["topic"]) == set(builtin_topics())
