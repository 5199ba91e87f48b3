"""Folders under a name that the library ``datasets`` does not take for a pattern."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sftlens.errors import UserError

_PATTERN = re.compile(r"[*?\[\]{}]")
_LINKS = "sftlens-links"


@contextmanager
def plain_name(place: str) -> Iterator[str]:
    """A name of a data set that is safe to load it by; errors tell the one it was given.

    ``datasets`` looks for files by a pattern that begins with the folder's own name: in ``run[1]``
    it finds none, and for ``a*b`` it takes those of ``aXb`` too. Such a folder is loaded as links
    to its files in the library's cache, always the same ones, so that what the library keeps of it
    is found again.

    Args:
        place: a folder or a name of the hub.

    Raises:
        UserError: when the links cannot be made.
    """
    if not Path(place).is_dir():
        yield place
        return
    folder = Path(place).resolve()
    if not _PATTERN.search(str(folder)):
        yield str(folder)  # absolute, since a leading ~ is taken for the home folder
        return
    linked = _linked(folder)
    try:
        yield str(linked)
    except UserError as error:
        raise UserError(str(error).replace(str(linked), place)) from None


def _linked(folder: Path) -> Path:
    from datasets import config

    name = hashlib.sha256(str(folder).encode(errors="surrogateescape")).hexdigest()[:24]
    linked = Path(config.HF_DATASETS_CACHE).absolute() / _LINKS / name
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    try:
        linked.mkdir(parents=True, exist_ok=True)
        for left in linked.rglob("*"):
            if left.is_symlink() and not left.exists():
                left.unlink(missing_ok=True)
        for file in files:
            (linked / file).parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # made before, or by another process just now
                (linked / file).symlink_to(folder / file)
    except OSError as error:
        raise UserError(
            f"hf:{folder}: its name holds one of * ? [ ] {{ }}, and no links to its files can be "
            f"made in {linked} ({error.strerror}); rename the folder"
        ) from None
    return linked
