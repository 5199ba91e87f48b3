"""What is stored of restorations of real bfloat16 models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import write_copy

from real_blocks import PACKAGES, write_real_blocks
from sftlens.weights import Request, measure_restorations, open_pair


def few_steps(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a few steps leave in bfloat16: a sixth of the weights one unit away."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, tensor in sorted(tensors.items()):
        draw = torch.randint(0, 12, tensor.shape, generator=generator, dtype=torch.int16)
        units = (draw == 0).to(torch.int16) - (draw == 1).to(torch.int16)
        moved = tensor.view(torch.int16) + units * (tensor.abs() > 1e-4)
        found[name] = moved.view(torch.bfloat16)
    return found


@pytest.mark.parametrize("model", PACKAGES)
def test_no_two_norms_beside_each_other_differ_in_silence(model: str, tmp_path: Path) -> None:
    base = write_real_blocks(model, tmp_path / "base", torch.bfloat16)
    real = open_pair(base, write_copy(base, tmp_path / "tuned", few_steps))
    [ranked] = measure_restorations(real, Request(shares=(9.5,)))
    [stored] = measure_restorations(real, Request("interpolation", (9.5,)))
    [wide] = measure_restorations(real, Request("interpolation", (9.5,), dtype="float32"))
    [alpha] = measure_restorations(real, Request("wise-ft", (20,)))
    target = ranked.output.norm_removed
    assert 0.2 < target < 0.9
    assert stored.output.norm_to_match == wide.output.norm_to_match == target
    assert wide.output.norm_removed == pytest.approx(target, rel=1e-3)
    assert wide.output.warning is None
    assert stored.output.norm_removed != pytest.approx(target, rel=0.01)
    assert "no interpolation stored in bfloat16 removes" in stored.output.warning
    assert alpha.output.norm_removed < 0.1 < 1 - 0.8**2
    assert "removes 36.00 % of the squared norm in float32, and removes" in alpha.output.warning
    before = load_file(real.base.folder / "model.safetensors")
    after = load_file(real.tuned.folder / "model.safetensors")
    left = full = 0.0
    for tensor in real.region("blocks"):
        base, tuned = before[tensor.name].float(), after[tensor.name].float()
        kept = (base + stored.output.alpha * (tuned - base)).bfloat16().double()
        left += float((kept - base.double()).square().sum())
        full += float((tuned - base).double().square().sum())
    assert stored.output.norm_removed == pytest.approx(1 - left / full, abs=1e-6)
