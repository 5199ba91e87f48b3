"""Progress bars on standard error, with a remaining time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]
"""Tells a progress bar how many more units are done."""


def silent(_: int) -> None:
    """An :data:`Advance` that shows nothing."""


@contextmanager
def progress(stage: str, total: int, *, done: int = 0) -> Iterator[Advance]:
    """One bar for one stage of work.

    On a terminal the bar is drawn while the work runs; elsewhere one line is printed when the
    stage has ended, so that logs stay short.

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
    with bar:
        task = bar.add_task(stage, total=total, completed=done)
        yield lambda units: bar.advance(task, units)
    if not console.is_terminal:
        elapsed = bar.tasks[0].elapsed or 0.0
        sys.stderr.write(f"{stage}: {total} done in {elapsed:.1f} s\n")


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
