"""The relations, their question forms and their mapping templates."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftlens.errors import UserError
from sftlens.facts import Topic, builtin_topics, fill, load_topics

# Paper section 1.
IN_DOMAIN = "P17 P19 P20 P36 P69 P131 P159 P276 P495 P740".split()  # noqa: SIM905
OUT_OF_DOMAIN = (
    "P26 P40 P50 P106 P112 P127 P136 P170 P175 P176 P264 P407 P413 P800".split()  # noqa: SIM905
)

topics = pytest.mark.parametrize("topic", builtin_topics().values(), ids=lambda t: t.topic)


def test_the_topics_of_the_paper() -> None:
    found = builtin_topics()
    assert [topic for topic in found if found[topic].domain == "in"] == IN_DOMAIN
    assert [topic for topic in found if found[topic].domain == "out"] == OUT_OF_DOMAIN
    assert all(topic.topic == name and topic.label for name, topic in found.items())


def test_the_built_in_topics_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        builtin_topics()["P0"] = builtin_topics()["P19"]  # type: ignore[index]


@topics
def test_templates_are_unfinished_statements(topic: Topic) -> None:
    assert len(topic.templates) >= 21
    assert len(set(map(str.casefold, topic.templates))) == len(topic.templates)
    for template in topic.templates:
        assert template.count("{subject}") == 1
        assert template == template.strip()
        # The object comes next, after a single space.
        assert template[-1].isalpha()
        assert not template.endswith("{subject}")
    assert topic.question_form.count("{subject}") == 1
    assert topic.question_form.endswith("?")


def test_no_two_topics_share_a_template() -> None:
    every = [template for topic in builtin_topics().values() for template in topic.templates]
    assert len(set(every)) == len(every)


def test_a_subject_may_hold_braces() -> None:
    topic = builtin_topics()["P19"]
    assert topic.question("{subject} {0}") == "Where was {subject} {0} born?"
    assert topic.prompt(0, "A {x}") == "A {x} was born in"
    assert fill("{subject}: {y}", "{z}") == "{z}: {y}"


def test_load_topics(tmp_path: Path) -> None:
    path = tmp_path / "topics.yaml"
    path.write_text(
        'P1:\n  question: "Who made {subject}?"\n  templates: ["{subject} was made by"]\n'
    )
    assert load_topics(path) == {
        "P1": Topic("P1", "P1", "in", "Who made {subject}?", ("{subject} was made by",))
    }


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "holds no topics"),
        ("- P1", "holds no topics"),
        ("P1: 3", "topic P1: is no mapping"),
        ("P1: {question: 'A {subject}?'}", "topic P1: has no templates"),
        ("P1: {question: 'A {subject}?', templates: []}", "topic P1: has no templates"),
        ("P1: {question: 'A?', templates: ['{subject} is']}", "exactly once"),
        ("P1: {templates: ['{subject} is']}", "exactly once"),
        ("P1: {question: 'A {subject}?', templates: ['{subject} and {subject}']}", "exactly once"),
        ("P1: {question: 'A {subject}?', templates: ['is'], domain: in}", "exactly once"),
        ("P1: {question: 'A {subject}?', templates: ['{subject} is'], domain: x}", "domain 'x'"),
        ("P1: [", "is no YAML"),
    ],
)
def test_refused_topics(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "topics.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=told) as refusal:
        load_topics(path)
    assert "\n" not in str(refusal.value)


def test_missing_topics(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_topics(tmp_path / "absent.yaml")
