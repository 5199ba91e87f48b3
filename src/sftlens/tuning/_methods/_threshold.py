"""The k-th largest of many values that lie in several tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch


def threshold(values: Callable[[], Iterable[torch.Tensor]], rank: int) -> float:
    """The ``rank``-th largest value, found without bringing the tensors together.

    Non-negative floats are in the order of their bits, so bisecting these finds it exactly, in 31
    passes over the values.

    Args:
        values: gives the tensors again and again, float32 and not negative.
        rank: from 1 on, at most the number of values.
    """
    low, high = 0, 0x7F800000  # the bits of 0 and of infinity
    while low < high:
        middle = (low + high + 1) // 2
        at_least = _float(middle)
        if sum(int((tensor >= at_least).sum()) for tensor in values()) >= rank:
            low = middle
        else:
            high = middle - 1
    return _float(low)


def _float(bits: int) -> float:
    return torch.tensor(bits, dtype=torch.int32).view(torch.float32).item()
