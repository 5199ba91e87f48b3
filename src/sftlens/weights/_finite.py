"""Weights outside of a region: they are not ranked, but written and loaded, and must be numbers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sftlens.errors import UserError
from sftlens.headers import TensorInfo
from sftlens.weights._engine import Engine, best_engine
from sftlens.weights._kernels import PIECE, Kernels
from sftlens.weights._methods import bits
from sftlens.weights._pair import CheckpointPair, PairTensor
from sftlens.weights._reading import WeightFiles

_EXPONENTS = {
    torch.float16: 0x7C00,
    torch.bfloat16: 0x7F80,
    torch.float32: 0x7F800000,
    torch.float64: 0x7FF0000000000000,
}
"""The bits of infinity; those of NaN without their sign are larger."""


def require_finite_rest(pair: CheckpointPair, region: str, *, engine: Engine | None = None) -> None:
    """Read what lies outside of a region and refuse what no model can be loaded from.

    Rows that only the tuned model has count too; stored tensors that the model has no parameter for
    do not, since masks among them may be infinite. Inside of the region :func:`select` and
    :func:`diff` refuse such weights themselves.

    Raises:
        UserError: when a weight is NaN or infinite; the message names the tensor.
    """
    inside = {tensor.name: tensor.num_parameters for tensor in pair.region(region)}
    # Of an adapter, the tuned side is the base where nothing is merged.
    sides = [("tuned model", pair.tuned_files)]
    sides += [] if pair.adapter else [("base", pair.base_files)]

    def read(_: Kernels, tensor: PairTensor) -> None:
        done = inside.get(tensor.name, 0)
        for called, files in sides:
            info = tensor.base if called == "base" else tensor.tuned
            _require_finite(tensor.name, files, info, done, called)

    tensors = [tensor for tensor in pair.tensors.values() if tensor.role.used]
    tensors = [t for t in tensors if inside.get(t.name, 0) < t.tuned.num_entries]
    engine = engine or best_engine(sum(tensor.num_parameters for tensor in tensors))
    engine.each(tensors, read)


def _require_finite(
    name: str, files: WeightFiles, info: TensorInfo, start: int, called: str
) -> None:
    entries = files.entries(info)
    for low in range(start, len(entries), PIECE):
        place = _first_not_finite(entries[low : low + PIECE])
        if place is not None:
            raise UserError(
                f"{name!r} holds {float(entries[low + place])} in the {called} ({info.file}, flat "
                f"position {low + place}); give a checkpoint of finite weights"
            )


def _first_not_finite(entries: Tensor) -> int | None:
    stored = bits(entries)
    limit = stored.dtype.type(_EXPONENTS[entries.dtype])
    size = stored & np.iinfo(stored.dtype).max
    return int(np.argmax(size >= limit)) if size.max(initial=0) >= limit else None
