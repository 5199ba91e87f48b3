"""How well a base model masters each fact: completions, R, level."""

from sftlens.mastery._levels import NUM_LEVELS, level_of
from sftlens.mastery._probe import (
    COMPLETIONS_SCHEMA,
    MASTERY_SCHEMA,
    Probe,
    ProbeSettings,
    grade,
    level_sizes,
    probe,
)
from sftlens.mastery._run import Mastery, ProbeResult, read_mastery, run_probe

__all__ = [
    "COMPLETIONS_SCHEMA",
    "MASTERY_SCHEMA",
    "NUM_LEVELS",
    "Mastery",
    "Probe",
    "ProbeResult",
    "ProbeSettings",
    "grade",
    "level_of",
    "level_sizes",
    "probe",
    "read_mastery",
    "run_probe",
]
