"""What each kind of job does."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
from safetensors.torch import load_file, save_file

from sftlens.divergence import BaseOutlook, base_outlook, divergence
from sftlens.errors import UserError
from sftlens.facts import facts_table, read_facts
from sftlens.generation import TransformersGenerator, load_model
from sftlens.mastery import ProbeSettings, best_templates, run_probe
from sftlens.scoring import ScoreSettings, score
from sftlens.study._launched import launched_training
from sftlens.study._layers import restore_layers
from sftlens.study._other_tasks import run_other_tasks
from sftlens.study._plan import Job, Kind
from sftlens.study._references import score_again, score_base
from sftlens.study._restoring import restore
from sftlens.study._store import MODEL, Store, read_result
from sftlens.study._tasks import (
    FACTS,
    MASTERY,
    SCORES,
    TRAINING_FACTS,
    WORLD,
    Task,
    is_trained_on,
    is_used,
    labelled,
    left_out,
)
from sftlens.study._threads import machine_threads
from sftlens.tuning import (
    LoraSettings,
    TuneSettings,
    Validation,
    choose_training_facts,
    fine_tune,
    validation_facts,
)
from sftlens.weights import diff, open_pair
from sftlens.world import EXPOSURES, PretrainSettings, WorldSettings, pretrain, write_world

DIVERGENCE = "divergence.parquet"
CONCENTRATION = "concentration.parquet"
TENSORS = "tensors.parquet"

CONCENTRATION_SCHEMA = {
    "run": pl.String,
    "ranking": pl.String,
    "top": pl.Float64,
    "held": pl.Float64,
    "num_top": pl.Int64,  # of the relative ranking: entries of the top that changed, and of these
    "num_zero_base": pl.Int64,  # those that are 0 in the base
    "num_small_base": pl.Int64,  # and those below 1e-4 there, zeros among them
}

_OUTLOOK = "outlook.safetensors"
_OUTLOOK_FACTS = "outlook.parquet"


def do_job(job: Job, inputs: Mapping[str, Job], store: Store) -> None:
    """Do a job whose inputs have left their results, and leave its own in the store.

    A job with an input for which there was nothing to do has nothing to do either.

    Args:
        job: the job.
        inputs: the jobs whose results it takes, by role.
        store: has those results, and takes the job's.

    Raises:
        UserError: as the rooms that do the work.
    """
    idle = [
        reason
        for needed in inputs.values()
        if (reason := store.result(needed).get("left_out")) is not None
    ]

    def work(folder: Path) -> Mapping[str, Any]:
        if idle:
            return {"left_out": idle[0]}
        places = {role: store.path(needed) for role, needed in inputs.items()}
        return _WORK[job.kind](Task(job, places, folder, store.folder / "ledger"))

    try:
        store.make(job, work, threads=machine_threads())
    finally:
        gc.collect()  # a trained model lies in reference cycles


def _world(task: Task) -> dict[str, Any]:
    write_world(task.folder / WORLD, WorldSettings(**task.settings))
    return {}


def _base(task: Task) -> dict[str, Any]:
    settings = PretrainSettings(**task.settings["pretrain"])
    markers = task.settings["markers"]
    world = task.inputs["world"] / WORLD
    return pretrain(world, task.folder / MODEL, settings, markers=markers).as_json()


def _facts(task: Task) -> dict[str, Any]:
    source: Path | str
    source = task.inputs["world"] / WORLD if "world" in task.inputs else task.job.places["facts"]
    found = read_facts(source)
    facts = [fact for fact in found.facts if task.settings["unused_facts"] or is_used(fact)]
    if not facts:
        raise UserError(
            f"{source}: has no facts to train on (split train, domain in) or to score (split test)"
        )
    facts_table(facts).write_parquet(task.folder / FACTS)
    if "world" in task.inputs:
        exposures = read_result(task.inputs["world"] / WORLD / EXPOSURES)
        exposures.write_parquet(task.folder / EXPOSURES)
    return {"num_facts": len(facts), "dropped": found.dropped}


def _probe(task: Task) -> dict[str, Any]:
    settings = ProbeSettings(**task.settings["probe"])
    facts = str(task.inputs["facts"] / FACTS)
    out = task.folder / MASTERY
    result = run_probe(str(task.base), facts, out, settings, ledger=task.ledger)
    assert result is not None  # of one process, which leads
    return {"num_completions": result.num_completions, "levels": result.levels}


def _tune(task: Task) -> dict[str, Any]:
    level, size, seed = (task.settings[name] for name in ("level", "size", "seed"))
    facts = task.facts()
    levels = task.mastery().levels
    validation = Validation(validation_facts(facts), levels)
    if level is None:
        levels, level = dict.fromkeys(levels, 0), 0
    of = (level,) if isinstance(level, int) else level  # several together are a list
    wanted = None if size == "all" else size
    try:
        chosen = choose_training_facts(facts, levels, level=of, size=wanted, seed=seed)
    except UserError as error:
        return left_out(error)
    model = task.folder / MODEL
    model.mkdir()
    lora = LoraSettings(**task.settings["lora"]) if "lora" in task.settings else None
    settings = TuneSettings(**task.settings["tune"])
    if launch := task.job.places.get("launch"):
        tuned = launched_training(
            Path(launch), task.base, chosen, model, settings, task.folder, lora=lora
        )
    else:
        tuned = fine_tune(
            load_model(task.base), chosen, model, settings, lora=lora, validation=validation
        )
    facts_table(chosen).write_parquet(task.folder / TRAINING_FACTS)
    available = sum(is_trained_on(fact) and levels.get(fact.fact_id) in of for fact in facts)
    return {**tuned._asdict(), "num_available": available, "model_of": task.job.name}


def _score(task: Task) -> dict[str, Any]:
    model, tokenizer, _ = task.load_scored()
    table = score(
        TransformersGenerator(model, tokenizer),
        task.scored_facts(),
        task.mastery().levels,
        ScoreSettings(**task.settings["score"]),
    )
    labelled(table, task.settings["run"], "tuned", None).write_parquet(task.folder / SCORES)
    return {}


def _outlook(task: Task) -> dict[str, Any]:
    mastery = task.mastery()
    best = best_templates(mastery.templates())
    tested = [fact for fact in task.facts() if fact.split == "test" and fact.domain == "in"]
    model, tokenizer, _ = load_model(task.base)
    try:
        found = base_outlook(TransformersGenerator(model, tokenizer), tested, mastery.levels, best)
    except UserError as error:
        return left_out(error)
    rows = [(f.fact_id, template) for f, template in zip(found.facts, found.templates, strict=True)]
    schema = {"fact_id": pl.String, "template": pl.Int32}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    table.write_parquet(task.folder / _OUTLOOK_FACTS)
    logits = {"statement": found.statement_logits, "question": found.question_logits}
    save_file(logits, task.folder / _OUTLOOK)
    return {"num_facts": len(rows)}


def _divergence(task: Task) -> dict[str, Any]:
    table = read_result(task.inputs["outlook"] / _OUTLOOK_FACTS)
    facts = {fact.fact_id: fact for fact in task.facts()}
    logits = load_file(task.inputs["outlook"] / _OUTLOOK)
    outlook = BaseOutlook(
        [facts[fact_id] for fact_id in table["fact_id"]],
        table["template"].to_list(),
        logits["statement"],
        logits["question"],
    )
    model, tokenizer, _ = load_model(task.tuned)
    found = divergence(TransformersGenerator(model, tokenizer), outlook)
    named = found.select(pl.lit(task.settings["run"]).alias("run"), pl.all())
    named.write_parquet(task.folder / DIVERGENCE)
    return {}


def _change(task: Task) -> dict[str, Any]:
    run = task.settings["run"]
    found = diff(open_pair(task.base, task.tuned), shares=task.settings["shares"])
    tensors = found.tensors.select(pl.lit(run).alias("run"), pl.all())
    tensors.write_parquet(task.folder / TENSORS)
    without = found.concentration_without_small_base
    held_by = {
        **found.concentration,
        **{f"{ranking} without small bases": by_share for ranking, by_share in without.items()},
    }
    rows = [
        (
            *(run, ranking, float(top), held),
            *(found.top[top] if ranking == "relative" else (None, None, None)),
        )
        for ranking, by_share in held_by.items()
        for top, held in by_share.items()
    ]
    table = pl.DataFrame(rows, schema=CONCENTRATION_SCHEMA, orient="row")
    table.write_parquet(task.folder / CONCENTRATION)
    return {"num_changed": found.num_changed}


_WORK: dict[Kind, Callable[[Task], dict[str, Any]]] = {
    "world": _world,
    "base": _base,
    "facts": _facts,
    "probe": _probe,
    "outlook": _outlook,
    "tune": _tune,
    "score": _score,
    "divergence": _divergence,
    "change": _change,
    "restore": restore,
    "base-score": score_base,
    "noise": score_again,
    "layers": restore_layers,
    "tasks": run_other_tasks,
}
