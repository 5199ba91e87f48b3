"""A study whose training goes through ``accelerate launch``."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from launched import fsdp_config
from sftlens.errors import UserError
from sftlens.study import StudyFile, load_study, run_study
from sftlens.study._plan import make_plan
from sftlens.study._store import Store
from sftlens.study._study import find_sources
from sftlens.study._work import do_job
from sftlens.tuning import TuneSettings
from tiny_world import PROBE


def study_of(base: Path, world: Path, **keys: object) -> StudyFile:
    return StudyFile(
        base=str(base),
        facts=str(world),
        levels=(0,),
        sizes=(6,),
        seeds=1,
        methods=(),
        restored_sizes=(),
        probe=PROBE,
        tune=TuneSettings(learning_rate=1e-3, batch_size=4),
        **keys,
    )


def test_a_run_is_trained_by_two_processes(
    base: Path, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = {}
    for name, launch in (("alone", None), ("launched", fsdp_config(tmp_path))):
        study = study_of(base, world, launch=launch)
        plan = make_plan(study, find_sources(study))
        store = Store(tmp_path / name)
        for kind in ("facts", "probe", "tune"):
            (job,) = plan.of_kind(kind)
            do_job(job, {role: plan.jobs[needed] for role, needed in job.inputs.items()}, store)
        assert store.result(job)["num_steps"] == 2
        files = sorted(path.name for path in store.path(job).iterdir())
        assert files == ["job.json", "model", "training_facts.parquet"]
        weights[name] = (job.key, load_file(store.model(job) / "model.safetensors"))
    assert weights["alone"][0] == weights["launched"][0]
    for key, tensor in weights["alone"][1].items():
        assert (tensor - weights["launched"][1][key]).abs().max() < 2e-5, key


def test_a_failure_of_a_process_is_the_jobs(base: Path, world: Path, tmp_path: Path) -> None:
    config = fsdp_config(tmp_path)
    config.write_text(config.read_text().replace("fsdp_version: 2", "fsdp_version: 1"))
    result = run_study(study_of(base, world, launch=config), tmp_path / "run")
    assert list(result.failures) == ["tune level0-size6-seed0"]
    assert "write fsdp_version: 2" in result.failures["tune level0-size6-seed0"]
    (log,) = (tmp_path / "run" / "jobs" / "logs").iterdir()
    assert "write fsdp_version: 2" in log.read_text()


def test_where_the_configuration_lies(
    tmp_path: Path, base: Path, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "studies"
    folder.mkdir()
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({"base": str(base), "facts": str(world), "launch": "two.yaml"}))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"launch: two\.yaml does not exist"):
        load_study(file)
    for place in (tmp_path, folder):  # that beside the study file comes first
        (place / "two.yaml").touch()
        assert load_study(file).launch == place / "two.yaml"


def test_jobs_at_a_time_are_refused(base: Path, world: Path, tmp_path: Path) -> None:
    study = study_of(base, world, launch=fsdp_config(tmp_path))
    with pytest.raises(UserError, match="each job has all GPUs"):
        run_study(study, tmp_path / "run", num_workers=2)
    assert not (tmp_path / "run").exists()
