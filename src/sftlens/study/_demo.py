"""The whole job on an embedded scale model: nothing is downloaded."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sftlens import notebook
from sftlens.manifest import read_manifest
from sftlens.output_folder import open_output
from sftlens.outputs import new_folder
from sftlens.report import write_report
from sftlens.report.paper import write_paper_tables
from sftlens.study._file import StudyFile, load_study
from sftlens.study._plan import Plan
from sftlens.study._store import MODEL, RECORD, Store
from sftlens.study._study import JOBS, do_here, study_config, write_study
from sftlens.study._tasks import WORLD

_HERE = Path(__file__).parent
_RESUMED = (f"{JOBS}/*/*/{RECORD}", f"{JOBS}/*/.*.work", f"{JOBS}/ledger/*/*.jsonl")


@dataclass(frozen=True)
class DemoResult(notebook.Tabular):
    """What ``sftlens demo`` tells.

    Attributes:
        report: the page.
        num_facts: facts of the world.
        levels: facts of level 0 to 4.
        num_runs: models that were fine-tuned.
        num_restorations: restorations that were scored, controls included.
        out: the run folder.
    """

    report: str
    num_facts: int
    levels: list[int]
    num_runs: int
    num_restorations: int
    out: str

    def to_polars(self) -> pl.DataFrame:
        """One row."""
        return notebook.one_row(self.as_json())

    def _repr_html_(self) -> str:
        return notebook.as_html("demo", self.to_polars())


def demo_settings(*, quick: bool = False) -> StudyFile:
    """The demo's study: fewer templates and samples than the paper's, and a scale model.

    Args:
        quick: so small that every stage runs within two minutes, and no effect shows.
    """
    return load_study(_HERE / ("demo-quick.yaml" if quick else "demo.yaml"))


def run_demo(out: Path, study: StudyFile, *, num_workers: int | None = 1) -> DemoResult:
    """Run a study of a scale model and write the run folder with its report.

    The work lies beside ``out`` until it is whole. Killed at any moment, the same call goes on
    with the job it was at, and ends with the same tables; a finished folder of the same call is
    left as it is.

    Args:
        out: the run folder: tables, world, base model, the models tuned with the most facts and
            the first seed, manifest, ``index.html``, and in ``paper`` the paper's tables and
            figures.
        study: see :func:`demo_settings`.
        num_workers: jobs at a time; 1 does them in this process, None as many as memory and cores
            have room for. No table depends on it.

    Raises:
        UserError: when ``out`` holds something else, or a job failed.
    """
    config = study_config(study)
    with open_output(
        out, stage="study", config=config, resumed=_RESUMED, temporary=(JOBS,)
    ) as output:
        if output.finished is not None:
            return _result(out, output.finished)
        work = output.work
        plan, store = do_here(study, work, num_workers=num_workers)
        write_study(study, plan, store, work)
        _keep(store.path(plan.jobs["world"]) / WORLD, work / "world")
        _keep(store.path(plan.jobs["base"]) / MODEL, work / "base")
        _keep_some_models(plan, store, work / "tuned")
        for note in write_paper_tables(work).notes:
            sys.stderr.write(f"{note}\n")
        write_report(work)
        found = read_manifest(work, "study")["result"]
        output.complete(found)
    return _result(out, found)


def _keep_some_models(plan: Plan, store: Store, kept: Path) -> None:
    """Keep the models that were tuned on the most facts with the first seed."""
    for name, run in plan.runs.items():
        job = plan.jobs[name]
        if job.keeps_model and store.model(job).is_dir():
            _keep(store.model(job), kept / f"level{run.level}")


def _keep(folder: Path, target: Path) -> None:
    if not target.exists():
        with new_folder(target) as copy:
            shutil.copytree(folder, copy, dirs_exist_ok=True)


def _result(out: Path, found: dict[str, Any]) -> DemoResult:
    return DemoResult(
        str(out / "index.html"),
        found["num_facts"],
        found["levels"],
        found["num_runs"],
        found["num_restorations"],
        str(out),
    )
