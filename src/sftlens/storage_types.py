"""The storage types that weights are evaluated and written in."""

from __future__ import annotations

from typing import Literal

StorageType = Literal["float32", "bfloat16", "float16"]

IN_HEADER: dict[StorageType, str] = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
"""What a safetensors header calls each of them."""

NAMES: dict[str, str] = {
    **{header: name for name, header in IN_HEADER.items()},
    "F64": "float64",
}
"""The names of the float types of a safetensors header."""
