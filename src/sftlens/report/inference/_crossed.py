"""Intervals of effects that were measured on the same facts by several training sets.

Facts are the units: they are drawn again within each mastery level, without regard to topics, once
for all models, since all models answer the same facts (a crossed design). Training sets are the
clusters: a bootstrap of three or five of them is too narrow, so that their spread enters by
Student's t. A replicate of the effect is a resample over facts plus a draw of t times the standard
error over training sets. What single answers add to the spread shows in both, and is taken out of
that over facts (as in the quasi-F ratio of designs that cross two random factors). Where training
sets dominate, the interval is thus Student's, and where facts do, the percentile bootstrap; it is
never narrower than the latter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sftlens.scoring import Estimate

NUM_RESAMPLES = 9999
_MIN_DIFFERING = 5  # facts of a level, below which their spread is not trusted
_CHUNK_CELLS = 4_000_000  # resamples times facts that are held at once

Floats = NDArray[np.float64]


class Contrast(NamedTuple):
    """An effect: the sum over strata of the mean over training sets of the mean over levels.

    Attributes:
        strata: one block of values (num_training_sets, num_facts) for each group of training sets
            that are drawn independently of the other groups', such as those of one training level.
            A row holds what is measured with one training set, paired: such as right answers of
            one model minus those of another.
        levels: what the facts are drawn within, (num_facts,); each level has the same weight.
        lowest: the lowest value the effect can take; None where it has no bounds.
        highest: the highest.
    """

    strata: tuple[NDArray[np.floating], ...]
    levels: NDArray[np.integer]
    lowest: float | None = -1.0
    highest: float | None = 1.0


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What is known of an effect.

    Attributes:
        estimate: value and 95 % interval.
        num_facts: facts it was measured on.
        num_training_sets: the fewest of any stratum. With 1 the spread over training sets is not
            known, and the interval covers the choice of facts only.
        replicates: of the effect, sorted, (num_resamples,).
    """

    estimate: Estimate
    num_facts: int
    num_training_sets: int
    replicates: Floats

    def p(self, threshold: float = 0.0) -> float:
        """Two-sided p value of the effect being ``threshold``; at least 2 / (resamples + 1)."""
        total = len(self.replicates)
        below = int(np.searchsorted(self.replicates, threshold, side="right"))
        above = total - int(np.searchsorted(self.replicates, threshold, side="left"))
        return min(1.0, 2 * (1 + min(below, above)) / (total + 1))


def infer(
    contrasts: Sequence[Contrast], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> list[Inference]:
    """Intervals and p values of effects; those over the same facts share their resamples.

    Two corrections for small samples: the variance of resampled facts is multiplied by n / (n - 1),
    and where fewer than five facts of a level differ from the others, it is not taken for less than
    that of two made-up facts among them, one at either bound; so a level with one fact, or one on
    which no answer differs, is not certain.

    Args:
        contrasts: the effects.
        num_resamples: replicates of each.
        seed: of the draws.

    Raises:
        ValueError: when a contrast has no facts, no training sets, or blocks of other shapes.
    """
    for contrast in contrasts:
        _check(contrast)
    groups: dict[bytes, list[int]] = {}
    for place, contrast in enumerate(contrasts):
        groups.setdefault(np.asarray(contrast.levels, np.int64).tobytes(), []).append(place)
    found: dict[int, Inference] = {}
    for places in groups.values():
        group = [contrasts[place] for place in places]
        found.update(zip(places, _infer_group(group, num_resamples, seed), strict=True))
    return [found[place] for place in range(len(contrasts))]


def _check(contrast: Contrast) -> None:
    num_facts = len(contrast.levels)
    if not num_facts or not contrast.strata or not all(map(len, contrast.strata)):
        raise ValueError("no facts or no training sets to average over")
    for stratum in contrast.strata:
        if stratum.ndim != 2 or stratum.shape[1] != num_facts:
            raise ValueError(f"{num_facts} levels but values of shape {stratum.shape}")


def _infer_group(group: Sequence[Contrast], num_resamples: int, seed: int) -> list[Inference]:
    levels = np.asarray(group[0].levels)
    weights = _fact_weights(levels)
    means = np.stack([_sum_of_means(contrast) for contrast in group])  # (num_contrasts, num_facts)
    values = means @ weights
    spread = _resampled_facts(means * weights, levels, num_resamples, seed)
    rng = np.random.default_rng([seed, 1])
    ladder = (np.arange(num_resamples) + 0.5) / num_resamples
    of_sets, of_floor = rng.permutation(ladder), stats.norm.ppf(rng.permutation(ladder))
    found = []
    for contrast, value, mean, deviation in zip(group, values, means, spread, strict=True):
        of_facts, lacking = _over_facts(contrast, mean)
        sets = _over_training_sets(contrast, weights)
        rest = max(0.0, of_facts - sets.of_answers)
        replicates = value + np.sqrt(lacking) * of_floor
        if sets.error**2 * _wider(sets.freedom) + rest > of_facts:
            replicates += sets.error * stats.t.ppf(of_sets, sets.freedom)
            deviation = deviation * (np.sqrt(rest / of_facts) if of_facts else 0.0)
        replicates += deviation
        replicates.sort()
        low, high = np.quantile(replicates, [0.025, 0.975])
        # A mean of weights that add up to 1 can be a rounding error above it.
        value, low, high = np.clip([value, low, high], contrast.lowest, contrast.highest)
        found.append(
            Inference(
                estimate=Estimate(float(value), float(low), float(high)),
                num_facts=len(levels),
                num_training_sets=min(map(len, contrast.strata)),
                replicates=replicates,
            )
        )
    return found


def _sum_of_means(contrast: Contrast) -> Floats:
    """The effect on each fact, (num_facts,)."""
    total: Floats = np.sum(
        [np.mean(stratum, axis=0, dtype=np.float64) for stratum in contrast.strata], axis=0
    )
    return total


def _fact_weights(levels: NDArray[np.integer]) -> Floats:
    _, place, counts = np.unique(levels, return_inverse=True, return_counts=True)
    weights: Floats = 1 / (counts[place] * len(counts))
    return weights


def _resampled_facts(
    terms: Floats, levels: NDArray[np.integer], num_resamples: int, seed: int
) -> Floats:
    """How far resamples of the facts lie from the sum of their terms, (num_contrasts, resamples).

    Args:
        terms: what each fact adds, (num_contrasts, num_facts).
        levels: (num_facts,).
        num_resamples: resamples.
        seed: of the draws.
    """
    rng = np.random.default_rng([seed, 0])
    members = [np.flatnonzero(levels == level) for level in np.unique(levels)]
    parts = [terms[:, of_level].T.astype(np.float32) for of_level in members]
    deviations = np.zeros((num_resamples, len(terms)))
    chunk = max(1, _CHUNK_CELLS // max(map(len, members)))
    for start in range(0, num_resamples, chunk):
        rows = slice(start, min(start + chunk, num_resamples))
        for part in parts:
            size = len(part)
            if size > 1:
                more = _draw_counts(rng, size, rows.stop - rows.start) - np.float32(1)
                deviations[rows] += (more @ part) * np.sqrt(size / (size - 1))
    return deviations.T


def _draw_counts(rng: np.random.Generator, size: int, num: int) -> NDArray[np.float32]:
    """How often each of ``size`` items is drawn in ``size`` draws, (num, size)."""
    draws = rng.integers(size, size=(num, size), dtype=np.int32)
    draws += np.arange(num, dtype=np.int32)[:, None] * np.int32(size)
    counts = np.bincount(draws.ravel(), minlength=num * size)
    return counts.reshape(num, size).astype(np.float32)


def _over_facts(contrast: Contrast, mean: Floats) -> tuple[float, float]:
    """The variance of the effect over facts, and what the levels' own lack of the least one."""
    bounded = contrast.lowest is not None and contrast.highest is not None
    half = (contrast.highest - contrast.lowest) / 2 if bounded else 0.0  # type: ignore[operator]
    present = np.unique(contrast.levels)
    total = lacking = 0.0
    for level in present:
        values = mean[contrast.levels == level]
        own = float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0
        total += own
        common = np.unique(values, return_counts=True)[1].max()
        if len(values) - common < _MIN_DIFFERING:
            lacking += max(0.0, 2 * half**2 / (len(values) + 2) ** 2 - own)
    return total / len(present) ** 2, lacking / len(present) ** 2


class _TrainingSets(NamedTuple):
    """What training sets tell of the spread of an effect."""

    error: float  # standard error
    freedom: float  # its degrees of freedom
    of_answers: float  # the variance that single answers add, whatever the set


def _over_training_sets(contrast: Contrast, weights: Floats) -> _TrainingSets:
    """The spread over training sets, strata put together (Satterthwaite)."""
    spreads, freedoms = [0.0], [1]
    of_answers = 0.0
    for stratum in contrast.strata:
        num_sets = len(stratum)
        if num_sets > 1:
            rows = stratum.astype(np.float64)
            spreads.append(float((rows @ weights).var(ddof=1)) / num_sets)
            freedoms.append(num_sets - 1)
            of_answers += float(weights**2 @ rows.var(axis=0, ddof=1)) / num_sets
    total = sum(spreads)
    if total == 0:
        return _TrainingSets(0.0, 1.0, of_answers)
    squares = sum(part**2 / freedom for part, freedom in zip(spreads, freedoms, strict=True))
    return _TrainingSets(float(np.sqrt(total)), total**2 / squares, of_answers)


def _wider(freedom: float) -> float:
    """How much wider Student's 95 % interval is than the normal one, squared."""
    return float((stats.t.ppf(0.975, freedom) / stats.norm.ppf(0.975)) ** 2)
