"""Output folders and files that appear whole or not at all."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sftlens.errors import UserError

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
    if path.is_dir() and not any(path.iterdir()):
        return
    raise UserError(f"{path}: holds something already; choose another folder, or remove it first")


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
        work = _partial(path)
    try:
        with _full_disk_told(path):
            work.mkdir(parents=True, exist_ok=keep)
            yield work
            _sync(work)
        if path.is_dir():
            path.rmdir()
        work.rename(path)
    except BaseException:
        if not keep:
            shutil.rmtree(work, ignore_errors=True)
        raise


def work_folder(out: Path, stage: str, key: str) -> Path:
    """Where the unfinished work of a stage lies, beside its output.

    Args:
        out: the folder that will appear.
        stage: the command.
        key: stands for everything the output depends on, so that only the same work goes on.
    """
    out = out.resolve()
    return out.with_name(f".{out.name}.{stage}-{key}")


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A file to write, renamed to ``path`` (replacing it) when the block ends without an error.

    Raises:
        UserError: when ``path`` is a folder, and when the disk is full.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; choose a file's name")
    # Absolute, since polars takes a leading ~ for the home folder.
    partial = _partial(path.absolute())
    try:
        with _full_disk_told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _partial(path: Path) -> Path:
    """Where this call writes what becomes ``path``; what killed processes of this host left there
    goes. Those of other hosts may be alive, which cannot be seen from here.
    """
    prefix = f".{path.name}.partial-{_host()}-"
    for left in path.parent.glob(f"{glob.escape(prefix)}*"):
        process = left.name.removeprefix(prefix).partition("-")[0]
        if process.isdigit() and not _is_running(int(process)):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    return path.with_name(f"{prefix}{os.getpid()}-{uuid.uuid4().hex[:8]}")


def _host() -> str:
    """Stands for where a process number means one process: a host, and a container on it."""
    try:
        numbers = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # not Linux
        numbers = 0
    return hashlib.sha256(f"{socket.gethostname()} {numbers}".encode()).hexdigest()[:8]


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _full_disk_told(path: Path) -> Iterator[None]:
    """Name the remedy when the disk is full, whichever library found out."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if number in _FULL_DISK or "No space left on device" in str(error):
            raise UserError(
                f"{path}: could not be written, the disk is full; make room or choose another place"
            ) from None
        raise


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
