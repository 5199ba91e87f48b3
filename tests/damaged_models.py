"""Copies of a model folder with something wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

WEIGHTS = "model.safetensors"
Tensors = dict[str, torch.Tensor]


def change_weights(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    tensors = change(load_file(folder / WEIGHTS))
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def copy_model(source: Path, folder: Path, **config: object) -> Path:
    """A copy of a model folder with other fields in its configuration."""
    shutil.copytree(source, folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return folder


def put_nan(tensors: Tensors) -> Tensors:
    tensors["model.norm.weight"][3] = float("nan")
    return tensors


def put_nan_in_a_block(tensors: Tensors) -> Tensors:
    tensors["model.layers.1.mlp.up_proj.weight"][2, 3] = float("nan")
    return tensors


def leave_one_out(tensors: Tensors) -> Tensors:
    del tensors["model.norm.weight"]
    return tensors


def widen_one(tensors: Tensors) -> Tensors:
    tensors["model.norm.weight"] = torch.ones(65)
    return tensors


def pickle_weights(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def truncate(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])


def lose_a_shard(folder: Path) -> None:
    """Leave an index that names a shard which is not there."""
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
    weight_map = dict.fromkeys(
        load_file(folder / "model-00001-of-00002.safetensors"), "model-00001-of-00002.safetensors"
    )
    weight_map["lm_head.weight"] = "model-00002-of-00002.safetensors"
    index = json.dumps({"metadata": {}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(index)


def forget_eos(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["eos_token"]
    path.write_text(json.dumps(config))


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "no such architecture"}')


def need_code(folder: Path) -> None:
    """Make the configuration ask for code of its own, which writes a file when it runs."""
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("open('ran', 'w')\n")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "holds no config.json"),
    "unknown architecture": (break_config, "no such architecture"),
    "own code": (need_code, "cannot be loaded as a causal language model"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "holds no safetensors weights"),
    "pickled": (pickle_weights, "holds pickled weights only"),
    "truncated": (truncate, "is truncated"),
    "a shard is missing": (lose_a_shard, "model-00002-of-00002.safetensors: is missing"),
    "a tensor is missing": (
        lambda folder: change_weights(folder, leave_one_out),
        "weights are missing or of another shape: model.norm.weight",
    ),
    "another shape": (
        lambda folder: change_weights(folder, widen_one),
        "weights are missing or of another shape: model.norm.weight",
    ),
    "NaN": (
        lambda folder: change_weights(folder, put_nan),
        "tensor model.norm.weight holds NaN or infinity",
    ),
    "NaN in a block": (
        lambda folder: change_weights(folder, put_nan_in_a_block),
        "tensor model.layers.1.mlp.up_proj.weight holds NaN or infinity",
    ),
    "no tokenizer": (
        lambda folder: [(folder / name).unlink() for name in TOKENIZER_FILES],
        "holds no tokenizer",
    ),
    "no end of text": (forget_eos, "the tokenizer has no end-of-text token"),
}
"""What to do to a copy of a model folder, and words of the line that tells it."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def damaged(source: Path, folder: Path, damage: str) -> Path:
    """A copy of a model folder with one of :data:`DAMAGES`."""
    shutil.copytree(source, folder)
    DAMAGES[damage][0](folder)
    return folder
