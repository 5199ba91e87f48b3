"""What a pass over many tensors runs on: a set of kernels for each of several threads."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Generic, Literal, TypeVar, get_args

import torch

from sftlens.errors import UserError, first_line
from sftlens.weights._kernels import Kernels, NumpyKernels
from sftlens.weights._pair import PairTensor

_logger = logging.getLogger("sftlens")

KernelSet = Literal["numpy", "numba", "torch"]

_WORTH_COMPILED_CODE = 1 << 25  # entries; below, loading it takes longer than it saves
_MAX_THREADS = 16

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How passes over a pair are computed. No result depends on it but for speed.

    Raises:
        UserError: when numba is asked for and not installed, or the kernels are not known.
    """

    kernels: KernelSet
    """``numpy``; ``numba``, compiled loops; ``torch``, tensors on ``device``."""
    num_threads: int
    """Tensors worked on at the same time; each takes some 30 MB (``torch``: 1 GB on the device)."""
    device: str = "cpu"
    """For ``torch``: where the tensors are, such as ``cuda``."""

    def __post_init__(self) -> None:
        if self.kernels not in get_args(KernelSet):
            raise UserError(
                f"kernels {self.kernels!r}: choose from {', '.join(get_args(KernelSet))}"
            )
        if self.kernels == "numba" and (problem := _numba_problem()):
            raise UserError(f"numba {problem}; `pip install -U numba`, or use the numpy kernels")
        if self.num_threads < 1:
            raise UserError(f"{self.num_threads} threads: at least 1 is needed")

    def each(
        self, tensors: Iterable[PairTensor], work: Callable[[Kernels, PairTensor], T]
    ) -> dict[str, T]:
        """Do ``work`` for every tensor, the largest first, on several threads.

        Returns:
            By tensor name, in the order of ``tensors``. Where the work fails for several tensors,
            it is the first in their order whose error is raised.
        """
        tensors = list(tensors)
        own = threading.local()

        def task(tensor: PairTensor) -> T:
            if not hasattr(own, "kernels"):
                own.kernels = self.make()
            return work(own.kernels, tensor)

        if self.num_threads == 1:
            return {tensor.name: task(tensor) for tensor in tensors}
        pool = ThreadPoolExecutor(self.num_threads)
        try:
            largest_first = sorted(tensors, key=lambda tensor: -tensor.num_parameters)
            futures = {tensor.name: pool.submit(task, tensor) for tensor in largest_first}
            return {tensor.name: futures[tensor.name].result() for tensor in tensors}
        finally:
            pool.shutdown(cancel_futures=True)

    def make(self) -> Kernels:
        """A set of kernels for one thread."""
        if self.kernels == "numpy":
            return NumpyKernels()
        if self.kernels == "numba":
            from sftlens.weights._compiled import CompiledKernels

            return CompiledKernels()
        from sftlens.weights._device import DeviceKernels

        return DeviceKernels(self.device)


class Shared(Generic[T]):
    """One accumulator for each set of kernels, so that threads do not wait for one another."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._parts: dict[int, T] = {}

    def of(self, kernels: Kernels) -> T:
        """The accumulator that belongs to a set of kernels."""
        if id(kernels) not in self._parts:
            self._parts[id(kernels)] = self._make()
        return self._parts[id(kernels)]

    def parts(self) -> list[T]:
        """All of them, when the pass is done."""
        return list(self._parts.values())


def best_engine(num_parameters: int) -> Engine:
    """The fastest engine for so many entries: a CUDA device, compiled code, or numpy."""
    num_threads = min(num_cores(), _MAX_THREADS)
    if num_parameters < _WORTH_COMPILED_CODE:
        return Engine(kernels="numpy", num_threads=num_threads)
    if torch.cuda.is_available():
        return Engine(kernels="torch", num_threads=min(2, num_threads), device="cuda")
    if problem := _numba_problem():
        _warn_of_slow_kernels(problem)
        return Engine(kernels="numpy", num_threads=num_threads)
    return Engine(kernels="numba", num_threads=num_threads)


def num_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _numba_problem() -> str | None:
    """Return why the compiled kernels cannot be used, or None where they can.

    numba is a dependency, but lags behind new releases of Python and numpy: it may be missing, or
    be there and fail to import.
    """
    try:
        import numba  # noqa: F401
    except ModuleNotFoundError:
        return "is not installed"
    except Exception as error:
        return f"cannot be imported ({first_line(error)})"
    return None


@cache
def _warn_of_slow_kernels(problem: str) -> None:
    _logger.warning(
        "numba %s: passes over weights take about ten times as long; `pip install -U numba`",
        problem,
    )
