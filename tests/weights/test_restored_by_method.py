"""Restored models by every method, against what is known of each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import moved, read_tensors, same_bits, save_model, write_copy, write_restored

from sftlens.errors import UserError
from sftlens.weights import CheckpointPair, Request, open_pair, plan, preview_restoration

METHODS = ("wise-ft", "lines", "dare", "ties", "breadcrumbs", "fapm", "half-reset")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Wide enough for the matrices that DG-Hard looks at."""
    folder = tmp_path_factory.mktemp("wide")
    wide = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    base = save_model(folder / "base", "llama", dtype=torch.bfloat16, **wide)
    return base, write_copy(base, folder / "tuned", moved(1e-3, share=0.8), num_shards=2)


@pytest.fixture(scope="module")
def wide(folders: tuple[Path, Path]) -> CheckpointPair:
    return open_pair(*folders)


Tensors = dict[str, torch.Tensor]


def norm_removed(pair: CheckpointPair, after: Tensors, region: str) -> float:
    base, tuned = read_tensors(pair.base.folder), read_tensors(pair.tuned.folder)
    left = full = 0.0
    for name in (tensor.name for tensor in pair.region(region)):
        left += float((after[name].double() - base[name].double()).square().sum())
        full += float((tuned[name].double() - base[name].double()).square().sum())
    return 1 - left / full


@pytest.mark.parametrize("region", ["blocks", "all", "mlp:1-2"])
@pytest.mark.parametrize("method", METHODS)
def test_what_is_told_is_what_was_done(
    wide: CheckpointPair, folders: tuple[Path, Path], tmp_path: Path, method: str, region: str
) -> None:
    base, tuned = read_tensors(folders[0]), read_tensors(folders[1])
    request = Request(method=method, shares=(30, 70), region=region)
    told = preview_restoration(wide, request, tmp_path).outputs
    outputs = write_restored(*folders, [30, 70], tmp_path / "out", method=method, region=region)
    names = {tensor.name for tensor in wide.region(region)}
    for output, preview in zip(outputs, told, strict=True):
        after = read_tensors(output.path)
        assert all(same_bits(after[name], tuned[name]) for name in tuned if name not in names)
        assert output.norm_removed == pytest.approx(norm_removed(wide, after, region), abs=1e-6)
        assert output.as_json() | {"path": None} == preview.as_json()
        assert (output.norm_removed < 0) == (method == "dare")
        if output.num_restored is not None:
            returned = sum(
                int(((base[name] == after[name]) & (base[name] != tuned[name])).sum())
                for name in names
            )
            assert output.num_restored_changed == returned
            assert returned <= output.num_restored <= output.num_parameters
        manifest = json.loads((output.path / "manifest.json").read_text())
        assert manifest["config"]["method"] == method


@pytest.mark.parametrize("method", METHODS)
def test_the_ends_of_every_method(folders: tuple[Path, Path], tmp_path: Path, method: str) -> None:
    base, tuned = read_tensors(folders[0]), read_tensors(folders[1])
    nothing, everything = (
        read_tensors(output.path)
        for output in write_restored(
            *folders, [0, 100], tmp_path / "out", method=method, region="all"
        )
    )
    assert all(same_bits(nothing[name], tuned[name]) for name in tuned)
    for name in base:
        last = name.startswith("model.layers.2.")
        outside = not name.startswith("model.layers.")
        if method == "lines" and name.startswith("model.layers.1."):
            continue  # half of the way
        stays = (method == "lines" and last) or (method == "half-reset" and outside)
        expected = tuned if stays else base
        assert torch.equal(everything[name], expected[name]), name


def test_ties_gives_back_the_smallest_changes(wide: CheckpointPair) -> None:
    [ties] = plan(wide, Request(method="ties", shares=(30,)))
    [bottom] = plan(wide, Request(method="absolute", shares=(30,), order="bottom"))
    assert ties.restoration == bottom.restoration


def test_dare_drops_and_rescales(folders: tuple[Path, Path], tmp_path: Path) -> None:
    base, tuned = read_tensors(folders[0]), read_tensors(folders[1])
    [output] = write_restored(*folders, [25], tmp_path / "out", method="dare", seed=3)
    after = read_tensors(output.path)
    name = "model.layers.1.mlp.up_proj.weight"
    before, update = base[name].float(), tuned[name].float() - base[name].float()
    dropped = same = 0
    for b, u, a in zip(before.flatten(), update.flatten(), after[name].flatten(), strict=True):
        if a == b:
            dropped += 1
        else:
            assert a == (b + u / 0.75).bfloat16()
            same += 1
    assert dropped > 0.2 * len(update.flatten())
    assert same > 0.5 * len(update.flatten())


def test_half_reset_takes_whole_matrices(folders: tuple[Path, Path], tmp_path: Path) -> None:
    base, tuned = read_tensors(folders[0]), read_tensors(folders[1])
    [output] = write_restored(*folders, [50], tmp_path / "out", method="half-reset")
    after = read_tensors(output.path)
    reset = {n for n in base if n.endswith("proj.weight") and same_bits(after[n], base[n])}
    kept = {n for n in base if n.endswith("proj.weight") and same_bits(after[n], tuned[n])}
    assert len(reset) + len(kept) == 3 * 7
    for layer in range(3):
        assert sum(f"layers.{layer}.self_attn" in name for name in reset) == 2
    assert sum("mlp" in name for name in reset) == 4  # floor of half of nine
    assert output.num_restored == sum(base[name].numel() for name in reset)


def test_lines_leaves_the_deep_layers_tuned(folders: tuple[Path, Path], tmp_path: Path) -> None:
    base, tuned = read_tensors(folders[0]), read_tensors(folders[1])
    [output] = write_restored(*folders, [60], tmp_path / "out", method="lines")
    after = read_tensors(output.path)
    for layer, alpha in enumerate((0.4, 0.7, 1.0)):
        name = f"model.layers.{layer}.self_attn.o_proj.weight"
        before = base[name].float()
        expected = before + np.float32(alpha) * (tuned[name].float() - before)
        assert torch.equal(after[name], expected.bfloat16())


def test_dg_hard_finds_the_direction_that_was_planted(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """Noise with one strong direction: what is left is near that direction alone."""
    generator = torch.Generator().manual_seed(0)
    planted: Tensors = {}

    def tune(tensors: Tensors) -> Tensors:
        result = {}
        for name, tensor in sorted(tensors.items()):
            noise = 1e-3 * torch.randn(tensor.shape, generator=generator)
            planted[name] = torch.zeros_like(noise)
            if tensor.ndim == 2:
                sides = [torch.randn(n, generator=generator) for n in tensor.shape]
                planted[name] = 0.02 * torch.outer(*sides)
            result[name] = tensor.float() + planted[name] + noise
        return result

    def plain(tensors: Tensors) -> Tensors:
        return {name: tensor.float() for name, tensor in tensors.items()}

    base = write_copy(folders[0], tmp_path / "base", plain)
    tuned = write_copy(base, tmp_path / "tuned", tune)
    [output] = write_restored(base, tuned, [], tmp_path / "out", method="dg-hard")
    assert output.share is None
    assert output.num_restored is None
    before, after, given = read_tensors(base), read_tensors(output.path), read_tensors(tuned)
    name = "model.layers.0.mlp.gate_proj.weight"
    left, noisy = after[name] - before[name], given[name] - before[name]
    assert torch.linalg.matrix_rank(left.double(), rtol=1e-4) == 1
    assert (left - planted[name]).norm() < 0.5 * (noisy - planted[name]).norm()
    small = "model.layers.0.input_layernorm.weight"
    assert same_bits(after[small], given[small])
    card = (output.path / "README.md").read_text()
    assert "--method dg-hard" in card
    assert "--share" not in card


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"method": "dg-hard", "shares": (20,)}, "takes no share"),
        ({"method": "lines", "shares": ()}, "no share given"),
        ({"method": "fapm", "shares": (20,), "order": "bottom"}, "no effect on method fapm"),
        ({"shares": (20,), "region": "mlp:7"}, "the model has 3 layers"),
        ({"shares": (20,), "region": "mlp:2-1"}, "runs backwards"),
    ],
)
def test_requests_that_make_no_sense(
    wide: CheckpointPair, words: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        plan(wide, Request(**words))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", [*METHODS, "relative", "random", "interpolation", "dg-hard"])
def test_weights_that_are_no_numbers(
    folders: tuple[Path, Path], tmp_path: Path, method: str, value: float
) -> None:
    name = "model.layers.1.mlp.up_proj.weight"

    def broken(tensors: Tensors) -> Tensors:
        tensors[name][3, 5] = value
        return tensors

    tuned = write_copy(folders[1], tmp_path / "broken", broken)
    shares = [] if method == "dg-hard" else [50]
    with pytest.raises(UserError, match=f"{name}' holds {value} in the tuned model"):
        write_restored(folders[0], tuned, shares, tmp_path / "out", method=method)
    assert not (tmp_path / "out").exists()


def test_equal_regions_are_one_request(folders: tuple[Path, Path], tmp_path: Path) -> None:
    [first] = write_restored(*folders, [20], tmp_path / "out", region="mlp:2,0-1")
    [again] = write_restored(*folders, [20], tmp_path / "out", region="mlp:0-2")
    assert first == again


def test_a_preview_writes_nothing_and_says_where(wide: CheckpointPair, tmp_path: Path) -> None:
    steps: list[int] = []
    request = Request(shares=(10, 50))
    found = preview_restoration(wide, request, tmp_path / "out", advance=steps.append)
    assert list(tmp_path.iterdir()) == []
    assert sum(steps) == request.passes * wide.num_parameters("blocks")
    assert found.tensors is not None
    assert found.tensors["num_restored_10"].sum() == found.outputs[0].num_restored
    assert found.num_bytes > 2 * sum(
        path.stat().st_size for path in wide.tuned.folder.glob("*.safetensors")
    )
    assert found.free_bytes > 0
