"""One process at a time at work on an output; the others learn which.

The lock is a file beside the output that the operating system lets one process hold (flock). It
ends with the process, however that ends, so that what a killed one leaves is in nobody's way; on
network file systems that pass locks on, also for other machines. Where a file system has no such
locks the file itself is the lock: one of a process of this machine that ended is removed, one of
another machine has to be removed by hand.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from sftlens.errors import UserError

INSIDE = ".lock"
"""Name of the lock within a folder that is filled in place."""

_UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)


@contextmanager
def locked(path: Path, *, inside: bool = False) -> Iterator[None]:
    """Be the only process at work on an output for the length of a block.

    Folders that are made for the lock are removed again when nothing else came into them.

    Args:
        path: the output.
        inside: keep the lock in the folder itself, which is then made, instead of beside it.

    Raises:
        UserError: when another process is at work on it, or the lock cannot be written there.
    """
    path = path.absolute()
    lock = path / INSIDE if inside else _beside(path)
    made = _make_folders(lock.parent)
    try:
        handle = _take(lock, path)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)  # while it is held: nobody can hold another of its name
            os.close(handle)
    finally:
        for folder in reversed(made):
            with suppress(OSError):  # it holds something
                folder.rmdir()


def clear_lock(path: Path) -> None:
    """Remove the lock that a process left beside an output when it was killed at its very end."""
    if _beside(path.absolute()).exists():
        with suppress(UserError), locked(path):
            pass


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and its parents; those that were missing, the highest first."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()][::-1]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _take(lock: Path, path: Path) -> int:
    """The open file of a lock that is ours from here on."""
    while True:
        handle, is_new = _opened(lock)
        try:
            if _is_ours(handle, is_new, lock, path):
                _sign(handle)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _is_ours(handle: int, is_new: bool, lock: Path, path: Path) -> bool:
    """Lock an open file; False when another has to be opened, because it is gone."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _busy(path, _holder(handle)) from None
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        if not is_new and not _has_ended(holder := _holder(handle)):
            raise _busy(path, holder, lock) from None
        if not is_new:
            lock.unlink(missing_ok=True)
    # Its holder may have removed it between our opening and our locking.
    return _is_at(handle, lock)


def _opened(lock: Path) -> tuple[int, bool]:
    """An open file of this name, and whether it was made for us."""
    while True:
        try:
            with suppress(FileExistsError):
                return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644), True
            with suppress(FileNotFoundError):
                return os.open(lock, os.O_RDWR), False
        except PermissionError as error:
            raise UserError(
                f"{lock.parent}: {error.strerror}; choose a place you may write to"
            ) from None


def _is_at(handle: int, lock: Path) -> bool:
    try:
        there = lock.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(handle), there)


def _sign(handle: int) -> None:
    """Write down who holds the lock; without room for that it is held all the same."""
    name = Path(sys.argv[0] or "python").name
    told = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "host_key": host_key(),
        "since": datetime.now().astimezone().isoformat(" ", "seconds"),
        "command": shlex.join([name, *sys.argv[1:2]]),
    }
    with suppress(OSError):
        os.truncate(handle, 0)
        os.pwrite(handle, json.dumps(told).encode(), 0)


def _holder(handle: int) -> dict[str, Any]:
    """Who holds a lock; empty when that is not written (yet)."""
    try:
        found = json.loads(os.pread(handle, 10_000, 0))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _has_ended(holder: dict[str, Any]) -> bool:
    process = holder.get("process")
    ours = holder.get("host_key") == host_key()
    return ours and isinstance(process, int) and not is_running(process)


def _busy(path: Path, holder: dict[str, Any], lock: Path | None = None) -> UserError:
    if holder:
        process, host, since, command = (
            " ".join(str(holder.get(name, "?")).split())[:60]
            for name in ("process", "host", "since", "command")
        )
        who = f"process {process} on {host} ({command}) has been at work on it since {since}"
    else:
        who = "another process is at work on it"
    gone = "" if lock is None else f"; if that process has ended, remove {lock}"
    return UserError(f"{path}: {who}; wait for its end, or choose another place{gone}")


def host_key() -> str:
    """Stands for where a process number means one process: a host, and a container on it."""
    try:
        numbers = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # not Linux
        numbers = 0
    return hashlib.sha256(f"{socket.gethostname()} {numbers}".encode()).hexdigest()[:8]


def is_running(process: int) -> bool:
    """Return whether a process of this host is alive."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
