"""Restorations bound to a pair: what each makes of a tensor, piece by piece."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sftlens.errors import UserError
from sftlens.weights._change import Floats, as_float32
from sftlens.weights._kernels import Kernels
from sftlens.weights._keys import Criterion
from sftlens.weights._low_rank import can_be_denoised, denoised_update
from sftlens.weights._methods import drop_and_rescale, interpolate, restore
from sftlens.weights._pair import CheckpointPair, PairTensor, Piece
from sftlens.weights._reading import FLOAT_DTYPES
from sftlens.weights._selection import Selection

_ALL = slice(None)


class View:
    """One piece of a tensor, and its keys, made once for all that goes by the same criterion.

    Args:
        kernels: of the pass.
        name: of the tensor.
        piece: the tuned side as stored, and the base in that type.
        dtype: the type to work in, which holds all values of both sides; None for the tuned
            model's own.
    """

    def __init__(
        self, kernels: Kernels, name: str, piece: Piece, dtype: torch.dtype | None = None
    ) -> None:
        self.start = piece.start
        self.base = piece.base  # in the tuned model's storage type, (num_entries,)
        # What an entry that goes back becomes: the base's own value, where another type than the
        # tuned model's is written, which may hold it.
        self.origin = piece.base if dtype is None else piece.stored_base  # (num_entries,)
        self.tuned = piece.tuned if dtype is None else piece.tuned.to(dtype)  # (num_entries,)
        self._stored = piece
        self._kernels = kernels
        self._name = name
        self._keys: tuple[Criterion, Any] | None = None

    @cached_property
    def floats(self) -> tuple[Floats, Floats]:
        """The stored values of base and tuned in float32, (num_entries,) each."""
        return as_float32(self._stored.base), as_float32(self._stored.tuned)

    @cached_property
    def norm(self) -> float:
        """The squared norm of the update."""
        base, tuned = self.floats
        return float(np.square(tuned - base, dtype=np.float64).sum())

    def keys(self, criterion: Criterion) -> Any:
        """The keys of the entries."""
        if self._keys is None or self._keys[0] != criterion:
            change = self._kernels.change(self._stored.base, self._stored.tuned)
            keys = self._kernels.keys(criterion, change, self._name, self.start)
            self._keys = criterion, keys
        return self._keys[1]


def moved(view: View, alpha: float, chosen: Tensor | slice = _ALL) -> Tensor:
    """Entries of a view between base and tuned: :func:`interpolate`, and at 0 what goes back."""
    if alpha == 0:
        return view.origin[chosen].to(view.tuned.dtype, copy=True)
    return interpolate(view.base[chosen], view.tuned[chosen], alpha)


Repair = Callable[[View], Tensor]
"""The repaired entries of the next piece of one tensor, in the type of ``View.tuned``."""


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
        return lambda view: kernels.restored(view.origin, view.tuned, mask(view))


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
            return restore(view.origin, values.to(view.tuned.dtype), dropped)

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
        return lambda view: moved(view, self.alpha)


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """Interpolation with an alpha of its own for each tensor, by name; others stay tuned."""

    alphas: Mapping[str, float] = field(repr=False)
    region: str = "blocks"
    needs_whole_tensors = False

    def begin(self, pair: CheckpointPair, kernels: Kernels, tensor: PairTensor) -> Repair:
        alpha = self.alphas.get(tensor.name, 1.0)
        return lambda view: moved(view, alpha)


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
            return restore(view.origin, view.tuned, mask[view.start : view.start + len(view.base)])

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


def repaired(
    pair: CheckpointPair,
    kernels: Kernels,
    tensor: PairTensor,
    restorations: Sequence[Restoration],
    dtype: torch.dtype | None = None,
) -> Iterator[tuple[View, list[Tensor]]]:
    """The pieces of a tensor, and what each restoration makes of them.

    Args:
        pair: the aligned checkpoints.
        kernels: of the pass.
        tensor: one of the pair.
        restorations: of regions that hold the tensor.
        dtype: the type of the repaired pieces, by default the one that the tuned model stores the
            tensor in. Values are computed from what is stored and cast to it once. What an update
            is measured against is the base in the tuned model's type all the same; an entry that
            goes back is the base's own.

    Raises:
        UserError: when a value is beyond what the type can store.
    """
    repairs = [restoration.begin(pair, kernels, tensor) for restoration in restorations]
    stored = FLOAT_DTYPES[tensor.tuned.dtype]
    output = dtype or stored
    working = None
    if output != stored:
        types = FLOAT_DTYPES[tensor.base.dtype], stored, output
        working = reduce(torch.promote_types, types)
    for piece in pair.pieces(tensor, kernels.piece_size):
        view = View(kernels, tensor.name, piece, working)
        yield view, [cast(repair(view), output, tensor.name) for repair in repairs]


def cast(values: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """Values of a tensor in another type.

    Raises:
        UserError: when a finite value is beyond what the type can store.
    """
    if values.dtype == dtype:
        return values
    found = values.to(dtype)
    beyond = torch.isinf(found) & torch.isfinite(values)
    if beyond.any():
        type_name = str(dtype).removeprefix("torch.")
        raise UserError(
            f"{name!r} holds {float(values[beyond][0]):g}, which {type_name} cannot store; "
            "choose float32 or bfloat16"
        )
    return found
