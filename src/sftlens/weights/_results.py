"""What ``sftlens diff`` and ``sftlens restore`` tell."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sftlens import notebook
from sftlens.weights._restored_output import RestoredOutput, outputs_html, outputs_table

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, kw_only=True)
class DiffResult(notebook.Tabular):
    """What ``sftlens diff`` tells; made by :func:`run_diff`."""

    region: str
    num_parameters: int
    num_changed: int
    concentration: dict[str, dict[str, float | None]]
    """As :attr:`sftlens.weights.Diff.concentration`."""
    layers: list[dict[str, Any]]
    """Rows of :meth:`sftlens.weights.Diff.by`."""
    modules: list[dict[str, Any]]
    """Likewise."""
    histogram: list[dict[str, Any]]
    """Rows of :attr:`sftlens.weights.Diff.histogram`."""
    notes: list[str]
    """On how the two were aligned."""

    def to_polars(self) -> pl.DataFrame:
        """A row a share, in percent: the fraction of each measure's sum that the top share holds.

        Columns: share, relative, absolute, null.
        """
        import polars as pl

        shares = next(iter(self.concentration.values()))
        columns: dict[str, list[float | None]] = {
            "share": [float(share) for share in shares],
            **{measure: list(held.values()) for measure, held in self.concentration.items()},
        }
        return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Float64))

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return asdict(self)

    def _repr_html_(self) -> str:
        title = (
            f"{self.num_changed:,} of {self.num_parameters:,} parameters of region {self.region} "
            "changed; fraction of the summed change that the top share, in percent, holds"
        )
        return notebook.as_html(title, self.to_polars(), self.notes)


@dataclass(frozen=True, kw_only=True)
class RestoreResult(notebook.Tabular):
    """What ``sftlens restore`` tells; made by :func:`run_restore`."""

    outputs: list[RestoredOutput]
    """The models written, one a share."""

    def to_polars(self) -> pl.DataFrame:
        """A row a model, with the fields of :class:`RestoredOutput` as columns."""
        return outputs_table(self.outputs)

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {"outputs": [output.as_json() for output in self.outputs]}

    def _repr_html_(self) -> str:
        return outputs_html("restored", self.outputs)
