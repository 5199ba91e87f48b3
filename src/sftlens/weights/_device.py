"""The kernels in torch, for tensors on a device.

Sums, quotients and comparisons of float32 are rounded alike on every device, so the results are
numpy's, bit by bit; only the sums of squares of a tally are added up in another order.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sftlens.weights._change import RELATIVE_EPSILON, SMALL_BASE, Change
from sftlens.weights._kernels import (
    NULL_BLOCK,
    NUM_LOWER,
    NUM_UPPER,
    TALLIED,
    Counts,
    OneByOne,
    Tallies,
)
from sftlens.weights._kernels import permutation as numpy_permutation
from sftlens.weights._keys import (
    MIX_FIRST,
    MIX_SECOND,
    MIX_STEP,
    Criterion,
    Keys,
    random_offset,
)

_EPSILON = float(RELATIVE_EPSILON)


class DeviceKernels(OneByOne):
    """See :class:`Kernels`; ``device`` as torch names it."""

    piece_size = 1 << 24

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self._permutations: dict[tuple[int, int], Tensor] = {}

    def change(self, base: Tensor, tuned: Tensor) -> Change:
        values = base.to(self.device).float()
        return Change(values, (tuned.to(self.device).float() - values).abs())

    def all_below(self, change: Change, limit: float) -> bool:
        return bool((change.absolute < limit).all())

    def keys(self, criterion: Criterion, change: Change, name: str, start: int) -> Tensor:
        match criterion.ranking:
            case "relative":
                keys = _relative(change.absolute, change.base).view(torch.int32)
            case "absolute":
                keys = change.absolute.view(torch.int32)
            case "null":
                shuffled = self._shuffled(change.absolute, criterion.seed)
                keys = _relative(shuffled, change.base).view(torch.int32)
            case "small-base":
                keys = ~change.base.abs().view(torch.int32)
            case "random":
                offset = random_offset(name, criterion.seed)
                keys = _random_keys(offset, start, len(change.base), self.device)
        return keys if criterion.order == "top" else ~keys

    def count_upper(self, keys: Tensor, counts: Counts) -> None:
        upper = (keys >> 16).long() + NUM_UPPER // 2
        lower = (keys & (NUM_LOWER - 1)).long()
        added = torch.zeros(2, NUM_UPPER, dtype=torch.int64, device=self.device)
        added[0].scatter_add_(0, upper, torch.ones_like(upper))
        added[1].scatter_add_(0, upper, lower)
        counts += added.T.cpu().numpy()

    def count_lower(self, keys: Tensor, slots: NDArray[np.int32], counts: Counts) -> None:
        of_key = torch.from_numpy(slots).to(self.device)[(keys >> 16).long() + NUM_UPPER // 2]
        concerned = of_key >= 0
        places = of_key[concerned].long() * NUM_LOWER + (keys[concerned] & (NUM_LOWER - 1))
        counts += torch.bincount(places, minlength=counts.size).cpu().numpy().reshape(counts.shape)

    def tally(self, keys: Tensor, change: Change, cuts: Keys) -> Tallies:
        squares = change.absolute.double().square_()
        changed = change.absolute != 0
        small, zero = changed & self.small_base(change), changed & (change.base == 0)
        sums = []
        for cut in cuts.tolist():
            for chosen in (keys > cut, keys == cut):
                norm = torch.where(chosen, squares, 0.0).sum()
                sums += [chosen.sum(), (chosen & changed).sum(), norm]
                sums += [(chosen & small).sum(), (chosen & zero).sum()]
        values = torch.stack([value.double() for value in sums]).cpu().numpy()
        table = values.reshape(-1, 2, TALLIED)
        return Tallies(table[:, 0], table[:, 1])

    def small_base(self, change: Change) -> Tensor:
        small: Tensor = change.base.abs() < float(SMALL_BASE)
        return small

    def mask(self, keys: Tensor, cut: int, quota: int) -> tuple[Tensor, int]:
        mask = keys > cut
        if quota == 0:
            return mask, 0
        ties = (keys == cut).nonzero().flatten()[:quota]
        mask[ties] = True
        return mask, len(ties)

    def restored(self, base: Tensor, tuned: Tensor, mask: Tensor) -> Tensor:
        # Floats are moved and chosen as they are, so that not even the bits of a NaN change.
        base, tuned = base.to(self.device), tuned.to(self.device)
        return torch.where(mask, base.to(tuned.dtype), tuned).cpu()

    def _shuffled(self, values: Tensor, seed: int) -> Tensor:
        whole = len(values) // NULL_BLOCK * NULL_BLOCK
        runs = values[:whole].view(-1, NULL_BLOCK)[:, self._permutation(NULL_BLOCK, seed)]
        rest = values[whole:][self._permutation(len(values) - whole, seed)]
        return torch.cat([runs.flatten(), rest])

    def _permutation(self, count: int, seed: int) -> Tensor:
        if (count, seed) not in self._permutations:
            order = torch.from_numpy(numpy_permutation(count, seed)).to(self.device)
            self._permutations[count, seed] = order
        return self._permutations[count, seed]


def _relative(absolute: Tensor, base: Tensor) -> Tensor:
    quotient: Tensor = absolute / (base.abs() + _EPSILON)
    return quotient


def _random_keys(offset: int, start: int, count: int, device: torch.device) -> Tensor:
    # int64 multiplies as uint64 does; its shifts have to be told to bring in zeros.
    mixed = torch.arange(start, start + count, device=device) * _signed(MIX_STEP) + _signed(offset)
    mixed = (mixed ^ _shifted(mixed, 30)) * _signed(MIX_FIRST)
    mixed = (mixed ^ _shifted(mixed, 27)) * _signed(MIX_SECOND)
    mixed = mixed ^ _shifted(mixed, 31)
    return _shifted(mixed, 33).int()


def _shifted(values: Tensor, places: int) -> Tensor:
    return (values >> places) & ((1 << (64 - places)) - 1)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
