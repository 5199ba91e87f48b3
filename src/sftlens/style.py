"""The colours and marks that mean the same thing on every page."""

from __future__ import annotations

from typing import NamedTuple


class Mark(NamedTuple):
    """How one kind of thing is drawn, in a light and in a dark page."""

    light: str
    dark: str
    symbol: str
    dash: str = "solid"


# Ordered in lightness, so that they stay apart for colour-blind readers and in grey print.
LEVELS = (
    Mark("#472a7a", "#b197fc", "circle"),
    Mark("#2c6bb0", "#6cb2f5", "square"),
    Mark("#12897f", "#2fc4b2", "diamond"),
    Mark("#67981f", "#a9d453", "triangle-up"),
    Mark("#c27c00", "#ffc74a", "cross"),
)
_FOCUS = Mark("#b5265c", "#ff7aa8", "circle")
_CHANCE = Mark("#7b838c", "#98a1ab", "square", "dot")
_NULL = Mark("#7b838c", "#98a1ab", "square-open", "dot")  # open: its line lies under others
_OTHER = Mark("#2b3440", "#dde3ea", "diamond", "dash")
METHODS = {
    "relative": _FOCUS,
    "random": _CHANCE,
    "interpolation": _OTHER,
    "null": _NULL,
    "absolute": _OTHER,
}
GAINED = Mark("#2c6bb0", "#6cb2f5", "circle")
LOST = Mark("#c4501b", "#ff9a62", "circle")
TEXT = Mark("#1d242c", "#e6eaef", "circle")
GRID = Mark("#e3e6ea", "#2e363f", "circle")
BACK = Mark("#ffffff", "#171c22", "circle")
_EXTRA = (Mark("#7a4b12", "#d7a86e", "star"), Mark("#0b7285", "#66d9e8", "x"))

PALETTE = {
    mark.light: mark.dark
    for mark in (*LEVELS, *METHODS.values(), GAINED, LOST, TEXT, GRID, BACK, *_EXTRA)
}


def method_mark(method: str) -> Mark:
    """The mark of a restoration method or ranking; unknown ones share the spare marks."""
    return METHODS.get(method) or _EXTRA[sum(method.encode()) % len(_EXTRA)]
