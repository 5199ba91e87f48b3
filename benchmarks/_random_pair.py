"""Random pairs of checkpoints of any size, in the shape of a Llama."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

SHARD_BYTES = 1e9
CHUNK = 1 << 22
"""Entries made at once, so that memory does not grow with the model."""
DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}
_STORED = {"bf16": "BF16", "f32": "F32"}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a Llama with an untied head."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int
    vocab_size: int

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """The shape of every stored tensor by its name."""
        hidden, wide = self.hidden_size, self.intermediate_size
        grouped = hidden // self.num_attention_heads * self.num_key_value_heads
        block = {
            "input_layernorm": (hidden,),
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (grouped, hidden),
            "self_attn.v_proj": (grouped, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "post_attention_layernorm": (hidden,),
            "mlp.gate_proj": (wide, hidden),
            "mlp.up_proj": (wide, hidden),
            "mlp.down_proj": (hidden, wide),
        }
        return {
            "model.embed_tokens.weight": (self.vocab_size, hidden),
            **{
                f"model.layers.{layer}.{name}.weight": shape
                for layer in range(self.num_hidden_layers)
                for name, shape in block.items()
            },
            "model.norm.weight": (hidden,),
            "lm_head.weight": (self.vocab_size, hidden),
        }

    @property
    def num_parameters(self) -> int:
        """How many parameters the model has."""
        return sum(math.prod(shape) for shape in self.tensors().values())


def shape_of(num_parameters: float) -> Shape:
    """A shape of about this many parameters; of 1.1e9 that of TinyLlama-1.1B, exactly.

    The width is a multiple of 256, heads are 64 wide, four or eight of them share a key, the MLP is
    2.75 times as wide as the model. The vocabulary is 32,000 words, 2,000 below 1e8 parameters, so
    that a small model is not all embeddings. Each width has the depth that comes nearest to the
    number; taken is the one whose depth to width comes nearest to 22 layers to 2,048.
    """
    vocab_size = 32_000 if num_parameters >= 1e8 else 2_000
    shapes = []
    for width in range(256, 16_384 + 1, 256):
        empty, one = (_shape(width, depth, vocab_size).num_parameters for depth in (0, 1))
        depth = max(1, round((num_parameters - empty) / (one - empty)))
        shapes.append(_shape(width, depth, vocab_size))
    return min(
        shapes,
        key=lambda shape: abs(math.log(shape.num_hidden_layers / 22 * 2048 / shape.hidden_size)),
    )


def _shape(hidden_size: int, num_hidden_layers: int, vocab_size: int) -> Shape:
    num_heads = hidden_size // 64
    return Shape(
        hidden_size=hidden_size,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads // (8 if num_heads % 8 == 0 else 4),
        intermediate_size=hidden_size * 11 // 4,
        vocab_size=vocab_size,
    )


class Pair(NamedTuple):
    """Two model folders."""

    base: Path
    tuned: Path
    shape: Shape
    checkpoint_bytes: int  # of one of them on disk

    def read(self) -> None:
        """Read all files once, so that they lie in the page cache if it is large enough."""
        for folder in (self.base, self.tuned):
            for path in folder.iterdir():
                with path.open("rb", buffering=0) as file:
                    while file.read(1 << 24):
                        pass


def random_pair(
    folder: Path,
    num_parameters: float,
    *,
    dtype: str = "bf16",
    update: float = 5e-5,
    seed: int = 0,
) -> Pair:
    """A pair below ``folder``; taken as it is when an earlier call made it.

    Base weights are normal with deviation 0.02, those of norms 1; the update is normal with
    deviation ``update``. In bf16 the default leaves about half of the entries as they were, as
    fine-tuning with a small rate does.
    """
    shape = shape_of(num_parameters)
    place = folder / f"{shape.num_parameters / 1e9:.3f}b-{dtype}-{update:g}-seed{seed}"
    if not place.exists():
        partial = place.with_name(f".{place.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        for name in ("base", "tuned"):
            (partial / name).mkdir(parents=True)
            _write_config(partial / name, shape, dtype)
        _write_weights(partial, shape, dtype, update, seed)
        partial.rename(place)
    size = sum(path.stat().st_size for path in (place / "tuned").iterdir())
    return Pair(place / "base", place / "tuned", shape, size)


def _write_config(folder: Path, shape: Shape, dtype: str) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **asdict(shape),
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 2048,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
        "dtype": str(DTYPES[dtype]).removeprefix("torch."),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def _write_weights(folder: Path, shape: Shape, dtype: str, update: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shards = list(_shards(shape.tensors(), DTYPES[dtype].itemsize))
    weight_map = {}
    for number, tensors in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        header = _header(tensors, dtype)
        with (
            (folder / "base" / file).open("wb") as base,
            (folder / "tuned" / file).open("wb") as tuned,
        ):
            base.write(header)
            tuned.write(header)
            for name, size in tensors.items():
                left = math.prod(size)
                while left:
                    before = torch.randn(min(CHUNK, left), generator=generator) * 0.02
                    if "norm" in name:
                        before += 1
                    before = before.to(DTYPES[dtype])
                    moved = torch.randn(len(before), generator=generator) * update
                    base.write(_stored(before))
                    tuned.write(_stored((before.float() + moved).to(DTYPES[dtype])))
                    left -= len(before)
        weight_map |= dict.fromkeys(tensors, file)
    size = shape.num_parameters * DTYPES[dtype].itemsize
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    for name in ("base", "tuned"):
        (folder / name / "model.safetensors.index.json").write_text(json.dumps(index))


def _shards(
    tensors: Mapping[str, tuple[int, ...]], itemsize: int
) -> Iterator[dict[str, tuple[int, ...]]]:
    shard: dict[str, tuple[int, ...]] = {}
    size = 0
    for name, shape in tensors.items():
        num_bytes = math.prod(shape) * itemsize
        if shard and size + num_bytes > SHARD_BYTES:
            yield shard
            shard, size = {}, 0
        shard[name] = shape
        size += num_bytes
    yield shard


def _header(tensors: Mapping[str, tuple[int, ...]], dtype: str) -> bytes:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in tensors.items():
        begin, end = end, end + math.prod(shape) * DTYPES[dtype].itemsize
        header[name] = {"dtype": _STORED[dtype], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _stored(values: Tensor) -> memoryview:
    return values.view(torch.uint8).numpy().data
