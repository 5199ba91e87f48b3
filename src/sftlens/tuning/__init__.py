"""Choosing training facts, and fine-tuning on them."""

from sftlens.tuning._methods import METHODS, Validation, method_settings
from sftlens.tuning._run import TRAINING_FACTS, TuneResult, run_tune
from sftlens.tuning._sft import Tuned, TuneSettings, fine_tune, num_steps
from sftlens.tuning._training_set import choose_training_facts, validation_facts

__all__ = [
    "METHODS",
    "TRAINING_FACTS",
    "TuneResult",
    "TuneSettings",
    "Tuned",
    "Validation",
    "choose_training_facts",
    "fine_tune",
    "method_settings",
    "num_steps",
    "run_tune",
    "validation_facts",
]
