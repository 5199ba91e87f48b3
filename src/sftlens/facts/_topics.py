"""Topics: relations with a question form and mapping templates."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sftlens.errors import UserError
from sftlens.facts._fact import DOMAINS, Domain
from sftlens.facts._matching import fold
from sftlens.yaml_files import read_yaml

_SUBJECT = "{subject}"
_OBJECT = "{object}"
_ANY_PLACEHOLDER = re.compile(r"\{\w*\}")


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

    def subject(self, question: str) -> str | None:
        """What a question of this topic asks about; None where it has another form."""
        before, after = self.question_form.split(_SUBJECT)
        if not question.startswith(before) or not question.endswith(after):
            return None
        subject = question[len(before) : len(question) - len(after)]
        return subject if subject.strip() else None

    def question(self, subject: str) -> str:
        """The question about a subject."""
        return fill(self.question_form, subject)

    def prompt(self, template: int, subject: str) -> str:
        """Mapping template number ``template`` about a subject, ready to be completed."""
        return fill(self.templates[template], subject)


def fill(form: str, subject: str) -> str:
    """Put a subject into a form.

    Only ``{subject}`` is replaced; braces in a subject stay as they are. A subject of several
    lines is put into one, since a prompt and what completes it are one statement.
    """
    lines = subject.splitlines()
    if lines and lines != [subject]:
        subject = " ".join(line.strip() for line in lines if line.strip())
    return form.replace(_SUBJECT, subject)


@lru_cache(maxsize=1)
def builtin_topics() -> Mapping[str, Topic]:
    """The 24 relations of EntityQuestions by id, in-domain first (paper section 1)."""
    return MappingProxyType(_packaged("topics.yaml"))


@lru_cache(maxsize=1)
def _known_topics() -> Mapping[str, Topic]:
    return MappingProxyType({**builtin_topics(), **_packaged("popqa.yaml")})


def topics_with(path: Path | None = None) -> Mapping[str, Topic]:
    """Every topic that is known: the built-in ones, PopQA's, and over them those of a file.

    Args:
        path: see :func:`load_topics`; None for no file.

    Raises:
        UserError: when the file is refused.
    """
    if path is None:
        return _known_topics()
    return MappingProxyType({**_known_topics(), **load_topics(path)})


def _packaged(name: str) -> dict[str, Topic]:
    return _parse(read_yaml(Path(__file__).with_name(name), "topics"), name)


def load_topics(path: Path) -> dict[str, Topic]:
    """Topics of a YAML file: ``id: {label, domain, question, templates}``.

    A template ends where the object goes. It may say so with ``{object}``, alone or with a full
    stop; both are dropped.

    Raises:
        UserError: when the file is absent, is no YAML, or an entry is incomplete; when a form
            names the subject not exactly once, goes on after the object, or says the same as
            another template of the topic. The form is quoted.
    """
    return _parse(read_yaml(path, "topics"), str(path))


def _parse(content: Any, source: str) -> dict[str, Topic]:
    if not isinstance(content, dict) or not content:
        raise UserError(f"{source}: holds no topics; write `id: {{label, question, templates}}`")
    topics = {}
    for name, entry in content.items():
        topic = " ".join(str(name).split())
        where = f"{source}: topic {topic}"
        if not isinstance(entry, dict):
            raise UserError(f"{where}: is no mapping; write label, question and templates")
        domain = entry.get("domain", "in")
        if domain not in DOMAINS:
            raise UserError(f"{where}: domain {reprlib.repr(domain)} is unknown; use in or out")
        topics[topic] = Topic(
            topic,
            str(entry.get("label", topic)),
            domain,
            _question_form(entry.get("question"), where),
            _templates(entry.get("templates"), where),
        )
    return topics


def _question_form(form: object, where: str) -> str:
    form = _names_the_subject(form, where)
    if _OBJECT in form:
        raise UserError(f"{where}: question {form!r} names the object; leave {_OBJECT} away")
    return form


def _templates(forms: object, where: str) -> tuple[str, ...]:
    if not isinstance(forms, list) or not forms:
        raise UserError(f"{where}: has no templates; list at least one")
    templates: dict[str, str] = {}
    for form in forms:
        template = _template(form, where)
        if fold(template) in templates:
            raise UserError(
                f"{where}: template {form!r} says the same as {templates[fold(template)]!r}; "
                "leave one of them away"
            )
        templates[fold(template)] = template
    return tuple(templates.values())


def _template(form: object, where: str) -> str:
    """A template as it is completed, up to where the object goes."""
    template = " ".join(_names_the_subject(form, where).split())
    if _OBJECT in template:
        template, rest = template.split(_OBJECT, 1)
        if rest.strip() not in ("", "."):
            raise UserError(
                f"{where}: template {form!r} goes on after {_OBJECT}; end it where the object goes"
            )
        template = template.strip()
    elif template[-1] in ".?!":
        raise UserError(
            f"{where}: template {form!r} is a finished sentence; end it where the object goes"
        )
    if template == _SUBJECT:
        raise UserError(f"{where}: template {form!r} states nothing; write an unfinished statement")
    return template


def _names_the_subject(form: object, where: str) -> str:
    if not isinstance(form, str) or form.count(_SUBJECT) != 1:
        quoted = repr(form) if isinstance(form, str) else reprlib.repr(form)
        raise UserError(f"{where}: {quoted} must be text with {_SUBJECT} exactly once")
    for placeholder in _ANY_PLACEHOLDER.findall(form):
        if placeholder not in (_SUBJECT, _OBJECT):
            raise UserError(
                f"{where}: {form!r} holds {placeholder}; only {_SUBJECT} and {_OBJECT} are filled"
            )
    return form
