"""Room on disk: how much there is, how much is needed, and errors that mean there is none."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sftlens.errors import FullDiskError, UserError

_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TEXTS = (
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    # What torch.save says of any write that fails, without the reason.
    "PytorchStreamWriter failed",
    "inline_container.cc",
)


def free_bytes(path: Path) -> int:
    """Free bytes of the disk that a path lies on, or would lie on."""
    parents = (path.absolute(), *path.absolute().parents)
    return shutil.disk_usage(next(parent for parent in parents if parent.exists())).free


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if not path.is_dir():
        return path.lstat().st_size
    return sum(one.lstat().st_size for one in path.rglob("*") if not one.is_dir())


def require_space(path: Path, needed: int, *, advice: str = "", beside: str = "") -> None:
    """Refuse to start what the disk of ``path`` cannot hold.

    Args:
        path: the output.
        needed: bytes.
        advice: another way out than another place, such as "fewer shares".
        beside: what else is known to take room there.

    Raises:
        UserError: when fewer bytes are free.
    """
    free = free_bytes(path)
    if free < needed:
        raise UserError(
            f"{path}: needs {needed / 1e9:.2f} GB, and the disk has {free / 1e9:.2f} GB free"
            f"{beside and f' ({beside})'}; choose another place{advice and f', or {advice}'}"
        )


def is_full_disk(error: BaseException) -> bool:
    """Return whether an error, or one that led to it, says that there was no room to write."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, FullDiskError):
            return True
        if isinstance(seen, OSError) and seen.errno in _ERRNOS:
            return True
        if any(text in str(seen) for text in _TEXTS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


@contextmanager
def full_disk_reported(
    path: Path, needed: Callable[[], int | None] = lambda: None
) -> Iterator[None]:
    """Turn the error of a full disk into one line, whichever library met it.

    Args:
        path: the output that is written in the block.
        needed: bytes that it takes, where they are known by then.

    Raises:
        FullDiskError: when the disk is full.
    """
    try:
        yield
    except Exception as error:
        if not is_full_disk(error):
            raise
        place, takes = _place(error, path), needed()
        room = f" (it takes {takes / 1e9:.2f} GB)" if takes and place == path else ""
        raise FullDiskError(
            f"{place}: could not be written, the disk is full; make room{room} or choose another "
            "place",
            place,
        ) from None


def _place(error: Exception, path: Path) -> Path:
    """Where there was no room: a temporary folder may lie on another disk than the output."""
    named = error.place if isinstance(error, FullDiskError) else getattr(error, "filename", None)
    if not isinstance(named, str | Path):
        return path
    place = Path(named).absolute()
    return path if place.is_relative_to(path.absolute().parent) else place
