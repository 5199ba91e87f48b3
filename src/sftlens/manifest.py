"""The record of how a run folder came about."""

from __future__ import annotations

import hashlib
import json
import platform
import reprlib
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from sftlens.errors import UserError, first_line
from sftlens.fingerprints import Fingerprints, fingerprint, fingerprints, first_fault
from sftlens.outputs import new_file
from sftlens.progress import Advance, silent
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


_COMMANDS = {"study": "study run"}  # of stages that are called otherwise
_PARTS = {"config": dict, "config_key": str, "result": dict, "versions": dict}


def write_manifest(
    folder: Path,
    *,
    stage: str,
    config: Mapping[str, Any],
    result: Mapping[str, Any],
    files: Fingerprints | None = None,
) -> None:
    """Write ``manifest.json``: format, command line, config, result, and package versions.

    Args:
        folder: the run folder.
        stage: the command that made it, such as ``probe``.
        config: everything the result depends on: inputs with their hashes, settings, seeds.
        result: what the command's ``--json`` prints.
        files: the fingerprints of all other files, once the folder is whole.
    """
    content = {
        "format_version": FORMAT_VERSION,
        "stage": stage,
        "command_line": sys.argv,
        "config": config,
        "config_key": content_key(config),
        "result": result,
        "versions": {"python": platform.python_version(), **_versions()},
        **({} if files is None else {"files": files}),
    }
    _write(folder, content)


def _write(folder: Path, content: Mapping[str, Any]) -> None:
    with new_file(folder / MANIFEST) as path:
        path.write_text(json_text(content, indent=2), encoding="utf-8")


def record_files(folder: Path, stage: str, *, leave_out: Iterable[str] = ()) -> None:
    """Record in the manifest that its folder is whole now, and holds these files.

    Args:
        folder: the run folder.
        stage: as for :func:`write_manifest`.
        leave_out: what the folder holds beside its results, by name.
    """
    content = read_manifest(folder, stage)
    files = fingerprints(folder, leave_out=(MANIFEST, *leave_out))
    _write(folder, {**content, "files": files})


def record_rewritten(folder: Path, stage: str, paths: Iterable[str]) -> None:
    """Record files that were written anew in a folder that was whole, and still is.

    Args:
        folder: the run folder; one that was never recorded as whole stays so.
        stage: as for :func:`write_manifest`.
        paths: files, or folders of which all files were written anew, relative to the folder.
    """
    content = read_manifest(folder, stage)
    if not (files := recorded_files(folder, stage)):
        return
    now = dict(files)
    for path in paths:
        for name in [one for one in now if one == path or one.startswith(f"{path}/")]:
            del now[name]
        if (folder / path).is_dir():
            inside = fingerprints(folder / path)
            now |= {f"{path}/{name}": one for name, one in inside.items()}
        else:
            now[path] = fingerprint(folder / path)
    _write(folder, {**content, "files": dict(sorted(now.items()))})


def read_manifest(folder: Path, stage: str) -> dict[str, Any]:
    """Read and check the manifest of a run folder.

    Raises:
        UserError: when the folder was not made by ``sftlens STAGE`` or by a newer version.
    """
    path = folder / MANIFEST
    remedy = f"give the folder that `sftlens {_COMMANDS.get(stage, stage)}` wrote"
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


def recorded_files(folder: Path, stage: str) -> Fingerprints:
    """The files that a folder held when it was whole; none where that was not recorded."""
    try:
        files = read_manifest(folder, stage).get("files")
    except UserError:
        return {}
    return files if isinstance(files, dict) else {}


class Earlier(NamedTuple):
    """What an earlier run of the same stage with the same config left.

    Attributes:
        result: what its command printed.
        fault: what is missing or damaged; None where the folder is whole.
        files: the fingerprints of its files; empty in a folder of a version that recorded none,
            which is taken as it is.
    """

    result: dict[str, Any]
    fault: str | None
    files: Fingerprints


def earlier_run(folder: Path, *, stage: str, config: Mapping[str, Any]) -> Earlier | None:
    """Return what an earlier run of the same stage with the same config left, or None.

    A folder that holds anything else is the business of :func:`sftlens.outputs.require_free`.
    """
    try:
        content = read_manifest(folder, stage)
    except UserError:
        return None
    if content["config_key"] != content_key(config):
        return None
    result: dict[str, Any] = content["result"]
    files = content.get("files", {})
    if not isinstance(files, dict):
        return None
    return Earlier(result, first_fault(folder, files), files)


def content_key(config: Mapping[str, Any]) -> str:
    """A hash of a JSON-able mapping that does not depend on the order of its keys."""
    text = json.dumps(config, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_hash(path: Path, advance: Advance = silent) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Args:
        path: the file.
        advance: is told the number of bytes done.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
            advance(len(block))
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
