"""The weights of a repaired model in llama.cpp's format.

llama.cpp's own converter is a script of its repository and not packaged, so the file is written
here by its Python package ``gguf``: names from its table, queries and keys in its order of rotary
dimensions. transformers reads it back, and the model answers as before. The vocabulary is not
written: it is a copy of the tuned model's files, and no part of what a repair changes.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from sftlens.repair import RepairResult

gguf = pytest.importorskip("gguf")


def write_llama(folder: Path, path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        values = tensor.float()
        for part, num_heads in (
            ("q_proj", config.num_attention_heads),
            ("k_proj", config.num_key_value_heads),
        ):
            if part in name:
                pairs = values.reshape(num_heads, 2, -1, values.shape[-1])
                values = pairs.swapaxes(1, 2).reshape(values.shape)
        writer.add_tensor(names.get_name(name, (".weight",)), values.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_the_repaired_model_goes_through_gguf(repaired: RepairResult, tmp_path: Path) -> None:
    folder = Path(repaired.out) / "model"
    write_llama(folder, tmp_path / "model.gguf")
    read = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf")
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokens = torch.arange(24).view(2, 12)
    with torch.no_grad():
        torch.testing.assert_close(read(tokens).logits, model(tokens).logits)
