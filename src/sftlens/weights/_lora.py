"""The arithmetic of merging LoRA into a weight: tensors in, tensors out.

Every operation, its order, its layout in memory and its storage type are those of peft's own merge
on a CPU (``merge_and_unload`` of an adapter loaded by ``PeftModel.from_pretrained``), so that the
merged values are the same bit for bit. There, A, B and the magnitude are float32 beside a base in
float16 or bfloat16 and of the base's type beside any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Layout = Literal["linear", "conv1d", "embedding", "parameter", "transposed"]
"""How a weight is stored: (out, in); (in, out); (num_embeddings, embedding_dim). ``parameter`` is
one that the adapter targets as such (``target_parameters``), (out, in) or packed (num_experts, out,
in); ``transposed`` is packed as (num_experts, in, out)."""


class LoraFactors(NamedTuple):
    """The low-rank update of one weight: scaling x B A.

    For embeddings B A is the update of the transposed weight. Of packed experts A holds the rows
    of the first expert, then of the second; the columns of B go through the experts first.
    """

    a: Tensor  # (rank, in), for embeddings (rank, num_embeddings), packed (num_experts x rank, in)
    b: Tensor  # (out, rank), for embeddings (embedding_dim, rank), packed (out, rank x num_experts)
    magnitude: Tensor | None  # (out,) or (embedding_dim,); of DoRA only
    scaling: float


class Slice(NamedTuple):
    """The part of a packed parameter that is stored as one tensor: rows of one expert."""

    expert: int
    start: int
    end: int


def factor_dtype(base: torch.dtype) -> torch.dtype:
    """The storage type of A and B while they are merged into a weight of type ``base``."""
    return torch.float32 if base in (torch.float16, torch.bfloat16) else base


def merged_weight(base: Tensor, factors: LoraFactors, layout: Layout) -> Tensor:
    """The weight with the update added, in the base's storage type and shape.

    With a magnitude m it is m (W + update) / ||W + update||, with one norm per output feature
    (DoRA, arXiv 2402.09353, equation 5); else W + update (LoRA, arXiv 2106.09685, equation 3).
    """
    if layout in ("parameter", "transposed"):
        num_experts = base.shape[0] if base.dim() == 3 else 1
        return _added(base, _parameter_update(factors, num_experts, layout))
    transposed = layout != "linear"
    update = factors.b @ factors.a
    update = (update.T if transposed else update) * factors.scaling
    if factors.magnitude is not None:
        directions = (base.T + update.T) if transposed else (base + update)
        norm: Tensor = torch.linalg.norm(directions, dim=1)
        ratio = (factors.magnitude / norm).view(-1, 1)
        return ((ratio.T if transposed else ratio) * (base + update)).to(base.dtype)
    if layout == "embedding":
        return _added(base, update)
    return base.clone().add_(update)


def merged_slice(base: Tensor, factors: LoraFactors, num_experts: int, part: Slice) -> Tensor:
    """One stored tensor of a packed parameter, (end - start, in), with its part of the update."""
    if num_experts == 1:
        update = _parameter_update(factors, 1, "parameter")
    else:
        rank = factors.a.shape[0] // num_experts
        a = factors.a[part.expert * rank : (part.expert + 1) * rank]
        b = factors.b[:, part.expert :: num_experts]
        # A batch of one: a plain product is rounded otherwise where the matrices are tiny.
        update = torch.bmm(b[None], a[None])[0] * factors.scaling
    return _added(base, update[part.start : part.end])


def merged_bias(base: Tensor, bias: Tensor, scaling: float) -> Tensor:
    """A module's bias, (out,), with that of B added, in the base's storage type."""
    return base.clone().add_(bias * scaling)


def with_rows(base: Tensor, rows: Tensor, places: Sequence[int]) -> Tensor:
    """Embeddings or a head, (num_rows, width), with rows replaced, (num_places, width)."""
    return base.index_copy(0, torch.tensor(places), rows.to(base.dtype))


def _parameter_update(factors: LoraFactors, num_experts: int, layout: Layout) -> Tensor:
    if num_experts == 1:
        return (factors.b @ factors.a) * factors.scaling
    a = factors.a.reshape(num_experts, -1, factors.a.shape[-1])
    b = factors.b.reshape(factors.b.shape[0], -1, num_experts)
    equation = "o r e, e r i -> " + ("e o i" if layout == "parameter" else "e i o")
    return torch.einsum(equation, b, a) * factors.scaling


def _added(base: Tensor, update: Tensor) -> Tensor:
    # Rounded twice, unlike that of linear layers.
    return base.clone().add_(update.to(base.dtype))
