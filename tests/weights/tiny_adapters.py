"""PEFT adapters of tiny models, and the models that peft itself makes of them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_models import read_tensors
from transformers import AutoModelForCausalLM

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
Tensors = dict[str, torch.Tensor]


def save_adapter(
    base: Path,
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    seed: int = 3,
    **settings: Any,
) -> Path:
    """An adapter as peft saves it, every tensor of it moved as training would."""
    settings = {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", **settings}
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        get_peft_model(model, LoraConfig(**settings)).save_pretrained(folder)
    generator = torch.Generator().manual_seed(seed)

    def trained(tensors: Tensors) -> Tensors:
        result = {}
        for name, tensor in sorted(tensors.items()):
            noise = torch.randn(tensor.shape, generator=generator)
            result[name] = (tensor.float() + 0.1 * noise).to(dtype)
        return result

    return change_tensors(folder, trained)


def change_tensors(folder: Path, change: Callable[[Tensors], Tensors]) -> Path:
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, metadata={"format": "pt"})
    return folder


def change_config(folder: Path, **fields: Any) -> Path:
    path = folder / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return folder


def merged_by_peft(base: Path, adapter: Path, folder: Path) -> Tensors:
    """What peft's own merge stores, by the names of the tensors."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(folder)
    return read_tensors(folder)
