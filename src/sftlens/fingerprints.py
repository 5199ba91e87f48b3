"""Fingerprints of an output's files, by which a later call sees whether they are still whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from sftlens.outputs import is_unfinished

Fingerprints = Mapping[str, Any]
"""Of each file, by its path relative to the folder with ``/``: ``bytes`` and ``sha256``."""

_WHOLE = 16 << 20
_END = 1 << 20
# What people edit in an output, such as a model card or a chat template.
_EDITABLE = (".md", ".json", ".txt", ".jinja", ".yaml", ".yml")


def fingerprints(folder: Path, *, leave_out: Container[str] = ()) -> dict[str, dict[str, Any]]:
    """Take the fingerprint of every file of a folder.

    Args:
        folder: the folder.
        leave_out: names of files and folders at its top that do not count.
    """
    paths = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    named = sorted(
        (relative.as_posix(), path)
        for relative, path in paths.items()
        if relative.parts[0] not in leave_out and not is_unfinished(path)
    )
    return {name: fingerprint(path) for name, path in named}


def fingerprint(path: Path) -> dict[str, Any]:
    """Take the fingerprint of one file."""
    return {"bytes": path.stat().st_size, "sha256": _digest(path)}


def first_fault(folder: Path, files: Fingerprints, *, sizes_only: bool = False) -> str | None:
    """Return what is missing or damaged first, or None where every file is whole.

    Texts that people edit count as whole in whatever words, unless they became shorter, or are
    JSON no more. A file whose record is no fingerprint cannot be checked, and counts as damaged.

    Args:
        folder: the folder.
        files: what it held when it was whole.
        sizes_only: do not read the files.
    """
    for name, recorded in files.items():
        if not _is_fingerprint(recorded):
            return f"the record of {name} is damaged"
        path = folder / PurePosixPath(name)
        if not _is_file(path):
            return f"{name} is missing"
        size, full = path.stat().st_size, recorded["bytes"]
        is_text = path.suffix in _EDITABLE
        if size < full:
            return f"{name} is cut short ({size} of {full} bytes)"
        if size > full and not is_text:
            return f"{name} was changed ({size} instead of {full} bytes)"
        if (
            not sizes_only
            and _digest(path) != recorded["sha256"]
            and not (is_text and _reads(path))
        ):
            return f"{name} was changed"
    return None


def _is_fingerprint(recorded: Any) -> bool:
    return (
        isinstance(recorded, Mapping)
        and isinstance(recorded.get("bytes"), int)
        and isinstance(recorded.get("sha256"), str)
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _digest(path: Path) -> str:
    """The SHA-256 of a file; of one too large to be read in a moment, that of its two ends."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if path.stat().st_size <= _WHOLE:
            digest.update(file.read())
        else:
            digest.update(file.read(_END))
            file.seek(-_END, 2)
            digest.update(file.read())
    return digest.hexdigest()


def _reads(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            json.loads(text)
    except (OSError, ValueError, RecursionError):
        return False
    return True
