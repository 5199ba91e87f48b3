"""A study from its file to its tables."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from sftlens import notebook
from sftlens.checkpoints import model_identity, resolve_model
from sftlens.disk import full_disk_reported
from sftlens.errors import FullDiskError, UserError
from sftlens.facts import facts_hash, read_facts
from sftlens.locks import INSIDE, locked
from sftlens.manifest import MANIFEST, record_files, write_manifest
from sftlens.outputs import require_free
from sftlens.report import write_report
from sftlens.report.paper import write_paper_tables
from sftlens.study._collect import Collected, write_tables
from sftlens.study._file import StudyFile
from sftlens.study._fitting import jobs_at_a_time, model_size, this_machine
from sftlens.study._harness_tasks import find_tasks, load_tasks
from sftlens.study._judging import write_claims, write_failures
from sftlens.study._launch import read_launch
from sftlens.study._plan import Plan, Sources, make_plan
from sftlens.study._ray import RayRunner
from sftlens.study._runner import InlineRunner, Outcome, ProcessRunner, run_jobs
from sftlens.study._store import MODEL, Store
from sftlens.study._tasks import known_by_content
from sftlens.study._told import PAGE, already_told, plan_key, written_tables

JOBS = "jobs"
TUNED = "tuned"
_BESIDE = (JOBS, TUNED, INSIDE)
"""What a run folder holds beside its tables and pages."""


@dataclass(frozen=True)
class StudyResult(notebook.Tabular):
    """What ``sftlens study run`` tells.

    Attributes:
        num_jobs: jobs of the study.
        num_done: those that have left a result, in this run or an earlier one.
        num_failed: those that were tried and failed; the next run tries them again.
        num_skipped: those that wait for a failed one.
        failures: why, by the name of the job.
        notes: what is missing from the tables, and why.
        report: the page, None where the tables do not make one.
        out: the run folder.
    """

    num_jobs: int
    num_done: int
    num_failed: int
    num_skipped: int
    failures: dict[str, str]
    notes: list[str]
    report: str | None
    out: str

    def to_polars(self) -> pl.DataFrame:
        """One row: how many jobs were done, failed and skipped, and where it is."""
        return notebook.one_row(self.as_json())

    def _repr_html_(self) -> str:
        failed = [f"{name}: {reason}" for name, reason in self.failures.items()]
        return notebook.as_html("study", self.to_polars(), [*failed, *self.notes])


def run_study(
    study: StudyFile,
    out: Path | None = None,
    *,
    num_workers: int | None = None,
    cluster: str | None = None,
) -> StudyResult:
    """Do the jobs of a study that are not done yet, and write its tables and its report.

    The run folder holds ``jobs`` (the results of the jobs, each whole or not there), the tables,
    the manifest, the report, in ``paper`` the paper's tables, and in ``tuned`` links to the models
    that stay. Killed at any moment, the same call goes on; a study whose settings changed does
    again only what depends on them, and a finished one nothing.

    Args:
        study: what to vary and measure.
        out: the run folder, instead of the one that the study names.
        num_workers: jobs at a time; by default as many as memory and cores have room for, on a
            cluster what it has resources for. No table depends on it.
        cluster: address of a Ray cluster that does the jobs: ``host:port``, ``auto`` or ``local``;
            all its nodes must see the run folder.

    Raises:
        UserError: when there is no run folder named, it holds something else, another run is at
            work on it, the base or the facts are not to be had, or ``launch`` is of several
            machines or meets several jobs at a time.
    """
    folder = out or study.out
    if folder is None:
        raise UserError("out: is missing; write it into the study file, or give --out")
    folder = folder.resolve()
    if not (folder / JOBS).is_dir():
        require_free(folder)
    if study.launch is not None:
        read_launch(study.launch)
        if cluster is not None:
            raise UserError(
                f"--cluster {cluster}: gives a job one GPU, and with launch: each has all of this "
                "machine; leave --cluster out, or launch: where one GPU can train the model"
            )
        if num_workers not in (None, 1):
            raise UserError(
                f"{num_workers} jobs at a time: with launch: each job has all GPUs; take 1"
            )
        num_workers = 1
    sources = find_sources(study)
    store = Store(folder / JOBS)
    with full_disk_reported(folder), locked(folder, inside=True):
        plan = make_plan(study, sources)
        if told := already_told(plan, store, folder, study_config(study)):
            _link_models(plan, store, folder / TUNED)
            done, page = len(plan.jobs), str(folder / PAGE)
            return StudyResult(done, done, 0, 0, {}, told["notes"], page, str(folder))
        _require_tasks(plan, store, sources)
        if cluster is None and num_workers is None:
            num_workers = _workers_here(study, sources)
        with _runner(store, num_workers, cluster, apart=study.launch is None) as runner:
            outcome = run_jobs(plan, store, runner)
        return _told(study, plan, store, outcome, folder)


def _workers_here(study: StudyFile, sources: Sources) -> int:
    """As many jobs at a time as fit on this machine."""
    found = study if study.base is None else study.model_copy(update={"base": sources.base_folder})
    rates = study.estimate.rates
    return jobs_at_a_time(
        this_machine(),
        model_size(found).num_parameters,
        threads=study.threads,
        measured=None if rates is None else rates.memory,
    )


def _runner(
    store: Store, num_workers: int | None, cluster: str | None, *, apart: bool
) -> ProcessRunner | RayRunner:
    if cluster is None:
        return ProcessRunner(store, num_workers, apart=apart)
    return RayRunner(store, cluster, num_workers)


def do_here(study: StudyFile, folder: Path, *, num_workers: int | None = 1) -> tuple[Plan, Store]:
    """Do all jobs of a study.

    Args:
        study: what to vary and measure.
        folder: takes the results, under ``jobs``.
        num_workers: jobs at a time; 1 does them in this process, None as many as memory and cores
            have room for.

    Raises:
        UserError: when a job failed; the others are done.
    """
    sources = find_sources(study)
    plan = make_plan(study, sources)
    store = Store(folder / JOBS)
    _require_tasks(plan, store, sources)
    number = _workers_here(study, sources) if num_workers is None else num_workers
    if number == 1:
        outcome = run_jobs(plan, store, InlineRunner(store))
    else:
        with ProcessRunner(store, number) as runner:
            outcome = run_jobs(plan, store, runner)
    for name, reason in outcome.failed.items():
        raise UserError(f"{name}: {reason}")
    return plan, store


def find_sources(study: StudyFile) -> Sources:
    """What a study starts from: models are fetched where they are not here, the facts are read.

    Raises:
        UserError: when a model or the facts are not to be had, or lm-evaluation-harness is needed
            and not installed.
    """
    sources = Sources(tasks=find_tasks(study.tasks))
    if study.base is not None and study.facts is not None:
        facts = read_facts(study.facts).facts
        folder = resolve_model(study.base).resolve()
        sources = sources._replace(
            base=known_by_content(folder),
            base_folder=str(folder),
            facts=facts_hash(facts),
            facts_source=_absolute(study.facts),
        )
    if study.instruct is not None:
        folder = resolve_model(study.instruct).resolve()
        sources = sources._replace(instruct=known_by_content(folder), instruct_folder=str(folder))
    return sources


def _require_tasks(plan: Plan, store: Store, sources: Sources) -> None:
    """Refuse other tasks that cannot be loaded before anything else is done."""
    if not all(store.has(job) for job in plan.of_kind("tasks")):
        load_tasks(sources.tasks)


def write_study(
    study: StudyFile, plan: Plan, store: Store, folder: Path, outcome: Outcome | None = None
) -> Collected:
    """Write the tables of a study, the paper's claims as they tell them, what failed, and the
    manifest, which goes first and comes last.

    Args:
        study: what it varied and measured.
        plan: its jobs.
        store: their results.
        folder: takes the files.
        outcome: what became of the jobs; None where all are done.
    """
    (folder / MANIFEST).unlink(missing_ok=True)
    collected = write_tables(plan, store, folder)
    write_failures(plan, outcome, folder)
    if (note := write_claims(folder)) is not None:
        collected.notes.append(note)
    for note in collected.notes:
        sys.stderr.write(f"{note}\n")
    facts = plan.jobs["facts"]
    result = {
        "base": _base_identity(plan, store),
        "facts": facts.settings.get("facts"),
        "num_facts": store.result(facts)["num_facts"] if store.has(facts) else None,
        "levels": collected.levels,
        "num_runs": collected.num_runs,
        "num_restorations": collected.num_restorations,
        "num_jobs": len(plan.jobs),
        "threads": _threads(study, plan, store),
        "num_failed": 0 if outcome is None else len(outcome.failed),
        "notes": collected.notes,
        "plan": plan_key(plan),
        "tables": written_tables(folder),
    }
    write_manifest(folder, stage="study", config=study_config(study), result=result)
    return collected


def study_config(study: StudyFile) -> dict[str, Any]:
    """What the manifest says of a study's settings; ``settings`` are those the report tells."""
    content = study.model_dump(mode="json", exclude={"out", "estimate", "launch"})
    return {"study": content, "settings": _told_settings(study)}


def _told(
    study: StudyFile, plan: Plan, store: Store, outcome: Outcome, folder: Path
) -> StudyResult:
    result = StudyResult(
        num_jobs=len(plan.jobs),
        num_done=len(outcome.done),
        num_failed=len(outcome.failed),
        num_skipped=len(outcome.skipped),
        failures=outcome.failed,
        notes=[],
        report=None,
        out=str(folder),
    )
    collected = write_study(study, plan, store, folder, outcome)
    _link_models(plan, store, folder / TUNED)
    notes, report = list(collected.notes), None
    try:
        notes += write_paper_tables(folder).notes
        report = str(write_report(folder))
    except FullDiskError:
        raise
    except UserError as error:
        notes.append(f"no report: {error}")
    record_files(folder, "study", leave_out=_BESIDE)
    return replace(result, notes=notes, report=report)


def _link_models(plan: Plan, store: Store, folder: Path) -> None:
    """Links to the models that stay, under the names of their runs."""
    folder.mkdir(exist_ok=True)
    for link in folder.iterdir():
        if link.is_symlink():
            link.unlink()
    for name, run in plan.runs.items():
        job = plan.jobs[name]
        if job.keeps_model and store.model(job).is_dir():
            link = folder / run.name
            link.symlink_to(Path("..") / store.model(job).relative_to(folder.parent))


def _base_identity(plan: Plan, store: Store) -> dict[str, str] | None:
    if "base" not in plan.jobs:
        return model_identity(Path(plan.jobs["probe"].places["base"]))
    made = plan.jobs["base"]
    return model_identity(store.path(made) / MODEL) if store.has(made) else None


def _threads(study: StudyFile, plan: Plan, store: Store) -> dict[str, int | None]:
    """What the jobs computed with; those of the base and the probe are the machine's cores."""
    told: dict[str, int | None] = {"others": study.threads}
    for job in (*plan.of_kind("base"), *plan.of_kind("probe")):
        if store.has(job):
            told[job.kind] = store.threads(job)
    return told


def _absolute(source: str) -> str:
    """A source of facts that reads the same from other working folders."""
    if Path(source).exists():
        return str(Path(source).absolute())
    name, colon, rest = source.partition(":")
    if colon and Path(rest).expanduser().exists():
        return f"{name}:{Path(rest).expanduser().absolute()}"
    return source


def _told_settings(study: StudyFile) -> dict[str, Any]:
    rate = f"{study.tune.learning_rate:g}"
    if study.scale is None:
        model, topics = study.base, "those of the facts"
    else:
        model = f"scale model, preset {study.scale.pretrain.preset}, made for this run"
        topics = "24, 10 in-domain and 14 out-of-domain"
        rate += " (paper: 1e-5, for billions of parameters)"
    return {
        "quick": study.quick,
        "model": model,
        "topics": topics,
        "probe templates": f"{study.probe.num_templates} (paper: 21)",
        "probe samples": f"{study.probe.num_samples} a template (paper: 10)",
        "probe temperature": study.probe.temperature,
        "training sizes": list(study.sizes),
        "training seeds": study.seeds,
        "learning rate": rate,
        "batch size": study.tune.batch_size,
        "epochs": study.tune.num_epochs,
        "restored shares, percent": list(study.shares),
        "answer tokens at most": study.score.max_new_tokens,
        "matching": study.score.matching,
    }
