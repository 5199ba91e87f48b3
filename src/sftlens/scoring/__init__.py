"""Closed-book question answering per mastery level, with intervals."""

from sftlens.scoring._intervals import (
    NUM_LEVELS,
    Estimate,
    difference,
    mean_of_levels,
    mean_of_proportions,
    proportion,
)

__all__ = [
    "NUM_LEVELS",
    "Estimate",
    "difference",
    "mean_of_levels",
    "mean_of_proportions",
    "proportion",
]
