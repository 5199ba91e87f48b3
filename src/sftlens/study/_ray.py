"""Jobs on a cluster, as tasks of Ray; a lost worker's job is done again elsewhere."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from sftlens.errors import UserError, first_line
from sftlens.study._plan import Job, Kind
from sftlens.study._runner import Finished, attempt
from sftlens.study._store import Store

_WITHOUT_MODEL: tuple[Kind, ...] = ("world", "facts", "change")  # take no GPU
_ATTEMPTS = 4  # a job that takes its worker down every time is not tried for ever
_MARK = "cluster.txt"


class _Running(NamedTuple):
    job: Job
    inputs: dict[str, Job]
    attempts: int


class RayRunner:
    """Does jobs as tasks on a Ray cluster, each with one GPU where the cluster has any.

    Every node must see the store, and the base model, under the same path; a job on a node that
    does not fails and says so. A job whose worker or node is lost is done again, three times at
    most; its own error is recorded as anywhere else. A job takes as many CPUs as threads; one that
    takes all cores has as many as the smallest node.

    Args:
        store: where the jobs leave their results, on a folder that all nodes see.
        address: ``host:port`` of the cluster; ``auto`` for the one this machine is part of,
            ``local`` for one that is started here and ends with the runner.
        num_workers: jobs at a time at most; by default what the cluster has resources for.

    Raises:
        UserError: when Ray is not installed or the cluster is not reached.
    """

    def __init__(self, store: Store, address: str, num_workers: int | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
        try:
            import ray
        except ImportError:
            raise UserError('--cluster: needs Ray; pip install "sftlens[cluster]"') from None
        self._ray: Any = ray
        self._store = store
        self._limit = num_workers
        self._running: dict[Any, _Running] = {}
        self._mark = uuid.uuid4().hex
        store.folder.mkdir(parents=True, exist_ok=True)
        (store.folder / _MARK).write_text(self._mark, "utf-8")
        _require_reached(address)
        started = {"include_dashboard": False} if address == "local" else {}
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error", **started)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _not_reached(address, error) from None
        self._task = ray.remote(_do)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._cores = max(1, int(min(has.get("CPU", 1) for has in nodes)))

    def __enter__(self) -> RayRunner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._running:
            self._ray.cancel(task, force=True)
        self._ray.shutdown()

    @property
    def num_workers(self) -> int:
        """As many jobs as the cluster has resources for now, within the given number."""
        has = self._ray.cluster_resources()
        fit = has.get("GPU", 0) or has.get("CPU", 0)
        return max(1, min(int(fit), self._limit or int(fit)))

    def submit(self, job: Job, inputs: Mapping[str, Job]) -> None:
        """See :class:`sftlens.study.Runner`."""
        self._start(_Running(job, dict(inputs), 1))

    def next_finished(self) -> Finished:
        """See :class:`sftlens.study.Runner`."""
        lost = self._ray.exceptions
        while True:
            (task, *_), _ = self._ray.wait(list(self._running))
            running = self._running.pop(task)
            job = running.job
            try:
                finished: Finished = self._ray.get(task)
                return finished
            except lost.OutOfMemoryError as error:
                reason = f"out of memory ({first_line(error)}); take a smaller batch"
            except (lost.WorkerCrashedError, lost.NodeDiedError, lost.ObjectLostError) as error:
                if running.attempts < _ATTEMPTS:
                    self._start(running._replace(attempts=running.attempts + 1))
                    continue
                reason = f"its worker was lost {_ATTEMPTS} times ({first_line(error)})"
            except lost.RayError as error:  # the task did not begin, or its job cannot be sent
                cause = getattr(error, "cause", None) or error
                reason = f"{type(cause).__name__}: {first_line(cause)}"
            self._store.fail(job, reason)
            return Finished(job.name, reason)

    def _start(self, running: _Running) -> None:
        uses_gpu = running.job.kind not in _WITHOUT_MODEL and self._has_gpus()
        task = self._task.options(
            name=running.job.name,
            num_cpus=running.job.threads or self._cores,
            num_gpus=1 if uses_gpu else 0,
            max_retries=0,  # lost ones are sent again here, each as an attempt of its own
        ).remote(running.job, running.inputs, str(self._store.folder), self._mark, self._cores)
        self._running[task] = running

    def _has_gpus(self) -> bool:
        return bool(self._ray.cluster_resources().get("GPU", 0))


def _require_reached(address: str) -> None:
    """Refuse an address that nobody answers at; Ray itself would try for many minutes."""
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"--cluster {address}: is no address; give host:port, auto or local")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise _not_reached(address, error) from None


def _not_reached(address: str, error: Exception) -> UserError:
    return UserError(
        f"--cluster {address}: is not reached ({first_line(error)}); "
        "start Ray there (ray start), or give another address"
    )


def _do(job: Job, inputs: Mapping[str, Job], folder: str, mark: str, cores: int) -> Finished:
    """A task: do a job on the node that this is."""
    try:
        seen = (Path(folder) / _MARK).read_text("utf-8")
    except OSError:
        seen = None
    if seen != mark:
        return Finished(
            job.name,
            f"{folder}: is not the study's folder on node {socket.gethostname()}; "
            "choose an --out that all nodes see under the same path",
        )
    return attempt(job, inputs, Store(Path(folder), attempt=uuid.uuid4().hex), cores)
