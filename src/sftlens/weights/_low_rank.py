"""DG-Hard: the part of a matrix' update that stands out of noise.

Source: arXiv 2605.20296 and its code (BrickleRex/dghard), which applies the optimal hard threshold
for singular values under unknown noise of Gavish and Donoho (IEEE Transactions on Information
Theory 60, 2014; arXiv 1305.5870) to the update of each weight matrix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from sftlens.errors import UserError

_MIN_ENTRIES = 1024  # of a matrix, as in the official code
_COLUMNS = 4096  # of the update that are in float64 at once


class DenoisedUpdate(NamedTuple):
    """What is left of an update, and of which matrices.

    ``update`` has the shape of the input. ``ranks`` and ``thresholds`` have one item a matrix (of
    a 3-d tensor, in order): how many singular values are kept, and above which value.
    """

    update: Tensor
    ranks: list[int]
    thresholds: list[float]


def can_be_denoised(shape: Sequence[int]) -> bool:
    """Whether DG-Hard has anything to say of a tensor: matrices of 1,024 entries or more.

    Vectors (biases, norms) and small matrices stay as tuned, as in the official code: the noise
    is told from the signal by what random matrices of large size have in common.
    """
    return len(shape) >= 2 and shape[-2] * shape[-1] >= _MIN_ENTRIES


def denoised_update(update: Tensor) -> DenoisedUpdate:
    """The update without the singular values that noise alone explains.

    With s the singular values of the m by n update and b = min(m, n) / max(m, n), those above
    :func:`threshold_coefficient` (b) median(s) are kept as they are and the others set to 0. No
    strength: the threshold follows from the data. What it removes is the bulk, the part that is
    spread evenly over all directions; it keeps the few directions that stand out. As the
    coefficient exceeds 1, it always removes half of the directions or more.

    ``update`` is float32, (m, n) or (num_experts, m, n) or of more leading dimensions, on any
    device; each matrix is treated by itself. An update of rank below half of min(m, n) that is not
    noisy (a merged adapter stored in float32, say) has a median of 0 but for rounding, and all of
    it is kept but for rounding.

    The singular values come from the eigenvalues of the smaller Gram matrix, in float64: its
    squares are then no less exact than a float32 singular value decomposition, and no factor of
    the larger side is needed. Singular values below sqrt(min(m, n) 2^-52) of the largest are lost
    in that square and count as 0. Working memory: the result and one matrix more, and about five
    float64 matrices of min(m, n) by min(m, n).

    Raises:
        UserError: when an entry is NaN or infinite.
    """
    assert update.ndim >= 2, update.shape
    if not torch.isfinite(update).all():
        raise UserError(
            "the update holds entries that are NaN or infinite, and no singular values; "
            "choose another method, or mend the checkpoint"
        )
    matrices = update.reshape(-1, *update.shape[-2:])
    result = torch.empty_like(matrices)
    ranks, thresholds = [], []
    for matrix, out in zip(matrices, result, strict=True):
        rank, threshold = _denoise(matrix, out)
        ranks.append(rank)
        thresholds.append(threshold)
    return DenoisedUpdate(result.view(update.shape), ranks, thresholds)


@lru_cache(maxsize=256)
def threshold_coefficient(aspect: float) -> float:
    """By how much a singular value must exceed the median one; ``aspect`` in (0, 1].

    Gavish and Donoho's coefficient for unknown noise: lambda*(b) / sqrt(mu(b)) with
    lambda*(b) = sqrt(2 (b + 1) + 8 b / (b + 1 + sqrt(b^2 + 14 b + 1))), the coefficient for known
    noise (4 / sqrt(3) for a square matrix), and mu(b) the median of the Marchenko-Pastur
    distribution. 2.858 for a square matrix.
    """
    b = aspect
    known = math.sqrt(2 * (b + 1) + 8 * b / (b + 1 + math.sqrt(b * b + 14 * b + 1)))
    return known / math.sqrt(marchenko_pastur_median(b))


def marchenko_pastur_median(aspect: float) -> float:
    """The median eigenvalue of X X' / n, X of m by n unit noise, as both grow; m / n = ``aspect``.

    The density is sqrt((h - x) (x - l)) / (2 pi b x) between l, h = (1 -+ sqrt(b))^2. With
    x = 1 + b - 2 sqrt(b) cos(a), its integral is that of a smooth function of the angle a, also
    for a square matrix, where the density itself is infinite at 0.
    """
    # Late: most commands need none of scipy.
    from scipy.integrate import quad
    from scipy.optimize import brentq

    assert 0 < aspect <= 1, aspect
    root = math.sqrt(aspect)

    def eigenvalue(angle: float) -> float:
        # (1 - root)^2 + 2 root (1 - cos), without its cancellation near 0.
        return (1 - root) ** 2 + 4 * root * math.sin(angle / 2) ** 2

    def density(angle: float) -> float:
        value = eigenvalue(angle)
        return 2 / math.pi * math.sin(angle) ** 2 / value if value else 2 / math.pi

    def excess(angle: float) -> float:
        return float(quad(density, 0, angle)[0]) - 0.5

    return eigenvalue(float(brentq(excess, 0, math.pi, xtol=1e-14)))


def _denoise(update: Tensor, out: Tensor) -> tuple[int, float]:
    """Writes what is kept of an (m, n) update; gives its rank and the threshold."""
    wide, out = (update, out) if update.shape[0] <= update.shape[1] else (update.T, out.T)
    size, length = wide.shape
    gram = torch.zeros(size, size, dtype=torch.float64, device=wide.device)
    for start in range(0, length, _COLUMNS):
        part = wide[:, start : start + _COLUMNS].double()
        gram.addmm_(part, part.T)
    squares, vectors = torch.linalg.eigh(gram)  # ascending
    values = squares.clamp_(min=0).sqrt_()
    median = float(values[(size - 1) // 2] + values[size // 2]) / 2
    resolved = float(values[-1]) * math.sqrt(size * torch.finfo(torch.float64).eps)
    threshold = max(threshold_coefficient(size / length) * median, resolved)
    rank = int((values > threshold).sum())
    kept = vectors[:, size - rank :].to(wide.dtype)
    out.copy_(kept @ (kept.T @ wide))
    return rank, threshold
