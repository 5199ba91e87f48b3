"""Regular expressions of untrusted files, matched in bounded time.

Python's own matcher tries one way after another, and for some expressions there are exponentially
many. Here all ends of a match are followed at once, each part of the expression once per position,
and the steps are counted. The parser is Python's own, so that an expression means the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

try:  # private, and public under another name before Python 3.11
    from re import _constants as constants  # type: ignore[attr-defined]
    from re import _parser as parser  # type: ignore[attr-defined]
except ImportError:  # pragma: no cover
    import sre_constants as constants
    import sre_parse as parser

MAX_STEPS = 5_000_000
"""Steps of one :class:`PathPattern`, over all paths of a model."""
MAX_LENGTH = 2_000
"""Letters of one expression."""

_CATEGORIES = {
    constants.CATEGORY_DIGIT: r"\d",
    constants.CATEGORY_NOT_DIGIT: r"\D",
    constants.CATEGORY_SPACE: r"\s",
    constants.CATEGORY_NOT_SPACE: r"\S",
    constants.CATEGORY_WORD: r"\w",
    constants.CATEGORY_NOT_WORD: r"\W",
}
_AT_START = (constants.AT_BEGINNING, constants.AT_BEGINNING_STRING)
_AT_END = (constants.AT_END, constants.AT_END_STRING)
_SEVERAL_WAYS = frozenset("*+?{}()|")
_REPEATS = (constants.MAX_REPEAT, constants.MIN_REPEAT)

Ends = frozenset[int]


class PathPattern:
    """An expression that the end of a module's path has to match, as PEFT reads ``rank_pattern``.

    Raises:
        ValueError: when it is no regular expression, or uses what cannot be matched in bounded
            time (back references, look-around, atomic groups, flags); the message says which.
    """

    def __init__(self, expression: str) -> None:
        if len(expression) > MAX_LENGTH:
            raise ValueError(f"is longer than {MAX_LENGTH} characters")
        try:
            # The two groups are PEFT's; parsed as a whole, since what is given may close one.
            self._parsed = parser.parse(rf"(.*\.)?({expression})$")
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"is no regular expression ({error})") from None
        _require_supported(self._parsed)
        self._steps = 0
        # Most are names of modules: nothing in them can match in more than one way.
        simple = not _SEVERAL_WAYS & set(expression)
        self._simple = re.compile(rf"(.*\.)?({expression})$") if simple else None

    def matches(self, path: str) -> bool:
        """Whether the path matches.

        Raises:
            ValueError: when it would take more than :data:`MAX_STEPS`.
        """
        if self._simple is not None:
            return self._simple.match(path) is not None
        known: dict[tuple[int, int], Ends] = {}
        return bool(self._sequence(self._parsed, path, 0, known))

    def _sequence(
        self, items: Iterable[Any], path: str, start: int, known: dict[tuple[int, int], Ends]
    ) -> Ends:
        """Where a run of items that begins at ``start`` may end."""
        ends: Ends = frozenset((start,))
        for item in items:
            ends = frozenset().union(*(self._item(item, path, end, known) for end in ends))
            if not ends:
                break
        return ends

    def _item(self, item: Any, path: str, start: int, known: dict[tuple[int, int], Ends]) -> Ends:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise ValueError("takes too long to match")
        key = id(item), start
        if key not in known:
            known[key] = self._ends(item, path, start, known)
        return known[key]

    def _ends(self, item: Any, path: str, start: int, known: dict[tuple[int, int], Ends]) -> Ends:
        kind, value = item
        if kind in _REPEATS:
            return self._repeated(value, path, start, known)
        if kind is constants.SUBPATTERN:
            return self._sequence(value[-1], path, start, known)
        if kind is constants.BRANCH:
            ways = (self._sequence(way, path, start, known) for way in value[1])
            return frozenset().union(*ways)
        if kind is constants.AT:
            there = start == 0 if value in _AT_START else start == len(path)
            return frozenset((start,)) if there else frozenset()
        fits = start < len(path) and _fits(kind, value, path[start])
        return frozenset((start + 1,)) if fits else frozenset()

    def _repeated(
        self, value: Any, path: str, start: int, known: dict[tuple[int, int], Ends]
    ) -> Ends:
        least, most, items = value
        ends: Ends = frozenset((start,))
        for _ in range(least):
            again = self._after(items, ends, path, known)
            if again == ends:  # so it stays, however often
                break
            ends = again
        reached, latest = ends, ends
        for _ in range(min(most, least + len(path) + 1) - least):
            latest = self._after(items, latest, path, known) - reached
            if not latest:
                break
            reached |= latest
        return reached

    def _after(
        self, items: Any, starts: Ends, path: str, known: dict[tuple[int, int], Ends]
    ) -> Ends:
        self._steps += 1 + len(starts)
        if self._steps > MAX_STEPS:
            raise ValueError("takes too long to match")
        return frozenset().union(*(self._sequence(items, path, s, known) for s in starts))


def _require_supported(items: Iterable[Any]) -> None:
    for kind, value in items:
        if kind in _REPEATS:
            _require_supported(value[2])
        elif kind is constants.BRANCH:
            for way in value[1]:
                _require_supported(way)
        elif kind is constants.SUBPATTERN and not (value[1] or value[2]):
            _require_supported(value[3])
        elif kind is constants.AT and value in (*_AT_START, *_AT_END):
            continue
        elif kind not in (constants.LITERAL, constants.NOT_LITERAL, constants.ANY, constants.IN):
            raise ValueError(f"uses {str(kind).lower()}, which is not supported")


def _fits(kind: Any, value: Any, letter: str) -> bool:
    """Whether one letter fits one item that stands for a single letter."""
    if kind is constants.ANY:
        return letter != "\n"
    if kind is constants.LITERAL:
        return bool(ord(letter) == value)
    if kind is constants.NOT_LITERAL:
        return bool(ord(letter) != value)
    if kind is constants.RANGE:
        return bool(value[0] <= ord(letter) <= value[1])
    if kind is constants.CATEGORY:
        return _of_category(value, letter)
    negated = value[0][0] is constants.NEGATE
    return any(_fits(kind, part, letter) for kind, part in value[negated:]) != negated


@cache
def _of_category(category: Any, letter: str) -> bool:
    return re.fullmatch(_CATEGORIES[category], letter) is not None
