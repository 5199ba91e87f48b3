"""The folder that a command writes: one process at a time, whole or not at all, checked later."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from sftlens import disk
from sftlens.errors import UserError
from sftlens.fingerprints import Fingerprints, fingerprints, first_fault
from sftlens.locks import clear_lock, locked
from sftlens.manifest import (
    MANIFEST,
    Earlier,
    content_key,
    earlier_run,
    recorded_files,
    write_manifest,
)
from sftlens.outputs import PARTIAL, remove, require_free, sync, unfinished_name


class OutputFolder:
    """The output of one call of a command, made by :func:`open_output`.

    Attributes:
        path: where the whole folder appears.
        finished: the result of an earlier call of the same stage and config whose folder is there
            and whole; None where there is work to do.
        needed: bytes that the work takes, once they are known.
    """

    def __init__(
        self,
        path: Path,
        stage: str,
        config: Mapping[str, Any],
        resumed: Sequence[str],
        temporary: Sequence[str],
    ) -> None:
        self.path = path
        self.finished: dict[str, Any] | None = None
        self._resolved = path.resolve()
        self._stage, self._config = stage, config
        self._resumed, self._temporary = resumed, temporary
        self._name = f".{self._resolved.name}.{stage}-{content_key(config)}"
        self._unresumed: Path | None = None
        self._replaces = False
        self._taken_over: set[Path] = set()
        self.needed: int | None = None

    @property
    def work(self) -> Path:
        """The folder to fill, made when it is first asked for."""
        place = self._work_path
        place.mkdir(parents=True, exist_ok=True)
        return place

    @property
    def _work_path(self) -> Path:
        if self._resumed:
            return self._resolved.with_name(self._name)
        if self._unresumed is None:
            self._unresumed = unfinished_name(self._resolved)
        return self._unresumed

    def require_space(self, needed: int, *, advice: str = "") -> None:
        """Refuse to start what the disk cannot hold, beside what an earlier call left of it.

        Args:
            needed: bytes that the work takes in all.
            advice: see :func:`sftlens.disk.require_space`.

        Raises:
            UserError: when there is too little room; other unfinished work beside the output is
                named.
        """
        self.needed = needed
        work = self._work_path
        have = disk.size_of(work) if work.is_dir() else 0
        beside = ", ".join(
            f"{one.name} beside it holds {size / 1e9:.2f} GB of other unfinished work"
            for one in sorted(self._resolved.parent.glob(".*"))
            if one.name.startswith(f".{self._resolved.name}.") and one.is_dir() and one != work
            if (size := disk.size_of(one))
        )
        disk.require_space(self.path, needed - have, advice=advice, beside=beside)

    def complete(self, result: Mapping[str, Any]) -> None:
        """Record the result, which the command's ``--json`` prints, and let the folder appear."""
        work = self.work
        files = fingerprints(work, leave_out=(MANIFEST, *self._temporary))
        write_manifest(work, stage=self._stage, config=self._config, result=result, files=files)
        sync(work)
        if self._replaces:
            self._resolved.rename(_replaced(self._resolved))
        elif self._resolved.is_dir():
            self._resolved.rmdir()
        work.rename(self._resolved)
        _settle(self._resolved, self._stage)
        self._tidy()

    def discard(self) -> None:
        """Remove the work, from which nothing can go on."""
        shutil.rmtree(self._work_path, ignore_errors=True)

    def begin(self) -> None:
        """Find out what there is to do, with the lock held."""
        _settle(self._resolved, self._stage)
        for left in self._resolved.parent.glob(".*"):  # nobody else is at work
            if left.name.startswith(PARTIAL.format(self._resolved.name)):
                remove(left)
        earlier = self.find_finished()
        if self.finished is None:
            if earlier is None:
                _require_free(self.path)
            else:
                sys.stderr.write(f"{self.path}: {earlier.fault}; it is made again\n")
                self._replaces = True
                self._take_over(earlier.files)

    def find_finished(self) -> Earlier | None:
        """Look for an earlier run, and take its result where it is whole."""
        earlier = earlier_run(self._resolved, stage=self._stage, config=self._config)
        if earlier is not None and earlier.fault is None:
            self.finished = earlier.result
            self._tidy()
        return earlier

    def _tidy(self) -> None:
        """Remove what was of use until the folder was whole, as far as nobody else does so."""
        for name in self._temporary:
            with suppress(OSError):
                remove(self._resolved / name)

    def _take_over(self, files: Fingerprints) -> None:
        """Copy what the damaged folder holds that work can go on from."""
        for name, recorded in files.items():
            source = self._resolved / PurePosixPath(name)
            target = self._work_path / PurePosixPath(name)
            wanted = any(PurePosixPath(name).match(pattern) for pattern in self._resumed)
            if (
                wanted
                and not target.exists()
                and first_fault(self._resolved, {name: recorded}) is None
            ):
                self._taken_over.add(target)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def leave(self) -> None:
        """Remove what is left of the work, unless the same call can go on from it."""
        work = self._work_path
        found = (path for pattern in self._resumed for path in work.glob(pattern))
        if all(path in self._taken_over for path in found):
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def open_output(
    path: Path,
    *,
    stage: str,
    config: Mapping[str, Any],
    resumed: Sequence[str] = (),
    temporary: Sequence[str] = (),
    leads: bool = True,
) -> Iterator[OutputFolder]:
    """Be the one process at work on an output folder for the length of a block.

    A folder that an earlier call of the same stage and config finished is checked, file by file,
    and given as :attr:`OutputFolder.finished`; where something is missing or damaged there, a line
    says so and the work is done again, and the new folder takes the old one's place together with
    whatever others put there. Else the block fills :attr:`OutputFolder.work` and calls
    :meth:`OutputFolder.complete`. A block that fails leaves nothing, or what can be gone on from.

    Args:
        path: the output folder.
        stage: the command.
        config: everything the result depends on, JSON-able.
        resumed: patterns of the files in the work folder that the same call goes on from; while
            there are any, the work folder stays after a failure. Without patterns nothing stays.
        temporary: names at the top of the folder that are removed once it is whole.
        leads: whether this process writes; of several that share the work only one does.

    Raises:
        UserError: when ``path`` holds something else, another process is at work on it, or the disk
            is full.
    """
    output = OutputFolder(path, stage, config, resumed, temporary)
    earlier = output.find_finished()
    if output.finished is not None or not leads:
        if leads:
            clear_lock(path.resolve())
        yield output
        return
    if earlier is None:
        _require_free(path)
    with disk.full_disk_reported(path, lambda: output.needed), locked(path.resolve()):
        output.begin()
        try:
            yield output
        finally:
            output.leave()


def _require_free(path: Path) -> None:
    manifest = path / MANIFEST
    try:
        if manifest.is_file():
            json.loads(manifest.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise UserError(
            f"{manifest}: is damaged; remove its folder to make it again, or choose another"
        ) from None
    require_free(path)


def _replaced(path: Path) -> Path:
    """Where a damaged folder lies while another takes its place."""
    return path.with_name(f".{path.name}.replaced")


def _settle(path: Path, stage: str) -> None:
    """Finish what was begun when a damaged folder was replaced: nothing of others' is lost."""
    old = _replaced(path)
    if not old.is_dir():
        return
    if not path.exists():
        old.rename(path)
        return
    own = {MANIFEST, *recorded_files(old, stage)}
    for source in sorted(old.rglob("*")):
        name = source.relative_to(old)
        target = path / name
        if (
            name.as_posix() not in own
            and (source.is_symlink() or not source.is_dir())
            and not target.exists()
        ):
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
    shutil.rmtree(old)
