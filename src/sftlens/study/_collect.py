"""The tables of a study, put together from the results of its jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sftlens.divergence import DIVERGENCE_SCHEMA
from sftlens.mastery import COMPLETIONS_SCHEMA, MASTERY_SCHEMA
from sftlens.outputs import new_file
from sftlens.scoring import SCORES_SCHEMA
from sftlens.study._file import ALL, Run
from sftlens.study._layers import LAYER_SCORES
from sftlens.study._other_tasks import TASK_SCORES, TASK_SCORES_SCHEMA
from sftlens.study._plan import INSTRUCT, Kind, Plan
from sftlens.study._references import BASE_SCORES, NOISE
from sftlens.study._restoring import (
    RESTORATIONS,
    RESTORATIONS_SCHEMA,
    RESTORED_SCORES,
    TRAINING_SCORES,
)
from sftlens.study._store import Store
from sftlens.study._tasks import FACTS, MASTERY, SCORES
from sftlens.study._work import CONCENTRATION, CONCENTRATION_SCHEMA, DIVERGENCE, TENSORS
from sftlens.tables import scan_tables
from sftlens.world import EXPOSURES

RUNS_SCHEMA = {
    "run": pl.String,
    "level": pl.Int32,
    "size": pl.Int32,
    "seed": pl.Int32,
    "num_facts": pl.Int32,
    "num_steps": pl.Int32,
    "final_loss": pl.Float64,
}
STRATEGY_RUNS_SCHEMA = {
    "run": pl.String,
    "strategy": pl.String,
    **{name: dtype for name, dtype in RUNS_SCHEMA.items() if name != "run"},
}
_RUN = {"run": pl.String()}
_LABELS = {**_RUN, "method": pl.String(), "share": pl.Float64()}

STRATEGY_RUNS = "strategy_runs"
STRATEGY_SCORES = "strategy_scores"


class Collected(NamedTuple):
    """What the tables hold.

    Attributes:
        num_runs: models that were fine-tuned, those of other strategies included.
        num_restorations: restorations that were scored.
        levels: facts of level 0 to 4; None where the probe is not done.
        notes: what is missing from the tables, and why.
    """

    num_runs: int
    num_restorations: int
    levels: list[int] | None
    notes: list[str]


def write_tables(plan: Plan, store: Store, folder: Path) -> Collected:
    """Write the tables of the jobs that are done, each whole or not at all.

    ``facts``, ``mastery``, ``completions``, ``runs``, ``scores``, ``divergence``,
    ``concentration``, ``tensors``, ``restorations``, ``base_scores``, ``noise``,
    ``training_scores`` and ``layer_scores``; of a scale model ``exposures``; of strategies other
    than one level's facts ``strategy_runs`` and ``strategy_scores``; of other tasks
    ``task_scores``.

    Args:
        plan: the jobs.
        store: their results.
        folder: takes the tables.
    """
    done = {name for name, job in plan.jobs.items() if store.has(job)}
    results = {name: store.result(plan.jobs[name]) for name in done}
    idle = {name for name, result in results.items() if "left_out" in result}
    runs, notes = _runs(plan, results)

    def files(kind: Kind, file: str, models: Iterable[str] | None = None) -> list[Path]:
        wanted = [run.name for run in by_level.values()] if models is None else models
        jobs = (plan.jobs.get(f"{kind} {name}") for name in wanted)
        return [store.path(j) / file for j in jobs if j and j.name in done - idle]

    by_level = {name: run for name, run in runs.items() if run.strategy == "by-level"}
    others = {name: run for name, run in runs.items() if run.strategy != "by-level"}
    if "facts" in done:
        _gather(folder, "facts", [store.path(plan.jobs["facts"]) / FACTS])
        if "world" in plan.jobs:
            _gather(folder, "exposures", [store.path(plan.jobs["facts"]) / EXPOSURES])
    graded = [store.path(plan.jobs["probe"]) / MASTERY] if "probe" in done else []
    for name, schema in (("completions", COMPLETIONS_SCHEMA), ("mastery", MASTERY_SCHEMA)):
        _gather(folder, name, [path / f"{name}.parquet" for path in graded], schema)
    _write(folder, "runs", _runs_table(by_level, results))
    scores = [*files("score", SCORES), *files("restore", RESTORED_SCORES)]
    _gather(folder, "scores", scores, {**_LABELS, **SCORES_SCHEMA})
    diverged = files("divergence", DIVERGENCE)
    _gather(folder, "divergence", diverged, {**_RUN, **DIVERGENCE_SCHEMA})
    changed = files("change", CONCENTRATION)
    _gather(folder, "concentration", changed, CONCENTRATION_SCHEMA)
    _gather(folder, "tensors", files("change", TENSORS))
    restored = files("restore", RESTORATIONS)
    _gather(folder, "restorations", restored, RESTORATIONS_SCHEMA)
    base = plan.jobs["base-score"]
    asked = [store.path(base) / BASE_SCORES] if base.name in done - idle else []
    _gather(folder, "base_scores", asked)
    _gather(folder, "noise", files("noise", NOISE))
    _gather(folder, "training_scores", files("restore", TRAINING_SCORES))
    _gather(folder, "layer_scores", files("layers", LAYER_SCORES))
    has_instruct = f"score {INSTRUCT}" in plan.jobs
    if has_instruct or any(run.strategy != "by-level" for run in plan.runs.values()):
        table = _strategies_table(others, results, has_instruct=f"score {INSTRUCT}" in done)
        _write(folder, STRATEGY_RUNS, table)
        told = files("score", SCORES, [*(run.name for run in others.values()), INSTRUCT])
        _gather(folder, STRATEGY_SCORES, told, {**_RUN, **SCORES_SCHEMA})
    if plan.of_kind("tasks"):
        evaluated = [job for job in plan.of_kind("tasks") if job.name in done - idle]
        told = [store.path(job) / TASK_SCORES for job in evaluated]
        _gather(folder, "task_scores", told, TASK_SCORES_SCHEMA)
    if "outlook" in idle:
        notes.append(f"divergence is not measured: {results['outlook']['left_out']}")
    num_restorations = sum(
        results[job.name].get("num_restorations", 0)
        for job in plan.of_kind("restore")
        if job.name in done
    )
    levels = results["probe"]["levels"] if "probe" in done else None
    return Collected(len(runs), num_restorations, levels, notes)


def _runs(
    plan: Plan, results: Mapping[str, Mapping[str, object]]
) -> tuple[dict[str, Run], list[str]]:
    """The runs that have a model of their own, by the name of their job, and what to tell."""
    runs: dict[str, Run] = {}
    notes: list[str] = []
    taken: set[tuple[str, int | None, object, int]] = set()
    largest = max((run.size for run in plan.runs.values() if run.size != ALL), default=0)
    for name, run in plan.runs.items():
        found = results.get(name)
        if found is None:
            continue
        if "left_out" in found:
            notes.append(f"level {run.level} has no training facts: no model is tuned on it")
            continue
        available = found["num_available"]
        size = available if run.size == ALL else run.size
        what = "all levels together have" if run.level is None else f"level {run.level} has"
        if run.size == largest and found["num_facts"] != run.size:
            notes.append(f"{what} {available} training facts, not {run.size}")
        place = (run.strategy, run.level, size, run.seed)
        if place in taken:
            notes.append(f"{what} {size} training facts: all is the same as {size}")
            continue
        taken.add(place)
        runs[name] = run
    return runs, list(dict.fromkeys(notes))


def _runs_table(
    runs: Mapping[str, Run], results: Mapping[str, Mapping[str, object]]
) -> pl.DataFrame:
    rows = [
        (
            run.name,
            run.level,
            results[name]["num_facts"] if run.size == ALL else run.size,
            run.seed,
            *(results[name][column] for column in ("num_facts", "num_steps", "final_loss")),
        )
        for name, run in runs.items()
    ]
    return pl.DataFrame(rows, schema=RUNS_SCHEMA, orient="row")


def _strategies_table(
    runs: Mapping[str, Run], results: Mapping[str, Mapping[str, object]], *, has_instruct: bool
) -> pl.DataFrame:
    """The runs of other strategies, and the instruct model, which has no run of the study's own."""
    strategies = pl.Series("strategy", [run.strategy for run in runs.values()], pl.String)
    table = _runs_table(runs, results).with_columns(strategies).select(*STRATEGY_RUNS_SCHEMA)
    if not has_instruct:
        return table
    row = {"run": INSTRUCT, "strategy": INSTRUCT}
    instruct = pl.DataFrame([row], schema=STRATEGY_RUNS_SCHEMA)
    return pl.concat([table, instruct])


def _gather(
    folder: Path,
    name: str,
    files: Iterable[Path],
    schema: Mapping[str, object] | None = None,
) -> None:
    """Put tables one below the other; without any, an empty one of this schema, or none."""
    scans = [scan_tables([path]) for path in files]
    if not scans:
        if schema is not None:
            _write(folder, name, pl.DataFrame(schema=dict(schema)))  # type: ignore[arg-type]
        else:
            (folder / f"{name}.parquet").unlink(missing_ok=True)
        return
    gathered = pl.concat(scans)
    if schema is not None:
        gathered = gathered.select(*schema)
    with new_file(folder / f"{name}.parquet") as path:
        gathered.sink_parquet(path)


def _write(folder: Path, name: str, table: pl.DataFrame) -> None:
    with new_file(folder / f"{name}.parquet") as path:
        table.write_parquet(path)
