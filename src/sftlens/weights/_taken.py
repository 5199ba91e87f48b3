"""What a restoration really took back, measured on what it made."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from torch import Tensor

from sftlens.weights._change import as_float32
from sftlens.weights._methods import bits
from sftlens.weights._restoration import View


class Taken(NamedTuple):
    """Of a run of entries, or of several put together.

    ``num_returned`` counts the entries that had changed and have their base value again;
    ``norm`` is the squared norm of the update, ``norm_left`` that of what is left of it, and
    ``norm_left_exact`` what was left before the values were rounded to their storage type.
    """

    num_returned: int
    norm: float
    norm_left: float
    norm_left_exact: float

    @property
    def norm_removed(self) -> float:
        """The fraction of the squared norm that is gone; negative where a method enlarges it."""
        return 1 - self.norm_left / self.norm if self.norm else 0.0

    @property
    def norm_removed_exact(self) -> float:
        """The same before rounding to the storage type."""
        return 1 - self.norm_left_exact / self.norm if self.norm else 0.0


def taken(view: View, repaired: Tensor, exact: Tensor | None = None) -> Taken:
    """What was taken back of one piece.

    Args:
        view: the piece.
        repaired: its entries as they are stored.
        exact: the same before they were rounded to that type; None where nothing was.
    """
    base, tuned = view.floats
    returned = bits(repaired) == bits(view.origin.to(repaired.dtype))
    left = norm_left(view, repaired)
    return Taken(
        num_returned=int(np.count_nonzero(returned & (base != tuned))),
        norm=view.norm,
        norm_left=left,
        norm_left_exact=left if exact is None else norm_left(view, exact),
    )


def norm_left(view: View, repaired: Tensor, chosen: Tensor | slice = slice(None)) -> float:
    """The squared norm of what is left of the update in some entries of a piece.

    An entry that is the base's own value again has nothing left, though it differs from what the
    tuned model's type made of that value.
    """
    left = as_float32(repaired) - as_float32(view.base[chosen])
    if view.origin is not view.base:
        left[bits(repaired) == bits(view.origin[chosen].to(repaired.dtype))] = 0
    return float(np.square(left, dtype=np.float64).sum())


def together(parts: Iterable[Taken]) -> Taken:
    """Several put together; the order of the parts does not matter."""
    parts = list(parts)
    return Taken(
        sum(part.num_returned for part in parts),
        math.fsum(part.norm for part in parts),
        math.fsum(part.norm_left for part in parts),
        math.fsum(part.norm_left_exact for part in parts),
    )
