"""Restoration methods: base and tuned entries in, repaired entries out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sftlens.weights._change import as_float32

_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def restore(base: Tensor, tuned: Tensor, mask: Tensor) -> Tensor:
    """The base's value where ``mask`` holds, the tuned model's elsewhere (paper section 6).

    All three have one shape. The result has the storage type of ``tuned``: with one storage type
    on both sides a restored entry is bit-equal to the base's, otherwise its value is cast once.
    """
    chosen = np.where(mask.cpu().numpy(), bits(base.to(tuned.dtype)), bits(tuned))
    return torch.from_numpy(chosen).view(tuned.dtype)


def interpolate(base: Tensor, tuned: Tensor, alpha: float) -> Tensor:
    """base + alpha (tuned - base) in float32, cast once to the storage type of ``tuned``.

    ``alpha`` 1 gives exactly the tuned entries and 0 exactly the base's.
    """
    if alpha == 1:
        return tuned.clone()
    if alpha == 0:
        return base.to(tuned.dtype, copy=True)
    origin = as_float32(base)
    values = as_float32(tuned) - origin
    values *= np.float32(alpha)
    values += origin
    return torch.from_numpy(values).to(tuned.dtype)


def bits(values: Tensor) -> NDArray[Any]:
    """The bit patterns of a tensor, as integers in its shape; shares memory where it can."""
    return values.detach().cpu().contiguous().view(_BITS[values.element_size()]).numpy()
