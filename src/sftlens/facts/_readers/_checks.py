"""What the fields of a row must be."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from sftlens.errors import UserError
from sftlens.facts._fact import DOMAINS, SPLITS, Domain, Split
from sftlens.facts._matching import fold

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 80


def shown(value: object) -> str:
    """A value for an error, shortened."""
    return _repr.repr(value)


def is_text(value: object) -> bool:
    """Whether a value is text with something in it; half a surrogate pair is no text."""
    if not isinstance(value, str):
        return False
    if value.isascii():
        return bool(value.strip())
    if not fold(value):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def text(row: Mapping[str, Any], column: str, where: str) -> str:
    """A field that must be text.

    Raises:
        UserError: when it is absent, empty or something else.
    """
    value = row.get(column)
    if not is_text(value):
        raise UserError(f"{where}: {column} {shown(value)} is no text; give a non-empty one")
    return str(value)


def answers(value: object, where: str) -> tuple[str, ...]:
    """The answers of a row: one text or a list of texts; empty where there are none.

    Raises:
        UserError: when they are something else.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise UserError(f"{where}: answers {shown(value)} is no list of answers; write a list")
    for answer in value:
        if not is_text(answer):
            raise UserError(f"{where}: answer {shown(answer)} is no text; give a non-empty answer")
    return tuple(value)


def split(value: object, where: str) -> Split:
    """A split by its name.

    Raises:
        UserError: when it is none.
    """
    for known in SPLITS:
        if value == known:
            return known
    raise UserError(f"{where}: split {shown(value)} is unknown; use {', '.join(SPLITS)}")


def domain(value: object, where: str) -> Domain:
    """A domain by its name.

    Raises:
        UserError: when it is none.
    """
    for known in DOMAINS:
        if value == known:
            return known
    raise UserError(f"{where}: domain {shown(value)} is unknown; use {', '.join(DOMAINS)}")
