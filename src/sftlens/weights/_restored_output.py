"""What a restored model is, and what was given back in it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RestoredOutput:
    """One restored model, written or only planned."""

    share: float | None
    """Percent, in the sense of the method; None for a method without strength."""
    path: Path | None
    """The model folder; None where nothing was written."""
    num_parameters: int
    """Of the region."""
    num_restored: int | None
    """How many have their base value again; None for a method that moves all of them."""
    num_restored_changed: int | None
    """How many of them fine-tuning had changed; None likewise."""
    num_ties: int | None
    """How many are ranked like the last one restored; None where no ranking cuts the region."""
    norm_removed: float
    """Share of the squared norm of the region's update that is removed, a fraction; negative where
    the method enlarges the update."""
    alpha: float | None
    """Of an interpolation."""
    warning: str | None
    """What to be careful about."""

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {**asdict(self), "path": None if self.path is None else str(self.path)}
