"""How well a base model masters each fact: completions, R, level."""

from sftlens.mastery._folder import Mastery, read_mastery
from sftlens.mastery._grade import (
    COMPLETIONS_SCHEMA,
    GREEDY_SCHEMA,
    MASTERY_SCHEMA,
    TEMPLATES_SCHEMA,
    BestTemplate,
    best_templates,
    grade,
    level_sizes,
)
from sftlens.mastery._ledger import LEDGER_SCHEMA, Ledger
from sftlens.mastery._ledgers import open_ledgers
from sftlens.mastery._levels import CATEGORIES, NUM_LEVELS, Category, category_of, level_of
from sftlens.mastery._probe import Probe, ProbeSettings, Stores, num_completions, probe
from sftlens.mastery._prompts import Prompting
from sftlens.mastery._run import ProbeResult, Serving, run_probe
from sftlens.mastery._uncertainty import Uncertainty, uncertainty

__all__ = [
    "CATEGORIES",
    "COMPLETIONS_SCHEMA",
    "GREEDY_SCHEMA",
    "LEDGER_SCHEMA",
    "MASTERY_SCHEMA",
    "NUM_LEVELS",
    "TEMPLATES_SCHEMA",
    "BestTemplate",
    "Category",
    "Ledger",
    "Mastery",
    "Probe",
    "ProbeResult",
    "ProbeSettings",
    "Prompting",
    "Serving",
    "Stores",
    "Uncertainty",
    "best_templates",
    "category_of",
    "grade",
    "level_of",
    "level_sizes",
    "num_completions",
    "open_ledgers",
    "probe",
    "read_mastery",
    "run_probe",
    "uncertainty",
]
