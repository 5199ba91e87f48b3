"""The front of a repair without the facts that repeat their question."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from sftlens.facts import Fact
from sftlens.repair._candidates import AS_IT_IS, THE_BASE, Candidate
from sftlens.repair._echoed import WITHOUT_ECHOED_SCHEMA, without_echoed_table
from sftlens.repair._examine import Examiner, Found
from sftlens.repair._measure import strata
from sftlens.repair._page import page
from sftlens.repair._parts import Parts
from sftlens.repair._tables import Row, front_table
from tiny_world import make_fact

ROWS = [Row("tuned", AS_IT_IS, 0.0), Row("base", THE_BASE, 1.0)]
ANSWERS = {AS_IT_IS: [1, 1, 0, 1, 0, 0, 0, 0], THE_BASE: [1, 1, 1, 1, 1, 0, 0, 0]}


def examiner_of(facts: list[Fact]) -> Examiner:
    """Of models that answer the test facts as ANSWERS says."""

    def examine(candidate: Candidate, part: str) -> Found:
        return Found(np.array(ANSWERS[candidate], float), np.array(ANSWERS[candidate], float))

    return cast(Examiner, SimpleNamespace(parts=Parts([], [], facts), examine=examine))


def facts_of(num_echoed: int) -> list[Fact]:
    facts = [make_fact(str(n), "Lutsk", split="test") for n in range(8)]
    return [
        replace(fact, question="What is the capital of Lutsk Raion?") if n < num_echoed else fact
        for n, fact in enumerate(facts)
    ]


def test_knowledge_without_echoed_facts() -> None:
    examiner = examiner_of(facts_of(3))
    table = without_echoed_table(examiner, ROWS, None, seed=0)
    assert table.schema == WITHOUT_ECHOED_SCHEMA
    assert table["num_facts"].to_list() == [5, 5]
    assert table["knowledge"].to_list() == [pytest.approx(1 / 5), pytest.approx(2 / 5)]
    assert table["gain"].to_list() == [0.0, pytest.approx(1 / 5)]
    # The rest of the facts alone would give the same.
    rest = strata(facts_of(0)[3:], None)
    answers = {one: np.array(ANSWERS[one][3:], float) for one in ANSWERS}
    alone = cast(
        Examiner, SimpleNamespace(examine=lambda one, _: Found(answers[one], answers[one]))
    )
    front = front_table(alone, ROWS, rest, seed=0)
    shared = ["knowledge", "knowledge_low", "knowledge_high", "gain", "gain_low", "gain_high"]
    assert table.select(shared).equals(front.select(shared))


@pytest.mark.parametrize("num_echoed", [0, 8])
def test_no_table_where_it_would_say_nothing(num_echoed: int) -> None:
    table = without_echoed_table(examiner_of(facts_of(num_echoed)), ROWS, None, seed=0)
    assert table.is_empty()


def test_the_page_shows_both() -> None:
    facts = facts_of(3)
    examiner = examiner_of(facts)
    front = front_table(examiner, ROWS, strata(facts, None), seed=0).to_dicts()
    others = without_echoed_table(examiner, ROWS, None, seed=0).to_dicts()
    texts = dict.fromkeys(("why", "base", "tuned", "task", "command"), "")
    content = {**texts, "notes": [], "dtype": "float32", "stored": "float32"}
    shown = page(front, content, others)
    assert "The answers to 3 of the 8 test facts stand in their own question" in shown
    assert "40.0 % (" in shown
    assert "stand in their own question" not in page(front, content)
