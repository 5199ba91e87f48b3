"""Changes and the keys that rank them."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sftlens.weights import absolute_change, interpolate, relative_change, restore
from sftlens.weights._change import change_of
from sftlens.weights._kernels import NumpyKernels
from sftlens.weights._keys import Criterion, float_keys, key_values

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
values = arrays(np.float32, 16, elements=finite)


def test_relative_change_by_hand() -> None:
    # Paper section 6: r = |s - p| / (|p| + 1e-8).
    base = torch.tensor([2.0, -0.5, 0.0, 1.0, 1e-8])
    tuned = torch.tensor([1.0, -0.625, 0.5, 1.0, 3e-8])
    expected = torch.tensor([0.5, 0.25, 0.5e8, 0.0, 1.0])
    torch.testing.assert_close(relative_change(base, tuned), expected)
    assert absolute_change(base, tuned).tolist()[:4] == [1.0, 0.125, 0.5, 0.0]


def test_changes_are_computed_in_float32_from_any_storage() -> None:
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        base = torch.randn(4, 5, generator=generator).to(dtype)
        tuned = base + torch.randn(4, 5, generator=generator).to(dtype) / 100
        naive = (tuned.float() - base.float()).abs() / (base.float().abs() + 1e-8)
        assert torch.equal(relative_change(base, tuned), naive)
        assert relative_change(base, tuned).dtype == torch.float32


@given(values, values)
def test_keys_order_as_the_values_do(first: np.ndarray, second: np.ndarray) -> None:
    first, second = first + np.float32(0), second + np.float32(0)  # no zero is negative
    assert np.array_equal(float_keys(first) > float_keys(second), first > second)
    assert np.array_equal(key_values(float_keys(first)), first)


def test_random_keys_depend_on_seed_name_and_position_alone() -> None:
    change = change_of(torch.zeros(100), torch.ones(100))
    part = change_of(torch.zeros(60), torch.ones(60))

    def keys(piece, name="w", start=0, seed=0):
        return NumpyKernels().keys(Criterion("random", seed=seed), piece, name, start)

    assert np.array_equal(keys(change)[40:], keys(part, start=40))
    assert not np.array_equal(keys(change), keys(change, seed=1))
    assert not np.array_equal(keys(change), keys(change, name="v"))
    assert (keys(change) >= 0).all()


def test_random_keys_are_spread_evenly() -> None:
    change = change_of(torch.zeros(200_000), torch.zeros(200_000))
    keys = NumpyKernels().keys(Criterion("random"), change, "w", 0)
    counts = np.bincount(keys >> 27, minlength=16)
    assert counts.min() > 0.95 * 12_500
    assert counts.max() < 1.05 * 12_500


@given(values, values, arrays(np.bool_, 16))
def test_restore_gives_the_stored_bits(
    base: np.ndarray, tuned: np.ndarray, mask: np.ndarray
) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        before, after = torch.from_numpy(base).to(dtype), torch.from_numpy(tuned).to(dtype)
        restored = restore(before, after, torch.from_numpy(mask))
        expected = torch.where(torch.from_numpy(mask), before, after)
        assert torch.equal(restored.view(torch.uint8), expected.view(torch.uint8))


def test_restore_casts_to_the_storage_of_the_tuned_model() -> None:
    base, tuned = torch.tensor([1.0001, 2.0]), torch.tensor([3.0, 4.0], dtype=torch.bfloat16)
    restored = restore(base, tuned, torch.tensor([True, False]))
    assert restored.dtype == torch.bfloat16
    assert restored.tolist() == [base[0].bfloat16().item(), 4.0]


@given(values, values)
def test_interpolation_ends_at_its_ends(base: np.ndarray, tuned: np.ndarray) -> None:
    before, after = torch.from_numpy(base), torch.from_numpy(tuned)
    for dtype in (torch.float32, torch.bfloat16):
        low, high = before.to(dtype), after.to(dtype)
        assert torch.equal(interpolate(low, high, 0).view(torch.uint8), low.view(torch.uint8))
        assert torch.equal(interpolate(low, high, 1).view(torch.uint8), high.view(torch.uint8))


def test_interpolation_casts_once() -> None:
    base, tuned = torch.tensor([1.0]).bfloat16(), torch.tensor([1.0078125]).bfloat16()
    # Halfway lies between two neighbours in bfloat16, and is rounded to the even one.
    assert interpolate(base, tuned, 0.5).item() == 1.0
    assert interpolate(base.float(), tuned.float(), 0.5).item() == 1.00390625
