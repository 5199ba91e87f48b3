"""The table of a region's tensors, and its sums by layer and by module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sftlens.weights._pair import PairTensor
from sftlens.weights._selection import Selection
from sftlens.weights._shares import share_label

if TYPE_CHECKING:
    import polars as pl


_PARTS = {"sum_": "", "num_top_": "restored_", "num_returned_": "restored_"}


class TensorSums(NamedTuple):
    """The summed changes of one tensor, and how many of its bases are 0."""

    relative: float
    absolute: float
    num_zero_base: int


def tensor_table(
    tensors: Sequence[PairTensor],
    selections: Sequence[Selection],
    sums: Mapping[str, TensorSums] | None = None,
) -> pl.DataFrame:
    """The table ``tensors``: one row a tensor of a region.

    Args:
        tensors: of the region.
        selections: of the region, each by another share; at least one.
        sums: by tensor name; without them the columns of sums are left out.

    Beside ``num_restored_{share}`` stands how many of the restored had changed: with sums, which
    describe the change, as ``num_top_{share}``, ties at the cut spread evenly; without them, where
    a restoration is described, as ``num_returned_{share}``. See :class:`TensorCounts`.
    """
    import polars as pl

    rows: list[dict[str, Any]] = []
    for tensor in tensors:
        counts = [selection.tensors[tensor.name] for selection in selections]
        row: dict[str, Any] = {
            "name": tensor.name,
            "layer": tensor.role.layer,
            "module": tensor.role.module,
            "region": tensor.role.kind,
            "num_parameters": tensor.num_parameters,
            "num_changed": counts[0].num_changed,
        }
        if sums is not None:
            row["sum_relative"] = sums[tensor.name].relative
            row["sum_absolute"] = sums[tensor.name].absolute
        for selection, count in zip(selections, counts, strict=True):
            label = share_label(selection.share)
            row[f"num_restored_{label}"] = count.num_restored
            if sums is None:
                row[f"num_returned_{label}"] = count.num_returned
            else:
                row[f"num_top_{label}"] = count.num_top
        rows.append(row)
    schema = {"name": pl.String, "layer": pl.Int64, "module": pl.String, "region": pl.String}
    return pl.DataFrame(rows, schema_overrides=schema, infer_schema_length=None)


def by_place(tensors: pl.DataFrame, place: str) -> pl.DataFrame:
    """The tensors of each layer, or of each module, put together (paper Tables 9 and 10).

    Args:
        tensors: as :func:`tensor_table` gives them.
        place: ``layer`` or ``module``.

    Returns:
        One row a layer or module: its name; num_parameters; num_changed; and as far as the table
        has them ``relative`` and ``absolute``, its fraction of the region's summed change, and
        ``restored_{share}``, the fraction that lies in it of the entries that had changed and that
        the share restores. Fractions are null where there is nothing to divide.
    """
    import polars as pl

    sums = tensors.group_by(place, maintain_order=True).agg(pl.col("^(num|sum)_.*$").sum())
    parts = [
        _fraction(name).alias(alias)
        for name in sums.columns
        for prefix, called in _PARTS.items()
        if (alias := name.replace(prefix, called, 1)) != name
    ]
    return sums.select(place, "num_parameters", "num_changed", *parts).sort(place, nulls_last=True)


def _fraction(name: str) -> pl.Expr:
    import polars as pl

    column = pl.col(name)
    return pl.when(column.sum() > 0).then(column / column.sum())
