"""Where the weights moved, and where the restored entries lie (paper Tables 9 and 10)."""

from __future__ import annotations

import polars as pl

from sftlens.errors import UserError
from sftlens.report._weights_map import changed_by_share, weights_maps
from sftlens.report.inference._evidence import NotMeasuredError
from sftlens.report.paper._intervals import VALUE, frame, over_training_sets
from sftlens.report.paper._study import Study


def restored_by_layer(study: Study) -> pl.DataFrame:
    """The share of the restored entries that lies in each layer (paper Table 9).

    Only entries that had changed count, and ties at the cut are spread evenly over the tensors.

    Returns:
        level, size, share (percent, restored), layer (from 0), value, low, high (Student's over
        training sets; null with one), parameters (the fraction of the region's parameters that
        lies in the layer: what random choice would give), num_training_sets.

    Raises:
        NotMeasuredError: when the table ``tensors`` is missing or counts no restored entries.
    """
    return _by_place(study, "layer", pl.Int64)


def restored_by_module(study: Study) -> pl.DataFrame:
    """The share of the restored entries that lies in each kind of module (paper Table 10).

    Returns:
        as :func:`restored_by_layer`, with ``module`` for ``layer``.

    Raises:
        NotMeasuredError: when the table ``tensors`` is missing or counts no restored entries.
    """
    return _by_place(study, "module", pl.String)


def change_by_place(study: Study) -> pl.DataFrame:
    """The share of the summed change that lies in each module of each layer.

    Returns:
        measure (``absolute`` or ``relative``), layer (from 0, or ``all layers``), module (or ``all
        modules``), value, low, high (the least and the most of any run), times (how many times the
        change of an even spread over the parameters that is), num_runs.

    Raises:
        NotMeasuredError: when the table ``tensors`` is missing or tells no changes by layer.
    """
    table = study.whole("tensors")
    if missing := {"run", "layer", "module", "num_parameters"} - set(table.columns):
        raise NotMeasuredError(f"table tensors has no column {min(missing)}")
    rows = [
        {
            "measure": found.measure,
            "layer": layer,
            "module": module,
            "value": part.fraction,
            "low": part.lowest,
            "high": part.highest,
            "times": part.times,
            "num_runs": found.num_runs,
        }
        for found in weights_maps(table)
        for layer, parts in zip(found.layers, found.parts, strict=True)
        for module, part in zip(found.modules, parts, strict=True)
        if part is not None
    ]
    if not rows:
        raise NotMeasuredError("table tensors tells no changes by layer")
    return frame(
        rows,
        {"measure": pl.String, "layer": pl.String, "module": pl.String},
        VALUE,
        {"times": pl.Float64, "num_runs": pl.Int64},
    )


def _by_place(study: Study, place: str, kind: type[pl.DataType]) -> pl.DataFrame:
    table = study.whole("tensors")
    by_share = changed_by_share(table)
    restored = list(by_share.values())
    missing = {"run", "name", place, "num_parameters"} - set(table.columns)
    if missing:
        raise NotMeasuredError(f"table tensors has no column {min(missing)}")
    if not restored or table.is_empty():
        raise NotMeasuredError("table tensors counts no restored entries")
    if table.select("run", "name").is_duplicated().any():
        raise UserError(
            "table tensors: has two rows of the same run, name; the tables must come from one study"
        )
    sums = (
        table.with_columns(pl.col(place).cast(kind))
        .group_by("run", place)
        .agg(pl.col("num_parameters", *restored).sum())
        .with_columns(
            (pl.col(name) / pl.col(name).sum().over("run")).alias(name)
            for name in ("num_parameters", *restored)
        )
        .sort("run", place, nulls_last=True)
    )
    found: dict[tuple[int, int, float, object], dict[int, float]] = {}
    parameters: dict[tuple[int, int, object], float] = {}
    for row in sums.iter_rows(named=True):
        run = study.run(row["run"], "tensors")
        parameters[run.level, run.size, row[place]] = row["num_parameters"]
        for share, name in by_share.items():
            value = row[name]
            if value is not None and value == value:  # nothing restored, nothing to divide
                by_seed = found.setdefault((run.level, run.size, share, row[place]), {})
                by_seed[run.seed] = value
    if not found:
        raise NotMeasuredError("table tensors counts no restored entries")
    rows = [
        {
            "level": level,
            "size": size,
            "share": share,
            place: at,
            **over_training_sets([by_seed[seed] for seed in sorted(by_seed)]),
            "parameters": parameters[level, size, at],
        }
        for (level, size, share, at), by_seed in sorted(
            found.items(), key=lambda item: (*item[0][:3], item[0][3] is None, item[0][3] or 0)
        )
    ]
    return frame(
        rows,
        {"level": pl.Int64, "size": pl.Int64, "share": pl.Float64, place: kind},
        VALUE,
        {"parameters": pl.Float64, "num_training_sets": pl.Int64},
    )
