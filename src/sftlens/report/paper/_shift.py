"""What fine-tuning moved: well-known facts, token probabilities, weights (paper sections 5, 6)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from sftlens.report._answers import Cell
from sftlens.report._shift import BASES, WITHOUT, run_points
from sftlens.report.inference import Contrast
from sftlens.report.inference._evidence import NotMeasuredError
from sftlens.report.paper._intervals import (
    NUMBERS,
    VALUE,
    Interval,
    accuracy_of,
    frame,
    infer_all,
    intervals,
    over_training_sets,
)
from sftlens.report.paper._study import Study, test_mask
from sftlens.report.paper._training import tuned_cells

ACCURACY, KL = "accuracy", "kl"
OVER_NULL = "relative minus null"
_KNOWN_WELL = 4


def well_known_and_kl(study: Study) -> pl.DataFrame:
    """Accuracy on test facts of level 4, and KL(tuned ‖ base), by size and training level.

    Paper Figures 4 and 5: in-domain test facts; the KL in nats over those that every model has a
    KL of. The one is there also where the other was not measured.

    Returns:
        level, size, quantity (``accuracy`` or ``kl``), unit (``fraction`` or ``nats``), value,
        low, high, num_facts, num_training_sets.

    Raises:
        NotMeasuredError: when neither was measured.
    """
    found: dict[tuple[str, str], Mapping[Cell, Interval]] = {}
    reasons = []
    for key, measure in (((ACCURACY, "fraction"), _well_known), ((KL, "nats"), _kl)):
        try:
            found[key] = measure(study)
        except NotMeasuredError as reason:
            reasons.append(str(reason))
    if not found:
        raise NotMeasuredError("; ".join(dict.fromkeys(reasons)))
    rows = [
        {
            "level": cell.level,
            "size": cell.size,
            "quantity": quantity,
            "unit": unit,
            **interval.numbers,
            **interval.counts,
        }
        for (quantity, unit), by_cell in found.items()
        for cell, interval in sorted(by_cell.items(), key=lambda item: item[0][:2])
    ]
    return frame(
        rows,
        {"level": pl.Int64, "size": pl.Int64, "quantity": pl.String, "unit": pl.String},
        VALUE,
        NUMBERS,
    )


def _well_known(study: Study) -> dict[Cell, Interval]:
    answers = study.answers
    mask = test_mask(answers, "in", chosen=False) & (answers.levels == _KNOWN_WELL)
    if not mask.any():
        raise NotMeasuredError("no in-domain test fact of level 4 was scored")
    cells = tuned_cells(answers)
    asked = [accuracy_of(answers.rows[cell].values(), mask) for cell in cells]
    return dict(zip(cells, intervals(answers, asked), strict=True))


def _kl(study: Study) -> dict[Cell, Interval]:
    grid = study.evidence.kl
    contrasts = []
    for by_seed in grid.values():
        block = np.stack([by_seed[seed] for seed in sorted(by_seed)])
        one_level = np.zeros(block.shape[1], np.int64)
        contrasts.append(Contrast((block,), one_level, lowest=0.0, highest=None))
    return dict(zip(grid, infer_all(contrasts), strict=True))


def kl_by_run(study: Study) -> pl.DataFrame:
    """Each tuned model's mean KL from its base, and its accuracy on the very same facts.

    Returns:
        level, size, seed, kl (nats), value (accuracy), num_facts.

    Raises:
        NotMeasuredError: when no KL was measured on facts that were scored.
    """
    answers = study.answers
    table = study.table(
        "divergence", {"run": pl.String, "fact_id": pl.String, "kl": pl.Float64}
    ).drop_nulls()
    by_fact = table.group_by("run", "fact_id").agg(pl.col("kl").mean())
    runs = [
        {"run": name, **study.run(name, "divergence")._asdict()}
        for name in by_fact["run"].unique().sort()
    ]
    answered = [
        pl.DataFrame({"run": run, "fact_id": answers.facts["fact_id"], "correct": row})
        for run, level, size, seed in (one.values() for one in runs)
        if (row := answers.rows.get(Cell(level, size), {}).get(seed)) is not None
    ]
    if not answered:
        raise NotMeasuredError("no model that a KL was measured of was scored")
    points = run_points(
        by_fact.join(pl.DataFrame(runs), on="run"),
        pl.concat(answered).filter(pl.col("correct") >= 0),
    )
    if not points:
        raise NotMeasuredError("no KL was measured on facts that were scored")
    schema = {
        "level": pl.Int64,
        "size": pl.Int64,
        "seed": pl.Int64,
        "kl": pl.Float64,
        "value": pl.Float64,
        "num_facts": pl.Int64,
    }
    return pl.DataFrame([point[1:] for point in points], schema=schema, orient="row")


def concentration(study: Study) -> pl.DataFrame:
    """How much of the summed change the most changed parameters hold (paper Table 3).

    Beside the paper's ranking stand its null (the changes shuffled over the weights), how much it
    exceeds that, and the ranking by absolute change. Where it was counted, below them what the
    first two hold without the parameters whose base is below 1e-4, and the part of the top's
    changed entries, by relative change, whose base is 0 or below 1e-4.

    Returns:
        level, size, ranking (``relative``, ``null``, ``relative minus null``, ``absolute``,
        ``relative without small bases``, ``null without small bases``, ``base 0``, ``base below
        1e-4``), top (percent of the parameters), value, low, high (Student's over training sets;
        null with one), num_training_sets.

    Raises:
        NotMeasuredError: when the changes were not measured.
    """
    table = study.table(
        "concentration",
        {"run": pl.String, "ranking": pl.String, "top": pl.Float64, "held": pl.Float64},
    ).drop_nulls()
    held: dict[tuple[int, int, str, float], dict[int, float]] = {}
    for name, ranking, top, value in table.iter_rows():
        run = study.run(name, "concentration")
        held.setdefault((run.level, run.size, ranking, top), {})[run.seed] = value
    for (level, size, ranking, top), ours in list(held.items()):
        null = held.get((level, size, "null", top), {})
        if ranking == "relative" and (shared := ours.keys() & null.keys()):
            held[level, size, OVER_NULL, top] = {seed: ours[seed] - null[seed] for seed in shared}
    if not held:
        raise NotMeasuredError("table concentration holds no number")
    held |= _bases(study)
    rankings = ["relative", "null", OVER_NULL, "absolute", *WITHOUT, *BASES.values()]
    rankings += sorted({key[2] for key in held} - set(rankings))
    rows = [
        {
            "level": level,
            "size": size,
            "ranking": ranking,
            "top": top,
            **over_training_sets(
                [by_seed[seed] for seed in sorted(by_seed)],
                lowest=-1.0 if ranking == OVER_NULL else 0.0,
            ),
        }
        for (level, size, ranking, top), by_seed in sorted(
            held.items(), key=lambda item: (*item[0][:2], rankings.index(item[0][2]), item[0][3])
        )
    ]
    return frame(
        rows,
        {"level": pl.Int64, "size": pl.Int64, "ranking": pl.String, "top": pl.Float64},
        VALUE,
        {"num_training_sets": pl.Int64},
    )


def _bases(study: Study) -> dict[tuple[int, int, str, float], dict[int, float]]:
    """The part of the top's changed entries that has a small base, as :func:`concentration`."""
    kinds = {"run": pl.String, "ranking": pl.String, "top": pl.Float64, "num_top": pl.Int64}
    try:
        table = study.table("concentration", kinds | dict.fromkeys(BASES, pl.Int64))
    except NotMeasuredError:  # earlier versions did not count them
        return {}
    found: dict[tuple[int, int, str, float], dict[int, float]] = {}
    for name, _, top, num_top, *counts in table.filter(ranking="relative").iter_rows():
        run = study.run(name, "concentration")
        for called, count in zip(BASES.values(), counts, strict=True):
            if num_top and count is not None:
                by_seed = found.setdefault((run.level, run.size, called, top), {})
                by_seed[run.seed] = count / num_top
    return found
