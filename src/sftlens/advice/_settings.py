"""What advice may cost, and what it goes by."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sftlens.scoring import ScoreSettings
from sftlens.tuning import TuneSettings

_BUDGET = 40


class AdviseSettings(BaseModel):
    """How advice is come by."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    pilot: bool = Field(False, description="train on a few candidates and measure them")
    budget: int = Field(
        _BUDGET, ge=4, le=10_000, description="training runs that the pilot may take"
    )
    sizes: tuple[int, ...] = Field(
        (60, 120, 240, 480, 960),
        min_length=1,
        max_length=100,
        description="training facts that the pilot tries",
    )
    max_loss: float = Field(
        0.01, ge=0, le=1, description="accuracy that fewer training facts may cost, a fraction"
    )
    tune: TuneSettings = TuneSettings()
    score: ScoreSettings = ScoreSettings()
    seed: int = Field(0, ge=0, lt=2**31, description="of the drawn facts, pilot runs and resamples")

    @field_validator("sizes")
    @classmethod
    def _growing(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 1 <= size < 2**31 for size in sizes):
            raise ValueError(f"a size is a number of facts from 1 to {2**31 - 1}")
        return tuple(sorted(set(sizes)))

    @field_validator("tune")
    @classmethod
    def _without_seed(cls, tune: TuneSettings) -> TuneSettings:
        if tune.seed:
            raise ValueError("seed has no effect, each run has its own; set seed instead")
        return tune

    @model_validator(mode="after")
    def _has_effect(self) -> AdviseSettings:
        if not self.pilot and self.budget != _BUDGET:
            raise ValueError("budget is of the pilot; ask for one with --pilot")
        return self
