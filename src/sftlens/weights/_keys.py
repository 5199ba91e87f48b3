"""The keys by which parameters are ranked.

A key is an int32 whose order is that of the float32 it stands for; a larger key is restored
earlier. For a value that is not negative it is the bit pattern.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sftlens.weights._change import Floats

Ranking = Literal["relative", "absolute", "random", "small-base"]
Order = Literal["top", "bottom"]

Keys = NDArray[np.int32]

_MAGNITUDE = np.int32((1 << 31) - 1)

MIX_STEP = 0x9E3779B97F4A7C15
MIX_FIRST = 0xBF58476D1CE4E5B9
MIX_SECOND = 0x94D049BB133111EB


class Criterion(NamedTuple):
    """How a region's parameters are ranked.

    One of :data:`Ranking`, or ``null``, which measures and ranks nothing: the relative change if
    abs(t - b) is shuffled within runs of :data:`NULL_BLOCK` entries by a permutation that ``seed``
    gives, anew in each tensor.

    ``relative`` and ``absolute`` rank by that change; ``small-base`` has the smallest abs(base)
    first; ``random`` goes by a hash of seed, tensor name and flat position. ``bottom`` turns the
    order of the keys around.
    """

    ranking: Ranking | Literal["null"] = "relative"
    order: Order = "top"
    region: str = "blocks"
    seed: int = 0


def float_keys(values: Floats) -> Keys:
    """The keys of values of either sign, (num_values,); of non-negative ones their bits."""
    bits = values.view(np.int32)
    return bits ^ ((bits >> 31) & _MAGNITUDE)


def key_values(keys: NDArray[np.integer[Any]]) -> Floats:
    """The values of :func:`float_keys`."""
    bits = keys.astype(np.int32)
    return (bits ^ ((bits >> 31) & _MAGNITUDE)).view(np.float32)


def random_offset(name: str, seed: int) -> int:
    """Where the random numbers of a tensor start: 64 bits of a hash of seed and name."""
    digest = hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def random_keys(offset: int, start: int, count: int) -> Keys:
    """31 bits for each flat position, the same whatever the sharding and the size of the run.

    The finaliser of SplitMix64 over a counter (Steele, Lea and Flood 2014).
    """
    mixed = np.arange(start, start + count, dtype=np.uint64)
    mixed *= np.uint64(MIX_STEP)
    mixed += np.uint64(offset)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(MIX_FIRST)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(MIX_SECOND)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(33)).astype(np.int32)
