"""Pairs whose storage types differ: what a cast alone did is no change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_adapters import change_tensors, save_adapter
from tiny_models import read_tensors, same_bits, save_model, write_copy, write_restored

from sftlens.errors import UserError
from sftlens.weights import (
    CheckpointPair,
    Engine,
    Request,
    absolute_change,
    diff,
    measure_restorations,
    open_pair,
    relative_change,
    select,
    taken_back,
)

Tensors = dict[str, torch.Tensor]

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LOSSY = [
    (base, tuned)
    for base in DTYPES
    for tuned in DTYPES
    if torch.promote_types(base, tuned) != tuned
]
ENGINES = (
    Engine(kernels="numpy", num_threads=1),
    Engine(kernels="numba", num_threads=1),
    Engine(kernels="torch", num_threads=1),
)
NAME = "model.layers.0.mlp.up_proj.weight"


def cast(dtype: torch.dtype) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in float64 whose values no other type holds."""
    folder = tmp_path_factory.mktemp("casts")
    single = save_model(folder / "single", "llama")

    def digits(tensors: Tensors) -> Tensors:
        torch.manual_seed(0)
        return {n: t.double() * (1 + 0.3 * torch.rand(t.shape)) for n, t in tensors.items()}

    return write_copy(single, folder / "full", digits)


@pytest.mark.parametrize(("base_dtype", "tuned_dtype"), LOSSY, ids=str)
def test_a_cast_alone_changes_nothing(
    tmp_path: Path, full: Path, base_dtype: torch.dtype, tuned_dtype: torch.dtype
) -> None:
    base = write_copy(full, tmp_path / "base", cast(base_dtype))
    tuned = write_copy(base, tmp_path / "tuned", cast(tuned_dtype))
    pair = open_pair(base, tuned)
    for engine in ENGINES:
        found = diff(pair, region="all", shares=[20], engine=engine)
        assert found.num_changed == 0
        assert found.concentration["relative"] == {"20": None}
        assert found.concentration_without_small_base["null"] == {"20": None}
        assert found.tensors["sum_absolute"].sum() == 0
        [zero] = found.histogram.filter(measure="relative").rows()
        assert zero == ("relative", 0.0, 0.0, found.num_parameters)
        [selection] = select(pair, region="all", shares=[20], engine=engine)
        assert (selection.num_restored_changed, selection.norm_removed) == (0, 0.0)
    [output] = write_restored(base, tuned, [20], tmp_path / "out", region="all")
    assert (output.num_restored_changed, output.norm_removed) == (0, 0.0)
    written = read_tensors(output.path)
    assert all(same_bits(written[n], t) for n, t in read_tensors(tuned).items())


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, full: Path) -> tuple[Path, Path]:
    """A base in float32, and a tuned model of mixed types in which 100 entries moved."""
    folder = tmp_path_factory.mktemp("both")
    base = write_copy(full, folder / "base", cast(torch.float32))

    def tune(tensors: Tensors) -> Tensors:
        tensors[NAME].view(-1)[:100] *= 1.5
        types = {n: DTYPES[place % 4] for place, n in enumerate(sorted(tensors))}
        return {n: t.to(torch.bfloat16 if n == NAME else types[n]) for n, t in tensors.items()}

    return base, write_copy(base, folder / "tuned", tune)


@pytest.fixture(scope="module")
def mixed(both: tuple[Path, Path]) -> CheckpointPair:
    return open_pair(*both)


def test_only_what_moved_counts_between_mixed_types(mixed: CheckpointPair) -> None:
    for engine in ENGINES:
        found = diff(mixed, region="all", shares=[1], engine=engine)
        assert found.num_changed == 100
        changed = dict(found.tensors.select("name", "num_changed").filter(num_changed=100).rows())
        assert changed == {NAME: 100}


def test_the_norm_is_that_of_what_the_tuned_type_holds(
    both: tuple[Path, Path], mixed: CheckpointPair
) -> None:
    """The changed entries given back are all of the update, and so is every other method's norm."""
    base, tuned = (read_tensors(folder)[NAME] for folder in both)
    update = tuned.double() - base.bfloat16().double()
    squares = update.square().flatten()
    shares = (0.5, 30)
    for selection in select(mixed, region="all", shares=shares):
        name, mask = NAME, next(mask for _, mask in selection.masks(mixed, NAME))
        assert selection.tensors[name].num_returned == selection.num_restored_changed
        expected = float(squares[torch.from_numpy(mask)].sum() / squares.sum())
        assert selection.norm_removed == pytest.approx(expected, rel=1e-9)
    [all_of_it] = measure_restorations(
        mixed, Request(method="wise-ft", shares=(100,), region="all")
    )
    assert all_of_it.output.norm_removed == 1
    [taken] = taken_back(mixed, [all_of_it.planned.restoration])
    assert taken.norm == pytest.approx(float(squares.sum()), rel=1e-9)
    assert taken.num_returned == 100


@pytest.mark.parametrize("method", ["breadcrumbs", "fapm", "ties", "dare"])
def test_other_methods_see_no_cast(mixed: CheckpointPair, method: str) -> None:
    [all_of_it] = measure_restorations(mixed, Request(method=method, shares=(100,), region="all"))
    assert all_of_it.output.num_restored_changed == 100
    assert all_of_it.output.norm_removed == 1


def test_types_are_told_once_each(mixed: CheckpointPair) -> None:
    types = {(cast.base, cast.tuned) for cast in mixed.casts}
    assert types == {("F32", "F16"), ("F32", "BF16"), ("F32", "F64")}
    notes = [note for note in mixed.notes if "the base stores" in note]
    assert notes == [str(cast) for cast in mixed.casts]
    assert any("tensors as F32, the tuned model as BF16: a parameter counts" in n for n in notes)
    differing = [t for t in mixed.tensors.values() if t.base.dtype != t.tuned.dtype]
    assert sum(cast.num_tensors for cast in mixed.casts) == len(differing)
    sizes = sum(tensor.num_parameters for tensor in differing)
    assert sum(cast.num_parameters for cast in mixed.casts) == sizes


def test_changes_of_tensors_by_hand() -> None:
    base = torch.tensor([1.001, 1.001, 1e-9, 70000.0])
    assert base.bfloat16()[0] == 1
    tuned = torch.tensor([1.0, 1.0078125, 0.0, 70144.0]).bfloat16()
    assert absolute_change(base, tuned).tolist()[:2] == [0.0, 0.0078125]
    assert relative_change(base, tuned)[1] == pytest.approx(0.0078125)
    # Below the smallest float16, a base is 0 there.
    assert absolute_change(base[2:3], tuned[2:3].half()).item() == 0
    assert relative_change(base[2:3], torch.tensor([1e-4]).half()).item() > 5e3


def test_bases_too_large_for_the_tuned_type(tmp_path: Path, full: Path) -> None:
    """float16 ends at 65504: such a base cannot be compared there, and the remedy helps."""

    def with_large(tensors: Tensors) -> Tensors:
        tensors[NAME].view(-1)[7] = 1e5
        return cast(torch.bfloat16)(tensors)

    def clamped(tensors: Tensors) -> Tensors:
        return {name: t.float().clamp(-65504, 65504).half() for name, t in tensors.items()}

    base = write_copy(full, tmp_path / "base", with_large)
    tuned = write_copy(base, tmp_path / "tuned", clamped)
    message = f"'{NAME}' holds 99840.0 in the base .*flat position 7\\), more than F16.*as BF16"
    with pytest.raises(UserError, match=message):
        diff(open_pair(base, tuned), shares=[1])
    saved = write_copy(tuned, tmp_path / "saved", cast(torch.bfloat16))
    assert diff(open_pair(base, saved), shares=[1]).num_changed > 0
    # A model that was only cast is infinite itself.
    infinite = write_copy(base, tmp_path / "infinite", cast(torch.float16))
    with pytest.raises(UserError, match="holds inf in the tuned model"):
        diff(open_pair(base, infinite), shares=[1])


@pytest.mark.parametrize("adapter_dtype", [torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("base_dtype", DTYPES, ids=str)
def test_an_adapter_that_was_not_trained(
    tmp_path: Path, full: Path, base_dtype: torch.dtype, adapter_dtype: torch.dtype
) -> None:
    """It is merged in the base's type, whatever its own: there is nothing to cast."""

    def untrained(tensors: Tensors) -> Tensors:
        return {n: (t * ("lora_B" not in n)).to(adapter_dtype) for n, t in tensors.items()}

    base = write_copy(full, tmp_path / "base", cast(base_dtype))
    folder = save_adapter(base, tmp_path / "adapter", target_modules=["q_proj", "up_proj"])
    pair = open_pair(base, change_tensors(folder, untrained))
    assert pair.casts == []
    assert diff(pair, region="all", shares=[1]).num_changed == 0
    assert not any("rounding" in note for note in pair.notes)


def test_what_an_adapter_stores_whole_in_fewer_digits(tmp_path: Path, full: Path) -> None:
    """The merged model really holds the rounded values in the base's type, and a note says so."""
    base = write_copy(full, tmp_path / "base", cast(torch.float32))
    folder = save_adapter(
        base, tmp_path / "adapter", target_modules=["q_proj"], modules_to_save=["lm_head"]
    )
    head = read_tensors(base)["lm_head.weight"]

    def rounded(tensors: Tensors) -> Tensors:
        return {n: head.bfloat16() if "lm_head" in n else t * 0 for n, t in tensors.items()}

    pair = open_pair(base, change_tensors(folder, rounded))
    [note] = [note for note in pair.notes if "rounding" in note]
    assert "stores 'lm_head.weight' as BF16, the base as F32" in note
    found = diff(pair, region="all", shares=[1])
    assert found.num_changed == int((head.bfloat16().float() != head).sum()) > 0
    assert diff(pair, shares=[1]).num_changed == 0
