"""Runs side by side: what differs in their settings, and what each of them found.

The first run is what the others are held against. Accuracies are compared fact by fact where two
runs asked the same facts; where they did not, each stands for itself, and that is told.
"""

from sftlens.report.compare._content import decided_otherwise
from sftlens.report.compare._numbers import NUMBERS_SCHEMA
from sftlens.report.compare._write import ComparisonResult, write_comparison

__all__ = ["NUMBERS_SCHEMA", "ComparisonResult", "decided_otherwise", "write_comparison"]
