"""Adapters that others than peft's own save wrote, and entries that peft reads in another order."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_adapters import change_config, change_tensors, merged_by_peft, save_adapter
from tiny_models import read_tensors, same_bits, save_model

from sftlens.errors import UserError
from sftlens.weights import open_pair

Tensors = dict[str, torch.Tensor]
PREFIX = "base_model.model."


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("base") / "llama", "llama", dtype=torch.bfloat16)


@pytest.fixture(scope="module")
def plain(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain") / "adapter"
    return save_adapter(base, folder, target_modules=["q_proj", "v_proj"], use_dora=True)


@pytest.fixture
def copy(plain: Path, tmp_path: Path) -> Path:
    return shutil.copytree(plain, tmp_path / "adapter")


def merged(base: Path, adapter: Path) -> Tensors:
    pair = open_pair(base, adapter)
    files, tensors = pair.tuned_files, pair.tuned.tensors
    return {name: files.entries(info).view(info.shape).clone() for name, info in tensors.items()}


def equal(first: Tensors, second: Tensors) -> bool:
    return set(first) == set(second) and all(same_bits(first[n], second[n]) for n in first)


def whole_state(name: str) -> str:
    end = ".weight" if name.endswith("magnitude_vector") else ""
    return name.replace(".weight", ".default.weight") if not end else f"{name}.default{end}"


SPELLINGS: dict[str, Callable[[str], str]] = {
    "a compiled base": lambda name: name.replace(PREFIX, f"{PREFIX}_orig_mod."),
    "a compiled adapter": lambda name: f"_orig_mod.{name}",
    "data parallel": lambda name: f"module.{name}",
    "sharded, with checkpoints": lambda name: name.replace(
        "layers.0.", "layers.0._fsdp_wrapped_module._checkpoint_wrapped_module."
    ),
    "a whole state": whole_state,
    "no prefix": lambda name: name.removeprefix(PREFIX),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_other_spellings_are_understood(base: Path, plain: Path, copy: Path, spelling: str) -> None:
    expected = merged(base, plain)
    assert not any("not named as peft" in note for note in open_pair(base, plain).notes)
    change_tensors(copy, lambda tensors: {SPELLINGS[spelling](n): t for n, t in tensors.items()})
    assert equal(merged(base, copy), expected)
    assert any("not named as peft saves them" in note for note in open_pair(base, copy).notes)


def test_several_adapters_in_one_file(base: Path, copy: Path) -> None:
    change_tensors(
        copy,
        lambda tensors: {
            n.replace(".weight", f".{name}.weight"): t.clone()
            for n, t in tensors.items()
            if "lora_A" in n or "lora_B" in n
            for name in ("first", "second")
        },
    )
    with pytest.raises(UserError, match=r"holds the adapters first, second; .*\['first'\]"):
        open_pair(base, copy)


def test_an_older_peft_saved_the_base_layer_under_its_plain_name(
    base: Path, tmp_path: Path
) -> None:
    adapter = save_adapter(base, tmp_path / "adapter", target_modules=["embed_tokens"])
    expected = merged(base, adapter)
    assert not equal(expected, read_tensors(base))
    change_tensors(
        adapter, lambda tensors: {n.replace(".base_layer", ""): t for n, t in tensors.items()}
    )
    assert equal(merged(base, adapter), expected)


def test_two_alphas_for_one_module(base: Path, copy: Path, tmp_path: Path) -> None:
    """In training the first that was written counts; peft saves them sorted."""
    change_config(copy, alpha_pattern={"q_proj": 3, r"layers\.\d+\.self_attn\.q_proj": 64})
    assert equal(merged(base, copy), merged_by_peft(base, copy, tmp_path / "merged"))
    (note,) = [note for note in open_pair(base, copy).notes if "alpha_pattern" in note]
    assert "is merged with alpha 3, as peft merges it; the training may have used 64" in note
    change_config(copy, alpha_pattern={"q_proj": 3, r".*q_proj": 3})
    assert not any("alpha_pattern" in note for note in open_pair(base, copy).notes)


def test_two_ranks_for_one_module(base: Path, plain: Path, copy: Path) -> None:
    """The tensors have that of the training, and alpha is divided by it."""
    change_config(copy, rank_pattern={"q_proj": 3, r".*\.q_proj": 4})
    assert equal(merged(base, copy), merged(base, plain))
    (note,) = [note for note in open_pair(base, copy).notes if "rank_pattern" in note]
    assert "rank 4, which its tensors have, where peft would expect 3" in note


def test_a_target_that_was_mistyped(base: Path, plain: Path, copy: Path) -> None:
    change_config(copy, target_modules=["q_proj", "v_proj", "o_porj"])
    assert any("names 'o_porj', of which" in note for note in open_pair(base, copy).notes)
    assert not any("of which" in note for note in open_pair(base, plain).notes)
