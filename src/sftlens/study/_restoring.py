"""The job that takes a tuned model through its restorations, and asks each of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sftlens.generation import TransformersGenerator, load_model
from sftlens.outputs import new_file
from sftlens.scoring import ScoreSettings, score_sweep
from sftlens.study._file import restoration_request
from sftlens.study._tasks import Task
from sftlens.weights import (
    CheckpointPair,
    Planned,
    Request,
    RestoredOutput,
    Sweep,
    match_norm,
    open_pair,
    plan,
    preview_restoration,
    share_label,
)

RESTORATIONS = "restorations.parquet"
RESTORED_SCORES = "scores.parquet"

RESTORATIONS_SCHEMA = {
    "run": pl.String,
    "method": pl.String,
    "share": pl.Float64,
    "num_parameters": pl.Int64,
    "num_restored": pl.Int64,
    "num_restored_changed": pl.Int64,
    "norm_removed": pl.Float64,
    "alpha": pl.Float64,
}

_PARTS = "parts"


class _Way(NamedTuple):
    """One restoration, and its row among the restorations."""

    method: str
    share: float
    planned: Planned
    row: tuple[object, ...]

    @property
    def name(self) -> str:
        return f"{self.method}-{share_label(self.share)}.parquet"


def restore(task: Task) -> dict[str, Any]:
    """Restore a model by every method and share in memory, and score each restoration.

    ``interpolation`` is base + α(tuned − base) that removes as much of the update's squared norm
    as the restoration of the same share by relative change.
    """
    parts = task.folder / _PARTS
    parts.mkdir(exist_ok=True)
    pair = open_pair(task.base, task.tuned)
    ways = list(_ways(task, pair))
    missing = [way for way in ways if not (parts / way.name).is_file()]
    if missing:
        model, tokenizer, _ = load_model(task.tuned)
        generator = TransformersGenerator(model, tokenizer)
        settings = ScoreSettings(**task.settings["score"])
        levels = task.mastery().levels
        with Sweep(model, pair) as sweep:
            planned = [way.planned for way in missing]
            scored = score_sweep(generator, sweep, planned, task.scored_facts(), levels, settings)
            for way, (_, table) in zip(missing, scored, strict=True):
                named = labelled(table, task.settings["run"], way.method, way.share)
                with new_file(parts / way.name) as path:
                    named.write_parquet(path)
    tables = [pl.read_parquet(parts / way.name, glob=False) for way in ways]
    pl.concat(tables).write_parquet(task.folder / RESTORED_SCORES)
    rows = pl.DataFrame([way.row for way in ways], schema=RESTORATIONS_SCHEMA, orient="row")
    rows.write_parquet(task.folder / RESTORATIONS)
    shutil.rmtree(parts)
    return {"num_restorations": len(ways)}


def labelled(table: pl.DataFrame, run: str, method: str, share: float | None) -> pl.DataFrame:
    """Scores with the run, the method and the share in front."""
    return table.select(
        pl.lit(run).alias("run"),
        pl.lit(method).alias("method"),
        pl.lit(share, dtype=pl.Float64).alias("share"),
        pl.all(),
    )


def _ways(task: Task, pair: CheckpointPair) -> Iterator[_Way]:
    run, seed = task.settings["run"], task.settings["seed"]
    shares = tuple(task.settings["shares"])
    selected: dict[str, list[Planned]] = {}
    for method in task.settings["methods"]:
        request = restoration_request(method, shares, seed)
        if request.method == "interpolation":
            ranked = request._replace(method="relative")
            if ranked.order not in selected:
                selected[ranked.order] = plan(pair, ranked)
            of = [match_norm(one.selection) for one in selected[ranked.order] if one.selection]
        else:
            of = plan(pair, request)
            if request.method == "relative":
                selected[request.order] = of
        measured = _measured(pair, request) if any(one.selection is None for one in of) else None
        for number, one in enumerate(of):
            output = None if measured is None else measured[number]
            yield _Way(method, shares[number], one, _row(run, method, one, output))


def _measured(pair: CheckpointPair, request: Request) -> list[RestoredOutput]:
    return preview_restoration(pair, request, Path()).outputs


def _row(
    run: str, method: str, planned: Planned, measured: RestoredOutput | None
) -> tuple[object, ...]:
    share = planned.share
    assert share is not None, method
    if measured is not None:
        return (
            run,
            method,
            float(share),
            measured.num_parameters,
            measured.num_restored,
            measured.num_restored_changed,
            measured.norm_removed,
            measured.alpha,
        )
    found = planned.selection
    assert found is not None, method
    return (
        run,
        method,
        float(share),
        found.num_parameters,
        planned.num_restored,
        None if planned.num_restored is None else found.num_restored_changed,
        found.norm_removed,
        planned.alpha,
    )
