"""Where the tensors that a checkpoint stores one by one lie in the parameter that packs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sftlens.checkpoints import Checkpoint
from sftlens.weights._loading import Loader
from sftlens.weights._lora import Slice


def packed_slices(
    model: Any, parameter: str, base: Checkpoint, names: Sequence[str]
) -> dict[str, Slice] | None:
    """The rows of a packed parameter that each stored tensor becomes on loading.

    transformers' own conversion is run on small stand-ins: as many rows, one column, and the
    number of the tensor in every entry.

    Args:
        model: the skeleton.
        parameter: its name in the model, of shape (num_experts, num_rows, num_columns).
        base: the checkpoint.
        names: of the tensors in it that make up the parameter, each (rows, num_columns).

    Returns:
        None when they do not lie in it as whole rows of one expert each.
    """
    infos = [base.tensors[name] for name in names]
    shape = tuple(model.get_parameter(parameter).shape)
    if len(shape) != 3 or any(info.shape[1:] != shape[-1:] for info in infos):
        return None
    stand_ins = {
        name: torch.full((info.shape[0], 1), number, dtype=torch.int32)
        for number, (name, info) in enumerate(zip(names, infos, strict=True))
    }
    packed = Loader(model, list(names)).converted(parameter, stand_ins).get(parameter)
    if packed is None or tuple(packed.shape) != (*shape[:2], 1):
        return None
    flat = packed.view(-1)
    order = flat.argsort(stable=True)
    counts = torch.bincount(flat, minlength=len(names)).tolist()
    slices, begin = {}, 0
    for name, info, count in zip(names, infos, counts, strict=True):
        rows = order[begin : begin + count].tolist()
        begin += count
        expert, start = divmod(rows[0] if rows else 0, shape[1])
        if count != info.shape[0] or rows != list(range(rows[0], rows[0] + count)):
            return None
        slices[name] = Slice(expert, start, start + count)
    return slices
