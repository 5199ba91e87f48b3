"""Results of jobs on disk, each whole or not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from sftlens.outputs import new_file, new_folder


class Store:
    """What the jobs of one study have left so far.

    A result is made once and read from then on, so a study that was killed goes on with the job it
    was at.

    Args:
        folder: where the results lie; it must belong to one configuration.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def table(self, stage: str, job: str, make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        """The table that a job of a stage makes."""
        path = self._path(stage, job)
        if not path.is_file():
            table = make()
            with new_file(path) as partial:
                table.write_parquet(partial)
        return self.stored(stage, job)

    def stored(self, stage: str, job: str) -> pl.DataFrame:
        """The table that a job of a stage has made."""
        return pl.read_parquet(self._path(stage, job), glob=False)

    def has(self, stage: str, job: str) -> bool:
        """Whether a job of a stage has made its table."""
        return self._path(stage, job).is_file()

    def _path(self, stage: str, job: str) -> Path:
        return self.folder / stage / f"{job}.parquet"

    def model(self, stage: str, job: str, make: Callable[[Path], None]) -> Path:
        """The folder that a job of a stage fills."""
        path = self.folder / stage / job
        if not path.is_dir():
            with new_folder(path) as partial:
                make(partial)
        return path
