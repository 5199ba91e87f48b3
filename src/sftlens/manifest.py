"""The record of how a run folder came about."""

from __future__ import annotations

import hashlib
import json
import platform
import reprlib
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from sftlens.errors import UserError, first_line
from sftlens.outputs import new_file
from sftlens.texts import json_text

FORMAT_VERSION = 1
MANIFEST = "manifest.json"

_PACKAGES = (
    "sftlens",
    "torch",
    "transformers",
    "trl",
    "datasets",
    "numpy",
    "polars",
    "safetensors",
)


_PARTS = {"config": dict, "config_key": str, "result": dict, "versions": dict}


def write_manifest(
    folder: Path, *, stage: str, config: Mapping[str, Any], result: Mapping[str, Any]
) -> None:
    """Write ``manifest.json``: format, command line, config, result, and package versions.

    Args:
        folder: the run folder.
        stage: the command that made it, such as ``probe``.
        config: everything the result depends on: inputs with their hashes, settings, seeds.
        result: what the command's ``--json`` prints.
    """
    content = {
        "format_version": FORMAT_VERSION,
        "stage": stage,
        "command_line": sys.argv,
        "config": config,
        "config_key": content_key(config),
        "result": result,
        "versions": {"python": platform.python_version(), **_versions()},
    }
    with new_file(folder / MANIFEST) as path:
        path.write_text(json_text(content, indent=2), encoding="utf-8")


def read_manifest(folder: Path, stage: str) -> dict[str, Any]:
    """Read and check the manifest of a run folder.

    Raises:
        UserError: when the folder was not made by ``sftlens STAGE`` or by a newer version.
    """
    path = folder / MANIFEST
    remedy = f"give the folder that `sftlens {stage}` wrote"
    if not path.is_file():
        raise UserError(f"{folder}: holds no {MANIFEST}; {remedy}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not valid JSON ({first_line(error)}); {remedy}") from None
    if not isinstance(content, dict) or content.get("stage") != stage:
        found = content.get("stage") if isinstance(content, dict) else None
        raise UserError(f"{path}: is of stage {reprlib.repr(found)}, not {stage!r}; {remedy}")
    if content.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{path}: has format {reprlib.repr(content.get('format_version'))}, this sftlens reads "
            f"{FORMAT_VERSION}; use the sftlens that wrote it"
        )
    for part, kind in _PARTS.items():
        if not isinstance(content.get(part), kind):
            raise UserError(f"{path}: its {part} is missing or damaged; {remedy}")
    return content


def finished_result(
    folder: Path, *, stage: str, config: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The result of an earlier run of the same stage with the same config, or None.

    A folder that holds anything else is the business of :func:`sftlens.outputs.require_free`.
    """
    try:
        content = read_manifest(folder, stage)
    except UserError:
        return None
    if content["config_key"] != content_key(config):
        return None
    result: dict[str, Any] = content["result"]
    return result


def content_key(config: Mapping[str, Any]) -> str:
    """A hash of a JSON-able mapping that does not depend on the order of its keys."""
    text = json.dumps(config, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
