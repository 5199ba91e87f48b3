"""KL to the base on the training prompts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sftlens.tuning._methods._method import Changes, MethodSettings, Training


class KL(MethodSettings):
    """The loss plus strength times KL(base ‖ model) over the tokens of the training prompts.

    At each place of a prompt but the last, after which the answer is taught, the model is held to
    what the base expects next (learning without forgetting, arXiv 1606.09282, on the prompts).
    The base's distributions are computed once, before training, and kept in main memory; each step
    takes a second forward and backward pass.
    """

    name: Literal["kl"] = "kl"
    strength: float = Field(3.0, gt=0, description="weight of the KL to the base")

    def changes(self, training: Training) -> Changes:
        from sftlens.tuning._methods._targets import Asked, base_targets, held_to
        from sftlens.tuning._methods._tokens import tokenized

        asked = [
            Asked(row.ids, row.ids, first=0, places=range(row.num_prompt - 1))
            for row in tokenized(training.rows, training.tokenizer)
        ]
        targets = base_targets(training.model, training.tokenizer, asked)
        return Changes(
            trainer=held_to(targets, self.strength),
            kept_bytes=sum(target.num_bytes for target in targets.values()),
        )
