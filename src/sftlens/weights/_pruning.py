"""Which entries of one tensor return to the base, by methods that prune the update.

Float32 tensors of any shape on any device in, a score of that shape or a bool mask of it out;
:func:`sftlens.weights._methods.restore` applies a mask. A mask is about as many entries as it is
told: the caller counts them from a share (``num_of_share``, floor(N k / 100)).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sftlens.weights._shares import num_of_share


def lowest(score: Tensor, count: int) -> Tensor:
    """Holds at the ``count`` entries of lowest score; among equal scores, at the earlier ones.

    "Earlier" is by flat position. ``score`` has no NaN; infinities are ordered as usual.
    """
    flat = score.flatten()
    assert 0 <= count <= len(flat), (count, len(flat))
    if count == 0:
        return torch.zeros_like(score, dtype=torch.bool)
    bound = flat.kthvalue(count).values
    mask = flat < bound
    equal = flat == bound
    quota = count - mask.sum()
    mask |= equal & (equal.cumsum(0) <= quota)
    return mask.view(score.shape)


class BreadcrumbsCounts(NamedTuple):
    """How many entries of a tensor return to the base at either end of abs(update)."""

    smallest: int
    largest: int


def breadcrumbs_counts(num_entries: int, share: float, *, largest: float) -> BreadcrumbsCounts:
    """The two ends of Model Breadcrumbs, ``share`` percent of the entries together.

    ``largest`` percent of the entries, those of largest abs(update), come first, and the smallest
    make up the rest; a ``share`` below ``largest`` is all from the largest.
    """
    total = num_of_share(share, num_entries)
    num_largest = min(total, num_of_share(largest, num_entries))
    return BreadcrumbsCounts(total - num_largest, num_largest)


def breadcrumbs_mask(update: Tensor, counts: BreadcrumbsCounts) -> Tensor:
    """Model Breadcrumbs: holds at both ends of abs(update) in one tensor (arXiv 2312.06795).

    It removes outliers and negligible changes and leaves the middle. The largest are chosen
    first, the smallest from what is left; among equals the earlier flat position goes first. No
    rescaling.
    """
    size = update.abs()
    largest = lowest(-size, counts.largest)
    return largest | lowest(size.masked_fill(largest, torch.inf), counts.smallest)


def fapm_score(base: Tensor, tuned: Tensor, mean_abs_base: float) -> Tensor:
    """FAPM's score of each entry; the lowest return to the base (arXiv 2509.08255).

    abs(t - b) - mean_abs_base abs(t - b) / abs(b), where ``mean_abs_base`` is the mean of abs(b)
    over the entry's whole matrix. As it equals abs(t - b) (1 - mean_abs_base / abs(b)), entries
    whose base is below the mean score negative, the lower the more they changed; those above score
    positive. So it removes large changes of small weights first, then what did not change (score
    0), then small changes of large weights.

    A base of 0 divides by zero: there a change scores minus infinity, the limit of the formula,
    and no change scores 0. In a matrix of zeros the score is the change itself.
    """
    change = (tuned - base).abs_()
    if mean_abs_base == 0:
        return change
    relative = change / base.abs()
    # 0 / 0, of an entry that is and stays 0.
    relative.masked_fill_(change == 0, 0)
    return change.sub_(relative.mul_(mean_abs_base))
