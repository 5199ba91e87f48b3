"""Controls of a repair: other choices that take as much of the update back."""

from __future__ import annotations

from typing import NamedTuple

from sftlens.repair._candidates import OUTSIDE, REGION, TUNED, Candidate, Restorations, Way
from sftlens.weights import Interpolation, Order, Ranking, Request, plan, taken_back

_RANKINGS: tuple[tuple[Ranking, Order], ...] = (
    ("relative", "top"),
    ("relative", "bottom"),
    ("absolute", "top"),
    ("small-base", "top"),
    ("random", "top"),
)
_STEPS = 20  # shares that are looked at in each of two rounds


class Control(NamedTuple):
    """A control, and what of the whole update's squared norm it removes."""

    candidate: Candidate
    norm_removed: float


def controls(
    candidate: Candidate, norm_removed: float, restorations: Restorations, *, seed: int
) -> list[Control]:
    """Rankings and plain interpolation, each as strong as a candidate.

    They work on region ``blocks``, or on ``all`` where the candidate gives back something outside
    of it. The share of a ranking is the nearest to the candidate's removed norm in steps of a
    quarter of a percent.

    Args:
        candidate: the repair.
        norm_removed: what it removes of the whole update's squared norm, a fraction.
        restorations: of the pair.
        seed: of the random choice.

    Returns:
        None at all where the candidate removes nothing or adds to the update.
    """
    pair = restorations.pair
    region = REGION if candidate.at(OUTSIDE) == TUNED else "all"
    [whole] = taken_back(pair, [Interpolation(alpha=0, region=region)])
    if norm_removed <= 0 or whole.norm_removed <= 0:
        return []
    wanted = min(1.0, norm_removed / whole.norm_removed)
    found = []
    for ranking, order in _RANKINGS:
        request = Request(method=ranking, order=order, region=region, seed=seed)
        share, removed = _matching(restorations, request, wanted)
        way = Way(ranking, share, order, region)
        found.append(Control(Candidate(way), removed * whole.norm_removed))
    share = round(100 * (1 - (1 - wanted) ** 0.5), 4)
    way = Way("wise-ft", share, "top", region)
    removed = 1 - (1 - share / 100) ** 2
    found.append(Control(Candidate(way), removed * whole.norm_removed))
    return found


def _matching(restorations: Restorations, request: Request, wanted: float) -> tuple[float, float]:
    """The share that removes nearest to the wanted norm, and what it removes of the region's."""
    low, high = 0.0, 100.0
    tried: dict[float, float] = {}
    for _ in range(2):
        step = (high - low) / _STEPS
        shares = tuple(round(low + step * n, 4) for n in range(_STEPS + 1))
        for planned in plan(restorations.pair, request._replace(shares=shares)):
            assert planned.selection is not None
            assert planned.share is not None
            tried[planned.share] = planned.selection.norm_removed
        below = [share for share, removed in tried.items() if removed <= wanted]
        low = max(below, default=0.0)
        high = min((share for share in tried if share > low), default=100.0)
        if low == high:  # even the whole region removes no more than is wanted
            break
    share = min(tried, key=lambda share: (abs(tried[share] - wanted), share))
    return share, tried[share]
