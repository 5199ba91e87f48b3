"""The stages of a study; each does its jobs one by one and gives one table of them all."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sftlens.checkpoints import model_identity
from sftlens.divergence import base_outlook, divergence
from sftlens.errors import UserError
from sftlens.facts import Fact
from sftlens.generation import TransformersGenerator, load_model
from sftlens.manifest import read_manifest, write_manifest
from sftlens.mastery import (
    Probe,
    Stores,
    best_templates,
    num_completions,
    open_ledgers,
    probe,
)
from sftlens.progress import Advance, progress
from sftlens.scoring import score, score_sweep
from sftlens.study._settings import Run, StudySettings, training_runs
from sftlens.study._store import Store
from sftlens.tuning import choose_training_facts, fine_tune
from sftlens.weights import Planned, Request, Sweep, diff, match_norm, open_pair, plan

RUNS_SCHEMA = {
    "run": pl.String,
    "level": pl.Int32,
    "size": pl.Int32,
    "seed": pl.Int32,
    "num_facts": pl.Int32,
    "num_steps": pl.Int32,
    "final_loss": pl.Float64,
}
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
CONCENTRATION_SCHEMA = {
    "run": pl.String,
    "ranking": pl.String,
    "top": pl.Float64,
    "held": pl.Float64,
}


class Study(NamedTuple):
    """What the stages work on.

    Attributes:
        base: folder of the base model.
        facts: all facts.
        settings: see :class:`StudySettings`.
        store: takes the results.
    """

    base: Path
    facts: list[Fact]
    settings: StudySettings
    store: Store

    @property
    def scored_facts(self) -> list[Fact]:
        """Test facts, and the in-domain validation facts that choices are made on."""
        return [
            fact
            for fact in self.facts
            if fact.split == "test" or (fact.split == "validation" and fact.domain == "in")
        ]


def run_stages(study: Study) -> dict[str, pl.DataFrame]:
    """Run a study from probing to restoration; what is stored already is not done again.

    Returns:
        The tables ``completions``, ``mastery``, ``runs``, ``scores``, ``divergence``,
        ``concentration``, ``tensors`` and ``restorations``.
    """
    completions, mastery, templates, _ = probe_stage(study)
    levels = dict(mastery.select("fact_id", "level").iter_rows())
    runs = trainable_runs(study, levels)
    largest = [run for run in runs if run.size == max(study.settings.sizes)]
    tuned = tune_stage(study, runs, levels)
    scores = score_stage(study, runs, levels)
    divergences = divergence_stage(study, runs, levels, templates)
    concentration, tensors = change_stage(study, largest)
    restorations, restored_scores = restore_stage(study, largest, levels)
    return {
        "completions": completions,
        "mastery": mastery,
        "runs": tuned,
        "scores": pl.concat([scores, restored_scores]),
        "divergence": divergences,
        "concentration": concentration,
        "tensors": tensors,
        "restorations": restorations,
    }


def tuned_folder(store: Store, run: str) -> Path:
    """Where the model of a run lies."""
    return store.folder / "tuned" / run


def probe_stage(study: Study) -> Probe:
    """Grade the facts by the base model."""
    settings = study.settings.probe
    total = num_completions(len(study.facts), settings)
    model, tokenizer, _ = load_model(study.base)
    ledgers = open_ledgers(study.store.folder / "ledger", model_identity(study.base), settings)
    with (
        progress("probing the base model", total) as advance,
        ledgers.sampled as sampled,
        ledgers.greedy as greedy,
    ):
        return probe(
            TransformersGenerator(model, tokenizer),
            study.facts,
            settings,
            stores=Stores(sampled, greedy),
            advance=advance,
        )


def trainable_runs(study: Study, levels: Mapping[str, int]) -> list[Run]:
    """The runs of a study whose level has training facts.

    A level that has fewer facts than a run asks for is told on standard error; so is one that has
    none, and its runs are left out.
    """
    available = Counter(
        levels[fact.fact_id]
        for fact in study.facts
        if fact.split == "train" and fact.domain == "in"
    )
    for level in study.settings.levels:
        wanted = max(study.settings.sizes)
        if available[level] < wanted:
            sys.stderr.write(
                f"level {level} has {available[level]} training facts, not {wanted}"
                f"{'' if available[level] else ': no model is tuned on it'}\n"
            )
    return [run for run in training_runs(study.settings) if available[run.level]]


def tune_stage(study: Study, runs: Sequence[Run], levels: Mapping[str, int]) -> pl.DataFrame:
    """Fine-tune the base model once for each run; one row a run, :data:`RUNS_SCHEMA`."""

    def tune(run: Run) -> pl.DataFrame:
        def make(folder: Path) -> None:
            chosen = choose_training_facts(
                study.facts, levels, level=run.level, size=run.size, seed=run.seed
            )
            settings = study.settings.tune.model_copy(update={"seed": run.seed})
            tuned = fine_tune(load_model(study.base), chosen, folder, settings)
            gc.collect()  # a trained model lies in reference cycles
            config = {**run._asdict(), "settings": settings.model_dump(mode="json")}
            write_manifest(folder, stage="tune", config=config, result=tuned._asdict())

        folder = study.store.model("tuned", run.name, make)
        result = read_manifest(folder, "tune")["result"]
        row = {"run": run.name, **run._asdict(), **result}
        return pl.DataFrame([row], schema=RUNS_SCHEMA)

    return _each_run("fine-tuning", runs, tune)


def score_stage(study: Study, runs: Sequence[Run], levels: Mapping[str, int]) -> pl.DataFrame:
    """Score every tuned model; run, method ``tuned``, share null, and the columns of a score."""
    facts = study.scored_facts

    def scored(run: Run) -> pl.DataFrame:
        def make() -> pl.DataFrame:
            model, tokenizer, _ = load_model(tuned_folder(study.store, run.name))
            generator = TransformersGenerator(model, tokenizer)
            return _labelled(
                score(generator, facts, levels, study.settings.score), run, "tuned", None
            )

        return study.store.table("scores", run.name, make)

    return _each_run("scoring", runs, scored)


def divergence_stage(
    study: Study, runs: Sequence[Run], levels: Mapping[str, int], templates: pl.DataFrame
) -> pl.DataFrame:
    """Measure the divergence of every tuned model on the in-domain test facts of level 4."""
    best = best_templates(templates)
    tested = [fact for fact in study.facts if fact.split == "test" and fact.domain == "in"]
    model, tokenizer, _ = load_model(study.base)
    try:
        outlook = base_outlook(TransformersGenerator(model, tokenizer), tested, levels, best)
    except UserError as error:
        sys.stderr.write(f"divergence is not measured: {error}\n")
        return pl.DataFrame(
            schema={"run": pl.String, "fact_id": pl.String, "topic": pl.String}
            | {"template": pl.Int32, "kl": pl.Float64, "kl_full": pl.Float64}
        )

    del model
    gc.collect()

    def diverged(run: Run) -> pl.DataFrame:
        def make() -> pl.DataFrame:
            model, tokenizer, _ = load_model(tuned_folder(study.store, run.name))
            table = divergence(TransformersGenerator(model, tokenizer), outlook)
            return table.select(pl.lit(run.name).alias("run"), pl.all())

        return study.store.table("divergence", run.name, make)

    return _each_run("divergence", runs, diverged)


def change_stage(study: Study, runs: Sequence[Run]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Where runs changed the weights: the concentration, and the tensors, by run."""
    shares = study.settings.shares

    def concentration(run: Run) -> pl.DataFrame:
        def make() -> pl.DataFrame:
            found = diff(open_pair(study.base, tuned_folder(study.store, run.name)), shares=shares)
            tensors = found.tensors.select(pl.lit(run.name).alias("run"), pl.all())
            study.store.table("tensors", run.name, lambda: tensors)
            rows = [
                (run.name, ranking, float(top), held)
                for ranking, by_share in found.concentration.items()
                for top, held in by_share.items()
            ]
            return pl.DataFrame(rows, schema=CONCENTRATION_SCHEMA, orient="row")

        return study.store.table("concentration", run.name, make)

    table = _each_run("change of the weights", runs, concentration)
    tensors = [study.store.stored("tensors", r.name) for r in runs]
    return table, pl.concat(tensors)


def restore_stage(
    study: Study, runs: Sequence[Run], levels: Mapping[str, int]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Restore the runs' models by every share, with the controls, and score each in memory.

    The controls are a random choice of as many parameters, and the interpolation
    base + α(tuned − base) that removes as much of the update's squared norm.

    Returns:
        The restorations, :data:`RESTORATIONS_SCHEMA`, and their scores.
    """
    per_run = 3 * len(study.settings.shares)
    restorations, scores = [], []
    with progress("restoring and scoring", len(runs) * per_run) as advance:
        for run in runs:
            restored = _restore_run(study, run, levels, advance)
            restorations.append(restored[0])
            scores.append(restored[1])
    return pl.concat(restorations), pl.concat(scores)


def _restore_run(
    study: Study, run: Run, levels: Mapping[str, int], advance: Advance
) -> tuple[pl.DataFrame, pl.DataFrame]:
    settings, store = study.settings, study.store
    folder = tuned_folder(store, run.name)
    pair = open_pair(study.base, folder)
    relative = plan(pair, Request("relative", settings.shares))
    random = plan(pair, Request("random", settings.shares, seed=run.seed))
    matched = [match_norm(one.selection) for one in relative if one.selection]
    planned = {
        (method, one.share): one
        for method, ways in (("relative", relative), ("random", random), ("interpolation", matched))
        for one in ways
    }
    jobs = {f"{run.name}-{method}-{share:g}": (method, share) for method, share in planned}
    missing = {name: job for name, job in jobs.items() if not store.has("restored", name)}
    advance(len(jobs) - len(missing))
    if missing:
        model, tokenizer, _ = load_model(folder)
        generator = TransformersGenerator(model, tokenizer)
        with Sweep(model, pair) as sweep:
            scored = score_sweep(
                generator,
                sweep,
                [planned[job] for job in missing.values()],
                study.scored_facts,
                levels,
                settings.score,
            )
            for (name, (method, share)), (_, scores) in zip(missing.items(), scored, strict=True):
                store.table("restored", name, partial(_labelled, scores, run, method, share))
                advance(1)
    rows = [_restoration_row(run, method, one) for (method, _), one in planned.items()]
    restorations = pl.DataFrame(rows, schema=RESTORATIONS_SCHEMA, orient="row")
    return restorations, pl.concat([store.stored("restored", name) for name in jobs])


def _restoration_row(run: Run, method: str, planned: Planned) -> tuple[object, ...]:
    found = planned.selection
    assert found is not None, method
    moves_all = planned.num_restored is None
    return (
        run.name,
        method,
        float(found.share),
        found.num_parameters,
        planned.num_restored,
        None if moves_all else found.num_restored_changed,
        found.norm_removed,
        planned.alpha,
    )


def _each_run(stage: str, runs: Sequence[Run], job: Callable[[Run], pl.DataFrame]) -> pl.DataFrame:
    tables = []
    with progress(stage, len(runs)) as advance:
        for run in runs:
            tables.append(job(run))
            advance(1)
    return pl.concat(tables)


def _labelled(table: pl.DataFrame, run: Run, method: str, share: float | None) -> pl.DataFrame:
    return table.select(
        pl.lit(run.name).alias("run"),
        pl.lit(method).alias("method"),
        pl.lit(share, dtype=pl.Float64).alias("share"),
        pl.all(),
    )
