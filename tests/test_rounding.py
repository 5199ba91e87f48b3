"""Numbers for people: one place rounds, and nothing that rounds to zero has a sign."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sftlens.cli import _tables
from sftlens.intervals import Estimate
from sftlens.report import _wording
from sftlens.rounding import between, between_points, fixed, percent, points

PACKAGE = Path(fixed.__code__.co_filename).parent


@pytest.mark.parametrize(
    ("value", "digits", "plain", "signed"),
    [
        (0.0, 1, "0.0", "0.0"),
        (-0.0, 1, "0.0", "0.0"),
        (-2.8e-15, 1, "0.0", "0.0"),
        (-0.04, 1, "0.0", "0.0"),
        (0.04, 1, "0.0", "0.0"),
        (-0.06, 1, "-0.1", "-0.1"),
        (0.06, 1, "0.1", "+0.1"),
        (-0.4, 0, "0", "0"),
        (-12345.67, 2, "-12345.67", "-12345.67"),
    ],
)
def test_fixed(value: float, digits: int, plain: str, signed: str) -> None:
    assert fixed(value, digits) == plain
    assert fixed(value, digits, signed=True) == signed
    assert fixed(value, digits, grouped=True).replace(",", "") == plain


def test_no_formatter_prints_a_negative_zero() -> None:
    tiny = -2.8e-17
    estimate = Estimate(tiny, tiny, tiny)
    assert percent(tiny) == _tables.percent(tiny) == "0.0 %"
    assert points(tiny) == "0.0"
    assert between(tiny, tiny) == between_points(tiny, tiny) == "0.0 to 0.0"
    for text in (
        _wording.percent(tiny),
        _wording.percent_interval(estimate),
        _wording.points(estimate),
        _wording.signed(tiny),
        _wording.value_interval(estimate),
    ):
        assert "-0" not in text.replace("\N{MINUS SIGN}", "-"), text


def test_percent_and_points_are_formatted_in_one_place() -> None:
    """No other module multiplies by a hundred and rounds in one breath."""
    wanted = re.compile(r"\{-?100 \* [^{}]*:[+,]*\.\d+f\}|\"%\.\df\" \| format\(100 \*")
    # Norms of the weights room are fractions of at least 0, with two decimals of their own.
    known = {"weights/_card.py", "tuning/_knowledge.py"}
    for path in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.j2")]:
        if path.relative_to(PACKAGE).as_posix() not in known:
            assert not wanted.search(path.read_text(encoding="utf-8")), path
