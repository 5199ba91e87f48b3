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
from sftlens.study._settings import Run, StudySettings
from sftlens.study._stages import (
    Study,
    change_stage,
    divergence_stage,
    probe_stage,
    restore_stage,
    score_stage,
    trainable_runs,
    tune_stage,
)
from sftlens.study._store import Store
from sftlens.tuning import TuneSettings
from sftlens.world import (
    EXPOSURES,
    PretrainSettings,
    WorldSettings,
    pretrain,
    write_world,
)


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
            world=WorldSettings(num_facts_in=20, num_facts_out=6, exposures=(0, 2, 8, 16, 24)),
            pretrain=PretrainSettings(num_epochs=4),
            study=StudySettings(
                sizes=(8, 16, 32),
                num_seeds=1,
                probe=ProbeSettings(num_templates=4, num_samples=2, max_new_tokens=10),
                tune=tune,
            ),
        )
    return DemoSettings(
        world=WorldSettings(num_facts_in=140, num_facts_out=36),
        pretrain=PretrainSettings(),
        study=StudySettings(
            sizes=(30, 120, 480),
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
        return _result(out, finished)
    require_free(out)
    with new_folder(out, work=work_folder(out, "demo", content_key(config))) as work:
        _make_base(work, settings)
        study = Study(
            base=work / "base",
            facts=read_facts(work / "world").facts,
            settings=settings.study,
            store=Store(work / "jobs"),
        )
        shutil.copyfile(work / "world" / WORLD_FACTS, work / "facts.parquet")
        shutil.copyfile(work / "world" / EXPOSURES, work / "exposures.parquet")
        completions, mastery = probe_stage(study)
        levels = dict(mastery.select("fact_id", "level").iter_rows())
        runs = trainable_runs(study, levels)
        largest = [run for run in runs if run.size == max(settings.study.sizes)]
        tuned = tune_stage(study, runs, levels)
        scores = score_stage(study, runs, levels)
        divergences = divergence_stage(study, runs, levels, completions)
        concentration, tensors = change_stage(study, largest)
        restorations, restored_scores = restore_stage(study, largest, levels)
        tables = {
            "completions": completions,
            "mastery": mastery,
            "runs": tuned,
            "scores": pl.concat([scores, restored_scores]),
            "divergence": divergences,
            "concentration": concentration,
            "tensors": tensors,
            "restorations": restorations,
        }
        for name, table in tables.items():
            table.write_parquet(work / f"{name}.parquet")
        write_manifest(
            work,
            stage="study",
            config=config,
            result={
                "base": model_identity(study.base),
                "num_facts": len(study.facts),
                "levels": level_sizes(mastery),
                "num_runs": len(runs),
                "num_restorations": len(restorations),
            },
        )
        _keep_some_models(study, largest, work / "tuned")
        shutil.rmtree(study.store.folder)
        write_report(work)
    return _result(out, read_manifest(out, "study")["result"])


def _make_base(work: Path, settings: DemoSettings) -> None:
    world, base = work / "world", work / "base"
    if not world.is_dir():
        write_world(world, settings.world)
    if not base.is_dir():
        pretrain(world, base, settings.pretrain, markers=[question_prompt("")])


def _keep_some_models(study: Study, runs: list[Run], kept: Path) -> None:
    kept.mkdir(exist_ok=True)
    for run in runs:
        if run.seed == 0:
            target = kept / f"level{run.level}"
            if not target.exists():
                (study.store.folder / "tuned" / run.name).rename(target)
            (target / "run.parquet").unlink(missing_ok=True)


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
