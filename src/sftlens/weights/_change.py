"""What fine-tuning did to each parameter: the definitions, in numpy.

Everywhere the base is taken as the tuned model's storage type holds it. Where the two types differ,
rounding to the tuned one is what a cast did and not what fine-tuning did: it counts neither as a
change nor in the size of one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]

DEFINITION = 2
"""Of a change, as configurations of finished folders have it: those of 1 counted casts too."""

RELATIVE_EPSILON = np.float32(1e-8)

SMALL_BASE = np.float32(1e-4)
"""Bases nearer to zero than this are counted apart: what rounding left of them, or made of them,
decides the relative change there. Most of all it does where the base is exactly 0, as many weights
of a model are that was unpacked from 4-bit blocks."""


def relative_change(base: Tensor, tuned: Tensor) -> Tensor:
    """abs(t - b) / (abs(b) + 1e-8) in float32 (paper section 6, as the official code has it).

    Both tensors have one shape, which is that of the result; they may be of any float type. ``b``
    is the base in the storage type of ``tuned``.
    """
    values = as_float32(base.to(tuned.dtype))
    return torch.from_numpy(relative(absolute(values, as_float32(tuned)), values))


def absolute_change(base: Tensor, tuned: Tensor) -> Tensor:
    """abs(t - b) in float32; tensors as in :func:`relative_change`."""
    return torch.from_numpy(absolute(as_float32(base.to(tuned.dtype)), as_float32(tuned)))


def as_float32(stored: Tensor) -> Floats:
    """The values of a tensor of any float type, in its shape; not to be written to."""
    stored = stored.detach().cpu()
    if stored.dtype == torch.bfloat16:
        bits = stored.contiguous().view(torch.int16).numpy().astype(np.int32)
        bits <<= 16
        return np.asarray(bits.view(np.float32))
    with np.errstate(over="ignore"):
        return np.asarray(stored.numpy(), dtype=np.float32)


def absolute(base: Floats, tuned: Floats) -> Floats:
    """abs(t - b)."""
    with np.errstate(invalid="ignore", over="ignore"):
        change = tuned - base
    np.abs(change, out=change)
    return change


def relative(change: Floats, base: Floats) -> Floats:
    """An absolute change, divided by abs(b) + 1e-8."""
    size = np.abs(base)
    size += RELATIVE_EPSILON
    with np.errstate(invalid="ignore", over="ignore"):
        return np.divide(change, size, out=size)


class Change(NamedTuple):
    """What the keys of a run of entries are computed from, (num_entries,) each.

    Float32 of the kind that the kernels work on: numpy arrays, or torch tensors on a device. The
    compiled kernels keep the two sides as they are stored.
    """

    base: Any  # the base's values
    absolute: Any  # abs(t - b); of the compiled kernels, the tuned values


def change_of(base: Tensor, tuned: Tensor) -> Change:
    """The change of a run of entries of one storage type, (num_entries,)."""
    values = as_float32(base)
    return Change(values, absolute(values, as_float32(tuned)))
