"""The other tasks of the demo study: what they ask, and that a wrong answer is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sftlens.study import load_study
from sftlens.study._harness_tasks import find_tasks, load_tasks
from sftlens.world import WorldSettings, make_world

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.fixture(scope="module")
def asked() -> dict[str, list[dict[str, Any]]]:
    """The items of each task, as the harness has them."""
    (loaded,) = load_tasks(find_tasks(load_study(STUDIES / "demo.yaml").tasks))
    return {name: list(loaded.loaded["tasks"][name].eval_docs) for name in loaded.names}


def test_both_tasks_ask_the_same_statements(asked: dict[str, list[dict[str, Any]]]) -> None:
    assert set(asked) == {"answer_kind", "new_statements"}
    assert asked["answer_kind"] == asked["new_statements"]
    assert len(asked["answer_kind"]) == 142
    for item in asked["answer_kind"]:
        assert item["statement"] == f"{item['begin']} {item['answers'][0]}."
        assert len(set(item["answers"])) == 4


def test_the_model_was_never_told_of_the_subjects(asked: dict[str, list[dict[str, Any]]]) -> None:
    corpus = set(make_world(WorldSettings()).corpus)
    assert corpus.isdisjoint(item["statement"] for item in asked["new_statements"])


def test_a_wrong_answer_is_of_no_topic_that_has_the_right_one(
    asked: dict[str, list[dict[str, Any]]],
) -> None:
    topics: dict[str, set[str]] = {}
    for fact in make_world(WorldSettings()).facts:
        topics.setdefault(fact.answers[0], set()).add(fact.topic)
    for item in asked["answer_kind"]:
        right, *wrong = item["answers"]
        assert all(topics[right].isdisjoint(topics[answer]) for answer in wrong)


def test_the_first_items_are_of_many_topics(asked: dict[str, list[dict[str, Any]]]) -> None:
    """The demo study asks a part of them."""
    limit = load_study(STUDIES / "demo.yaml").harness.limit
    kinds = {item["answers"][0] for item in asked["answer_kind"][:limit]}
    assert limit == 72
    assert len(kinds) > 40
