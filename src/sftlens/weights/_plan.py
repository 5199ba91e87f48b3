"""From the words of a method and its shares to restorations of a pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from sftlens.errors import UserError
from sftlens.progress import Advance, silent
from sftlens.storage_types import StorageType
from sftlens.weights._apply import taken_back
from sftlens.weights._engine import Engine
from sftlens.weights._half_reset import GroupedTensor, half_reset
from sftlens.weights._interpolations import interpolation_strengths
from sftlens.weights._keys import Order, Ranking
from sftlens.weights._methods import layer_scale
from sftlens.weights._pair import CheckpointPair, PairTensor
from sftlens.weights._pruning import (
    breadcrumbs_counts,
    breadcrumbs_mask,
    fapm_score,
    lowest,
)
from sftlens.weights._regions import region_name
from sftlens.weights._restoration import (
    Denoised,
    Dropped,
    Interpolation,
    Pruned,
    Restoration,
    Restored,
    Scaled,
)
from sftlens.weights._selection import Selection, require_finite, select
from sftlens.weights._shares import checked_shares, num_of_share
from sftlens.weights._storage import is_held
from sftlens.weights._strengths import MAX_ROUNDS

Method = Literal[
    "relative",
    "absolute",
    "random",
    "small-base",
    "interpolation",
    "wise-ft",
    "lines",
    "dare",
    "ties",
    "breadcrumbs",
    "fapm",
    "half-reset",
    "dg-hard",
]
"""The first four are rankings of :func:`select`. ``interpolation`` takes as much norm back as
``relative`` does. The others are published methods; docs/methods.md tells what a share means."""

BREADCRUMBS_LARGEST = 1.0
"""Percent of a tensor's entries that Breadcrumbs takes for outliers; its authors' value."""

_WITH_ORDER = {*get_args(Ranking), "interpolation"}
_COUNTED = {*get_args(Ranking), "ties"}
_SELECTING = {*_WITH_ORDER, *_COUNTED, "dare"}
_WITHOUT_SHARE = {"dg-hard"}
_PASSES_OF_SELECTION = 3


class Planned(NamedTuple):
    """One restoration that was asked for."""

    share: float | None  # percent; None for a method without strength
    restoration: Restoration
    selection: Selection | None = None  # what it goes by, or is measured against
    alpha: float | None = None  # of an interpolation
    num_restored: int | None = None  # entries that have their base value again
    norm_to_match: float | None = None  # that the strength was searched for, a fraction


class Request(NamedTuple):
    """What was asked for, in words.

    ``dtype`` is the storage type that values are evaluated and written in; None leaves each tensor
    in the tuned model's own.
    """

    method: Method = "relative"
    shares: tuple[float, ...] = ()
    order: Order = "top"
    region: str = "blocks"
    seed: int = 0
    dtype: StorageType | None = None

    def checked(self) -> Request:
        """The same, the region in the normal form of its name.

        Raises:
            UserError: when the region, the method or the storage type is not known, when a share
                is no percent, missing or of no use, and when an order has no effect.
        """
        if self.dtype is not None and self.dtype not in get_args(StorageType):
            raise UserError(f"dtype {self.dtype!r}: choose from {', '.join(get_args(StorageType))}")
        method = self.method
        if method not in get_args(Method):
            raise UserError(f"method {method!r}: choose from {', '.join(get_args(Method))}")
        if method in _WITHOUT_SHARE:
            if self.shares:
                raise UserError(
                    f"method {method} takes no share: its strength follows from the data"
                )
        else:
            checked_shares(self.shares)
        if self.order != "top" and method not in _WITH_ORDER:
            raise UserError(f"order {self.order!r} has no effect on method {method}; leave it out")
        return self._replace(region=region_name(self.region))

    @property
    def passes(self) -> int:
        """How many times the region is read at most before anything is written."""
        selecting = _PASSES_OF_SELECTION if self.method in _SELECTING else 1
        return selecting + (1 + MAX_ROUNDS if self.method == "interpolation" else 0)

    def is_counted(self, pair: CheckpointPair) -> bool:
        """Whether the counts of the selection are what is written, so that nothing is measured.

        They are where entries go back whole and the output type holds all values of the tuned side.
        """
        return self.method in _COUNTED and all(
            is_held(tensor.tuned, self.dtype) for tensor in pair.region(self.region)
        )


def plan(
    pair: CheckpointPair,
    request: Request,
    *,
    engine: Engine | None = None,
    advance: Advance = silent,
) -> list[Planned]:
    """One restoration a share.

    Raises:
        UserError: as :meth:`Request.checked` and :func:`select`.
    """
    request = request.checked()
    region, shares = request.region, request.shares
    if request.method not in _SELECTING:
        require_finite(pair, region, engine=engine, advance=advance)
    selected = partial(select, pair, shares=shares, region=region, engine=engine, advance=advance)
    match request.method:
        case "relative" | "absolute" | "random" | "small-base":
            ranking: Ranking = request.method
            found = selected(ranking=ranking, order=request.order, seed=request.seed)
            return [_restored(selection) for selection in found]
        case "ties":
            return [_restored(s) for s in selected(ranking="absolute", order="bottom")]
        case "interpolation":
            found = selected(order=request.order)
            return _interpolated(pair, request, found, engine=engine, advance=advance)
        case "dare":
            random = selected(ranking="random", seed=request.seed)
            return [Planned(s.share, Dropped(s), s, num_restored=s.num_restored) for s in random]
        case "wise-ft":
            ways = [Interpolation(alpha=1 - share / 100, region=region) for share in shares]
            return [Planned(s, way, alpha=way.alpha) for s, way in zip(shares, ways, strict=True)]
        case "lines":
            return [Planned(share, _lines(pair, region, share)) for share in shares]
        case "half-reset":
            return [_half_reset(pair, request, share) for share in shares]
        case "breadcrumbs":
            return [_breadcrumbs(region, share, pair.region(region)) for share in shares]
        case "fapm":
            return [_fapm(region, share, pair.region(region)) for share in shares]
        case "dg-hard":
            return [Planned(None, Denoised(region=region))]


def _interpolated(
    pair: CheckpointPair,
    request: Request,
    selections: Sequence[Selection],
    *,
    engine: Engine | None,
    advance: Advance,
) -> list[Planned]:
    """Interpolations that remove as much of the squared norm as selections do, as it is stored."""
    region, dtype = request.region, request.dtype
    if request._replace(method="relative").is_counted(pair):
        targets = [selection.norm_removed for selection in selections]
        advance(pair.num_parameters(region))
    else:
        ways = [Restored(selection) for selection in selections]
        taken = taken_back(pair, ways, region=region, dtype=dtype, engine=engine, advance=advance)
        targets = [one.norm_removed for one in taken]
    strengths = interpolation_strengths(
        pair, targets, region=region, dtype=dtype, engine=engine, advance=advance
    )
    planned = []
    for selection, target, strength in zip(selections, targets, strengths, strict=True):
        way = Interpolation(alpha=1 - strength / 100, region=region)
        planned.append(
            Planned(selection.share, way, selection, alpha=way.alpha, norm_to_match=target)
        )
    return planned


def _restored(selection: Selection) -> Planned:
    return Planned(
        selection.share, Restored(selection), selection, num_restored=selection.num_restored
    )


def _lines(pair: CheckpointPair, region: str, share: float) -> Scaled:
    first = 1 - share / 100
    alphas = {
        tensor.name: layer_scale(tensor.role.layer, pair.num_layers, first=first)
        for tensor in pair.region(region)
    }
    return Scaled(alphas=alphas, region=region)


def _half_reset(pair: CheckpointPair, request: Request, share: float) -> Planned:
    tensors = pair.region(request.region)
    grouped = [GroupedTensor(t.name, t.role.layer, t.role.part or t.role.kind) for t in tensors]
    names = half_reset(grouped, seed=request.seed, share=share)
    return Planned(
        share,
        Scaled(alphas=dict.fromkeys(names, 0.0), region=request.region),
        num_restored=sum(t.num_parameters for t in tensors if t.name in names),
    )


def _breadcrumbs(region: str, share: float, tensors: Sequence[PairTensor]) -> Planned:
    def mask(base: Tensor, tuned: Tensor) -> Tensor:
        counts = breadcrumbs_counts(base.numel(), share, largest=BREADCRUMBS_LARGEST)
        return breadcrumbs_mask(tuned - base, counts)

    num_restored = sum(num_of_share(share, tensor.num_parameters) for tensor in tensors)
    return Planned(share, Pruned(mask=mask, region=region), num_restored=num_restored)


def _fapm(region: str, share: float, tensors: Sequence[PairTensor]) -> Planned:
    def mask_of_matrix(base: Tensor, tuned: Tensor) -> Tensor:
        mean = float(base.abs().mean(dtype=torch.float64)) if base.numel() else 0.0
        return lowest(fapm_score(base, tuned, mean), num_of_share(share, base.numel()))

    def mask(base: Tensor, tuned: Tensor) -> Tensor:
        if base.ndim <= 2:
            return mask_of_matrix(base, tuned)
        matrices = [side.reshape(-1, *side.shape[-2:]) for side in (base, tuned)]
        masks = [mask_of_matrix(*sides) for sides in zip(*matrices, strict=True)]
        return torch.stack(masks) if masks else torch.zeros_like(base, dtype=torch.bool)

    sizes = [(tensor, math.prod(tensor.tuned.shape[-2:])) for tensor in tensors]
    num_restored = sum(
        num_of_share(share, tensor.num_parameters)
        if len(tensor.tuned.shape) <= 2
        else num_of_share(share, size) * (tensor.num_parameters // size if size else 0)
        for tensor, size in sizes
    )
    return Planned(share, Pruned(mask=mask, region=region), num_restored=num_restored)
