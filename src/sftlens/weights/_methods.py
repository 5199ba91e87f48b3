"""Restoration methods: base and tuned entries in, repaired entries out.

docs/methods.md compares all methods; those that look at a whole tensor are in ``_pruning`` and
``_low_rank``, those that choose whole tensors in ``_half_reset``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sftlens.weights._change import as_float32

_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def restore(base: Tensor, tuned: Tensor, mask: Tensor) -> Tensor:
    """The base's value where ``mask`` holds, the tuned model's elsewhere (paper section 6).

    All three have one shape. The result has the storage type of ``tuned``: with one storage type
    on both sides a restored entry is bit-equal to the base's, otherwise its value is cast once.
    """
    chosen = np.where(mask.cpu().numpy(), bits(base.to(tuned.dtype)), bits(tuned))
    return torch.from_numpy(chosen).view(tuned.dtype)


def interpolate(base: Tensor, tuned: Tensor, alpha: float) -> Tensor:
    """base + alpha (tuned - base) in float32, cast once to the storage type of ``tuned``.

    WiSE-FT (arXiv 2109.01903) with one ``alpha`` for the whole model; LiNeS with that of
    :func:`layer_scale`. It takes the same part of every entry's update back. ``alpha`` 1 gives
    exactly the tuned entries and 0 exactly the base's; entries that did not change stay as they
    are, bit for bit, whatever ``alpha``.
    """
    if alpha == 1:
        return tuned.clone()
    if alpha == 0:
        return base.to(tuned.dtype, copy=True)
    origin, after = as_float32(base), as_float32(tuned)
    values = after - origin
    values *= np.float32(alpha)
    values += origin
    # Of -0.0 and of infinities, base + alpha (tuned - base) is something else.
    return torch.from_numpy(np.where(after == origin, after, values)).to(tuned.dtype)


def layer_scale(layer: int | None, num_layers: int, *, first: float, last: float = 1.0) -> float:
    """The ``alpha`` of a decoder block by LiNeS: a line over depth (arXiv 2410.17146).

    first + (last - first) layer / (num_layers - 1): ``first`` in block 0, ``last`` in the last
    block, so that shallow blocks return to the base and deep ones stay tuned. It holds for every
    parameter of the block, norms included. ``layer`` None, for what lies in no block, gives
    ``first``, as the official code does for all of it, final norm and head too. In a model of one
    block, where the line has no slope, that block counts as the last.
    """
    if layer is None:
        return first
    assert 0 <= layer < num_layers, (layer, num_layers)
    if layer == num_layers - 1:
        return last
    return first + (last - first) * layer / (num_layers - 1)


def drop_and_rescale(base: Tensor, tuned: Tensor, dropped: Tensor, rate: float) -> Tensor:
    """DARE: base + (tuned - base) / (1 - rate), and the base where ``dropped`` (2311.03099).

    Tensors of float32 and one shape on one device; so is the result.
    ``dropped`` is a bool mask in which each entry holds with probability ``rate``, independent of
    its value. Then the expected update is that of the tuned model, and its variance is
    rate / (1 - rate) times the squared update: it is not made smaller but noisier, the more so
    the higher the rate. Dropped entries are the base's bit for bit, ``rate`` 0 with nothing
    dropped gives the tuned ones, and entries with an update of 0 stay as they are. ``rate`` 1
    gives the base.
    """
    assert 0 <= rate <= 1, rate
    if rate == 1:
        return base.clone()
    if rate == 0:
        return torch.where(dropped, base, tuned)
    values = tuned - base
    values /= 1 - rate
    values += base
    return torch.where(dropped, base, torch.where(tuned == base, tuned, values))


def bits(values: Tensor) -> NDArray[Any]:
    """The bit patterns of a tensor, as integers in its shape; shares memory where it can."""
    return values.detach().cpu().contiguous().view(_BITS[values.element_size()]).numpy()
