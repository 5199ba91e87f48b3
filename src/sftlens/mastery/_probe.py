"""Probing a base model: prompts, completions, R, level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from sftlens.facts import Fact, Matching, Topic, topics_with
from sftlens.generation import Decoding, Generator
from sftlens.mastery._completing import Memory, Store, Work, complete
from sftlens.mastery._grade import (
    COMPLETIONS_SCHEMA,
    GREEDY_SCHEMA,
    MASTERY_SCHEMA,
    added_up,
    grade,
    template_counts,
)
from sftlens.mastery._judge import is_hit
from sftlens.mastery._prompts import Asked, Prompter, Prompting, make_prompter
from sftlens.memory import require_memory
from sftlens.progress import Advance, silent

GROUP = 4096
_BYTES = 200  # of a completion while it is judged, at least
"""Facts whose prompts are in memory at once."""


class ProbeSettings(BaseModel):
    """How mastery is measured; the defaults are the paper's (section 2)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    num_templates: int = Field(
        21, ge=1, le=10_000, description="mapping templates of each fact, N_map"
    )
    num_samples: int = Field(
        10, ge=1, le=10_000, description="completions of each template, N_sample"
    )
    temperature: float = Field(0.7, ge=0, description="of the sampling; 0 is greedy")
    max_new_tokens: int = Field(32, ge=1, le=65_536, description="tokens a completion has at most")
    matching: Matching = Field("contains", description="when a completion counts as a hit")
    seed: int = Field(0, ge=0, lt=2**32, description="of the sampling")
    prompting: Prompting = Field(
        "auto", description="ask by mapping templates, or by questions after solved ones"
    )
    num_shots: int = Field(4, ge=0, le=1_000, description="solved questions before a question")
    categories: bool = Field(
        False, description="a greedy completion of each template too, for the categories of SliCK"
    )

    @property
    def decoding(self) -> Decoding:
        return Decoding(
            num_samples=self.num_samples,
            temperature=self.temperature,
            max_new_tokens=self.max_new_tokens,
            seed=self.seed,
        )

    @property
    def greedy(self) -> Decoding:
        return Decoding(num_samples=1, temperature=0, max_new_tokens=self.max_new_tokens)


class Probe(NamedTuple):
    """What probing found.

    Attributes:
        completions: one row a completion, :data:`COMPLETIONS_SCHEMA`.
        mastery: one row a fact, :data:`MASTERY_SCHEMA`, in the order of the facts.
        templates: what each template gave, :data:`TEMPLATES_SCHEMA`.
        greedy: one row a template of a fact, :data:`GREEDY_SCHEMA`; None without categories.
    """

    completions: pl.DataFrame
    mastery: pl.DataFrame
    templates: pl.DataFrame
    greedy: pl.DataFrame | None


class Stores(NamedTuple):
    """Where completions are kept: those sampled, and the greedy ones."""

    sampled: Store
    greedy: Store


def probe(
    generator: Generator,
    facts: Sequence[Fact],
    settings: ProbeSettings | None = None,
    *,
    topics: Mapping[str, Topic] | None = None,
    stores: Stores | None = None,
    cut: bool = True,
    advance: Advance = silent,
) -> Probe:
    """Measure how well a base model masters facts (paper section 2, multi-template completion).

    R of a fact is the share of its N_map · N_sample sampled completions that hold an accepted
    answer; its level follows by :func:`level_of`.

    Args:
        generator: the base model.
        facts: the facts to grade.
        settings: prompts, samples and decoding.
        topics: question forms and templates by topic; by default those that are known.
        stores: take completions as they are made, and have those that need not be made again.
        cut: whether a completion may end as soon as its outcome is settled.
        advance: told how many completions are done.

    Raises:
        UserError: when a fact cannot be asked in the way that was chosen.
    """
    settings = settings or ProbeSettings()
    prompter = prompter_of(facts, settings, topics)
    stores = stores or Stores(Memory(), Memory())
    make_completions(generator, facts, settings, prompter, stores, cut=cut, advance=advance)
    parts = list(graded(facts, settings, prompter, stores))
    return Probe(
        pl.concat([COMPLETIONS_SCHEMA.to_frame(), *(part.completions for part in parts)]),
        pl.concat([MASTERY_SCHEMA.to_frame(), *(part.mastery for part in parts)]),
        added_up([part.templates for part in parts]),
        pl.concat([part.greedy for part in parts if part.greedy is not None])
        if settings.categories and parts
        else None,
    )


def prompter_of(
    facts: Sequence[Fact], settings: ProbeSettings, topics: Mapping[str, Topic] | None = None
) -> Prompter:
    """What makes the prompts of a probe.

    Raises:
        UserError: as :func:`probe`.
    """
    return make_prompter(
        facts,
        topics_with() if topics is None else topics,
        prompting=settings.prompting,
        num_templates=settings.num_templates,
        num_shots=settings.num_shots,
        seed=settings.seed,
    )


def make_completions(
    generator: Generator,
    facts: Sequence[Fact],
    settings: ProbeSettings,
    prompter: Prompter,
    stores: Stores,
    *,
    cut: bool = True,
    rank: int = 0,
    size: int = 1,
    advance: Advance = silent,
) -> None:
    """See that the stores have every completion, or the part of process ``rank`` of ``size``."""
    for start in range(0, len(facts), GROUP):
        asked = _asked(facts[start : start + GROUP], prompter)
        work = Work(settings.decoding, settings.matching, cut, rank, size)
        complete(generator, asked, work, stores.sampled, advance)
        if settings.categories:
            greedy = work._replace(decoding=settings.greedy)
            complete(generator, asked, greedy, stores.greedy, advance)


def graded(
    facts: Sequence[Fact], settings: ProbeSettings, prompter: Prompter, stores: Stores
) -> Iterator[Probe]:
    """The completions of the stores, judged, some thousand facts at a time."""
    for start in range(0, len(facts), GROUP):
        group = facts[start : start + GROUP]
        asked = _asked(group, prompter)
        completions = _judged(asked, settings.decoding, settings.matching, stores.sampled)
        greedy = None
        if settings.categories:
            greedy = _judged(asked, settings.greedy, settings.matching, stores.greedy)
            greedy = greedy.select(GREEDY_SCHEMA.names())
        mastery = grade(group, completions, greedy)
        templates = template_counts(mastery, completions, prompter.wording)
        yield Probe(completions, mastery, templates, greedy)


def num_completions(num_facts: int, settings: ProbeSettings) -> int:
    """How many completions a probe makes, greedy ones included."""
    return num_facts * settings.num_templates * (settings.num_samples + settings.categories)


def require_room(num_facts: int, settings: ProbeSettings) -> None:
    """Refuse a probe whose completions do not fit into memory, a group of facts at a time.

    Raises:
        UserError: when they do not.
    """
    number = num_completions(min(num_facts, GROUP), settings)
    require_memory(
        _BYTES * number,
        f"grading {settings.num_templates:,} templates with {settings.num_samples:,} samples each",
        "lower num_templates or num_samples",
    )


def _asked(facts: Sequence[Fact], prompter: Prompter) -> list[Asked]:
    return [asked for fact in facts for asked in prompter.prompts(fact)]


def _judged(
    asked: Sequence[Asked], decoding: Decoding, matching: Matching, store: Store
) -> pl.DataFrame:
    texts: dict[str, list[str]] = {}
    for prompt, sample, text, _ in store.table([one.prompt for one in asked]).iter_rows():
        if sample < decoding.num_samples:
            texts.setdefault(prompt, []).append(text)
    rows = [
        (one.fact.fact_id, one.template, sample, text, is_hit(one, text, matching))
        for one in asked
        for sample, text in enumerate(texts[one.prompt])
    ]
    return pl.DataFrame(rows, schema=COMPLETIONS_SCHEMA, orient="row")
