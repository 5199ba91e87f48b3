"""Model folders written piece by piece, in the layout of the tuned model."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import Tensor

from sftlens.checkpoints import Checkpoint
from sftlens.headers import TensorInfo
from sftlens.weights._companions import place
from sftlens.weights._pair import CheckpointPair
from sftlens.weights._reading import WeightFiles

_SPARE_BYTES = 16 << 20  # for headers, tables and the file system's own


class ModelWriter:
    """The weight files of one model folder, each tensor written at its place in any order.

    The header of every file is that of the tuned model's, byte by byte, so that names, storage
    types, shapes, order and metadata are the same.
    """

    def __init__(self, folder: Path, tuned: Checkpoint, files: WeightFiles) -> None:
        self._folder = folder
        for file in tuned.files:
            (folder / file).write_bytes(files.header(file))

    def write(self, tensor: TensorInfo, start: int, values: Tensor) -> None:
        """Write a run of entries, from flat position ``start`` of the tensor on."""
        # Opened anew each time: many shares times many shards are more than may be open at once.
        with (self._folder / tensor.file).open("r+b", buffering=0) as file:
            file.seek(tensor.begin + start * values.element_size())
            rest = memoryview(values.contiguous().view(torch.uint8).numpy().data)
            while rest:
                rest = rest[file.write(rest) :]


def copy_companions(pair: CheckpointPair, folder: Path) -> None:
    """Copy the pair's companions, their content and not their links or permissions."""
    for path in pair.companions():
        target = folder / place(path)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)


def needed_bytes(pair: CheckpointPair, num_copies: int) -> int:
    """What so many restored models take on disk."""
    headers = sum(len(pair.tuned_files.header(file)) for file in pair.tuned.files)
    weights = sum(info.end - info.begin for info in pair.tuned.tensors.values())
    beside = sum(path.stat().st_size for path in pair.companions())
    return num_copies * (headers + weights + beside + _SPARE_BYTES)
