"""Restorations in memory: a loaded model steps from one to the next, and back."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from sftlens.weights._engine import best_engine
from sftlens.weights._kernels import Kernels
from sftlens.weights._loading import Loader
from sftlens.weights._methods import bits
from sftlens.weights._pair import CheckpointPair, PairTensor
from sftlens.weights._restoration import Restoration, cast, repaired


class Sweep:
    """Takes a loaded model through restorations in place, without a checkpoint on disk.

    >>> with Sweep(model, pair) as sweep:
    ...     for planned in plan(pair, Request(shares=(5, 20, 40))):
    ...         sweep.step(planned.restoration)
    ...         evaluate(model)

    After a step the model is the one that :func:`restore_checkpoints` would write in the type that
    the model was loaded in, and ``from_pretrained`` would load; at the end of the block it is the
    tuned one again, bit for bit. A model that was loaded in float32 is restored in float32,
    whatever the storage type, and what is measured of it belongs to that type. One tensor, or
    one that several stored tensors are packed into, is in memory beside the model.

    Args:
        model: the tuned model, loaded from the pair's tuned folder, in any type, on any device. Of
            an adapter: the base model, which becomes the merged one.
        pair: the aligned checkpoints.

    Raises:
        UserError: when the model lacks a parameter of the pair.
    """

    def __init__(self, model: Any, pair: CheckpointPair) -> None:
        self._pair = pair
        self._loader = Loader(model, list(pair.tensors))
        self._engine = best_engine(sum(t.num_parameters for t in pair.tensors.values()))
        self._moved = set(self._loader.groups) if pair.adapter else set()
        if pair.adapter:
            self.reset()

    def __enter__(self) -> Sweep:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.reset()

    def step(self, restoration: Restoration) -> None:
        """Make the model the one that a restoration gives."""
        region = {tensor.name for tensor in self._pair.region(restoration.region)}
        touched = {
            group for group, names in self._loader.groups.items() if not region.isdisjoint(names)
        }
        self._load(self._moved - touched, None)
        self._moved |= touched
        self._load(touched, restoration)

    def reset(self) -> None:
        """Make the model the tuned one again."""
        self._load(set(self._moved), None)

    def _load(self, groups: set[str], restoration: Restoration | None) -> None:
        kernels = self._engine.make()
        region = [] if restoration is None else self._pair.region(restoration.region)
        repaired_names = {tensor.name for tensor in region}
        for group in sorted(groups):
            values = {}
            dtype = self._loader.dtype(group)
            for name in self._loader.groups[group]:
                tensor = self._pair.tensors[name]
                own = restoration if name in repaired_names else None
                values[name] = stored_values(self._pair, kernels, tensor, own, dtype)
            self._loader.load(group, values)
            if restoration is None:
                self._moved.discard(group)


def stored_values(
    pair: CheckpointPair,
    kernels: Kernels,
    tensor: PairTensor,
    restoration: Restoration | None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """A tensor of the pair as a restoration leaves it, or tuned, as it would be stored.

    Values in the tuned model's shape, the rows that the base lacks among them, and in ``dtype``,
    by default the tuned model's storage type.
    """
    tuned = pair.tuned_files.entries(tensor.tuned)
    output = dtype or tuned.dtype
    if restoration is None:
        return tuned.view(tensor.tuned.shape)
    values = torch.empty(len(tuned), dtype=output)
    places = bits(values)
    for view, [piece] in repaired(pair, kernels, tensor, [restoration], output):
        places[view.start : view.start + len(piece)] = bits(piece)
    places[tensor.num_parameters :] = bits(
        cast(tuned[tensor.num_parameters :], output, tensor.name)
    )
    return values.view(tensor.tuned.shape)
