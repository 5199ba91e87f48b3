"""Choosing training facts, and fine-tuning on them."""

from typing import TYPE_CHECKING, Any

from sftlens.tuning._distributed import load_to_train
from sftlens.tuning._lora import LORA, LoraSettings
from sftlens.tuning._methods import METHODS, Validation, method_settings
from sftlens.tuning._run import TRAINING_FACTS, TuneResult, run_tune
from sftlens.tuning._sft import Tuned, TuneSettings, fine_tune, num_steps
from sftlens.tuning._training_set import choose_training_facts, validation_facts

if TYPE_CHECKING:
    from sftlens.tuning._knowledge import Knowledge, KnowledgeCallback

__all__ = [
    "LORA",
    "METHODS",
    "TRAINING_FACTS",
    "Knowledge",
    "KnowledgeCallback",
    "LoraSettings",
    "TuneResult",
    "TuneSettings",
    "Tuned",
    "Validation",
    "choose_training_facts",
    "fine_tune",
    "load_to_train",
    "method_settings",
    "num_steps",
    "run_tune",
    "validation_facts",
]


def __getattr__(name: str) -> Any:
    if name in ("Knowledge", "KnowledgeCallback"):
        from sftlens.tuning import _knowledge

        return getattr(_knowledge, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
