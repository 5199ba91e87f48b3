"""Progress bars on standard error, with a remaining time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

_FIRST_LINE = 10.0  # seconds at work before a log gets its first line
_LINES_EVERY = 60.0  # seconds between the later ones

Advance = Callable[[int], None]
"""Tells a progress bar how many more units are done."""


def silent(_: int) -> None:
    """An :data:`Advance` that shows nothing."""


@contextmanager
def progress(stage: str, total: int, *, done: int = 0) -> Iterator[Advance]:
    """One bar for one stage of work.

    On a terminal the bar is drawn while the work runs. Elsewhere a line says after ten seconds, and
    from then on once a minute, how far the stage is, and one line that it has ended.

    Args:
        stage: what is being done, in a few words.
        total: units of work in all.
        done: units that an earlier run finished.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    task = bar.add_task(stage, total=total, completed=done)
    with bar, _log_lines(bar, stage, silent=console.is_terminal):
        yield lambda units: bar.advance(task, units)
    if not console.is_terminal:
        elapsed = bar.tasks[0].elapsed or 0.0
        sys.stderr.write(f"{stage}: {total} done in {elapsed:.1f} s\n")


@contextmanager
def _log_lines(bar: Progress, stage: str, *, silent: bool) -> Iterator[None]:
    """Write how far a bar is to a log, while a block runs."""
    if silent:
        yield
        return
    ended = Event()

    def write() -> None:
        wait = _FIRST_LINE
        while not ended.wait(wait):
            wait = _LINES_EVERY
            [task] = bar.tasks
            left = task.time_remaining
            remaining = f", {timedelta(seconds=round(left))} left" if left else ""
            elapsed = timedelta(seconds=round(task.elapsed or 0))
            done = f"{task.completed:.0f} of {task.total:.0f}"
            sys.stderr.write(f"{stage}: {done} after {elapsed}{remaining}\n")
            sys.stderr.flush()

    writer = Thread(target=write, name="progress", daemon=True)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep the bars, notices and warnings of transformers and datasets out of ours, for a block."""
    import warnings

    import datasets
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    dataset_bars = datasets.are_progress_bars_disabled()
    verbosity = logging.get_verbosity()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
        if not dataset_bars:
            datasets.enable_progress_bars()
