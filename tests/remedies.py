"""The commands that messages name, executed."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest


def run_python(message: object, out: Path) -> None:
    """Run the ``python -c`` that ends a message, in this process: a fresh one takes seconds."""
    _, found, command = str(message).partition("python -c ")
    assert found, message
    code, *arguments = shlex.split(command)
    with pytest.MonkeyPatch.context() as patch:
        own = [str(out) if argument == "FOLDER" else argument for argument in arguments]
        patch.setattr(sys, "argv", ["-c", *own])
        exec(compile(code, "remedy", "exec"), {"__name__": "__main__"})


def run_shell(command: str, out: Path) -> None:
    """Run a command of the shell, with ``out`` for ``FOLDER``."""
    line = command.replace("FOLDER", shlex.quote(str(out)))
    subprocess.run(["bash", "-euc", line], check=True)
