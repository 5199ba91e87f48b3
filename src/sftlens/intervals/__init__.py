"""Intervals of shares of facts."""

from sftlens.intervals._proportions import (
    Z95,
    Estimate,
    mean_of_proportions,
    proportion,
    wilson,
)

__all__ = ["Z95", "Estimate", "mean_of_proportions", "proportion", "wilson"]
