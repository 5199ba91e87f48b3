"""What the base model is given to complete, so that it shows whether it knows a fact."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from sftlens.errors import UserError
from sftlens.facts import Fact, Topic, fold

Prompting = Literal["auto", "templates", "questions"]
"""``templates``: the mapping templates of the fact's topic (paper section 2). ``questions``: the
question after solved ones, each time others (SliCK, arXiv 2405.05904 section 3). ``auto``:
templates for facts that have a subject and a topic with templates, questions for the others."""


class Asked(NamedTuple):
    """One prompt for one fact.

    ``template`` is the number of the mapping template, or of the choice of solved questions.
    ``one_line`` tells that only the first line of what follows is the answer.
    """

    fact: Fact
    template: int
    prompt: str
    one_line: bool


class Prompter(Protocol):
    """Makes the prompts of facts."""

    def prompts(self, fact: Fact) -> list[Asked]:
        """The prompts of a fact, one for each template number from 0 on."""
        ...

    def wording(self, topic: str, template: int) -> str | None:
        """A mapping template, None where the topic's facts are asked by questions."""
        ...


class TemplatePrompter:
    """Mapping templates.

    Args:
        topics: by id.
        num_templates: how many of each topic's templates are used, the first ones.
    """

    def __init__(self, topics: Mapping[str, Topic], num_templates: int) -> None:
        self._topics = topics
        self._num_templates = num_templates

    def prompts(self, fact: Fact) -> list[Asked]:
        topic = self._topics[fact.topic]
        return [
            Asked(fact, number, topic.prompt(number, fact.subject), one_line=False)
            for number in range(self._num_templates)
        ]

    def wording(self, topic: str, template: int) -> str | None:
        return self._topics[topic].templates[template]


class QuestionPrompter:
    """Few-shot question prompts with other solved questions each time (SliCK, section 3).

    The solved questions of a prompt are of the fact's topic and of the train split where the topic
    has so many, never the fact itself, and chosen by a seeded hash: facts that come or go move few
    of them.

    Args:
        pool: the facts that may be shown solved.
        num_templates: choices of solved questions.
        num_shots: solved questions in a prompt.
        seed: of the choice.

    Raises:
        UserError: from :meth:`prompts`, when a topic has too few facts.
    """

    def __init__(self, pool: Sequence[Fact], num_templates: int, num_shots: int, seed: int) -> None:
        self._num_templates, self._num_shots, self._seed = num_templates, num_shots, seed
        self._by_topic: dict[str, list[Fact]] = {}
        for fact in pool:
            self._by_topic.setdefault(fact.topic, []).append(fact)
        for topic, facts in self._by_topic.items():
            train = [fact for fact in facts if fact.split == "train"]
            self._by_topic[topic] = train if len(train) > num_shots else facts
        self._first: dict[tuple[str, int], list[Fact]] = {}

    def prompts(self, fact: Fact) -> list[Asked]:
        return [
            Asked(fact, number, self._prompt(fact, number), one_line=True)
            for number in range(self._num_templates)
        ]

    def wording(self, topic: str, template: int) -> str | None:
        return None

    def _prompt(self, fact: Fact, number: int) -> str:
        shown = [
            other
            for other in self._candidates(fact.topic, number)
            if fold(other.question) != fold(fact.question)
        ][: self._num_shots]
        if len(shown) < self._num_shots:
            raise UserError(
                f"topic {fact.topic!r} has too few facts to show {self._num_shots} solved "
                "questions; lower the number of shots or give more facts"
            )
        solved = [f"Q: {other.question}\nA: {other.answers[0]}\n\n" for other in shown]
        return "".join([*solved, f"Q: {fact.question}\nA:"])

    def _candidates(self, topic: str, number: int) -> list[Fact]:
        key = topic, number
        if key not in self._first:
            facts = self._by_topic.get(topic, [])
            ranked = sorted(facts, key=lambda fact: self._rank(fact, number))
            # One more than is shown, and again as many, in case questions repeat.
            self._first[key] = ranked[: 2 * self._num_shots + 1]
        return self._first[key]

    def _rank(self, fact: Fact, number: int) -> bytes:
        told = f"{self._seed} {number} {fact.topic} {fact.question}"
        return hashlib.blake2b(told.encode(), digest_size=16).digest()


class AutoPrompter:
    """Templates where a fact has them, questions elsewhere."""

    def __init__(
        self, topics: Mapping[str, Topic], templates: Prompter, questions: Prompter
    ) -> None:
        self._topics, self._templates, self._questions = topics, templates, questions

    def prompts(self, fact: Fact) -> list[Asked]:
        has_templates = fact.subject and fact.topic in self._topics
        return (self._templates if has_templates else self._questions).prompts(fact)

    def wording(self, topic: str, template: int) -> str | None:
        return self._templates.wording(topic, template) if topic in self._topics else None


def make_prompter(
    facts: Sequence[Fact],
    topics: Mapping[str, Topic],
    *,
    prompting: Prompting,
    num_templates: int,
    num_shots: int,
    seed: int,
) -> Prompter:
    """The prompter of a probe.

    Raises:
        UserError: when a fact that is to be asked by templates has no subject, or its topic has no
            or too few templates.
    """
    templates = TemplatePrompter(topics, num_templates)
    questions = QuestionPrompter(facts, num_templates, num_shots, seed)
    by_templates = [
        fact
        for fact in facts
        if prompting == "templates"
        or (prompting == "auto" and fact.subject and fact.topic in topics)
    ]
    _require_templates(by_templates, topics, num_templates)
    if prompting == "templates":
        return templates
    return questions if prompting == "questions" else AutoPrompter(topics, templates, questions)


def _require_templates(facts: Sequence[Fact], topics: Mapping[str, Topic], needed: int) -> None:
    for topic in sorted({fact.topic for fact in facts}):
        if topic not in topics:
            raise UserError(
                f"topic {topic!r} has no mapping templates; known topics: {', '.join(topics)}; "
                "or ask by questions"
            )
        present = len(topics[topic].templates)
        if present < needed:
            raise UserError(
                f"topic {topic!r} has {present} mapping templates, {needed} are asked for; "
                "lower the number of templates"
            )
    if subjectless := next((fact for fact in facts if not fact.subject), None):
        raise UserError(
            f"fact {subjectless.fact_id!r} has no subject to put into a template; ask by questions"
        )
