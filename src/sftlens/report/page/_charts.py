"""The parts that every figure is made of; colours are the light page's, exchanged in a dark one.

Plotly reads a little HTML in its texts: whatever comes from data goes through ``html.escape``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import plotly.graph_objects as go

from sftlens.report._answers import Answers
from sftlens.report._shift import Held
from sftlens.report._wording import number, percent
from sftlens.scoring import Estimate
from sftlens.style import GRID, TEXT, Mark

HOVER = "%{text}<extra></extra>"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One chart: where it stands on the page and plotly's description of it."""

    name: str
    title: str
    spec: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points of one line with their intervals and hover texts; estimates are fractions."""

    name: str
    mark: Mark
    x: Sequence[float]
    estimates: Sequence[Estimate]
    hover: Sequence[str]
    scale: float = 100.0


def chart(
    name: str,
    title: str,
    traces: Sequence[Any],
    *,
    x: dict[str, Any],
    y: dict[str, Any],
    height: int = 320,
    **layout: Any,
) -> Figure:
    """A figure in the page's manner; ``x`` and ``y`` are plotly axes with a plain title."""

    def axis(given: dict[str, Any]) -> dict[str, Any]:
        return {
            "gridcolor": GRID.light,
            "linecolor": GRID.light,
            "zeroline": False,
            "zerolinecolor": TEXT.light,
            "automargin": True,
            "fixedrange": True,
            "ticks": "",
            **given,
            "title": {"text": given.get("title", ""), "standoff": 10, "font": {"size": 12}},
        }

    figure = go.Figure(
        data=traces,
        layout={
            "template": {},
            "height": height,
            "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"size": 12, "color": TEXT.light},
            "showlegend": False,
            "dragmode": False,
            "hovermode": "closest",
            "hoverlabel": {"align": "left", "font": {"size": 12.5}},
            "xaxis": axis(x),
            "yaxis": axis(y),
            **layout,
        },
    )
    return Figure(name=name, title=title, spec=cast("dict[str, Any]", json.loads(figure.to_json())))


def line(series: Series) -> Any:
    """One line with its markers and upright interval bars."""
    scale, estimates = series.scale, series.estimates
    return go.Scatter(
        mode="lines+markers",
        name=series.name,
        x=list(series.x),
        y=[scale * estimate.value for estimate in estimates],
        error_y=bars(
            series.mark,
            [scale * (estimate.value - estimate.low) for estimate in estimates],
            [scale * (estimate.high - estimate.value) for estimate in estimates],
        ),
        line={"color": series.mark.light, "width": 2, "dash": series.mark.dash},
        marker={"color": series.mark.light, "symbol": series.mark.symbol, "size": 8},
        text=list(series.hover),
        hovertemplate=HOVER,
    )


def bars(mark: Mark, low: Sequence[float], high: Sequence[float]) -> dict[str, Any]:
    """Interval bars, as lengths below and above the point."""
    return {
        "type": "data",
        "symmetric": False,
        "array": list(high),
        "arrayminus": list(low),
        "color": mark.light,
        "thickness": 1.2,
        "width": 0,
    }


def rule(at: float) -> dict[str, Any]:
    """A thin line across the whole chart at one height."""
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": at,
        "y1": at,
        "line": {"color": TEXT.light, "width": 1},
        "opacity": 0.6,
        "layer": "below",
    }


def align(figures: Sequence[Figure], axis: str, *, to_zero: bool = False) -> list[Figure]:
    """Give charts that stand side by side the same range on ``axis`` ("x" or "y")."""
    low, high = (0.0, 0.0) if to_zero else (float("inf"), float("-inf"))
    for figure in figures:
        for trace in figure.spec["data"]:
            error = trace.get(f"error_{axis}") or {}
            none = [0.0] * len(trace[axis])
            below, above = error.get("arrayminus", none), error.get("array", none)
            low = min([low, *(v - e for v, e in zip(trace[axis], below, strict=True))])
            high = max([high, *(v + e for v, e in zip(trace[axis], above, strict=True))])
    if low < high:
        room = 0.05 * (high - low)
        ends = [low - room * (low < 0 or not to_zero), high + room * (high > 0 or not to_zero)]
        for figure in figures:
            figure.spec["layout"][f"{axis}axis"]["range"] = ends
    return list(figures)


def sizes_axis(answers: Answers) -> dict[str, Any]:
    """A logarithmic axis of training sizes."""
    sizes = sorted({size for level in answers.levels_trained for size in answers.sizes(level)})
    return {
        "title": "training facts (log scale)",
        "type": "log",
        "tickvals": sizes,
        "ticktext": [number(size) for size in sizes],
    }


def shares_axis(shares: Sequence[float], title: str) -> dict[str, Any]:
    """An axis with one place for each share (percent)."""
    return {
        "title": f"{title}, evenly spaced",
        "tickvals": list(range(len(shares))),
        "ticktext": [f"{share:g}" for share in shares],
    }


def dodged(size: float, level: int) -> float:
    """A size moved a little per level, so that the interval bars of levels stand side by side."""
    return size * (1 + 0.035 * (level - 2))


def runs_text(held: Held) -> str:
    """The range over runs and their number."""
    return f"{percent(held.lowest)} to {percent(held.highest)}, {number(held.num_runs)} runs"
