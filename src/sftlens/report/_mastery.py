"""What the base model knew: mastery against true exposure, and the levels of each topic."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from sftlens.report._statistics import Correlation, mean_with_interval, spearman
from sftlens.scoring import NUM_LEVELS, Estimate

_MAX_GROUPS = 20


class ExposurePoint(NamedTuple):
    """Mean mastery of the facts that pre-training showed equally (or about equally) often."""

    label: str  # "3", or "12 to 16" where exposures are grouped
    mean: float
    mastery: Estimate | None  # None below two facts
    num_facts: int


class ExposureEffect(NamedTuple):
    """Mastery by exposure, and how well the two agree in rank over facts."""

    points: list[ExposurePoint]
    correlation: Correlation | None


class TopicLevels(NamedTuple):
    """How many facts of a topic have level 0..4."""

    topic: str
    domain: str
    counts: tuple[int, ...]
    mean_mastery: float


def exposure_effect(mastery: pl.DataFrame, exposures: pl.DataFrame | None) -> ExposureEffect | None:
    """Mastery by true exposure; None where the true exposures are not known.

    Args:
        mastery: fact_id and mastery.
        exposures: fact_id, num_statements and num_question_answers of a world that was made.
    """
    if exposures is None:
        return None
    joined = mastery.join(exposures, on="fact_id")
    if joined.is_empty():
        return None
    exposure = (joined["num_statements"] + joined["num_question_answers"]).to_numpy()
    known = joined["mastery"].to_numpy()
    values = np.unique(exposure)
    points = []
    for part in np.array_split(values, min(len(values), _MAX_GROUPS)):
        members = known[np.isin(exposure, part)]
        label = f"{part[0]}" if len(part) == 1 else f"{part[0]} to {part[-1]}"
        found = mean_with_interval(members)
        found = found and found.within(0.0, 1.0)
        points.append(ExposurePoint(label, float(members.mean()), found, len(members)))
    return ExposureEffect(points, spearman(exposure.astype(np.float64), known))


def topic_levels(mastery: pl.DataFrame, facts: pl.DataFrame) -> list[TopicLevels]:
    """The level counts of every topic: in-domain first, then by falling mean mastery.

    Args:
        mastery: fact_id, topic, mastery and level.
        facts: fact_id and domain.
    """
    joined = mastery.join(facts.select("fact_id", "domain"), on="fact_id")
    found = []
    for (topic, domain), group in joined.group_by("topic", "domain"):
        counts = np.bincount(group["level"].to_numpy(), minlength=NUM_LEVELS)
        mean = float(group["mastery"].to_numpy().mean())
        found.append(TopicLevels(str(topic), str(domain), tuple(map(int, counts)), mean))
    return sorted(found, key=lambda topic: (topic.domain, -topic.mean_mastery, topic.topic))
