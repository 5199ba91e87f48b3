"""Topics: relations with a question form and mapping templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from sftlens.errors import UserError
from sftlens.facts._fact import DOMAINS, Domain
from sftlens.facts._yaml import read_yaml

_PLACEHOLDER = "{subject}"


@dataclass(frozen=True, slots=True)
class Topic:
    """One relation.

    Attributes:
        topic: its id, the Wikidata one where it has one.
        label: the relation in words.
        domain: ``in`` or ``out`` of the topics that fine-tuning draws from (paper section 1).
        question_form: the question, with ``{subject}`` once.
        templates: mapping templates (paper section 2): unfinished statements with ``{subject}``
            once, which the object completes.
    """

    topic: str
    label: str
    domain: Domain
    question_form: str
    templates: tuple[str, ...]

    def question(self, subject: str) -> str:
        """The question about a subject."""
        return fill(self.question_form, subject)

    def prompt(self, template: int, subject: str) -> str:
        """Mapping template number ``template`` about a subject, ready to be completed."""
        return fill(self.templates[template], subject)


def fill(form: str, subject: str) -> str:
    """Put a subject into a form.

    Only ``{subject}`` is replaced; braces in a subject stay as they are.
    """
    return form.replace(_PLACEHOLDER, subject)


@lru_cache(maxsize=1)
def builtin_topics() -> Mapping[str, Topic]:
    """The 24 relations of EntityQuestions by id, in-domain first (paper section 1)."""
    text = resources.files("sftlens.facts").joinpath("topics.yaml").read_text(encoding="utf-8")
    return MappingProxyType(_parse(yaml.safe_load(text), "topics.yaml"))


def load_topics(path: Path) -> dict[str, Topic]:
    """Topics of a YAML file: ``id: {label, domain, question, templates}``.

    Raises:
        UserError: when the file is absent, is no YAML, or an entry is incomplete.
    """
    return _parse(read_yaml(path, "topics"), str(path))


def _parse(content: Any, source: str) -> dict[str, Topic]:
    if not isinstance(content, dict):
        raise UserError(f"{source}: holds no topics; write `id: {{label, question, templates}}`")
    topics = {}
    for topic, entry in content.items():
        where = f"{source}: topic {topic}"
        if not isinstance(entry, dict):
            raise UserError(f"{where}: is no mapping; write label, question and templates")
        question = entry.get("question")
        templates = entry.get("templates")
        domain = entry.get("domain", "in")
        if not isinstance(templates, list) or not templates:
            raise UserError(f"{where}: has no templates; list at least one")
        for form in [question, *templates]:
            if not isinstance(form, str) or form.count(_PLACEHOLDER) != 1:
                raise UserError(f"{where}: {form!r} must be text with {_PLACEHOLDER} exactly once")
        if domain not in DOMAINS:
            raise UserError(f"{where}: domain {domain!r} is unknown; use in or out")
        label = str(entry.get("label", topic))
        topics[str(topic)] = Topic(str(topic), label, domain, str(question), tuple(templates))
    return topics
