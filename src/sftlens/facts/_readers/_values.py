"""Values of a row, in one spelling whichever source they come from.

A CSV file holds text alone, JSON also numbers, and Parquet and data sets dates and lists too. The
same table gives the same facts from each of them:

- numbers are written as Python writes them, whole ones without a fraction (``1.0`` is ``1``);
- dates are ISO 8601, and a moment at midnight is its date;
- a list may stand as text, in JSON or as Python and NumPy print it;
- null, NaN and empty text are missing; the texts ``NA``, ``None`` and ``nan`` mean what they say
  (the code of Namibia, no moons, a town in Thailand);
- a truth value is no answer, and neither is the text ``true`` or ``false``;
- a placeholder such as ``<unk>`` stands for an answer that was withheld.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

from sftlens.errors import UserError
from sftlens.facts._fact import DOMAINS, SPLITS, Domain, Split
from sftlens.facts._matching import fold
from sftlens.facts._readers import _collected
from sftlens.facts._readers._lists import NoListError, list_in

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 80

_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_UTC = r"(?:Z|\+00:?00)?"
_MOMENT = re.compile(rf"(\d{{4}}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{{1,9}})?{_UTC}")
_WITHHELD = re.compile(r"<\w+>|\[(unk|mask|hidden|withheld)\]", re.IGNORECASE)
_TRUTH_VALUES = ("true", "false")

_Name = TypeVar("_Name", bound=str)


class _NoTextError(ValueError):
    """A value that is neither text nor a number nor a date."""


class Answers(NamedTuple):
    """The answers of a row.

    Attributes:
        texts: accepted answers, in their order.
        refused: the reason for each value that cannot be an answer; missing ones inside a list of
            several are not among them.
    """

    texts: tuple[str, ...]
    refused: tuple[str, ...]


def shown(value: object) -> str:
    """A value for an error, shortened."""
    return _repr.repr(value)


def answers(value: object, where: str) -> Answers:
    """Read the answers of a row: one value or a list of them, also a list that stands as text.

    Raises:
        UserError: when the value is an object, or text that begins like a list and is none.
    """
    texts: list[str] = []
    refused: list[str] = []
    for one in _listed(value, where):
        try:
            text = _spelled(one)
        except _NoTextError:
            refused.append(_collected.NOT_TEXT)
            continue
        if text is None:
            continue
        if _WITHHELD.fullmatch(text.strip()):
            refused.append(_collected.WITHHELD)
        elif text.strip().lower() in _TRUTH_VALUES:
            refused.append(_collected.TRUTH_VALUE)
        else:
            texts.append(text)
    return Answers(tuple(texts), tuple(refused))


def text(row: Mapping[str, Any], column: str, where: str) -> str:
    """A field that must be there.

    Raises:
        UserError: when it is missing, or neither text nor a number nor a date.
    """
    found = optional_text(row, column, where)
    if found is None:
        raise UserError(
            f"{where}: {column} {shown(row.get(column))} is no text; give a non-empty one"
        )
    return found


def optional_text(row: Mapping[str, Any], column: str, where: str) -> str | None:
    """A field that may be missing.

    Raises:
        UserError: when it is there, and neither text nor a number nor a date.
    """
    value = row.get(column)
    try:
        return _spelled(value)
    except _NoTextError:
        raise UserError(
            f"{where}: {column} {shown(value)} is no text; give a non-empty one"
        ) from None


def split(row: Mapping[str, Any], where: str) -> Split | None:
    """The split of a row, None where it names none.

    Raises:
        UserError: when it is unknown.
    """
    return _one_of(SPLITS, row, "split", where)


def domain(row: Mapping[str, Any], where: str) -> Domain | None:
    """The domain of a row, None where it names none.

    Raises:
        UserError: when it is unknown.
    """
    return _one_of(DOMAINS, row, "domain", where)


def _one_of(
    names: Sequence[_Name], row: Mapping[str, Any], column: str, where: str
) -> _Name | None:
    given = optional_text(row, column, where)
    for name in names:
        if given == name:
            return name
    if given is None:
        return None
    raise UserError(f"{where}: {column} {shown(given)} is unknown; use {', '.join(names)}")


def _listed(value: object, where: str) -> Iterator[object]:
    """The values of a list, of lists in it, of a list in text, or the one value."""
    if isinstance(value, str) and not _WITHHELD.fullmatch(value.strip()):
        try:
            value = list_in(value)
        except NoListError as error:
            raise UserError(
                f"{where}: answers {shown(value)} {error}; write it as a JSON list, as in "
                '["first", "second"]'
            ) from None
    for one in _flat(value):
        if isinstance(one, Mapping):
            raise UserError(
                f"{where}: answers {shown(value)} is no list of answers; write a list, or name "
                "the field in it that holds them, as in `sftlens facts FACTS --column "
                "answers=answers.text --out FILE.parquet`, and give FILE.parquet"
            )
        yield one


def _flat(value: object) -> Iterator[object]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        one = one.tolist() if hasattr(one, "tolist") else one  # of NumPy
        if isinstance(one, list | tuple):
            waiting += reversed(one)
        else:
            yield one


def _spelled(value: object) -> str | None:
    """A value as text; None where it is missing.

    Raises:
        _NoTextError: when it is neither text nor a number nor a date.
    """
    value = value.tolist() if hasattr(value, "tolist") else value  # of NumPy
    if value is None or value != value:  # NaN, NaT
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _spelled_text(value)
    if isinstance(value, int | float | Decimal) and value not in (float("inf"), -float("inf")):
        return _spelled_text(str(value))
    if isinstance(value, date | time):  # a datetime is a date
        return _spelled_text(str(value))
    raise _NoTextError


def _spelled_text(value: str) -> str | None:
    bare = value.strip()
    if not bare[:1].isdigit() and bare[:1] not in ("+", "-"):
        if bare.isascii():
            return value if bare else None
        try:
            value.encode()
        except UnicodeEncodeError:  # half a surrogate pair
            raise _NoTextError from None
        return value if fold(value) else None
    if whole := _WHOLE.fullmatch(bare):
        return whole[1]
    if moment := _MOMENT.fullmatch(bare):
        day, seconds, fraction = moment.groups(default="")
        fraction = fraction.rstrip("0").rstrip(".")
        return day if (seconds, fraction) == ("00:00:00", "") else f"{day} {seconds}{fraction}"
    return value
