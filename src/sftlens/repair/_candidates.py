"""What a search chooses from: whole-model restorations, and one for each group of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple, cast

from sftlens.errors import UserError
from sftlens.repair._settings import RepairSettings
from sftlens.weights import (
    CheckpointPair,
    Interpolation,
    Method,
    Order,
    PerTensor,
    Request,
    Restoration,
    plan,
    share_label,
)

REGION = "blocks"
OUTSIDE = "outside"
"""The group of what lies in no region ``blocks``: embeddings, norms, head."""

_MAX_RANGES = 4
_RANGED = "wise-ft"  # the method that gives back any part of any tensor


class Way(NamedTuple):
    """A method and its strength; ``method`` None leaves everything tuned."""

    method: str | None
    share: float | None = None  # percent; None for a method without strength
    order: Order = "top"
    region: str = REGION

    def __str__(self) -> str:
        if self.method is None:
            return "tuned"
        words = [self.method]
        words += [] if self.share is None else [f"{share_label(self.share)} %"]
        words += [] if self.order == "top" else [f"from the {self.order}"]
        words += [] if self.region == REGION else [f"of {self.region}"]
        return " ".join(words)

    @property
    def alpha(self) -> float | None:
        """What is left of every change, where that is one number: 1 is tuned, 0 the base."""
        if self.method is None:
            return 1.0
        return 1 - self.share / 100 if self.method == _RANGED and self.share is not None else None


TUNED = Way(None)
BASE = Way(_RANGED, 100)


class Candidate(NamedTuple):
    """A restoration: one way for region ``blocks``, and other ones for some groups of tensors.

    ``groups`` holds what differs from ``way``, by the name of the group, in the order of names;
    the group ``outside`` is tuned where it is not named.
    """

    way: Way
    groups: tuple[tuple[str, Way], ...] = ()

    def __str__(self) -> str:
        own = [f"{group}: {way}" for group, way in self.groups]
        return "; ".join([str(self.way), *own])

    @property
    def is_tuned(self) -> bool:
        """Whether it leaves the tuned model as it is."""
        return self == AS_IT_IS

    def at(self, group: str) -> Way:
        """What happens to a group."""
        return dict(self.groups).get(group, self._usual(group))

    def moved(self, group: str, way: Way) -> Candidate:
        """The same, but for one group."""
        own = dict(self.groups) | {group: way}
        kept = [(name, to) for name, to in sorted(own.items()) if to != self._usual(name)]
        return Candidate(self.way, tuple(kept))

    def _usual(self, group: str) -> Way:
        return TUNED if group == OUTSIDE else self.way


AS_IT_IS = Candidate(TUNED)
THE_BASE = Candidate(BASE, ((OUTSIDE, BASE),))


class Restorations:
    """Candidates made into restorations of a pair.

    Args:
        pair: the aligned checkpoints.
        settings: its seed draws the random methods, its shares are planned at once, and its
            ``dtype`` is what norms are measured in.
    """

    def __init__(self, pair: CheckpointPair, settings: RepairSettings) -> None:
        self.pair = pair
        self.dtype = settings.dtype
        self._seed = settings.seed
        self._shares = settings.shares
        self._planned: dict[Way, Restoration] = {}

    @cached_property
    def groups(self) -> Mapping[str, Sequence[str]]:
        """The tensors of each group of layers by the group's name.

        At most four runs of consecutive layers of like length, each divided into attention and
        mlp where the model has both, and ``outside``.
        """
        tensors = self.pair.region(REGION)
        num_layers = self.pair.num_layers
        num_ranges = min(_MAX_RANGES, num_layers)
        starts = [num_layers * n // num_ranges for n in range(num_ranges + 1)]
        found: dict[str, list[str]] = {}
        for tensor in tensors:
            layer = tensor.role.layer or 0
            number = max(n for n in range(num_ranges) if starts[n] <= layer)
            first, last = starts[number], starts[number + 1] - 1
            layers = f"layer {first}" if first == last else f"layers {first} to {last}"
            found.setdefault(f"{layers} {tensor.role.part or 'all'}", []).append(tensor.name)
        inside = {tensor.name for tensor in tensors}
        if outside := [name for name in self.pair.tensors if name not in inside]:
            found[OUTSIDE] = outside
        return dict(sorted(found.items()))

    def of(self, candidate: Candidate) -> Restoration:
        """What a candidate does to the pair.

        Raises:
            UserError: as :func:`sftlens.weights.plan`.
        """
        if not candidate.groups:
            return self._of_way(candidate.way)
        ways = {name: candidate.at(group) for group, names in self.groups.items() for name in names}
        own = {name: self._of_way(way) for name, way in ways.items() if way.method is not None}
        return PerTensor(restorations=own)

    def _of_way(self, way: Way) -> Restoration:
        if way.method is None:
            return Interpolation(alpha=1, region=REGION)
        if way.alpha is not None:
            return Interpolation(alpha=way.alpha, region=way.region)
        if way not in self._planned:
            of_grid = {way._replace(share=share) for share in self._shares}
            shares = self._shares if way in of_grid else (way.share,)
            request = Request(
                method=cast(Method, way.method),
                shares=tuple(share for share in shares if share is not None),
                order=way.order,
                region=way.region,
                seed=self._seed,
                dtype=self.dtype,
            )
            for one in plan(self.pair, request):
                self._planned[way._replace(share=one.share)] = one.restoration
        return self._planned[way]


def whole_model(settings: RepairSettings) -> list[Candidate]:
    """The full grid: every method of the settings with every share.

    Raises:
        UserError: when a method or a share is of no use.
    """
    found = []
    for method in settings.methods:
        request = Request(method=cast(Method, method), shares=settings.shares)
        if method == "dg-hard":
            found.append(Candidate(Way(method)))
            continue
        request.checked()
        for share in settings.shares:
            if not 0 < share <= 100:
                raise UserError(f"share {share}: must be a percent above 0")
            found.append(Candidate(Way(method, float(share))))
    return found
