"""The four short answers of the first screen, each from this run's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from sftlens.report._answers import Answers, Cell, Row
from sftlens.report._effects import Effects
from sftlens.report._findings import DOMAIN_NAMES
from sftlens.report._judged import JudgedClaim
from sftlens.report._wording import listed, number, percent, percent_interval, points
from sftlens.report.page._advice import cell_text
from sftlens.scoring import Estimate

_KNOWN_WELL = 4
_NUM_CAUTIONS = 3
_DECISIONS = {
    "holds": ("holds", "hold"),
    "does not hold": ("does not hold", "do not hold"),
    "undecided": ("is undecided", "are undecided"),
}


@dataclass(frozen=True, kw_only=True)
class Brief:
    """One short answer, and the sections of the page that it stands on."""

    name: str
    title: str
    sentences: Sequence[str]
    evidence: Sequence[str]  # anchors


def briefs(
    answers: Answers,
    effects: Effects,
    base: Row | None,
    exchange: pl.DataFrame | None,
    claims: Sequence[JudgedClaim],
    *,
    done: str,
    advice: Sequence[str],
    cautions: Sequence[str],
) -> list[Brief]:
    """What was done, what happened to the knowledge, what to do, what to be careful about.

    Args:
        answers: of the tuned and the restored models.
        effects: the study's comparisons.
        base: the base model's answers; None where it was not asked.
        exchange: the paper's table of lost and gained facts, where it was made.
        claims: as the study judged them.
        done: the study in a sentence.
        advice: what to do.
        cautions: all of them, the weightiest first.
    """
    told = claims_text(claims)
    knowledge = [
        *_by_level(answers),
        *_well_known(answers),
        *_turned(answers, base, exchange),
        *([told] if told else []),
    ]
    rest = len(cautions) - _NUM_CAUTIONS
    return [
        Brief(name="done", title="What was done", sentences=[done], evidence=["mastery", "method"]),
        Brief(
            name="knowledge",
            title="What happened to the knowledge",
            sentences=knowledge,
            evidence=["accuracy", *(["facts"] if base is not None else []), "claims"],
        ),
        Brief(
            name="do",
            title="What to do",
            sentences=[
                *(advice or ["This study measured nothing to choose from."]),
                *_restoration_decided(effects, claims, answers.primary),
            ],
            evidence=["accuracy", *(["restoration"] if effects.restorations else [])],
        ),
        Brief(
            name="careful",
            title="What to be careful about",
            sentences=[
                *cautions[:_NUM_CAUTIONS],
                *([f"{number(rest)} more stand below."] if rest > 0 else []),
            ],
            evidence=["be-careful", "how-sure"],
        ),
    ]


def claims_text(claims: Sequence[JudgedClaim]) -> str | None:
    """How many of the paper's claims hold here; None where none was measured."""
    counts = {name: sum(claim.decision == name for claim in claims) for name in _DECISIONS}
    measured = sum(counts.values())
    if not measured:
        return None
    parts = [
        f"{number(count)} {_DECISIONS[name][count != 1]}" for name, count in counts.items() if count
    ]
    whole = f"the {number(measured)} claims" if measured > 1 else "the one claim"
    return f"Of {whole} of the paper that this study measured, {listed(parts)}."


def _by_level(answers: Answers) -> list[str]:
    """Where the largest training sets leave accuracy: the worst and the best level."""
    domain = answers.primary
    found = {
        level: estimate
        for level in answers.levels_trained
        if (estimate := answers.accuracy(answers.largest(level), domain)) is not None
    }
    if not found:
        return []
    best = max(found, key=lambda level: found[level].value)
    worst = min(found, key=lambda level: found[level].value)
    name = DOMAIN_NAMES[domain].capitalize()
    text = f"{name}, models tuned on {cell_text(answers, answers.largest(best))} answer "
    text += f"{percent_interval(found[best])} right"
    if best == worst:
        return [f"{text}."]
    text += f", those tuned on {cell_text(answers, answers.largest(worst))} "
    effect = answers.gain([(answers.largest(best), answers.largest(worst))], answers.test(domain))
    return [f"{text}{percent_interval(found[worst])}: a difference of {points(effect)}."]


def _well_known(answers: Answers) -> list[str]:
    """What is left of the facts that the base model knew well."""
    domain = answers.primary
    known = answers.test(domain) & (answers.levels == _KNOWN_WELL)
    found = {
        level: estimate
        for level in answers.levels_trained
        if (cell := answers.largest(level))
        and known.any()
        and (estimate := answers.accuracy(cell, domain, "test", _KNOWN_WELL)) is not None
    }
    if not found:
        return []
    worst = min(found, key=lambda level: found[level].value)
    best = max(found, key=lambda level: found[level].value)
    text = (
        f"Of the {number(int(known.sum()))} {DOMAIN_NAMES[domain]} test facts that the base model "
        f"knew well (level 4), {percent_interval(found[worst])} are left after training on level "
        f"{worst}"
    )
    if best == worst:
        return [f"{text}."]
    return [f"{text}, {percent_interval(found[best])} after level {best}."]


def _turned(answers: Answers, base: Row | None, exchange: pl.DataFrame | None) -> list[str]:
    """Facts lost and gained against the base, of the level that does best, at the largest size."""
    best = answers.best([answers.largest(level) for level in answers.levels_trained])
    if base is None or exchange is None or best is None:
        return []
    found = exchanged(exchange, answers.primary, best)
    if "lost" not in found or "gained" not in found:
        return []
    text = (
        f"Against the base model, asked with the same prompt, training on "
        f"{cell_text(answers, best)} turned {percent_interval(found['lost'])} of the "
        f"{DOMAIN_NAMES[answers.primary]} test facts from right to wrong and "
        f"{percent_interval(found['gained'])} from wrong to right"
    )
    return [f"{text}{_floor(found)}."]


def _floor(found: Mapping[str, Estimate]) -> str:
    if "floor_lost" not in found or "floor_gained" not in found:
        return ""
    twice = percent(found["floor_lost"].value + found["floor_gained"].value)
    return f"; asking one model twice turns {twice}"


def exchanged(exchange: pl.DataFrame, domain: str, cell: Cell) -> dict[str, Estimate]:
    """What fine-tuning turned in one domain, by quantity, for the models of a cell."""
    rows = exchange.filter(
        pl.col("compared") == "base to tuned",
        pl.col("domain") == domain,
        pl.col("level") == cell.level,
        pl.col("size") == cell.size,
    ).drop_nulls(["value", "low", "high"])
    return {
        quantity: Estimate(value, low, high)
        for quantity, value, low, high in rows.select(
            "quantity", "value", "low", "high"
        ).iter_rows()
    }


def _restoration_decided(
    effects: Effects, claims: Sequence[JudgedClaim], primary: str
) -> list[str]:
    """The claim on restoration, beside advice that rests on uncorrected intervals."""
    decision = next((c.decision for c in claims if c.name == f"restoration-{primary}"), None)
    if not effects.restorations or decision not in _DECISIONS:
        return []
    return [
        "The paper’s claim that restoration helps, over all levels and after correction for all "
        f"claims: {decision}."
    ]
