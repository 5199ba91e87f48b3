"""A study whose training goes through ``accelerate launch``."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
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
        probe=PROBE,
        tune=TuneSettings(learning_rate=1e-3, batch_size=4),
        **{"restored_sizes": (), **keys},
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


def test_an_adapter_is_trained_by_one_process_beside_it(
    base: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the first of the GPUs that the study sees, and to the same weights."""
    popen, seen = subprocess.Popen, []

    def watched(command: list[str], **options: Any) -> Any:
        seen.append((command, options.pop("env")))
        return popen(command, env={**seen[-1][1], "CUDA_VISIBLE_DEVICES": ""}, **options)

    monkeypatch.setattr("sftlens.study._launched.subprocess.Popen", watched)
    monkeypatch.setattr("sftlens.study._launched.visible_devices", lambda: ["5", "3"])
    weights = []
    for name, launch in (("alone", None), ("launched", fsdp_config(tmp_path))):
        study = study_of(base, world, launch=launch, strategies=("lora",), restored_sizes=(6,))
        plan = make_plan(study, find_sources(study))
        store = Store(tmp_path / name)
        for kind in ("facts", "probe", "tune"):
            (job,) = plan.of_kind(kind)
            do_job(job, {role: plan.jobs[needed] for role, needed in job.inputs.items()}, store)
        weights.append(load_file(store.model(job) / "adapter_model.safetensors"))
    ((command, environment),) = seen
    assert "launch" not in command
    assert environment["CUDA_VISIBLE_DEVICES"] == "5"
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(tensor, weights[1][key]) for key, tensor in weights[0].items())


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
        (place / "two.yaml").write_text("num_processes: 2\n")
        assert load_study(file).launch == place / "two.yaml"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"num_workers": 2}, "each job has all GPUs"),
        ({"cluster": "auto"}, "leave --cluster out"),
    ],
)
def test_jobs_at_a_time_are_refused(
    base: Path, world: Path, tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    study = study_of(base, world, launch=fsdp_config(tmp_path))
    with pytest.raises(UserError, match=told):
        run_study(study, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("num_machines: 2\n", "num_machines: 2 would wait .*; write num_machines: 1"),
        ("num_processes: four\n", "num_processes: 'four' is refused"),
        ("num_machines: 0\n", "num_machines: 0 is refused"),
        ("", "holds no keys"),
        ("a: [", "is not valid YAML"),
    ],
)
def test_configurations_that_are_refused(
    base: Path, world: Path, tmp_path: Path, text: str, told: str
) -> None:
    """When the study file is read, and when a study begins that was not read from one."""
    config = tmp_path / "config.yaml"
    config.write_text(text)
    file = tmp_path / "study.yaml"
    keys = {"base": str(base), "facts": str(world), "launch": "config.yaml"}
    file.write_text(yaml.safe_dump(keys))
    for begin in (
        lambda: load_study(file),
        lambda: run_study(study_of(base, world, launch=config), tmp_path / "run"),
    ):
        with pytest.raises(UserError, match=told) as refused:
            begin()
        assert str(config) in str(refused.value)
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()
