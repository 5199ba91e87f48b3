"""The tables behind the figures, as text: one table for each figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sftlens.report._answers import RELATIVE, Answers, Cell
from sftlens.report._effects import Effects
from sftlens.report._findings import DOMAIN_NAMES, method_name
from sftlens.report._lost import Example, Exchange
from sftlens.report._mastery import ExposureEffect, TopicLevels
from sftlens.report._shift import BASES, RANKINGS, WITHOUT, Concentration, Divergence, Held
from sftlens.report._tables import Tables
from sftlens.report._wording import (
    NOT_MEASURED,
    bare_points,
    number,
    percent,
    percent_interval,
    share_text,
    value_interval,
)
from sftlens.scoring import NUM_LEVELS, Estimate


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A table to read: columns from ``first_number`` on are numbers."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    first_number: int = 1


@dataclass(frozen=True, kw_only=True)
class HeatRow:
    """Accuracies after training on one level: of each test level, and their mean."""

    level: int
    all: Sequence[Estimate | None]  # one for each test level, then their mean


def exposure_listing(found: ExposureEffect) -> Listing:
    """Mean mastery by true exposure."""
    return Listing(
        name="exposure",
        title="Mean mastery by true exposure",
        columns=("times shown", "mean mastery R (95 % interval)", "facts"),
        rows=[
            (
                point.label,
                percent_interval(point.mastery) if point.mastery else percent(point.mean),
                number(point.num_facts),
            )
            for point in found.points
        ],
    )


def topics_listing(found: Sequence[TopicLevels]) -> Listing:
    """Facts of each level by topic, with totals."""
    totals = [sum(topic.counts[level] for topic in found) for level in range(NUM_LEVELS)]
    rows = [
        (
            topic.topic,
            DOMAIN_NAMES.get(topic.domain, topic.domain),
            *(number(count) for count in topic.counts),
            percent(topic.mean_mastery),
        )
        for topic in found
    ]
    return Listing(
        name="topics",
        title="Facts of each level, by topic",
        columns=("topic", "domain", *(f"level {i}" for i in range(NUM_LEVELS)), "mean R"),
        rows=[*rows, ("all", "", *(number(total) for total in totals), "")],
        first_number=2,
    )


def accuracy_listing(answers: Answers) -> Listing:
    """Headline accuracy of every tuned cell."""
    cells = [Cell(level, s) for level in answers.levels_trained for s in answers.sizes(level)]
    return Listing(
        name="accuracy",
        title="Accuracy by training level and size: mean of the test levels (95 % interval)",
        columns=("level", "size", "facts", "seeds", *(DOMAIN_NAMES[d] for d in answers.domains)),
        rows=[
            (
                str(cell.level),
                number(cell.size),
                number(answers.true_size[cell[:2]]),
                str(len(answers.rows[cell])),
                *(percent_interval(answers.accuracy(cell, d)) for d in answers.domains),
            )
            for cell in cells
        ],
    )


def heat_rows(answers: Answers, domain: str) -> list[HeatRow]:
    """Accuracy by training level and test level at the largest size (paper Table 2)."""
    return [
        HeatRow(
            level=level,
            all=[
                answers.accuracy(answers.largest(level), domain, "test", test)
                for test in (*range(NUM_LEVELS), None)
            ],
        )
        for level in answers.levels_trained
    ]


def divergence_listing(answers: Answers, divergence: Divergence) -> Listing:
    """Mean KL of every tuned cell."""
    return Listing(
        name="kl-size",
        title="KL of tuned from base on facts of level 4, nats (95 % interval)",
        columns=("level", "size", "facts", "KL"),
        rows=[
            (
                str(cell.level),
                number(cell.size),
                number(answers.true_size[cell[:2]]),
                value_interval(divergence.by_cell[cell]),
            )
            for cell in sorted(divergence.by_cell)
        ],
    )


def runs_listing(divergence: Divergence) -> Listing:
    """The points of the scatter."""
    return Listing(
        name="kl-accuracy",
        title="KL and accuracy of each run, on the same facts of level 4",
        columns=("run", "KL (nats)", "accuracy", "facts"),
        rows=[
            (point.run, number(point.kl, 3), percent(point.accuracy), number(point.num_facts))
            for point in divergence.points
        ],
    )


def concentration_listing(concentration: Concentration) -> Listing:
    """The change held by the top parameters, by ranking: mean and range over runs.

    Where it was counted, beside it what is held without small bases, and how many of the top's
    entries have such a base.
    """
    counted = bool(concentration.bases)
    rankings = (*RANKINGS, *WITHOUT) if counted else RANKINGS
    bases = tuple(BASES.values()) if counted else ()
    title = "Part of the total change held by the top parameters (range over runs)"
    if counted:
        title += ", and part of the top's changed entries whose base is 0 or below 1e-4"
    return Listing(
        name="concentration",
        title=title,
        columns=("top", *rankings, *bases),
        rows=[
            (
                share_text(top),
                *(_held(concentration.held.get((ranking, top))) for ranking in rankings),
                *(_held(concentration.bases.get((base, top))) for base in bases),
            )
            for top in sorted({top for _, top in concentration.held})
        ],
    )


def restoration_listing(answers: Answers, level: int) -> Listing:
    """Accuracy by method and share after training on one level."""
    tuned = answers.largest(level)
    cells = [tuned] + [
        Cell(*tuned[:2], method, share)
        for method in answers.methods()
        for share in answers.shares(level, method)
    ]
    return Listing(
        name=f"restoration-{level}",
        title=f"Trained on level {level}: accuracy on all test facts (95 % interval)",
        columns=("method", "share", *(DOMAIN_NAMES[d] for d in answers.domains)),
        rows=[
            (
                "tuned model" if cell.share is None else method_name(cell.method),
                "none" if cell.share is None else share_text(cell.share),
                *(percent_interval(answers.accuracy(cell, d)) for d in answers.domains),
            )
            for cell in cells
        ],
    )


def gains_listing(answers: Answers, effects: Effects) -> Listing:
    """Gains over the tuned model, and the paired differences from the controls."""
    rows = []
    for level, found in effects.restorations.items():
        for domain in answers.domains:
            rows.append(
                (
                    str(level),
                    DOMAIN_NAMES[domain],
                    share_text(found.chosen.cell.share or 0.0),
                    bare_points(found.chosen.effect[domain]),
                    *(
                        bare_points(part.get(name, {}).get(domain))
                        for name in effects.pooled_controls
                        for part in (found.controls, found.over_best)
                    ),
                )
            )
    names = [method_name(name) for name in effects.pooled_controls]
    return Listing(
        name="gains",
        title="Restoration by relative change at the chosen share; points, on facts no choice saw",
        columns=(
            "level",
            "domain",
            "share",
            "over tuned",
            *(f"over {name}, {how}" for name in names for how in ("same share", "its best")),
        ),
        rows=rows,
        first_number=2,
    )


def norm_listing(norms: Mapping[tuple[str, float], Held], methods: Sequence[str]) -> Listing:
    """The squared norm taken out, by method and share."""
    return Listing(
        name="norm",
        title="Part of the update's squared norm taken out (range over runs)",
        columns=("share", *(method_name(method) for method in methods)),
        rows=[
            (share_text(share), *(_held(norms.get((method, share))) for method in methods))
            for share in sorted({share for _, share in norms})
        ],
    )


def exchange_listing(found: Mapping[str, Sequence[Exchange]]) -> Listing:
    """Lost and gained answers, and facts, by training level."""
    return Listing(
        name="exchange",
        title="Answers lost and gained against the tuned model, on facts no choice saw",
        columns=("level", "domain", "share", "answers", "gained", "lost", "facts +", "facts −"),
        rows=[
            (
                str(exchange.level),
                DOMAIN_NAMES[domain],
                share_text(exchange.share),
                number(exchange.num_answers),
                number(exchange.num_gained),
                number(exchange.num_lost),
                number(exchange.num_facts_gained),
                number(exchange.num_facts_lost),
            )
            for domain, exchanges in found.items()
            for exchange in exchanges
        ],
        first_number=2,
    )


def examples_listing(found: Sequence[Example]) -> Listing:
    """Facts that changed hands, with question and accepted answers."""
    return Listing(
        name="examples",
        title="Examples of facts gained and lost",
        columns=("change", "question", "answers", "topic", "fact's level", "trained on", "seeds"),
        rows=[
            (
                "gained" if example.gained else "lost",
                example.question,
                "; ".join(example.answers),
                example.topic,
                str(example.mastery_level),
                f"level {example.level}",
                f"{example.num_changed} of {example.num_seeds}",
            )
            for example in found
        ],
        first_number=4,
    )


def settings_listings(tables: Tables) -> list[Listing]:
    """Settings, totals and package versions as the manifest has them."""
    return [
        Listing(
            name=name,
            title=title,
            columns=("name", "value"),
            rows=[(str(key), _shown(value)) for key, value in content.items()],
            first_number=2,
        )
        for name, title, content in (
            ("settings", "Settings", tables.settings),
            ("totals", "Totals", tables.result),
            ("versions", "Versions", tables.versions),
        )
        if content
    ]


def measured_methods(answers: Answers, norms: Mapping[tuple[str, float], Held]) -> list[str]:
    """The methods with a measured norm, in the order of the page."""
    named = {method for method, _ in norms}
    known = [method for method in answers.methods() or [RELATIVE] if method in named]
    return known + sorted(named - set(known))


def _held(held: Held | None) -> str:
    if held is None:
        return NOT_MEASURED
    return f"{percent(held.mean)} ({percent(held.lowest)} to {percent(held.highest)})"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_shown(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_shown(part) for part in value)
    return str(value)
