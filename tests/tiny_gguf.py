"""A tiny Llama in llama.cpp's format.

llama.cpp's own converter is a script of its repository and not packaged, so the file is written by
its Python package ``gguf``: names from its table, queries and keys in its order of rotary
dimensions.
"""

from __future__ import annotations

import json
from pathlib import Path

import gguf
from transformers import AutoModelForCausalLM


def write_llama(folder: Path, path: Path, *, vocabulary: bool = False) -> None:
    """Write the model of a folder, and on request its byte-level vocabulary."""
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
    if vocabulary:
        own = json.loads((folder / "tokenizer.json").read_text())["model"]
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list(sorted(own["vocab"], key=own["vocab"].get))
        writer.add_token_merges([" ".join(pair) for pair in own["merges"]])
        writer.add_bos_token_id(config.bos_token_id)
        writer.add_eos_token_id(config.eos_token_id)
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
