"""Values with their intervals on a common axis, as lines of a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sftlens.report._wording import (
    Sign,
    number,
    percent,
    percent_interval,
    points,
    share_text,
    sign,
    value_interval,
)
from sftlens.scoring import Estimate

_STEPS = (1, 2, 2.5, 5, 10)
_MAX_TICKS = 5
_TONES = {Sign.POSITIVE: "good", Sign.NEGATIVE: "bad"}


class Axis(NamedTuple):
    """What a value's place is measured on.

    Attributes:
        low: left end.
        high: right end.
        ticks: values that are marked.
        scale: what a tick is multiplied with before it is shown.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    scale: float

    def place(self, value: float) -> float:
        """Percent of the way from left to right."""
        return 100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)

    @property
    def marks(self) -> list[tuple[float, str]]:
        """The ticks' places and texts."""
        shown = [self.scale * tick for tick in self.ticks]
        step = shown[1] - shown[0]
        digits = max(0, -math.floor(math.log10(step) + 1e-9), int(abs(step - round(step)) > 1e-9))
        return [
            (self.place(tick), number(value, digits))
            for tick, value in zip(self.ticks, shown, strict=True)
        ]


class Line(NamedTuple):
    """One value of one run.

    Attributes:
        run: its position.
        text: the value with its interval in words.
        place: of the value on the axis, percent; None where nothing was measured.
        left: of the interval, percent.
        width: percent.
        note: what stands beside it, such as the difference from the first run.
        tone: of the note.
    """

    run: int
    text: str
    place: float | None = None
    left: float = 0.0
    width: float = 0.0
    note: str = ""
    tone: str = "unclear"


class Group(NamedTuple):
    """The lines of all runs for one thing."""

    title: str
    lines: list[Line]


class Chart(NamedTuple):
    """Groups on one axis."""

    name: str
    title: str
    first: str  # what the groups are
    axis: Axis
    groups: list[Group]


def axis_over(rows: Iterable[dict[str, Any]], *, scale: float = 100.0) -> Axis:
    """An axis from zero, or from below it where values are, that holds all intervals."""
    ends = [row[name] for row in rows for name in ("value", "low", "high") if row[name] is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    if low == high:
        high = 1.0 / scale
    span = (high - low) / _MAX_TICKS
    power = 10 ** math.floor(math.log10(span))
    step = next(factor * power for factor in _STEPS if factor * power >= span * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(step * place for place in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks, scale)


def line(run: int, row: dict[str, Any] | None, axis: Axis, unit: str, absent: str = "") -> Line:
    """One run's line; ``row`` is a row of the numbers, None where it has none."""
    if row is None or row["value"] is None:
        return Line(run, absent or "not measured")
    low, high = (row[end] if row[end] is not None else row["value"] for end in ("low", "high"))
    left = axis.place(low)
    return Line(
        run,
        worded(row, unit),
        axis.place(row["value"]),
        left,
        axis.place(high) - left,
    )


def worded(row: dict[str, Any], unit: str) -> str:
    """A value with its interval, as ``unit`` (``fraction``, ``points`` or ``nats``) is told."""
    if row["low"] is None or row["high"] is None:
        return percent(row["value"]) if unit != "nats" else number(row["value"], 3)
    estimate = Estimate(row["value"], row["low"], row["high"])
    if unit == "points":
        return points(estimate)
    return value_interval(estimate) if unit == "nats" else percent_interval(estimate)


def difference_of(row: dict[str, Any] | None) -> Estimate | None:
    """The difference from the first run, where there is one."""
    if row is None or row["difference"] is None:
        return None
    return Estimate(row["difference"], row["difference_low"], row["difference_high"])


def with_difference(found: Line, row: dict[str, Any] | None) -> Line:
    """The line with its difference from the first run."""
    effect = difference_of(row)
    if effect is None:
        return found
    return found._replace(note=points(effect), tone=_TONES.get(sign(effect), "unclear"))


def share_or_none(share: float | None) -> str:
    """A share in percent; nothing where there is none."""
    return "" if share is None else share_text(share)


def first_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The first row, where there is one."""
    return rows[0] if rows else None
