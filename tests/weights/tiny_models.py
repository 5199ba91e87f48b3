"""Tiny model folders, and naive references, for the tests of the weights room."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedTokenizerFast,
)

_COMMON = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}
_GROUPED = {**_COMMON, "num_key_value_heads": 1, "head_dim": 8, "intermediate_size": 24}
CONFIGS = {
    "gpt2": {
        "model_type": "gpt2",
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "vocab_size": 64,
        "n_positions": 32,
        "bos_token_id": 0,
        "eos_token_id": 1,
    },
    "gpt_neox": {"model_type": "gpt_neox", **_COMMON, "intermediate_size": 24},
    "llama": {"model_type": "llama", **_COMMON, "intermediate_size": 24},
    "qwen3": {"model_type": "qwen3", **_GROUPED, "tie_word_embeddings": True},
    "gemma2": {"model_type": "gemma2", **_GROUPED},
    "mixtral": {"model_type": "mixtral", **_GROUPED, "num_local_experts": 3},
    "qwen2_moe": {
        "model_type": "qwen2_moe",
        **_COMMON,
        "num_key_value_heads": 2,
        "intermediate_size": 24,
        "moe_intermediate_size": 8,
        "shared_expert_intermediate_size": 8,
        "num_experts": 3,
    },
}


def tiny_config(name: str, **changes: object) -> PretrainedConfig:
    settings = {**CONFIGS[name], **changes}
    return AutoConfig.for_model(settings.pop("model_type"), **settings)


def save_model(
    folder: Path,
    name: str,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    max_shard_size: str = "1GB",
    **changes: object,
) -> Path:
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(name, **changes)).to(dtype)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    return folder


def save_tokenizer(folder: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())[:60]
    vocabulary = {token: place for place, token in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    fast.save_pretrained(folder)


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return tensors


def write_copy(
    source: Path,
    folder: Path,
    change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
    *,
    num_shards: int = 1,
) -> Path:
    """A copy of a model folder with other tensors, dealt out to shards one by one."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors*"))
    tensors = change(read_tensors(source))
    if num_shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    weight_map = {}
    for shard in range(num_shards):
        file = f"model-{shard + 1:05d}-of-{num_shards:05d}.safetensors"
        part = dict(sorted(tensors.items())[shard::num_shards])
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def moved(scale: float = 1e-2, *, share: float = 1.0, seed: int = 1) -> Callable:
    """A stand-in for fine-tuning: noise on a share of the entries of every tensor."""

    def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        result = {}
        for name, tensor in sorted(tensors.items()):
            noise = torch.randn(tensor.shape, generator=generator) * scale
            chosen = torch.rand(tensor.shape, generator=generator) < share
            result[name] = (tensor.float() + noise * chosen).to(tensor.dtype)
        return result

    return change


def naive_order(
    base: dict[str, torch.Tensor],
    tuned: dict[str, torch.Tensor],
    names: list[str],
    ranking: str,
    *,
    bottom: bool = False,
) -> list[tuple[str, int]]:
    """All parameters, first restored first, by a sort with the whole order as its key."""
    entries = []
    for name in names:
        before = base[name].float().flatten().numpy()
        after = tuned[name].float().flatten().numpy()
        change = np.abs(after - before)
        match ranking:
            case "relative":
                change = change / (np.abs(before) + np.float32(1e-8))
            case "small-base":
                change = -np.abs(before)
        sign = 1 if bottom else -1
        entries += [(sign * value, name, flat) for flat, value in enumerate(change.tolist())]
    return [(name, flat) for _, name, flat in sorted(entries)]


def naive_restoration(
    base: dict[str, torch.Tensor],
    tuned: dict[str, torch.Tensor],
    names: list[str],
    ranking: str,
    num_restored: int,
    *,
    bottom: bool = False,
) -> dict[str, torch.Tensor]:
    result = {name: tensor.clone() for name, tensor in tuned.items()}
    for name, flat in naive_order(base, tuned, names, ranking, bottom=bottom)[:num_restored]:
        result[name].view(-1)[flat] = base[name].reshape(-1)[flat].to(result[name].dtype)
    return result


def same_bits(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.dtype == second.dtype and torch.equal(
        first.contiguous().view(torch.uint8), second.contiguous().view(torch.uint8)
    )
