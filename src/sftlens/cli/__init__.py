"""The command line."""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # as typing has it: an interrupt while modules load must be no traceback
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    import typer

COMMANDS = (
    *("demo", "facts", "world", "pretrain", "probe", "tune", "score"),
    *("divergence", "diff", "restore", "repair", "advise", "report", "study"),
)
"""The commands, each of which is the module of its name."""


def complete_app(names: Sequence[str] = COMMANDS) -> typer.Typer:
    """The application with these commands; a module adds its own when it is imported."""
    from importlib import import_module

    from sftlens.cli._app import app

    for name in names:
        import_module(f"sftlens.cli.{name}")
    return app


def main() -> NoReturn:
    """Run the command line; see :func:`sftlens.cli._app.run`."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:  # else it is to be ignored, or somebody else's
        signal.signal(signal.SIGINT, _leave)
    asked = sys.argv[1:2]
    # The others' imports take longer than many a command.
    complete_app(asked if set(asked) <= set(COMMANDS) and asked else COMMANDS)
    from sftlens.cli._app import run

    signal.signal(signal.SIGINT, usual)
    run()


def _leave(*_: Any) -> None:
    """End at once: nothing was begun, and an exception could get lost in a library's import."""
    os.write(2, b"interrupted; nothing was begun\n")
    os._exit(130)
