"""What the base model knew: mastery against true exposure, and the levels of each topic."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sftlens.report._statistics import Correlation, mean_with_interval, spearman
from sftlens.report._tables import Tables
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


def exposure_effect(tables: Tables) -> ExposureEffect | None:
    """Mastery by true exposure; None where the true exposures are not known."""
    if tables.exposures is None or tables.exposures.is_empty():
        return None
    joined = tables.mastery.join(tables.exposures, on="fact_id")
    exposure = (joined["num_statements"] + joined["num_question_answers"]).to_numpy()
    mastery = joined["mastery"].to_numpy()
    if not len(joined):
        return None
    values = np.unique(exposure)
    parts = np.array_split(values, min(len(values), _MAX_GROUPS))
    points = []
    for part in parts:
        members = mastery[np.isin(exposure, part)]
        label = f"{part[0]}" if len(part) == 1 else f"{part[0]} to {part[-1]}"
        found = mean_with_interval(members)
        points.append(ExposurePoint(label, float(members.mean()), found, len(members)))
    return ExposureEffect(points, spearman(exposure.astype(np.float64), mastery))


def topic_levels(tables: Tables) -> list[TopicLevels]:
    """The level counts of every topic: in-domain first, then by falling mean mastery."""
    joined = tables.mastery.join(tables.facts.select("fact_id", "domain"), on="fact_id")
    found = []
    for (topic, domain), group in joined.group_by("topic", "domain"):
        counts = np.bincount(group["level"].to_numpy(), minlength=NUM_LEVELS)
        mean = float(group["mastery"].to_numpy().mean())
        found.append(TopicLevels(str(topic), str(domain), tuple(map(int, counts)), mean))
    return sorted(found, key=lambda topic: (topic.domain, -topic.mean_mastery, topic.topic))
