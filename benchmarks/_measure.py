"""Wall time, processor time and peak private memory of a command."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

INTERVAL = 0.02
"""Seconds between two samples of the memory; longer where a sample itself takes long."""


class Measured(NamedTuple):
    """What a command took.

    ``cpu_seconds`` are those of all cores and of all that it started, by samples; None where the
    system does not tell. They hardly depend on what else the machine does.
    """

    seconds: float
    cpu_seconds: float | None
    peak_bytes: int
    code: int
    out: str
    err: str

    def require_success(self, what: str) -> Measured:
        """The same, or an end with what the command said last."""
        if self.code:
            sys.exit(f"{what}: ended with {self.code}\n{self.err[-2000:]}")
        return self


def memory_kind() -> str:
    """What :attr:`Measured.peak_bytes` counts on this system, in words."""
    if _proportional(os.getpid()) is not None:
        return "anonymous memory of the process tree (smaps_rollup)"
    return "largest resident set of the process, mapped files included"


def measure(command: Sequence[str]) -> Measured:
    """Run a command in a process of its own.

    The peak is that of anonymous memory, summed over the process and all that it started, and
    sampled. Resident memory would count the mapped weight files as well, which lie in the page
    cache, cost nobody anything, and grow with the model. Where the system does not tell anonymous
    memory it is the largest resident set.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err)
        sampler = _Sampler(process.pid)
        sampler.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        sampler.ended.set()
        sampler.join()
        for file in (out, err):
            file.seek(0)
        resident = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return Measured(
            seconds=seconds,
            cpu_seconds=sum(sampler.cpu.values()) if sampler.cpu else None,
            peak_bytes=sampler.peak or resident,
            code=process.returncode,
            out=out.read().decode(errors="replace"),
            err=err.read().decode(errors="replace"),
        )


class _Sampler(threading.Thread):
    """Watches the memory and the time of a process and its descendants until it has ended."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._process = process
        self.ended = threading.Event()
        self.peak = 0
        self.cpu: dict[int, float] = {}  # seconds by process, as last seen

    def run(self) -> None:
        pause = INTERVAL
        while not self.ended.wait(pause):
            begin = time.perf_counter()
            tree = _tree(self._process)
            self.peak = max(self.peak, sum(_proportional(process) or 0 for process in tree))
            for process in tree:
                if (spent := _cpu_seconds(process)) is not None:
                    self.cpu[process] = spent
            # Reading holds the process's memory map; the measured must not wait for it.
            pause = max(INTERVAL, 10 * (time.perf_counter() - begin))


def _tree(process: int) -> list[int]:
    found = [process]
    for parent in found:
        with suppress(OSError):  # the process or a thread of it has ended
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found += map(int, children.read_text().split())
    return found


def _cpu_seconds(process: int) -> float | None:
    """Processor time of a process and its threads; not of its children, which are seen too."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _proportional(process: int) -> int | None:
    """Anonymous bytes of a process; pages shared since a fork are divided among the sharers."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    sizes = dict(line.split(":", 1) for line in lines[1:])
    size = sizes.get("Pss_Anon") or sizes.get("Anonymous")
    return None if size is None else int(size.split()[0]) * 1024
