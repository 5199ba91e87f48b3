"""Model folders written piece by piece, in the layout of the tuned model."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import Tensor

from sftlens.checkpoints import Checkpoint, TensorInfo
from sftlens.errors import UserError
from sftlens.weights._reading import WeightFiles

_WEIGHTS_AND_PICKLES = {
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".pkl",
    ".pickle",
    ".h5",
    ".msgpack",
    ".onnx",
    ".gguf",
    ".npz",
}
_RUN_FILES = {"README.md", "manifest.json", "trainer_state.json"}
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


def companions(checkpoint: Checkpoint) -> list[Path]:
    """The files that make a model folder complete beside its weights, in the order of their names.

    Every regular file at the top level, such as configuration, tokenizer and chat template, except
    weights of any format, pickles, hidden files, and what tells of an earlier run. A link is
    followed within the folder and within the hub's cache.

    Raises:
        UserError: when a link leads elsewhere.
    """
    found = []
    home = checkpoint.folder.resolve()
    blobs = home.parent.parent / "blobs"
    for path in sorted(checkpoint.folder.iterdir()):
        name = path.name
        if name.startswith(".") or name in _RUN_FILES or not path.is_file():
            continue
        is_index = name.endswith(".index.json") and name != checkpoint.index
        if is_index or path.suffix.lower() in {*_WEIGHTS_AND_PICKLES, ".parquet"}:
            continue
        if path.is_symlink() and path.resolve().parent not in (home, blobs):
            raise UserError(
                f"{path}: is a link that leads out of the model folder; put a copy in its place"
            )
        found.append(path)
    return found


def copy_companions(checkpoint: Checkpoint, folder: Path) -> None:
    """Copy :func:`companions`, their content and not their links or permissions."""
    for path in companions(checkpoint):
        shutil.copyfile(path, folder / path.name)


def require_space(checkpoint: Checkpoint, out: Path, num_copies: int) -> None:
    """Refuse to start what the disk cannot hold.

    Raises:
        UserError: when the file system of ``out`` has less room than the copies take.
    """
    files = [checkpoint.folder / file for file in checkpoint.files] + companions(checkpoint)
    needed = num_copies * (sum(path.stat().st_size for path in files) + _SPARE_BYTES)
    place = next(parent for parent in (out.absolute(), *out.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise UserError(
            f"{out}: needs {needed / 1e9:.2f} GB, and the disk has {free / 1e9:.2f} GB free; "
            "choose another place, or fewer shares"
        )
