"""The relations, their question forms and their mapping templates."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftlens.errors import UserError
from sftlens.facts import Topic, builtin_topics, fill, load_aliases, load_topics, topics_with

# Paper section 1.
IN_DOMAIN = "P17 P19 P20 P36 P69 P131 P159 P276 P495 P740".split()  # noqa: SIM905
OUT_OF_DOMAIN = (
    "P26 P40 P50 P106 P112 P127 P136 P170 P175 P176 P264 P407 P413 P800".split()  # noqa: SIM905
)

OF_POPQA = "P22 P25 P57 P58 P86 P140 P162 P462 P641 P1376".split()  # noqa: SIM905

topics = pytest.mark.parametrize("topic", topics_with().values(), ids=lambda t: t.topic)


def test_the_topics_of_the_paper() -> None:
    found = builtin_topics()
    assert [topic for topic in found if found[topic].domain == "in"] == IN_DOMAIN
    assert [topic for topic in found if found[topic].domain == "out"] == OUT_OF_DOMAIN
    assert all(topic.topic == name and topic.label for name, topic in found.items())


def test_the_topics_of_popqa_come_after_them() -> None:
    found = topics_with()
    assert list(found) == IN_DOMAIN + OUT_OF_DOMAIN + OF_POPQA
    assert all(found[topic].domain == "out" for topic in OF_POPQA)


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
    every = [template for topic in topics_with().values() for template in topic.templates]
    assert len(set(every)) == len(every)


def test_a_subject_may_hold_braces() -> None:
    topic = builtin_topics()["P19"]
    assert topic.question("{subject} {0}") == "Where was {subject} {0} born?"
    assert topic.prompt(0, "A {x}") == "A {x} was born in"
    assert fill("{subject}: {y}", "{z}") == "{z}: {y}"


@pytest.mark.parametrize(
    "subject",
    ["a {subject} b", "<b>x</b>", "עדה \u200flovelace", "  framed  ", "100 %s", "\\1", "{}"],
)
def test_a_subject_passes_unharmed(subject: str) -> None:
    topic = builtin_topics()["P19"]
    assert topic.prompt(0, subject) == f"{subject} was born in"
    assert topic.subject(topic.question(subject)) == subject


@pytest.mark.parametrize(
    ("subject", "line"),
    [
        ("Ada\nLovelace", "Ada Lovelace"),
        ("Ada \r\n\n Lovelace", "Ada Lovelace"),
        ("Ada\u2028Lovelace\n", "Ada Lovelace"),
        ("Ada\n", "Ada"),
        ("Ada\r\n", "Ada"),
        ("Ada\u2029", "Ada"),
        ("\n", ""),
    ],
)
def test_the_lines_of_a_subject_become_one(subject: str, line: str) -> None:
    assert fill("{subject} was", subject) == f"{line} was"


@given(st.text(st.sampled_from("a \n\r\x1c\x85\u2028")))
def test_a_prompt_is_one_line(subject: str) -> None:
    assert len(fill("{subject} was", subject).splitlines()) == 1


@pytest.mark.parametrize(
    "question",
    [
        "Where was born?",
        "Where was  born?",
        "Where is A born?",
        "Where was A born",
        "",
        "Where was ",
    ],
)
def test_a_question_of_another_form_has_no_subject(question: str) -> None:
    assert builtin_topics()["P19"].subject(question) is None


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
        ("P1: [", "is not valid YAML"),
        ("P1: {question: 'A {subject}?', templates: ['{subject} is'], domain: [in]}", "domain"),
        ("{}", "holds no topics"),
        ("P1: 2001-99-99", "is no value of type timestamp"),
        ("[" * 600, "nested too deeply"),
        ("P1: {question: 'A {subject} {object}?', templates: ['{subject} is']}", "names the obj"),
        ("P1: {question: 'A {subject} {objct}?', templates: ['{subject} is']}", "holds {objct}"),
    ],
)
def test_refused_topics(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "topics.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=told) as refusal:
        load_topics(path)
    assert "\n" not in str(refusal.value)


def write_templates(path: Path, *templates: object) -> Path:
    entry = {"question": "A {subject}?", "templates": list(templates)}
    path.write_text(json.dumps({"P1": entry}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "template",
    [
        "{subject} was born in",
        "{subject} was born in {object}",
        "{subject} was born in {object}.",
        "{subject} was born in {object} . ",
        " {subject}  was born\n in ",
    ],
)
def test_where_the_object_goes(tmp_path: Path, template: str) -> None:
    path = write_templates(tmp_path / "topics.yaml", template)
    assert load_topics(path)["P1"].templates == ("{subject} was born in",)


@pytest.mark.parametrize(
    ("templates", "told"),
    [
        (["{subject} was born in {object} once"], "goes on after {object}"),
        (["{subject} was born in {object}!"], "goes on after {object}"),
        (["{subject} is {object} and {object}"], "goes on after {object}"),
        (["{object} is where {subject} was born"], "goes on after {object}"),
        (["{subject} was born."], "is a finished sentence"),
        (["{subject}"], "states nothing"),
        (["{subject} {object}"], "states nothing"),
        (["{subject} {object}."], "states nothing"),
        ([""], "exactly once"),
        (["{object}"], "exactly once"),
        ([None], "exactly once"),
        ([{"a": "{subject}"}], "exactly once"),
        (["{subject} in {Object}"], "holds {Object}"),
        (["{subject} is", "{subject} is"], "says the same as"),
        (["{subject} is", "{Subject} IS", "x"], "exactly once"),
        (["Of {subject} is", "of  {subject} IS {object}."], "says the same as"),
    ],
)
def test_refused_templates(tmp_path: Path, templates: list[object], told: str) -> None:
    path = write_templates(tmp_path / "topics.yaml", *templates)
    with pytest.raises(UserError, match=re.escape(told)) as refusal:
        load_topics(path)
    assert "\n" not in str(refusal.value)
    if all(isinstance(template, str) for template in templates):
        assert any(repr(template) in str(refusal.value) for template in templates)


def test_own_topics_lie_over_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "topics.yaml"
    path.write_text(
        "P19: {question: 'Whence came {subject}?', templates: ['{subject} came from']}\n"
        "mine: {question: 'A {subject}?', templates: ['{subject} is'], domain: out}\n"
    )
    found = topics_with(path)
    assert list(found) == [*topics_with(), "mine"]
    assert found["P19"].question("Ada") == "Whence came Ada?"
    assert found["P20"] is topics_with()["P20"]
    assert "mine" not in topics_with()


@given(st.binary())
def test_any_file_is_topics_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    for load in (load_topics, load_aliases):
        with contextlib.suppress(UserError):
            load(path)


def test_missing_topics(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_topics(tmp_path / "absent.yaml")
