"""Headers of safetensors files, checked before anything is read by them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from sftlens.errors import UserError, first_line

DTYPE_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
    "C64": 8,
}
"""Bytes per entry of each storage type, by its name in a safetensors header."""

_MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library itself


class TensorInfo(NamedTuple):
    """Where one stored tensor lies.

    ``begin`` and ``end`` are byte offsets within the file ``file``; ``dtype`` is the name of the
    storage type in the safetensors header, such as ``BF16``.
    """

    file: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def num_entries(self) -> int:
        """How many numbers the tensor holds."""
        return math.prod(self.shape)


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors of a safetensors file by name.

    Raises:
        UserError: when the file cannot be read or is truncated, or its header is broken or does not
            fit its size: an unknown storage type, tensors that overlap or leave a gap.
    """
    again = "fetch or save the model again"
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
                raise UserError(
                    f"{path}: is truncated or no safetensors file (a header of {length} bytes "
                    f"in a file of {size}); {again}"
                )
            raw = file.read(length)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({first_line(error)})") from None
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: has a broken header ({first_line(error)}); {again}") from None
    if not isinstance(header, dict):
        raise UserError(f"{path}: has a broken header (no JSON object); {again}")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise UserError(f"{path}: has a broken header (__metadata__ is no object); {again}")
    tensors = {name: _tensor_info(path, name, entry, 8 + length) for name, entry in header.items()}
    _require_gapless(path, tensors, 8 + length, size)
    return tensors


def _without_repeats(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise ValueError(f"{name!r} stands in it twice")
        content[name] = value
    return content


def _tensor_info(path: Path, name: str, entry: object, start: int) -> TensorInfo:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]}:
            if all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
                fault = _size_mismatch(dtype, shape, end - begin)
                if fault is None:
                    return TensorInfo(path.name, dtype, tuple(shape), start + begin, start + end)
                raise UserError(f"{path}: tensor {name!r} {fault}")
    raise UserError(f"{path}: the header's entry of tensor {name!r} is broken: {_short(entry)}")


def _size_mismatch(dtype: str, shape: list[int], num_bytes: int) -> str | None:
    if dtype not in DTYPE_BYTES:
        return f"has storage type {dtype}, which is not supported; save the model in BF16 or F32"
    expected = math.prod(shape) * DTYPE_BYTES[dtype]
    if num_bytes != expected:
        return f"of shape {shape} in {dtype} takes {expected} bytes, its offsets span {num_bytes}"
    return None


def _require_gapless(path: Path, tensors: dict[str, TensorInfo], start: int, size: int) -> None:
    place = start
    before = "the header"
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if info.begin != place:
            fault = "overlap" if info.begin < place else "leave a gap"
            raise UserError(
                f"{path}: tensor {name!r} and {before} {fault}; fetch or save the model again"
            )
        place, before = info.end, f"tensor {name!r}"
    if place != size:
        fault = "is truncated" if place > size else "is longer than its header says"
        raise UserError(
            f"{path}: {fault} ({size} bytes instead of {place}; {before} ends there); "
            "fetch the file again"
        )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
