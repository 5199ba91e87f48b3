"""The job that takes a tuned model through its restorations, and asks each of them."""

from __future__ import annotations

import shutil
from typing import Any

import polars as pl

from sftlens.generation import TransformersGenerator, load_model
from sftlens.outputs import new_file
from sftlens.scoring import ScoreSettings, score, score_sweep
from sftlens.study._methods import Way, restorations
from sftlens.study._store import read_result
from sftlens.study._tasks import Task, labelled
from sftlens.weights import Sweep, open_pair

RESTORATIONS = "restorations.parquet"
RESTORED_SCORES = "scores.parquet"
TRAINING_SCORES = "training_scores.parquet"

RESTORATIONS_SCHEMA = {
    "run": pl.String,
    "method": pl.String,
    "share": pl.Float64,
    "strength": pl.Float64,
    "num_parameters": pl.Int64,
    "num_restored": pl.Int64,
    "num_restored_changed": pl.Int64,
    "norm_removed": pl.Float64,
    "norm_to_match": pl.Float64,
    "alpha": pl.Float64,
    "dtype": pl.String,
}
"""``norm_removed`` is measured on the values that were evaluated, which are in ``dtype``;
``norm_to_match`` is what it was to be, of methods whose strength was searched for that."""

_TUNED = "tuned"
_PARTS = "parts"


def restore(task: Task) -> dict[str, Any]:
    """Restore a model by every method and share in memory, and score each restoration.

    The facts that the model was trained on are asked as well, of the tuned model too; by
    themselves, so that the others stand in the same batches as when the tuned model was scored.
    """
    parts = task.folder / _PARTS
    parts.mkdir(exist_ok=True)
    run, seed = task.settings["run"], task.settings["seed"]
    trained = task.training_facts()
    pair = open_pair(task.base, task.tuned)
    methods, shares = task.settings["methods"], task.settings["shares"]
    ways = list(restorations(pair, methods, shares, seed, task.dtype))

    def keep(name: str, *tables: pl.DataFrame) -> None:
        with new_file(parts / f"{name}.parquet") as path:
            pl.concat(tables).write_parquet(path)

    def is_missing(name: str) -> bool:
        return not (parts / f"{name}.parquet").is_file()

    missing = [way for way in ways if is_missing(way.name)]
    if missing or is_missing(_TUNED):
        model, tokenizer, _ = load_model(task.tuned, dtype=task.dtype)
        generator = TransformersGenerator(model, tokenizer)
        settings = ScoreSettings(**task.settings["score"])
        levels = task.mastery().levels
        with Sweep(model, pair) as sweep:
            if is_missing(_TUNED):
                own = score(generator, trained, levels, settings)
                keep(_TUNED, labelled(own, run, _TUNED, None))
            planned = [way.restoration.planned for way in missing]
            scored = score_sweep(generator, sweep, planned, task.scored_facts(), levels, settings)
            for way, (_, table) in zip(missing, scored, strict=True):
                own = score(generator, trained, levels, settings)
                both = pl.concat([table, own])
                keep(way.name, labelled(both, run, way.method, way.share))
    files = [parts / f"{name}.parquet" for name in (_TUNED, *(way.name for way in ways))]
    answers = pl.concat([read_result(file) for file in files])
    of_training = pl.col("fact_id").is_in([fact.fact_id for fact in trained])
    answers.filter(~of_training).write_parquet(task.folder / RESTORED_SCORES)
    answers.filter(of_training).write_parquet(task.folder / TRAINING_SCORES)
    rows = [(run, *_numbers(way)) for way in ways]
    table = pl.DataFrame(rows, schema=RESTORATIONS_SCHEMA, orient="row")
    table.write_parquet(task.folder / RESTORATIONS)
    shutil.rmtree(parts)
    return {"num_restorations": len(ways)}


def _numbers(way: Way) -> tuple[object, ...]:
    found = way.restoration.output
    return (
        way.method,
        way.share,
        found.share,
        found.num_parameters,
        found.num_restored,
        found.num_restored_changed,
        found.norm_removed,
        way.norm_to_match,
        found.alpha,
        found.dtype,
    )
