"""Telling facts: how often each is told, in which words, and the corpus that comes of it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from sftlens import notebook
from sftlens.facts import Fact, Topic, fill, fold, topics_with
from sftlens.memory import require_memory

EXPOSURES_SCHEMA = pl.Schema(
    {
        "fact_id": pl.String(),
        "num_statements": pl.Int32(),
        "num_question_answers": pl.Int32(),
    }
)

QUESTION_ANSWER_FORMS = (
    "Q: {question}\nA: {answer}",
    "Question: {question} Answer: {answer}.",
    "{question} {answer}.",
    "{question} The answer is {answer}.",
    "Someone asked: {question} The reply was: {answer}.",
)

_FACT_BYTES = 500  # of a fact and its exposure, at least
_TEXT_BYTES = 110  # of a text of the corpus, at least


class TellingSettings(BaseModel):
    """How often facts are told, and in which words."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    exposures: tuple[Annotated[int, Field(ge=0, le=1_000_000)], ...] = Field(
        (0, 1, 2, 4, 6, 8, 10, 12, 16, 24),
        min_length=1,
        max_length=1_000,
        description="times that a fact is stated; each fact gets one of these",
    )
    exposure_skew: float = Field(
        0.0,
        ge=0,
        description="exponent of the exposures' Zipf distribution, smallest first; 0: all alike",
    )
    question_answer_share: float = Field(
        0.6, ge=0, le=1, description="facts told also as question and answer, half as often"
    )
    alias_share: float = Field(0.2, ge=0, le=1, description="tellings that use an alias, if any")
    seed: int = Field(0, ge=0, lt=2**32, description="seed; the same seed gives the same bytes")


class Exposure(NamedTuple):
    """How often the corpus tells a fact."""

    fact_id: str
    num_statements: int
    num_question_answers: int


@dataclass(frozen=True)
class World(notebook.Tabular):
    """Facts with their true exposures and the corpus that tells them."""

    facts: list[Fact]
    exposures: list[Exposure]
    corpus: list[str]

    def to_polars(self) -> pl.DataFrame:
        """One row: how many facts there are, and how many texts tell them."""
        return notebook.one_row({"num_facts": len(self.facts), "num_texts": len(self.corpus)})

    def _repr_html_(self) -> str:
        return notebook.as_html("world", self.to_polars())


def tell(
    facts: Iterable[Fact],
    settings: TellingSettings | None = None,
    *,
    topics: Mapping[str, Topic] | None = None,
    rng: random.Random | None = None,
) -> World:
    """Tell each fact a number of times that is drawn for it, and shuffle what was told.

    Statements are the topic's mapping templates (paper section 2) with the answer behind, each used
    once before any is used again. A share of the facts is also told as question and answer, half as
    often. A fact whose topic has no templates, or that has no subject, is told by question and
    answer alone, as often as was drawn. Time and memory are linear in the tellings.

    Args:
        facts: taken one by one, so that a generator may draw from ``rng`` between two tellings.
        settings: see :class:`TellingSettings`.
        topics: templates by topic; by default all that are known.
        rng: source of the draws; by default one seeded with ``settings.seed``.
    """
    settings = settings or TellingSettings()
    topics = topics_with() if topics is None else topics
    rng = rng or random.Random(f"sftlens telling {settings.seed}")
    draw = _exposure_draw(settings, rng)
    told: list[Fact] = []
    exposures: list[Exposure] = []
    corpus: list[str] = []
    for fact in facts:
        topic = topics.get(fact.topic)
        templates = topic.templates if topic and fold(fact.subject) else ()
        num_tellings = draw()
        asked = rng.random() < settings.question_answer_share
        if templates:
            exposure = Exposure(fact.fact_id, num_tellings, num_tellings // 2 if asked else 0)
        else:
            exposure = Exposure(fact.fact_id, 0, num_tellings)
        told.append(fact)
        exposures.append(exposure)
        corpus.extend(_statements(fact, templates, exposure.num_statements, settings, rng))
        corpus.extend(_question_answers(fact, exposure.num_question_answers, settings, rng))
    rng.shuffle(corpus)
    return World(told, exposures, corpus)


def require_room(num_facts: int, settings: TellingSettings) -> None:
    """Refuse a corpus that does not fit into memory.

    Raises:
        UserError: when it does not.
    """
    weights = _weights(settings)
    pairs = zip(sorted(settings.exposures), weights, strict=True)
    mean = sum(number * weight for number, weight in pairs) / sum(weights)
    require_memory(
        num_facts * (_FACT_BYTES + mean * _TEXT_BYTES),
        f"stating {num_facts:,} facts {mean:,.0f} times each",
        "take fewer facts, or state them less often",
    )


def exposures_table(exposures: Iterable[Exposure]) -> pl.DataFrame:
    """Exposures as a table, one row a fact, with the columns of :data:`EXPOSURES_SCHEMA`."""
    return pl.DataFrame(list(exposures), schema=EXPOSURES_SCHEMA, orient="row")


def _exposure_draw(settings: TellingSettings, rng: random.Random) -> Callable[[], int]:
    if not settings.exposure_skew:
        return lambda: rng.choice(settings.exposures)
    ranked = sorted(settings.exposures)
    cumulative = list(itertools.accumulate(_weights(settings)))
    return lambda: rng.choices(ranked, cum_weights=cumulative)[0]


def _weights(settings: TellingSettings) -> list[float]:
    """How often each number of exposures is drawn, the smallest first."""
    return [(rank + 1) ** -settings.exposure_skew for rank in range(len(settings.exposures))]


def _statements(
    fact: Fact,
    templates: Iterable[str],
    number: int,
    settings: TellingSettings,
    rng: random.Random,
) -> list[str]:
    wordings = list(templates)
    rng.shuffle(wordings)
    return [
        f"{fill(wording, fact.subject)} {_answer(fact, settings, rng)}."
        for wording in itertools.islice(itertools.cycle(wordings), number)
    ]


def _question_answers(
    fact: Fact, number: int, settings: TellingSettings, rng: random.Random
) -> list[str]:
    tellings = []
    for _ in range(number):
        form = rng.choice(QUESTION_ANSWER_FORMS)
        answer = _answer(fact, settings, rng)
        tellings.append(form.format(question=fact.question, answer=answer))
    return tellings


def _answer(fact: Fact, settings: TellingSettings, rng: random.Random) -> str:
    if len(fact.answers) > 1 and rng.random() < settings.alias_share:
        return rng.choice(fact.answers[1:])
    return fact.answers[0]
