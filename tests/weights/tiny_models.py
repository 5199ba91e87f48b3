"""Tiny model folders, and naive references, for the tests of the weights room."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
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

from sftlens.progress import Advance, silent
from sftlens.weights import (
    CheckpointPair,
    Request,
    Restoration,
    RestoredOutput,
    open_pair,
    restore_checkpoints,
)
from sftlens.weights._kernels import NumpyKernels
from sftlens.weights._sweep import stored_values

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
_UNGROUPED = {**_GROUPED, "num_key_value_heads": 2}
_GPT = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 64, "n_positions": 32}
_EXPERTS = {"moe_intermediate_size": 8, "num_experts_per_tok": 2}
_SHARED_EXPERTS = {**_EXPERTS, "n_routed_experts": 4, "n_shared_experts": 1}
_STATE_SPACE = {"hidden_size": 16, "num_hidden_layers": 2, "vocab_size": 64, "state_size": 4}
_DELTA_NET = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 1,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
CONFIGS = {
    "bart": {
        "d_model": 16,
        "decoder_layers": 2,
        "encoder_layers": 2,
        "decoder_attention_heads": 2,
        "encoder_attention_heads": 2,
        "decoder_ffn_dim": 24,
        "vocab_size": 64,
        "pad_token_id": None,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "forced_eos_token_id": None,
    },
    "bloom": _COMMON,
    "deepseek_v3": {
        **_UNGROUPED,
        **_SHARED_EXPERTS,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "q_lora_rank": 8,
        "kv_lora_rank": 8,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 4,
    },
    "doge": _GROUPED,
    "falcon": _COMMON,
    "falcon_h1": {
        **_GROUPED,
        "mamba_d_ssm": 16,
        "mamba_n_heads": 2,
        "mamba_d_head": 8,
        "mamba_d_state": 4,
    },
    "gemma2": _GROUPED,
    "gemma3": {
        "text_config": _GROUPED,
        "vision_config": {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 24,
            "image_size": 28,
            "patch_size": 14,
        },
        "mm_tokens_per_image": 4,
    },
    "gpt2": {**_GPT, "bos_token_id": 0, "eos_token_id": 1},
    "gpt_neox": {**_COMMON, "intermediate_size": 24},
    "gpt_oss": {**_GROUPED, "num_local_experts": 3},
    "gptj": {**_GPT, "rotary_dim": 4},
    "granite": _GROUPED,
    "granitemoe": {**_GROUPED, "num_local_experts": 3},
    "jamba": {
        **_GROUPED,
        "num_experts": 2,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "mamba_d_state": 4,
        "mamba_dt_rank": 2,
    },
    "jetmoe": {**_GROUPED, "num_local_experts": 2, "kv_channels": 8},
    "lfm2": {**_UNGROUPED, "layer_types": ["conv", "full_attention"], "block_multiple_of": 8},
    "lfm2_moe": {
        **_UNGROUPED,
        **_EXPERTS,
        "layer_types": ["conv", "full_attention"],
        "num_experts": 3,
        "num_dense_layers": 1,
    },
    "llama": {**_COMMON, "intermediate_size": 24},
    "mamba": _STATE_SPACE,
    "mamba2": {**_STATE_SPACE, "num_heads": 4, "head_dim": 8, "n_groups": 1},
    "minimax": {
        **_GROUPED,
        "layer_types": ["linear_attention", "full_attention"],
        "num_local_experts": 2,
    },
    "mistral": _GROUPED,
    "mixtral": {**_GROUPED, "num_local_experts": 3},
    "nemotron_h": {
        **_GROUPED,
        "num_hidden_layers": 4,
        "layers_block_type": ["mamba", "moe", "attention", "mlp"],
        "mamba_num_heads": 4,
        "mamba_head_dim": 8,
        "ssm_state_size": 4,
        "n_groups": 1,
        "n_routed_experts": 2,
        "n_shared_experts": 1,
        "moe_intermediate_size": 8,
        "moe_shared_expert_intermediate_size": 8,
        "num_experts_per_tok": 1,
    },
    "olmo2": _GROUPED,
    "opt": {**_COMMON, "ffn_dim": 24, "word_embed_proj_dim": 16, "max_position_embeddings": 32},
    "phi3": _GROUPED,
    "qwen2": _UNGROUPED,
    "qwen2_moe": {
        **_COMMON,
        "num_key_value_heads": 2,
        "intermediate_size": 24,
        "moe_intermediate_size": 8,
        "shared_expert_intermediate_size": 8,
        "num_experts": 3,
    },
    "qwen3": {**_GROUPED, "tie_word_embeddings": True},
    "qwen3_moe": {**_GROUPED, **_EXPERTS, "num_experts": 3},
    "qwen3_next": {
        **_GROUPED,
        **_EXPERTS,
        **_DELTA_NET,
        "shared_expert_intermediate_size": 8,
        "num_experts": 3,
    },
    "recurrent_gemma": {**_GROUPED, "lru_width": 16, "num_hidden_layers": 3},
    "rwkv": {
        "hidden_size": 16,
        "attention_hidden_size": 16,
        "num_hidden_layers": 2,
        "vocab_size": 64,
    },
    "xlstm": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_blocks": 2,
        "num_heads": 2,
        "vocab_size": 64,
    },
    "zamba2": {
        **_UNGROUPED,
        "num_hidden_layers": 3,
        "layers_block_type": ["mamba", "hybrid", "mamba"],
        "hybrid_layer_ids": [1],
        "num_mem_blocks": 1,
        "mamba_d_state": 4,
        "mamba_ngroups": 1,
        "n_mamba_heads": 2,
        "use_shared_attention_adapter": True,
        "adapter_rank": 4,
    },
}
"""One configuration a family, by the name that transformers calls its type."""


def tiny_config(name: str, **changes: object) -> PretrainedConfig:
    return AutoConfig.for_model(name, **copy.deepcopy({**CONFIGS[name], **changes}))


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


def configured(folder: Path, **settings: object) -> Path:
    """The same folder, with other settings in its config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return folder


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


def restored_tensors(
    pair: CheckpointPair, restoration: Restoration
) -> Iterator[tuple[str, torch.Tensor]]:
    """The region's tensors as a restoration leaves them in memory."""
    for tensor in pair.region(restoration.region):
        yield tensor.name, stored_values(pair, NumpyKernels(), tensor, restoration)


def write_restored(
    base: Path,
    tuned: Path,
    shares: Sequence[float],
    out: Path,
    *,
    advance: Advance = silent,
    **words: object,
) -> list[RestoredOutput]:
    """Restored models of two folders, by the words of a request."""
    request = Request(shares=tuple(shares), **words)
    return restore_checkpoints(open_pair(base, tuned), request, out, advance=advance)
