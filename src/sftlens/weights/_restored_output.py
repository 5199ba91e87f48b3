"""What a restored model is, and what was given back in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftlens import notebook

if TYPE_CHECKING:
    import polars as pl


_COUNTS = (
    "num_restored",
    "num_restored_changed",
    "num_restored_small_base",
    "num_restored_zero_base",
    "num_ties",
)


@dataclass(frozen=True, kw_only=True)
class RestoredOutput:
    """One restored model, written or only planned."""

    share: float | None
    """Percent, in the sense of the method; None for a method without strength."""
    path: Path | None
    """The model folder; None where nothing was written."""
    dtype: str
    """The storage type of the values, ``bfloat16``; of a region in several ``A and B``."""
    num_parameters: int
    """Of the region."""
    num_restored: int | None
    """How many have their base value again; None for a method that moves all of them."""
    num_restored_changed: int | None
    """How many of them fine-tuning had changed; None likewise."""
    num_restored_small_base: int | None
    """How many of these have a base below 1e-4, zeros among them; None where no ranking says."""
    num_restored_zero_base: int | None
    """How many of these are 0 in the base; None likewise."""
    num_ties: int | None
    """How many are ranked like the last one restored; None where no ranking cuts the region."""
    norm_removed: float
    """Share of the squared norm of the region's update that is removed, a fraction, measured on the
    values as they are stored in ``dtype``; negative where the method enlarges the update."""
    norm_to_match: float | None
    """What ``norm_removed`` was to be, where the strength was searched for; it is missed where the
    storage type has no values for it."""
    alpha: float | None
    """Of an interpolation."""
    warning: str | None
    """What to be careful about."""

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {**asdict(self), "path": None if self.path is None else str(self.path)}


def outputs_table(outputs: Sequence[RestoredOutput]) -> pl.DataFrame:
    """One row a restored model, with the fields of :class:`RestoredOutput` as columns."""
    import polars as pl

    nullable = {
        **dict.fromkeys(("share", "alpha", "norm_to_match"), pl.Float64),
        **dict.fromkeys(_COUNTS, pl.Int64),
        **dict.fromkeys(("path", "warning"), pl.String),
    }
    return pl.DataFrame([output.as_json() for output in outputs], schema_overrides=nullable)


def outputs_html(title: str, outputs: Sequence[RestoredOutput], notes: Sequence[str] = ()) -> str:
    """The same for a notebook, with the warnings below."""
    warnings = [output.warning for output in outputs if output.warning]
    table = outputs_table(outputs).drop("warning")
    return notebook.as_html(title, table, [*warnings, *notes])
