"""Roles are read off the architecture, whatever the spelling of names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_models import CONFIGS, moved, read_tensors, save_model, tiny_config, write_copy
from transformers import AutoModelForCausalLM

from sftlens.errors import UserError
from sftlens.weights import open_pair


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("architectures")
    return {name: save_model(root / name, name) for name in CONFIGS}


def modules_of_layer(folder: Path, kind: str, layer: int | None) -> set[str]:
    pair = open_pair(folder, folder)
    roles = [tensor.role for tensor in pair.tensors.values()]
    return {role.module for role in roles if role.kind == kind and role.layer == layer}


LLAMA_BLOCK = {
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
}
ATTENTION = {name for name in LLAMA_BLOCK if name.startswith("self_attn")}
NORMS = {"input_layernorm", "post_attention_layernorm"}
BLOCKS = {
    "gpt2": {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"},
    "gpt_neox": {
        *("attention.query_key_value", "attention.dense"),
        *("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
    },
    "llama": LLAMA_BLOCK,
    "qwen3": LLAMA_BLOCK,
    "gemma2": LLAMA_BLOCK,
    "mixtral": ATTENTION | {"mlp.gate", "mlp.experts.gate_up_proj", "mlp.experts.down_proj"},
    "qwen2_moe": ATTENTION
    | {"mlp.gate", "mlp.experts.gate_up_proj", "mlp.experts.down_proj"}
    | {f"mlp.shared_expert.{name}_proj" for name in ("gate", "up", "down")}
    | {"mlp.shared_expert_gate"},
}
BLOCK_NORMS = {
    "gpt2": {"ln_1", "ln_2"},
    "gpt_neox": NORMS,
    "llama": NORMS,
    "qwen3": NORMS | {"self_attn.q_norm", "self_attn.k_norm"},
    "gemma2": NORMS | {"pre_feedforward_layernorm", "post_feedforward_layernorm"},
    "mixtral": NORMS,
    "qwen2_moe": NORMS,
}
OTHERS = {
    "gpt2": {"transformer.wpe", "transformer.ln_f"},
    "gpt_neox": {"gpt_neox.final_layer_norm"},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_tensor_has_its_place(name: str, folders: dict[str, Path]) -> None:
    folder = folders[name]
    for layer in (0, 1):
        assert modules_of_layer(folder, "block", layer) == BLOCKS[name]
        assert modules_of_layer(folder, "norm", layer) == BLOCK_NORMS[name]
    assert modules_of_layer(folder, "other", None) == OTHERS.get(name, {"model.norm"})
    assert len(modules_of_layer(folder, "embedding", None)) == 1


@pytest.mark.parametrize("name", CONFIGS)
def test_blocks_are_all_parameters_of_the_decoder_blocks_but_norms(
    name: str, folders: dict[str, Path]
) -> None:
    model = AutoModelForCausalLM.from_config(tiny_config(name))
    stem = {"gpt2": "transformer.h.", "gpt_neox": "gpt_neox.layers."}.get(name, "model.layers.")
    expected = sum(
        parameter.numel()
        for path, parameter in model.named_parameters()
        if path.startswith(stem) and "norm" not in path and ".ln_" not in path
    )
    pair = open_pair(folders[name], folders[name])
    assert pair.num_parameters("blocks") == expected
    stored = sum(info.num_entries for info in pair.tuned.tensors.values())
    assert pair.num_parameters("all") == stored


def test_biases_of_linear_layers_are_block_parameters(folders: dict[str, Path]) -> None:
    pair = open_pair(folders["gpt2"], folders["gpt2"])
    role = pair.tensors["transformer.h.1.attn.c_attn.bias"].role
    assert (role.kind, role.layer, role.module) == ("block", 1, "attn.c_attn")


def test_a_base_saved_without_the_prefix_is_aligned(
    tmp_path: Path, folders: dict[str, Path]
) -> None:
    def without_prefix(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        renamed = {name.removeprefix("transformer."): t for name, t in tensors.items()}
        # What the first GPT-2 checkpoints store besides their parameters.
        return renamed | {"h.0.attn.bias": torch.ones(1, 1, 8, 8)}

    base = write_copy(folders["gpt2"], tmp_path / "base", without_prefix)
    pair = open_pair(base, write_copy(folders["gpt2"], tmp_path / "tuned", moved()))
    same = open_pair(folders["gpt2"], tmp_path / "tuned")
    assert pair.num_parameters("all") == same.num_parameters("all")
    assert list(pair.tensors) == list(read_tensors(tmp_path / "tuned"))
    assert any("h.0.attn.bias" in note for note in pair.notes)


def test_leftovers_of_old_versions_are_no_block_parameters(
    tmp_path: Path, folders: dict[str, Path]
) -> None:
    def with_leftovers(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        stem = "gpt_neox.layers.0.attention."
        return tensors | {
            stem + "bias": torch.ones(8, 8, dtype=torch.uint8),
            stem + "masked_bias": torch.ones(1),
            stem + "rotary_emb.inv_freq": torch.ones(4),
        }

    folder = write_copy(folders["gpt_neox"], tmp_path / "old", with_leftovers)
    same = open_pair(folders["gpt_neox"], folders["gpt_neox"])
    assert open_pair(folder, folder).num_parameters("blocks") == same.num_parameters("blocks")
    assert open_pair(folder, folders["gpt_neox"]).notes


def test_another_kind_of_model_is_refused(tmp_path: Path, base: Path) -> None:
    folder = write_copy(base, tmp_path / "model", lambda tensors: tensors)
    config = json.loads((folder / "config.json").read_text())
    for change, words in (
        ({"model_type": "no_such_model"}, "no causal language model"),
        ({"hidden_size": "wide"}, "no causal language model"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantised"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(UserError, match=words) as caught:
            open_pair(base, folder)
        assert "\n" not in str(caught.value)


def test_blocks_spread_over_several_lists_are_refused(tmp_path: Path) -> None:
    from transformers import XLMConfig

    config = XLMConfig(emb_dim=16, n_layers=2, n_heads=2, n_words=64)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "xlm")
    with pytest.raises(UserError, match="several lists"):
        open_pair(tmp_path / "xlm", tmp_path / "xlm")
