"""What a training method is: settings, and what they change in plain fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from sftlens.facts import Fact

if TYPE_CHECKING:
    import torch


class Validation(NamedTuple):
    """Facts that training is watched on, and never trained on.

    Attributes:
        facts: in-domain facts of the validation split.
        levels: mastery level by fact_id; empty where there are none.
    """

    facts: Sequence[Fact]
    levels: Mapping[str, int]


class Training(NamedTuple):
    """A fine-tuning that is about to begin.

    Attributes:
        model: the base model in float32 and evaluation mode, on its device.
        tokenizer: its tokenizer.
        folder: the base model's folder.
        stored_dtype: that of the base's weights in the folder, in which float32 copies of them
            lose nothing.
        facts: the training facts.
        rows: prompt and completion of each.
        batch_size: facts a step.
        weight_decay: AdamW's.
        seed: of the run.
        validation: None where no facts were given.
    """

    model: Any
    tokenizer: Any
    folder: Path
    stored_dtype: torch.dtype
    facts: Sequence[Fact]
    rows: Sequence[Mapping[str, str]]
    batch_size: int
    weight_decay: float
    seed: int
    validation: Validation | None


class Changes(NamedTuple):
    """What a method changes in plain fine-tuning.

    Attributes:
        rows: prompt and completion of each training fact; None leaves them as they are.
        callbacks: of the trainer.
        trainer: makes a subclass of TRL's ``SFTTrainer``; None leaves it as it is.
        kept_bytes: memory that is held beside the model while it trains.
    """

    rows: Sequence[Mapping[str, str]] | None = None
    callbacks: Sequence[Any] = ()
    trainer: Callable[[Any], Any] | None = None
    kept_bytes: int = 0


class MethodSettings(BaseModel):
    """Settings of a method; ``name`` tells which."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def changes(self, training: Training) -> Changes:
        """Prepare a training.

        Raises:
            UserError: when the method cannot be used on it.
        """
        raise NotImplementedError
