"""Model folders written piece by piece, in the layout of the tuned model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from torch import Tensor

from sftlens.checkpoints import CONFIG, Checkpoint, read_json
from sftlens.headers import TensorInfo
from sftlens.storage_types import StorageType
from sftlens.weights._companions import place
from sftlens.weights._pair import CheckpointPair
from sftlens.weights._reading import WeightFiles
from sftlens.weights._storage import config_in, converted, header_in, num_bytes

_SPARE_BYTES = 16 << 20  # for headers, tables and the file system's own


class ModelWriter:
    """The weight files of one model folder, each tensor written at its place in any order.

    The header of every file is that of the tuned model's, byte by byte, so that names, storage
    types, shapes, order and metadata are the same; with ``dtype``, all but types and places.
    """

    def __init__(
        self,
        folder: Path,
        tuned: Checkpoint,
        files: WeightFiles,
        dtype: StorageType | None = None,
    ) -> None:
        self._folder = folder
        self._begins: dict[TensorInfo, int] = {}
        for file in tuned.files:
            header = _header(tuned, files, file, dtype)
            (folder / file).write_bytes(header)
            place = len(header)
            for info in sorted(_tensors(tuned, file).values(), key=lambda info: info[-2:]):
                self._begins[info] = place
                place += num_bytes(info, dtype)

    def write(self, tensor: TensorInfo, start: int, values: Tensor) -> None:
        """Write a run of entries, from flat position ``start`` of the tensor on.

        Args:
            tensor: as the tuned model stores it.
            start: the flat position; a byte where the values are bytes.
            values: in the type that is written, (num_entries,).
        """
        # Opened anew each time: many shares times many shards are more than may be open at once.
        with (self._folder / tensor.file).open("r+b", buffering=0) as file:
            file.seek(self._begins[tensor] + start * values.element_size())
            rest = memoryview(values.contiguous().view(torch.uint8).numpy().data)
            while rest:
                rest = rest[file.write(rest) :]


def copy_companions(pair: CheckpointPair, folder: Path, dtype: StorageType | None = None) -> None:
    """Copy the pair's companions, their content and not their links or permissions.

    With ``dtype`` the configuration names that storage type, and the index of the shards the size
    of the weights in it.
    """
    changed = dtype is not None and any(
        converted(info, dtype) != info.dtype for info in pair.tuned.tensors.values()
    )
    for path in pair.companions():
        target = folder / place(path)
        target.parent.mkdir(exist_ok=True)
        if dtype is not None and path.name == CONFIG:
            config = read_json(path)
            if (named := config_in(config, dtype)) == config:
                shutil.copyfile(path, target)
            else:
                _write_json(target, named)
        elif changed and path.name == pair.tuned.index:
            index = read_json(path)
            size = sum(num_bytes(info, dtype) for info in pair.tuned.tensors.values())
            metadata = index.get("metadata")
            index["metadata"] = (metadata if isinstance(metadata, dict) else {}) | {
                "total_size": size
            }
            _write_json(target, index)
        else:
            shutil.copyfile(path, target)


def _write_json(path: Path, content: object) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _tensors(checkpoint: Checkpoint, file: str) -> dict[str, TensorInfo]:
    return {name: info for name, info in checkpoint.tensors.items() if info.file == file}


def _header(tuned: Checkpoint, files: WeightFiles, file: str, dtype: StorageType | None) -> bytes:
    header = files.header(file)
    return header if dtype is None else header_in(header, _tensors(tuned, file), dtype)


def needed_bytes(pair: CheckpointPair, num_copies: int, dtype: StorageType | None = None) -> int:
    """What so many restored models take on disk."""
    headers = sum(len(pair.tuned_files.header(file)) for file in pair.tuned.files)
    weights = sum(num_bytes(info, dtype) for info in pair.tuned.tensors.values())
    beside = sum(path.stat().st_size for path in pair.companions())
    return num_copies * (headers + weights + beside + _SPARE_BYTES)
