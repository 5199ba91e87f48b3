"""LoRA: an adapter is trained and saved, the base stays."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from damaged_models import change_weights
from sftlens.checkpoints import file_hash, is_adapter
from sftlens.errors import UserError
from sftlens.facts import Fact
from sftlens.generation import TransformersGenerator, load_model
from sftlens.scoring import score
from sftlens.tuning import LoraSettings, Tuned, TuneSettings, fine_tune
from sftlens.tuning._lora import with_adapter
from sftlens.weights import Sweep, open_pair

SETTINGS = TuneSettings(learning_rate=1e-3, batch_size=4)
ADAPTER = "adapter_model.safetensors"


def tune(
    base: Path,
    out: Path,
    facts: list[Fact],
    settings: TuneSettings = SETTINGS,
    lora: LoraSettings | None = None,
) -> Tuned:
    out.mkdir()
    return fine_tune(load_model(base), facts, out, settings, lora=lora or LoraSettings(rank=4))


def test_what_is_saved_merges_and_has_learned(
    base: Path, tmp_path: Path, facts: list[Fact]
) -> None:
    before = file_hash(base / "model.safetensors")
    settings = TuneSettings(learning_rate=1e-3, batch_size=4, num_epochs=60)
    asked = facts[:8]
    found = tune(base, tmp_path / "out", asked, settings, LoraSettings())
    assert found.num_steps == 120
    assert is_adapter(tmp_path / "out")
    assert file_hash(base / "model.safetensors") == before
    loaded = load_model(base)
    Sweep(loaded.model, open_pair(base, tmp_path / "out"))
    scored = score(TransformersGenerator(loaded.model, loaded.tokenizer), asked, {})
    assert scored["correct"].all()
    plain = AutoModelForCausalLM.from_pretrained(base)
    merged = PeftModel.from_pretrained(plain, tmp_path / "out").merge_and_unload()
    for name, tensor in merged.state_dict().items():
        assert torch.allclose(tensor, loaded.model.state_dict()[name], atol=1e-6), name


def test_a_seed_fixes_the_adapter(base: Path, tmp_path: Path, facts: list[Fact]) -> None:
    torch.manual_seed(1)
    tune(base, tmp_path / "first", facts[:8])
    torch.manual_seed(2)
    tune(base, tmp_path / "second", facts[:8])
    tune(base, tmp_path / "other", facts[:8], SETTINGS.model_copy(update={"seed": 1}))
    first, second, other = (
        file_hash(tmp_path / name / ADAPTER) for name in ("first", "second", "other")
    )
    assert first == second != other


@pytest.mark.parametrize(
    ("lora", "rank", "modules"),
    [
        (LoraSettings(rank=2), 2, {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj"}),
        (LoraSettings(rank=3, target_modules=("q_proj",)), 3, {"q_proj"}),
    ],
)
def test_rank_and_modules(
    base: Path, tmp_path: Path, facts: list[Fact], lora: LoraSettings, rank: int, modules: set[str]
) -> None:
    tune(base, tmp_path / "out", facts[:4], lora=lora)
    tensors = load_file(tmp_path / "out" / ADAPTER)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert {tensor.shape[0] for name, tensor in tensors.items() if "lora_A" in name} == {rank}
    changed = {name.split(".")[-3] for name in tensors}
    assert modules == changed - {"up_proj", "down_proj"}
    assert "lm_head" not in changed


def test_the_rate_is_its_own(base: Path, tmp_path: Path, facts: list[Fact]) -> None:
    """Ten times that of full fine-tuning, where none is given."""
    tune(base, tmp_path / "ten", facts[:8])
    same, other = (LoraSettings(rank=4, learning_rate=rate) for rate in (1e-2, 1e-3))
    tune(base, tmp_path / "same", facts[:8], lora=same)
    tune(base, tmp_path / "other", facts[:8], lora=other)
    ten, same_hash, other_hash = (
        file_hash(tmp_path / name / ADAPTER) for name in ("ten", "same", "other")
    )
    assert ten == same_hash != other_hash


def test_a_base_of_half_precision(base: Path, tmp_path: Path, facts: list[Fact]) -> None:
    folder = shutil.copytree(base, tmp_path / "base")
    change_weights(folder, lambda tensors: {n: t.bfloat16() for n, t in tensors.items()})
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("float32", "bfloat16"))
    found = tune(folder, tmp_path / "out", facts[:8])
    assert 0 < found.final_loss < 20
    tensors = load_file(tmp_path / "out" / ADAPTER)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert any(tensor.any() for name, tensor in tensors.items() if "lora_B" in name)


def test_modules_that_are_absent(base: Path, tmp_path: Path, facts: list[Fact]) -> None:
    with pytest.raises(UserError, match=r"target_modules: .*absent") as refused:
        tune(base, tmp_path / "out", facts[:4], lora=LoraSettings(target_modules=("absent",)))
    assert "\n" not in str(refused.value)


def test_a_module_that_was_mistyped(base: Path, tmp_path: Path, facts: list[Fact]) -> None:
    settings = LoraSettings(target_modules=("q_proj", "v_porj"))
    with pytest.raises(UserError, match=r"'v_porj' is the name of no module; .*v_proj"):
        tune(base, tmp_path / "out", facts[:4], lora=settings)


def test_a_rank_that_no_matrix_has(base: Path, tmp_path: Path, facts: list[Fact]) -> None:
    with pytest.raises(UserError, match="rank: 2000000000 is above"):
        tune(base, tmp_path / "out", facts[:4], lora=LoraSettings(rank=2_000_000_000))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("mamba", {"state_size": 4}),
        ("mamba2", {"state_size": 4, "num_heads": 4, "head_dim": 8, "n_groups": 1}),
        ("falcon_mamba", {"state_size": 4}),
    ],
)
def test_state_space_models_have_an_adapter(kind: str, fields: dict[str, int]) -> None:
    """peft refuses some of their linear modules; the others are trained."""
    size = {"hidden_size": 16, "num_hidden_layers": 1, "vocab_size": 64}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **size, **fields))
    adapted = {name for name, _ in with_adapter(model, LoraSettings(rank=2), 0).named_parameters()}
    assert any("in_proj.lora_A" in name for name in adapted)
    assert not any("out_proj.lora" in name for name in adapted)
