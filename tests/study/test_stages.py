"""The stages of a study, on the shared scale model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from sftlens.study._stages import Study, run_stages, tuned_folder

from sftlens.divergence import DIVERGENCE_SCHEMA
from sftlens.facts import Fact
from sftlens.generation import TransformersGenerator, load_model
from sftlens.manifest import read_manifest
from sftlens.mastery import COMPLETIONS_SCHEMA, MASTERY_SCHEMA, Mastery
from sftlens.scoring import SCORES_SCHEMA, score
from sftlens.study import Store, StudySettings
from sftlens.tuning import TuneSettings, choose_training_facts
from sftlens.weights import Request, diff, open_pair, restore_checkpoints
from tiny_world import PROBE

SETTINGS = StudySettings(
    levels=(0, 4),
    sizes=(4, 8),
    num_seeds=2,
    shares=(10, 40),
    probe=PROBE,
    tune=TuneSettings(learning_rate=1e-3, batch_size=4),
)
RUNS = [
    f"level{level}-size{size}-seed{seed}" for size in (4, 8) for level in (0, 4) for seed in (0, 1)
]
LARGEST = RUNS[4:]


@pytest.fixture(scope="module")
def study(
    base: Path, facts: list[Fact], mastery: Mastery, tmp_path_factory: pytest.TempPathFactory
) -> Study:
    """A study that has facts of level 4 to train on, and others to test on."""
    tested = [
        fact.fact_id for fact in facts if mastery.levels[fact.fact_id] == 4 and fact.domain == "in"
    ][::2]
    shared_out = [replace(f, split="test") if f.fact_id in tested else f for f in facts]
    return Study(base, shared_out, SETTINGS, Store(tmp_path_factory.mktemp("study") / "jobs"))


@pytest.fixture(scope="module")
def tables(study: Study) -> dict[str, pl.DataFrame]:
    return run_stages(study)


def test_the_columns(tables: dict[str, pl.DataFrame]) -> None:
    run = {"run": pl.String()}
    restored = {"method": pl.String(), "share": pl.Float64()}
    assert tables["completions"].schema == COMPLETIONS_SCHEMA
    assert tables["mastery"].schema == MASTERY_SCHEMA
    assert tables["scores"].schema == {**run, **restored, **SCORES_SCHEMA}
    assert tables["divergence"].schema == {**run, **DIVERGENCE_SCHEMA}
    assert tables["runs"].schema == {
        **run,
        **dict.fromkeys(["level", "size", "seed", "num_facts", "num_steps"], pl.Int32()),
        "final_loss": pl.Float64(),
    }
    assert tables["concentration"].schema == {
        **run,
        "ranking": pl.String(),
        "top": pl.Float64(),
        "held": pl.Float64(),
    }
    assert tables["restorations"].schema == {
        **run,
        **restored,
        **dict.fromkeys(["num_parameters", "num_restored", "num_restored_changed"], pl.Int64()),
        "norm_removed": pl.Float64(),
        "alpha": pl.Float64(),
    }
    assert tables["tensors"].columns == [
        *("run", "name", "layer", "module", "region", "num_parameters", "num_changed"),
        *("sum_relative", "sum_absolute", "num_restored_10", "num_restored_40"),
    ]


def test_every_run_is_in_every_table(study: Study, tables: dict[str, pl.DataFrame]) -> None:
    assert tables["runs"]["run"].to_list() == RUNS
    num_scored = len(study.scored_facts)
    tuned = tables["scores"].filter(method="tuned")
    assert tuned.group_by("run", maintain_order=True).len().rows() == [
        (run, num_scored) for run in RUNS
    ]
    assert tuned["share"].null_count() == len(tuned)
    assert list(dict.fromkeys(tables["divergence"]["run"])) == RUNS
    for name in ("concentration", "tensors"):
        assert list(dict.fromkeys(tables[name]["run"])) == LARGEST
    keys = [
        (run, method, share)
        for run in LARGEST
        for method in ("relative", "random", "interpolation")
        for share in (10.0, 40.0)
    ]
    assert tables["restorations"].select("run", "method", "share").rows() == keys
    restored = tables["scores"].filter(pl.col("method") != "tuned")
    counts = restored.group_by("run", "method", "share", maintain_order=True).len()
    assert counts.rows() == [(*key, num_scored) for key in keys]


def test_training_facts_are_not_scored(study: Study, tables: dict[str, pl.DataFrame]) -> None:
    levels = dict(tables["mastery"].select("fact_id", "level").iter_rows())
    scored = set(tables["scores"]["fact_id"])
    for level in (0, 4):
        trained = choose_training_facts(study.facts, levels, level=level, size=None, seed=0)
        assert not scored & {fact.fact_id for fact in trained}
    assert {(fact.split, fact.domain) for fact in study.scored_facts} == {
        ("test", "in"),
        ("test", "out"),
        ("validation", "in"),
    }


def test_seeds_differ(study: Study, tables: dict[str, pl.DataFrame]) -> None:
    losses = tables["runs"].filter(size=8, level=0)["final_loss"].to_list()
    assert len(set(losses)) == 2
    for run, seed in tables["runs"].select("run", "seed").iter_rows():
        config = read_manifest(tuned_folder(study.store, run), "tune")["config"]
        assert config["settings"]["seed"] == seed


def test_the_tables_are_those_of_the_rooms(
    study: Study, tables: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    """A restored model that is written and loaded says what the study told of it."""
    run = LARGEST[1]  # seed 1
    folder = tuned_folder(study.store, run)
    levels = dict(tables["mastery"].select("fact_id", "level").iter_rows())
    told = tables["scores"].filter(run=run)
    numbers = tables["restorations"].filter(run=run)

    def says(model_folder: Path) -> list[str]:
        model, tokenizer, _ = load_model(model_folder)
        generator = TransformersGenerator(model, tokenizer)
        return score(generator, study.scored_facts, levels)["answer"].to_list()

    assert says(folder) == told.filter(method="tuned")["answer"].to_list()
    for method in ("relative", "random", "interpolation"):
        request = Request(method=method, shares=(10, 40), seed=1)
        pair = open_pair(study.base, folder)
        outputs = restore_checkpoints(pair, request, tmp_path / method)
        for output in outputs:
            rows = told.filter(method=method, share=output.share)
            assert says(output.path) == rows["answer"].to_list()
            row = numbers.filter(method=method, share=output.share).row(0, named=True)
            assert row["num_restored"] == output.num_restored
            # The one is that of the selection to match, the other what rounding made of it.
            assert row["norm_removed"] == pytest.approx(output.norm_removed, rel=1e-5)
            assert row["alpha"] == output.alpha
    found = diff(open_pair(study.base, folder), shares=[10, 40])
    assert tables["tensors"].filter(run=run).drop("run").equals(found.tensors)
    held = tables["concentration"].filter(run=run, ranking="relative")["held"].to_list()
    assert held == list(found.concentration["relative"].values())


def test_what_is_stored_is_not_done_again(
    study: Study, tables: dict[str, pl.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        pytest.fail("done again")

    for name in ("fine_tune", "score", "divergence", "diff"):
        monkeypatch.setattr(f"sftlens.study._stages.{name}", fail)
    again = run_stages(study)
    assert all(again[name].equals(table) for name, table in tables.items())
