"""Other tasks, before and after restoration (paper Table 5)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import polars as pl

from sftlens.errors import UserError
from sftlens.intervals import Z95, Estimate
from sftlens.report._answers import TUNED
from sftlens.report.inference._evidence import NotMeasuredError
from sftlens.report.paper._intervals import VALUE, frame, over_training_sets
from sftlens.report.paper._study import Study
from sftlens.report.paper._trained_otherwise import strategy_runs

BASE = "base"
_ORDER = {BASE: 0, TUNED: 1, "relative": 2}


class _Key(NamedTuple):
    task: str
    metric: str
    level: int | None
    size: int | None
    method: str
    share: float | None

    @property
    def order(self) -> tuple[Any, ...]:
        level = (-1, -1) if self.level is None else (self.level, self.size)
        rank = _ORDER.get(self.method, 3)
        share = -1.0 if self.share is None else self.share
        return (self.task, self.metric, *level, rank, self.method, share)


class _Measured(NamedTuple):
    value: float
    stderr: float | None
    num_items: int


def other_tasks(study: Study) -> pl.DataFrame:
    """The harness's tasks asked of the base, of tuned and of restored models (paper Table 5).

    Returns:
        task, metric, level and size of training (null: the base, or a model of mixed levels),
        method (``base``, ``tuned``, a restoration, or the strategy of a model that was trained
        otherwise), share (percent), unit (``fraction``, where every value of the metric lies
        between 0 and 1, or ``as given``), value (mean of the training sets), low, high, covers
        (what the 95 % interval covers: ``items``, from the harness's standard error;
        ``training sets``, Student's; or both, their squares added), num_items,
        num_training_sets (null for the base).

    Raises:
        NotMeasuredError: when no task was run.
        UserError: when it was run on a model that no other table knows.
    """
    groups: dict[_Key, dict[str, _Measured]] = {}
    table = study.table(
        "task_scores",
        {
            "model": pl.String,
            "method": pl.String,
            "share": pl.Float64,
            "task": pl.String,
            "metric": pl.String,
            "value": pl.Float64,
            "stderr": pl.Float64,
            "num_items": pl.Int64,
        },
    )
    for model, method, share, task, metric, value, stderr, num_items in table.iter_rows():
        if value is not None and math.isfinite(value):
            key = _Key(task, metric, *_model(study, model, method), share)
            of_key = groups.setdefault(key, {})
            if model in of_key:
                raise UserError(
                    f"table task_scores: has two rows of {task}, {metric} and {model}, {method}; "
                    "the tables must come from one study"
                )
            of_key[model] = _Measured(value, stderr, num_items)
    if not groups:
        raise NotMeasuredError("table task_scores holds no number")
    fractions = {
        of: all(
            0 <= one.value <= 1
            for key, by in groups.items()
            if key[:2] == of
            for one in by.values()
        )
        for of in {key[:2] for key in groups}
    }
    rows = [
        {
            **key._asdict(),
            "unit": "fraction" if fractions[key[:2]] else "as given",
            **_interval([by[model] for model in sorted(by)], fraction=fractions[key[:2]]),
            "num_items": next(iter(by.values())).num_items,
            "num_training_sets": None if key.method == BASE else len(by),
        }
        for key, by in sorted(groups.items(), key=lambda item: item[0].order)
    ]
    return frame(
        rows,
        {
            "task": pl.String,
            "metric": pl.String,
            "level": pl.Int64,
            "size": pl.Int64,
            "method": pl.String,
            "share": pl.Float64,
            "unit": pl.String,
        },
        VALUE,
        {"covers": pl.String, "num_items": pl.Int64, "num_training_sets": pl.Int64},
    )


def _model(study: Study, model: str, method: str) -> tuple[int | None, int | None, str]:
    if model == BASE:
        return None, None, BASE
    if model in study.runs:
        run = study.runs[model]
        return run.level, run.size, method
    for other in strategy_runs(study, required=False):
        if other.run == model:
            told = other.strategy if method == TUNED else f"{other.strategy}, {method}"
            return other.level, other.size, told
    raise UserError(
        f"table task_scores: model {model!r} is in no table of runs; "
        "the tables must come from one study"
    )


def _interval(found: list[_Measured], *, fraction: bool) -> dict[str, Any]:
    """Both parts of the spread are taken as independent, which makes the interval wide."""
    over_sets = over_training_sets([one.value for one in found], -math.inf, math.inf)
    mean, high = over_sets["value"], over_sets["high"]
    errors = [one.stderr for one in found if one.stderr is not None]
    of_items = Z95 * sum(errors) / len(errors) if len(errors) == len(found) else None
    parts = {"items": of_items, "training sets": None if high is None else high - mean}
    known = {name: half for name, half in parts.items() if half is not None}
    half = math.sqrt(sum(part**2 for part in known.values())) if known else None
    low, high = (None, None) if half is None else (mean - half, mean + half)
    if half is not None and fraction:
        _, low, high = Estimate(mean, mean - half, mean + half).within(0.0, 1.0)
    return {
        "value": mean,
        "low": low,
        "high": high,
        "covers": " and ".join(known) or None,
    }
