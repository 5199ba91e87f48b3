"""Numbers and their signs in words."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from sftlens.report._statistics import Correlation
from sftlens.rounding import fixed
from sftlens.scoring import Estimate

NOT_MEASURED = "not measured"
_MINUS = "\N{MINUS SIGN}"
_UNIT = "\N{NO-BREAK SPACE}"  # between a number and its unit


class Sign(str, Enum):
    """What an interval says about a difference."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    UNCLEAR = "unclear"
    UNKNOWN = "not measured"


def sign(effect: Estimate | Correlation | None) -> Sign:
    """Positive or negative where the 95 % interval excludes zero, otherwise unclear."""
    if effect is None:
        return Sign.UNKNOWN
    if effect.low > 0:
        return Sign.POSITIVE
    if effect.high < 0:
        return Sign.NEGATIVE
    return Sign.UNCLEAR


_VERBS = {
    Sign.POSITIVE: "helps",
    Sign.NEGATIVE: "hurts",
    Sign.UNCLEAR: "cannot be told apart",
    Sign.UNKNOWN: NOT_MEASURED,
}


def verb(effect: Estimate | None) -> str:
    """``helps``, ``hurts``, ``cannot be told apart`` or ``not measured``."""
    return _VERBS[sign(effect)]


def number(value: float | None, digits: int = 0) -> str:
    """A plain number with a thousands comma and a true minus sign."""
    if value is None:
        return NOT_MEASURED
    return fixed(value, digits, grouped=True).replace("-", _MINUS)


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction as percent."""
    return NOT_MEASURED if fraction is None else f"{number(100 * fraction, digits)}{_UNIT}%"


def share_text(share: float) -> str:
    """A share, already in percent."""
    return f"{share:g}{_UNIT}%"


def tenths(fraction: float) -> int:
    """A fraction as :func:`percent` prints it, in tenths of a percent."""
    return round(10 * float(fixed(100 * fraction)))


def percent_interval(estimate: Estimate | None) -> str:
    """``53.1 % (49.8 to 56.2)``."""
    if estimate is None:
        return NOT_MEASURED
    low, high = (number(100 * end, 1) for end in estimate[1:])
    return f"{percent(estimate.value)} ({low} to {high})"


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, ``+`` too."""
    return fixed(value, digits, signed=True, grouped=True).replace("-", _MINUS)


def points(effect: Estimate | None) -> str:
    """A difference of fractions in percentage points: ``+4.2 points (+1.0 to +7.3)``."""
    return _difference(effect, f"{_UNIT}points")


def bare_points(effect: Estimate | None) -> str:
    """The same without its unit, for a table whose title names it."""
    return _difference(effect, "")


def _difference(effect: Estimate | None, unit: str) -> str:
    if effect is None:
        return NOT_MEASURED
    low, high = (signed(100 * end) for end in effect[1:])
    return f"{signed(100 * effect.value)}{unit} ({low} to {high})"


def value_interval(estimate: Estimate | None, digits: int = 3) -> str:
    """``0.412 (0.380 to 0.447)``."""
    if estimate is None:
        return NOT_MEASURED
    value, low, high = (number(part, digits) for part in estimate)
    return f"{value} ({low} to {high})"


def correlation_text(correlation: Correlation | None) -> str:
    """``ρ = −0.62 (−0.78 to −0.38), p < 0.001``."""
    if correlation is None:
        return NOT_MEASURED
    low, high = number(correlation.low, 2), number(correlation.high, 2)
    p = "< 0.001" if correlation.p < 0.001 else f"= {correlation.p:.3f}"
    rho = f"ρ = {number(correlation.rho, 2)}".replace(" ", _UNIT)
    return f"{rho} ({low} to {high}), " + f"p {p}".replace(" ", _UNIT)


def listed(items: Sequence[object]) -> str:
    """``0``, ``0 and 1``, ``0, 1 and 2``."""
    texts = [str(item) for item in items]
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def clipped(text: str, most: int) -> str:
    """A name that was not written for reading, at most so many characters of it."""
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def levels_text(levels: Sequence[int]) -> str:
    """``level 0``, ``levels 0 and 1``."""
    return f"level{'s' if len(levels) > 1 else ''} {listed(levels)}"
