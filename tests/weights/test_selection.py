"""The exact total order, against a full sort."""

from __future__ import annotations

import itertools
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import (
    naive_order,
    naive_restoration,
    read_tensors,
    restored_tensors,
    same_bits,
    write_copy,
)

from sftlens.errors import UserError
from sftlens.weights import (
    CheckpointPair,
    Interpolation,
    Restored,
    Selection,
    open_pair,
    select,
)
from sftlens.weights._kernels import NumpyKernels
from sftlens.weights._radix import KeyCounts, no_upper
from sftlens.weights._selection import Marker
from sftlens.weights._shares import num_of_share, share_label

SHARES = (0, 0.1, 1, 20, 33.3, 60, 99.9, 100)


def masks(pair: CheckpointPair, selection: Selection, size: int = 100) -> dict[str, np.ndarray]:
    return {
        name: np.concatenate([mask for _, mask in selection.masks(pair, name, size)])
        for name in selection.tensors
    }


@pytest.mark.parametrize("ranking", ["relative", "absolute", "small-base"])
@pytest.mark.parametrize("order", ["top", "bottom"])
@pytest.mark.parametrize("pair_name", ["pair", "pair16"])
def test_selection_is_that_of_a_full_sort(
    ranking: str, order: str, pair_name: str, request: pytest.FixtureRequest
) -> None:
    pair = request.getfixturevalue(pair_name)
    base, tuned = read_tensors(pair.base.folder), read_tensors(pair.tuned.folder)
    names = [tensor.name for tensor in pair.region("blocks")]
    expected = naive_order(base, tuned, names, ranking, bottom=order == "bottom")
    update = {n: (tuned[n].double() - base[n].double()).flatten().numpy() for n in names}
    norm = sum((u**2).sum() for u in update.values())
    for selection in select(pair, shares=SHARES, ranking=ranking, order=order, piece_size=77):
        num_restored = len(expected) * Fraction(str(selection.share)) // 100
        assert selection.num_restored == num_restored
        chosen = expected[:num_restored]
        found = masks(pair, selection)
        assert {(n, int(i)) for n in names for i in np.flatnonzero(found[n])} == set(chosen)
        changes = np.array([update[name][flat] for name, flat in chosen])
        assert selection.num_restored_changed == np.count_nonzero(changes)
        assert selection.norm_removed == pytest.approx((changes**2).sum() / norm, rel=1e-6)
        assert selection.num_changed == sum(np.count_nonzero(u) for u in update.values())
        assert selection.num_parameters == len(expected)
        for name, counts in selection.tensors.items():
            assert counts.num_restored == found[name].sum()
            assert counts.num_changed == np.count_nonzero(update[name])
            assert counts.num_parameters == len(update[name])


@pytest.mark.parametrize("ranking", ["relative", "absolute", "random", "small-base"])
def test_shares_are_nested(pair16: CheckpointPair, ranking: str) -> None:
    selections = [masks(pair16, s) for s in select(pair16, shares=SHARES, ranking=ranking)]
    for smaller, larger in itertools.pairwise(selections):
        for name in smaller:
            assert not (smaller[name] & ~larger[name]).any()


@pytest.mark.parametrize("ranking", ["relative", "random"])
def test_pieces_and_company_of_shares_do_not_matter(pair16: CheckpointPair, ranking: str) -> None:
    together = select(pair16, shares=SHARES, ranking=ranking, piece_size=10_000)
    for share, among in zip(SHARES, together, strict=True):
        [alone] = select(pair16, shares=[share], ranking=ranking, piece_size=13)
        assert alone.cut == among.cut
        assert alone.tensors == among.tensors
        first, second = masks(pair16, alone, 7), masks(pair16, among, 1000)
        assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("ranking", ["relative", "absolute", "random", "small-base"])
def test_sharding_and_storage_type_do_not_matter(
    tmp_path: Path, base16: Path, tuned16: Path, pair16: CheckpointPair, ranking: str
) -> None:
    def widened(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.float() for name, tensor in tensors.items()}

    base = write_copy(base16, tmp_path / "base", widened, num_shards=4)
    tuned = write_copy(tuned16, tmp_path / "tuned", widened)
    other = open_pair(base, tuned)
    mixed = open_pair(base, tuned16)
    expected = select(pair16, shares=SHARES, ranking=ranking)
    for pair in (other, mixed):
        for found, wanted in zip(
            select(pair, shares=SHARES, ranking=ranking), expected, strict=True
        ):
            assert found == wanted


def test_seed_changes_the_random_choice_only(pair: CheckpointPair) -> None:
    def chosen(ranking: str, seed: int) -> dict[str, np.ndarray]:
        return masks(pair, select(pair, shares=[20], ranking=ranking, seed=seed)[0])

    for ranking in ("random", "relative"):
        first, second = chosen(ranking, 0), chosen(ranking, 1)
        differ = any(not np.array_equal(first[name], second[name]) for name in first)
        assert differ == (ranking == "random")


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.sampled_from([0.0, 1e-45, 1.0, 1.0000001, 1.5, 1.0078125, 3e38, float("inf")]),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 60),
    st.data(),
)
def test_cuts_of_tied_floats(values: list[float], size: int, data: st.DataObject) -> None:
    rank = data.draw(st.integers(0, len(values)))
    keys = np.array(values, dtype=np.float32).view(np.int32)
    pieces = [keys[start : start + size] for start in range(0, len(keys), size)]
    kernels, upper = NumpyKernels(), no_upper()
    for piece in pieces:
        kernels.count_upper(piece, upper)
    counts = KeyCounts(upper, [rank, len(values)])
    lower = np.zeros_like(counts.lower)
    for piece in pieces:
        kernels.count_lower(piece, counts.slots, lower)
    lower[:, 0] = data.draw(st.sampled_from([lower[:, 0], 0]))  # may be left out
    counts.add_lower([lower])
    cut = counts.cut(rank)
    marker = Marker(cut.key, cut.quota)
    mask = np.concatenate([marker.mask(kernels, piece) for piece in pieces])
    expected = sorted(range(len(values)), key=lambda place: (-int(keys[place]), place))[:rank]
    assert set(np.flatnonzero(mask)) == set(expected)
    assert cut.num_above + cut.quota == rank


@given(st.integers(0, 10**12), st.decimals(0, 100, places=4))
def test_shares_are_counted_exactly(num_parameters: int, share: Decimal) -> None:
    expected = int(num_parameters * share.as_integer_ratio()[0]) // (
        100 * share.as_integer_ratio()[1]
    )
    assert num_of_share(float(share), num_parameters) == expected


def test_shares_that_floats_miss() -> None:
    assert num_of_share(0.1, 1000) == 1
    assert num_of_share(0.3, 1000) == 3
    assert num_of_share(33.3, 1000) == 333
    assert num_of_share(57.9, 1000) == 579
    assert num_of_share(20, 10**18 + 1) == 2 * 10**17
    assert [share_label(s) for s in (20, 20.0, 0.1, 1e-7, 100, 0)] == [
        *("20", "20", "0.1", "0.0000001", "100", "0")
    ]


@pytest.mark.parametrize("shares", [[], [-1], [100.1], [float("nan")], [20, 20.0]])
def test_shares_that_are_none(pair: CheckpointPair, shares: list[float]) -> None:
    with pytest.raises(UserError, match="share"):
        select(pair, shares=shares)


@pytest.mark.parametrize("wrong", [{"ranking": "size"}, {"order": "side"}, {"region": "heads"}])
def test_words_that_are_unknown(pair: CheckpointPair, wrong: dict[str, str]) -> None:
    [(called, word)] = wrong.items()
    with pytest.raises(UserError, match=f"{called} '{word}'"):
        select(pair, shares=[20], **wrong)


def test_a_share_beyond_the_changed_is_told(pair16: CheckpointPair) -> None:
    few, many = select(pair16, shares=[1, 99])
    assert few.warning is None
    assert "changed only" in many.warning
    assert many.num_restored_changed == many.num_changed
    assert many.norm_removed == 1


def test_equal_checkpoints_have_nothing_to_restore(base: Path) -> None:
    [selection] = select(open_pair(base, base), shares=[20])
    assert selection.num_changed == 0
    assert selection.norm_removed == 0
    assert selection.num_ties == selection.num_parameters
    for name, tensor in restored_tensors(open_pair(base, base), Restored(selection)):
        assert same_bits(tensor, read_tensors(base)[name])


@pytest.mark.parametrize("ranking", ["relative", "absolute"])
@pytest.mark.parametrize("pair_name", ["pair", "pair16"])
def test_restored_tensors_against_the_naive(
    ranking: str, pair_name: str, request: pytest.FixtureRequest
) -> None:
    pair = request.getfixturevalue(pair_name)
    base, tuned = read_tensors(pair.base.folder), read_tensors(pair.tuned.folder)
    names = [tensor.name for tensor in pair.region("blocks")]
    for selection in select(pair, shares=[1, 20, 75], ranking=ranking):
        expected = naive_restoration(base, tuned, names, ranking, selection.num_restored)
        found = dict(restored_tensors(pair, Restored(selection)))
        assert set(found) <= set(names)
        for name in names:
            assert same_bits(found.get(name, tuned[name]), expected[name])


def test_any_restoration_of_a_region_follows_any_other(pair: CheckpointPair) -> None:
    resident = read_tensors(pair.tuned.folder)
    few, many = select(pair, shares=[10, 90])
    random = select(pair, shares=[40], ranking="random")[0]
    moved = Interpolation(alpha=0.3)
    for method in (Restored(many), Restored(random), moved, Restored(few)):
        for name, tensor in restored_tensors(pair, method):
            resident[name].copy_(tensor)
    expected = {**read_tensors(pair.tuned.folder), **dict(restored_tensors(pair, Restored(few)))}
    assert all(same_bits(resident[name], expected[name]) for name in resident)


def test_interpolation_needs_a_fraction() -> None:
    with pytest.raises(UserError, match="alpha"):
        Interpolation(alpha=1.2)
