"""Results of jobs on disk, each whole or not there."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from sftlens.errors import UserError
from sftlens.facts import Fact, facts_from_file
from sftlens.fingerprints import fingerprints, first_fault
from sftlens.manifest import FORMAT_VERSION
from sftlens.outputs import new_file, new_folder
from sftlens.study._plan import Job, Kind
from sftlens.tables import read_table
from sftlens.texts import json_text

MODEL = "model"
"""The folder of a result that holds a model."""

RECORD = "job.json"
"""The file of a result that says what was found; it is written last."""

_FAILED = "failed"
_RESUMED: tuple[Kind, ...] = (
    "base",
    "probe",
    "restore",
    "tasks",
)  # go on from what a killed one left


class Store:
    """What the jobs of one or several studies have left so far.

    A result is made once and read from then on, so a study that was killed goes on with the job it
    was at, and one whose settings changed does again only what depends on them.

    Args:
        folder: where the results lie, as ``kind/key``.
        attempt: names this attempt at a job where an earlier one may still be alive on another
            machine: each fills a folder of its own, and goes on from a copy of what others left.
            The first to end leaves the result, which is the same whoever it is.
    """

    def __init__(self, folder: Path, *, attempt: str | None = None) -> None:
        self.folder = folder
        self._attempt = attempt

    def path(self, job: Job) -> Path:
        """The folder of a job's result."""
        return self.folder / job.kind / job.key

    def has(self, job: Job) -> bool:
        """Return whether a job has left its result, and no file of it is missing or cut short.

        A model that may be removed does not count; see :meth:`lacks_model`.
        """
        record = self._read_record(job)
        return record is not None and not self._fault(job, record, of_model=False)

    def result(self, job: Job) -> dict[str, Any]:
        """What a job found, beside its files.

        Raises:
            UserError: when its record was damaged.
        """
        result: dict[str, Any] = self._record(job)["result"]
        return result

    def _record(self, job: Job) -> dict[str, Any]:
        record = self._read_record(job)
        if record is None:
            path = self.path(job) / RECORD
            raise UserError(f"{path}: is damaged; remove its folder and run the study again")
        return record

    def _read_record(self, job: Job) -> dict[str, Any] | None:
        try:
            record = json.loads((self.path(job) / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        is_whole = isinstance(record, dict) and isinstance(record.get("result"), dict)
        return record if is_whole else None

    def _fault(self, job: Job, record: Mapping[str, Any], *, of_model: bool) -> str | None:
        """What is missing or cut short: of a model that may be removed, or of all else."""
        files = record.get("files")
        may_go = "model_of" in record["result"]
        wanted = {
            name: one
            for name, one in (files if isinstance(files, dict) else {}).items()
            if (may_go and name.startswith(f"{MODEL}/")) == of_model
        }
        return first_fault(self.path(job), wanted, sizes_only=True)

    def threads(self, job: Job) -> int | None:
        """How many threads a job's result was computed with; None where its record says nothing.

        Raises:
            UserError: when the record was damaged.
        """
        threads = self._record(job).get("threads")
        return threads if isinstance(threads, int) else None

    def make(
        self,
        job: Job,
        work: Callable[[Path], Mapping[str, Any]],
        *,
        threads: int | None = None,
    ) -> None:
        """Make a job's result.

        Args:
            job: the job.
            work: fills a folder, and gives what it found. What an earlier call left in the folder
                when it was killed is there where the job can go on from it.
            threads: how many it computes with, for the record.
        """
        path = self.path(job)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not self.has(job):
            self.remove(job)
        own = self._own_folder(job)
        begin = time.perf_counter()
        try:
            with new_folder(path, work=own) as folder:
                result = dict(work(folder))
                record = {
                    "format_version": FORMAT_VERSION,
                    "kind": job.kind,
                    "name": job.name,
                    "settings": dict(job.settings),
                    "inputs": dict(job.inputs),
                    "threads": threads,
                    "result": result,
                    "seconds": round(time.perf_counter() - begin, 3),
                    "files": fingerprints(folder),
                }
                _write_json(folder / RECORD, record)
        except Exception:
            if own is not None and (job.kind not in _RESUMED or not _holds_work(own)):
                shutil.rmtree(own, ignore_errors=True)
            if self._attempt is None or not self.has(job):
                raise  # else another attempt was first
        self._failure_path(job).unlink(missing_ok=True)
        for left in self._left_folders(job):
            shutil.rmtree(left, ignore_errors=True)

    def _own_folder(self, job: Job) -> Path | None:
        """The folder that an attempt fills; None for one that is made and removed with it."""
        if self._attempt is None and job.kind not in _RESUMED:
            return None
        path = self.path(job)
        own = path.with_name(f".{path.name}.work" + (f"-{self._attempt}" if self._attempt else ""))
        if job.kind in _RESUMED and not own.exists():
            for left in self._left_folders(job):
                try:
                    shutil.copytree(left, own, ignore=shutil.ignore_patterns(".*.lock"))
                    break
                except OSError:  # it changed under the copy
                    shutil.rmtree(own, ignore_errors=True)
        return own

    def _left_folders(self, job: Job) -> list[Path]:
        """What attempts at a job left or are filling, the newest first."""
        path = self.path(job)
        times = {}
        for left in path.parent.glob(f".{path.name}.work*"):
            with suppress(FileNotFoundError):  # another attempt has just ended
                times[left] = left.stat().st_mtime
        return sorted(times, key=times.__getitem__, reverse=True)

    def lacks_model(self, job: Job) -> bool:
        """Return whether a job made a model that was removed or damaged since."""
        record = self._read_record(job)
        if record is None or "model_of" not in record["result"]:
            return False
        return not self.model(job).is_dir() or self._fault(job, record, of_model=True) is not None

    def model(self, job: Job) -> Path:
        """The model folder of a job's result."""
        return self.path(job) / MODEL

    def remove_model(self, job: Job) -> None:
        """Remove the model that a job made; what it found stays."""
        model = self.model(job)
        if model.is_dir():
            gone = model.with_name(f".{MODEL}.gone")
            shutil.rmtree(gone, ignore_errors=True)
            model.rename(gone)  # so that no half of it is taken for a model
            shutil.rmtree(gone)

    def remove(self, job: Job) -> None:
        """Remove a job's result."""
        (self.path(job) / RECORD).unlink(missing_ok=True)
        shutil.rmtree(self.path(job), ignore_errors=True)

    def fail(self, job: Job, reason: str, traceback: str = "") -> None:
        """Record why a job failed; gives up silently where nothing can be written."""
        told = {"kind": job.kind, "name": job.name, "reason": reason, "traceback": traceback}
        try:
            _write_json(self._failure_path(job), told)
        except (OSError, UserError):  # the disk is full: the reason is told in the end
            return

    def failure(self, job: Job) -> str | None:
        """Why a job failed when it was last tried; None where it did not."""
        try:
            content = json.loads(self._failure_path(job).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        return str(content.get("reason")) if isinstance(content, dict) else None

    def _failure_path(self, job: Job) -> Path:
        return self.folder / _FAILED / f"{job.kind}-{job.key}.json"


def read_result(path: Path) -> pl.DataFrame:
    """A table of a job's result.

    Raises:
        UserError: when it cannot be read.
    """
    return read_table(path, remedy=_again(path))


def facts_of_result(path: Path) -> list[Fact]:
    """The facts of a job's result.

    Raises:
        UserError: when they cannot be read.
    """
    return facts_from_file(path, remedy=_again(path))


def _again(path: Path) -> str:
    return f"remove {path.parent} and run the study again"


def _holds_work(folder: Path) -> bool:
    return any(path.is_file() and path.suffix != ".lock" for path in folder.rglob("*"))


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with new_file(path) as partial:
        partial.write_text(json_text(content, indent=2), "utf-8")
