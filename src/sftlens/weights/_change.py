"""What fine-tuning did to each parameter, and the keys by which parameters are ranked.

A key is an int32 in [0, 2^31): the bit pattern of a non-negative float32, whose order as an
integer is that of the floats. A larger key is restored earlier.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Ranking = Literal["relative", "absolute", "random", "small-base"]
Order = Literal["top", "bottom"]

RELATIVE_EPSILON = 1e-8
_LARGEST_KEY = (1 << 31) - 1


def relative_change(base: Tensor, tuned: Tensor) -> Tensor:
    """abs(t - b) / (abs(b) + 1e-8) in float32 (paper section 6, as the official code has it)."""
    return relative_to(absolute_change(base, tuned), base)


def absolute_change(base: Tensor, tuned: Tensor) -> Tensor:
    """abs(t - b) in float32."""
    return (tuned.float() - base.float()).abs_()


def relative_to(change: Tensor, base: Tensor) -> Tensor:
    """A given absolute change, divided by abs(b) + 1e-8, in float32."""
    return change / base.float().abs().add_(RELATIVE_EPSILON)


def ranking_keys(
    ranking: Ranking,
    order: Order,
    base: Tensor,
    change: Tensor,
    *,
    name: str,
    start: int,
    seed: int,
) -> Tensor:
    """The keys of a run of entries, int32, (num_entries,); the larger is restored earlier.

    Args:
        ranking: ``relative`` or ``absolute`` change; ``small-base``, the smallest abs(base)
            first; ``random``, a hash of seed, name and flat position.
        order: ``bottom`` turns the order of the keys around.
        base: entries as stored, (num_entries,).
        change: their absolute change, float32, (num_entries,).
        name: of the tensor.
        start: flat position of the first entry.
        seed: of the random ranking.
    """
    match ranking:
        case "relative":
            keys = float_keys(relative_to(change, base))
        case "absolute":
            keys = float_keys(change)
        case "small-base":
            keys = _LARGEST_KEY - float_keys(base.float().abs())
        case "random":
            keys = _random_keys(name, start, len(base), seed)
    return keys if order == "top" else _LARGEST_KEY - keys


def float_keys(values: Tensor) -> Tensor:
    """The bit patterns of non-negative float32 values, as int32."""
    return values.view(torch.int32)


def key_values(keys: Tensor) -> Tensor:
    """The float32 values of :func:`float_keys`."""
    return keys.to(torch.int32).view(torch.float32)


def _random_keys(name: str, start: int, count: int, seed: int) -> Tensor:
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
    return torch.from_numpy((mixed >> np.uint64(33)).astype(np.int32))
