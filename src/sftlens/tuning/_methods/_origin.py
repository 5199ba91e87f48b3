"""The base's weights, kept beside the model that is trained."""

from __future__ import annotations

from collections.abc import Container
from typing import Any, NamedTuple

import torch


class Origin(NamedTuple):
    """Where parameters started.

    Attributes:
        starts: each parameter with its first value, in the type that the base is stored in.
        num_bytes: memory that the values take.
    """

    starts: list[tuple[torch.nn.Parameter, torch.Tensor]]
    num_bytes: int


def keep_origin(model: Any, dtype: torch.dtype, names: Container[str] | None = None) -> Origin:
    """Keep the values of the parameters that are trained, or of those named."""
    starts = [
        (parameter, parameter.detach().to(dtype, copy=True))
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (names is None or name in names)
    ]
    return Origin(starts, sum(start.nbytes for _, start in starts))
