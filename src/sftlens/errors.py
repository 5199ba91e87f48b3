"""What the user can mend, told in one line."""

from __future__ import annotations

from pathlib import Path


class UserError(ValueError):
    """Something the user can mend.

    The message is one line: what is wrong, which value, and the remedy. The command line prints it
    without a traceback and exits with 2.
    """


class FullDiskError(UserError):
    """No room was left to write; ``place`` is where."""

    def __init__(self, message: str, place: Path) -> None:
        super().__init__(message)
        self.place = place


def first_line(error: BaseException) -> str:
    """What an error says first, or its class where it says nothing; for a line of our own."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
