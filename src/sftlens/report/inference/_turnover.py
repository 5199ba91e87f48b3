"""Facts lost and gained between two models, against what chance alone turns over."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sftlens.report.inference._crossed import NUM_RESAMPLES, Contrast, infer
from sftlens.scoring import Estimate

Hits = NDArray[np.bool_]


class Turnover(NamedTuple):
    """Fractions of the facts; with one training set the intervals cover the facts only.

    Attributes:
        lost: right with the reference, wrong with the other model.
        gained: wrong, then right.
        net: gained minus lost.
        floor_lost: lost between two scorings of the reference itself; None without a second one.
        floor_gained: gained there.
        lost_over_floor: lost minus floor_lost, paired.
        gained_over_floor: gained minus floor_gained, paired.
    """

    lost: Estimate
    gained: Estimate
    net: Estimate
    floor_lost: Estimate | None = None
    floor_gained: Estimate | None = None
    lost_over_floor: Estimate | None = None
    gained_over_floor: Estimate | None = None


def turnover(
    reference: Hits, other: Hits, repeat: Hits | None = None, *, num_resamples: int = NUM_RESAMPLES
) -> Turnover:
    """Facts lost and gained from one model to another, with 95 % intervals.

    Args:
        reference: right answers of the first model, (num_training_sets, num_facts).
        other: of the second, over the same training sets and facts.
        repeat: of the first model, scored a second time: other batches, another machine, another
            random state, whatever the comparison may not mean.
        num_resamples: of the bootstrap.

    Raises:
        ValueError: when the shapes differ, or there are no facts or training sets.
    """
    twice = None if repeat is None else (reference, repeat)
    parts = turnover_contrasts(reference, other, twice)
    return Turnover(*(one.estimate for one in infer(parts, num_resamples=num_resamples)))


def turnover_contrasts(
    reference: Hits, other: Hits, twice: tuple[Hits, Hits] | None = None
) -> list[Contrast]:
    """What :func:`turnover` estimates, in the order of :class:`Turnover`, to be inferred at once.

    Args:
        reference: right answers of the first model, (num_training_sets, num_facts).
        other: of the second, over the same training sets and facts.
        twice: two scorings of one and the same model, over the same too: the floor.

    Raises:
        ValueError: when the shapes differ.
    """
    if any(part.shape != reference.shape for part in (other, *(twice or ()))):
        raise ValueError("models scored over different facts or training sets")
    lost, gained = reference & ~other, other & ~reference
    parts = [_share(lost), _share(gained), _less(gained, lost)]
    if twice is not None:
        first, second = twice
        floor_lost, floor_gained = first & ~second, second & ~first
        parts += [
            _share(floor_lost),
            _share(floor_gained),
            _less(lost, floor_lost),
            _less(gained, floor_gained),
        ]
    return parts


def _share(hits: Hits) -> Contrast:
    return Contrast((hits.astype(np.float32),), _one_level(hits), lowest=0.0)


def _less(first: Hits, second: Hits) -> Contrast:
    return Contrast((first.astype(np.float32) - second,), _one_level(first))


def _one_level(hits: Hits) -> NDArray[np.int64]:
    return np.zeros(hits.shape[-1], np.int64)
