"""What fine-tuning did to each parameter, and the keys by which parameters are ranked.

A key is an int32 in [0, 2^31): the bit pattern of a non-negative float32, whose order as an
integer is that of the floats. A larger key is restored earlier.

The arithmetic is numpy's, which leaves torch's thread pool alone: a pass is many small steps, and
handing each to a pool costs more than it gains, most of all on a machine with other work.
"""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ranking = Literal["relative", "absolute", "random", "small-base"]
Order = Literal["top", "bottom"]

Floats = NDArray[np.float32]
Keys = NDArray[np.int32]

RELATIVE_EPSILON = np.float32(1e-8)
_LARGEST_KEY = np.int32((1 << 31) - 1)


def relative_change(base: Tensor, tuned: Tensor) -> Tensor:
    """abs(t - b) / (abs(b) + 1e-8) in float32 (paper section 6, as the official code has it).

    Both tensors have one shape, which is that of the result; they may be of any float type.
    """
    values = as_float32(base)
    return torch.from_numpy(relative(absolute(values, as_float32(tuned)), values))


def absolute_change(base: Tensor, tuned: Tensor) -> Tensor:
    """abs(t - b) in float32; tensors as in :func:`relative_change`."""
    return torch.from_numpy(absolute(as_float32(base), as_float32(tuned)))


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
    """What the rankings of a run of entries are computed from."""

    base: Floats  # the base's values, (num_entries,)
    absolute: Floats  # abs(t - b), (num_entries,)

    @property
    def relative(self) -> Floats:
        """The relative change, (num_entries,)."""
        return relative(self.absolute, self.base)


def change_of(base: Tensor, tuned: Tensor) -> Change:
    """The change of a run of entries as stored, (num_entries,)."""
    values = as_float32(base)
    return Change(values, absolute(values, as_float32(tuned)))


def ranking_keys(
    ranking: Ranking,
    order: Order,
    change: Change,
    *,
    name: str,
    start: int,
    seed: int,
) -> Keys:
    """The keys of a run of entries, (num_entries,); the larger is restored earlier.

    Args:
        ranking: ``relative`` or ``absolute`` change; ``small-base``, the smallest abs(base)
            first; ``random``, a hash of seed, name and flat position.
        order: ``bottom`` turns the order of the keys around.
        change: of the entries.
        name: of the tensor.
        start: flat position of the first entry.
        seed: of the random ranking.
    """
    match ranking:
        case "relative":
            keys = float_keys(change.relative)
        case "absolute":
            keys = float_keys(change.absolute)
        case "small-base":
            keys = _LARGEST_KEY - float_keys(np.abs(change.base))
        case "random":
            keys = _random_keys(name, start, len(change.base), seed)
    return keys if order == "top" else _LARGEST_KEY - keys


def float_keys(values: Floats) -> Keys:
    """The bit patterns of non-negative values."""
    return values.view(np.int32)


def key_values(keys: NDArray[np.integer]) -> Floats:
    """The values of :func:`float_keys`."""
    return keys.astype(np.int32).view(np.float32)


def _random_keys(name: str, start: int, count: int, seed: int) -> Keys:
    """31 bits for each flat position, the same whatever the sharding and the size of the run."""
    digest = hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()
    mixed = np.arange(start, start + count, dtype=np.uint64)
    # The finaliser of SplitMix64 over a counter (Steele, Lea and Flood 2014).
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    mixed += np.frombuffer(digest, dtype="<u8")[0]
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(33)).astype(np.int32)
