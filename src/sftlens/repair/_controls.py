"""Controls of a repair: other choices that take as much of the update back."""

from __future__ import annotations

from typing import NamedTuple

from sftlens.norms import is_same_norm
from sftlens.progress import progress
from sftlens.repair._candidates import OUTSIDE, REGION, TUNED, Candidate, Restorations, Way
from sftlens.weights import (
    Interpolation,
    Method,
    Order,
    Request,
    match_removed_norm,
    passes_of_match,
    taken_back,
)

METHODS: tuple[tuple[Method, Order], ...] = (
    ("relative", "top"),
    ("relative", "bottom"),
    ("absolute", "top"),
    ("small-base", "top"),
    ("random", "top"),
    ("wise-ft", "top"),
)
"""The controls: rankings, and plain interpolation."""


class Control(NamedTuple):
    """A control, and what it removes of the whole update's squared norm as it is evaluated.

    Attributes:
        candidate: the control.
        norm_removed: the fraction.
        norm_to_match: what the repair removes.
    """

    candidate: Candidate
    norm_removed: float
    norm_to_match: float

    @property
    def is_matched(self) -> bool:
        """Whether it removes the same norm as the repair, so that the two can be compared."""
        return is_same_norm(self.norm_removed, self.norm_to_match)


def controls(
    candidate: Candidate,
    norm_removed: float,
    restorations: Restorations,
    *,
    seed: int,
) -> list[Control]:
    """Rankings and plain interpolation, each as strong as a candidate; shows its progress.

    They work on region ``blocks``, or on ``all`` where the candidate gives back something outside
    of it. The strength of each is the one whose norm, measured in the type that models are
    evaluated in, is nearest to the candidate's; see :attr:`Control.is_matched`.

    Args:
        candidate: the repair.
        norm_removed: what it removes of the whole update's squared norm, a fraction.
        restorations: of the pair.
        seed: of the random choice.

    Returns:
        None at all where the candidate removes nothing or adds to the update.
    """
    pair, dtype = restorations.pair, restorations.dtype
    region = REGION if candidate.at(OUTSIDE) == TUNED else "all"
    if norm_removed <= 0:
        return []
    requests = [
        Request(method=method, order=order, region=region, seed=seed, dtype=dtype)
        for method, order in METHODS
    ]
    num_passes = 1 + sum(passes_of_match(pair, request) for request in requests)
    total = num_passes * pair.num_parameters(region) + 2 * pair.num_parameters("all")
    with progress("matching controls", total) as advance:
        everything = [Interpolation(alpha=1, region=region)]
        [whole] = taken_back(pair, everything, dtype=dtype, advance=advance)
        [part] = taken_back(pair, everything, region=region, dtype=dtype, advance=advance)
        if part.norm <= 0:
            return []
        wanted = min(1.0, norm_removed * whole.norm / part.norm)
        ways = []
        for request in requests:
            [found] = match_removed_norm(pair, request, [wanted], advance=advance)
            share = found.restoration.output.share
            ways.append(Way(request.method, share, request.order, region))
        made = [restorations.of(Candidate(way)) for way in ways]
        measured = taken_back(pair, made, dtype=dtype, advance=advance)
    return [
        Control(Candidate(way), taken.norm_removed, norm_removed)
        for way, taken in zip(ways, measured, strict=True)
    ]
