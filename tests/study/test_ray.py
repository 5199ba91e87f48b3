"""Jobs on a Ray cluster: the same tables, also when a node is lost, and clear refusals."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sftlens.errors import UserError
from sftlens.study import Finished, InlineRunner, Job, RayRunner, Store, StudyFile, run_study
from sftlens.study._plan import make_plan
from sftlens.study._runner import ProcessRunner, Runner, run_jobs
from sftlens.study._study import find_sources, write_study
from sftlens.tuning import TuneSettings
from tiny_world import PROBE


@pytest.fixture(scope="module")
def study(base: Path, world: Path) -> StudyFile:
    return StudyFile(
        base=str(base),
        facts=str(world),
        levels=(0,),
        sizes=(4, 8),
        seeds=1,
        shares=(20,),
        probe=PROBE,
        tune=TuneSettings(learning_rate=1e-3),
    )


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


@pytest.fixture(scope="module")
def inline(study: StudyFile, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    """The tables as one process makes them, in the order of the plan."""
    return tables_of(study, tmp_path_factory.mktemp("inline"), InlineRunner)


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


def test_the_order_changes_nothing(
    study: StudyFile, inline: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    orders = []

    def runner(store: Store) -> Runner:
        orders.append(LastFirst(store))
        return orders[0]

    require_equal(tables_of(study, tmp_path, runner), inline)
    assert orders[0].order != list(make_plan(study, find_sources(study)).jobs)


def test_processes_change_nothing(
    study: StudyFile, inline: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    with ProcessRunner(Store(tmp_path / "jobs"), 2) as runner:
        require_equal(tables_of(study, tmp_path, lambda _: runner), inline)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes on this machine, one CPU each; the driver is at the first."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    made.add_node(**node)
    yield made
    made.shutdown()


class KillsANode(RayRunner):
    """On one node jobs stop when all but their record is written; then that node is killed."""

    def __init__(self, store: Store, cluster: Any) -> None:
        super().__init__(store, cluster.address)
        self.cluster, self.doomed = cluster, next(iter(cluster.worker_nodes))
        self.begun = store.folder / "begun"
        self.was_killed = False
        self.again: list[str] = []
        self._task = self._ray.remote(halting(self.doomed.node_id, self.begun))

    def next_finished(self) -> Finished:
        while not self.was_killed and not self._ray.wait(list(self._running), timeout=0.1)[0]:
            if self.begun.exists():
                self.cluster.remove_node(self.doomed, allow_graceful=False)
                self.was_killed = True
        return super().next_finished()

    def _start(self, running: Any) -> None:
        super()._start(running)
        if running.attempts > 1:
            self.again.append(running.job.name)


def halting(node: str, begun: Path) -> Callable[..., str | None]:
    """The task, in a function that workers need no test file to read."""

    def do(*args: Any) -> str | None:
        import time

        import ray

        from sftlens.study import _ray, _store

        def halt(*_: Any) -> None:
            begun.touch()
            time.sleep(3600)

        if ray.get_runtime_context().get_node_id() == node:
            _store._write_json = halt
        return _ray._do(*args)

    return do


def test_a_lost_node_changes_nothing(
    study: StudyFile, inline: dict[str, pl.DataFrame], tmp_path: Path, cluster: Any
) -> None:
    with KillsANode(Store(tmp_path / "jobs"), cluster) as runner:
        require_equal(tables_of(study, tmp_path, lambda _: runner), inline)
    assert runner.was_killed
    assert len(runner.again) == 1
    assert not list((tmp_path / "jobs").glob("*/.*"))


def test_without_ray(study: StudyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r'pip install "sftlens\[cluster\]"'):
        run_study(study, tmp_path / "run", cluster="auto")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:1", "is not reached"),
        ("ray://there:10001/x", "is no address"),
        ("there", "auto"),
    ],
)
def test_an_address_that_is_no_cluster(tmp_path: Path, address: str, told: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UserError, match=told):
        RayRunner(Store(tmp_path), address)


def test_a_node_that_does_not_see_the_store(tmp_path: Path) -> None:
    from sftlens.study._ray import _do

    job = Job(kind="world", name="world", settings={}, inputs={}, key="k")
    told = _do(job, {}, os.fspath(tmp_path / "absent"), "mark", 1)
    assert told is not None
    assert "all nodes see" in told
