"""Mistakes that the user can fix, reported in one line."""

from __future__ import annotations

import re
from pathlib import Path

_LONGEST_WORD = 300
_WORD = re.compile(rf"\S{{{_LONGEST_WORD + 1},}}")
_SHAPE = re.compile(r"[\[(](?:\d+, ){8,}\d+[\])]")


class UserError(ValueError):
    """Something the user can mend.

    The message is one line: what is wrong, which value, and the remedy. The command line prints it
    without a traceback and exits with 2. What an input spells endlessly, such as a path, a name or
    a shape, is shortened here, for every message.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shortened(message))


def shortened(text: str) -> str:
    """Return a line in which no word is longer than 300 characters, and no shape than 8 numbers."""
    text = _SHAPE.sub(_short_shape, text)
    return _WORD.sub(lambda found: f"{found[0][:200]}…{found[0][-80:]}", text)


def _short_shape(found: re.Match[str]) -> str:
    numbers = found[0][1:-1].split(", ")
    first = ", ".join(numbers[:4])
    return f"{found[0][0]}{first}, … {len(numbers)} dimensions{found[0][-1]}"


class FullDiskError(UserError):
    """No room was left to write; ``place`` is where."""

    def __init__(self, message: str, place: Path) -> None:
        super().__init__(message)
        self.place = place


def first_line(error: BaseException) -> str:
    """What an error says first, or its class where it says nothing; for a line of our own."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
