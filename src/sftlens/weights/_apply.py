"""Repaired tensors in memory, for a model that is loaded already."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sftlens.errors import UserError
from sftlens.weights._methods import bits, interpolate, restore
from sftlens.weights._pair import CheckpointPair, PairTensor
from sftlens.weights._selection import Selection


@dataclass(frozen=True, kw_only=True)
class Interpolation:
    """Plain interpolation of a region, base + alpha (tuned - base).

    Raises:
        UserError: when ``alpha`` does not lie in [0, 1].
    """

    alpha: float
    region: str = "blocks"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise UserError(f"alpha {self.alpha}: must lie between 0 (base) and 1 (tuned)")


def matched_interpolation(selection: Selection) -> Interpolation:
    """The interpolation that takes as much norm off the update as a selection does.

    alpha = sqrt(1 - norm_removed), so that the squared norm of what is left of the update is the
    same.
    """
    alpha = math.sqrt(1 - selection.norm_removed)
    return Interpolation(alpha=alpha, region=selection.criterion.region)


def restored_tensors(
    pair: CheckpointPair, method: Selection | Interpolation
) -> Iterator[tuple[str, Tensor]]:
    """The region's tensors as a restoration leaves them, one at a time.

    Yields name, and values in the tuned model's shape and storage type, for every tensor of the
    region in which base and tuned differ, whether or not this restoration touches it. A model that
    holds the tuned weights or any other restoration of the same region becomes this one when all
    of them are copied into it. Names are those of the tuned checkpoint; of a stored copy of a tied
    weight only the embeddings are yielded.
    """
    region = method.criterion.region if isinstance(method, Selection) else method.region
    for tensor in pair.region(region):
        if isinstance(method, Selection):
            if not method.tensors[tensor.name].num_changed:
                continue
            yield tensor.name, _selected(pair, tensor, method)
        else:
            yield tensor.name, _interpolated(pair, tensor, method.alpha)


def _selected(pair: CheckpointPair, tensor: PairTensor, selection: Selection) -> Tensor:
    pieces = selection.masks(pair, tensor.name)
    repaired = ((piece.start, restore(piece.base, piece.tuned, mask)) for piece, mask in pieces)
    return _put_together(pair, tensor, repaired)


def _interpolated(pair: CheckpointPair, tensor: PairTensor, alpha: float) -> Tensor:
    pieces = pair.pieces(tensor)
    repaired = ((piece.start, interpolate(piece.base, piece.tuned, alpha)) for piece in pieces)
    return _put_together(pair, tensor, repaired)


def _put_together(
    pair: CheckpointPair, tensor: PairTensor, repaired: Iterable[tuple[int, Tensor]]
) -> Tensor:
    tuned = pair.tuned_files.entries(tensor.tuned)
    values = torch.empty_like(tuned)
    places = bits(values)
    for start, piece in repaired:
        places[start : start + len(piece)] = bits(piece)
    places[tensor.num_parameters :] = bits(tuned[tensor.num_parameters :])
    return values.view(tensor.tuned.shape)
