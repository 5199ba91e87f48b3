"""The search for the strength at which a method removes a given norm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from sftlens.norms import is_same_norm

MAX_ROUNDS = 7
"""Passes that a search takes at most: one over all of the grid, then between two strengths."""

# Percent. What is one unit in the last place away from the base returns at 50 % alone, and half of
# it at exactly 50 %, where it lies in the middle; what is two units away, at 25 % and 75 %.
_GRID = (0.0, 0.1, 1.0, 5.0, 10.0, 20.0, 25.0, 40.0, 50.0, 60.0, 75.0, 80.0, 100.0)
_DIGITS = 6  # of a strength
_DIGITS_OF_A_GUESS = 4  # enough for what is known exactly, and short to print
_AWAY = 0.02  # from either end of an interval that the next look is at least, as a part of it


def strengths_of(
    targets: Sequence[float],
    measure: Callable[[tuple[float, ...]], Sequence[float]],
    *,
    guesses: Sequence[float] = (),
) -> list[float]:
    """Search the strengths whose norm removed is nearest to each of several targets.

    A larger share never removes less, so a strength is looked for between two that are known, at
    where a line through them meets the target, and half way from there to both of them, since norms
    rise in curves and steps. Each look measures these for every target that is still missed.

    Args:
        targets: fractions of the squared norm.
        measure: the fraction removed at each of several strengths, in percent.
        guesses: strengths to look at first, alone; a grid follows where one of the targets is
            missed.

    Returns:
        One a target; of equally near ones the smallest.
    """
    known: dict[float, float] = {}
    rounds = 0

    def look(strengths: Sequence[float]) -> None:
        nonlocal rounds
        new = tuple(sorted(set(strengths) - known.keys()))
        if new:
            known.update(zip(new, measure(new), strict=True))
            rounds += 1

    def missed() -> list[float]:
        found = dict.fromkeys(targets)
        return [one for one in found if not is_same_norm(known[_nearest(known, one)], one)]

    guesses = [round(guess, _DIGITS_OF_A_GUESS) for guess in guesses]
    look(guesses or _GRID)
    if guesses and missed():
        look(_GRID)
    while rounds < MAX_ROUNDS:
        new = {strength for target in missed() for strength in _between(known, target)}
        if new <= known.keys():
            break
        look(sorted(new))
    return [_nearest(known, target) for target in targets]


def _nearest(known: Mapping[float, float], target: float) -> float:
    return min(sorted(known), key=lambda strength: abs(known[strength] - target))


def _between(known: Mapping[float, float], target: float) -> list[float]:
    """Where to look for a target next; nowhere if it lies beyond all that is known."""
    for low, high in pairwise(sorted(known)):
        less, more = known[low], known[high]
        if less < target <= more:
            part = min(max((target - less) / (more - less), _AWAY), 1 - _AWAY)
            parts = part / 2, part, (1 + part) / 2
            return [round(low + one * (high - low), _DIGITS) for one in parts]
    return []
