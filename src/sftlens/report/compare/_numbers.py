"""The numbers of several runs in one table, with paired differences from the first run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sftlens.report._answers import TUNED, Answers, Cell, Row
from sftlens.report.compare._sources import Shared, Source
from sftlens.report.inference import Contrast
from sftlens.report.inference._evidence import NotMeasuredError
from sftlens.report.paper._intervals import accuracy_of, infer_all, intervals, paired
from sftlens.report.paper._restoration import Removal, removals
from sftlens.report.paper._shift import KL, well_known_and_kl
from sftlens.report.paper._study import test_mask
from sftlens.report.paper._training import MEAN, tuned_cells
from sftlens.scoring import NUM_LEVELS

ACCURACY, FACTS, CONCENTRATION = "accuracy", "test facts", "concentration"
RESTORED, GAIN, REMOVED = "restored accuracy", "restoration gain", "norm removed"
BY_LEVEL, BY_FACT = "levels", "facts"

NUMBERS_SCHEMA = pl.Schema(
    {
        "run": pl.String(),
        "quantity": pl.String(),
        "unit": pl.String(),
        "domain": pl.String(),
        "level": pl.Int64(),
        "size": pl.Int64(),
        "test_level": pl.String(),
        "method": pl.String(),
        "share": pl.Float64(),
        "ranking": pl.String(),
        "top": pl.Float64(),
        "value": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "num_facts": pl.Int64(),
        "num_training_sets": pl.Int64(),
        "difference": pl.Float64(),
        "difference_low": pl.Float64(),
        "difference_high": pl.Float64(),
        "num_shared_facts": pl.Int64(),
        "weighted_by": pl.String(),
        "training_sets": pl.String(),
    }
)
"""One measured value a row; what does not apply or was not measured is null.

run: label. quantity: ``test facts`` (of a mastery level), ``accuracy`` (of tuned models),
``kl`` (of tuned from base), ``concentration``, ``restored accuracy``, ``restoration gain`` and
``norm removed``; the last three at the share that did best on choice facts, on the facts that the
choice left out. unit: ``count``, ``fraction`` or ``nats``. level, size: of training. test_level:
``0`` to ``4``, or ``mean`` of the levels. share, top: percent. low, high: 95 % interval; of a
concentration the range over all tuned models. difference: from the first run, the accuracy on
the ``num_shared_facts`` that both asked, with its 95 % interval, paired over facts. training_sets:
``same`` where both runs trained on the same facts, so that the difference is paired over training
sets too; ``apart`` where theirs count as drawn independently. weighted_by: ``levels`` where the
difference is the mean over mastery levels, as accuracies are; ``facts`` where the two base models
master the facts otherwise, so that each fact weighs the same.
"""


def numbers(sources: Sequence[Source], shared: Sequence[Shared | None]) -> pl.DataFrame:
    """:data:`NUMBERS_SCHEMA` of all runs.

    Args:
        sources: the runs, the first being what the others are held against.
        shared: of each run, the facts it shares with the first; None for the first.

    Raises:
        UserError: when a table is not sound.
    """
    rows: list[dict[str, Any]] = []
    for source, common in zip(sources, shared, strict=True):
        for part in (_facts, _kl, _concentration, _restorations):
            rows += [{"run": source.label, **row} for row in part(source)]
        differences = {} if common is None else _differences(source, sources[0], common)
        rows += [
            {"run": source.label, **row, **differences.get(_key(row), {})}
            for row in _accuracies(source)
        ]
    return pl.DataFrame(rows, schema=NUMBERS_SCHEMA)


def _facts(source: Source) -> Iterator[dict[str, Any]]:
    if (answers := source.answers) is None:
        return
    for domain in answers.domains:
        levels = answers.levels[answers.test(domain)]
        for level, count in enumerate(np.bincount(levels, minlength=NUM_LEVELS)):
            yield {
                "quantity": FACTS,
                "unit": "count",
                "domain": domain,
                "test_level": str(level),
                "value": float(count),
            }


def _accuracies(source: Source) -> Iterator[dict[str, Any]]:
    if (answers := source.answers) is None:
        return
    keys, asked = [], []
    for domain in answers.domains:
        mask = test_mask(answers, domain, chosen=False)
        parts = {str(level): mask & (answers.levels == level) for level in range(NUM_LEVELS)}
        for cell in tuned_cells(answers):
            for test_level, part in {**parts, MEAN: mask}.items():
                if part.any():
                    keys.append((domain, cell, test_level))
                    asked.append(accuracy_of(answers.rows[cell].values(), part))
    for (domain, cell, test_level), found in zip(keys, intervals(answers, asked), strict=True):
        yield {
            "quantity": ACCURACY,
            "unit": "fraction",
            "domain": domain,
            "level": cell.level,
            "size": cell.size,
            "test_level": test_level,
            **found.numbers,
            **found.counts,
        }


def _key(row: dict[str, Any]) -> tuple[object, ...]:
    return row["domain"], row["level"], row["size"], row["test_level"]


def _differences(
    source: Source, first: Source, shared: Shared
) -> dict[tuple[object, ...], dict[str, Any]]:
    """The differences of the accuracies of tuned models, by domain, level, size and test level."""
    answers, others = source.answers, first.answers
    if answers is None or others is None:
        return {}
    keys: list[tuple[object, ...]] = []
    contrasts: list[Contrast | int] = []
    for domain in answers.domains:
        of_domain = shared.domains == domain
        parts = {MEAN: of_domain}
        if shared.same_levels:
            parts |= {str(k): of_domain & (shared.levels == k) for k in range(NUM_LEVELS)}
        for cell in tuned_cells(answers):
            if cell not in others.rows:
                continue
            rows, place = answers.rows[cell], others.rows[cell]
            if shared.same_training:
                seeds = sorted(rows.keys() & place.keys())
                rows, place = ({seed: by[seed] for seed in seeds} for by in (rows, place))
            if not rows:
                continue
            ours, theirs = _stacked(rows, shared.own), _stacked(place, shared.first)
            for test_level, part in parts.items():
                known = part & (ours >= 0).all(axis=0) & (theirs >= 0).all(axis=0)
                if not known.any():
                    continue
                one, other = (block[:, known].astype(np.float32) for block in (ours, theirs))
                levels = shared.levels[known]
                keys.append((domain, cell.level, cell.size, test_level))
                contrasts.append(
                    Contrast(
                        (one - other,) if shared.same_training else (one, -other),
                        levels if shared.same_levels else np.zeros_like(levels),
                    )
                )
    weighted_by = BY_LEVEL if shared.same_levels else BY_FACT
    return {
        key: {
            **found.difference,
            "num_shared_facts": found.num_facts,
            "weighted_by": weighted_by,
            "training_sets": "same" if shared.same_training else "apart",
        }
        for key, found in zip(keys, infer_all(contrasts), strict=True)
    }


def _stacked(rows: Mapping[int, Row], places: NDArray[np.int64]) -> NDArray[np.int8]:
    """The answers of models to some facts, (num_training_sets, num_facts)."""
    return np.stack(list(rows.values()))[:, places]


def _kl(source: Source) -> Iterator[dict[str, Any]]:
    try:
        table = well_known_and_kl(source.study)
    except NotMeasuredError:
        return
    yield from (
        {"domain": "in", **row}
        for row in table.filter(pl.col("quantity") == KL).iter_rows(named=True)
    )


def _concentration(source: Source) -> Iterator[dict[str, Any]]:
    columns = {"run": pl.String, "ranking": pl.String, "top": pl.Float64, "held": pl.Float64}
    try:
        table = source.study.table("concentration", columns).drop_nulls()
    except NotMeasuredError:
        return
    held = pl.col("held")
    found = table.group_by("ranking", "top").agg(
        held.mean().alias("value"),
        held.min().alias("low"),
        held.max().alias("high"),
        pl.len().cast(pl.Int64).alias("num_training_sets"),
    )
    for row in found.sort("ranking", "top").iter_rows(named=True):
        yield {"quantity": CONCENTRATION, "unit": "fraction", **row}


def _restorations(source: Source) -> Iterator[dict[str, Any]]:
    if (answers := source.answers) is None:
        return
    removed = removals(source.study)
    chosen = list(_chosen(answers))
    keys = [(domain, cell) for domain in answers.domains for cell in chosen]
    masks = {domain: answers.report(domain) for domain in answers.domains}
    values = intervals(
        answers, (accuracy_of(answers.rows[cell].values(), masks[domain]) for domain, cell in keys)
    )
    gains = intervals(
        answers, (paired(_beside_tuned(answers, cell), masks[domain]) for domain, cell in keys)
    )
    for (domain, cell), value, gain in zip(keys, values, gains, strict=True):
        told = {**cell._asdict(), "domain": domain, "unit": "fraction"}
        yield {**told, "quantity": RESTORED, **value.numbers, **value.counts}
        yield {**told, "quantity": GAIN, **gain.numbers, **gain.counts}
    for cell in chosen:
        took = removed.get(cell, Removal(None, None)).norm_removed
        if took is not None:
            yield {**cell._asdict(), "unit": "fraction", "quantity": REMOVED, "value": took}


def _chosen(answers: Answers) -> Iterator[Cell]:
    """Of each training level and method, the share that does best on the choice facts."""
    for level in answers.levels_trained:
        size = answers.largest(level).size
        for method in answers.methods():
            cells = [Cell(level, size, method, s) for s in answers.shares(level, method)]
            if (best := answers.best(cells)) is not None:
                yield best


def _beside_tuned(answers: Answers, cell: Cell) -> list[tuple[Row, Row]]:
    tuned = answers.rows.get(Cell(*cell[:2], TUNED), {})
    return [(row, tuned[seed]) for seed, row in answers.rows[cell].items() if seed in tuned]
