"""LoRA: a low-rank update is trained beside the weights, which stay as they are."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from sftlens.errors import UserError, first_line

LORA: Final = "lora"
"""Its name among the training methods, though it changes what is trained and not how."""

ALL_LINEAR: Final = "all-linear"

_RATE = 10


class LoraSettings(BaseModel):
    """What LoRA trains instead of all weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rank: int = Field(16, ge=1, description="rank of each matrix's update")
    alpha: float = Field(32, gt=0, description="the update counts alpha / rank times")
    target_modules: str | tuple[str, ...] = Field(
        ALL_LINEAR,
        min_length=1,
        description="names of the modules that get an update; all-linear: every linear one but the "
        "head, and the packed experts of a mixture",
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
        UserError: when the model has no such modules, when one of the names is that of none, and
            when the rank is larger than any of the matrices.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    modules = settings.target_modules
    if not isinstance(modules, str):
        _require_modules(model, modules)
    _require_rank(model, settings)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=modules if isinstance(modules, str) else list(modules),
        exclude_modules=_incompatible(model) if modules == ALL_LINEAR else None,
        task_type="CAUSAL_LM",
    )
    set_seed(seed)  # of the adapter's first weights
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise UserError(
            f"target_modules: {modules!r} is refused, {first_line(error)}; {_named_modules(model)}"
        ) from None


def _require_modules(model: Any, names: tuple[str, ...]) -> None:
    """Refuse a name of no module, which peft passes over if another one is found."""
    paths = [path for path, _ in model.named_modules()]
    for name in names:
        if not any(path == name or path.endswith(f".{name}") for path in paths):
            raise UserError(
                f"target_modules: {name!r} is the name of no module; {_named_modules(model)}"
            )


def _named_modules(model: Any) -> str:
    names = sorted({path.rpartition(".")[2] for path, _ in _linear(model)})
    return f"the linear ones are {', '.join(names) or 'none'}"


def _require_rank(model: Any, settings: LoraSettings) -> None:
    """Refuse a rank beyond that of any matrix: such updates would outgrow the model."""
    largest = max((min(p.shape[-2:]) for p in model.parameters() if p.dim() > 1), default=0)
    if settings.rank > largest:
        raise UserError(
            f"rank: {settings.rank} is above {largest}, the largest rank that a matrix of this "
            "model has; take a smaller one"
        )


def _incompatible(model: Any) -> list[str] | None:
    """Names of linear modules that peft refuses to adapt, as it does with those of Mamba.

    Their weights go into fused kernels directly, past any update beside them.
    """
    from peft import LoraConfig
    from peft.tuners import tuners_utils

    check = getattr(tuners_utils, "_check_lora_target_modules_mamba", None)
    if check is None:
        return None
    refused = set()
    for path, _ in _linear(model):
        name = path.rpartition(".")[2]
        try:
            check(LoraConfig(), model, name)
        except ValueError:
            refused.add(name)
    return sorted(refused) or None


def _linear(model: Any) -> list[tuple[str, Any]]:
    """The linear modules with their paths, without the head."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and module is not head
    ]
