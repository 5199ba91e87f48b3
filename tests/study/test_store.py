"""Results of jobs: made once, whole or not there."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from sftlens.study import Run, Store, StudySettings, training_runs


def test_a_table_is_made_once(tmp_path: Path) -> None:
    made = []

    def make() -> pl.DataFrame:
        made.append(None)
        return pl.DataFrame({"a": [1, 2]})

    for store in (Store(tmp_path), Store(tmp_path)):
        assert store.table("stage", "job", make).equals(pl.DataFrame({"a": [1, 2]}))
    assert len(made) == 1
    Store(tmp_path).table("stage", "other job", make)
    Store(tmp_path).table("other stage", "job", make)
    assert len(made) == 3


def test_a_model_is_made_once(tmp_path: Path) -> None:
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "weights").write_text("1")

    for _ in range(2):
        folder = Store(tmp_path).model("tuned", "job", make)
        assert folder == tmp_path / "tuned" / "job"
        assert (folder / "weights").read_text() == "1"
    assert len(made) == 1


def test_a_job_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail_as_table() -> pl.DataFrame:
        raise RuntimeError

    def fail_as_model(folder: Path) -> None:
        (folder / "half").write_text("1")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.table("stage", "job", fail_as_table)
    with pytest.raises(RuntimeError):
        store.model("tuned", "job", fail_as_model)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert store.table("stage", "job", pl.DataFrame).is_empty()


def test_the_runs_of_a_study() -> None:
    runs = training_runs(StudySettings(levels=(0, 3), sizes=(8, 16), num_seeds=2))
    assert runs == [Run(k, size, seed) for size in (8, 16) for k in (0, 3) for seed in (0, 1)]
    assert len({run.name for run in runs}) == 8
    assert runs[0].name == "level0-size8-seed0"
