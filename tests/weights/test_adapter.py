"""An adapter as the tuned side: what peft merges, bit for bit, or a refusal."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_adapters import (
    CONFIG,
    WEIGHTS,
    change_config,
    change_tensors,
    merged_by_peft,
    save_adapter,
)
from tiny_models import (
    read_tensors,
    same_bits,
    save_model,
    save_tokenizer,
    write_copy,
    write_restored,
)
from transformers import AutoModelForCausalLM, AutoTokenizer

from remedies import run_python
from sftlens.errors import UserError
from sftlens.weights import CheckpointPair, _adapter, diff, open_pair
from sftlens.weights._lora import merged_weight

Tensors = dict[str, torch.Tensor]
ATTENTION = ["q_proj", "v_proj"]
Q = "base_model.model.model.layers.0.self_attn.q_proj"


class Bases:
    """Models in several shards, saved once each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str, dtype: torch.dtype = torch.bfloat16) -> Path:
        folder = self._folder / f"{name}-{dtype}".replace("torch.", "")
        if not folder.exists():
            save_model(folder, name, dtype=dtype, max_shard_size="8KB")
            assert len(list(folder.glob("*.safetensors"))) > 1
        return folder


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    return Bases(tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="module")
def plain(bases: Bases, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LoRA of some attention weights of the Llama in bfloat16; tests change copies of it."""
    folder = tmp_path_factory.mktemp("adapters") / "plain"
    return save_adapter(bases("llama"), folder, target_modules=ATTENTION)


@pytest.fixture
def copy(plain: Path, tmp_path: Path) -> Path:
    return shutil.copytree(plain, tmp_path / "adapter")


def merged(pair: CheckpointPair) -> Tensors:
    files, tensors = pair.tuned_files, pair.tuned.tensors
    return {name: files.entries(info).view(info.shape).clone() for name, info in tensors.items()}


def differing(first: Tensors, second: Tensors) -> list[str]:
    assert set(first) == set(second)
    return [name for name in first if not same_bits(first[name], second[name])]


CASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "plain": ("llama", 4, {"target_modules": ATTENTION}),
    "every linear layer": ("llama", 14, {"target_modules": "all-linear"}),
    "rslora": ("llama", 4, {"target_modules": ATTENTION, "use_rslora": True}),
    "patterns": (
        *("llama", 4),
        {
            "target_modules": ATTENTION,
            "rank_pattern": {r"layers\.1\.self_attn\..*": 3, "q_proj": 2},
            "alpha_pattern": {r"model\.layers\.0\..*": 5, "k_proj": 99},
        },
    ),
    "dora": ("llama", 6, {"target_modules": [*ATTENTION, "down_proj"], "use_dora": True}),
    "embeddings and head": ("llama", 4, {"target_modules": ["k_proj", "embed_tokens", "lm_head"]}),
    "embeddings, dora": ("llama", 1, {"target_modules": ["embed_tokens"], "use_dora": True}),
    "modules to save": (
        *("llama", 11),  # peft takes "norm" as the end of any name
        {
            "target_modules": ATTENTION,
            "modules_to_save": ["embed_tokens", "lm_head", "norm", "input_layernorm"],
        },
    ),
    "Conv1D": ("gpt2", 6, {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    "Conv1D, dora": ("gpt2", 6, {"target_modules": ["c_attn", "c_proj"], "use_dora": True}),
    "bias of B": ("gpt2", 8, {"target_modules": ["c_attn", "c_fc"], "lora_bias": True}),
    "biases of targets": ("gpt2", 4, {"target_modules": ["c_attn"], "bias": "lora_only"}),
    "biases of targets and of B": (
        *("gpt2", 4),
        {"target_modules": ["c_attn"], "bias": "lora_only", "lora_bias": True},
    ),
    "all biases": ("gpt2", 15, {"target_modules": ["c_attn"], "bias": "all"}),
    "neox": (
        *("gpt_neox", 16),
        {"target_modules": ["query_key_value", "embed_in", "embed_out"], "bias": "all"},
    ),
    "tied, embeddings left alone": ("qwen3", 14, {"target_modules": "all-linear"}),
    "experts left alone": ("mixtral", 4, {"target_modules": ATTENTION}),
    "shared expert": ("qwen2_moe", 2, {"target_modules": ["shared_expert.up_proj"]}),
    "orthogonal": ("llama", 4, {"target_modules": ATTENTION, "init_lora_weights": "orthogonal"}),
}
EVERY_TYPE = ("plain", "dora", "embeddings and head", "modules to save", "bias of B")


@pytest.mark.parametrize(
    ("case", "base_dtype", "dtype"),
    [(case, torch.bfloat16, torch.float32) for case in CASES]
    + [(case, torch.float16, torch.bfloat16) for case in EVERY_TYPE]
    + [(case, torch.float32, torch.float16) for case in EVERY_TYPE],
)
def test_the_merge_is_that_of_peft(
    tmp_path: Path, bases: Bases, case: str, base_dtype: torch.dtype, dtype: torch.dtype
) -> None:
    name, num_changed, settings = CASES[case]
    base = bases(name, base_dtype)
    adapter = save_adapter(base, tmp_path / "adapter", dtype=dtype, **settings)
    found = merged(open_pair(base, adapter))
    assert differing(found, merged_by_peft(base, adapter, tmp_path / "merged")) == []
    assert len(differing(found, read_tensors(base))) == num_changed


def test_the_pair_is_that_of_the_merged_model(tmp_path: Path, bases: Bases, plain: Path) -> None:
    base = bases("llama")
    merged_by_peft(base, plain, tmp_path / "merged")
    pair, other = open_pair(base, plain), open_pair(base, tmp_path / "merged")
    assert list(pair.tensors) == list(other.tensors)
    found, expected = diff(pair, shares=[1, 20]), diff(other, shares=[1, 20])
    assert found.concentration == expected.concentration
    assert found.tensors.equals(expected.tensors)


def test_a_base_spelt_without_its_prefix(tmp_path: Path, bases: Bases) -> None:
    def renamed(tensors: Tensors) -> Tensors:
        return {name.removeprefix("transformer."): value for name, value in tensors.items()}

    base = write_copy(bases("gpt2"), tmp_path / "base", renamed)
    adapter = save_adapter(base, tmp_path / "adapter", target_modules=["c_attn"])
    found = merged(open_pair(base, adapter))
    assert "h.0.attn.c_attn.weight" in found
    assert differing(found, renamed(merged_by_peft(base, adapter, tmp_path / "merged"))) == []


def test_restored_models(tmp_path: Path, bases: Bases, plain: Path) -> None:
    base = shutil.copytree(bases("llama"), tmp_path / "base")
    save_tokenizer(base)
    expected = {0: merged_by_peft(base, plain, tmp_path / "merged"), 100: read_tensors(base)}
    outputs = write_restored(base, plain, [0, 100], tmp_path / "out", region="all")
    for output in outputs:
        assert differing(read_tensors(output.path), expected[output.share]) == []
        assert {path.name for path in output.path.iterdir()} == {
            path.name for path in base.iterdir()
        } | {"README.md", "manifest.json"}
        model, told = AutoModelForCausalLM.from_pretrained(
            output.path, dtype="auto", output_loading_info=True
        )
        assert not any(told[kind] for kind in ("missing_keys", "unexpected_keys"))
        assert differing(dict(model.state_dict()), expected[output.share]) == []
        assert AutoTokenizer.from_pretrained(output.path).chat_template


def test_one_merged_tensor_is_kept(
    bases: Bases, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = open_pair(bases("llama"), plain)
    places = [pair.tuned.tensors[f"model.layers.{n}.self_attn.q_proj.weight"] for n in (0, 1)]
    first = pair.tuned_files.entries(places[0])
    assert pair.tuned_files.entries(places[0]) is first
    assert pair.tuned_files.stored_bytes(places[0]).data_ptr() == first.data_ptr()
    watched = weakref.ref(first)
    del first
    alive = []

    def merging(*arguments: Any) -> torch.Tensor:
        alive.append(watched() is not None)
        return merged_weight(*arguments)

    monkeypatch.setattr(_adapter, "merged_weight", merging)
    pair.tuned_files.entries(places[1])
    assert alive == [False]


def test_threads_read_several_tensors(bases: Bases, plain: Path) -> None:
    pair = open_pair(bases("llama"), plain)
    expected = merged(pair)
    with ThreadPoolExecutor(4) as pool:
        names = list(expected) * 8
        found = pool.map(
            lambda name: pair.tuned_files.entries(pair.tuned.tensors[name]).clone(), names
        )
        for name, values in zip(names, found, strict=True):
            assert same_bits(values.view(expected[name].shape), expected[name])


def test_peft_is_not_needed(bases: Bases, plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = merged(open_pair(bases("llama"), plain))
    monkeypatch.setitem(sys.modules, "peft", None)  # importing it fails
    assert differing(merged(open_pair(bases("llama"), plain)), expected) == []


def test_identities(bases: Bases, copy: Path, tmp_path: Path) -> None:
    base = bases("llama")
    pair = open_pair(base, copy)
    before = pair.tuned_identity()
    assert before["name"] == str(copy)
    assert set(before) == set(pair.base_identity())
    assert pair.base_identity() == open_pair(base, base).tuned_identity()
    assert before["files"] == pair.base_identity()["files"]
    lines = subprocess.run(
        ["sha256sum", CONFIG, WEIGHTS], cwd=copy, capture_output=True, check=True
    ).stdout
    again = subprocess.run(["sha256sum"], input=lines, capture_output=True, check=True).stdout
    assert before["weights"] == again.decode().split()[0]
    change_config(copy, lora_alpha=9)
    assert open_pair(base, copy).tuned_identity()["weights"] != before["weights"]
    save_tokenizer(copy)
    assert open_pair(base, copy).tuned_identity()["files"] != before["files"]


@pytest.mark.parametrize(
    ("named", "told"),
    [
        *((None, False), ("", False), ("somewhere/else/Llama-BFloat16", False)),
        *(("org/other", True), ("/models/other/", True)),
    ],
)
def test_another_base_is_told(bases: Bases, copy: Path, named: str | None, told: bool) -> None:
    change_config(copy, base_model_name_or_path=named)
    pair = open_pair(bases("llama"), copy)
    assert any("names" in note and str(named) in note for note in pair.notes) == told
    assert "4 of its tensors updated, 0 replaced" in pair.notes[0]


REFUSED_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "another method": ({"peft_type": "LOHA"}, "peft_type is 'LOHA'"),
    "no method": ({"peft_type": None}, "peft_type is None"),
    "another task": ({"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS'"),
    "pissa": ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
    "pissa_niter": ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights is 'pissa_niter_4'"),
    "olora": ({"init_lora_weights": "olora"}, "init_lora_weights is 'olora'"),
    "corda": ({"init_lora_weights": "corda"}, "init_lora_weights is 'corda'"),
    "loftq": ({"init_lora_weights": "loftq"}, "init_lora_weights is 'loftq'"),
    "lora_ga": ({"init_lora_weights": "lora_ga"}, "init_lora_weights is 'lora_ga'"),
    "mica": ({"init_lora_weights": "mica"}, "init_lora_weights is 'mica'"),
    "parameters": ({"target_parameters": "experts.down_proj"}, "target_parameters is"),
    "replication": ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication is"),
    "tokens": ({"trainable_token_indices": [-3]}, "trainable_token_indices is"),
    "a rank in the billions": ({"r": 1 << 40}, "r is 1099511627776, not below 2,147,483,648"),
    "an alpha beyond floats": ({"lora_alpha": 10**400}, "lora_alpha is 10+.*, not below"),
    "activated": ({"alora_invocation_tokens": [5]}, "alora_invocation_tokens is"),
    "kasa": ({"kasa_config": {"beta": 1}}, "kasa_config is"),
    "quantised": ({"loftq_config": {"loftq_bits": 4}}, "loftq_config is"),
    "a field to come": ({"use_something_new": True}, "use_something_new is True"),
    "rank 0": ({"r": 0}, "r is 0, not a whole number above 0"),
    "a broken rank": ({"r": "4"}, "r is '4', not a whole number"),
    "a broken alpha": ({"lora_alpha": None}, "lora_alpha is None, not a number"),
    "a broken pattern": ({"rank_pattern": {"(": 2}}, r"rank_pattern names '\('"),
    "a pattern of no rank": ({"rank_pattern": {"x": 1.5}}, "rank_pattern of 'x' is 1.5"),
    "no pattern": ({"alpha_pattern": [1]}, r"alpha_pattern is \[1\]"),
    "no names": ({"modules_to_save": "norm"}, "modules_to_save is 'norm'"),
    "another rank": ({"r": 8}, rf"'{Q}.lora_A.weight' is of shape \[4, 16\] instead of \[8, 16\]"),
    "dora": ({"use_dora": True}, rf"lacks {Q}.lora_magnitude_vector"),
    "a bias of B": ({"lora_bias": True}, rf"lacks {Q}.lora_B.bias"),
    "a module not saved": ({"modules_to_save": ["norm"]}, "lacks the tensors of 'norm'"),
}


@pytest.mark.parametrize("fields", REFUSED_FIELDS)
def test_configurations_that_are_refused(bases: Bases, copy: Path, fields: str) -> None:
    change, told = REFUSED_FIELDS[fields]
    refused(bases("llama"), change_config(copy, **change), told)


@pytest.mark.parametrize("value", [None, False, [], {}, ""])
def test_unknown_fields_that_say_nothing(bases: Bases, copy: Path, value: object) -> None:
    assert open_pair(bases("llama"), change_config(copy, use_something_new=value)).adapter


def refused(base: Path, adapter: Path, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        open_pair(base, adapter)
    assert "\n" not in str(caught.value)
    assert str(adapter) in str(caught.value)


def with_tensor(name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Callable:
    return lambda tensors: tensors | {name: torch.zeros(shape, dtype=dtype)}


def renamed(old: str, new: str) -> Callable:
    return lambda tensors: {name.replace(old, new): value for name, value in tensors.items()}


LAYERS = "base_model.model.model.layers"
REFUSED_TENSORS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "none": (lambda _: {}, "holds no tensors"),
    "A without B": (
        lambda tensors: {k: v for k, v in tensors.items() if k != f"{Q}.lora_B.weight"},
        rf"lacks {Q}.lora_B.weight, and holds '{Q}.lora_A.weight'",
    ),
    "B without A": (
        lambda tensors: {k: v for k, v in tensors.items() if k != f"{Q}.lora_A.weight"},
        rf"lacks {Q}.lora_A.weight",
    ),
    "a layer too many": (renamed("layers.1", "layers.7"), r"no counterpart 'model.layers.7"),
    "another module": (renamed("q_proj", "qkv_proj"), r"no counterpart .*qkv_proj.weight'"),
    "a norm": (
        renamed("0.self_attn.q_proj", "0.input_layernorm"),
        "a module of class LlamaRMSNorm",
    ),
    "an embedding as a linear layer": (
        renamed("layers.0.self_attn.q_proj", "embed_tokens"),
        rf"lacks {LAYERS[:-7]}.embed_tokens.lora_embedding_A",
    ),
    "a part of another method": (renamed("lora_A", "lora_diag"), "is none of plain LoRA"),
    "not a number": (
        lambda tensors: {name: value / 0 for name, value in tensors.items()},
        "holds NaN or infinity",
    ),
    "B of another base": (with_tensor(f"{Q}.lora_B.weight", 32, 4), r"\[32, 4\] .* \[16, 4\]"),
    "one dimension": (with_tensor(f"{Q}.lora_B.weight", 64), r"of shape \[64\]"),
    "a magnitude": (with_tensor(f"{Q}.lora_magnitude_vector", 16), "no part in a linear layer"),
    "a bias": (with_tensor(f"{Q}.lora_B.bias", 16), "no part in a linear layer"),
    "a module to save": (with_tensor(f"{LAYERS}.9.norm.weight", 16), "no counterpart"),
    "a larger vocabulary": (
        with_tensor("base_model.model.lm_head.weight", 66, 16),
        r"\[66, 16\] instead of \[64, 16\].*with a vocabulary of 66 rows",
    ),
    "a base layer alone": (
        with_tensor(f"{LAYERS}.0.mlp.up_proj.base_layer.weight", 24, 16),
        "belongs to a module without an update",
    ),
    "integers": (with_tensor(f"{Q}.lora_A.weight", 4, 16, dtype=torch.int8), "stored as I8"),
}


@pytest.mark.parametrize("tensors", REFUSED_TENSORS)
def test_tensors_that_are_refused(bases: Bases, copy: Path, tensors: str) -> None:
    change, told = REFUSED_TENSORS[tensors]
    refused(bases("llama"), change_tensors(copy, change), told)


def test_a_quantised_base_is_refused(tmp_path: Path, bases: Bases, plain: Path) -> None:
    def quantised(tensors: Tensors) -> Tensors:
        name = "model.layers.0.self_attn.q_proj.weight"
        return tensors | {name: tensors[name].to(torch.int8)}

    base = write_copy(bases("llama"), tmp_path / "base", quantised)
    refused(base, plain, "which the base stores as I8")


def test_an_adapter_is_no_base(bases: Bases, plain: Path) -> None:
    with pytest.raises(UserError, match="is a PEFT adapter"):
        open_pair(plain, bases("llama"))


def test_pickled_weights_are_refused_with_what_converts_them(
    bases: Bases, copy: Path, tmp_path: Path
) -> None:
    expected = merged(open_pair(bases("llama"), copy))
    quoted = copy.rename(tmp_path / 'it\'s "mine"')
    torch.save(load_file(quoted / WEIGHTS), quoted / "adapter_model.bin")
    (quoted / WEIGHTS).unlink()
    with pytest.raises(UserError, match="pickled adapter weights only") as caught:
        open_pair(bases("llama"), quoted)
    run_python(caught.value, tmp_path)
    assert differing(merged(open_pair(bases("llama"), quoted)), expected) == []


def test_a_folder_without_weights(bases: Bases, copy: Path) -> None:
    (copy / WEIGHTS).unlink()
    refused(bases("llama"), copy, "holds no adapter weights")


def test_a_broken_configuration(bases: Bases, copy: Path) -> None:
    (copy / CONFIG).write_text(json.dumps([1]))
    refused(bases("llama"), copy, "holds no JSON object")
