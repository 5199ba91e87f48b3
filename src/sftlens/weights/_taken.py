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
    ``norm`` is the squared norm of the update, ``norm_left`` that of what is left of it.
    """

    num_returned: int
    norm: float
    norm_left: float

    @property
    def norm_removed(self) -> float:
        """The fraction of the squared norm that is gone; negative where a method enlarges it."""
        return 1 - self.norm_left / self.norm if self.norm else 0.0


def taken(view: View, repaired: Tensor) -> Taken:
    """What was taken back of one piece."""
    base, tuned = view.floats
    after = as_float32(repaired)
    returned = bits(repaired) == bits(view.base.to(repaired.dtype))
    return Taken(
        num_returned=int(np.count_nonzero(returned & (base != tuned))),
        norm=view.norm,
        norm_left=float(np.square(after - base, dtype=np.float64).sum()),
    )


def together(parts: Iterable[Taken]) -> Taken:
    """Several put together; the order of the parts does not matter."""
    parts = list(parts)
    return Taken(
        sum(part.num_returned for part in parts),
        math.fsum(part.norm for part in parts),
        math.fsum(part.norm_left for part in parts),
    )
