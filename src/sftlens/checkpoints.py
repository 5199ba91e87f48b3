"""Model folders: where a model's files lie, what its weight files hold, and what identifies it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sftlens.errors import UserError, first_line
from sftlens.headers import TensorInfo, read_header
from sftlens.json_files import read_json
from sftlens.manifest import file_hash
from sftlens.model_folder import (
    ADAPTER_CONFIG,
    ADAPTER_FILE,
    ADAPTER_PICKLE,
    CONFIG,
    GENERATION_CONFIG,
    INDEX_FILE,
    SINGLE_FILE,
    TEMPLATE_FILES,
    TOKENIZER_FILES,
    gguf_remedy,
    is_adapter,
    is_gguf,
    python_command,
    require_model,
)
from sftlens.progress import progress, silent

__all__ = [
    "ADAPTER_CONFIG",
    "ADAPTER_FILE",
    "CONFIG",
    "GENERATION_CONFIG",
    "INDEX_FILE",
    "SINGLE_FILE",
    "TEMPLATE_FILES",
    "TOKENIZER_FILES",
    "Checkpoint",
    "adapter_identity",
    "is_adapter",
    "model_identity",
    "model_name",
    "open_adapter",
    "open_checkpoint",
    "read_json",
    "resolve_model",
    "weights_hash",
]

_MAX_HASHED_AT_ONCE = 8
_LONG_TO_READ = 1 << 32  # bytes; less is read in a few seconds, without a progress bar
_HUB_ID = re.compile(r"(?!.*(?:--|\.\.))[\w.-]+(?:/[\w.-]+)?", re.ASCII)
_HUB_FILES = [
    CONFIG,
    GENERATION_CONFIG,
    ADAPTER_CONFIG,
    *TEMPLATE_FILES,
    *TOKENIZER_FILES,
    "*.safetensors",
    "*.safetensors.index.json",
]
_BEHAVIOUR_FILES = [name for name in _HUB_FILES if "safetensors" not in name]
_MORE_TEMPLATES = "additional_chat_templates"
_HUB_CARD = "README.md"
_HUB_LEFT_OUT = ["*/*", "consolidated*"]


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


def resolve_model(source: str | Path, *, adapter: bool = False) -> Path:
    """The folder of a model that a user named.

    Args:
        source: a local Hugging Face model folder, or the id of a model on the hub, as ``org/name``
            or ``name`` with an optional ``@revision``. A local folder comes first. Of a hub model
            the configuration, tokenizer, chat template, card and safetensors files are fetched, or
            taken from the hub's cache; pickled weights never.
        adapter: whether the folder may also be a PEFT adapter (see :func:`is_adapter`).

    Raises:
        UserError: when there is no such folder and no reachable hub model, when the folder is not
            one model that every tool reads alike (see :func:`sftlens.model_folder.require_model`),
            and when it is a PEFT adapter where none may be.
    """
    path = Path(source).expanduser()
    if is_gguf(path) and path.is_file():
        raise UserError(f"{source}: is in GGUF, which cannot be compared; {gguf_remedy(path)}")
    if path.is_file():
        raise UserError(f"{source}: is a file; give the model folder that holds it")
    if not path.is_dir():
        path = _fetch(source)
    if adapter and is_adapter(path):
        _require_adapter(path, str(source))
    else:
        require_model(path, str(source))
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
    require_model(folder, str(folder))
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
        for name, info in read_header(folder / file).items():
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


def open_adapter(folder: Path) -> Checkpoint:
    """Read and check the header of a PEFT adapter's weights, ``adapter_model.safetensors``.

    Raises:
        UserError: when the folder holds no adapter, pickled weights only, or a broken file.
    """
    _require_adapter(folder, str(folder))
    tensors = read_header(folder / ADAPTER_FILE)
    return Checkpoint(
        folder=folder, files=(ADAPTER_FILE,), tensors=dict(sorted(tensors.items())), index=None
    )


def weights_hash(checkpoint: Checkpoint) -> str:
    """SHA-256 over the weight files, in hexadecimal.

    The hash of the lines ``sha256sum`` prints for the files in plain string order, so that
    ``sha256sum *.safetensors | sha256sum`` within the folder gives it again.
    """
    return _files_hash(checkpoint.folder / file for file in checkpoint.files)


def _files_hash(paths: Iterable[Path]) -> str:
    paths = list(paths)
    # Hashing lets go of the interpreter, so that threads make use of several cores.
    num_threads = min(_MAX_HASHED_AT_ONCE, os.cpu_count() or 1)
    total = sum(path.stat().st_size for path in paths)
    is_long = total >= _LONG_TO_READ
    with (
        progress("reading the weights", total) if is_long else nullcontext(silent) as advance,
        ThreadPoolExecutor(num_threads) as pool,
    ):
        hashes = list(pool.map(partial(file_hash, advance=advance), paths))
    lines = (f"{found}  {path.name}\n" for found, path in zip(hashes, paths, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


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
            failures.append(first_line(error))
    raise UserError(
        f"{text}: no such folder, and no model of this id can be reached on the hub "
        f"({failures[0]}); check the spelling, the network and your access"
    )


def _snapshot(name: str, revision: str | None, cached: bool) -> str:
    from huggingface_hub import snapshot_download

    return snapshot_download(
        name,
        revision=revision,
        allow_patterns=[*_HUB_FILES, _HUB_CARD],
        ignore_patterns=_HUB_LEFT_OUT,
        local_files_only=cached,
    )


def _require_adapter(folder: Path, called: str) -> None:
    if not (folder / ADAPTER_CONFIG).is_file():
        raise UserError(f"{called}: is no PEFT adapter, since it holds no {ADAPTER_CONFIG}")
    if (folder / ADAPTER_FILE).is_file():
        return
    if (folder / ADAPTER_PICKLE).is_file():
        raise UserError(
            f"{called}: holds pickled adapter weights only ({ADAPTER_PICKLE}), which can run code "
            "when read; convert them: "
            + python_command(
                "import torch; from safetensors.torch import save_file; p, out = sys.argv[1:]; "
                "t = torch.load(p, map_location='cpu', weights_only=True); "
                "save_file({k: v.contiguous() for k, v in t.items()}, out)",
                folder / ADAPTER_PICKLE,
                folder / ADAPTER_FILE,
            )
        )
    raise UserError(
        f"{called}: holds no adapter weights ({ADAPTER_FILE}); fetch or save the adapter again"
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


def model_identity(folder: Path) -> dict[str, str]:
    """What a manifest says of a model.

    Returns:
        Its ``name``; the hash of its ``weights``; and that of its ``files``, everything else that
        decides what it answers: configuration, generation configuration, tokenizer, templates.
    """
    return {
        "name": model_name(folder),
        "weights": weights_hash(open_checkpoint(folder)),
        "files": _behaviour_hash([*folder.iterdir(), *(folder / _MORE_TEMPLATES).glob("*.jinja")]),
    }


def adapter_identity(folder: Path, companions: Iterable[Path]) -> dict[str, str]:
    """What a manifest says of a PEFT adapter, beside the identity of the base it is merged into.

    Args:
        folder: the adapter's folder.
        companions: the files that stand beside the weights once it is merged.

    Returns:
        As :func:`model_identity`; ``weights`` is the hash of the adapter's configuration and
        weights, as ``sha256sum adapter_config.json adapter_model.safetensors | sha256sum`` gives.
    """
    return {
        "name": model_name(folder),
        "weights": _files_hash([folder / ADAPTER_CONFIG, folder / ADAPTER_FILE]),
        "files": _behaviour_hash(companions),
    }


def _behaviour_hash(paths: Iterable[Path]) -> str:
    return _files_hash(
        path
        for path in sorted(paths, key=lambda path: path.name)
        if path.is_file()
        and (
            path.parent.name == _MORE_TEMPLATES
            or any(path.match(pattern) for pattern in _BEHAVIOUR_FILES)
        )
    )
