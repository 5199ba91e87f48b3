"""Methods that undo part of an update: their laws, beside naive references."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sftlens.errors import UserError
from sftlens.weights import interpolate
from sftlens.weights._half_reset import GroupedTensor, half_reset
from sftlens.weights._low_rank import (
    can_be_denoised,
    denoised_update,
    marchenko_pastur_median,
    threshold_coefficient,
)
from sftlens.weights._methods import bits, drop_and_rescale, layer_scale
from sftlens.weights._pruning import (
    breadcrumbs_counts,
    breadcrumbs_mask,
    fapm_score,
    lowest,
)

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
values = arrays(np.float32, 24, elements=finite)
# Few distinct values, so that many are equal.
tied = arrays(np.float32, 24, elements=st.sampled_from([-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 2.0]))
alphas = st.floats(0, 1, width=32)
cuda = pytest.param(
    "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
)


def pair(*shape: int, seed: int = 0, change: float = 0.01) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(shape, generator=generator)
    return base, base + change * torch.randn(shape, generator=generator)


def same_bits(first: torch.Tensor, second: torch.Tensor) -> bool:
    return np.array_equal(bits(first), bits(second))


# Scaling: WiSE-FT and LiNeS


@given(values | tied, alphas)
def test_interpolation_leaves_alone_what_did_not_change(base: np.ndarray, alpha: float) -> None:
    same = torch.from_numpy(base)
    assert same_bits(interpolate(same, same.clone(), alpha), same)


def test_layer_scale_is_a_line_from_the_first_block_to_the_last() -> None:
    scales = [layer_scale(layer, 5, first=0.2) for layer in range(5)]
    assert scales == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert layer_scale(0, 5, first=0) == 0
    assert layer_scale(2, 5, first=0, last=0.5) == 0.25
    assert {layer_scale(layer, 7, first=1) for layer in range(7)} == {1}


def test_layer_scale_ends_exactly_so_that_the_last_block_stays_tuned() -> None:
    for num_layers in range(2, 40):
        for share in range(101):
            first = 1 - share / 100
            assert layer_scale(0, num_layers, first=first) == first
            assert layer_scale(num_layers - 1, num_layers, first=first, last=0.3) == 0.3


def test_layer_scale_outside_of_the_blocks_is_the_first() -> None:
    assert layer_scale(None, 5, first=0.2) == 0.2


def test_layer_scale_of_a_single_block_is_the_last() -> None:
    assert layer_scale(0, 1, first=0.2) == 1


# DARE


def test_dare_gives_the_base_or_the_rescaled_update() -> None:
    base, tuned = pair(30, 40)
    dropped = torch.rand(30, 40, generator=torch.Generator().manual_seed(1)) < 0.6
    result = drop_and_rescale(base, tuned, dropped, 0.6)
    assert same_bits(result[dropped], base[dropped])
    expected = base + (tuned - base) / 0.4
    torch.testing.assert_close(result[~dropped], expected[~dropped])


def test_dare_keeps_the_expected_update() -> None:
    base, tuned = pair(400)
    rate, num_seeds = 0.75, 4000
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(400, dtype=torch.float64)
    for _ in range(num_seeds):
        dropped = torch.rand(400, generator=generator) < rate
        total += drop_and_rescale(base, tuned, dropped, rate).double() - base.double()
    update = tuned.double() - base.double()
    # In units of the deviation that the variance rate / (1 - rate) update^2 gives a mean.
    deviation = update.abs() * math.sqrt(rate / (1 - rate) / num_seeds)
    errors = (total / num_seeds - update) / deviation
    assert errors.abs().max() < 5
    assert 0.9 < errors.square().mean().sqrt() < 1.1


def test_dare_ends_at_either_model_bit_for_bit() -> None:
    tuned, base = pair(100, change=100)
    none, all_of_them = torch.zeros(100, dtype=torch.bool), torch.ones(100, dtype=torch.bool)
    assert same_bits(drop_and_rescale(base, tuned, none, 0), tuned)
    assert same_bits(drop_and_rescale(base, tuned, all_of_them, 1), base)


@given(values, alphas, st.randoms(use_true_random=False))
def test_dare_leaves_alone_what_did_not_change(
    base: np.ndarray, rate: float, generator: random.Random
) -> None:
    same = torch.from_numpy(base)
    dropped = torch.tensor([generator.random() < rate for _ in base])
    assert same_bits(drop_and_rescale(same, same.clone(), dropped, rate), same)


# Pruning: TIES, Breadcrumbs, FAPM


def naive_lowest(scores: list[float], count: int) -> list[bool]:
    first = sorted(range(len(scores)), key=lambda position: (scores[position], position))[:count]
    return [position in first for position in range(len(scores))]


@given(tied | values, st.integers(0, 24))
def test_lowest_is_the_start_of_a_stable_sort(score: np.ndarray, count: int) -> None:
    mask = lowest(torch.from_numpy(score).reshape(4, 6), count)
    assert mask.shape == (4, 6)
    assert mask.flatten().tolist() == naive_lowest(score.tolist(), count)


def naive_breadcrumbs(update: list[float], smallest: int, largest: int) -> list[bool]:
    by_size = sorted(range(len(update)), key=lambda place: (-abs(update[place]), place))
    rest = sorted(by_size[largest:], key=lambda place: (abs(update[place]), place))
    given_back = {*by_size[:largest], *rest[:smallest]}
    return [place in given_back for place in range(len(update))]


@given(tied | values, st.integers(0, 100), st.integers(0, 100))
def test_breadcrumbs_give_back_both_ends(update: np.ndarray, share: int, largest: int) -> None:
    counts = breadcrumbs_counts(24, share, largest=largest)
    mask = breadcrumbs_mask(torch.from_numpy(update), counts)
    assert mask.sum() == sum(counts) == 24 * share // 100
    assert mask.tolist() == naive_breadcrumbs(update.tolist(), *counts)


def test_breadcrumbs_counts_are_of_the_whole_share() -> None:
    assert breadcrumbs_counts(1000, 85, largest=1) == (840, 10)
    assert breadcrumbs_counts(1000, 0.5, largest=1) == (0, 5)
    assert breadcrumbs_counts(50, 20, largest=1) == (10, 0)


def naive_fapm(base: float, tuned: float, mean: float) -> float:
    change = np.float32(abs(np.float32(tuned) - np.float32(base)))
    if change == 0:
        return 0.0
    if mean == 0:
        return float(change)
    if base == 0:
        return -math.inf
    return float(change - np.float32(mean) * (change / np.float32(abs(base))))


@given(tied | values, tied | values)
def test_fapm_scores_by_the_formula(base: np.ndarray, tuned: np.ndarray) -> None:
    # Halves, so that no difference overflows.
    base, tuned = base / 2, tuned / 2
    mean = float(np.float32(np.abs(base.astype(np.float64)).mean()))
    with np.errstate(over="ignore"):
        naive = [naive_fapm(b, t, mean) for b, t in zip(base.tolist(), tuned.tolist(), strict=True)]
    score = fapm_score(torch.from_numpy(base), torch.from_numpy(tuned), mean)
    assert score.dtype == torch.float32
    assert score.tolist() == naive


def test_fapm_gives_back_large_changes_of_small_weights_first() -> None:
    base = torch.tensor([0.0, 0.1, 0.1, 1.0, 2.0, 2.0, 0.0])
    tuned = base + torch.tensor([0.5, 0.2, 0.1, 0.0, 0.1, 0.2, 0.0])
    score = fapm_score(base, tuned, float(base.abs().mean()))
    assert score.argsort(stable=True).tolist() == [0, 1, 2, 3, 6, 4, 5]
    assert score[0] == -math.inf
    assert score[3] == score[6] == 0


def test_fapm_in_a_matrix_of_zeros_is_the_change() -> None:
    tuned = torch.tensor([[0.5, -0.25], [0.0, 0.125]])
    assert fapm_score(torch.zeros(2, 2), tuned, 0.0).tolist() == tuned.abs().tolist()


# DG-Hard


def marchenko_pastur_share_below(value: float, aspect: float) -> float:
    """The distribution function, as its integral is known."""
    root = math.sqrt(aspect)
    angle = math.acos((1 + aspect - value) / (2 * root))
    total = (1 + aspect) * angle + 2 * root * math.sin(angle)
    if aspect < 1:
        total -= 2 * (1 - aspect) * math.atan((1 + root) / (1 - root) * math.tan(angle / 2))
    return total / (2 * math.pi * aspect)


@pytest.mark.parametrize("aspect", [0.001, 0.01, 0.1, 0.3636, 0.5, 0.9, 0.999, 1.0])
def test_half_of_the_marchenko_pastur_distribution_lies_below_its_median(aspect: float) -> None:
    median = marchenko_pastur_median(aspect)
    assert marchenko_pastur_share_below(median, aspect) == pytest.approx(0.5, abs=1e-9)


def test_threshold_coefficients_are_the_published_ones() -> None:
    # Gavish and Donoho 2014: 2.858 for a square matrix, and a cubic that is within 0.02 of it.
    assert threshold_coefficient(1.0) == pytest.approx(2.858, abs=5e-4)
    assert threshold_coefficient(1.0) * math.sqrt(marchenko_pastur_median(1.0)) == pytest.approx(
        4 / math.sqrt(3), rel=1e-12
    )
    for b in np.linspace(0.05, 1, 20):
        cubic = 0.56 * b**3 - 0.95 * b**2 + 1.82 * b + 1.43
        assert threshold_coefficient(float(b)) == pytest.approx(cubic, abs=0.02)


def planted(m: int, n: int, rank: int, strength: float, seed: int) -> tuple[torch.Tensor, ...]:
    """A signal of that rank, and noise whose largest singular value is about sqrt(m) + sqrt(n)."""
    generator = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(m, rank, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(n, rank, generator=generator))
    signal = strength * (math.sqrt(m) + math.sqrt(n)) * left @ right.T
    return signal, torch.randn(m, n, generator=generator)


@pytest.mark.parametrize(("m", "n"), [(96, 96), (64, 200), (200, 64)])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_denoising_finds_a_planted_signal(m: int, n: int, scale: float) -> None:
    for seed in range(5):
        signal, noise = planted(m, n, rank=4, strength=3, seed=seed)
        result = denoised_update(scale * (signal + noise))
        assert result.ranks == [4]
        assert result.update.shape == (m, n)
        assert result.update.dtype == torch.float32
        error = (result.update / scale - signal).norm()
        assert error < 0.5 * noise.norm()


@pytest.mark.parametrize(("m", "n"), [(150, 150), (100, 400)])
def test_denoising_removes_pure_noise(m: int, n: int) -> None:
    for seed in range(10):
        noise = torch.randn(m, n, generator=torch.Generator().manual_seed(seed))
        result = denoised_update(noise)
        assert result.ranks == [0]
        assert not result.update.any()


@pytest.mark.parametrize(("m", "n"), [(64, 65), (100, 40), (80, 80)])
def test_denoising_is_the_thresholded_singular_value_decomposition(m: int, n: int) -> None:
    signal, noise = planted(m, n, rank=3, strength=2, seed=7)
    update = signal + noise
    left, singular, right = torch.linalg.svd(update.double(), full_matrices=False)
    threshold = threshold_coefficient(min(m, n) / max(m, n)) * np.median(singular.numpy())
    kept = torch.where(singular > threshold, singular, 0)
    result = denoised_update(update)
    assert result.ranks == [int((kept > 0).sum())] != [0]
    assert result.thresholds == pytest.approx([threshold])
    expected = (left * kept @ right).float()
    torch.testing.assert_close(result.update, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("m", "n"), [(64, 80), (64, 64)])
def test_denoising_the_transpose_gives_the_transpose(m: int, n: int) -> None:
    signal, noise = planted(m, n, rank=3, strength=2, seed=1)
    update = signal + noise
    there, back = denoised_update(update), denoised_update(update.T)
    assert there.ranks == back.ranks
    torch.testing.assert_close(there.update.T, back.update, rtol=0, atol=1e-5)


def test_denoising_goes_over_columns_in_parts() -> None:
    signal, noise = planted(20, 9000, rank=2, strength=3, seed=2)
    update = signal + noise
    singular = torch.linalg.svdvals(update.double())
    result = denoised_update(update)
    expected = threshold_coefficient(20 / 9000) * np.median(singular.numpy())
    assert result.thresholds == pytest.approx([expected])
    assert result.ranks == [2]


def test_denoising_keeps_an_update_of_low_rank_without_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    factors = torch.randn(80, 6, generator=generator), torch.randn(6, 120, generator=generator)
    update = factors[0] @ factors[1]
    result = denoised_update(update)
    assert result.ranks == [6]
    torch.testing.assert_close(result.update, update, rtol=0, atol=1e-4)


def test_denoising_removes_half_of_the_directions_or_more() -> None:
    update = torch.diag(torch.logspace(0, -6, 40))
    assert denoised_update(update).ranks[0] <= 20
    assert denoised_update(torch.eye(40)).ranks == [0]


def test_denoising_takes_each_expert_by_itself() -> None:
    one = sum(planted(40, 60, rank=2, strength=3, seed=3))
    other = 1e-3 * sum(planted(40, 60, rank=5, strength=3, seed=4))
    packed = torch.stack([one, torch.zeros(40, 60), other])
    result = denoised_update(packed)
    assert result.ranks == [2, 0, 5]
    for matrix, denoised in zip(packed, result.update, strict=True):
        assert torch.equal(denoised_update(matrix).update, denoised)


def test_denoising_leaves_its_input_alone() -> None:
    update = torch.randn(40, 50, generator=torch.Generator().manual_seed(0))
    before = update.clone()
    denoised_update(update)
    assert torch.equal(update, before)


def test_denoising_refuses_what_has_no_singular_values() -> None:
    for bad in (math.nan, math.inf):
        update = torch.randn(40, 40)
        update[3, 4] = bad
        with pytest.raises(UserError, match="NaN or infinite"):
            denoised_update(update)


def test_vectors_and_small_matrices_are_not_denoised() -> None:
    assert can_be_denoised((32, 32))
    assert can_be_denoised((8, 64, 32))
    assert not can_be_denoised((4096,))
    assert not can_be_denoised((31, 33))
    assert not can_be_denoised((4096, 1, 4))


# Half reset


def llama(num_layers: int) -> list[GroupedTensor]:
    """The tensors of a Llama."""
    parts = {
        "self_attn": ["q_proj", "k_proj", "v_proj", "o_proj"],
        "mlp": ["gate_proj", "up_proj", "down_proj"],
        "norm": ["input_layernorm", "post_attention_layernorm"],
    }
    tensors = [
        GroupedTensor(f"model.layers.{layer}.{group}.{part}.weight", layer, group)
        for layer in range(num_layers)
        for group, names in parts.items()
        for part in names
    ]
    outside = ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"]
    return tensors + [GroupedTensor(name, None, "outside") for name in outside]


def counts_by_layer(
    tensors: list[GroupedTensor], chosen: frozenset[str], group: str
) -> dict[int, int]:
    layers = {tensor.layer for tensor in tensors if tensor.layer is not None}
    return {
        layer: sum(t.name in chosen for t in tensors if (t.layer, t.group) == (layer, group))
        for layer in layers
    }


@pytest.mark.parametrize("seed", range(5))
def test_half_reset_takes_half_of_each_group_of_each_block(seed: int) -> None:
    tensors = llama(6)
    chosen = half_reset(tensors, seed=seed)
    assert set(counts_by_layer(tensors, chosen, "self_attn").values()) == {2}
    assert set(counts_by_layer(tensors, chosen, "norm").values()) == {1}
    assert sorted(counts_by_layer(tensors, chosen, "mlp").values()) == [1, 1, 1, 2, 2, 2]
    assert len(chosen) == 6 * 2 + 6 * 1 + 9


def test_half_reset_depends_on_names_and_seed_alone() -> None:
    tensors = llama(6)
    assert half_reset(tensors, seed=3) == half_reset(reversed(tensors), seed=3)
    assert len({half_reset(tensors, seed=seed) for seed in range(20)}) == 20


def test_half_reset_takes_every_matrix_equally_often() -> None:
    tensors = llama(4)
    inside = [tensor.name for tensor in tensors if tensor.layer is not None]
    num_seeds = 600
    chosen = [half_reset(tensors, seed=seed) for seed in range(num_seeds)]
    for name in inside:
        share = sum(name in names for names in chosen) / num_seeds
        assert abs(share - 0.5) < 5 * math.sqrt(0.25 / num_seeds)


@given(st.integers(1, 9), st.integers(0, 100), st.integers(0, 100), st.integers(0, 5))
def test_half_reset_by_share(num_layers: int, share: int, other: int, seed: int) -> None:
    tensors = llama(num_layers)
    chosen = half_reset(tensors, seed=seed, share=share)
    for group, size in (("self_attn", 4), ("mlp", 3), ("norm", 2)):
        counts = counts_by_layer(tensors, chosen, group).values()
        assert sum(counts) == size * num_layers * share // 100
        assert max(counts) - min(counts) <= 1
    smaller, larger = sorted((share, other))
    assert half_reset(tensors, seed=seed, share=smaller) <= half_reset(
        tensors, seed=seed, share=larger
    )


def test_half_reset_takes_all_of_the_blocks_and_nothing_else() -> None:
    tensors = llama(3)
    inside = {tensor.name for tensor in tensors if tensor.layer is not None}
    assert half_reset(tensors, seed=0, share=100) == inside
    assert half_reset(tensors, seed=0, share=0) == frozenset()


def test_half_reset_takes_a_weight_and_its_bias_together() -> None:
    tensors = [
        GroupedTensor(f"h.{layer}.{part}{end}", layer, "attn")
        for layer in range(4)
        for part in ("attn.c_attn", "attn.c_proj")
        for end in (".weight", ".bias")
    ]
    tensors += [
        GroupedTensor(f"h.{layer}.mlp.experts.{part}{end}", layer, "mlp")
        for layer in range(4)
        for part in ("gate_up_proj", "down_proj")
        for end in ("", "_bias")
    ]
    for seed in range(10):
        chosen = half_reset(tensors, seed=seed)
        assert len(chosen) == len(tensors) / 2
        for first, second in zip(tensors[::2], tensors[1::2], strict=True):
            assert (first.name in chosen) == (second.name in chosen)


# Shapes, types, devices


@pytest.mark.parametrize("device", ["cpu", cuda])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (5, 6), (2, 3, 4)])
def test_shape_type_and_device_are_kept(device: str, shape: tuple[int, ...]) -> None:
    base, tuned = (tensor.to(device) for tensor in pair(*shape))
    dropped = torch.zeros(shape, dtype=torch.bool, device=device)
    counts = breadcrumbs_counts(base.numel(), 50, largest=20)
    floats = [
        drop_and_rescale(base, tuned, dropped, 0.5),
        fapm_score(base, tuned, 0.5),
    ]
    masks = [
        lowest(base, base.numel() // 2),
        breadcrumbs_mask(tuned - base, counts),
    ]
    for results, dtype in ((floats, torch.float32), (masks, torch.bool)):
        for result in results:
            assert result.shape == shape
            assert result.dtype == dtype
            assert result.device == base.device


@pytest.mark.parametrize("device", [cuda])
def test_devices_agree(device: str) -> None:
    base, tuned = pair(48, 64)
    there = base.to(device), tuned.to(device)
    mean = float(base.abs().mean())
    torch.testing.assert_close(fapm_score(*there, mean).cpu(), fapm_score(base, tuned, mean))
    signal, noise = planted(64, 96, rank=4, strength=3, seed=0)
    here, away = denoised_update(signal + noise), denoised_update((signal + noise).to(device))
    assert here.ranks == away.ranks
    torch.testing.assert_close(away.update.cpu(), here.update, rtol=0, atol=1e-4)
