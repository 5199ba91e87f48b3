"""Jobs in their order: failures, what they leave undone, and models that go when they may."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from sftlens.errors import FullDiskError, UserError
from sftlens.study import InlineRunner, Job, Plan, ProcessRunner, Run, Store, run_jobs

Work = Callable[[Job, Path], Mapping[str, Any]]


def diamond() -> Plan:
    """Facts, a probe, two runs with a score each."""
    plan = Plan()
    facts = plan.add("facts", {}, {})
    probe = plan.add("probe", {}, {"facts": facts})
    for level in (0, 1):
        run = Run(level, 8, 0)
        tuned = plan.add("tune", {"level": level}, {"probe": probe}, run=run, keeps_model=False)
        plan.add("score", {}, {"tuned": tuned}, run=run)
    return plan


@pytest.fixture
def does(monkeypatch: pytest.MonkeyPatch) -> Callable[[Work], list[str]]:
    """Makes every job do this instead; gives the list of those that were tried."""

    def patch(work: Work) -> list[str]:
        tried: list[str] = []

        def do_job(job: Job, inputs: Mapping[str, Job], store: Store) -> None:
            tried.append(job.name)
            assert all(store.has(needed) for needed in inputs.values())
            store.make(job, lambda folder: work(job, folder))

        monkeypatch.setattr("sftlens.study._work.do_job", do_job)
        return tried

    return patch


def make_model(job: Job, folder: Path) -> dict[str, Any]:
    if job.kind != "tune":
        return {}
    (folder / "model").mkdir()
    return {"model_of": job.name}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UserError("fine-tuning diverged; lower the learning rate"), "lower the learning rate"),
        (torch.OutOfMemoryError("CUDA out of memory"), "take a smaller batch"),
        (MemoryError(), "out of memory"),
        (KeyError("level"), "KeyError: 'level'"),
    ],
)
def test_a_failure_stops_only_what_depends_on_it(
    tmp_path: Path, does: Callable[[Work], list[str]], error: Exception, told: str
) -> None:
    plan, store = diamond(), Store(tmp_path)

    def work(job: Job, folder: Path) -> Mapping[str, Any]:
        if job.name == "tune level0-size8-seed0":
            raise error
        return make_model(job, folder)

    tried = does(work)
    outcome = run_jobs(plan, store, InlineRunner(store))
    assert outcome.done == ["facts", "probe", "tune level1-size8-seed0", "score level1-size8-seed0"]
    assert list(outcome.failed) == ["tune level0-size8-seed0"]
    assert told in outcome.failed["tune level0-size8-seed0"]
    assert outcome.skipped == {"score level0-size8-seed0": "tune level0-size8-seed0"}
    assert told in str(store.failure(plan.jobs["tune level0-size8-seed0"]))
    assert len(tried) == 5

    tried = does(make_model)
    again = run_jobs(plan, store, InlineRunner(store))
    assert tried == ["tune level0-size8-seed0", "score level0-size8-seed0"]
    assert (len(again.done), again.failed, again.skipped) == (6, {}, {})


def test_a_full_disk_ends_all_jobs(tmp_path: Path, does: Callable[[Work], list[str]]) -> None:
    """None of the others would find room, and each would tell the same."""
    plan, store = diamond(), Store(tmp_path)

    def work(job: Job, folder: Path) -> Mapping[str, Any]:
        if job.name == "tune level0-size8-seed0":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "a file"))
        return make_model(job, folder)

    tried = does(work)
    with pytest.raises(FullDiskError, match="the disk is full; make room") as raised:
        run_jobs(plan, store, InlineRunner(store))
    assert raised.value.place.is_relative_to(tmp_path)
    assert tried == ["facts", "probe", "tune level0-size8-seed0"]
    does(make_model)
    assert len(run_jobs(plan, store, InlineRunner(store)).done) == 6


def test_an_interrupt_is_no_failure(tmp_path: Path, does: Callable[[Work], list[str]]) -> None:
    def work(job: Job, folder: Path) -> Mapping[str, Any]:
        if job.kind == "probe":
            raise KeyboardInterrupt
        return {}

    does(work)
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_jobs(diamond(), store, InlineRunner(store))
    assert not (tmp_path / "failed").exists()


def test_a_model_goes_when_no_job_needs_it(
    tmp_path: Path, does: Callable[[Work], list[str]]
) -> None:
    plan, store = diamond(), Store(tmp_path)
    models: list[int] = []

    def work(job: Job, folder: Path) -> Mapping[str, Any]:
        models.append(sum(store.model(one).is_dir() for one in plan.of_kind("tune")))
        return make_model(job, folder)

    tried = does(work)
    run_jobs(plan, store, InlineRunner(store))
    assert tried[2:] == [
        *("tune level0-size8-seed0", "score level0-size8-seed0"),
        *("tune level1-size8-seed0", "score level1-size8-seed0"),
    ]
    assert models == [0, 0, 0, 1, 0, 1]
    assert not any(store.model(job).is_dir() for job in plan.of_kind("tune"))
    assert all(store.has(job) for job in plan.of_kind("tune"))


def test_a_model_that_is_needed_again_is_made_again(
    tmp_path: Path, does: Callable[[Work], list[str]]
) -> None:
    plan, store = diamond(), Store(tmp_path)
    does(make_model)
    run_jobs(plan, store, InlineRunner(store))
    run = Run(1, 8, 0)
    plan.add("change", {}, {"tuned": "tune level1-size8-seed0"}, run=run)
    tried = does(make_model)
    run_jobs(plan, store, InlineRunner(store))
    assert tried == ["tune level1-size8-seed0", "change level1-size8-seed0"]


class Deadly:
    """Ends the process that receives it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)


def test_a_worker_that_dies_fails_its_job_alone(tmp_path: Path) -> None:
    plan, store = Plan(), Store(tmp_path / "jobs")
    plan.add("probe", {"deadly": Deadly()}, {})
    absent = tmp_path / "absent.csv"
    plan.add("facts", {"unused_facts": True}, {}, places={"facts": str(absent)})
    with ProcessRunner(store, 1) as runner:
        outcome = run_jobs(plan, store, runner)
    assert outcome.done == []
    assert "its process ended (exit code 3)" in outcome.failed["probe"]
    assert f"{absent}: does not exist" in outcome.failed["facts"]
    assert store.failure(plan.jobs["probe"]) == outcome.failed["probe"]
