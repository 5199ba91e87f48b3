"""Stored tensors as flat views of the mapped files: nothing is read before it is used."""

from __future__ import annotations

import mmap
import threading
import warnings
from pathlib import Path

import torch
from torch import Tensor

from sftlens.checkpoints import Checkpoint
from sftlens.headers import TensorInfo

FLOAT_DTYPES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
"""The storage types that take part in a comparison."""

_FILTERING = threading.Lock()  # the filters of warnings are one list for all threads


class WeightFiles:
    """The mapped weight files of one checkpoint.

    The maps are read-only and shared with the page cache, so that private memory does not grow
    with the model. Several threads may read at the same time.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._folder = checkpoint.folder
        self._maps: dict[str, mmap.mmap] = {}

    def entries(self, info: TensorInfo) -> Tensor:
        """All entries of a float tensor in their stored type, (num_entries,)."""
        return self._view(info, FLOAT_DTYPES[info.dtype])

    def stored_bytes(self, info: TensorInfo) -> Tensor:
        """The stored bytes of any tensor, (num_bytes,)."""
        return self._view(info, torch.uint8)

    def header(self, file: str) -> bytes:
        """Everything before the first tensor: the header's length and the header."""
        mapped = self._map(file)
        return mapped[: 8 + int.from_bytes(mapped[:8], "little")]

    def _view(self, info: TensorInfo, dtype: torch.dtype) -> Tensor:
        count = (info.end - info.begin) // dtype.itemsize
        if count == 0:
            return torch.empty(0, dtype=dtype)
        mapped = self._map(info.file)
        if info.begin % dtype.itemsize:
            # Rare: a header that was not padded; its tensors are read through a copy.
            return torch.frombuffer(bytearray(mapped[info.begin : info.end]), dtype=dtype)
        with _FILTERING, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given buffer is not writable")
            return torch.frombuffer(mapped, dtype=dtype, count=count, offset=info.begin)

    def _map(self, file: str) -> mmap.mmap:
        if file not in self._maps:
            with Path(self._folder / file).open("rb") as opened:
                self._maps[file] = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[file]
