"""Storage types as torch, safetensors headers and configurations spell them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import torch

from sftlens.headers import DTYPE_BYTES, TensorInfo
from sftlens.storage_types import IN_HEADER, NAMES, StorageType
from sftlens.weights._reading import FLOAT_DTYPES

_KEYS = ("dtype", "torch_dtype")  # of a configuration; the second is the older spelling


def torch_type(dtype: StorageType | None) -> torch.dtype | None:
    """The type in torch; None stands for each tensor's own."""
    return None if dtype is None else FLOAT_DTYPES[IN_HEADER[dtype]]


def stored_type(tensors: Iterable[TensorInfo]) -> str:
    """The names of the float types that tensors are stored in, joined by "and"."""
    found = sorted({NAMES[info.dtype] for info in tensors if info.dtype in NAMES})
    return " and ".join(found)


def is_held(info: TensorInfo, dtype: StorageType | None) -> bool:
    """Whether a type, by default its own, holds every value that a tensor can have."""
    stored = FLOAT_DTYPES[info.dtype]
    output = torch_type(dtype) or stored
    return torch.promote_types(stored, output) == output


def converted(info: TensorInfo, dtype: StorageType | None) -> str:
    """The type in the header of a tensor that is written in ``dtype``; integers keep theirs."""
    if dtype is None or info.dtype not in FLOAT_DTYPES:
        return info.dtype
    return IN_HEADER[dtype]


def num_bytes(info: TensorInfo, dtype: StorageType | None) -> int:
    """What a tensor takes in ``dtype``."""
    return math.prod(info.shape) * DTYPE_BYTES[converted(info, dtype)]


def config_in(config: dict[str, Any], dtype: StorageType) -> dict[str, Any]:
    """A model's configuration that names another storage type.

    The type is replaced wherever the configuration names it, in those of its parts too, and added
    where it names none.
    """
    found = _replaced(config, dtype)
    if not any(key in found for key in _KEYS):
        found["dtype"] = dtype
    return found


def _replaced(config: dict[str, Any], dtype: StorageType) -> dict[str, Any]:
    return {
        key: dtype
        if key in _KEYS
        else _replaced(value, dtype)
        if isinstance(value, dict)
        else value
        for key, value in config.items()
    }


def header_in(header: bytes, tensors: dict[str, TensorInfo], dtype: StorageType) -> bytes:
    """The header of a weight file whose float tensors are written in another type.

    Args:
        header: of the file as it is, with its length in front.
        tensors: those of the file by name.
        dtype: the type to write.

    Returns:
        The header with its length in front; the same bytes where no type changes. Tensors keep
        their order, and what the header says beside them.
    """
    if all(converted(info, dtype) == info.dtype for info in tensors.values()):
        return header
    content = json.loads(header[8:])
    begin = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        end = begin + num_bytes(info, dtype)
        content[name] |= {"dtype": converted(info, dtype), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
