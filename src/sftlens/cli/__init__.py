"""The command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import typer

from sftlens.cli import _app

COMMANDS = (
    *("demo", "facts", "world", "pretrain", "probe", "tune", "score"),
    *("divergence", "diff", "restore", "repair", "advise", "report", "study"),
)
"""The commands, each of which is the module of its name."""


def complete_app(names: Sequence[str] = COMMANDS) -> typer.Typer:
    """The application with these commands; a module adds its own when it is imported."""
    for name in names:
        import_module(f"sftlens.cli.{name}")
    return _app.app


def main() -> NoReturn:
    """Run the command line; see :func:`sftlens.cli._app.run`."""
    asked = sys.argv[1:2]
    # The others' imports take longer than many a command.
    complete_app(asked if set(asked) <= set(COMMANDS) and asked else COMMANDS)
    _app.run()
