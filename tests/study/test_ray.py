"""Jobs on a Ray cluster: the same tables, also when a node is lost, and clear refusals."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from runners import require_equal, tables_of
from sftlens.errors import UserError
from sftlens.study import Finished, InlineRunner, Job, RayRunner, Store, StudyFile, run_study
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


@pytest.fixture(scope="module")
def inline(study: StudyFile, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    """The tables as one process makes them, in the order of the plan."""
    return tables_of(study, tmp_path_factory.mktemp("inline"), InlineRunner)


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
    finished = _do(job, {}, os.fspath(tmp_path / "absent"), "mark", 1)
    assert finished.failure is not None
    assert "all nodes see" in finished.failure
