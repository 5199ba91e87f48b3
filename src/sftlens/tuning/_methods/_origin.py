"""The base's weights, kept beside the model that is trained."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, NamedTuple

import torch
from transformers import TrainerCallback

from sftlens.errors import UserError


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


class Whole(TrainerCallback):  # type: ignore[misc]
    """Refuses a training in which the parameters are no longer those that were prepared.

    Where processes share a model in shards, the trainer puts others in their place, and what a
    method does to the first ones would have no effect.

    Args:
        parameters: those that a method works on.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        self._prepared = {id(parameter) for parameter in parameters}

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if not self._prepared <= {id(parameter) for parameter in given["model"].parameters()}:
            raise UserError(
                "this method works on whole weights, and the processes share the model in shards; "
                "choose sft, kl, sdft or layers"
            )
