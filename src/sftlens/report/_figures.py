"""The page's figures, made with plotly; colours are the light page's, exchanged in a dark one.

Plotly reads a little HTML in its texts: whatever comes from data goes through ``html.escape``.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import plotly.graph_objects as go

from sftlens.report._answers import RELATIVE, Answers, Cell
from sftlens.report._effects import Effects
from sftlens.report._findings import DOMAIN_NAMES, method_name
from sftlens.report._lost import Exchange
from sftlens.report._mastery import ExposurePoint, TopicLevels
from sftlens.report._shift import RANKINGS, Concentration, Divergence, Held
from sftlens.report._style import GAINED, GRID, LEVELS, LOST, TEXT, Mark, method_mark
from sftlens.report._wording import (
    number,
    percent,
    percent_interval,
    points,
    share_text,
    signed,
    value_interval,
)
from sftlens.scoring import Estimate

_HOVER = "%{text}<extra></extra>"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One chart: where it stands on the page and plotly's description of it."""

    name: str
    title: str
    spec: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Series:
    """Points of one line with their intervals and hover texts."""

    name: str
    mark: Mark
    x: Sequence[float]
    estimates: Sequence[Estimate]
    hover: Sequence[str]
    scale: float = 100.0


def exposure_figure(found: Sequence[ExposurePoint]) -> Figure:
    """Mean mastery by the true number of times that pre-training showed the fact."""
    series = _Series(
        name="mastery",
        mark=LEVELS[2],
        x=list(range(len(found))),
        estimates=[_known(point.mastery, point.mean) for point in found],
        hover=[
            f"Shown {point.label} times: mastery {percent(point.mean)}"
            + (f" ({_range(point.mastery)})" if point.mastery else "")
            + f"<br>{number(point.num_facts)} facts"
            for point in found
        ],
    )
    return _chart(
        "exposure",
        "Mean mastery by true exposure",
        [_line(series)],
        x={
            "title": "times shown in pre-training",
            "tickvals": list(range(len(found))),
            "ticktext": [point.label for point in found],
        },
        y={"title": "mastery R (%)", "rangemode": "tozero"},
    )


def topics_figure(found: Sequence[TopicLevels]) -> Figure:
    """How many facts of each topic have which level."""
    names = [html.escape(f"{topic.topic}") for topic in found]
    traces = [
        go.Bar(
            orientation="h",
            y=list(range(len(found))),
            x=[topic.counts[level] for topic in found],
            marker={"color": LEVELS[level].light, "line": {"width": 0}},
            text=[
                f"{name} ({DOMAIN_NAMES.get(topic.domain, html.escape(topic.domain))}), "
                f"level {level}: {number(topic.counts[level])} of {number(sum(topic.counts))} facts"
                for name, topic in zip(names, found, strict=True)
            ],
            textposition="none",
            hovertemplate=_HOVER,
        )
        for level in range(len(LEVELS))
    ]
    return _chart(
        "topics",
        "Facts of each level, by topic",
        traces,
        x={"title": "facts"},
        y={
            "tickvals": list(range(len(found))),
            "ticktext": names,
            "autorange": "reversed",
            "showgrid": False,
        },
        height=90 + 24 * len(found),
        barmode="stack",
        bargap=0.25,
    )


def accuracy_figure(answers: Answers, domain: str) -> Figure:
    """Headline accuracy of the tuned models by training size, one line a training level."""
    series = []
    for level in answers.levels_trained:
        cells = [Cell(level, size) for size in answers.sizes(level)]
        found = [(cell, answers.accuracy(cell, domain)) for cell in cells]
        known = [(cell, estimate) for cell, estimate in found if estimate is not None]
        series.append(
            _Series(
                name=f"level {level}",
                mark=LEVELS[level],
                x=[_dodged(answers.true_size[cell[:2]], level) for cell, _ in known],
                estimates=[estimate for _, estimate in known],
                hover=[
                    f"Trained on level {level}, {number(answers.true_size[cell[:2]])} facts"
                    f"<br>{percent_interval(estimate)}"
                    for cell, estimate in known
                ],
            )
        )
    return _chart(
        f"accuracy-{domain}",
        DOMAIN_NAMES[domain].capitalize(),
        [_line(one) for one in series],
        x=_sizes_axis(answers),
        y={"title": "accuracy (%)"},
    )


def divergence_figure(answers: Answers, divergence: Divergence) -> Figure:
    """Mean KL by training size, one line a training level."""
    series = []
    for level in sorted({cell.level for cell in divergence.by_cell}):
        cells = sorted(cell for cell in divergence.by_cell if cell.level == level)
        series.append(
            _Series(
                name=f"level {level}",
                mark=LEVELS[level],
                x=[_dodged(answers.true_size[cell[:2]], level) for cell in cells],
                estimates=[divergence.by_cell[cell] for cell in cells],
                hover=[
                    f"Trained on level {level}, {number(answers.true_size[cell[:2]])} facts"
                    f"<br>KL {value_interval(divergence.by_cell[cell])} nats"
                    for cell in cells
                ],
                scale=1.0,
            )
        )
    return _chart(
        "kl-size",
        "KL by training size",
        [_line(one) for one in series],
        x=_sizes_axis(answers),
        y={"title": "KL (nats)", "rangemode": "tozero"},
    )


def scatter_figure(divergence: Divergence) -> Figure:
    """Each run's mean KL against its accuracy on the same facts of level 4."""
    traces = []
    for level in sorted({point.level for point in divergence.points}):
        found = [point for point in divergence.points if point.level == level]
        mark = LEVELS[level]
        traces.append(
            go.Scatter(
                mode="markers",
                x=[point.kl for point in found],
                y=[100 * point.accuracy for point in found],
                marker={"color": mark.light, "symbol": mark.symbol, "size": 8, "opacity": 0.85},
                text=[
                    f"{html.escape(point.run)}<br>KL {number(point.kl, 3)} nats, accuracy "
                    f"{percent(point.accuracy)}<br>{number(point.num_facts)} facts"
                    for point in found
                ],
                hovertemplate=_HOVER,
            )
        )
    return _chart(
        "kl-accuracy",
        "KL against accuracy, one point a run",
        traces,
        x={"title": "mean KL (nats)"},
        y={"title": "accuracy on level 4 (%)"},
    )


def concentration_figure(concentration: Concentration) -> Figure:
    """The part of the change that the top parameters hold, by ranking."""
    tops = sorted({top for _, top in concentration.held})
    series = []
    for ranking in RANKINGS:
        known = [top for top in tops if (ranking, top) in concentration.held]
        held = [concentration.held[ranking, top] for top in known]
        series.append(
            _Series(
                name=ranking,
                mark=method_mark(ranking),
                x=[tops.index(top) for top in known],
                estimates=[Estimate(part.mean, part.lowest, part.highest) for part in held],
                hover=[
                    f"{ranking.capitalize()}: top {share_text(top)} hold {percent(part.mean)}"
                    f"<br>runs: {_runs(part)}"
                    for top, part in zip(known, held, strict=True)
                ],
            )
        )
    return _chart(
        "concentration",
        "Part of the total change held by the most changed parameters",
        [_line(one) for one in series],
        x=_shares_axis(tops, "most changed parameters (%)"),
        y={"title": "change held (%)", "range": [0, 104]},
    )


def restoration_figure(answers: Answers, level: int, domain: str) -> Figure:
    """Accuracy by restored share after training on one level, for every method."""
    tuned = answers.largest(level)
    shares = sorted({s for method in answers.methods() for s in answers.shares(level, method)})
    ticks = [0.0, *shares]
    start = answers.accuracy(tuned, domain)
    series = []
    for place, method in enumerate(answers.methods()):
        cells = [Cell(*tuned[:2], method, share) for share in answers.shares(level, method)]
        found = [(0.0, start), *((c.share or 0.0, answers.accuracy(c, domain)) for c in cells)]
        known = [(share, estimate) for share, estimate in found if estimate is not None]
        name = html.escape(method_name(method))
        series.append(
            _Series(
                name=name,
                mark=method_mark(method),
                x=[
                    ticks.index(share) + (0.09 * (place - 1) if share else 0.0)
                    for share, _ in known
                ],
                estimates=[estimate for _, estimate in known],
                hover=[
                    (f"{name.capitalize()}, {share_text(share)}" if share else "Tuned model")
                    + f"<br>{percent_interval(estimate)}"
                    for share, estimate in known
                ],
            )
        )
    figure = _chart(
        f"restoration-{level}-{domain}",
        f"Level {level}, {DOMAIN_NAMES[domain]}",
        [_line(one) for one in reversed(series)],
        x=_shares_axis(ticks, "share restored (%)"),
        y={"title": "accuracy (%)", "rangemode": "tozero"},
    )
    if start is not None:
        figure.spec["layout"]["shapes"] = [_rule("h", 100 * start.value)]
    return figure


def gains_figure(effects: Effects, domain: str) -> Figure:
    """What each method gains over the tuned model at the chosen share, by training level."""
    levels = list(effects.restorations)
    methods = [RELATIVE, *effects.pooled_controls]
    traces = []
    for place, method in enumerate(methods):
        mark, name = method_mark(method), html.escape(method_name(method))
        xs, ys, low, high, hover = [], [], [], [], []
        for position, level in enumerate(levels):
            found = effects.restorations[level]
            effect = (
                found.chosen.effect[domain]
                if method == RELATIVE
                else found.controls_gain.get(method, {}).get(domain)
            )
            if effect is None:
                continue
            xs.append(100 * effect.value)
            ys.append(position + 0.2 * (place - (len(methods) - 1) / 2))
            low.append(100 * (effect.value - effect.low))
            high.append(100 * (effect.high - effect.value))
            hover.append(
                f"Level {level}, {share_text(found.chosen.cell.share or 0.0)}, {name}"
                f"<br>{points(effect)}"
            )
        bars = _bars(mark, low, high)
        traces.append(
            go.Scatter(
                mode="markers",
                x=xs,
                y=ys,
                error_x=bars,
                marker={"color": mark.light, "symbol": mark.symbol, "size": 8},
                text=hover,
                hovertemplate=_HOVER,
            )
        )
    figure = _chart(
        f"gains-{domain}",
        DOMAIN_NAMES[domain].capitalize(),
        traces,
        x={"title": "points over the tuned model"},
        y={
            "tickvals": list(range(len(levels))),
            "ticktext": [f"level {level}" for level in levels],
            "autorange": "reversed",
            "showgrid": False,
        },
        height=110 + 46 * len(levels),
    )
    figure.spec["layout"]["shapes"] = [_rule("v", 0.0)]
    return figure


def norm_figure(norms: dict[tuple[str, float], Held], methods: Sequence[str]) -> Figure:
    """The part of the update's squared norm that each method takes out, by share."""
    shares = sorted({share for _, share in norms})
    series = []
    for method in methods:
        known = [share for share in shares if (method, share) in norms]
        held = [norms[method, share] for share in known]
        name = html.escape(method_name(method))
        series.append(
            _Series(
                name=name,
                mark=method_mark(method),
                x=[shares.index(share) for share in known],
                estimates=[Estimate(part.mean, part.lowest, part.highest) for part in held],
                hover=[
                    f"{name.capitalize()}, {share_text(share)}: {percent(part.mean)} of the "
                    f"squared norm<br>runs: {_runs(part)}"
                    for share, part in zip(known, held, strict=True)
                ],
            )
        )
    return _chart(
        "norm",
        "Part of the update's squared norm that is taken out",
        [_line(one) for one in series],
        x=_shares_axis(shares, "share restored (%)"),
        y={"title": "squared norm removed (%)", "rangemode": "tozero"},
    )


def exchange_figure(found: Sequence[Exchange], domain: str) -> Figure:
    """Test answers lost and gained by the chosen restoration, by training level."""
    traces = []
    for word, mark, direction in (("gained", GAINED, 1), ("lost", LOST, -1)):
        counts = [getattr(exchange, f"num_{word}") for exchange in found]
        traces.append(
            go.Bar(
                orientation="h",
                y=list(range(len(found))),
                x=[
                    direction * 100 * count / exchange.num_answers
                    for count, exchange in zip(counts, found, strict=True)
                ],
                marker={"color": mark.light},
                text=[
                    f"Level {exchange.level}, {share_text(exchange.share)}: {number(count)} "
                    f"{word} of {number(exchange.num_answers)} answers "
                    f"({percent(count / exchange.num_answers)})"
                    for count, exchange in zip(counts, found, strict=True)
                ],
                textposition="none",
                hovertemplate=_HOVER,
            )
        )
    return _chart(
        f"exchange-{domain}",
        DOMAIN_NAMES[domain].capitalize(),
        traces,
        x={"title": "answers lost (left) and gained (right), %", "zeroline": True},
        y={
            "tickvals": list(range(len(found))),
            "ticktext": [f"level {exchange.level}" for exchange in found],
            "autorange": "reversed",
            "showgrid": False,
        },
        height=100 + 38 * len(found),
        barmode="relative",
        bargap=0.35,
    )


def _chart(
    name: str,
    title: str,
    traces: Sequence[Any],
    *,
    x: dict[str, Any],
    y: dict[str, Any],
    height: int = 320,
    **layout: Any,
) -> Figure:
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


def _line(series: _Series) -> Any:
    scale, estimates = series.scale, series.estimates
    return go.Scatter(
        mode="lines+markers",
        name=series.name,
        x=list(series.x),
        y=[scale * estimate.value for estimate in estimates],
        error_y=_bars(
            series.mark,
            [scale * (estimate.value - estimate.low) for estimate in estimates],
            [scale * (estimate.high - estimate.value) for estimate in estimates],
        ),
        line={"color": series.mark.light, "width": 2, "dash": series.mark.dash},
        marker={"color": series.mark.light, "symbol": series.mark.symbol, "size": 8},
        text=list(series.hover),
        hovertemplate=_HOVER,
    )


def _bars(mark: Mark, low: Sequence[float], high: Sequence[float]) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": list(high),
        "arrayminus": list(low),
        "color": mark.light,
        "thickness": 1.2,
        "width": 0,
    }


def _rule(direction: str, at: float) -> dict[str, Any]:
    """A thin line across the whole chart at one value."""
    along, across = ("x", "y") if direction == "h" else ("y", "x")
    return {
        "type": "line",
        f"{along}ref": "paper",
        f"{along}0": 0,
        f"{along}1": 1,
        f"{across}0": at,
        f"{across}1": at,
        "line": {"color": TEXT.light, "width": 1},
        "opacity": 0.5,
        "layer": "below",
    }


def _sizes_axis(answers: Answers) -> dict[str, Any]:
    sizes = sorted({size for level in answers.levels_trained for size in answers.sizes(level)})
    return {
        "title": "training facts (log scale)",
        "type": "log",
        "tickvals": sizes,
        "ticktext": [number(size) for size in sizes],
    }


def _shares_axis(shares: Sequence[float], title: str) -> dict[str, Any]:
    return {
        "title": f"{title}, evenly spaced",
        "tickvals": list(range(len(shares))),
        "ticktext": [f"{share:g}" for share in shares],
    }


def _dodged(size: float, level: int) -> float:
    """A size moved a little per level, so that the interval bars of levels stand side by side."""
    return size * (1 + 0.025 * (level - 2))


def _known(estimate: Estimate | None, value: float) -> Estimate:
    return estimate or Estimate(value, value, value)


def _range(estimate: Estimate) -> str:
    return f"{signed(100 * estimate.low).lstrip('+')} to {number(100 * estimate.high, 1)}"


def _runs(held: Held) -> str:
    return f"{percent(held.lowest)} to {percent(held.highest)}, {number(held.num_runs)} runs"
