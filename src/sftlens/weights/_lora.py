"""The arithmetic of merging LoRA into a weight: tensors in, tensors out.

Every operation, its order, its layout in memory and its storage type are those of peft's own merge
on a CPU (``merge_and_unload`` of an adapter loaded by ``PeftModel.from_pretrained``), so that the
merged values are the same bit for bit. There, A, B and the magnitude are float32 beside a base in
float16 or bfloat16 and of the base's type beside any other.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Layout = Literal["linear", "conv1d", "embedding"]
"""How a module stores its weight: (out, in); (in, out); (num_embeddings, embedding_dim)."""


class LoraFactors(NamedTuple):
    """The low-rank update of one weight: scaling x B A.

    For embeddings B A is the update of the transposed weight.
    """

    a: Tensor  # (rank, in), for embeddings (rank, num_embeddings)
    b: Tensor  # (out, rank), for embeddings (embedding_dim, rank)
    magnitude: Tensor | None  # (out,) or (embedding_dim,); of DoRA only
    scaling: float


def factor_dtype(base: torch.dtype) -> torch.dtype:
    """The storage type of A and B while they are merged into a weight of type ``base``."""
    return torch.float32 if base in (torch.float16, torch.bfloat16) else base


def merged_weight(base: Tensor, factors: LoraFactors, layout: Layout) -> Tensor:
    """The weight with the update added, in the base's storage type and shape.

    With a magnitude m it is m (W + update) / ||W + update||, with one norm per output feature
    (DoRA, arXiv 2402.09353, equation 5); else W + update (LoRA, arXiv 2106.09685, equation 3).
    """
    transposed = layout != "linear"
    update = factors.b @ factors.a
    update = (update.T if transposed else update) * factors.scaling
    if factors.magnitude is not None:
        directions = (base.T + update.T) if transposed else (base + update)
        norm: Tensor = torch.linalg.norm(directions, dim=1)
        ratio = (factors.magnitude / norm).view(-1, 1)
        return ((ratio.T if transposed else ratio) * (base + update)).to(base.dtype)
    if layout == "embedding":
        # Rounded twice, unlike that of linear layers.
        update = update.to(base.dtype)
    return base.clone().add_(update)


def merged_bias(base: Tensor, bias: Tensor, scaling: float) -> Tensor:
    """A module's bias, (out,), with that of B added, in the base's storage type."""
    return base.clone().add_(bias * scaling)
