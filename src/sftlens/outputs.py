"""Output folders and files that appear whole or not at all."""

from __future__ import annotations

import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sftlens.disk import full_disk_reported
from sftlens.errors import UserError
from sftlens.locks import INSIDE, host_key, is_running

PARTIAL = ".{}.partial-"
"""How the names of unfinished files and folders begin, for the name of what they become."""


def is_unfinished(path: Path) -> bool:
    """Return whether a file or folder has the name of one that is still being written."""
    return path.name.startswith(".") and ".partial-" in path.name


def require_free(path: Path) -> None:
    """Refuse an output path that holds something.

    Raises:
        UserError: when ``path`` is a file or a folder with anything in it, or when its parent is a
            file.
    """
    for parent in path.absolute().parents:
        if parent.exists():
            if not parent.is_dir():
                raise UserError(f"{path}: cannot be made, since {parent} is a file; choose another")
            break
    if not path.exists() and not path.is_symlink():
        return
    if path.is_dir() and all(one.name == INSIDE for one in path.iterdir()):
        return
    raise UserError(f"{path}: holds something already; choose another folder, or remove it first")


def require_writable(path: Path) -> None:
    """Refuse a folder, which may be absent yet, that nothing can be written into.

    Raises:
        UserError: when it, or the nearest parent that is there, may not be written to.
    """
    there = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
    if there.is_dir() and not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{there}: may not be written to; choose a place you may write to")


@contextmanager
def new_folder(path: Path, *, work: Path | None = None) -> Iterator[Path]:
    """A folder to fill, renamed to ``path`` when the block ends without an error.

    Args:
        path: where the whole folder appears; must be absent or empty.
        work: the folder to fill, on the same file system; kept when the block fails, so that
            interrupted work goes on from it. Without it a fresh one is made beside ``path`` and
            removed on failure.

    Raises:
        UserError: when ``path`` holds something, and when the disk is full.
    """
    require_free(path)
    path = path.resolve()
    keep = work is not None
    if work is None:
        work = unfinished_name(path)
    try:
        with full_disk_reported(path):
            work.mkdir(parents=True, exist_ok=keep)
            yield work
            sync(work)
        if path.is_dir():
            path.rmdir()
        work.rename(path)
    except BaseException:
        if not keep:
            shutil.rmtree(work, ignore_errors=True)
        raise


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A file to write, renamed to ``path`` (replacing it) when the block ends without an error.

    Raises:
        UserError: when ``path`` is a folder, and when the disk is full.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; choose a file's name")
    # Absolute, since polars takes a leading ~ for the home folder.
    partial = unfinished_name(path.absolute())
    try:
        with full_disk_reported(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def unfinished_name(path: Path) -> Path:
    """A name beside ``path`` for what becomes it, unlike all others.

    What killed processes of this host left there is removed. Those of other hosts may be alive,
    which cannot be seen from here.
    """
    prefix = f"{PARTIAL.format(path.name)}{host_key()}-"
    for left in path.parent.glob(f"{glob.escape(prefix)}*"):
        process = left.name.removeprefix(prefix).partition("-")[0]
        if process.isdigit() and not is_running(int(process)):
            remove(left)
    return path.with_name(f"{prefix}{os.getpid()}-{uuid.uuid4().hex[:8]}")


def remove(path: Path) -> None:
    """Remove a file or a folder with all that it holds."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(folder: Path) -> None:
    """Wait until everything in a folder is on the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
