"""Half reset: which whole tensors return to the base (HFT, arXiv 2404.18466)."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from sftlens.weights._shares import num_of_share


class GroupedTensor(NamedTuple):
    """One stored tensor and the category that it is counted in.

    ``layer`` is the number of the decoder block, or None. ``group`` is any label of a part of the
    block, such as ``self_attn``, ``mlp`` or ``norm``.
    """

    name: str
    layer: int | None
    group: str


def half_reset(
    tensors: Iterable[GroupedTensor], *, seed: int, share: float = 50.0
) -> frozenset[str]:
    """The names of the tensors that return to the base, half of each group in each block.

    The paper's choice by category: of the four attention matrices of a block two, of the three
    feed-forward matrices two in one half of the blocks and one in the other half, of the two norms
    one; embeddings, head and all else outside of the blocks stay tuned. In general floor(N k / 100)
    of the N matrices of a group, k being ``share``, spread evenly over the blocks: the numbers in
    two blocks of equal size differ by at most one. Which matrices, and which blocks give one more,
    is drawn by ``seed``. It removes the update of those matrices whole and leaves all others'.

    A weight and its bias are one (``q_proj.weight``, ``q_proj.bias``). The choice depends on the
    names, the seed and the share alone, not on the order of ``tensors``; a larger share takes the
    same tensors and more.
    """
    groups: defaultdict[str, defaultdict[int, defaultdict[str, list[str]]]]
    groups = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for name, layer, group in tensors:
        if layer is not None:
            groups[group][layer][_matrix(name)].append(name)
    chosen: list[str] = []
    for group, layers in groups.items():
        ranked: list[tuple[float, list[str]]] = []
        for turn, layer in enumerate(sorted(layers, key=lambda n: _draw(seed, f"{group}\0{n}"))):
            matrices = sorted(layers[layer], key=lambda matrix: _draw(seed, matrix))
            offset = (turn + 0.5) / len(layers)
            for place, matrix in enumerate(matrices):
                # How full its block is when the matrix is taken; offsets take the blocks in turn.
                ranked.append(((place + offset) / len(matrices), sorted(layers[layer][matrix])))
        for _, names in sorted(ranked)[: num_of_share(share, len(ranked))]:
            chosen += names
    return frozenset(chosen)


def _matrix(name: str) -> str:
    return re.sub(r"[._](weight|bias)$", "", name)


def _draw(seed: int, label: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{label}".encode(), digest_size=16).digest()
