"""Training ends when validation facts are no longer answered better."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sftlens.errors import UserError
from sftlens.tuning._methods._method import Changes, MethodSettings, Training

NUM_FACTS = 200


class EarlyStop(MethodSettings):
    """Stops when the accuracy on validation facts stays below its best, whose weights are kept.

    The accuracy is the mean of the mastery levels (paper section 4) over 200 validation facts. The
    best weights so far are kept beside the model, in the type that they will be stored in.
    """

    name: Literal["early-stop"] = "early-stop"
    every: int = Field(2, ge=1, description="steps between two measurements")
    patience: int = Field(3, ge=1, description="measurements without a better one that end it")

    def changes(self, training: Training) -> Changes:
        import torch
        from transformers import TrainerCallback

        from sftlens.tuning._methods._origin import Whole
        from sftlens.tuning._watch import Watch

        if training.validation is None or not training.validation.facts:
            raise UserError(
                "early-stop needs in-domain facts of the validation split and there are none; "
                "mark some in the facts file"
            )
        watch = Watch(
            training.validation.facts,
            training.validation.levels,
            num_facts=NUM_FACTS,
            seed=training.seed,
        )
        model, dtype = training.model, training.stored_dtype
        every, patience = self.every, self.patience
        best = {name: p.detach().to(dtype, copy=True) for name, p in model.named_parameters()}

        class Stops(TrainerCallback):  # type: ignore[misc]
            accuracy = -1.0
            num_worse = 0

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step % every and state.global_step != state.max_steps:
                    return
                accuracy = watch.accuracy(watch.answers(model, training.tokenizer)).mean
                if accuracy > self.accuracy:
                    self.accuracy, self.num_worse = accuracy, 0
                    for name, parameter in model.named_parameters():
                        best[name].copy_(parameter.detach())
                else:
                    self.num_worse += 1
                    control.should_training_stop |= self.num_worse >= patience

            def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                with torch.no_grad():
                    for name, parameter in model.named_parameters():
                        parameter.copy_(best[name])

        return Changes(
            callbacks=[Whole(model.parameters()), Stops()],
            kept_bytes=sum(weights.nbytes for weights in best.values()),
        )
