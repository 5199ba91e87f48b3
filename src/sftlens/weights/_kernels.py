"""The arithmetic of a pass over the entries, and its reference in numpy.

Three sets of kernels give the same bits: numpy's here, compiled ones (:mod:`._compiled`), and
torch's on a device (:mod:`._device`). What they hand out is made of the arrays they work on
themselves; counts are numpy arrays for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sftlens.weights._change import SMALL_BASE, Change, Floats, change_of, relative
from sftlens.weights._keys import Criterion, Keys, float_keys, random_keys, random_offset
from sftlens.weights._methods import restore

NULL_BLOCK = 1 << 15
"""Entries among which the null of a concentration shuffles; part of its definition."""

PIECE = 1 << 18
"""Entries that a step on a CPU takes at once."""

NUM_UPPER = 1 << 16
NUM_LOWER = 1 << 16
_ZERO_UPPER = 1 << 15  # the upper bits of key 0 are counted here

Measure = Literal["relative", "absolute", "null"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
DIVIDED: tuple[Measure, ...] = ("relative", "null")
"""Those that divide by the base; also counted of the small bases alone (:data:`SMALL_BASE`)."""

Counts = NDArray[np.int64]


TALLIED = 5  # columns of a tally


class Tallies(NamedTuple):
    """What cuts restore of a run of entries: (num_cuts, TALLIED) each, float64.

    The columns are the number of entries, how many of them had changed, the sum of their squared
    changes, and how many of the changed have a base below :data:`SMALL_BASE` and one of 0.
    """

    above: NDArray[np.float64]  # of the entries above each cut
    tied: NDArray[np.float64]  # of those equal to it


class Null(NamedTuple):
    """Which entries are shuffled for the null, and how."""

    seed: int
    stride: int
    """In each tensor every so-manieth run of :data:`NULL_BLOCK` entries takes part, from the
    first on."""

    def runs(self, values: Any, start: int) -> list[Any]:
        """The runs that take part of the values from flat position ``start`` of a tensor on."""
        assert start % NULL_BLOCK == 0, start
        return [
            values[low : low + NULL_BLOCK]
            for low in range(0, len(values), NULL_BLOCK)
            if (start + low) // NULL_BLOCK % self.stride == 0
        ]


class Kernels(Protocol):
    """The steps of a pass; a set belongs to one thread."""

    piece_size: int
    """How many entries to work on at once, a multiple of :data:`NULL_BLOCK`."""
    device: torch.device
    """Where whole tensors are worked on."""

    def change(self, base: Tensor, tuned: Tensor) -> Change:
        """The change of a run of entries of one storage type, (num_entries,)."""

    def all_below(self, change: Change, limit: float) -> bool:
        """Whether all changes are numbers below a limit."""

    def keys(self, criterion: Criterion, change: Change, name: str, start: int) -> Any:
        """The keys of a run of entries of tensor ``name`` from flat position ``start`` on.

        (num_entries,), of whatever kind the other steps of the same set take.
        """

    def count_upper(self, keys: Any, counts: Counts) -> None:
        """Add to ``counts`` (65536, 2), by the upper 16 bits: number, sum of the lower 16 bits."""

    def count_lower(self, keys: Any, slots: NDArray[np.int32], counts: Counts) -> None:
        """Add the keys whose upper bits have a slot, which is not -1, to its row of ``counts``.

        ``counts`` is (num_slots + 1, 65536); what the last row holds afterwards means nothing, nor
        what the place of lower bits of 0 holds: their number follows from the first pass.
        """

    def count_measures(
        self,
        change: Change,
        start: int,
        null: Null,
        counts: Sequence[Counts],
        small: Sequence[Counts],
    ) -> int:
        """:meth:`count_upper` for each of :data:`MEASURES`, with counts of its own.

        The changes are those from flat position ``start`` of a tensor on, a multiple of
        :data:`NULL_BLOCK`. ``small`` has counts for each of :data:`DIVIDED`, of the entries with
        a base below :data:`SMALL_BASE` alone.

        Returns:
            How many entries have a base of 0.
        """

    def count_measures_lower(
        self,
        change: Change,
        start: int,
        null: Null,
        slots: Sequence[NDArray[np.int32]],
        counts: Sequence[Counts],
        small_slots: Sequence[NDArray[np.int32]],
        small: Sequence[Counts],
    ) -> None:
        """:meth:`count_lower` for each of :data:`MEASURES`, with slots and counts of its own.

        Likewise ``small``, for what :meth:`count_measures` calls so.
        """

    def small_base(self, change: Change) -> Any:
        """Which entries have a base below :data:`SMALL_BASE`, bool, (num_entries,)."""

    def tally(self, keys: Any, change: Change, cuts: Keys) -> Tallies:
        """What each of the cuts restores."""

    def mask(self, keys: Any, cut: int, quota: int) -> tuple[Any, int]:
        """Which entries are restored: above the cut, or among the first ``quota`` ties.

        Returns:
            Bool, (num_entries,), and how many of the quota were used.
        """

    def restored(self, base: Tensor, tuned: Tensor, mask: Any) -> Tensor:
        """Stored entries: the base's where the mask holds, the tuned model's elsewhere."""


class OneByOne:
    """Steps that do several things, done one by one."""

    def count_measures(
        self: Kernels,
        change: Change,
        start: int,
        null: Null,
        counts: Sequence[Counts],
        small: Sequence[Counts],
    ) -> int:
        small_base = self.small_base(change)
        of_small = dict(zip(DIVIDED, small, strict=True))
        for measure, own in zip(MEASURES, counts, strict=True):
            keys = self.keys(Criterion(measure, seed=null.seed), change, "", start)
            for run, is_small in _runs(keys, small_base, measure, null, start):
                self.count_upper(run, own)
                if measure in of_small:
                    self.count_upper(run[is_small], of_small[measure])
        return int((change.base == 0).sum())

    def count_measures_lower(
        self: Kernels,
        change: Change,
        start: int,
        null: Null,
        slots: Sequence[NDArray[np.int32]],
        counts: Sequence[Counts],
        small_slots: Sequence[NDArray[np.int32]],
        small: Sequence[Counts],
    ) -> None:
        small_base = self.small_base(change)
        of_small = dict(zip(DIVIDED, zip(small_slots, small, strict=True), strict=True))
        for measure, own_slots, own in zip(MEASURES, slots, counts, strict=True):
            if len(own) == 1:
                continue
            keys = self.keys(Criterion(measure, seed=null.seed), change, "", start)
            for run, is_small in _runs(keys, small_base, measure, null, start):
                self.count_lower(run, own_slots, own)
                if measure in of_small:
                    self.count_lower(run[is_small], *of_small[measure])


def _runs(
    keys: Any, small_base: Any, measure: Measure, null: Null, start: int
) -> Iterable[tuple[Any, Any]]:
    if measure != "null":
        return [(keys, small_base)]
    return zip(null.runs(keys, start), null.runs(small_base, start), strict=True)


class NumpyKernels(OneByOne):
    """The kernels in numpy, which leaves torch's thread pool alone.

    A pass is many small steps, and handing each to a pool costs more than it gains, most of all on
    a machine with other work.
    """

    piece_size = PIECE
    device = torch.device("cpu")

    def change(self, base: Tensor, tuned: Tensor) -> Change:
        return change_of(base, tuned)

    def all_below(self, change: Change, limit: float) -> bool:
        return bool(change.absolute.max(initial=0) < limit)  # False for NaN as well

    def keys(self, criterion: Criterion, change: Change, name: str, start: int) -> Keys:
        match criterion.ranking:
            case "relative":
                keys = relative(change.absolute, change.base).view(np.int32)
            case "absolute":
                keys = change.absolute.view(np.int32)
            case "null":
                shuffled = shuffle(change.absolute, criterion.seed)
                keys = relative(shuffled, change.base).view(np.int32)
            case "small-base":
                keys = ~float_keys(np.abs(change.base))
            case "random":
                offset = random_offset(name, criterion.seed)
                keys = random_keys(offset, start, len(change.base))
        return keys if criterion.order == "top" else ~keys

    def count_upper(self, keys: Keys, counts: Counts) -> None:
        upper = (keys >> 16) + _ZERO_UPPER
        counts[:, 0] += np.bincount(upper, minlength=NUM_UPPER)
        # Sums of integers below 2^53 are exact in the float64 that bincount adds weights in.
        lower = keys & (NUM_LOWER - 1)
        counts[:, 1] += np.bincount(upper, weights=lower, minlength=NUM_UPPER).astype(np.int64)

    def count_lower(self, keys: Keys, slots: NDArray[np.int32], counts: Counts) -> None:
        of_key = slots[(keys >> 16) + _ZERO_UPPER]
        concerned = np.flatnonzero(of_key >= 0)
        places = of_key[concerned].astype(np.int64) * NUM_LOWER
        places += keys[concerned] & (NUM_LOWER - 1)
        np.add.at(counts.reshape(-1), places, 1)

    def tally(self, keys: Keys, change: Change, cuts: Keys) -> Tallies:
        above, tied = np.zeros((2, len(cuts), TALLIED))
        squares = np.square(change.absolute, dtype=np.float64)
        changed = change.absolute != 0
        small, zero = changed & self.small_base(change), changed & (change.base == 0)
        for number, cut in enumerate(cuts):
            for part, chosen in ((above, keys > cut), (tied, keys == cut)):
                part[number, 0] = np.count_nonzero(chosen)
                part[number, 2] = squares[chosen].sum()
                for column, counted in ((1, changed), (3, small), (4, zero)):
                    part[number, column] = np.count_nonzero(counted & chosen)
        return Tallies(above, tied)

    def small_base(self, change: Change) -> NDArray[np.bool_]:
        small: NDArray[np.bool_] = np.abs(change.base) < SMALL_BASE
        return small

    def mask(self, keys: Keys, cut: int, quota: int) -> tuple[NDArray[np.bool_], int]:
        mask = keys > cut
        if quota == 0:
            return mask, 0
        ties = np.flatnonzero(keys == cut)[:quota]
        mask[ties] = True
        return mask, len(ties)

    def restored(self, base: Tensor, tuned: Tensor, mask: NDArray[np.bool_]) -> Tensor:
        return restore(base, tuned, torch.from_numpy(mask))


def shuffle(values: Floats, seed: int) -> Floats:
    """Values shuffled within runs of :data:`NULL_BLOCK`, by the same permutation in each."""
    runs = range(0, len(values), NULL_BLOCK)
    parts = [values[start : start + NULL_BLOCK] for start in runs]
    shuffled = [part[permutation(len(part), seed)] for part in parts]
    return shuffled[0] if len(shuffled) == 1 else np.concatenate(shuffled)


@lru_cache(maxsize=16)
def permutation(count: int, seed: int) -> NDArray[np.int32]:
    """The seeded permutation of a run, int32, (count,)."""
    return np.random.default_rng(seed).permutation(count).astype(np.int32)
