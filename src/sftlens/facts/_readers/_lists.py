"""Lists that stand as text: in JSON, or as Python and NumPy print them."""

from __future__ import annotations

import ast
import json
import re

# One item or mark, with the blanks before it. NumPy prints no commas: ['Oslo' 'Christiania'], as
# which pandas, and with it `datasets`, writes lists into CSV. Python's own reader would join the
# two into one text, so that items are read one by one.
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<mark>[\[\],])
    | (?P<text>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")
    | (?P<number>[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)(?![\w.])
    | (?P<word>None|nan|NaN|True|False)(?!\w)
    )\s*""",
    re.VERBOSE | re.DOTALL,
)
_OBJECT = re.compile(r"""\{\s*['"]\w+['"]\s*:""")
_WORDS = {"None": None, "nan": None, "NaN": None, "True": True, "False": False}


class NoListError(ValueError):
    """Text that begins like a list and is none; the message completes a sentence about it."""


def list_in(text: str) -> object:
    """The list that a text holds, or the text where it does not begin like one.

    Raises:
        NoListError: when the text begins with a bracket and is no list or was cut short, or when
            it is an object.
    """
    stripped = text.strip()
    if _OBJECT.match(stripped):
        raise NoListError("is an object and no list")
    if not stripped.startswith("["):
        return text
    try:
        return json.loads(stripped)
    except (ValueError, RecursionError):
        return _printed(stripped)


def _printed(text: str) -> list[object]:
    """The items of a list as Python or NumPy prints it."""
    items: list[object] = []
    depth, place, marks = 0, 0, ""
    between: set[bool] = set()  # whether commas stood between two items
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None or (place and not depth):
            raise NoListError(
                "was cut short when it was printed"
                if text.startswith("...", place)
                else "begins like a list and is none"
            )
        place = token.end()
        if mark := token["mark"]:
            depth += {"[": 1, "]": -1, ",": 0}[mark]
            marks += mark
            continue
        if items:
            between.add("," in marks)
        marks = ""
        items.append(_item(token))
    if depth:
        raise NoListError("begins like a list and is none")
    if len(between) > 1:
        raise NoListError("has commas between some items only")
    return items


def _item(token: re.Match[str]) -> object:
    if word := token["word"]:
        return _WORDS[word]
    if token["number"]:
        return token["number"]  # spelled later, as numbers in text are
    try:
        return ast.literal_eval(token["text"])
    except (ValueError, SyntaxError, MemoryError):
        raise NoListError("begins like a list and is none") from None
