"""Other methods at the strength at which they remove as much of the update as was asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sftlens.errors import UserError
from sftlens.norms import NORM_TOLERANCE, is_same_norm
from sftlens.progress import Advance, silent
from sftlens.weights._engine import Engine
from sftlens.weights._interpolations import interpolation_strengths
from sftlens.weights._measured import Measured, measure_restorations
from sftlens.weights._pair import CheckpointPair
from sftlens.weights._plan import Request
from sftlens.weights._strengths import MAX_ROUNDS, strengths_of

__all__ = [
    "NORM_TOLERANCE",
    "MatchedNorm",
    "match_removed_norm",
    "passes_of_match",
    "require_matchable",
]

_UNMATCHED = {
    "dare": "it enlarges what it leaves of the update, and removes no norm",
    "dg-hard": "it has no strength to vary",
    "interpolation": "its strength is matched to relative already",
}


class MatchedNorm(NamedTuple):
    """One method at the strength that was found for it.

    Attributes:
        target: the fraction of the update's squared norm that was to be removed.
        restoration: the restoration, whose share is the strength, and what it removes as it is
            stored or evaluated.
    """

    target: float
    restoration: Measured

    @property
    def is_reached(self) -> bool:
        """Whether the norm removed is the target to within :data:`NORM_TOLERANCE` of it.

        Where it is not, the nearest that was seen stands: of a method that goes in steps (whole
        tensors, the rounding of a storage type of few bits) or cannot remove so much at all.
        """
        return is_same_norm(self.restoration.output.norm_removed, self.target)


def require_matchable(method: str) -> None:
    """Refuse a method that has no strength at which it removes a given norm.

    Raises:
        UserError: for DARE, DG-Hard, and ``interpolation``, whose strength is a matched one.
    """
    if why := _UNMATCHED.get(method):
        raise UserError(f"method {method} cannot be matched in norm: {why}; choose another")


def passes_of_match(pair: CheckpointPair, request: Request) -> int:
    """How many times :func:`match_removed_norm` reads the request's region at most."""
    look = request.passes + (not request.is_counted(pair))
    return MAX_ROUNDS + look if request.method == "wise-ft" else MAX_ROUNDS * look


def match_removed_norm(
    pair: CheckpointPair,
    request: Request,
    targets: Sequence[float],
    *,
    engine: Engine | None = None,
    advance: Advance = silent,
) -> list[MatchedNorm]:
    """The strengths at which a method removes given fractions of the update's squared norm.

    That is how a method is held against another fairly: what is left of the update is of the same
    size. It is measured on the values in the request's storage type, which decides what a method
    that scales can reach: of an update of one unit in the last place nothing but all or none is
    stored.

    Args:
        pair: the aligned checkpoints.
        request: the method, with its order, region, seed and storage type, and without shares.
        targets: fractions of the squared norm, from 0 to 1.
        engine: what the passes run on, by default the fastest there is.
        advance: is told the number of the region's entries done, :func:`passes_of_match` times all
            of them; of looks that the search does without at the end.

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
    left = passes_of_match(pair, request) * pair.num_parameters(request.region)

    def count(num_entries: int) -> None:
        nonlocal left
        left -= num_entries
        advance(num_entries)

    def measure(strengths: tuple[float, ...]) -> list[float]:
        asked = request._replace(shares=strengths)
        found = measure_restorations(pair, asked, engine=engine, advance=count)
        known.update(zip(strengths, found, strict=True))
        return [one.output.norm_removed for one in found]

    if request.method == "wise-ft":
        strengths = interpolation_strengths(
            pair,
            targets,
            region=request.region,
            dtype=request.dtype,
            engine=engine,
            advance=count,
        )
        measure(tuple(dict.fromkeys(strengths)))
    else:
        strengths = strengths_of(targets, measure)
    advance(left)
    return [
        MatchedNorm(target, known[strength])
        for target, strength in zip(targets, strengths, strict=True)
    ]
