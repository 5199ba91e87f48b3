"""Restorations bound to a pair: what each makes of a tensor, piece by piece."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from sftlens.errors import UserError
from sftlens.weights._kernels import Kernels
from sftlens.weights._keys import Criterion
from sftlens.weights._low_rank import can_be_denoised, denoised_update
from sftlens.weights._methods import drop_and_rescale, interpolate, restore
from sftlens.weights._pair import CheckpointPair, PairTensor
from sftlens.weights._selection import Selection


class View:
    """One piece of a tensor, and its keys, made once for all that goes by the same criterion."""

    def __init__(self, kernels: Kernels, name: str, start: int, base: Tensor, tuned: Tensor):
        self.start = start
        self.base = base  # in the tuned model's storage type, (num_entries,)
        self.tuned = tuned  # as stored, (num_entries,)
        self._kernels = kernels
        self._name = name
        self._keys: tuple[Criterion, Any] | None = None

    def keys(self, criterion: Criterion) -> Any:
        """The keys of the entries."""
        if self._keys is None or self._keys[0] != criterion:
            change = self._kernels.change(self.base, self.tuned)
            keys = self._kernels.keys(criterion, change, self._name, self.start)
            self._keys = criterion, keys
        return self._keys[1]


Repair = Callable[[View], Tensor]
"""The repaired entries of the next piece of one tensor, in the tuned model's storage type."""


class Restoration(Protocol):
    """A way of taking part of an update back."""

    @property
    def region(self) -> str:
        """The region whose tensors it touches."""

    @property
    def needs_whole_tensors(self) -> bool:
        """Whether it holds a whole tensor in memory, in float32, and not only a piece of it."""

    def begin(self, pair: CheckpointPair, kernels: Kernels, tensor: PairTensor) -> Repair:
        """What repairs the pieces of a tensor, which come in their order."""


@dataclass(frozen=True)
class _OfSelection:
    """What treats the entries of a selection in one way, and all others in another."""

    selection: Selection
    needs_whole_tensors = False

    @property
    def region(self) -> str:
        return self.selection.criterion.region

    def _masks(self, kernels: Kernels, tensor: PairTensor) -> Callable[[View], Any]:
        """What marks the selected entries of a tensor's pieces, which come in their order."""
        marker = self.selection.marker(tensor.name)
        return lambda view: marker.mask(kernels, view.keys(self.selection.criterion))


@dataclass(frozen=True)
class Restored(_OfSelection):
    """The entries of a selection have their base value again (paper section 6)."""

    def begin(self, pair: CheckpointPair, kernels: Kernels, tensor: PairTensor) -> Repair:
        mask = self._masks(kernels, tensor)
        return lambda view: kernels.restored(view.base, view.tuned, mask(view))


@dataclass(frozen=True)
class Dropped(_OfSelection):
    """The entries of a selection have their base value, the update of all others grows: DARE.

    The selection is a random one, and its share the rate (:func:`drop_and_rescale`).
    """

    def begin(self, pair: CheckpointPair, kernels: Kernels, tensor: PairTensor) -> Repair:
        mask, rate = self._masks(kernels, tensor), self.selection.share / 100

        def repair(view: View) -> Tensor:
            dropped = torch.as_tensor(mask(view)).cpu()
            values = drop_and_rescale(view.base.float(), view.tuned.float(), dropped, rate)
            # Entries that return go through no float32 on their way.
            return restore(view.base, values.to(view.tuned.dtype), dropped)

        return repair


@dataclass(frozen=True, kw_only=True)
class Interpolation:
    """Plain interpolation of a region, base + alpha (tuned - base).

    Raises:
        UserError: when ``alpha`` does not lie in [0, 1].
    """

    alpha: float
    region: str = "blocks"
    needs_whole_tensors = False

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise UserError(f"alpha {self.alpha}: must lie between 0 (base) and 1 (tuned)")

    def begin(self, pair: CheckpointPair, kernels: Kernels, tensor: PairTensor) -> Repair:
        return lambda view: interpolate(view.base, view.tuned, self.alpha)


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """Interpolation with an alpha of its own for each tensor, by name; others stay tuned."""

    alphas: Mapping[str, float] = field(repr=False)
    region: str = "blocks"
    needs_whole_tensors = False

    def begin(self, pair: CheckpointPair, kernels: Kernels, tensor: PairTensor) -> Repair:
        alpha = self.alphas.get(tensor.name, 1.0)
        return lambda view: interpolate(view.base, view.tuned, alpha)


@dataclass(frozen=True, kw_only=True)
class PerTensor:
    """A restoration of its own for each tensor, by name; others stay tuned.

    Each works on its tensor as it would within its own region, in which the tensor must lie: a
    ranking over that region stays a ranking over all of it.
    """

    restorations: Mapping[str, Restoration] = field(repr=False)
    region: str = "all"

    @property
    def needs_whole_tensors(self) -> bool:
        return any(way.needs_whole_tensors for way in self.restorations.values())

    def begin(self, pair: CheckpointPair, kernels: Kernels, tensor: PairTensor) -> Repair:
        if tensor.name in self.restorations:
            return self.restorations[tensor.name].begin(pair, kernels, tensor)
        return lambda view: view.tuned.clone()


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """In each tensor, the entries that a mask chooses have their base value again."""

    mask: Callable[[Tensor, Tensor], Tensor] = field(repr=False)
    """Base and tuned in float32, in the shape of the tensor, to bool of that shape."""
    region: str = "blocks"
    needs_whole_tensors = True

    def begin(self, pair: CheckpointPair, kernels: Kernels, tensor: PairTensor) -> Repair:
        mask = self.mask(*_whole(pair, kernels, tensor)).flatten().cpu()

        def repair(view: View) -> Tensor:
            return restore(view.base, view.tuned, mask[view.start : view.start + len(view.base)])

        return repair


@dataclass(frozen=True, kw_only=True)
class Denoised:
    """What stands out of noise is left of each matrix' update: :func:`denoised_update`.

    Vectors and small matrices stay tuned.
    """

    region: str = "blocks"
    needs_whole_tensors = True

    def begin(self, pair: CheckpointPair, kernels: Kernels, tensor: PairTensor) -> Repair:
        base, tuned = _whole(pair, kernels, tensor)
        if not can_be_denoised(base.shape):
            return lambda view: view.tuned.clone()
        try:
            update = denoised_update(tuned - base).update
        except UserError as error:
            raise UserError(f"{tensor.name!r}: {error}") from None
        values = update.add_(base).flatten().cpu()

        def repair(view: View) -> Tensor:
            return values[view.start : view.start + len(view.base)].to(view.tuned.dtype)

        return repair


def _whole(pair: CheckpointPair, kernels: Kernels, tensor: PairTensor) -> tuple[Tensor, Tensor]:
    """Base and tuned in float32 on the kernels' device: the tensor, or its common rows."""
    shape = tensor.tuned.shape
    if tensor.num_parameters < tensor.tuned.num_entries:
        shape = (tensor.num_parameters // math.prod(shape[1:]), *shape[1:])
    sides = pair.base_files.entries(tensor.base), pair.tuned_files.entries(tensor.tuned)
    base, tuned = (
        side[: tensor.num_parameters].to(sides[1].dtype).to(kernels.device, torch.float32)
        for side in sides
    )
    return base.view(shape), tuned.view(shape)


def matched_interpolation(selection: Selection) -> Interpolation:
    """The interpolation that takes as much norm off the update as a selection does.

    alpha = sqrt(1 - norm_removed), so that the squared norm of what is left of the update is the
    same.
    """
    alpha = math.sqrt(1 - selection.norm_removed)
    return Interpolation(alpha=alpha, region=selection.criterion.region)


def repaired(
    pair: CheckpointPair,
    kernels: Kernels,
    tensor: PairTensor,
    restorations: Sequence[Restoration],
) -> Iterator[tuple[View, list[Tensor]]]:
    """The pieces of a tensor, and what each restoration makes of them."""
    repairs = [restoration.begin(pair, kernels, tensor) for restoration in restorations]
    for piece in pair.pieces(tensor, kernels.piece_size):
        view = View(kernels, tensor.name, piece.start, piece.base, piece.tuned)
        yield view, [repair(view) for repair in repairs]
