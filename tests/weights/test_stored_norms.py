"""What restorations remove is measured on what is stored, in whatever type."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from tiny_models import read_tensors, same_bits, save_model, write_copy, write_restored
from transformers import AutoModelForCausalLM

from sftlens.errors import UserError
from sftlens.progress import silent
from sftlens.weights import (
    CheckpointPair,
    Interpolation,
    Request,
    Sweep,
    match_removed_norm,
    measure_restorations,
    open_pair,
    plan,
    preview_restoration,
    taken_back,
)
from sftlens.weights._interpolations import _norms_removed

Tensors = dict[str, torch.Tensor]

SCALED = ("interpolation", "wise-ft", "lines", "dare")
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
WIDE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}


def one_unit(tensors: Tensors) -> Tensors:
    """What a few steps in bfloat16 do: most changes are one unit in the last place."""
    generator = torch.Generator().manual_seed(4)
    found = {}
    for name, tensor in sorted(tensors.items()):
        draw = torch.rand(tensor.shape, generator=generator)
        units = (draw < 0.6).to(torch.int16) + (draw < 0.06).to(torch.int16)
        signs = torch.randint(0, 2, tensor.shape, generator=generator, dtype=torch.int16) * 2 - 1
        large = tensor.float().abs() > 1e-3
        found[name] = (tensor.view(torch.int16) + units * signs * large).view(torch.bfloat16)
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("ulp")
    base = save_model(folder / "base", "llama", dtype=torch.bfloat16, **WIDE)
    return base, write_copy(base, folder / "tuned", one_unit, num_shards=3)


@pytest.fixture(scope="module")
def ulp(folders: tuple[Path, Path]) -> CheckpointPair:
    return open_pair(*folders)


def removed(pair: CheckpointPair, after: Mapping[str, torch.Tensor], region: str) -> float:
    base, tuned = read_tensors(pair.base.folder), read_tensors(pair.tuned.folder)
    left = full = 0.0
    for name in (tensor.name for tensor in pair.region(region)):
        origin = base[name].to(tuned[name].dtype).double()  # a cast is no change
        squares = (after[name].double() - origin).square()
        if base[name].dtype != tuned[name].dtype:  # the base's own value leaves nothing
            squares[after[name] == base[name].to(after[name].dtype)] = 0
        left += float(squares.sum())
        full += float((tuned[name].double() - origin).square().sum())
    return 1 - left / full


@pytest.mark.parametrize("dtype", [None, "float32", "float16"])
@pytest.mark.parametrize("method", [*SCALED, "relative", "fapm", "half-reset"])
def test_the_norm_that_is_reported_is_that_of_the_files(
    folders: tuple[Path, Path], ulp: CheckpointPair, tmp_path: Path, method: str, dtype: str | None
) -> None:
    request = Request(method, (9.5, 40), dtype=dtype)
    planned = preview_restoration(ulp, request, tmp_path).outputs
    outputs = write_restored(*folders, [9.5, 40], tmp_path / "out", method=method, dtype=dtype)
    for told, output in zip(planned, outputs, strict=True):
        assert told.as_json() == output.as_json() | {"path": None}
        assert output.dtype == (dtype or "bfloat16")
        after = read_tensors(output.path)
        assert output.norm_removed == pytest.approx(removed(ulp, after, "blocks"), abs=1e-6)
        card = (output.path / "README.md").read_text()
        assert f"as stored in {output.dtype}" in card
        assert (f"--dtype {dtype}" in card) == (dtype is not None)


def test_interpolation_says_what_bfloat16_cannot_store(
    folders: tuple[Path, Path], ulp: CheckpointPair, tmp_path: Path
) -> None:
    relative = measure_restorations(ulp, Request(shares=(9.5, 20)))
    stored = measure_restorations(ulp, Request("interpolation", (9.5, 20)))
    exact = measure_restorations(ulp, Request("interpolation", (9.5, 20), dtype="float32"))
    for ranked, one, free in zip(relative, stored, exact, strict=True):
        target = ranked.output.norm_removed
        assert one.output.norm_to_match == free.output.norm_to_match == target
        # Nearly all of the update is one unit, which is stored whole, by half, or not at all.
        assert one.output.norm_removed != pytest.approx(target, rel=0.01)
        assert f"removes the {100 * target:.2f} %" in one.output.warning
        assert "--dtype float32" in one.output.warning
        assert free.output.warning is None
        assert free.output.norm_removed == pytest.approx(target, rel=1e-3)
        alpha = one.output.alpha
        around = [Interpolation(alpha=min(1.0, alpha + step)) for step in (-0.04, -0.01, 0.01)]
        for other in taken_back(ulp, around, region="blocks"):
            missed = abs(other.norm_removed - target)
            assert abs(one.output.norm_removed - target) <= missed + 1e-12
    [written] = write_restored(
        *folders, [20], tmp_path / "out", method="interpolation", dtype="float32"
    )
    assert written.warning is None
    card = (written.path / "README.md").read_text()
    assert f"{100 * written.norm_removed:.2f} % of the squared norm" in card


@pytest.mark.parametrize("dtype", [None, "float32", "float16"])
def test_the_search_measures_what_is_taken_back(ulp: CheckpointPair, dtype: str | None) -> None:
    alphas = (1.0, 0.7, 0.5, 0.3, 0.0)
    ways = [Interpolation(alpha=alpha) for alpha in alphas]
    taken = taken_back(ulp, ways, region="blocks", dtype=dtype)
    found = _norms_removed(ulp, alphas, "blocks", dtype, None, silent)
    assert found == pytest.approx([one.norm_removed for one in taken], abs=1e-9)


def test_the_steps_of_one_unit_are_found(ulp: CheckpointPair) -> None:
    """One unit goes back whole below alpha 0.5, and at 0.5 where that is the even neighbour."""
    steps = taken_back(
        ulp, [Interpolation(alpha=alpha) for alpha in (0.55, 0.5, 0.45)], region="blocks"
    )
    targets = [step.norm_removed for step in steps]
    assert targets[0] < 0.5 * targets[1] < 0.5 * targets[2]
    for found in match_removed_norm(ulp, Request("wise-ft"), targets):
        assert found.is_reached, found.target
    between = [(targets[0] + targets[1]) / 2]
    [missed] = match_removed_norm(ulp, Request("wise-ft"), between)
    assert not missed.is_reached
    [free] = match_removed_norm(ulp, Request("wise-ft", dtype="float32"), between)
    assert free.is_reached


def test_a_strength_that_rounding_undoes_is_reported(ulp: CheckpointPair) -> None:
    [stored] = measure_restorations(ulp, Request("wise-ft", (30,)))
    [exact] = measure_restorations(ulp, Request("wise-ft", (30,), dtype="float32"))
    assert exact.output.norm_removed == pytest.approx(1 - 0.7**2, rel=1e-3)
    assert exact.output.warning is None
    assert stored.output.norm_removed < 0.3
    assert "wise-ft removes 51.00 % of the squared norm in float32, and" in stored.output.warning


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_laws_in_another_type(
    folders: tuple[Path, Path], ulp: CheckpointPair, tmp_path: Path, dtype: str
) -> None:
    base, tuned = read_tensors(folders[0]), read_tensors(folders[1])
    nothing, half, everything = write_restored(
        *folders, [0, 50, 100], tmp_path / "out", region="all", dtype=dtype
    )
    [selected] = plan(ulp, Request(shares=(50,), region="all"))
    assert selected.selection is not None
    files = {output: read_tensors(output.path) for output in (nothing, half, everything)}
    for name in tuned:
        assert same_bits(files[nothing][name], tuned[name].to(TYPES[dtype]))
        assert same_bits(files[everything][name], base[name].to(TYPES[dtype]))
        masks = [mask for _, mask in selected.selection.masks(ulp, name)]
        mask = torch.from_numpy(masks[0]).view(tuned[name].shape)
        expected = torch.where(mask, base[name].to(TYPES[dtype]), tuned[name].to(TYPES[dtype]))
        assert same_bits(files[half][name], expected)
    loaded = AutoModelForCausalLM.from_pretrained(half.path, dtype="auto")
    assert loaded.dtype == TYPES[dtype]
    config = json.loads((half.path / "config.json").read_text())
    assert config["dtype"] == dtype
    index = json.loads((half.path / "model.safetensors.index.json").read_text())
    if dtype == "bfloat16":  # nothing changes, and the files are those of no type at all
        [plain] = write_restored(*folders, [50], tmp_path / "plain", region="all")
        for path in half.path.glob("*.safetensors*"):
            assert path.read_bytes() == (plain.path / path.name).read_bytes()
    else:
        sizes = [tensor.numel() * tensor.element_size() for tensor in files[half].values()]
        assert index["metadata"]["total_size"] == sum(sizes)
    assert set(index["weight_map"]) == set(tuned)


def test_float32_in_bfloat16_is_rounded_once(tmp_path: Path) -> None:
    base = save_model(tmp_path / "base", "llama", **WIDE)
    tuned = write_copy(base, tmp_path / "tuned", lambda old: {n: t * 1.01 for n, t in old.items()})
    before, after = read_tensors(base), read_tensors(tuned)
    words = {"method": "wise-ft", "region": "all", "dtype": "bfloat16"}
    [output] = write_restored(base, tuned, [25], tmp_path / "out", **words)
    for name, values in read_tensors(output.path).items():
        update = (after[name] - before[name]) * torch.tensor(0.75)
        assert same_bits(values, (update + before[name]).bfloat16())
    pair = open_pair(base, tuned)
    assert output.norm_removed == pytest.approx(
        removed(pair, read_tensors(output.path), "all"), abs=1e-6
    )


def test_counts_stand_for_what_is_stored_only_where_they_are_exact(tmp_path: Path) -> None:
    """They are where the type that is written holds all that the tuned model has."""
    base = save_model(tmp_path / "base", "llama", **WIDE)

    def trained(tensors: Tensors) -> Tensors:
        return {name: (t * 1.005).bfloat16() for name, t in tensors.items()}

    tuned = write_copy(base, tmp_path / "tuned", trained)
    pair = open_pair(base, tuned)
    request = Request("random", (50,))
    assert request.is_counted(pair)
    assert request._replace(dtype="float32").is_counted(pair)
    assert not request._replace(dtype="float16").is_counted(pair)
    for dtype in (None, "float32", "float16"):
        [output] = write_restored(
            base, tuned, [50], tmp_path / f"{dtype}", method="random", dtype=dtype
        )
        after = read_tensors(output.path)
        assert output.norm_removed == pytest.approx(removed(pair, after, "blocks"), abs=1e-6)
        [one] = measure_restorations(pair, request._replace(dtype=dtype))
        assert one.output.norm_removed == pytest.approx(output.norm_removed, abs=1e-9)


@pytest.mark.parametrize("dtype", [None, "float32", "float16"])
@pytest.mark.parametrize("types", [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_what_goes_back_is_the_bases_own_value(
    folders: tuple[Path, Path], tmp_path: Path, types: tuple[str, str], dtype: str | None
) -> None:
    """Rounded once, to the type that is written, and not to the tuned model's before."""
    base = save_model(tmp_path / "base", "llama", dtype=TYPES[types[0]], **WIDE)
    update = {name: t.to(TYPES[types[1]]) for name, t in read_tensors(folders[1]).items()}
    tuned = write_copy(base, tmp_path / "tuned", lambda _: update)
    before, after = read_tensors(base), read_tensors(tuned)
    output = TYPES[dtype or types[1]]
    for method in ("relative", "wise-ft", "breadcrumbs", "dare"):
        words = {"method": method, "region": "all", "dtype": dtype}
        [everything] = write_restored(base, tuned, [100], tmp_path / method, **words)
        found = read_tensors(everything.path)
        assert all(same_bits(found[name], before[name].to(output)) for name in before)
        assert everything.norm_removed == pytest.approx(1, abs=1e-9)
    pair = open_pair(base, tuned)
    request = Request("relative", (50,), region="all")
    [half] = write_restored(base, tuned, [50], tmp_path / "half", region="all", dtype=dtype)
    [selected] = plan(pair, request)
    found = read_tensors(half.path)
    for name in before:
        mask = torch.cat([torch.from_numpy(m) for _, m in selected.selection.masks(pair, name)])
        expected = torch.where(mask.view(found[name].shape), before[name].to(output), after[name])
        assert same_bits(found[name], expected.to(output))
    assert half.norm_removed == pytest.approx(removed(pair, found, "all"), abs=1e-6)


@pytest.mark.parametrize(
    ("method", "share"), [("lines", 20), ("lines", 60), ("dare", 20), ("wise-ft", 10)]
)
def test_every_method_that_scales_says_what_rounding_made_of_it(
    ulp: CheckpointPair, method: str, share: float
) -> None:
    request = Request(method, (share,))
    [stored] = measure_restorations(ulp, request)
    [exact] = measure_restorations(ulp, request._replace(dtype="float32"))
    assert exact.output.warning is None or "stored in" not in exact.output.warning
    found = [one.output.norm_removed for one in (exact, stored)]
    percents = [f"{100 * abs(one):.2f} %" for one in found]
    deeds = ["adds" if one < 0 else "removes" for one in found]
    assert (
        f"share {share}: {method} {deeds[0]} {percents[0]} of the squared norm in float32, and "
        f"{deeds[1]} {percents[1]} as stored in bfloat16 (--dtype float32 stores it)"
    ) in stored.output.warning


@pytest.mark.parametrize("method", ["relative", "ties", "breadcrumbs", "fapm", "half-reset"])
def test_what_goes_back_whole_needs_no_such_warning(ulp: CheckpointPair, method: str) -> None:
    [stored] = measure_restorations(ulp, Request(method, (20,)))
    assert "stored in" not in (stored.output.warning or "")


def test_a_model_in_float32_is_restored_in_float32(
    folders: tuple[Path, Path], ulp: CheckpointPair, tmp_path: Path
) -> None:
    words = {"method": "wise-ft", "dtype": "float32"}
    [output] = write_restored(*folders, [30], tmp_path / "out", **words)
    model = AutoModelForCausalLM.from_pretrained(folders[1], dtype=torch.float32)
    expected = AutoModelForCausalLM.from_pretrained(output.path, dtype="auto").state_dict()
    tuned = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with Sweep(model, ulp) as sweep:
        sweep.step(Interpolation(alpha=0.7))
        assert all(same_bits(value, expected[name]) for name, value in model.state_dict().items())
    assert all(same_bits(value, tuned[name]) for name, value in model.state_dict().items())


def test_what_a_type_cannot_store(folders: tuple[Path, Path], tmp_path: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"

    def huge(tensors: Tensors) -> Tensors:
        tensors[name][2, 3] = 1e6
        return tensors

    for place in ("blocks", "attention"):  # within the region, and outside of it
        tuned = write_copy(folders[1], tmp_path / place, huge)
        words = {"region": place, "dtype": "float16"}
        with pytest.raises(UserError, match=f"{name}' holds 999424, which float16 cannot store"):
            write_restored(folders[0], tuned, [0], tmp_path / "out", **words)
        assert not (tmp_path / "out").exists()
        for dtype in ("float32", "bfloat16"):  # the remedy
            words = {"region": place, "dtype": dtype}
            write_restored(folders[0], tuned, [0], tmp_path / f"{place}-{dtype}", **words)
    with pytest.raises(UserError, match="dtype 'int8': choose from float32, bfloat16, float16"):
        Request(shares=(1,), dtype="int8").checked()
