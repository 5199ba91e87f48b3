"""The smallest pilot that has every stage."""

from __future__ import annotations

from sftlens.advice import AdviseSettings
from sftlens.scoring import ScoreSettings
from sftlens.tuning import TuneSettings

SETTINGS = AdviseSettings(
    pilot=True,
    budget=7,
    sizes=(4, 8),
    tune=TuneSettings(learning_rate=1e-3, batch_size=4),
    score=ScoreSettings(max_new_tokens=8),
)
