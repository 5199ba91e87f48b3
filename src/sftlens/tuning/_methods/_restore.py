"""Restoration while training goes on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sftlens.tuning._methods._method import Changes, MethodSettings, Training

if TYPE_CHECKING:
    import torch

    from sftlens.tuning._methods._origin import Origin


class Restore(MethodSettings):
    """Every few steps, and after the last, the most changed entries get the base's values back.

    Those with the largest relative change over the decoder blocks (paper section 6). The base's
    weights of the blocks are kept beside the model, in the type they are stored in.
    """

    name: Literal["restore"] = "restore"
    strength: float = Field(5.0, gt=0, le=100, description="percent of the entries restored")
    every: int = Field(5, ge=1, description="steps between two restorations")

    def changes(self, training: Training) -> Changes:
        from transformers import TrainerCallback

        from sftlens.tuning._methods._origin import Whole, keep_origin
        from sftlens.weights import region_parameters

        model = training.model
        names = region_parameters(training.folder, dict(model.named_parameters()), "blocks")
        origin = keep_origin(model, training.stored_dtype, names)
        percent, every = self.strength, self.every

        class Restores(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step % every == 0 or state.global_step == state.max_steps:
                    restore_most_changed(origin, percent)

        whole = Whole(parameter for parameter, _ in origin.starts)
        return Changes(callbacks=[whole, Restores()], kept_bytes=origin.num_bytes)


def restore_most_changed(origin: Origin, percent: float) -> None:
    """Give the entries with the largest relative change their first value back, in place.

    Of equal changes at the border all are restored.
    """
    import torch

    from sftlens.tuning._methods._threshold import threshold

    def changes() -> Iterator[torch.Tensor]:
        for parameter, start in origin.starts:
            yield _relative(parameter, start)

    with torch.no_grad():
        total = sum(start.numel() for _, start in origin.starts)
        wanted = math.floor(total * percent / 100)
        if wanted == 0:
            return
        least = threshold(changes, wanted)
        for (parameter, start), change in zip(origin.starts, changes(), strict=True):
            parameter.copy_(torch.where(change >= least, start.to(parameter.dtype), parameter))


def _relative(parameter: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    before = start.float()
    return (parameter.detach().float() - before).abs() / (before.abs() + 1e-8)
