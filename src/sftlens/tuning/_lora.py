"""LoRA: a low-rank update is trained beside the weights, which stay as they are."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from sftlens.errors import UserError, first_line

LORA: Final = "lora"
"""Its name among the training methods, though it changes what is trained and not how."""

_RATE = 10


class LoraSettings(BaseModel):
    """What LoRA trains instead of all weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rank: int = Field(16, ge=1, description="rank of each matrix's update")
    alpha: float = Field(32, gt=0, description="the update counts alpha / rank times")
    target_modules: str | tuple[str, ...] = Field(
        "all-linear",
        min_length=1,
        description="names of the modules that get an update; all-linear: every linear one but the "
        "head",
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        description=f"peak of the cosine schedule; without it {_RATE} times that of full "
        "fine-tuning",
    )

    def rate(self, full: float) -> float:
        """The learning rate, where full fine-tuning has ``full``."""
        return _RATE * full if self.learning_rate is None else self.learning_rate


def with_adapter(model: Any, settings: LoraSettings, seed: int) -> Any:
    """Put an untrained adapter into a model, in float32; the model's own weights are frozen.

    Raises:
        UserError: when the model has no such modules.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    modules = settings.target_modules
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=modules if isinstance(modules, str) else list(modules),
        task_type="CAUSAL_LM",
    )
    set_seed(seed)  # of the adapter's first weights
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise UserError(f"target_modules: {modules!r} is refused, {first_line(error)}") from None
