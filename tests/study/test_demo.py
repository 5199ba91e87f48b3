"""The demo: one folder with everything, the same however often it was killed."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import polars as pl
import pytest

from killed import kill_at
from sftlens.checkpoints import file_hash
from sftlens.errors import UserError
from sftlens.facts import read_facts
from sftlens.generation import load_model
from sftlens.study import Sources, demo_settings, make_plan, run_demo
from tiny_study import DEMO, demo
from tiny_world import small_preset

TABLES = [
    *("base_scores", "claims", "completions", "concentration", "divergence", "exposures", "facts"),
    *("layer_scores", "mastery", "noise", "restorations", "runs", "scores", "tensors"),
    "training_scores",
]


def test_what_the_folder_holds(demo_run: Path) -> None:
    assert sorted(path.name for path in demo_run.iterdir()) == sorted(
        [f"{name}.parquet" for name in TABLES]
        + ["base", "index.html", "manifest.json", "paper", "tuned", "world"]
    )
    assert list(demo_run.parent.iterdir()) == [demo_run]
    assert [path.name for path in (demo_run / "tuned").iterdir()] == ["level0"]
    assert load_model(demo_run / "tuned" / "level0").model.num_parameters() == 213_312
    assert load_model(demo_run / "base").model.num_parameters() == 213_312
    facts = read_facts(demo_run / "world").facts
    assert read_facts(demo_run / "facts.parquet").facts == facts
    content = json.loads((demo_run / "manifest.json").read_text())
    settings = DEMO.model_dump(mode="json", exclude={"out", "estimate", "launch"})
    assert content["config"]["study"] == settings
    assert content["result"]["num_facts"] == len(facts)
    assert content["result"]["num_runs"] == len(pl.read_parquet(demo_run / "runs.parquet")) == 2
    restorations = pl.read_parquet(demo_run / "restorations.parquet")
    assert content["result"]["num_restorations"] == len(restorations) == 6


def test_the_page_stands_alone(demo_run: Path) -> None:
    page = (demo_run / "index.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert 'src="http' not in page


def test_a_finished_folder_is_left_as_it_is(demo_run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in demo_run.rglob("*")}
    with small_preset():
        result = run_demo(demo_run, DEMO)
    assert (result.out, result.report) == (str(demo_run), str(demo_run / "index.html"))
    assert (result.num_facts, result.num_runs, result.num_restorations) == (142, 2, 6)
    assert {path: path.stat().st_mtime_ns for path in demo_run.rglob("*")} == before
    with pytest.raises(UserError, match="holds something already"):
        run_demo(demo_run, demo_settings(quick=True))
    assert {path: path.stat().st_mtime_ns for path in demo_run.rglob("*")} == before


def files_of(folder: Path) -> set[Path]:
    """What a run folder holds, but for the figures, which are drawn where matplotlib is used."""
    found = {path.relative_to(folder) for path in folder.rglob("*")}
    return {path for path in found if "figures" not in path.parts}


def test_killed_again_and_again_it_ends_with_the_same_tables(
    demo_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    plan = make_plan(DEMO, Sources())
    key = {name: job.key for name, job in plan.jobs.items()}
    largest = "level0-size8-seed0"
    for event, ending in [
        ("open", "checkpoint-20/complete"),  # in pre-training
        ("os.remove", ".jsonl"),  # the completions are made and packed
        ("os.rename", f"jobs/tune/{key[f'tune {largest}']}"),  # tuned, not in its place
        ("os.rename", f"jobs/change/{key[f'change {largest}']}"),
        ("os.rename", "parts/tuned.parquet"),
        ("os.rename", "parts/random-40.parquet"),
        ("os.rename", "/scores.parquet"),  # some tables are there
        ("os.rename", "/claims.parquet"),  # all but the claims
        ("os.rename", "/tuned/level0"),  # the tables are there, a model is being kept
        ("os.rename", "index.html"),  # the page is made
        ("os.rename", "/out"),  # everything is made
        ("os.remove", "about.json"),  # the folder stands, what is left over is being removed
    ]:
        assert kill_at(event, ending, 1, demo, out) == -signal.SIGKILL, ending
        assert out.exists() == (ending == "about.json")
    demo(out)
    assert list(tmp_path.iterdir()) == [out]
    assert files_of(out) == files_of(demo_run)
    for name in TABLES:
        found, expected = (
            pl.read_parquet(folder / f"{name}.parquet") for folder in (out, demo_run)
        )
        assert found.equals(expected), name
    for model in ("base", "tuned/level0"):
        weights = f"{model}/model.safetensors"
        assert file_hash(out / weights) == file_hash(demo_run / weights)
