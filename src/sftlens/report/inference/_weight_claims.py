"""Where the weights moved (paper section 6, parameter finding 1, Tables 3, 9 and 10)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from sftlens.report._findings import NULL_MARGIN
from sftlens.report._statistics import mean_with_interval
from sftlens.report._weights_map import changed_by_share
from sftlens.report.inference._claim import Claim, OverRuns
from sftlens.report.inference._evidence import Evidence, NotMeasuredError

TOP = 5.0  # percent
HELD = 0.7
_LAYER_SHARE = 20.0  # percent


def weight_claims() -> list[Claim]:
    """Concentration, beyond its null, and by depth."""
    return [
        Claim(
            name="concentration",
            source="parameter finding 1",
            sentence="The top 5 % of relative change hold over 70 % of its sum.",
            paper="82.4 %",
            unit="fraction",
            threshold=HELD,
            measure=_concentration,
        ),
        Claim(
            name="concentration-over-null",
            source="parameter finding 1",
            sentence="That is more than the same changes hold when shuffled over the weights.",
            paper="no null given",
            unit="fraction",
            threshold=NULL_MARGIN,
            measure=_over_null,
        ),
        Claim(
            name="early-layers",
            source="parameter finding 1, Table 9",
            sentence="The earlier a layer, the more of the restored entries lie in it.",
            paper="3.77 % in layer 0 falling to 2.84 % in layer 31: -0.3 of the mean over depth",
            unit="slope",
            claimed="below",
            measure=_early_layers,
        ),
    ]


def over_runs(values: NDArray[np.float64], threshold: float, text: str) -> OverRuns:
    """The mean over runs with Student's interval and two-sided p value."""
    found = mean_with_interval(values)
    if found is None:
        reason = "one run: nothing tells how much runs differ"
        return OverRuns(
            value=float(values[0]), low=None, high=None, p=None,
            covers="nothing", text=text, reason=reason,
        )  # fmt: skip
    if np.ptp(values) == 0:
        p = 1.0 if found.value == threshold else 0.0
    else:
        p = float(stats.ttest_1samp(values, threshold).pvalue)
    return OverRuns(
        value=found.value, low=found.low, high=found.high, p=p, covers="runs", text=text
    )


def held_by_run(evidence: Evidence) -> pl.DataFrame:
    """What the top 5 % hold: one row a run, one column a ranking."""
    rows = evidence.of_known_runs("concentration").filter(pl.col("top") == TOP)
    rows = rows.drop_nulls("held").filter(pl.col("held").is_finite())
    if rows.is_empty():
        raise NotMeasuredError(f"the concentration of the top {TOP:g} % was not measured")
    return rows.pivot("ranking", index="run", values="held").sort("run")


def _concentration(evidence: Evidence) -> OverRuns:
    held = held_by_run(evidence)
    if "relative" not in held.columns:
        raise NotMeasuredError("concentration by relative change was not measured")
    values = held["relative"].drop_nulls().to_numpy()
    found = over_runs(values, HELD, f"mean of {len(values)} runs")
    if found.low is None or found.high is None:
        return found
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))


def _over_null(evidence: Evidence) -> OverRuns:
    held = held_by_run(evidence)
    if not {"relative", "null"} <= set(held.columns):
        raise NotMeasuredError("concentration was not measured beside its null")
    pairs = held.drop_nulls(["relative", "null"])
    if pairs.is_empty():
        raise NotMeasuredError("no run has both a concentration and its null")
    values = (pairs["relative"] - pairs["null"]).to_numpy()
    return over_runs(values, NULL_MARGIN, f"relative minus shuffled, mean of {len(values)} runs")


def _early_layers(evidence: Evidence) -> OverRuns:
    table = evidence.of_known_runs("tensors")
    shares = changed_by_share(table)
    if not shares:
        raise NotMeasuredError("table tensors has no column of restored entries")
    share = min(shares, key=lambda one: (abs(one - _LAYER_SHARE), one))
    slopes = layer_slopes(table, shares[share])
    if not len(slopes):
        raise NotMeasuredError("no run has restored entries in two layers or more")
    text = f"restored at {share:g} %, change from first to last layer over the mean"
    return over_runs(slopes, 0.0, text)


def layer_slopes(tensors: pl.DataFrame, column: str) -> NDArray[np.float64]:
    """By run, how the density of restored entries changes over depth, (num_runs,).

    The density of a layer is its part of the restored entries divided by its part of the
    parameters; the slope is that of least squares over depth from 0 (first) to 1 (last layer).
    """
    by_layer = (
        tensors.drop_nulls(["layer", column])
        .group_by("run", "layer")
        .agg(pl.col("num_parameters").sum(), pl.col(column).sum().alias("restored"))
        .filter(pl.col("num_parameters") > 0)
        .sort("run", "layer")
    )
    slopes = []
    for _, group in by_layer.group_by("run", maintain_order=True):
        restored = group["restored"].to_numpy().astype(np.float64)
        parameters = group["num_parameters"].to_numpy().astype(np.float64)
        if len(group) < 2 or restored.sum() == 0:
            continue
        density = (restored / restored.sum()) / (parameters / parameters.sum())
        layer = group["layer"].to_numpy().astype(np.float64)
        slopes.append(float(stats.linregress(layer / layer.max(), density).slope))
    return np.array(slopes)
