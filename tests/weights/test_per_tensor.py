"""Restorations put together tensor by tensor, written and measured one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import read_tensors, same_bits
from transformers import AutoModelForCausalLM

from sftlens.weights import (
    CheckpointPair,
    Interpolation,
    PerTensor,
    Request,
    Sweep,
    plan,
    preview_restoration,
    taken_back,
    write_restoration,
)


def written(pair: CheckpointPair, way: PerTensor | Interpolation, folder: Path) -> dict:
    folder.mkdir()
    write_restoration(pair, way, folder)
    return read_tensors(folder)


def test_each_tensor_has_its_own(pair16: CheckpointPair, tmp_path: Path) -> None:
    [ranked] = plan(pair16, Request(shares=(20,)))
    first, second, *_ = (tensor.name for tensor in pair16.region("blocks"))
    mixed = PerTensor(restorations={first: ranked.restoration, second: Interpolation(alpha=0)})
    found = written(pair16, mixed, tmp_path / "mixed")
    alone = written(pair16, ranked.restoration, tmp_path / "alone")
    base, tuned = read_tensors(pair16.base.folder), read_tensors(pair16.tuned.folder)
    expected = {**tuned, first: alone[first], second: base[second]}
    assert not same_bits(alone[first], tuned[first])
    assert all(same_bits(found[name], expected[name]) for name in tuned)
    model = AutoModelForCausalLM.from_pretrained(pair16.tuned.folder, dtype="auto")
    with Sweep(model, pair16) as sweep:
        sweep.step(mixed)
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "mixed", dtype="auto")
        state = model.state_dict()
        assert all(same_bits(state[n], values) for n, values in loaded.state_dict().items())


@pytest.mark.parametrize("method", ["relative", "wise-ft", "fapm"])
def test_what_is_measured_is_what_a_preview_tells(
    pair: CheckpointPair, tmp_path: Path, method: str
) -> None:
    request = Request(method=method, shares=(5, 40))
    planned = [one.restoration for one in plan(pair, request)]
    outputs = preview_restoration(pair, request, tmp_path).outputs
    for found, output in zip(taken_back(pair, planned, region="blocks"), outputs, strict=True):
        assert found.norm_removed == pytest.approx(output.norm_removed)
    whole = taken_back(pair, [*planned, Interpolation(alpha=0, region="all")])
    assert whole[0].norm > taken_back(pair, planned[:1], region="blocks")[0].norm
    assert whole[2].norm_removed == 1
    assert 0 < whole[0].norm_removed < whole[1].norm_removed < 1
