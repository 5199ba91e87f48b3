"""What a study varies and measures."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from sftlens.mastery import ProbeSettings
from sftlens.scoring import ScoreSettings
from sftlens.tuning import TuneSettings


class StudySettings(BaseModel):
    """A grid of training runs, their scores and divergences, and restorations of the largest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    levels: tuple[int, ...] = Field((0, 1, 2, 3, 4), description="mastery levels trained on")
    sizes: tuple[int, ...] = Field(
        (60, 240, 1920), min_length=1, description="training facts; the largest is restored"
    )
    num_seeds: int = Field(5, ge=1, description="training sets of each level and size")
    shares: tuple[float, ...] = Field(
        (1, 3, 5, 10, 20, 40, 60), description="percent of the parameters that is restored"
    )
    probe: ProbeSettings = ProbeSettings()
    tune: TuneSettings = TuneSettings()
    score: ScoreSettings = ScoreSettings()


class Run(NamedTuple):
    """One training run of a study."""

    level: int
    size: int
    seed: int

    @property
    def name(self) -> str:
        return f"level{self.level}-size{self.size}-seed{self.seed}"


def training_runs(settings: StudySettings) -> list[Run]:
    """The runs of a study, by size, level and seed."""
    return [
        Run(level, size, seed)
        for size in settings.sizes
        for level in settings.levels
        for seed in range(settings.num_seeds)
    ]
