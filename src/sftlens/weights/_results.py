"""What ``sftlens diff`` and ``sftlens restore`` tell."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
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
    num_zero_base: int
    """As :attr:`sftlens.weights.Diff.num_zero_base`, and so the next two."""
    num_small_base: int
    concentration_without_small_base: dict[str, dict[str, float | None]]
    top: dict[str, dict[str, int]]
    """By share as written: of the entries with the largest relative change, ``num_changed``, and of
    these ``num_zero`` (0 in the base) and ``num_small`` (below 1e-4, zeros among them)."""
    casts: list[dict[str, Any]]
    """The storage types that differ between the two: ``base``, ``tuned``, ``num_tensors`` and
    ``num_parameters``, over the whole model. Rounding to the tuned model's type is no change."""
    notes: list[str]
    """On how the two were aligned, and on what the tables count."""

    def to_polars(self) -> pl.DataFrame:
        """A row a share, in percent: the fraction of each measure's sum that the top share holds.

        Columns: share, relative, absolute, null, and without parameters of a small base
        relative_without_small_base and null_without_small_base; then num_changed, num_zero_base and
        num_small_base of the top share by relative change.
        """
        import polars as pl

        shares = next(iter(self.concentration.values()))
        columns: dict[str, list[float | None]] = {
            "share": [float(share) for share in shares],
            **{measure: list(held.values()) for measure, held in self.concentration.items()},
            **{
                f"{measure}_without_small_base": list(held.values())
                for measure, held in self.concentration_without_small_base.items()
            },
        }
        counts = {
            "num_changed": [top["num_changed"] for top in self.top.values()],
            "num_zero_base": [top["num_zero"] for top in self.top.values()],
            "num_small_base": [top["num_small"] for top in self.top.values()],
        }
        schema = dict.fromkeys(columns, pl.Float64) | dict.fromkeys(counts, pl.Int64)
        return pl.DataFrame(columns | counts, schema=schema)

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
    notes: list[str] = field(default_factory=list)
    """On how the two were aligned."""
    casts: list[dict[str, Any]] = field(default_factory=list)
    """As :attr:`DiffResult.casts`."""

    def to_polars(self) -> pl.DataFrame:
        """A row a model, with the fields of :class:`RestoredOutput` as columns."""
        return outputs_table(self.outputs)

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "outputs": [output.as_json() for output in self.outputs],
            "notes": self.notes,
            "casts": self.casts,
        }

    def _repr_html_(self) -> str:
        return outputs_html("restored", self.outputs, self.notes)
