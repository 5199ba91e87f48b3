"""`sftlens study`: what it prints, that it goes on, and what a failed job leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from calls import Call

from sftlens.report._answers import Answers
from sftlens.report._tables import load_tables
from sftlens.study import Job
from tiny_world import PROBE


@pytest.fixture
def study_file(base: Path, world: Path, tmp_path: Path) -> Path:
    content: dict[str, Any] = {
        "base": str(base),
        "facts": str(world),
        "out": str(tmp_path / "run"),
        "levels": [0],
        "sizes": [8, "all"],
        "seeds": 1,
        "shares": [20],
        "methods": ["relative", "interpolation"],
        "keep_models": "none",
        "probe": PROBE.model_dump(include=PROBE.model_fields_set),
        "tune": {"learning_rate": 1e-3},
    }
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting workers takes seconds."""
    from sftlens.study import InlineRunner, _study

    class Runner(InlineRunner):
        def __init__(self, store: Any, num_workers: int | None, *, apart: bool) -> None:
            super().__init__(store)

        def __enter__(self) -> Runner:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(_study, "ProcessRunner", Runner)


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.usefixtures("in_this_process")
def test_a_study_runs_fails_and_goes_on(
    sftlens: Call, study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    from sftlens.study import _work

    def diverges(task: Any) -> Any:
        raise _work.UserError("fine-tuning diverged; lower the learning rate")

    with monkeypatch.context() as patch:
        patch.setitem(_work._WORK, "restore", diverges)
        call = sftlens("study", "run", study_file, "--json")
    assert call.code == 2
    told = json.loads(call.out)
    assert (told["num_jobs"], told["num_done"], told["num_failed"]) == (14, 13, 1)
    assert "lower the learning rate" in call.err.splitlines()[-1]
    assert "the same command tries them again" in call.err.splitlines()[-1]
    assert pl.read_parquet(out / "restorations.parquet").is_empty()
    run = "level0-size8-seed0"
    reason = "fine-tuning diverged; lower the learning rate"
    failures = pl.read_parquet(out / "failures.parquet")
    assert failures.rows() == [(f"restore {run}", "restore", run, reason)]
    claims = pl.read_parquet(out / "claims.parquet")
    assert claims.filter(claim="restoration-in")["decision"].item() == "not measured"
    assert told["report"] == str(out / "index.html")

    found = sftlens("study", "run", study_file, "--json").json
    assert found == {
        **found,
        "num_jobs": 14,
        "num_done": 14,
        "num_failed": 0,
        "num_skipped": 0,
        "failures": {},
        "out": str(out),
        "report": str(out / "index.html"),
    }
    assert not (out / "failures.parquet").exists()
    runs = pl.read_parquet(out / "runs.parquet")
    assert runs["run"].to_list() == ["level0-size8-seed0", "level0-all-seed0"]
    assert runs["size"].to_list() == runs["num_facts"].to_list()
    restored = pl.read_parquet(out / "restorations.parquet")
    assert restored["run"].unique().to_list() == ["level0-size8-seed0"]
    assert list((out / "tuned").iterdir()) == []
    assert not list((out / "jobs" / "tune").glob("*/model"))

    done: list[Job] = []
    monkeypatch.setattr(_work, "do_job", lambda job, *_: done.append(job))
    again = sftlens("study", "run", study_file, "--json").json
    assert {**again, "notes": []} == {**found, "notes": []}  # no figure is drawn again
    assert done == []
    # All facts of the level are more than eight: the report still tells of the restored run.
    assert Answers(load_tables(out)).largest(0).size == 8
    assert sftlens("report", out, "--json").json["out"] == str(out / "index.html")
    assert sftlens("study", "run", study_file, "--json").json["notes"] == again["notes"]

    # A page or table that is damaged is written anew from the jobs, which are done.
    for name in ("index.html", "scores.parquet", "paper/restoration.csv"):
        whole = (out / name).read_bytes()
        (out / name).write_bytes(whole[: len(whole) // 2])
        sftlens("study", "run", study_file)
        assert (out / name).read_bytes() == whole
    # So is what was stopped between its manifest, which says nothing of files then, and its page.
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["files"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    (out / "index.html").write_text("the page of the former study")
    sftlens("study", "run", study_file)
    assert "former" not in (out / "index.html").read_text()[:1000]
    assert done == []
    assert not (out / ".lock").exists()


def test_a_plan_of_a_model_that_is_here(sftlens: Call, study_file: Path, tmp_path: Path) -> None:
    found = sftlens("study", "plan", study_file, "--json").json
    assert found["num_jobs"] == 14
    assert found["kinds"]["tune"] == 2
    assert set(found["estimate"][0]) == {"what", "value", "unit", "rests_on"}
    rates = tmp_path / "rates.yaml"
    rates.write_text("probe: 1000\ntrain: 100\nscore: 500\n")
    given = sftlens("study", "plan", study_file, "--rates", rates, "--json").json
    hours = {one["what"]: one for one in given["estimate"] if one["unit"] == "hours"}
    completions = given["estimate"][0]["value"]
    assert hours["device hours, probing"]["value"] == pytest.approx(completions * 8 / 1000 / 3600)
    assert "1,000 tokens/s (the given rates)" in hours["device hours, probing"]["rests_on"]
    shown = sftlens("study", "plan", study_file)
    assert "14 jobs" in shown.out
    assert "assumed" in shown.out
    assert not (tmp_path / "run").exists()


def test_a_plan_is_calibrated(sftlens: Call, study_file: Path) -> None:
    found = sftlens("study", "plan", study_file, "--calibrate", "--json").json
    assert any("measured here, cpu" in one["rests_on"] for one in found["estimate"])


def test_what_is_refused(sftlens: Call, study_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "mine").write_text("mine")
    assert "holds something already" in sftlens("study", "run", study_file).refusal
    assert [path.name for path in out.iterdir()] == ["mine"]
    change(study_file, base=str(tmp_path / "absent"), out=str(tmp_path / "other"))
    assert str(tmp_path / "absent") in sftlens("study", "run", study_file).refusal
    assert not (tmp_path / "other").exists()
    change(study_file, out=None)
    assert "out: is missing" in sftlens("study", "run", study_file).refusal
    scale = tmp_path / "scale.yaml"
    scale.write_text("scale: {}\n")
    assert "--calibrate" in sftlens("study", "plan", scale, "--calibrate").refusal
    (tmp_path / "rates.yaml").write_text("probe: 0\n")
    both = ("--rates", tmp_path / "rates.yaml")
    assert "probe: 0 is refused" in sftlens("study", "plan", scale, *both).refusal
    assert "give one of them" in sftlens("study", "plan", scale, *both, "--calibrate").refusal
