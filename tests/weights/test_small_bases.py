"""Bases of 0 and near it, which carry a relative change by themselves, and ties at the cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import save_model, write_copy

from real_blocks import write_real_blocks
from sftlens.weights import (
    CheckpointPair,
    Request,
    diff,
    open_pair,
    preview_restoration,
    run_diff,
    run_preview,
    run_restore,
    select,
)

Tensors = dict[str, torch.Tensor]


def blocks(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Tensors], Tensors]:
    """Change the matrices of the blocks, each by draws of its own."""

    def changed(tensors: Tensors) -> Tensors:
        torch.manual_seed(0)
        inside = [n for n in sorted(tensors) if ".layers." in n and tensors[n].ndim == 2]
        return tensors | {n: change(tensors[n]) for n in inside}

    return changed


def sometimes_zero(weight: torch.Tensor) -> torch.Tensor:
    return weight.masked_fill(torch.rand(weight.shape) < 0.01, 0.0)


def nudged(weight: torch.Tensor) -> torch.Tensor:
    return weight + 1e-5 * torch.randn(weight.shape).sign()


@pytest.fixture(scope="module")
def zeros(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base with 1 % of zeros, and a tuned model in which every weight moved by the same 1e-5."""
    folder = tmp_path_factory.mktemp("zeros")
    model = save_model(folder / "model", "llama", num_hidden_layers=4)
    base = write_copy(model, folder / "base", blocks(sometimes_zero))
    return base, write_copy(base, folder / "tuned", blocks(nudged))


@pytest.fixture(scope="module")
def zero_pair(zeros: tuple[Path, Path]) -> CheckpointPair:
    return open_pair(*zeros)


def test_zeros_are_counted_and_left_out(zero_pair: CheckpointPair) -> None:
    found = diff(zero_pair, shares=[0.1, 5])
    bases = np.concatenate(
        [
            piece.base.abs().numpy()
            for t in zero_pair.region("blocks")
            for piece in zero_pair.pieces(t)
        ]
    )
    assert found.num_zero_base == np.count_nonzero(bases == 0) > 20
    assert found.num_small_base == np.count_nonzero(bases < 1e-4) > found.num_zero_base
    assert found.concentration["relative"]["5"] > 0.99
    assert found.concentration_without_small_base["relative"]["5"] < 0.8
    few, many = found.top.values()
    assert few.num_zero == few.num_small == few.num_changed == found.num_parameters // 1000
    assert many.num_zero == found.num_zero_base
    assert many.num_small == found.num_small_base
    [note] = found.notes
    assert f"{found.num_zero_base:,} parameters are 0 in the base, and {few.num_zero:,} of" in note


def test_a_restoration_of_zeros_says_so(zero_pair: CheckpointPair, tmp_path: Path) -> None:
    request = Request(shares=(0.1, 40))
    few, many = preview_restoration(zero_pair, request, tmp_path / "out").outputs
    assert few.num_restored_zero_base == few.num_restored_small_base == few.num_restored_changed
    assert few.warning is not None
    assert "share 0.1" in few.warning
    assert "are 0 in the base" in few.warning
    assert 0 < many.num_restored_zero_base < many.num_restored_small_base
    assert many.num_restored_small_base < many.num_restored_changed
    assert many.warning is None
    # Small bases are what this ranking is about.
    [small] = select(zero_pair, shares=[0.1], ranking="small-base")
    assert small.num_restored_zero_base == small.num_restored_changed
    assert small.warning is None


@pytest.mark.parametrize("method", ["interpolation", "wise-ft", "fapm"])
def test_methods_that_rank_nothing_count_no_bases(
    zero_pair: CheckpointPair, tmp_path: Path, method: str
) -> None:
    request = Request(method=method, shares=(20,))
    [output] = preview_restoration(zero_pair, request, tmp_path / "out").outputs
    assert output.num_restored_zero_base is None
    assert output.num_restored_small_base is None


def test_without_any_small_base_nothing_is_left_out(
    tmp_path: Path, zeros: tuple[Path, Path]
) -> None:
    base = write_copy(zeros[0], tmp_path / "base", blocks(lambda w: w.sign() * (w.abs() + 0.01)))
    # The sign of a zero is 0.
    base = write_copy(base, tmp_path / "away", blocks(lambda w: w.masked_fill(w == 0, 0.5)))
    found = diff(open_pair(base, write_copy(base, tmp_path / "tuned", blocks(nudged))))
    assert found.num_zero_base == found.num_small_base == 0
    for measure, held in found.concentration_without_small_base.items():
        assert held == found.concentration[measure]
    assert {top.num_small for top in found.top.values()} == {0}
    assert found.notes == []


def test_zeros_that_stay_zeros_are_in_no_top(tmp_path: Path, zeros: tuple[Path, Path]) -> None:
    """Pruned models: a zero that did not change is no part of the concentration."""

    def moved(weight: torch.Tensor) -> torch.Tensor:
        return torch.where(weight == 0, weight, nudged(weight))

    found = diff(open_pair(zeros[0], write_copy(zeros[0], tmp_path / "tuned", blocks(moved))))
    assert found.num_zero_base > 20
    assert {top.num_zero for top in found.top.values()} == {0}
    assert "are 0 in the base" not in " ".join(found.notes)


def alike(pair: CheckpointPair, share: str) -> float:
    """How many times more of what a share restores lies in one layer than in another, at most."""
    parts = diff(pair).by("layer")[f"restored_{share}"].to_list()
    assert sum(parts) == pytest.approx(1)
    return max(parts) / min(parts)


def test_a_share_beyond_the_changed_shows_no_order_of_names(tmp_path: Path, base: Path) -> None:
    """13 % of each layer changed: a share of 60 % takes all of it, as much in each layer."""
    model = save_model(tmp_path / "model", "llama", num_hidden_layers=12, hidden_size=32)
    tuned = write_copy(
        model,
        tmp_path / "tuned",
        blocks(lambda w: torch.where(torch.rand(w.shape) < 0.13, w + 1e-3, w)),
    )
    pair = open_pair(model, tuned)
    assert alike(pair, "60") < 1.3
    found = diff(pair)
    assert found.notes[0].startswith("fine-tuning changed only 12.94 % of the parameters")
    assert "(20, 40, 60)" in found.notes[0]
    top = found.tensors.select("num_changed", "num_top_60")
    assert top["num_top_60"].to_list() == top["num_changed"].to_list()
    table = preview_restoration(pair, Request(shares=(60,)), tmp_path / "out").as_json()
    by_layer = [row["restored_60"] for row in table["layers"]]
    assert by_layer == pytest.approx(found.by("layer")["restored_60"].to_list())


def test_changes_that_tie_show_no_order_of_names(tmp_path: Path) -> None:
    """All change by the same part: a share of 5 % cuts one tie, not won by the first names."""
    model = save_model(tmp_path / "model", "llama", num_hidden_layers=12, hidden_size=32)
    powers = write_copy(model, tmp_path / "powers", blocks(lambda w: torch.full_like(w, 0.25)))
    tuned = write_copy(powers, tmp_path / "tuned", blocks(lambda w: w * 1.5))
    pair = open_pair(powers, tuned)
    assert alike(pair, "5") == pytest.approx(1)
    # A restoration does go by name, and says where it went.
    rows = preview_restoration(pair, Request(shares=(5,)), tmp_path / "out").as_json()["layers"]
    assert rows[0]["restored_5"] > 0.5


def test_what_did_not_change_lies_nowhere(tmp_path: Path, base: Path) -> None:
    found = diff(open_pair(base, base))
    assert found.notes == []
    assert found.by("layer")["restored_20"].to_list() == [None, None]
    bottom = Request(shares=(20,), order="bottom")
    tuned = write_copy(base, tmp_path / "tuned", blocks(lambda w: w + (torch.rand(w.shape) < 0.5)))
    table = preview_restoration(open_pair(base, tuned), bottom, tmp_path / "out").as_json()
    # The 20 % that changed least did not change.
    assert [row["restored_20"] for row in table["layers"]] == [None, None]


def test_what_the_commands_give(tmp_path: Path, zeros: tuple[Path, Path]) -> None:
    base, tuned = map(str, zeros)
    half = write_copy(
        zeros[1], tmp_path / "half", lambda t: {n: w.bfloat16() for n, w in t.items()}
    )
    found = run_diff(base, str(half), out=tmp_path / "diff")
    assert found == run_diff(base, str(half), out=tmp_path / "diff")
    assert [(cast["base"], cast["tuned"]) for cast in found.casts] == [("F32", "BF16")]
    assert "as BF16 holds it" in found.notes[0]
    assert set(found.top["20"]) == {"num_changed", "num_zero", "num_small"}
    assert run_diff(base, tuned).casts == []
    request = Request(shares=(20,))
    restored = run_restore(base, str(half), request, tmp_path / "out")
    assert restored.casts == run_preview(base, str(half), request, tmp_path).casts == found.casts
    assert restored.notes == found.notes[:1]


@pytest.mark.parametrize(
    ("model", "zeros_between"), [("smollm2", (2e-4, 1e-3)), ("gemma3", (0.03, 0.06))]
)
def test_blocks_of_a_real_model(
    tmp_path: Path, model: str, zeros_between: tuple[float, float]
) -> None:
    """Zeros of unpacked 4-bit blocks are the top, and casts of its digits are no change."""
    full = write_real_blocks(model, tmp_path / "float32", torch.float32)
    base = write_copy(full, tmp_path / "base", lambda t: {n: w.bfloat16() for n, w in t.items()})

    def trained(weight: torch.Tensor) -> torch.Tensor:
        return (weight.float() + 2e-5 * torch.randn(weight.shape)).bfloat16()

    found = diff(open_pair(base, write_copy(base, tmp_path / "tuned", blocks(trained))))
    low, high = zeros_between
    assert low < found.num_zero_base / found.num_parameters < high
    assert found.num_changed < 0.3 * found.num_parameters
    assert any("are 0 in the base" in note for note in found.notes)
    assert found.concentration["null"]["3"] > 0.999
    for measure in ("relative", "null"):
        assert found.concentration_without_small_base[measure]["1"] < 0.95
    if model == "gemma3":
        assert found.top["1"].num_zero == found.top["1"].num_changed
        assert found.concentration_without_small_base["null"]["5"] < 0.9
    assert diff(open_pair(full, base)).num_changed == 0
