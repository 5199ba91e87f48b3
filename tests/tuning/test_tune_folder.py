"""The tuned model's folder."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from sftlens.errors import UserError
from sftlens.facts import Fact, facts_from_table
from sftlens.manifest import read_manifest
from sftlens.mastery import Mastery
from sftlens.tuning import TuneSettings, choose_training_facts, run_tune


def test_what_the_folder_holds(tuned: Path, mastery: Mastery, facts: list[Fact]) -> None:
    assert sorted(path.name for path in tuned.iterdir()) == [
        "config.json",
        "generation_config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "training_facts.parquet",
    ]
    trained = facts_from_table(pl.read_parquet(tuned / "training_facts.parquet"))
    assert trained == choose_training_facts(facts, mastery.levels, level=0, size=16, seed=0)
    content = read_manifest(tuned, "tune")
    assert content["config"]["mastery"] == mastery.key
    assert content["result"]["num_facts"] == 16
    assert content["result"]["num_steps"] == 2


def test_a_finished_folder_is_left_as_it_is(
    tuned: Path, base: Path, world: Path, mastery_folder: Path
) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in tuned.iterdir()}
    settings = TuneSettings(learning_rate=1e-3)
    job = (str(base), str(world), mastery_folder, tuned)
    result = run_tune(*job, level=0, size=16, settings=settings)
    assert result.as_json() == read_manifest(tuned, "tune")["result"]
    with pytest.raises(UserError, match="holds something already"):
        run_tune(*job, level=1, size=16, settings=settings)
    assert {path.name: path.stat().st_mtime_ns for path in tuned.iterdir()} == before


def test_a_level_with_too_few_facts_is_told(
    base: Path,
    world: Path,
    mastery_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = run_tune(
        str(base),
        str(world),
        mastery_folder,
        tmp_path / "out",
        level=4,
        size=1000,
        settings=TuneSettings(batch_size=64),
    )
    assert f"level 4 has {result.num_facts} training facts, not 1000" in capsys.readouterr().err


def test_another_base_is_refused(
    tuned: Path, world: Path, mastery_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="holds the mastery of another model"):
        run_tune(
            str(tuned),
            str(world),
            mastery_folder,
            tmp_path / "out",
            level=0,
            size=4,
            settings=TuneSettings(),
        )
    assert list(tmp_path.iterdir()) == []
