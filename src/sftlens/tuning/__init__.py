"""Choosing training facts, and fine-tuning on them."""

from sftlens.tuning._distributed import load_to_train
from sftlens.tuning._lora import LoraSettings
from sftlens.tuning._run import TRAINING_FACTS, TuneResult, run_tune
from sftlens.tuning._sft import Tuned, TuneSettings, fine_tune, num_steps
from sftlens.tuning._training_set import choose_training_facts

__all__ = [
    "TRAINING_FACTS",
    "LoraSettings",
    "TuneResult",
    "TuneSettings",
    "Tuned",
    "choose_training_facts",
    "fine_tune",
    "load_to_train",
    "num_steps",
    "run_tune",
]
