"""The page of a repair: the front as a chart and a table, and the choice in words."""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sftlens.norms import is_same_norm
from sftlens.pages import inline, page_environment, script_json
from sftlens.repair._card import interval
from sftlens.repair._explain import points_interval
from sftlens.repair._tables import estimate
from sftlens.rounding import percent
from sftlens.style import GRID, PALETTE, TEXT

_HERE = Path(__file__).parent
_MARKS = {  # by role: colour, one of PALETTE; symbol; what it is
    "chosen": ("#b5265c", "star", "the choice"),
    "finalist": ("#2c6bb0", "diamond", "finalist"),
    "searched": ("#12897f", "circle", "found by the search"),
    "fixed": ("#c27c00", "triangle-up", "the paper’s 20 %"),
    "control": ("#7b838c", "square-open", "control"),
    "tuned": ("#2b3440", "cross", "tuned"),
    "base": ("#472a7a", "x", "base"),
}
_FRONT = "#7b838c"


def page(
    front: Sequence[Mapping[str, Any]],
    content: Mapping[str, Any],
    without_echoed: Sequence[Mapping[str, Any]] = (),
) -> str:
    """One self-contained HTML page, which loads nothing.

    Args:
        front: the rows of the test facts.
        content: ``why``, ``notes``, ``base``, ``tuned``, ``task``, ``dtype``, ``stored`` and
            ``command``.
        without_echoed: the rows of those facts whose answer does not stand in their question, in
            the same order; none where that makes no difference.
    """
    from plotly.offline import get_plotlyjs

    rows = [
        {
            "role": _MARKS[row["role"]][2],
            "candidate": row["candidate"],
            "groups": [f"{g['group']}: {_way(g)}" for g in row["groups"]],
            "strength": _strength(row),
            "norm_removed": _norm(row),
            "knowledge": interval(estimate(row, "knowledge")),
            "gain": points_interval(estimate(row, "gain")),
            "task": interval(estimate(row, "task")),
            "task_gain": points_interval(estimate(row, "task_gain")),
            "on_front": row["on_front"],
        }
        for row in front
    ]
    for shown, other in zip(rows, without_echoed):  # noqa: B905 (there are none, or as many)
        shown["other_knowledge"] = interval(estimate(other, "knowledge"))
        shown["other_gain"] = points_interval(estimate(other, "gain"))
    code = base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()
    text: str = (
        page_environment(_HERE)
        .get_template("page.html.j2")
        .render(
            style=inline(_HERE / "page.css"),
            rows=rows,
            num_facts=front[0]["num_facts"],
            num_others=without_echoed[0]["num_facts"] if without_echoed else None,
            figure=script_json({"figure": _figure(front), "dark": PALETTE}),
            plotly=code,
            **content,
        )
    )
    return text


def _strength(row: Mapping[str, Any]) -> str:
    share, alpha = row["share"], row["alpha"]
    words = [] if share is None else [f"{share:.6g} %"]
    return ", ".join(words + ([] if alpha is None else [f"α {alpha:.4g}"]))


def _norm(row: Mapping[str, Any]) -> str:
    removed, target = row["norm_removed"], row["norm_to_match"]
    if target is None or is_same_norm(removed, target):
        return percent(removed)
    return f"{percent(removed)}, not the {percent(target)} to match"


def _way(group: Mapping[str, Any]) -> str:
    strength = "" if group["share"] is None else f" {group['share']:g} %"
    return f"{group['method']}{strength}"


def _figure(front: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    import plotly.graph_objects as go

    measured = [row for row in front if row["task"] is not None]
    figure = go.Figure()
    edge = sorted((row["task"], row["knowledge"]) for row in measured if row["on_front"])
    figure.add_scatter(
        x=[100 * task for task, _ in edge],
        y=[100 * knowledge for _, knowledge in edge],
        mode="lines",
        line={"color": _FRONT, "width": 1, "dash": "dot"},
        name="front",
        hoverinfo="skip",
    )
    for role, (colour, symbol, name) in _MARKS.items():
        own = [row for row in measured if row["role"] == role]
        if not own:
            continue
        figure.add_scatter(
            x=[100 * row["task"] for row in own],
            y=[100 * row["knowledge"] for row in own],
            error_x=_bars(own, "task", colour),
            error_y=_bars(own, "knowledge", colour),
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 11 if role == "chosen" else 8},
            name=name,
            text=[html.escape(row["candidate"]) for row in own],
            hovertemplate="%{text}<br>task %{x:.1f} %, knowledge %{y:.1f} %<extra></extra>",
        )
    axis = {"gridcolor": GRID.light, "zeroline": False, "ticksuffix": " %"}
    figure.update_layout(
        template=None,
        font={"color": TEXT.light},
        height=460,
        margin={"l": 60, "r": 12, "t": 8, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        xaxis={"title": {"text": "task kept"}, **axis},
        yaxis={"title": {"text": "knowledge kept"}, **axis},
    )
    found: dict[str, Any] = json.loads(figure.to_json())
    return found


def _bars(rows: Sequence[Mapping[str, Any]], name: str, colour: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [100 * (row[f"{name}_high"] - row[name]) for row in rows],
        "arrayminus": [100 * (row[name] - row[f"{name}_low"]) for row in rows],
        "color": colour,
        "thickness": 1,
        "width": 0,
    }
