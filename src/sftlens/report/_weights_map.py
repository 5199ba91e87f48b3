"""Where in the model the weights moved: layer by module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

MEASURES = ("absolute", "relative")

_TOP = "num_top_"
_RESTORED = "num_restored_"  # what earlier versions wrote alone


def changed_by_share(tensors: pl.DataFrame) -> dict[float, str]:
    """The columns that say how many changed entries a share restores of each tensor, by share.

    They end at what changed, and spread ties at the cut evenly. Tables of earlier versions count
    whatever a share restores: where that is more than changed in a run, unchanged entries fill it
    up in the order of the tensors' names, which says nothing, and the share is left out.
    """
    for prefix in (_TOP, _RESTORED):
        found = {}
        for column in tensors.columns:
            try:
                found[float(column.removeprefix(prefix))] = column
            except ValueError:
                continue
        if prefix == _RESTORED and {"run", "num_changed"} <= set(tensors.columns):
            sums = tensors.group_by("run").agg(pl.col("num_changed", *found.values()).sum())
            found = {
                share: column
                for share, column in found.items()
                if (sums[column] <= sums["num_changed"]).all()
            }
        if found:
            return found
    return {}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One module of one layer; ``fraction`` of the region's summed change, mean and range over
    runs, and how many times the change of an even spread over the parameters that is.
    """

    fraction: float
    lowest: float
    highest: float
    times: float


@dataclass(frozen=True, kw_only=True)
class WeightsMap:
    """One measure of change over layers (rows) and modules (columns); the last ones are sums."""

    measure: str
    layers: Sequence[str]
    modules: Sequence[str]
    parts: Sequence[Sequence[Part | None]]
    num_runs: int


def weights_maps(tensors: pl.DataFrame | None) -> list[WeightsMap]:
    """A map for each measure of change that was measured.

    Args:
        tensors: the table of a study: run, layer, module, num_parameters, and the summed changes.
            Tensors outside any layer are left out.
    """
    if tensors is None:
        return []
    placed = tensors.drop_nulls("layer")
    found = []
    for measure in MEASURES:
        if f"sum_{measure}" not in placed.columns:
            continue
        rows = placed.drop_nulls(f"sum_{measure}").select(
            "run", "layer", "module", "num_parameters", change=f"sum_{measure}"
        )
        if not rows.is_empty() and (made := _map(measure, rows)) is not None:
            found.append(made)
    return found


def _map(measure: str, rows: pl.DataFrame) -> WeightsMap | None:
    layers, modules = rows["layer"].unique().sort().to_list(), _ordered(rows["module"])
    runs = rows["run"].unique().sort().to_list()
    shape = (len(runs), len(layers) + 1, len(modules) + 1)
    change, size = np.zeros(shape), np.zeros(shape)
    at_run = {run: place for place, run in enumerate(runs)}
    at_layer = {layer: place for place, layer in enumerate(layers)}
    at_module = {module: place for place, module in enumerate(modules)}
    for run, layer, module, num_parameters, moved in rows.iter_rows():
        for row in (at_layer[layer], -1):
            for column in (at_module[module], -1):
                change[at_run[run], row, column] += moved
                size[at_run[run], row, column] += num_parameters
    moved_runs = change[:, -1, -1] > 0
    if not moved_runs.any():
        return None
    change, size = change[moved_runs], size[moved_runs]
    fractions = change / change[:, -1:, -1:]
    even = size / size[:, -1:, -1:]
    return WeightsMap(
        measure=measure,
        layers=[*(str(layer) for layer in layers), "all layers"],
        modules=[*modules, "all modules"],
        parts=[
            [
                _part(fractions[:, row, column], even[:, row, column])
                for column in range(len(modules) + 1)
            ]
            for row in range(len(layers) + 1)
        ],
        num_runs=len(fractions),
    )


def _part(fractions: np.ndarray, even: np.ndarray) -> Part | None:
    if not even.all():
        return None
    return Part(
        fraction=float(fractions.mean()),
        lowest=float(fractions.min()),
        highest=float(fractions.max()),
        times=float((fractions / even).mean()),
    )


def _ordered(modules: pl.Series) -> list[str]:
    """Attention before the MLP, as the data flows, then by name."""
    return sorted(modules.unique().to_list(), key=lambda name: ("attn" not in name, name))
