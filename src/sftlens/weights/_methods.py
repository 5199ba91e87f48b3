"""Restoration methods: base and tuned entries in, repaired entries out."""

from __future__ import annotations

import torch
from torch import Tensor


def restore(base: Tensor, tuned: Tensor, mask: Tensor) -> Tensor:
    """The base's value where ``mask`` holds, the tuned model's elsewhere (paper section 6).

    The result has the storage type of ``tuned``. With one storage type on both sides a restored
    entry is bit-equal to the base's; otherwise the base's value is cast once.
    """
    return torch.where(mask, base.to(tuned.dtype), tuned)


def interpolate(base: Tensor, tuned: Tensor, alpha: float) -> Tensor:
    """base + alpha (tuned - base) in float32, cast once to the storage type of ``tuned``.

    ``alpha`` 1 gives exactly the tuned entries and 0 exactly the base's.
    """
    if alpha == 1:
        return tuned.clone()
    if alpha == 0:
        return base.to(tuned.dtype, copy=True)
    origin = base.float()
    return torch.add(origin, tuned.float() - origin, alpha=alpha).to(tuned.dtype)
