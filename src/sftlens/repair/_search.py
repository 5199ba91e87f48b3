"""The search: successive halving over methods and strengths, then layer group by layer group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from sftlens.intervals import Z95
from sftlens.repair._candidates import AS_IT_IS, BASE, OUTSIDE, TUNED, Candidate, Way
from sftlens.repair._examine import Found
from sftlens.repair._measure import Strata, Values
from sftlens.repair._parts import Part

NUM_FINALISTS = 3
"""Candidates that the search hands on at most."""

_FEWEST_FACTS = 12  # of the first round
_FEWEST_LEFT = 6  # candidates that halving keeps to the last round
_MAX_ROUNDS = 7
_HALVING_SHARE = 0.6  # of the search's budget, where layer groups come after it
_SURE = 1.645  # standard errors: one-sided 95 %


class Asked(Protocol):
    """What the search needs of :class:`sftlens.repair._examine.Examiner`."""

    def examine(self, candidate: Candidate, part: Part, num_facts: int) -> Found: ...

    def num_seen(self, candidate: Candidate) -> int: ...

    def cost(self, part: Part, num_facts: int) -> int: ...

    def left(self) -> int: ...


class Standing(NamedTuple):
    """How a candidate stands after the first ``num_facts`` facts of the search.

    Attributes:
        gain: knowledge above that of the tuned model on the same facts.
        gain_error: its standard error.
        task_gain: accuracy of the task above that of the tuned model on the same items.
        task_error: its standard error.
    """

    candidate: Candidate
    num_facts: int
    gain: float
    gain_error: float
    task_gain: float
    task_error: float

    def excess_loss(self, allowed: float) -> float:
        """How much more of the task than ``allowed`` is lost, beyond one standard error."""
        return max(0.0, -(self.task_gain + self.task_error) - allowed)

    def keeps_task(self, allowed: float) -> bool:
        """Whether the task loses no more than ``allowed``, and not surely anything."""
        return self.task_gain >= -allowed and self.task_gain + Z95 * self.task_error >= 0


class Searched(NamedTuple):
    """What a search found.

    Attributes:
        finalists: candidates that gained knowledge and kept the task on all facts of the search,
            the best first; none where there was none.
        standings: every candidate at the most facts it was asked; those asked most first, of them
            the best.
    """

    finalists: list[Candidate]
    standings: list[Standing]


class Search:
    """Searches candidates on the facts of the search's half.

    **Halving.** All methods and strengths are asked a few facts, the better half of them twice as
    many, and so on; the last round asks all facts. How few the first ones are follows from the
    budget: as many as it allows. Candidates that lose the task stand behind all that keep it.

    **Layer groups.** Around the best of them, one group of layers after the other is tried tuned,
    half given back, all given back, and with the method one strength up and down. A change is
    kept when the gain over what it changed is more than 1.645 standard errors of the paired
    difference; groups take turns until none is kept or the budget is spent.

    Everything follows from the answers and the settings: the same answers give the same choice.

    Args:
        asked: answers questions, within the budget.
        of: the strata of the search's facts.
        grid: the candidates to halve.
        shares: strengths, for the steps up and down.
        groups: names of the layer groups.
        max_task_loss: a fraction.
        reserve: questions that must be left for the decision.
    """

    def __init__(
        self,
        asked: Asked,
        of: Strata,
        grid: Sequence[Candidate],
        shares: Sequence[float],
        groups: Sequence[str],
        *,
        max_task_loss: float,
        reserve: int,
    ) -> None:
        self._asked = asked
        self._strata = of
        self._grid = list(grid)
        self._ladder = sorted({0.0, *map(float, shares), 100.0})
        self._groups = list(groups)
        self._allowed = max_task_loss
        self._reserve = reserve
        self._seen: dict[Candidate, None] = {}
        self._weights: dict[int, Values] = {}

    @property
    def num_facts(self) -> int:
        return len(self._strata.codes)

    def run(self) -> Searched:
        """Search until the budget is spent or nothing gets better."""
        self._asked.examine(AS_IT_IS, "search", self.num_facts)
        share = _HALVING_SHARE if len(self._groups) > 1 else 1.0
        survivors = self._halve(self._grid, int(share * self._spendable()))
        whole = [s for s in survivors if s.gain > 0 and s.keeps_task(self._allowed)]
        start = whole[0].candidate if whole else AS_IT_IS
        grouped = self._improve(start) if len(self._groups) > 1 else start
        finalists = [] if grouped == AS_IT_IS else [grouped]
        methods: set[str | None] = set()
        for standing in whole:
            candidate = standing.candidate
            if candidate not in finalists and candidate.way.method not in methods:
                finalists.append(candidate)
            methods.add(candidate.way.method)
        finalists = finalists[:NUM_FINALISTS]
        return Searched(finalists, self._ranked(self._seen, None))

    def _spendable(self) -> int:
        return self._asked.left() - self._reserve

    def _halve(self, grid: list[Candidate], budget: int) -> list[Standing]:
        """Successive halving; those of the last round, the best first."""
        rounds = self._rounds(len(grid), budget)
        while rounds is None and len(grid) > 1:
            grid = grid[::2]
            rounds = self._rounds(len(grid), budget)
        left = grid if rounds else []
        found: list[Standing] = []
        for number, num_facts in enumerate(rounds or []):
            for candidate in left:
                self._seen.setdefault(candidate)
                self._asked.examine(candidate, "search", num_facts)
            found = self._ranked(left, num_facts)
            if number + 1 < len(rounds or []):
                left = [standing.candidate for standing in found[: _kept(len(left))]]
        return found

    def _rounds(self, num_candidates: int, budget: int) -> list[int] | None:
        """The facts of each round, as many in the first as the budget allows; None if none are."""
        for num_doublings in range(_MAX_ROUNDS):
            sizes = [-(-self.num_facts // (1 << n)) for n in range(num_doublings, -1, -1)]
            if num_doublings and sizes[0] < min(_FEWEST_FACTS, self.num_facts):
                return None
            total, before, left = 0, 0, num_candidates
            for size in sizes:
                cost = self._asked.cost("search", size)
                total += left * (cost - before)
                before, left = cost, _kept(left)
            if total <= budget:
                return sizes
        return None

    def _improve(self, start: Candidate) -> Candidate:
        """Coordinate search over the layer groups."""
        current = start
        changed = True
        while changed:
            changed = False
            for group in self._groups:
                better = self._best_move(current, group)
                if better is not None:
                    current, changed = better, True
        return current

    def _best_move(self, current: Candidate, group: str) -> Candidate | None:
        """The surely better way for a group, the best of several; None where none is."""
        best: tuple[float, Candidate] | None = None
        for way in self._ways(current, group):
            candidate = current.moved(group, way)
            if candidate == AS_IT_IS:
                continue
            gain = self._race(candidate, current)
            if gain is not None and (best is None or gain > best[0]):
                best = gain, candidate
        return best[1] if best else None

    def _race(self, candidate: Candidate, current: Candidate) -> float | None:
        """What a candidate gains over the current one, if it surely does.

        It is asked half of the facts first, and the others only where that is no loss.
        """
        for num_facts in (-(-self.num_facts // 2), self.num_facts):
            have = self._asked.num_seen(candidate)
            cost = self._asked.cost("search", max(num_facts, have))
            if cost - self._asked.cost("search", have) > self._spendable():
                return None
            self._seen.setdefault(candidate)
            gain, error = self._paired(candidate, current, num_facts)
            if gain <= 0:
                return None
        keeps = self._standing(candidate, self.num_facts).keeps_task(self._allowed)
        return gain if keeps and gain > _SURE * error else None

    def _ways(self, current: Candidate, group: str) -> Iterator[Way]:
        """Other ways for a group, those that differ most first."""
        now = current.at(group)
        method = now.method or ("wise-ft" if group == OUTSIDE else current.way.method) or "wise-ft"
        tried = [TUNED, BASE, Way("wise-ft", 50.0)]
        if method != "dg-hard":
            place = (
                self._ladder.index(now.share or 0.0) if now.share in (None, *self._ladder) else 0
            )
            steps = (n for n in (place + 1, place - 1) if 0 < n < len(self._ladder) - 1)
            tried += [Way(method, self._ladder[n]) for n in steps]
        yield from (way for way in dict.fromkeys(tried) if way != now)

    def _paired(self, one: Candidate, other: Candidate, num_facts: int) -> tuple[float, float]:
        """How much more knowledge one candidate has than another, and the standard error."""
        first = self._asked.examine(one, "search", num_facts).correct
        second = self._asked.examine(other, "search", num_facts).correct
        return _mean(first - second, self._weights_of(num_facts))

    def _standing(self, candidate: Candidate, num_facts: int) -> Standing:
        own = self._asked.examine(candidate, "search", num_facts)
        tuned = self._asked.examine(AS_IT_IS, "search", num_facts)
        gain = _mean(own.correct - tuned.correct, self._weights_of(num_facts))
        difference = own.kept - tuned.kept
        alike = np.full(len(difference), 1 / max(1, len(difference)))
        return Standing(candidate, num_facts, *gain, *_mean(difference, alike))

    def _ranked(
        self, candidates: Sequence[Candidate] | dict[Candidate, None], num_facts: int | None
    ) -> list[Standing]:
        """Those asked most first, of them those that keep the task, of them by knowledge.

        The order given breaks ties.
        """
        found = [
            self._standing(c, self._asked.num_seen(c) if num_facts is None else num_facts)
            for c in candidates
        ]
        return sorted(found, key=lambda s: (-s.num_facts, s.excess_loss(self._allowed), -s.gain))

    def _weights_of(self, num_facts: int) -> Values:
        if num_facts not in self._weights:
            self._weights[num_facts] = self._strata.first(num_facts).weights
        return self._weights[num_facts]


def _kept(num_candidates: int) -> int:
    return min(num_candidates, max(_FEWEST_LEFT, -(-num_candidates // 2)))


def _mean(values: Values, weights: Values) -> tuple[float, float]:
    """A weighted mean of paired differences, and its standard error."""
    if not len(values):
        return 0.0, 0.0
    mean = float(weights @ values)
    return mean, float(np.sqrt(np.square(weights * (values - mean)).sum()))
