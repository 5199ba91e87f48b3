"""The choice among measured candidates, and what each is worth beside the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sftlens.advice._candidates import Candidate
from sftlens.advice._measure import Answers, Measure
from sftlens.advice._search import FINALISTS
from sftlens.scoring import Estimate


class Choice(NamedTuple):
    """What a pilot says.

    Attributes:
        chosen: what to train on.
        best: the candidate with the highest mean; often the same.
        over_best: by how much the chosen one exceeds it; None where it is the same.
        over_base: by how much the chosen one exceeds the base as it is.
        over_recipe: by how much it exceeds the paper's recipe; None where that was not tried or is
            the same.
    """

    chosen: Candidate
    best: Candidate
    over_best: Estimate | None
    over_base: Estimate
    over_recipe: Estimate | None

    @property
    def is_worth_it(self) -> bool:
        """Whether training is surely better than leaving the base as it is."""
        return self.over_base.low > 0


def choose(
    answers: Mapping[Candidate, Answers],
    base: Answers,
    measure: Measure,
    *,
    recipe: Candidate | None,
    max_loss: float,
) -> Choice:
    """The smallest candidate that is as good as the best one.

    As good is one that is not surely worse, and whose mean is at most ``max_loss`` below: with few
    runs nearly everything is not surely worse. Where more than three candidates were tried, only
    those count that were trained at least twice. Of equal sizes the higher mean wins.

    Args:
        answers: of each candidate that was trained.
        base: of the base as it is.
        measure: the validation facts.
        recipe: the paper's, where it was tried.
        max_loss: a fraction.
    """
    fewest = 2 if len(answers) > FINALISTS else 1
    able = [one for one, own in answers.items() if len(own) >= fewest]
    means = {one: measure.all.mean(answers[one]) for one in able}
    best = max(able, key=lambda one: (means[one], -one.size))
    close = [one for one in able if one.size < best.size and means[one] >= means[best] - max_loss]
    against_best = _differences([(one, best) for one in close], answers, measure)
    as_good = [one for one, found in zip(close, against_best, strict=True) if found.high >= 0]
    chosen = min([best, *as_good], key=lambda one: (one.size, -means[one]))
    over_best = against_best[close.index(chosen)] if chosen in close else None
    [over_base] = measure.differences([(answers[chosen], base)])
    over_recipe = None
    if recipe in answers and recipe is not None and recipe != chosen:
        [over_recipe] = _differences([(chosen, recipe)], answers, measure)
    return Choice(chosen, best, over_best, over_base, over_recipe)


class Larger(NamedTuple):
    """What more facts of the same levels bring: the largest size beside the best smaller one.

    ``num_runs`` is the fewer of the two's.
    """

    smaller: Candidate
    larger: Candidate
    gain: Estimate
    num_runs: int


def larger_sizes(answers: Mapping[Candidate, Answers], measure: Measure) -> list[Larger]:
    """Of each set of levels with several sizes; in their order."""
    curves: dict[tuple[int, ...], list[Candidate]] = {}
    for one in sorted(answers):
        curves.setdefault(one.levels, []).append(one)
    pairs = [
        (own[-1], max(own[:-1], key=lambda one: measure.all.mean(answers[one])))
        for own in curves.values()
        if len(own) > 1
    ]
    found = _differences(pairs, answers, measure)
    return [
        Larger(smaller, larger, gain, min(len(answers[smaller]), len(answers[larger])))
        for (larger, smaller), gain in zip(pairs, found, strict=True)
    ]


class Rival(NamedTuple):
    """A single level at its best size, and by how much the choice exceeds it."""

    candidate: Candidate
    behind: Estimate
    num_runs: int


def rivals(
    chosen: Candidate, answers: Mapping[Candidate, Answers], measure: Measure
) -> dict[int, Rival]:
    """Of each level that was tried alone and that the choice leaves out."""
    best: dict[int, Candidate] = {}
    for one in sorted(answers):
        if len(one.levels) == 1 and one.levels[0] not in chosen.levels:
            other = best.get(one.levels[0], one)
            best[one.levels[0]] = max(other, one, key=lambda own: measure.all.mean(answers[own]))
    found = _differences([(chosen, one) for one in best.values()], answers, measure)
    return {
        level: Rival(one, behind, len(answers[one]))
        for (level, one), behind in zip(best.items(), found, strict=True)
    }


def _differences(
    pairs: Sequence[tuple[Candidate, Candidate]],
    answers: Mapping[Candidate, Answers],
    measure: Measure,
) -> list[Estimate]:
    return measure.differences([(answers[one], answers[other]) for one, other in pairs])
