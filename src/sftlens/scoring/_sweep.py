"""Restorations of one model scored in memory, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from sftlens.facts import Fact
from sftlens.generation import Generator
from sftlens.scoring._score import ScoreSettings, score

if TYPE_CHECKING:
    from sftlens.weights import Planned, Sweep


def score_sweep(
    generator: Generator,
    sweep: Sweep,
    planned: Sequence[Planned],
    facts: Sequence[Fact],
    levels: Mapping[str, int],
    settings: ScoreSettings | None = None,
) -> Iterator[tuple[Planned, pl.DataFrame]]:
    """Score restorations without writing checkpoints.

    Args:
        generator: of the model that the sweep takes through the restorations.
        sweep: steps that model; what the caller does with it in between does not matter.
        planned: the restorations, as :func:`sftlens.weights.plan` gives them.
        facts: what to ask.
        levels: mastery level by fact_id.
        settings: length and matching of the answers.

    Yields:
        Each restoration and its scores, as :func:`score` gives them, while the model still is the
        restored one.
    """
    for one in planned:
        sweep.step(one.restoration)
        yield one, score(generator, facts, levels, settings)
