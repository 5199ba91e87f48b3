"""Other methods at the strength at which they remove as much of the update as was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from sftlens.errors import UserError
from sftlens.weights._engine import Engine
from sftlens.weights._pair import CheckpointPair
from sftlens.weights._plan import Request
from sftlens.weights._restore import Measured, measure_restorations

NORM_TOLERANCE = 0.01
"""By how much of itself the squared norm removed may miss what was asked."""

_GRID = (0.0, 0.1, 1.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0)  # percent
_ROUNDS = 6  # of looking again between two strengths
_DIGITS = 6  # of a strength
_AWAY = 0.02  # from either end of an interval that the next look is at least, as a part of it

_UNMATCHED = {
    "dare": "it enlarges what it leaves of the update, and removes no norm",
    "dg-hard": "it has no strength to vary",
    "interpolation": "it removes the same norm already",
    "wise-ft": "at the same norm it is interpolation, which can be had by that name",
}


class MatchedNorm(NamedTuple):
    """One method at the strength that was found for it.

    Attributes:
        target: the fraction of the update's squared norm that was to be removed.
        restoration: the restoration, whose share is the strength, and what it removes.
    """

    target: float
    restoration: Measured

    @property
    def is_reached(self) -> bool:
        """Whether the norm removed is the target to within :data:`NORM_TOLERANCE` of it.

        Where it is not, the nearest that was seen stands: of a method that goes in steps (whole
        tensors, the rounding of a storage type of few bits) or cannot remove so much at all.
        """
        missed = abs(self.restoration.output.norm_removed - self.target)
        return missed <= NORM_TOLERANCE * self.target


def require_matchable(method: str) -> None:
    """Refuse a method that has no strength at which it removes a given norm.

    Raises:
        UserError: for DARE, DG-Hard, and those that are matched by definition.
    """
    if why := _UNMATCHED.get(method):
        raise UserError(f"method {method} cannot be matched in norm: {why}; choose another")


def match_removed_norm(
    pair: CheckpointPair,
    request: Request,
    targets: Sequence[float],
    *,
    engine: Engine | None = None,
) -> list[MatchedNorm]:
    """The strengths at which a method removes given fractions of the update's squared norm.

    That is how a method is held against another fairly: what is left of the update is of the same
    size. A larger share never removes less, so the strength is looked for between two that are
    known, at where a line through them meets the target, and each pass over the pair measures a
    share for every target that is still missed.

    Args:
        pair: the aligned checkpoints.
        request: the method, with its order, region and seed, and without shares.
        targets: fractions of the squared norm, from 0 to 1.
        engine: what the passes run on, by default the fastest there is.

    Returns:
        One a target; see :attr:`MatchedNorm.is_reached`.

    Raises:
        UserError: as :func:`require_matchable` and :func:`plan`, and when the request has shares
            or a target is no fraction.
    """
    require_matchable(request.method)
    if request.shares:
        raise UserError("shares have no effect here, the strength is looked for; leave them out")
    for target in targets:
        if not 0 <= target <= 1:
            raise UserError(f"norm {target}: must be a fraction, from 0 to 1")
    known: dict[float, Measured] = {}

    def look(strengths: set[float]) -> None:
        shares = tuple(sorted(strengths - known.keys()))
        if shares:
            asked = request._replace(shares=shares)
            found = measure_restorations(pair, asked, engine=engine)
            known.update(zip(shares, found, strict=True))

    look(set(_GRID))
    for _ in range(_ROUNDS):
        found = [_nearest(known, target) for target in targets]
        missed = [one.target for one in found if not one.is_reached]
        strengths = {_between(known, target) for target in missed}
        if strengths <= known.keys() | {None}:
            break
        look({strength for strength in strengths if strength is not None})
    return [_nearest(known, target) for target in targets]


def _nearest(known: Mapping[float, Measured], target: float) -> MatchedNorm:
    return MatchedNorm(
        target, min(known.values(), key=lambda one: abs(one.output.norm_removed - target))
    )


def _between(known: Mapping[float, Measured], target: float) -> float | None:
    """Where to look for a target next; None where it lies beyond all that is known."""
    norms = [(strength, known[strength].output.norm_removed) for strength in sorted(known)]
    for (low, less), (high, more) in pairwise(norms):
        if less < target <= more:
            part = min(max((target - less) / (more - less), _AWAY), 1 - _AWAY)
            return round(low + part * (high - low), _DIGITS)
    return None
