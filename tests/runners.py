"""A study done by a runner of choice, and its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from sftlens.study import Finished, InlineRunner, Job, Store, StudyFile
from sftlens.study._plan import make_plan
from sftlens.study._runner import Runner, run_jobs
from sftlens.study._study import find_sources, write_study


def tables_of(
    study: StudyFile, folder: Path, runner: Callable[[Store], Runner]
) -> dict[str, pl.DataFrame]:
    plan, store = make_plan(study, find_sources(study)), Store(folder / "jobs")
    outcome = run_jobs(plan, store, runner(store))
    assert not outcome.failed
    assert len(outcome.done) == len(plan.jobs)
    write_study(study, plan, store, folder, outcome)
    return {path.stem: pl.read_parquet(path) for path in folder.glob("*.parquet")}


def require_equal(found: dict[str, pl.DataFrame], wanted: dict[str, pl.DataFrame]) -> None:
    assert found.keys() == wanted.keys()
    for name, table in wanted.items():
        assert found[name].equals(table), name


class LastFirst(InlineRunner):
    """Is given all jobs that are ready and does the last of them."""

    num_workers = 100

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.store, self.given = store, list[tuple[Job, Mapping[str, Job]]]()
        self.order: list[str] = []

    def submit(self, job: Job, inputs: Mapping[str, Job]) -> None:
        self.given.append((job, inputs))

    def next_finished(self) -> Finished:
        job, inputs = self.given.pop()
        self.order.append(job.name)
        super().submit(job, inputs)
        return super().next_finished()
