"""Model folders: where a model's files lie, and what its safetensors files hold.

Nothing here reads a weight: the headers tell names, storage types, shapes and places, and all of
it is checked before anything is read by it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sftlens.errors import UserError
from sftlens.manifest import file_hash

CONFIG = "config.json"
SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

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
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_HUB_ID = re.compile(r"(?!.*(?:--|\.\.))[\w.-]+(?:/[\w.-]+)?", re.ASCII)
_HUB_FILES = [
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "chat_template*",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.tiktoken",
    "*.model",
    "*.safetensors",
    "*.safetensors.index.json",
]
_BEHAVIOUR_FILES = [name for name in _HUB_FILES if "safetensors" not in name]
_HUB_LEFT_OUT = ["*/*", "consolidated*"]


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


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The weights of a model folder, as its headers tell them."""

    folder: Path
    files: tuple[str, ...]
    """Names of the weight files within the folder, in plain string order."""
    tensors: dict[str, TensorInfo]
    """Every stored tensor by its name, in plain string order."""
    index: str | None
    """Name of the file that maps tensors to shards, where there is one."""


def resolve_model(source: str | Path) -> Path:
    """The folder of a model that a user named.

    Args:
        source: a local Hugging Face model folder, or the id of a model on the hub, as ``org/name``
            or ``name`` with an optional ``@revision``. A local folder comes first. Of a hub model
            the configuration, tokenizer, chat template and safetensors files are fetched, or taken
            from the hub's cache; pickled weights never.

    Raises:
        UserError: when there is no such folder and no reachable hub model, and when the folder is
            no model folder, a PEFT adapter, or holds pickled weights only.
    """
    path = Path(source).expanduser()
    if path.is_file():
        raise UserError(f"{source}: is a file; give the model folder that holds it")
    if not path.is_dir():
        path = _fetch(source)
    _require_model(path, str(source))
    return path


def model_name(folder: Path) -> str:
    """What to call a model folder: ``org/name@revision`` in the hub's cache, else its path."""
    name, revision = folder.parent.parent.name, folder.name
    if folder.parent.name == "snapshots" and name.startswith("models--"):
        return f"{name.removeprefix('models--').replace('--', '/')}@{revision}"
    return str(folder)


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read and check the headers of a folder's weights, ``model.safetensors`` or shards.

    Raises:
        UserError: when the folder holds no safetensors weights, or anything about them does not
            hold together: the index names a file outside the folder or a missing one, a header is
            no valid header, a file is truncated, tensors overlap, a tensor is missing or stored
            twice. The message names the file and the tensor.
    """
    _require_model(folder, str(folder))
    weight_map: dict[str, str] = {}
    index = None
    if (folder / SINGLE_FILE).is_file():
        files: tuple[str, ...] = (SINGLE_FILE,)
    else:
        index = INDEX_FILE
        weight_map = _read_index(folder / INDEX_FILE)
        files = tuple(sorted(set(weight_map.values())))
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        for name, info in _read_header(folder / file).items():
            if name in tensors:
                raise UserError(
                    f"{folder / file}: holds tensor {name!r}, and so does {tensors[name].file}; "
                    "save the model again"
                )
            tensors[name] = info
    for name, file in weight_map.items():
        if name not in tensors or tensors[name].file != file:
            raise UserError(
                f"{folder / file}: lacks tensor {name!r}, which {INDEX_FILE} places there; "
                "fetch or save the model again"
            )
    return Checkpoint(
        folder=folder, files=files, tensors=dict(sorted(tensors.items())), index=index
    )


def weights_hash(checkpoint: Checkpoint) -> str:
    """SHA-256 over the weight files, in hexadecimal.

    The hash of the lines ``sha256sum`` prints for the files in plain string order, so that
    ``sha256sum *.safetensors | sha256sum`` within the folder gives it again.
    """
    digest = hashlib.sha256()
    for file in checkpoint.files:
        digest.update(f"{file_hash(checkpoint.folder / file)}  {file}\n".encode())
    return digest.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: when the file is absent, is no JSON, or holds no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({_first_line(error)})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no JSON object; fetch or save the model again")
    return content


def _fetch(source: str | Path) -> Path:
    text = str(source)
    name, _, revision = text.partition("@")
    if isinstance(source, Path) or not _HUB_ID.fullmatch(name):
        raise UserError(f"{source}: no such folder; give a model folder or a hub id (org/name)")
    failures = []
    for cached in (False, True):
        try:
            return Path(_snapshot(name, revision or None, cached))
        except Exception as error:
            # The hub's client raises those of several HTTP libraries; all are about what was
            # named. Not every version of it falls back on a cached commit by itself.
            failures.append(_first_line(error))
    raise UserError(
        f"{text}: no such folder, and no model of this id can be reached on the hub "
        f"({failures[0]}); check the spelling, the network and your access"
    )


def _snapshot(name: str, revision: str | None, cached: bool) -> str:
    from huggingface_hub import snapshot_download

    return snapshot_download(
        name,
        revision=revision,
        allow_patterns=_HUB_FILES,
        ignore_patterns=_HUB_LEFT_OUT,
        local_files_only=cached,
    )


def _require_model(folder: Path, called: str) -> None:
    has_weights = (folder / SINGLE_FILE).is_file() or (folder / INDEX_FILE).is_file()
    if (folder / "adapter_config.json").is_file() and not has_weights:
        raise UserError(
            f"{called}: is a PEFT adapter; merge it into its base first with peft: "
            "PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(folder)"
        )
    if not (folder / CONFIG).is_file():
        raise UserError(f"{called}: is no model folder, since it holds no {CONFIG}")
    if has_weights:
        return
    pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
    convert = (
        f'python -c "from transformers import AutoModelForCausalLM as M; '
        f"M.from_pretrained('{called}').save_pretrained('FOLDER')\""
    )
    if pickled:
        raise UserError(
            f"{called}: holds pickled weights only ({pickled[0]}), which can run code when read; "
            f"convert them if you trust them: {convert}"
        )
    raise UserError(
        f"{called}: holds no safetensors weights ({SINGLE_FILE} or {INDEX_FILE}); "
        f"if only pickled ones are published, convert them: {convert}"
    )


def _read_index(path: Path) -> dict[str, str]:
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"{path}: holds no weight_map; fetch or save the model again")
    for name, file in weight_map.items():
        if not _is_plain_file_name(file):
            raise UserError(
                f"{path}: places tensor {name!r} in {file!r}, which is no plain name of a file "
                "in the folder; fetch the model from a source you trust"
            )
        if not file.endswith(".safetensors"):
            raise UserError(f"{path}: places tensor {name!r} in {file!r}, no safetensors file")
        if not (path.parent / file).is_file():
            raise UserError(
                f"{path.parent / file}: is missing, and holds tensor {name!r}; fetch it"
            )
    return weight_map


def _is_plain_file_name(file: object) -> bool:
    return (
        isinstance(file, str)
        and file not in ("", ".", "..")
        and not any(sign in file for sign in ("/", "\\", ":", "\0"))
    )


def _read_header(path: Path) -> dict[str, TensorInfo]:
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
        raise UserError(f"{path}: cannot be read ({_first_line(error)})") from None
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: has a broken header ({_first_line(error)}); {again}") from None
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


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def model_identity(folder: Path) -> dict[str, str]:
    """What a manifest says of a model.

    Returns:
        Its ``name``; the hash of its ``weights``; and that of its ``files``, everything else that
        decides what it answers: configuration, generation configuration, tokenizer.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if any(path.match(pattern) for pattern in _BEHAVIOUR_FILES) and path.is_file():
            digest.update(f"{file_hash(path)}  {path.name}\n".encode())
    return {
        "name": model_name(folder),
        "weights": weights_hash(open_checkpoint(folder)),
        "files": digest.hexdigest(),
    }
