"""Work in a process that is killed at a given moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

_PRELOADED = [
    "killed",
    "sftlens.study",
    "sftlens.generation._transformers",
    "transformers.trainer",
    "transformers.models.llama.modeling_llama",
    "trl.trainer.sft_trainer",
]


def kill_at(event: str, ending: str, count: int, job: Callable[..., Any], *args: Any) -> int:
    """Do a job in a process of its own that kills itself (SIGKILL) at a moment.

    Args:
        event: an audit event of a path, such as ``open``, ``os.remove`` or ``os.rename``.
        ending: how the path ends; the new one of a rename.
        count: the process is killed when this happens for the ``count``-th time, just before.
        job: a function that the process can import.
        args: its arguments.

    Returns:
        The exit code: -9 when it was killed, 0 when the moment never came.
    """
    return in_own_process(_do, event, ending, count, job, args)


def in_own_process(job: Callable[..., Any], *args: Any) -> int:
    """Do a job in a process of its own; its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    process = context.Process(target=_quietly, args=(job, *args))
    process.start()
    process.join(timeout=120)
    assert process.exitcode is not None, "the process hangs"
    return process.exitcode


def _do(event: str, ending: str, count: int, job: Callable[..., Any], args: Any) -> None:
    left = count

    def hook(name: str, of: tuple[Any, ...]) -> None:
        nonlocal left
        if name == event:
            path = of[1 if event == "os.rename" else 0]
            left -= isinstance(path, str | os.PathLike) and os.fspath(path).endswith(ending)
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    job(*args)


def _quietly(job: Callable[..., Any], *args: Any) -> None:
    with open(os.devnull, "w") as quiet:  # noqa: PTH123
        sys.stderr = quiet
        job(*args)
