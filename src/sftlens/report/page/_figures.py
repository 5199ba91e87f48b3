"""The figures of what the base model knew, and of what fine-tuning changed."""

from __future__ import annotations

import html
from collections.abc import Sequence

import plotly.graph_objects as go

from sftlens.report._answers import Answers, Cell
from sftlens.report._findings import DOMAIN_NAMES
from sftlens.report._mastery import ExposurePoint, TopicLevels
from sftlens.report._shift import RANKINGS, Concentration, Divergence
from sftlens.report._wording import (
    clipped,
    number,
    percent,
    percent_interval,
    share_text,
    value_interval,
)
from sftlens.report.page._charts import (
    HOVER,
    Figure,
    Series,
    align,
    chart,
    dodged,
    line,
    runs_text,
    shares_axis,
    sizes_axis,
)
from sftlens.scoring import Estimate
from sftlens.style import LEVELS, method_mark


def exposure_figure(found: Sequence[ExposurePoint]) -> Figure:
    """Mean mastery by the true number of times that pre-training showed the fact."""
    series = Series(
        name="mastery",
        mark=LEVELS[2],
        x=list(range(len(found))),
        estimates=[point.mastery or Estimate(*[point.mean] * 3) for point in found],
        hover=[
            f"Shown {point.label} times: mastery "
            + (percent_interval(point.mastery) if point.mastery else percent(point.mean))
            + f"<br>{number(point.num_facts)} facts"
            for point in found
        ],
    )
    return chart(
        "exposure",
        "Mean mastery by true exposure",
        [line(series)],
        x={
            "title": "times shown in pre-training",
            "tickvals": list(range(len(found))),
            "ticktext": [point.label for point in found],
        },
        y={"title": "mastery R (%)", "rangemode": "tozero"},
    )


def topics_figure(found: Sequence[TopicLevels]) -> Figure:
    """How many facts of each topic have which level."""
    names = [html.escape(clipped(topic.topic, 40)) for topic in found]
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
            hovertemplate=HOVER,
        )
        for level in range(len(LEVELS))
    ]
    return chart(
        "topics",
        "Facts of each level, by topic",
        traces,
        x={"title": "facts"},
        y={
            "tickvals": list(range(len(found))),
            "ticktext": [
                f"{name} {html.escape(topic.domain)}"
                for name, topic in zip(names, found, strict=True)
            ],
            "autorange": "reversed",
            "showgrid": False,
        },
        height=90 + 24 * len(found),
        barmode="stack",
        bargap=0.25,
    )


def accuracy_figures(answers: Answers) -> list[Figure]:
    """Headline accuracy of the tuned models by training size, one figure a domain."""
    return align([_accuracy_figure(answers, domain) for domain in answers.domains], "y")


def _accuracy_figure(answers: Answers, domain: str) -> Figure:
    series = []
    for level in answers.levels_trained:
        cells = [Cell(level, size) for size in answers.sizes(level)]
        found = [(cell, answers.accuracy(cell, domain)) for cell in cells]
        known = [(cell, estimate) for cell, estimate in found if estimate is not None]
        series.append(
            Series(
                name=f"level {level}",
                mark=LEVELS[level],
                x=[dodged(answers.true_size[cell[:2]], level) for cell, _ in known],
                estimates=[estimate for _, estimate in known],
                hover=[
                    f"Trained on level {level}, {number(answers.true_size[cell[:2]])} facts"
                    f"<br>{percent_interval(estimate)}"
                    for cell, estimate in known
                ],
            )
        )
    return chart(
        f"accuracy-{domain}",
        DOMAIN_NAMES[domain].capitalize(),
        [line(one) for one in series],
        x=sizes_axis(answers),
        y={"title": "accuracy (%)"},
    )


def divergence_figure(answers: Answers, divergence: Divergence) -> Figure:
    """Mean KL by training size, one line a training level."""
    series = []
    for level in sorted({cell.level for cell in divergence.by_cell}):
        cells = sorted(cell for cell in divergence.by_cell if cell.level == level)
        series.append(
            Series(
                name=f"level {level}",
                mark=LEVELS[level],
                x=[dodged(answers.true_size[cell[:2]], level) for cell in cells],
                estimates=[divergence.by_cell[cell] for cell in cells],
                hover=[
                    f"Trained on level {level}, {number(answers.true_size[cell[:2]])} facts"
                    f"<br>KL {value_interval(divergence.by_cell[cell])} nats"
                    for cell in cells
                ],
                scale=1.0,
            )
        )
    return chart(
        "kl-size",
        "KL by training size",
        [line(one) for one in series],
        x=sizes_axis(answers),
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
                    f"{html.escape(clipped(point.run, 80))}<br>KL {number(point.kl, 3)} nats, "
                    f"accuracy {percent(point.accuracy)}<br>{number(point.num_facts)} facts"
                    for point in found
                ],
                hovertemplate=HOVER,
            )
        )
    return chart(
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
    for ranking in reversed(RANKINGS):
        known = [top for top in tops if (ranking, top) in concentration.held]
        held = [concentration.held[ranking, top] for top in known]
        series.append(
            Series(
                name=ranking,
                mark=method_mark(ranking),
                x=[tops.index(top) for top in known],
                estimates=[Estimate(part.mean, part.lowest, part.highest) for part in held],
                hover=[
                    f"{ranking.capitalize()}: top {share_text(top)} hold {percent(part.mean)}"
                    f"<br>runs: {runs_text(part)}"
                    for top, part in zip(known, held, strict=True)
                ],
            )
        )
    return chart(
        "concentration",
        "Part of the total change held by the most changed parameters",
        [line(one) for one in series],
        x=shares_axis(tops, "most changed parameters (%)"),
        y={"title": "change held (%)", "range": [0, 104]},
    )
