"""The data set of the paper, where it lies beside the project."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sftlens.facts import Topic, builtin_topics, fold, read_facts

DATA = Path(__file__).parents[3] / "shared" / "data" / "entity_questions"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="EntityQuestions is not beside the project"
)


def rows(topic: Topic, split: str) -> list[dict]:
    return json.loads((DATA / split / f"{topic.topic}.{split}.json").read_text(encoding="utf-8"))


def subject_pattern(topic: Topic) -> re.Pattern[str]:
    before, after = topic.question_form.split("{subject}")
    return re.compile(f"{re.escape(before)}(.+){re.escape(after)}", re.DOTALL)


@pytest.mark.parametrize("topic", builtin_topics().values(), ids=lambda t: t.topic)
def test_every_question_has_the_form_of_its_topic(topic: Topic) -> None:
    pattern = subject_pattern(topic)
    for split in ("train", "dev", "test"):
        for row in rows(topic, split):
            found = pattern.fullmatch(row["question"])
            assert found, row["question"]
            assert topic.question(found[1]) == row["question"]


def test_a_topic_reads_from_a_file(tmp_path: Path) -> None:
    topic = builtin_topics()["P36"]
    pattern = subject_pattern(topic)
    real = rows(topic, "test")
    path = tmp_path / "facts.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for row in real:
            subject = pattern.fullmatch(row["question"])[1]
            file.write(json.dumps({"topic": "P36", "subject": subject, **row}) + "\n")
    facts, dropped = read_facts(path)
    by_question = {fold(row["question"]): row for row in reversed(real)}
    assert len(facts) + dropped.get("repeated question", 0) == len(real)
    assert len(facts) == len(by_question)
    for fact in facts:
        row = by_question[fold(fact.question)]
        assert fact.question == row["question"]
        assert list(fact.answers) == row["answers"]
        assert (fact.split, fact.domain) == ("test", "in")
