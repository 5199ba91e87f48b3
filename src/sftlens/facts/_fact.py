"""The fact, and its table form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from sftlens.facts._matching import matches
from sftlens.tables import columns_of, read_table

Split = Literal["train", "validation", "test"]
Domain = Literal["in", "out"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
DOMAINS: tuple[Domain, ...] = ("in", "out")

FACTS_SCHEMA = pl.Schema(
    {
        "fact_id": pl.String(),
        "topic": pl.String(),
        "subject": pl.String(),
        "question": pl.String(),
        "answers": pl.List(pl.String()),
        "split": pl.String(),
        "domain": pl.String(),
        "echoed": pl.Boolean(),
    }
)
"""The fields of a fact, and whether its answer stands in its question (:func:`is_echoed`)."""

FACT_FIELDS: tuple[str, ...] = tuple(name for name in FACTS_SCHEMA if name != "echoed")
"""The columns that a row may bring."""

_COLUMNS = columns_of(
    pl.Schema({name: FACTS_SCHEMA[name] for name in FACT_FIELDS}),
    among={"split": SPLITS, "domain": DOMAINS},
)


@dataclass(frozen=True, slots=True)
class Fact:
    """One question with its accepted answers, of one topic.

    Attributes:
        fact_id: unique among the facts it is used with.
        topic: the relation, by its Wikidata id where it has one (``P19``).
        subject: what the question asks about; empty where the question has no relation, so that
            no mapping template can name it.
        question: in words, with the subject in it where there is one.
        answers: accepted answers; the first is the one that training teaches, the others are
            aliases of it or other correct answers.
        split: ``train``, ``validation`` or ``test``.
        domain: ``in`` for topics that fine-tuning draws from, ``out`` for the others.
    """

    fact_id: str
    topic: str
    subject: str
    question: str
    answers: tuple[str, ...]
    split: Split
    domain: Domain


def is_echoed(fact: Fact) -> bool:
    """Tell if an accepted answer of a fact stands in its question, or in its subject.

    A model that repeats the name it was asked about is then right without knowing the fact: "What
    is the capital of Lutsk Raion?", "Lutsk". The answer is looked for as it is in what a model
    writes, by :func:`matches` and its default rule, so that a fact is echoed exactly where
    repeating its question would count as a correct answer.
    """
    return matches(fact.question, fact.answers) or matches(fact.subject, fact.answers)


def echoed_ids(table: pl.DataFrame) -> set[str]:
    """The ids of the facts of a table that :func:`is_echoed` holds for.

    Args:
        table: with the columns fact_id, subject, question and answers.
    """
    return {
        fact_id
        for fact_id, subject, question, answers in table.select(
            "fact_id", "subject", "question", "answers"
        ).iter_rows()
        if matches(question, answers) or matches(subject, answers)
    }


def facts_table(facts: Iterable[Fact]) -> pl.DataFrame:
    """Facts as a table, one row a fact, with the columns of :data:`FACTS_SCHEMA`."""
    rows = [
        (
            f.fact_id,
            f.topic,
            f.subject,
            f.question,
            list(f.answers),
            f.split,
            f.domain,
            is_echoed(f),
        )
        for f in facts
    ]
    return pl.DataFrame(rows, schema=FACTS_SCHEMA, orient="row")


def facts_from_table(table: pl.DataFrame) -> list[Fact]:
    """The facts of a table made by :func:`facts_table`."""
    return [
        Fact(fact_id, topic, subject, question, tuple(answers), split, domain)
        for fact_id, topic, subject, question, answers, split, domain in table.select(
            FACT_FIELDS
        ).iter_rows()
    ]


def facts_from_file(path: Path, *, remedy: str) -> list[Fact]:
    """The facts of a Parquet file that a command wrote.

    Args:
        path: the file.
        remedy: what to do when it cannot be read.

    Raises:
        UserError: when it cannot be read or holds something else.
    """
    table = read_table(path, remedy=remedy, columns=_COLUMNS, key=["fact_id"])
    return facts_from_table(table)


def facts_hash(facts: Iterable[Fact]) -> str:
    """SHA-256 over facts in their order, in hexadecimal."""
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(json.dumps(astuple(fact), ensure_ascii=True).encode() + b"\n")
    return digest.hexdigest()
