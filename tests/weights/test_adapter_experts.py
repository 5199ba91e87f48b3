"""Adapters of packed experts and of single parameters: merged as peft merges them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_adapters import change_config, change_tensors, merged_by_peft, save_adapter
from tiny_models import read_tensors, same_bits, save_model
from transformers import AutoModelForCausalLM

from sftlens.errors import UserError
from sftlens.weights import open_pair

Tensors = dict[str, torch.Tensor]
ALL = {"target_modules": "all-linear"}


def parameters(*names: str, **settings: Any) -> dict[str, Any]:
    return {"target_modules": [], "target_parameters": list(names), **settings}


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "all linear, with experts": ("mixtral", ALL),
    "all linear, with a dense layer": ("deepseek_v3", ALL),
    "one parameter": ("mixtral", parameters("experts.down_proj")),
    "router and experts": ("qwen3_moe", parameters("gate.weight", "gate_up_proj", "down_proj")),
    "rank of one parameter": (
        "qwen3_moe",
        parameters("gate_up_proj", "down_proj", rank_pattern={"down_proj": 2}, use_rslora=True),
    ),
    "transposed": ("gpt_oss", parameters("experts.down_proj", "experts.gate_up_proj")),
    "biases of experts": ("gpt_oss", parameters("down_proj_bias", "gate_up_proj_bias")),
    "weights of linear layers": ("llama", parameters("q_proj.weight", "down_proj.weight")),
    "embeddings as a parameter": ("llama", parameters("embed_tokens.weight")),
}


def merged(base: Path, adapter: Path) -> Tensors:
    pair = open_pair(base, adapter)
    files, tensors = pair.tuned_files, pair.tuned.tensors
    return {name: files.entries(info).view(info.shape).clone() for name, info in tensors.items()}


def check(base: Path, adapter: Path, folder: Path) -> None:
    found, expected = merged(base, adapter), merged_by_peft(base, adapter, folder)
    assert set(found) == set(expected)
    for name, value in found.items():  # transformers saves some buffers in float32
        assert same_bits(value, expected[name].to(value.dtype)), name
    assert any(not same_bits(found[name], value) for name, value in read_tensors(base).items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("case", CASES)
def test_the_merge_is_that_of_peft(tmp_path: Path, case: str, dtype: torch.dtype) -> None:
    name, settings = CASES[case]
    base = save_model(tmp_path / "base", name, dtype=dtype)
    adapter = save_adapter(base, tmp_path / "adapter", **settings)
    check(base, adapter, tmp_path / "merged")


def test_experts_that_the_base_stores_packed(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(save_model(tmp_path / "parts", "mixtral"))
    model.save_pretrained(tmp_path / "base", save_original_format=False)
    assert any(name.endswith("experts.down_proj") for name in read_tensors(tmp_path / "base"))
    adapter = save_adapter(tmp_path / "base", tmp_path / "adapter", **ALL)
    check(tmp_path / "base", adapter, tmp_path / "merged")


def test_a_parameter_that_is_not_named(tmp_path: Path) -> None:
    base = save_model(tmp_path / "base", "mixtral")
    adapter = save_adapter(base, tmp_path / "adapter", **ALL)
    change_config(adapter, target_parameters=["gate.weight", "down_proj"])
    with pytest.raises(UserError, match="target_parameters does not name"):
        open_pair(base, adapter)


def test_experts_of_another_number(tmp_path: Path) -> None:
    base = save_model(tmp_path / "base", "mixtral")
    adapter = save_adapter(base, tmp_path / "adapter", **parameters("experts.down_proj"))
    change_tensors(
        adapter, lambda tensors: {n: t[:-1] if "lora_A" in n else t for n, t in tensors.items()}
    )
    with pytest.raises(UserError, match=r"is of shape .* instead of .*the base that the adapter"):
        open_pair(base, adapter)
