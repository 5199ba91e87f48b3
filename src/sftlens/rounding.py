"""Numbers for people. Rounding happens here and nowhere else."""

from __future__ import annotations


def fixed(value: float, digits: int = 1, *, signed: bool = False, grouped: bool = False) -> str:
    """Write a number with so many decimals; what rounds to zero has no sign.

    Args:
        value: the number.
        digits: decimals.
        signed: whether a positive number has a plus.
        grouped: whether thousands are set apart by commas.
    """
    text = f"{value:{'+' if signed else ''}{',' if grouped else ''}.{digits}f}"
    return text if text.strip("+-0.,") else text.lstrip("+-")


def percent(fraction: float | None, missing: str = "not measured") -> str:
    """Write a fraction in percent with one decimal, or what stands for one that is missing."""
    return missing if fraction is None else f"{fixed(100 * fraction)} %"


def points(difference: float) -> str:
    """Write a difference of fractions in percentage points, with its sign and without a unit."""
    return fixed(100 * difference, signed=True)


def between(low: float, high: float) -> str:
    """Write the ends of an interval of fractions, in percent."""
    return f"{fixed(100 * low)} to {fixed(100 * high)}"


def between_points(low: float, high: float) -> str:
    """Write the ends of an interval of differences, in percentage points."""
    return f"{points(low)} to {points(high)}"
