"""The whole job on an embedded scale model: nothing is downloaded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from pydantic import BaseModel, ConfigDict

from sftlens.checkpoints import model_identity
from sftlens.facts import WORLD_FACTS, read_facts
from sftlens.generation import question_prompt
from sftlens.manifest import content_key, finished_result, read_manifest, write_manifest
from sftlens.mastery import ProbeSettings, level_sizes
from sftlens.outputs import new_folder, require_free, work_folder
from sftlens.report import write_report
from sftlens.study._settings import StudySettings
from sftlens.study._stages import Study, run_stages, tuned_folder
from sftlens.study._store import Store
from sftlens.tuning import TuneSettings
from sftlens.world import (
    EXPOSURES,
    PretrainSettings,
    WorldSettings,
    pretrain,
    write_world,
)

_JOBS = "jobs"  # results of single jobs, which the tables take up in the end


class DemoSettings(BaseModel):
    """A world, a scale model, and a study of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quick: bool = False
    world: WorldSettings
    pretrain: PretrainSettings
    study: StudySettings


class DemoResult(NamedTuple):
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


def demo_settings(*, quick: bool = False) -> DemoSettings:
    """The demo's settings: fewer templates and samples than the paper's, and a scale model.

    Args:
        quick: so small that every stage runs within two minutes, and no effect shows.
    """
    tune = TuneSettings(learning_rate=3e-4)
    if quick:
        return DemoSettings(
            quick=True,
            world=WorldSettings(num_facts_in=10, num_facts_out=3, exposures=(0, 8, 24, 64)),
            pretrain=PretrainSettings(num_epochs=5, batch_size=4),
            study=StudySettings(
                sizes=(8, 16, 32),
                num_seeds=1,
                probe=ProbeSettings(num_templates=4, num_samples=2, max_new_tokens=10),
                tune=tune,
            ),
        )
    return DemoSettings(
        world=WorldSettings(),
        pretrain=PretrainSettings(),
        study=StudySettings(
            sizes=(30, 75, 150),
            num_seeds=3,
            probe=ProbeSettings(num_templates=8, num_samples=5, max_new_tokens=12),
            tune=tune,
        ),
    )


def run_demo(out: Path, settings: DemoSettings) -> DemoResult:
    """Run every stage on a scale model and write the run folder with its report.

    The work lies beside ``out`` until it is whole. Killed at any moment, the same call goes on
    with the job it was at, and ends with the same tables; a finished folder of the same call is
    left as it is.

    Args:
        out: the run folder: tables, world, base model, the models tuned with the most facts and
            the first seed, manifest, and ``index.html``.
        settings: see :func:`demo_settings`.

    Raises:
        UserError: when ``out`` holds something else.
    """
    config: dict[str, Any] = {"demo": settings.model_dump(mode="json")}
    config["settings"] = _told_settings(settings)
    if finished := finished_result(out, stage="study", config=config):
        shutil.rmtree(out / _JOBS, ignore_errors=True)
        return _result(out, finished)
    require_free(out)
    with new_folder(out, work=work_folder(out, "demo", content_key(config))) as work:
        _make_base(work, settings)
        study = Study(
            base=work / "base",
            facts=read_facts(work / "world").facts,
            settings=settings.study,
            store=Store(work / _JOBS),
        )
        shutil.copyfile(work / "world" / WORLD_FACTS, work / "facts.parquet")
        shutil.copyfile(work / "world" / EXPOSURES, work / "exposures.parquet")
        tables = run_stages(study)
        for name, table in tables.items():
            table.write_parquet(work / f"{name}.parquet")
        write_manifest(
            work,
            stage="study",
            config=config,
            result={
                "base": model_identity(study.base),
                "num_facts": len(study.facts),
                "levels": level_sizes(tables["mastery"]),
                "num_runs": len(tables["runs"]),
                "num_restorations": len(tables["restorations"]),
            },
        )
        _keep_some_models(study.store, tables["runs"], work / "tuned")
        write_report(work)
    shutil.rmtree(out / _JOBS)
    return _result(out, read_manifest(out, "study")["result"])


def _make_base(work: Path, settings: DemoSettings) -> None:
    world, base = work / "world", work / "base"
    if not world.is_dir():
        write_world(world, settings.world)
    if not base.is_dir():
        pretrain(world, base, settings.pretrain, markers=[question_prompt("")])


def _keep_some_models(store: Store, runs: pl.DataFrame, kept: Path) -> None:
    """Keep the models that were tuned on the most facts with the first seed."""
    largest = runs.filter(pl.col("seed") == 0, pl.col("size") == pl.col("size").max())
    for name, level in largest.select("run", "level").iter_rows():
        target = kept / f"level{level}"
        if not target.exists():
            with new_folder(target) as folder:
                shutil.copytree(tuned_folder(store, name), folder, dirs_exist_ok=True)


def _told_settings(settings: DemoSettings) -> dict[str, Any]:
    study = settings.study
    return {
        "quick": settings.quick,
        "model": f"scale model, preset {settings.pretrain.preset}, made for this run",
        "topics": "24, 10 in-domain and 14 out-of-domain",
        "probe templates": f"{study.probe.num_templates} (paper: 21)",
        "probe samples": f"{study.probe.num_samples} a template (paper: 10)",
        "probe temperature": study.probe.temperature,
        "training sizes": list(study.sizes),
        "training seeds": study.num_seeds,
        "learning rate": f"{study.tune.learning_rate:g} (paper: 1e-5, for billions of parameters)",
        "batch size": study.tune.batch_size,
        "epochs": study.tune.num_epochs,
        "restored shares, percent": list(study.shares),
        "answer tokens at most": study.score.max_new_tokens,
        "matching": study.score.matching,
    }


def _result(out: Path, found: dict[str, Any]) -> DemoResult:
    return DemoResult(
        str(out / "index.html"),
        found["num_facts"],
        found["levels"],
        found["num_runs"],
        found["num_restorations"],
        str(out),
    )
