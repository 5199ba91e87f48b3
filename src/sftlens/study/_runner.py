"""Jobs in their order, by runners: this process, or worker processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack, redirect_stderr, suppress
from io import TextIOBase
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from sftlens.errors import FullDiskError, UserError, first_line
from sftlens.progress import progress
from sftlens.study._plan import Job, Kind, Plan
from sftlens.study._store import Store
from sftlens.study._threads import limited_to, machine_threads

FIRST_KINDS: tuple[Kind, ...] = ("world", "base", "facts", "probe", "outlook")
"""What everything else waits for; these show bars of their own."""

_PATIENCE = 10  # seconds for an idle worker to end by itself


class Finished(NamedTuple):
    """A job that a runner is done with; ``failure`` tells why it left no result.

    ``full_disk`` is where there was no room, which ends the other jobs as well.
    """

    name: str
    failure: str | None
    full_disk: Path | None = None


class Runner(Protocol):
    """Does jobs somewhere: here, on other processes, on other machines.

    It is given jobs whose inputs have left their results in the store, and leaves theirs there.
    """

    @property
    def num_workers(self) -> int:
        """How many jobs it takes at a time."""
        ...

    def submit(self, job: Job, inputs: Mapping[str, Job]) -> None:
        """Take a job; ``inputs`` are the jobs whose results it takes, by role."""
        ...

    def next_finished(self) -> Finished:
        """Wait until one of the jobs is done with."""
        ...


class Outcome(NamedTuple):
    """What became of the jobs of a plan.

    Attributes:
        done: names of jobs that have left a result, now or before.
        failed: why the others that were tried did not, by name.
        skipped: those that were not tried: the name of the failed job that each waits for.
    """

    done: list[str]
    failed: dict[str, str]
    skipped: dict[str, str]


def run_jobs(
    plan: Plan, store: Store, runner: Runner, *, stage: str = "jobs of the study"
) -> Outcome:
    """Do what is not done yet; jobs that depend on a failed one are skipped, the rest goes on.

    A model that no job needs any more is removed, unless it is to stay. ``stage`` is what the
    progress bar is called.

    Raises:
        FullDiskError: when the disk is full; the other jobs would find no room either.
    """
    work = _Work(plan, store)
    total = len(plan.jobs)
    running = 0
    with ExitStack() as stack:
        advance = None
        while work.waiting or running:
            while running < runner.num_workers and (job := work.next_ready()):
                if advance is None and job.kind not in FIRST_KINDS:
                    bar = progress(stage, total, done=len(work.done))
                    advance = stack.enter_context(bar)
                runner.submit(job, work.inputs(job))
                running += 1
            if not running:
                break
            finished = runner.next_finished()
            running -= 1
            if finished.full_disk is not None:
                raise FullDiskError(f"{finished.name}: {finished.failure}", finished.full_disk)
            work.finish(finished)
            if advance is not None:
                advance(1)
    return Outcome([name for name in plan.jobs if name in work.done], work.failed, work.skipped)


class _Work:
    """Which jobs of a plan are done, and which may be next."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self._plan, self._store = plan, store
        self._dependents: dict[str, list[str]] = {name: [] for name in plan.jobs}
        for job in plan.jobs.values():
            for needed in job.inputs.values():
                self._dependents[needed].append(job.name)
        self.done = {name for name, job in plan.jobs.items() if store.has(job)}
        self.failed: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        for name in [name for name in self._dependents if name in self.done]:
            job = plan.jobs[name]
            if store.lacks_model(job) and (job.keeps_model or self._is_needed(name)):
                store.remove(job)
                self.done.discard(name)
        self.waiting = [name for name in plan.jobs if name not in self.done]
        for name in self.done:
            self._let_go(name)

    def inputs(self, job: Job) -> dict[str, Job]:
        return {role: self._plan.jobs[needed] for role, needed in job.inputs.items()}

    def next_ready(self) -> Job | None:
        """The first job whose inputs are done; it is waiting no more."""
        for name in self.waiting:
            job = self._plan.jobs[name]
            if all(needed in self.done for needed in job.inputs.values()):
                self.waiting.remove(name)
                return job
        return None

    def finish(self, finished: Finished) -> None:
        """Take note that a runner is done with a job."""
        if finished.failure is None:
            self.done.add(finished.name)
            for name in (finished.name, *self._plan.jobs[finished.name].inputs.values()):
                self._let_go(name)
            return
        self.failed[finished.name] = finished.failure
        failed = [finished.name]
        for name in list(self.waiting):
            if any(needed in failed for needed in self._plan.jobs[name].inputs.values()):
                failed.append(name)
                self.skipped[name] = finished.name
                self.waiting.remove(name)

    def _is_needed(self, name: str) -> bool:
        return any(dependent not in self.done for dependent in self._dependents[name])

    def _let_go(self, name: str) -> None:
        job = self._plan.jobs[name]
        if job.kind == "tune" and not job.keeps_model and not self._is_needed(name):
            self._store.remove_model(job)


class InlineRunner:
    """Does one job at a time, in this process."""

    num_workers = 1

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cores = machine_threads()
        self._finished: deque[Finished] = deque()

    def submit(self, job: Job, inputs: Mapping[str, Job]) -> None:
        """See :class:`Runner`."""
        self._finished.append(attempt(job, inputs, self._store, self._cores))

    def next_finished(self) -> Finished:
        """See :class:`Runner`."""
        return self._finished.popleft()


def attempt(job: Job, inputs: Mapping[str, Job], store: Store, cores: int) -> Finished:
    """Do a job; a failure is recorded in the store.

    Args:
        job: the job.
        inputs: the jobs whose results it takes, by role.
        store: has those results, and takes the job's.
        cores: threads of a job that takes all of the machine's.
    """
    from sftlens.study._work import do_job

    try:
        with limited_to(job.threads or cores):
            do_job(job, inputs, store)
    except FullDiskError as error:
        return Finished(job.name, first_line(error), error.place)
    except Exception as error:
        reason = _reason(error)
        store.fail(job, reason, "" if isinstance(error, UserError) else traceback.format_exc())
        return Finished(job.name, reason)
    return Finished(job.name, None)


def _reason(error: Exception) -> str:
    import torch

    if isinstance(error, UserError):
        return first_line(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        torch.cuda.empty_cache()
        return f"out of memory ({first_line(error)}); take a smaller batch or a larger device"
    return f"{type(error).__name__}: {first_line(error)}"


class ProcessRunner:
    """Does jobs in worker processes on this machine; of several GPUs each worker sees one.

    A worker that dies fails its job, and another takes its place.

    Args:
        store: where the jobs leave their results.
        num_workers: how many at a time; by default one for each GPU, and one without any.
        apart: whether each worker sees one GPU; else it sees all of them.
    """

    def __init__(self, store: Store, num_workers: int | None = None, *, apart: bool = True) -> None:
        devices = visible_devices() if apart else []
        self.num_workers = num_workers or len(devices) or 1
        self._store = store
        cores = machine_threads()
        self._workers = [
            _Worker(
                store.folder, number, devices[number % len(devices)] if devices else None, cores
            )
            for number in range(self.num_workers)
        ]

    def __enter__(self) -> ProcessRunner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.stop()

    def submit(self, job: Job, inputs: Mapping[str, Job]) -> None:
        """See :class:`Runner`."""
        next(worker for worker in self._workers if worker.job is None).take(job, inputs)

    def next_finished(self) -> Finished:
        """See :class:`Runner`."""
        busy = {worker.connection: worker for worker in self._workers if worker.job is not None}
        worker = busy[wait(list(busy))[0]]  # type: ignore[index]
        job = worker.job
        assert job is not None
        worker.job = None
        try:
            finished: Finished = worker.connection.recv()
            return finished
        except (EOFError, OSError):
            reason = f"its process ended ({worker.last_words()}), perhaps for want of memory"
            worker.start()
            self._store.fail(job, reason)
            return Finished(job.name, reason)


class _Worker:
    def __init__(self, folder: Path, number: int, device: str | None, cores: int) -> None:
        self._arguments = (folder, folder / "logs" / f"worker-{number}.txt", device, cores)
        self._context: Any = multiprocessing.get_context(
            "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        )
        self.job: Job | None = None
        self.connection: Connection
        self.start()

    def start(self) -> None:
        self.connection, theirs = self._context.Pipe()
        self._process = self._context.Process(
            target=_serve, args=(theirs, *self._arguments), daemon=True
        )
        self._process.start()
        theirs.close()

    def take(self, job: Job, inputs: Mapping[str, Job]) -> None:
        self.job = job
        try:
            self.connection.send((job, dict(inputs)))
        except OSError:  # it died while it had nothing to do
            self.start()
            self.connection.send((job, dict(inputs)))

    def last_words(self) -> str:
        self._process.join()
        code = self._process.exitcode or 0
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def stop(self) -> None:
        self.connection.close()  # an idle worker ends with it
        if self.job is None:
            self._process.join(_PATIENCE)
        self._process.terminate()
        self._process.join()


def _serve(connection: Connection, folder: Path, log: Path, device: str | None, cores: int) -> None:
    """Do the jobs that come through a connection until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    threading.Thread(target=_end_with_parent, daemon=True).start()
    store = Store(folder)
    while True:
        try:
            job, inputs = connection.recv()
        except EOFError:
            return
        with ExitStack() as stack:
            if job.kind not in FIRST_KINDS:
                stack.enter_context(redirect_stderr(_Log(log)))
            finished = attempt(job, inputs, store, cores)
        connection.send(finished)


class _Log(TextIOBase):
    """A file of what jobs say, as far as the disk has room for it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, text: str) -> int:
        """Append to the file."""
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
        return len(text)


def _end_with_parent() -> None:
    """No worker outlives the study: the next one would meet it in the same folders."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def visible_devices() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    if named is None:
        return [str(number) for number in range(count)]
    return [name.strip() for name in named.split(",")][:count]
