"""The job that runs other tasks on a model, and on its restorations (paper Table 5)."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sftlens.generation import load_model
from sftlens.outputs import new_file
from sftlens.scoring import HarnessSettings, evaluate_harness_tasks
from sftlens.study._harness_tasks import NamedTask, load_tasks, place_of
from sftlens.study._methods import restorations
from sftlens.study._store import read_result
from sftlens.study._tasks import Task
from sftlens.weights import CheckpointPair, Planned, Sweep, open_pair, share_label

TASK_SCORES = "task_scores.parquet"

TASK_SCORES_SCHEMA = {
    "model": pl.String,
    "method": pl.String,
    "share": pl.Float64,
    "task": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "stderr": pl.Float64,
    "num_items": pl.Int64,
}

_PARTS = "parts"


class _Step(NamedTuple):
    """One model to evaluate; ``planned`` is None where it is the one that was loaded."""

    method: str
    share: float | None = None
    planned: Planned | None = None

    @property
    def file(self) -> str:
        of = self.method if self.share is None else f"{self.method}-{share_label(self.share)}"
        return f"{of}.parquet"


def run_other_tasks(task: Task) -> dict[str, Any]:
    """Run tasks of the harness on the base, or on a tuned model and its restorations in memory.

    The restorations are those by relative change, and what removes as much of the update's squared
    norm: the interpolations, and the study's methods that are matched in it.
    """
    parts = task.folder / _PARTS
    parts.mkdir(exist_ok=True)
    pair, steps = None, [_Step("base")]
    if "tuned" in task.inputs:
        pair = open_pair(task.base, task.tuned)
        methods = ("relative", "interpolation", *task.settings.get("methods", ()))
        seed = task.settings.get("seed", 0)
        ways = restorations(pair, methods, task.settings["shares"], seed, task.dtype)
        restored = [_Step(way.method, way.share, way.restoration.planned) for way in ways]
        steps = [_Step("tuned"), *restored]
    missing = [step for step in steps if not (parts / step.file).is_file()]
    if missing:
        _evaluate(task, pair, missing, parts)
    tables = [read_result(parts / step.file) for step in steps]
    pl.concat(tables).write_parquet(task.folder / TASK_SCORES)
    shutil.rmtree(parts)
    return {"num_models": len(steps)}


def _evaluate(task: Task, pair: CheckpointPair | None, steps: list[_Step], parts: Path) -> None:
    settings = HarnessSettings(**task.settings["harness"])
    places = task.job.places
    tasks = load_tasks(
        [
            NamedTask(name, identity, places.get(place_of(name)))
            for name, identity in task.settings["tasks"]
        ]
    )
    loaded = load_model(task.base if pair is None else task.tuned, dtype=task.dtype)
    with ExitStack() as stack:
        sweep = None if pair is None else stack.enter_context(Sweep(loaded.model, pair))
        for step in steps:
            if sweep is not None and step.planned is not None:
                sweep.step(step.planned.restoration)
            found = [evaluate_harness_tasks(loaded, some, settings).results for some in tasks]
            named = _labelled(pl.concat(found), task.settings["model"], step)
            with new_file(parts / step.file) as path:
                named.write_parquet(path)


def _labelled(results: pl.DataFrame, model: str, step: _Step) -> pl.DataFrame:
    filtered = pl.concat_str("metric", "filter", separator=",")
    metric = pl.when(pl.col("filter") == "none").then("metric").otherwise(filtered)
    table = results.select(
        pl.lit(model).alias("model"),
        pl.lit(step.method).alias("method"),
        pl.lit(step.share, dtype=pl.Float64).alias("share"),
        "task",
        metric.alias("metric"),
        *("value", "stderr", "num_items"),
    )
    return table.cast(TASK_SCORES_SCHEMA)  # type: ignore[arg-type]
