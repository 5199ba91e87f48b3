"""The kernels compiled by numba: loops over short runs that stay in the processor's cache.

Keys are not kept: each step makes those of a run anew, which takes less time than to fetch them
from memory. Nothing is reordered that rounds, so the results are numpy's, bit by bit; only the
sums of squares of a tally are added up in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sftlens.weights._change import RELATIVE_EPSILON, SMALL_BASE, Change, as_float32
from sftlens.weights._kernels import (
    NULL_BLOCK,
    PIECE,
    TALLIED,
    Counts,
    Null,
    Tallies,
    permutation,
)
from sftlens.weights._keys import MIX_FIRST, MIX_SECOND, MIX_STEP, Criterion, Keys, random_offset
from sftlens.weights._methods import bits

_EPSILON = RELATIVE_EPSILON
_STEP, _FIRST, _SECOND = np.uint64(MIX_STEP), np.uint64(MIX_FIRST), np.uint64(MIX_SECOND)

_RUN = 2048  # entries; what is made of them fits the innermost cache
_TALLY_RUN = _RUN // 2  # with their squares
_RELATIVE, _ABSOLUTE, _SMALL_BASE, _RANDOM, _NULL = range(5)
_KINDS = {
    "relative": _RELATIVE,
    "absolute": _ABSOLUTE,
    "small-base": _SMALL_BASE,
    "random": _RANDOM,
}
_CROWDED = 32  # of a run, one hit in so many of the first keys is a crowd
_NUM_SPARE = 16

# A count and a sum of lower bits in one number, which holds those of _SPAN entries.
_COUNT_SHIFT = np.uint64(40)
_ONE = np.uint64(1) << _COUNT_SHIFT
_LOWER_MASK = _ONE - np.uint64(1)
_SPAN = 1 << 23
_LOWEST = np.int32(-(1 << 31))
_MAGNITUDE = np.uint32((1 << 31) - 1)
_SMALL_BITS = SMALL_BASE.view(np.uint32)  # floats that are not negative are ordered as their bits


def _compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(nogil=True, error_model="numpy", cache=True, **options)(function)
        except RuntimeError:  # no folder to keep compiled code in
            return numba.njit(nogil=True, error_model="numpy", **options)(function)

    return decorate


class _Stored(NamedTuple):
    """Entries as the compiled loops take them: shifted to the left they are float32 bits."""

    bits: NDArray[Any]  # uint16 of bfloat16, uint32 of float32
    shift: np.uint32


class _Recipe(NamedTuple):
    """What the keys of a piece are made from."""

    base: _Stored
    tuned: _Stored
    kind: int
    flip: np.int32  # all ones where the order is turned around
    order: NDArray[np.int32]  # the permutation of the null's runs, else empty
    last_order: NDArray[np.int32]  # that of its last run, if it is shorter
    offset: np.uint64  # of the random numbers
    start: np.uint64  # flat position of the first entry


class CompiledKernels:
    """See :class:`Kernels`."""

    piece_size = 8 * PIECE
    device = torch.device("cpu")

    def change(self, base: Tensor, tuned: Tensor) -> Change:
        return Change(_stored(base), _stored(tuned))

    def all_below(self, change: Change, limit: float) -> bool:
        recipe = _recipe(change, _ABSOLUTE)
        return bool(_num_below(recipe, np.float32(limit)) == len(recipe.base.bits))

    def keys(self, criterion: Criterion, change: Change, name: str, start: int) -> Any:
        kind = _KINDS[criterion.ranking]
        offset = random_offset(name, criterion.seed) if kind == _RANDOM else 0
        return _recipe(change, kind, start)._replace(
            flip=np.int32(-1 if criterion.order == "bottom" else 0), offset=np.uint64(offset)
        )

    def count_upper(self, keys: _Recipe, counts: Counts) -> None:
        _count_upper(keys, counts)

    def count_lower(self, keys: _Recipe, slots: NDArray[np.int32], counts: Counts) -> None:
        _count_lower(keys, slots, counts.reshape(-1))

    def count_measures(
        self,
        change: Change,
        start: int,
        null: Null,
        counts: Sequence[Counts],
        small: Sequence[Counts],
    ) -> int:
        recipe = _null_recipe(change, start, null)
        return int(_count_measures(recipe, null.stride, *counts, *small))

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
        recipe = _null_recipe(change, start, null)
        flat = (own.reshape(-1) for own in (*counts, *small))
        _count_measures_lower(recipe, null.stride, *slots, *small_slots, *flat)

    def small_base(self, change: Change) -> NDArray[np.bool_]:
        result = np.empty(len(change.base.bits), dtype=np.bool_)
        _mark_small(change.base, result)
        return result

    def tally(self, keys: _Recipe, change: Change, cuts: Keys) -> Tallies:
        above, tied = np.zeros((2, len(cuts), TALLIED))
        _tally(keys, cuts, above, tied)
        return Tallies(above, tied)

    def mask(self, keys: _Recipe, cut: int, quota: int) -> tuple[NDArray[np.bool_], int]:
        result = np.empty(len(keys.base.bits), dtype=np.bool_)
        return result, int(_mask(keys, np.int32(cut), quota, result))

    def restored(self, base: Tensor, tuned: Tensor, mask: NDArray[np.bool_]) -> Tensor:
        if base.dtype != tuned.dtype:
            base = base.to(tuned.dtype)
        result = torch.empty_like(tuned)
        _select(bits(base), bits(tuned), mask, bits(result))
        return result


_NO_ORDER = np.zeros(0, dtype=np.int32)


def _stored(entries: Tensor) -> _Stored:
    if entries.dtype == torch.bfloat16:
        return _Stored(bits(entries).view(np.uint16), np.uint32(16))
    return _Stored(as_float32(entries).view(np.uint32), np.uint32(0))


def _recipe(change: Change, kind: int, start: int = 0) -> _Recipe:
    return _Recipe(
        base=change.base,
        tuned=change.absolute,
        kind=kind,
        flip=np.int32(0),
        order=_NO_ORDER,
        last_order=_NO_ORDER,
        offset=np.uint64(0),
        start=np.uint64(start),
    )


def _null_recipe(change: Change, start: int, null: Null) -> _Recipe:
    num_last = len(change.base.bits) % NULL_BLOCK
    return _recipe(change, _NULL, start)._replace(
        order=permutation(NULL_BLOCK, null.seed), last_order=permutation(num_last, null.seed)
    )


@_compiled()
def _widen(stored, shift, result):  # type: ignore[no-untyped-def]
    for i in range(stored.size):
        result[i] = np.uint32(stored[i]) << shift


@_compiled()
def _divide(absolute, base, result):  # type: ignore[no-untyped-def]
    for i in range(absolute.size):
        result[i] = absolute[i] / (abs(base[i]) + _EPSILON)


@_compiled()
def _add_upper(keys, packed):  # type: ignore[no-untyped-def]
    # Two numbers a place, in turn: a run of equal keys need not wait for its own last addition.
    for i in range(keys.size):
        place = np.uint32(keys[i] ^ _LOWEST)
        packed[place >> 16, i & 1] += _ONE | np.uint64(place & np.uint32(0xFFFF))


@_compiled()
def _unpack(packed, counts):  # type: ignore[no-untyped-def]
    """Add packed counts to those of a pass, and set them to 0."""
    for place in range(packed.shape[0]):
        for way in range(2):
            number = packed[place, way]
            if number:
                counts[place, 0] += np.int64(number >> _COUNT_SHIFT)
                counts[place, 1] += np.int64(number & _LOWER_MASK)
                packed[place, way] = 0


@_compiled()
def _add_lower(keys, slots, places):  # type: ignore[no-untyped-def]
    spare = places.size - _NUM_SPARE
    num_looked_at = min(keys.size, 256)
    num_hits = 0
    for i in range(num_looked_at):
        asked = slots[(keys[i] >> 16) + 32768] >= 0
        num_hits += asked and keys[i] & 0xFFFF != 0
    if num_hits * _CROWDED < num_looked_at:
        for i in range(keys.size):
            slot = slots[(keys[i] >> 16) + 32768]
            lower = keys[i] & 0xFFFF
            if (slot | (lower - 1)) >= 0:  # asked for, and not 0, whose number follows
                places[(slot << 16) | lower] += 1
    else:
        # Without a branch that the processor would guess wrong: what is not asked for is counted
        # too, in turn at a few places of which none waits for the one before.
        for i in range(keys.size):
            slot = slots[(keys[i] >> 16) + 32768]
            place = (slot << 16) | (keys[i] & 0xFFFF)
            places[place if slot >= 0 else spare + (i & (_NUM_SPARE - 1))] += 1


@_compiled()
def _find_small(base_bits, small):  # type: ignore[no-untyped-def]
    """Write the places of small bases to ``small``, (num_entries,); gives how many there are."""
    num_small = 0
    for i in range(base_bits.size):  # without a branch that the processor would guess wrong
        small[num_small] = i
        num_small += base_bits[i] & _MAGNITUDE < _SMALL_BITS
    return num_small


@_compiled()
def _add_upper_of(keys, places, counts):  # type: ignore[no-untyped-def]
    for i in places:
        place = np.uint32(keys[i] ^ _LOWEST)
        counts[place >> 16, 0] += 1
        counts[place >> 16, 1] += np.int64(place & np.uint32(0xFFFF))


@_compiled()
def _add_lower_of(keys, places, slots, counts):  # type: ignore[no-untyped-def]
    for i in places:
        slot = slots[(keys[i] >> 16) + 32768]
        if slot >= 0:
            counts[(slot << 16) | (keys[i] & 0xFFFF)] += 1


@_compiled()
def _mark_small(stored, result):  # type: ignore[no-untyped-def]
    for i in range(result.size):
        bits = np.uint32(stored.bits[i]) << stored.shift
        result[i] = bits & _MAGNITUDE < _SMALL_BITS


@_compiled()
def _fill(recipe, kind, low, base_bits, tuned_bits, absolute, keys):  # type: ignore[no-untyped-def]
    """Make the absolute changes and the keys of a run, from entry ``low`` on.

    The others are scratch, (num_entries,), the bits uint32.
    """
    num_entries = keys.size
    _widen(recipe.base.bits[low : low + num_entries], recipe.base.shift, base_bits)
    _widen(recipe.tuned.bits[low : low + num_entries], recipe.tuned.shift, tuned_bits)
    base = base_bits.view(np.float32)
    tuned = tuned_bits.view(np.float32)
    values = keys.view(np.float32)
    for i in range(num_entries):
        absolute[i] = abs(tuned[i] - base[i])
    if kind == _RELATIVE:
        _divide(absolute, base, values)
    elif kind == _ABSOLUTE:
        for i in range(num_entries):
            values[i] = absolute[i]
    elif kind == _NULL:
        order = recipe.order if num_entries == recipe.order.size else recipe.last_order
        for i in range(num_entries):
            values[i] = absolute[order[i]] / (abs(base[i]) + _EPSILON)
    elif kind == _SMALL_BASE:
        for i in range(num_entries):
            keys[i] = ~np.int32(base_bits[i] & np.uint32(0x7FFFFFFF))
    else:
        for i in range(num_entries):
            mixed = (recipe.start + np.uint64(low + i)) * _STEP + recipe.offset
            mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
            mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
            mixed = mixed ^ (mixed >> np.uint64(31))
            keys[i] = np.int32(mixed >> np.uint64(33))
    if recipe.flip:
        for i in range(num_entries):
            keys[i] = ~keys[i]


@_compiled()
def _scratch(recipe, run):  # type: ignore[no-untyped-def]
    size = min(run, recipe.base.bits.size)
    return (
        np.empty(size, np.uint32),
        np.empty(size, np.uint32),
        np.empty(size, np.float32),
        np.empty(size, np.int32),
        np.empty(size, np.int32),
    )


@_compiled()
def _num_below(recipe, limit):  # type: ignore[no-untyped-def]
    base, tuned, absolute, keys, _ = _scratch(recipe, _RUN)
    num_entries = recipe.base.bits.size
    num_below = 0
    for low in range(0, num_entries, _RUN):
        size = min(_RUN, num_entries - low)
        _fill(recipe, recipe.kind, low, base[:size], tuned[:size], absolute[:size], keys[:size])
        for i in range(size):
            num_below += absolute[i] < limit
    return num_below


@_compiled()
def _count_upper(recipe, counts):  # type: ignore[no-untyped-def]
    base, tuned, absolute, keys, _ = _scratch(recipe, _RUN)
    packed = np.zeros((65536, 2), np.uint64)
    num_entries = recipe.base.bits.size
    for low in range(0, num_entries, _RUN):
        if low % _SPAN == 0:
            _unpack(packed, counts)
        size = min(_RUN, num_entries - low)
        _fill(recipe, recipe.kind, low, base[:size], tuned[:size], absolute[:size], keys[:size])
        _add_upper(keys[:size], packed)
    _unpack(packed, counts)


@_compiled()
def _count_lower(recipe, slots, places):  # type: ignore[no-untyped-def]
    base, tuned, absolute, keys, _ = _scratch(recipe, _RUN)
    num_entries = recipe.base.bits.size
    for low in range(0, num_entries, _RUN):
        size = min(_RUN, num_entries - low)
        _fill(recipe, recipe.kind, low, base[:size], tuned[:size], absolute[:size], keys[:size])
        _add_lower(keys[:size], slots, places)


@_compiled()
def _null_run(recipe, stride, low):  # type: ignore[no-untyped-def]
    """Whether the null is measured from entry ``low`` on, and how many entries go together."""
    run = recipe.order.size
    in_null = (np.int64(recipe.start) + low) // run % stride == 0
    return in_null, min(run if in_null else _RUN, recipe.base.bits.size - low)


@_compiled()
def _count_measures(  # type: ignore[no-untyped-def]
    recipe, stride, relative, absolute, null, small_relative, small_null
):
    num_zero = 0
    base, tuned, changes, keys, places = _scratch(recipe, recipe.order.size)
    packed = np.zeros((3, 65536, 2), np.uint64)
    low = 0
    while low < recipe.base.bits.size:
        if low % _SPAN == 0:
            _unpack_measures(packed, relative, absolute, null)
        in_null, size = _null_run(recipe, stride, low)
        kind = _NULL if in_null else _RELATIVE
        _fill(recipe, kind, low, base[:size], tuned[:size], changes[:size], keys[:size])
        small = places[: _find_small(base[:size], places)]
        for i in small:
            num_zero += base[i] & _MAGNITUDE == 0
        if in_null:
            _add_upper(keys[:size], packed[2])
            _add_upper_of(keys[:size], small, small_null)
            _divide(changes[:size], base[:size].view(np.float32), keys[:size].view(np.float32))
        _add_upper(keys[:size], packed[0])
        _add_upper(changes[:size].view(np.int32), packed[1])
        _add_upper_of(keys[:size], small, small_relative)
        low += size
    _unpack_measures(packed, relative, absolute, null)
    return num_zero


@_compiled()
def _unpack_measures(packed, relative, absolute, null):  # type: ignore[no-untyped-def]
    _unpack(packed[0], relative)
    _unpack(packed[1], absolute)
    _unpack(packed[2], null)


@_compiled()
def _count_measures_lower(  # type: ignore[no-untyped-def]
    recipe,
    stride,
    slots_relative,
    slots_absolute,
    slots_null,
    slots_small_relative,
    slots_small_null,
    relative,
    absolute,
    null,
    small_relative,
    small_null,
):
    base, tuned, changes, keys, places = _scratch(recipe, recipe.order.size)
    # Counts of one row, which is a spare, have no slots.
    has_null = null.size > 65536
    low = 0
    while low < recipe.base.bits.size:
        in_null, size = _null_run(recipe, stride, low)
        in_null = in_null and has_null
        kind = _NULL if in_null else _RELATIVE
        _fill(recipe, kind, low, base[:size], tuned[:size], changes[:size], keys[:size])
        small = places[: _find_small(base[:size], places)]
        if in_null:
            _add_lower(keys[:size], slots_null, null)
            _add_lower_of(keys[:size], small, slots_small_null, small_null)
            _divide(changes[:size], base[:size].view(np.float32), keys[:size].view(np.float32))
        if relative.size > 65536:
            _add_lower(keys[:size], slots_relative, relative)
        _add_lower_of(keys[:size], small, slots_small_relative, small_relative)
        if absolute.size > 65536:
            _add_lower(changes[:size].view(np.int32), slots_absolute, absolute)
        low += size


@_compiled(fastmath={"reassoc"})
def _tally(recipe, cuts, above, tied):  # type: ignore[no-untyped-def]
    base, tuned, absolute, keys, places = _scratch(recipe, _TALLY_RUN)
    squares = np.empty(keys.size, np.float64)
    small_keys = np.empty(keys.size, np.int32)  # of the changed entries with a small base
    small_zero = np.empty(keys.size, np.bool_)
    num_entries = recipe.base.bits.size
    by_size = (recipe.kind == _RELATIVE or recipe.kind == _ABSOLUTE) and not recipe.flip
    for low in range(0, num_entries, _TALLY_RUN):
        size = min(_TALLY_RUN, num_entries - low)
        _fill(recipe, recipe.kind, low, base[:size], tuned[:size], absolute[:size], keys[:size])
        for i in range(size):
            squares[i] = np.float64(absolute[i]) * np.float64(absolute[i])
        small = places[: _find_small(base[:size], places)]
        num_small = 0
        for i in small:
            small_keys[num_small] = keys[i]
            small_zero[num_small] = base[i] & _MAGNITUDE == 0
            num_small += absolute[i] != 0
        for number in range(cuts.size):
            cut = cuts[number]
            num_above = np.int32(0)
            num_tied = np.int32(0)
            norm = 0.0
            for i in range(size):
                num_above += np.int32(keys[i] > cut)
                num_tied += np.int32(keys[i] == cut)
                norm += squares[i] if keys[i] > cut else 0.0
            num_changed = num_above
            if not (by_size and cut >= 0):  # else all of them are more than 0
                num_changed = np.int32(0)
                for i in range(size):
                    num_changed += np.int32((keys[i] > cut) & (absolute[i] != 0))
            above[number, 0] += num_above
            above[number, 1] += num_changed
            above[number, 2] += norm
            num_above = np.int32(0)
            num_zero = np.int32(0)
            for i in range(num_small):
                num_above += np.int32(small_keys[i] > cut)
                num_zero += np.int32((small_keys[i] > cut) & small_zero[i])
            above[number, 3] += num_above
            above[number, 4] += num_zero
            if num_tied:
                num_changed = np.int32(0)
                norm = 0.0
                for i in range(size):
                    num_changed += np.int32((keys[i] == cut) & (absolute[i] != 0))
                    norm += squares[i] if keys[i] == cut else 0.0
                tied[number, 0] += num_tied
                tied[number, 1] += num_changed
                tied[number, 2] += norm
                for i in range(num_small):
                    tied[number, 3] += small_keys[i] == cut
                    tied[number, 4] += (small_keys[i] == cut) & small_zero[i]


@_compiled()
def _mask(recipe, cut, quota, result):  # type: ignore[no-untyped-def]
    base, tuned, absolute, keys, _ = _scratch(recipe, _RUN)
    num_entries = recipe.base.bits.size
    used = 0
    for low in range(0, num_entries, _RUN):
        size = min(_RUN, num_entries - low)
        _fill(recipe, recipe.kind, low, base[:size], tuned[:size], absolute[:size], keys[:size])
        for i in range(size):
            result[low + i] = keys[i] > cut
        if used < quota:
            for i in range(size):
                if keys[i] == cut and used < quota:
                    result[low + i] = True
                    used += 1
    return used


@_compiled()
def _select(base, tuned, mask, result):  # type: ignore[no-untyped-def]
    for i in range(base.size):
        result[i] = base[i] if mask[i] else tuned[i]
