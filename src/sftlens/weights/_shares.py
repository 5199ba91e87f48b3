"""Shares: percents of a region's parameters, counted exactly."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from sftlens.errors import UserError


def share_label(share: float) -> str:
    """A share as people write it: ``20``, ``0.1``; in file, column and key names."""
    text = format(Decimal(str(share)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def num_of_share(share: float, num_parameters: int) -> int:
    """floor(N k / 100), where k is the decimal number that the share is written as."""
    return int(num_parameters * Fraction(str(share)) // 100)


def checked_shares(shares: Sequence[float]) -> tuple[float, ...]:
    """The shares, each a percent.

    Raises:
        UserError: when there are none, one is given twice, or is no number from 0 to 100.
    """
    if not shares:
        raise UserError("no share given; give percents of the parameters to restore, such as 20")
    for share in shares:
        if not 0 <= share <= 100:
            raise UserError(f"share {share}: must be a percent, from 0 to 100")
    labels = [share_label(share) for share in shares]
    repeated = [label for label in labels if labels.count(label) > 1]
    if repeated:
        raise UserError(f"share {repeated[0]}: is given twice; give each share once")
    return tuple(shares)
