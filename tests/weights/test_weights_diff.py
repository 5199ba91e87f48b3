"""Concentration, its null, and the table of tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import read_tensors, write_copy

from sftlens.weights import PAPER_SHARES, CheckpointPair, diff, open_pair
from sftlens.weights._concentration import held as held_by
from sftlens.weights._concentration import total
from sftlens.weights._kernels import NumpyKernels
from sftlens.weights._radix import KeyCounts, no_upper


def held(values: np.ndarray, ranks: list[int], size: int) -> list[float | None]:
    keys = values.view(np.int32)
    pieces = [keys[start : start + size] for start in range(0, len(keys), size)]
    kernels, upper = NumpyKernels(), no_upper()
    for piece in pieces:
        kernels.count_upper(piece, upper)
    counts = KeyCounts(upper, ranks)
    lower = np.zeros_like(counts.lower)
    for piece in pieces:
        kernels.count_lower(piece, counts.slots, lower)
    counts.add_lower([lower])
    assert total(upper) == pytest.approx(values.sum(dtype=np.float64), rel=1e-12)
    return [held_by(counts, rank) for rank in ranks]


def test_concentration_by_hand() -> None:
    values = np.array([1, 4, 0, 2, 2, 1], dtype=np.float32)
    assert held(values, [0, 1, 2, 3, 6], 4) == [0, 0.4, 0.6, 0.8, 1]
    assert held(np.zeros(3, dtype=np.float32), [0, 1, 3], 2) == [None, None, None]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.sampled_from([0.0, 1e-45, 1e-8, 0.25, 1.0, 1.0000001, 7.5, 1e20]), min_size=1),
    st.integers(1, 50),
)
def test_concentration_against_a_sort(values: list[float], size: int) -> None:
    array = np.array(values, dtype=np.float32)
    ordered = np.sort(array.astype(np.float64))[::-1]
    ranks = list(range(len(values) + 1))
    found = held(array, ranks, size)
    if ordered.sum() == 0:
        assert found == [None] * len(ranks)
    else:
        expected = [ordered[:rank].sum() / ordered.sum() for rank in ranks]
        assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("pair_name", ["pair", "pair16"])
def test_diff_against_the_naive(pair_name: str, request: pytest.FixtureRequest) -> None:
    pair: CheckpointPair = request.getfixturevalue(pair_name)
    base, tuned = read_tensors(pair.base.folder), read_tensors(pair.tuned.folder)
    names = [tensor.name for tensor in pair.region("blocks")]
    before = {n: base[n].float().flatten().numpy() for n in names}
    absolute = {n: np.abs(tuned[n].float().flatten().numpy() - before[n]) for n in names}
    relative = {n: absolute[n] / (np.abs(before[n]) + np.float32(1e-8)) for n in names}
    found = diff(pair)
    for measure, values in (("relative", relative), ("absolute", absolute)):
        ordered = np.sort(np.concatenate(list(values.values())).astype(np.float64))[::-1]
        for share in PAPER_SHARES:
            expected = ordered[: len(ordered) * share // 100].sum() / ordered.sum()
            assert found.concentration[measure][str(share)] == pytest.approx(expected, rel=1e-9)
    assert found.num_parameters == sum(len(values) for values in before.values())
    assert found.num_changed == sum(np.count_nonzero(values) for values in absolute.values())
    rows = {row["name"]: row for row in found.tensors.iter_rows(named=True)}
    assert list(rows) == names
    for name, row in rows.items():
        assert row["num_parameters"] == len(before[name])
        assert row["num_changed"] == np.count_nonzero(absolute[name])
        assert row["sum_relative"] == pytest.approx(relative[name].sum(dtype=np.float64))
        assert row["sum_absolute"] == pytest.approx(absolute[name].sum(dtype=np.float64))


def test_the_table_says_where_the_restored_lie(pair: CheckpointPair) -> None:
    shares = (0.1, 20, 60)
    found = diff(pair, shares=shares, region="all")
    assert found.tensors.columns == [
        *("name", "layer", "module", "region", "num_parameters", "num_changed"),
        *("sum_relative", "sum_absolute"),
        *("num_restored_0.1", "num_top_0.1", "num_restored_20", "num_top_20"),
        *("num_restored_60", "num_top_60"),
    ]
    assert found.tensors.schema["layer"] == pl.Int64
    num_parameters = pair.num_parameters("all")
    assert found.tensors["num_parameters"].sum() == num_parameters
    for share, per_mille in zip(("0.1", "20", "60"), (1, 200, 600), strict=True):
        restored = found.tensors[f"num_restored_{share}"].sum()
        assert restored == num_parameters * per_mille // 1000
    by_name = {row["name"]: row for row in found.tensors.iter_rows(named=True)}
    row = by_name["model.layers.1.mlp.down_proj.weight"]
    assert (row["layer"], row["module"], row["region"]) == (1, "mlp.down_proj", "block")
    assert by_name["lm_head.weight"]["region"] == "head"
    assert by_name["model.norm.weight"]["layer"] is None


def test_the_null_tells_a_change_that_follows_the_weights(tmp_path: Path, base: Path) -> None:
    """Proportional change has no concentration by relative change; its shuffle has much."""

    def proportional(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor * 1.01 for name, tensor in tensors.items()}

    pair = open_pair(base, write_copy(base, tmp_path / "scaled", proportional))
    concentration = diff(pair, shares=[10]).concentration
    assert concentration["relative"]["10"] < 0.12
    assert concentration["null"]["10"] > 0.4


def test_the_null_of_independent_change_is_the_change_itself(pair: CheckpointPair) -> None:
    concentration = diff(pair, shares=[10, 40]).concentration
    for share in ("10", "40"):
        null = concentration["null"][share]
        assert concentration["relative"][share] == pytest.approx(null, abs=0.1)


def test_the_null_is_seeded(pair: CheckpointPair) -> None:
    first, again, other = (diff(pair, shares=[5], seed=seed) for seed in (0, 0, 1))
    assert first.concentration == again.concentration
    assert first.concentration["null"] != other.concentration["null"]
    assert first.concentration["relative"] == other.concentration["relative"]


def test_equal_checkpoints_have_no_concentration(base: Path) -> None:
    found = diff(open_pair(base, base), shares=[5])
    assert found.num_changed == 0
    assert found.concentration == {m: {"5": None} for m in ("relative", "absolute", "null")}
    assert found.tensors["num_restored_5"].sum() == found.num_parameters * 5 // 100
