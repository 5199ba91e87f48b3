"""The mastery folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from sftlens.checkpoints import model_identity
from sftlens.errors import UserError
from sftlens.facts import Fact, facts_from_table, facts_hash
from sftlens.generation import TransformersGenerator
from sftlens.manifest import read_manifest
from sftlens.mastery import Mastery, grade, level_sizes, probe, read_mastery, run_probe
from tiny_world import PROBE


def test_what_the_folder_holds(
    mastery_folder: Path, mastery: Mastery, base: Path, facts: list[Fact]
) -> None:
    assert sorted(path.name for path in mastery_folder.iterdir()) == [
        "completions.parquet",
        "facts.parquet",
        "manifest.json",
        "mastery.parquet",
    ]
    assert facts_from_table(pl.read_parquet(mastery_folder / "facts.parquet")) == facts
    assert len(mastery.completions()) == 142 * 2 * 4
    assert grade(facts, mastery.completions()).equals(mastery.table)
    content = read_manifest(mastery_folder, "probe")
    assert content["config"] == {
        "base": model_identity(base),
        "facts": facts_hash(facts),
        "templates": content["config"]["templates"],
        "settings": PROBE.model_dump(mode="json"),
    }
    assert content["result"]["levels"] == level_sizes(mastery.table)
    assert mastery.levels == dict(mastery.table.select("fact_id", "level").iter_rows())


def test_it_is_what_probing_gives(
    mastery: Mastery, generator: TransformersGenerator, facts: list[Fact]
) -> None:
    assert probe(generator, facts[::9], PROBE).mastery.equals(mastery.table[::9])


def test_facts_that_were_told_often_are_known_better(mastery: Mastery, world: Path) -> None:
    exposures = pl.read_parquet(world / "exposures.parquet")
    joined = mastery.table.join(exposures, on="fact_id")
    by_exposure = dict(joined.group_by("num_statements").agg(pl.col("mastery").mean()).iter_rows())
    assert by_exposure[12] > by_exposure[2] > by_exposure[0]
    assert min(level_sizes(mastery.table)) > 0


def test_a_finished_folder_is_left_as_it_is(
    mastery_folder: Path, base: Path, world: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(mastery_folder, tmp_path / "mastery")
    before = {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    result = run_probe(str(base), str(world), copy, PROBE)
    assert result.out == str(copy)
    assert result.num_completions == 142 * 2 * 4
    assert {path.name: path.stat().st_mtime_ns for path in copy.iterdir()} == before
    with pytest.raises(UserError, match="holds something already"):
        run_probe(str(base), str(world), copy, PROBE.model_copy(update={"seed": 1}))
    assert {path.name: path.stat().st_mtime_ns for path in copy.iterdir()} == before


def test_interrupted_it_goes_on(
    mastery: Mastery, base: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sftlens.mastery._run.facts_table", interrupt)  # after the completions
    with pytest.raises(KeyboardInterrupt):
        run_probe(str(base), str(world), tmp_path / "out", PROBE)
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    monkeypatch.setattr(TransformersGenerator, "complete", interrupt)
    run_probe(str(base), str(world), tmp_path / "out", PROBE)
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    found = read_mastery(tmp_path / "out")
    assert found.table.equals(mastery.table)
    assert found.key == mastery.key


def test_levels_belong_to_one_base_model(mastery: Mastery, base: Path, tuned: Path) -> None:
    mastery.require_base(model_identity(base))
    mastery.require_base({**model_identity(base), "name": "called otherwise"})
    with pytest.raises(UserError, match="holds the mastery of another model"):
        mastery.require_base(model_identity(tuned))


def test_damaged_folders(mastery_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no manifest\.json"):
        read_mastery(tmp_path)
    folder = shutil.copytree(mastery_folder, tmp_path / "mastery")
    table = pl.read_parquet(folder / "mastery.parquet")
    table.drop("level").write_parquet(folder / "mastery.parquet")
    with pytest.raises(UserError, match="column level is missing"):
        read_mastery(folder)
    (folder / "mastery.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="cannot be read"):
        read_mastery(folder)
    shutil.copy(mastery_folder / "mastery.parquet", folder)
    (folder / "completions.parquet").unlink()
    with pytest.raises(UserError, match=r"completions\.parquet: cannot be read"):
        read_mastery(folder).completions()
