"""Rows of a table, each a measured value with its 95 % interval."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sftlens.report._answers import Answers, Mask, Row
from sftlens.report._statistics import mean_with_interval
from sftlens.report.inference import Contrast, infer
from sftlens.scoring import Estimate

NUM_RESAMPLES = 2000
_AT_ONCE = 256  # contrasts whose blocks are held

Schema = Mapping[str, type[pl.DataType]]

VALUE: Schema = {"value": pl.Float64, "low": pl.Float64, "high": pl.Float64}
DIFFERENCE: Schema = {f"difference{suffix}": pl.Float64 for suffix in ("", "_low", "_high")}
NUMBERS: Schema = {"num_facts": pl.Int64, "num_training_sets": pl.Int64}


class Interval(NamedTuple):
    """A value and its 95 % interval; None where it was not measured."""

    value: float | None
    low: float | None
    high: float | None
    num_facts: int
    num_training_sets: int

    @property
    def numbers(self) -> dict[str, float | None]:
        """``value``, ``low`` and ``high``."""
        return {"value": self.value, "low": self.low, "high": self.high}

    @property
    def counts(self) -> dict[str, int]:
        """``num_facts`` and ``num_training_sets``."""
        return {"num_facts": self.num_facts, "num_training_sets": self.num_training_sets}

    @property
    def difference(self) -> dict[str, float | None]:
        """The same numbers as those of a difference."""
        return {
            "difference": self.value,
            "difference_low": self.low,
            "difference_high": self.high,
        }


class Asked(NamedTuple):
    """Models whose mean accuracy is asked for, or the mean of a difference between models.

    The mean is that of the mastery levels' means, as in the paper's headline.

    Attributes:
        strata: groups of training sets that were drawn independently of each other; of each
            training set the rows that are summed up, with the weight of each.
        mask: which facts count.
    """

    strata: Sequence[Sequence[Sequence[tuple[float, Row]]]]
    mask: Mask


def accuracy_of(rows: Iterable[Row], mask: Mask) -> Asked:
    """The mean accuracy of the models of several training sets."""
    return Asked([[[(1.0, row)] for row in rows]], mask)


def paired(pairs: Iterable[tuple[Row, Row]], mask: Mask) -> Asked:
    """How much the first of two models exceeds the second, training set by training set."""
    return Asked([[[(1.0, one), (-1.0, other)] for one, other in pairs]], mask)


def unpaired(rows: Iterable[Row], others: Iterable[Row], mask: Mask) -> Asked:
    """How much models exceed others of other training sets, over the same facts."""
    strata = [[[(1.0, row)] for row in rows], [[(-1.0, row)] for row in others]]
    return Asked(strata, mask)


def intervals(answers: Answers, asked: Iterable[Asked]) -> Iterator[Interval]:
    """Values with their intervals, over the facts that all models of each answered."""
    waiting = iter(asked)
    while group := list(islice(waiting, _AT_ONCE)):
        yield from infer_all([_contrast(answers, one) for one in group])


def infer_all(contrasts: Sequence[Contrast | int]) -> Iterator[Interval]:
    """Intervals of contrasts; of a bare number of training sets, nothing but that."""
    for start in range(0, len(contrasts), _AT_ONCE):
        group = contrasts[start : start + _AT_ONCE]
        measured = [one for one in group if isinstance(one, Contrast)]
        found = iter(infer(measured, num_resamples=NUM_RESAMPLES))
        for one in group:
            if isinstance(one, Contrast):
                inferred = next(found)
                yield Interval(*inferred.estimate, inferred.num_facts, inferred.num_training_sets)
            else:
                yield Interval(None, None, None, 0, one)


def over_training_sets(
    values: Sequence[float], lowest: float = 0.0, highest: float = 1.0
) -> dict[str, Any]:
    """The mean of one number per training set, with Student's interval (none for one set).

    Args:
        values: one a training set.
        lowest: the lowest value they can take; that of a fraction by default.
        highest: the highest.
    """
    estimate = mean_with_interval(np.asarray(values, dtype=np.float64))
    value, low, high = (
        estimate.within(lowest, highest) if estimate else (float(np.mean(values)), None, None)
    )
    return {"value": value, "low": low, "high": high, "num_training_sets": len(values)}


def wider(one: Estimate, other: Estimate | None) -> Estimate:
    """The first value with an interval that holds both intervals."""
    if other is None:
        return one
    return Estimate(one.value, min(one.low, other.low), max(one.high, other.high))


def frame(rows: Sequence[Mapping[str, Any]], *schemas: Schema) -> pl.DataFrame:
    """A table of these rows, in their order."""
    schema = {name: kind for part in schemas for name, kind in part.items()}
    return pl.DataFrame(rows, schema=schema)


def _contrast(answers: Answers, asked: Asked) -> Contrast | int:
    """The contrast; the number of training sets where no fact was answered by all."""
    num_training_sets = min((len(stratum) for stratum in asked.strata), default=0)
    if not num_training_sets:
        return 0
    known = asked.mask.copy()
    for stratum in asked.strata:
        for terms in stratum:
            for _, row in terms:
                known &= row >= 0
    if not known.any():
        return num_training_sets
    blocks = tuple(_block(stratum, known) for stratum in asked.strata)
    weights = [weight for stratum in asked.strata for weight, _ in stratum[0]]
    return Contrast(
        blocks,
        answers.levels[known],
        lowest=sum(weight for weight in weights if weight < 0),
        highest=sum(weight for weight in weights if weight > 0),
    )


def _block(stratum: Sequence[Sequence[tuple[float, Row]]], known: Mask) -> NDArray[np.float32]:
    block = np.zeros((len(stratum), int(known.sum())), dtype=np.float32)
    for sums, terms in zip(block, stratum, strict=True):
        for weight, row in terms:
            sums += np.float32(weight) * row[known]
    return block
