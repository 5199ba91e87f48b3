"""Which candidates get how many of the budget's runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sftlens.advice._candidates import Candidate

FINALISTS = 3
MAX_SEEDS = 8
"""Training sets of one candidate at most."""

_HALVING = 0.75  # share of the budget that halving may take


class Trains(Protocol):
    """What a search needs of pilots."""

    runs: dict[Candidate, list[int]]

    @property
    def left(self) -> int: ...

    def train(self, candidates: Sequence[Candidate]) -> None: ...


def num_candidates(budget: int) -> int:
    """How many candidates a budget allows to begin with; at least two."""
    number = 2
    while _cost(number + 1) <= _HALVING * budget:
        number += 1
    return number


def _cost(number: int) -> int:
    rounds = [number]
    while rounds[-1] > FINALISTS:
        rounds.append((rounds[-1] + 1) // 2)
    return sum(rounds)


def search(
    pilots: Trains,
    candidates: Sequence[Candidate],
    mean: Callable[[Candidate], float],
    contenders: Callable[[], Sequence[Candidate]],
) -> None:
    """Spend the budget by successive halving, the rest on those between which the choice lies.

    All candidates are trained once; the better half again, with other facts and another seed, and
    so on until three or fewer are left. Every later run goes to the contender with the fewest.
    It all follows from what was measured, so that the same search takes the same course.

    Args:
        pilots: trains and measures; knows what is left of the budget.
        candidates: in the order that settles what is equal.
        mean: of what was measured of a candidate.
        contenders: those between which the choice lies by now.
    """
    standing = list(candidates)
    pilots.train(standing)
    while len(standing) > FINALISTS:
        standing = sorted(standing, key=mean, reverse=True)[: (len(standing) + 1) // 2]
        pilots.train(standing)
    while pilots.left:
        open_ones = [one for one in contenders() if len(pilots.runs[one]) < MAX_SEEDS]
        if not open_ones:
            break
        fewest = min(len(pilots.runs[one]) for one in open_ones)
        pilots.train([one for one in open_ones if len(pilots.runs[one]) == fewest][: pilots.left])
