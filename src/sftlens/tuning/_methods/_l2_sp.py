"""L2-SP: the distance to the base is penalised."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sftlens.tuning._methods._method import Changes, MethodSettings, Training


class L2SP(MethodSettings):
    """The loss plus strength / 2 times the squared distance of the weights to the base's.

    L2-SP (arXiv 1802.01483), over all weights. The penalty's gradient is added after the clipping
    of the loss's. The base's weights are kept beside the model, in the type they are stored in.
    """

    name: Literal["l2-sp"] = "l2-sp"
    strength: float = Field(0.3, gt=0, description="weight of the squared distance to the base")

    def changes(self, training: Training) -> Changes:
        import torch
        from transformers import TrainerCallback

        from sftlens.tuning._methods._origin import Whole, keep_origin

        origin = keep_origin(training.model, training.stored_dtype)
        strength = self.strength

        class Pulls(TrainerCallback):  # type: ignore[misc]
            @torch.no_grad()
            def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                for parameter, start in origin.starts:
                    if parameter.grad is not None:
                        parameter.grad.add_(parameter.detach() - start, alpha=strength)

        whole = Whole(parameter for parameter, _ in origin.starts)
        return Changes(callbacks=[whole, Pulls()], kept_bytes=origin.num_bytes)
