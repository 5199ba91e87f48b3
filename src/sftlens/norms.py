"""When two restorations count as removing the same norm of an update."""

from __future__ import annotations

NORM_TOLERANCE = 0.01
"""By how much of itself the squared norm removed may miss what was to be matched."""


def is_same_norm(removed: float, target: float) -> bool:
    """Whether a fraction of the squared norm is the target to within :data:`NORM_TOLERANCE`."""
    return abs(removed - target) <= NORM_TOLERANCE * abs(target)
