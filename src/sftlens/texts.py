"""Texts of the user's on their way out: to a terminal, and into JSON."""

from __future__ import annotations

import json
import re
from typing import Any

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_HALVES = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    """Text without what a terminal would obey, or no encoding has.

    A name of a file may hold both: bytes that are not UTF-8 are half a surrogate pair in Python.
    """
    return encodable(_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text))


def encodable(text: str) -> str:
    """Text that UTF-8 has, for a file."""
    return _HALVES.sub(_escaped, text)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON in UTF-8, with a line break at its end; a number that is none is an error."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    return encodable(text) + "\n"


def _escaped(half: re.Match[str]) -> str:
    return f"\\u{ord(half[0]):04x}"
