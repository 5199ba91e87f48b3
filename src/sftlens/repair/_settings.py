"""What a search for a repair may do."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from sftlens.facts import Matching
from sftlens.storage_types import StorageType

METHODS = (
    *("relative", "absolute", "random", "small-base"),
    *("wise-ft", "lines", "dare", "ties", "breadcrumbs", "fapm", "half-reset", "dg-hard"),
)
"""Every method of the weights room; ``interpolation`` is ``wise-ft`` by another measure."""


class RepairSettings(BaseModel):
    """How a repair is searched for."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    keep: str | None = Field(
        None,
        description="what tuning was for: a file of prompt and completion, or lm-eval:TASK[:METRIC]"
        "; by default in-domain answers that are the answer and nothing else",
    )
    budget: int = Field(
        40,
        ge=3,
        le=100_000,
        description="evaluations on all validation questions that the search may take",
    )
    methods: tuple[str, ...] = Field(METHODS, min_length=1, description="methods that are searched")
    shares: tuple[float, ...] = Field(
        (5, 10, 20, 30, 40, 60, 80), min_length=1, description="strengths of each, in percent"
    )
    max_task_loss: float = Field(
        0.01, ge=0, le=1, description="how much of the task's accuracy may go, a fraction"
    )
    max_new_tokens: int = Field(
        16, ge=1, le=65_536, description="tokens of an answer at most, greedy"
    )
    matching: Matching = Field("contains", description="when an answer is correct")
    dtype: StorageType = Field(
        "float32",
        description="type that all models are evaluated in; the repaired one is written in the "
        "tuned model's own where that holds the same values, else in this one",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="of the halves, random methods and resamples")
