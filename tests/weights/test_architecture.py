"""Roles are read off the architecture, whatever the spelling of names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from tiny_models import moved, read_tensors, save_model, write_copy
from transformers import AutoModelForCausalLM

from sftlens.errors import UserError
from sftlens.weights import open_pair


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("architectures")
    return {name: save_model(root / name, name) for name in ("gpt2", "gpt_neox")}


def test_biases_of_linear_layers_are_block_parameters(folders: dict[str, Path]) -> None:
    pair = open_pair(folders["gpt2"], folders["gpt2"])
    role = pair.tensors["transformer.h.1.attn.c_attn.bias"].role
    assert (role.kind, role.part, role.layer) == ("block", "attention", 1)
    assert role.module == "attn.c_attn"


@pytest.mark.parametrize(
    "name",
    [
        *("model.layers.1.self_attn.q_norm.weight", "model.layers.0.self_attn.q_proj.bias"),
        *("model.layers.2.mlp.up_proj.weight", "model.norm.bias", "lm_head.bias"),
    ],
)
def test_a_tensor_within_the_model_that_it_has_no_place_for_is_refused(
    tmp_path: Path, base: Path, name: str
) -> None:
    folder = write_copy(base, tmp_path / "model", lambda tensors: tensors | {name: torch.ones(3)})
    for pair in ((folder, base), (base, folder), (folder, folder)):
        with pytest.raises(UserError, match=rf"no place for \({re.escape(name)}\)"):
            open_pair(*pair)


@pytest.mark.parametrize(
    "name", ["model.layers.²", "v_head.summary.weight", "model.vision_tower.0.weight"]
)
def test_a_tensor_beside_the_model_is_left_out(tmp_path: Path, base: Path, name: str) -> None:
    folder = write_copy(base, tmp_path / "model", lambda tensors: tensors | {name: torch.ones(1)})
    pair = open_pair(folder, folder)
    assert pair.tensors[name].role.kind == "other"
    assert not pair.tensors[name].role.used
    assert pair.num_parameters("blocks") == open_pair(base, base).num_parameters("blocks")


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
