"""Jobs compute with as many threads as the study says, however many there are at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
import torch

from runners import LastFirst, require_equal, tables_of
from sftlens.study import ProcessRunner, Store, StudyFile, make_plan
from sftlens.study._study import find_sources
from sftlens.study._threads import limited_to, machine_threads
from sftlens.tuning import TuneSettings
from tiny_world import PROBE

CORES = 2  # where nothing else is said


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine of two cores, and nothing said of threads."""
    monkeypatch.delenv("OMP_NUM_THREADS")
    before = torch.get_num_threads()
    torch.set_num_threads(CORES)
    yield
    torch.set_num_threads(before)


class Done(NamedTuple):
    """What a runner made of a study."""

    tables: dict[str, pl.DataFrame]
    threads: dict[str, int | None]  # by job


def study_of(base: Path, world: Path, threads: int) -> StudyFile:
    return StudyFile(
        base=str(base),
        facts=str(world),
        levels=(0,),
        sizes=(4, 8),
        seeds=1,
        shares=(20,),
        methods=("relative", "random"),
        layer_groups=0,
        threads=threads,
        probe=PROBE,
        tune=TuneSettings(learning_rate=1e-3),
    )


def done(study: StudyFile, folder: Path, num_workers: int | None) -> Done:
    """What so many workers make of a study; None does the last job first, in this process."""
    store = Store(folder / "jobs")
    if num_workers is None:
        tables = tables_of(study, folder, LastFirst)
    else:
        with ProcessRunner(store, num_workers) as runner:
            tables = tables_of(study, folder, lambda _: runner)
    jobs = make_plan(study, find_sources(study)).jobs
    return Done(tables, {name: store.threads(job) for name, job in jobs.items()})


def test_workers_and_order_change_nothing(
    base: Path, world: Path, tmp_path: Path, two_cores: None
) -> None:
    study = study_of(base, world, threads=1)
    one = done(study, tmp_path / "one", 1)
    assert one.threads.pop("probe") == CORES
    assert set(one.threads.values()) == {1}
    for name, num_workers in (("two", 2), ("last first", None)):
        found = done(study, tmp_path / name, num_workers)
        require_equal(found.tables, one.tables)
        assert found.threads.pop("probe") == CORES
        assert found.threads == one.threads
    assert (machine_threads(), os.environ.get("OMP_NUM_THREADS")) == (CORES, None)


def test_other_threads_are_other_jobs(base: Path, world: Path) -> None:
    """All but those that compute nothing, or take the machine's cores anyway."""
    studies = [study_of(base, world, threads) for threads in (1, 3)]
    before, after = (make_plan(study, find_sources(study)).jobs for study in studies)
    assert before.keys() == after.keys()
    assert {name for name in before if before[name].key == after[name].key} == {"facts", "probe"}
    assert after["probe"].threads is None
    assert after["score level0-size4-seed0"].threads == 3


def test_processes_that_are_started_are_told() -> None:
    before = (torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS"))
    with limited_to(3):
        assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (3, "3")
    assert (torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")) == before
