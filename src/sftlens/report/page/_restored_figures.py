"""The figures of restoration: gains, accuracy by share, norm removed, facts lost and gained."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from sftlens.report._answers import CONTROLLED, RELATIVE, Answers, Cell
from sftlens.report._effects import Effects
from sftlens.report._findings import DOMAIN_NAMES, method_name
from sftlens.report._lost import Exchange
from sftlens.report._shift import Held
from sftlens.report._wording import number, percent, percent_interval, points, share_text
from sftlens.report.page._charts import (
    HOVER,
    Figure,
    Series,
    align,
    bars,
    chart,
    line,
    rule,
    runs_text,
    shares_axis,
)
from sftlens.scoring import Estimate
from sftlens.style import GAINED, LOST, method_mark

_STEPS = (0.5, 1, 2, 5, 10, 20, 50)  # between ticks


def shown_methods(methods: Sequence[str]) -> list[str]:
    """The methods that figures show, since more would hide each other."""
    return [method for method in methods if method in CONTROLLED] or list(methods)


def restoration_figures(answers: Answers, levels: Sequence[int]) -> list[Figure]:
    """Accuracy by restored share for every method, one figure a training level and domain."""
    figures = [
        _restoration_figure(answers, lv, domain) for lv in levels for domain in answers.domains
    ]
    return align(figures, "y", to_zero=True)


def _restoration_figure(answers: Answers, level: int, domain: str) -> Figure:
    tuned = answers.largest(level)
    methods = shown_methods(answers.methods())
    shares = sorted({s for method in methods for s in answers.shares(level, method)})
    ticks = [0.0, *shares]
    start = answers.accuracy(tuned, domain)
    series = []
    for place, method in enumerate(methods):
        cells = [Cell(*tuned[:2], method, share) for share in answers.shares(level, method)]
        found = [(0.0, start), *((c.share or 0.0, answers.accuracy(c, domain)) for c in cells)]
        known = [(share, estimate) for share, estimate in found if estimate is not None]
        name = html.escape(method_name(method))
        series.append(
            Series(
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
    figure = chart(
        f"restoration-{level}-{domain}",
        f"Level {level}, {DOMAIN_NAMES[domain]}",
        [line(one) for one in reversed(series)],
        x=shares_axis(ticks, "share restored (%)"),
        y={"title": "accuracy (%)"},
    )
    if start is not None:
        figure.spec["layout"]["shapes"] = [rule(100 * start.value)]
    return figure


def gains_figures(effects: Effects, domains: Sequence[str]) -> list[Figure]:
    """What each method gains over the tuned model at the chosen share, one figure a domain."""
    return align([_gains_figure(effects, domain) for domain in domains], "x", to_zero=True)


def _gains_figure(effects: Effects, domain: str) -> Figure:
    levels = list(effects.restorations)
    methods = shown_methods([RELATIVE, *effects.pooled_controls])
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
        traces.append(
            go.Scatter(
                mode="markers",
                x=xs,
                y=ys,
                error_x=bars(mark, low, high),
                marker={"color": mark.light, "symbol": mark.symbol, "size": 8},
                text=hover,
                hovertemplate=HOVER,
            )
        )
    return chart(
        f"gains-{domain}",
        DOMAIN_NAMES[domain].capitalize(),
        traces,
        x={"title": "points over the tuned model", "zeroline": True},
        y={
            "tickvals": list(range(len(levels))),
            "ticktext": [f"level {level}" for level in levels],
            "autorange": "reversed",
            "showgrid": False,
        },
        height=110 + 46 * len(levels),
    )


def norm_figure(norms: dict[tuple[str, float], Held], methods: Sequence[str]) -> Figure:
    """The part of the update's squared norm that each method takes out, by share."""
    methods = shown_methods(methods)
    shares = sorted({share for method, share in norms if method in methods})
    series = []
    for method in methods:
        known = [share for share in shares if (method, share) in norms]
        held = [norms[method, share] for share in known]
        name = html.escape(method_name(method))
        series.append(
            Series(
                name=name,
                mark=method_mark(method),
                x=[shares.index(share) for share in known],
                estimates=[Estimate(part.mean, part.lowest, part.highest) for part in held],
                hover=[
                    f"{name.capitalize()}, {share_text(share)}: {percent(part.mean)} of the "
                    f"squared norm<br>runs: {runs_text(part)}"
                    for share, part in zip(known, held, strict=True)
                ],
            )
        )
    return chart(
        "norm",
        "Part of the update's squared norm that is taken out",
        [line(one) for one in series],
        x=shares_axis(shares, "share restored (%)"),
        y={"title": "squared norm removed (%)", "rangemode": "tozero"},
    )


def exchange_figures(found: Mapping[str, Sequence[Exchange]]) -> list[Figure]:
    """Test answers lost and gained by the chosen restoration, one figure a domain."""
    figures = [_exchange_figure(part, domain) for domain, part in found.items() if part]
    for figure in align(figures, "x", to_zero=True):
        axis = figure.spec["layout"]["xaxis"]
        if "range" in axis:
            low, high = axis["range"]
            step = next(size for size in _STEPS if (high - low) / size <= 8 or size == _STEPS[-1])
            ticks = range(int(low / step), int(high / step) + 1)
            axis["tickvals"] = [step * tick for tick in ticks]
            axis["ticktext"] = [f"{abs(step * tick):g}" for tick in ticks]
    return figures


def _exchange_figure(found: Sequence[Exchange], domain: str) -> Figure:
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
                hovertemplate=HOVER,
            )
        )
    return chart(
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
