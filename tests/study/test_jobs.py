"""The jobs of a study and their tables, on the shared scale model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from sftlens.divergence import DIVERGENCE_SCHEMA
from sftlens.facts import Fact, facts_table, read_facts
from sftlens.generation import TransformersGenerator, load_model
from sftlens.mastery import COMPLETIONS_SCHEMA, MASTERY_SCHEMA, Mastery
from sftlens.scoring import SCORES_SCHEMA, score
from sftlens.study import (
    InlineRunner,
    Job,
    Plan,
    Store,
    StudyFile,
    make_plan,
    run_jobs,
    run_study,
)
from sftlens.study._collect import write_tables
from sftlens.study._study import do_here, find_sources, write_study
from sftlens.study._tasks import is_scored
from sftlens.study._work import TRAINING_FACTS
from sftlens.tuning import TuneSettings
from sftlens.weights import Request, diff, open_pair, restore_checkpoints
from tiny_world import PROBE

RUNS = [
    f"level{level}-size{size}-seed{seed}" for size in (4, 8) for level in (0, 4) for seed in (0, 1)
]
LARGEST = RUNS[4:]


class StudyRun(NamedTuple):
    """A study that was run."""

    folder: Path
    plan: Plan
    store: Store

    def tuned(self, run: str) -> Path:
        return self.store.model(self.plan.jobs[f"tune {run}"])


def read_tables(folder: Path) -> dict[str, pl.DataFrame]:
    return {path.stem: pl.read_parquet(path) for path in folder.glob("*.parquet")}


@pytest.fixture(scope="module")
def study(
    base: Path, facts: list[Fact], mastery: Mastery, tmp_path_factory: pytest.TempPathFactory
) -> StudyFile:
    """A study that has facts of level 4 to train on, and others to test on."""
    tested = [
        fact.fact_id for fact in facts if mastery.levels[fact.fact_id] == 4 and fact.domain == "in"
    ][::2]
    shared_out = [replace(f, split="test") if f.fact_id in tested else f for f in facts]
    source = tmp_path_factory.mktemp("facts") / "facts.parquet"
    facts_table(shared_out).write_parquet(source)
    return StudyFile(
        base=str(base),
        facts=str(source),
        levels=(0, 4),
        sizes=(4, 8),
        seeds=2,
        shares=(10, 40),
        probe=PROBE,
        tune=TuneSettings(learning_rate=1e-3, batch_size=4),
        keep_models="all",
        unused_facts=True,
    )


@pytest.fixture(scope="module")
def run(study: StudyFile, tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    folder = tmp_path_factory.mktemp("run")
    plan, store = do_here(study, folder)
    write_study(study, plan, store, folder)
    return StudyRun(folder, plan, store)


@pytest.fixture(scope="module")
def tables(run: StudyRun) -> dict[str, pl.DataFrame]:
    return read_tables(run.folder)


@pytest.fixture(scope="module")
def scored_facts(study: StudyFile) -> list[Fact]:
    assert study.facts is not None
    return [fact for fact in read_facts(study.facts).facts if is_scored(fact)]


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


def test_every_run_is_in_every_table(
    scored_facts: list[Fact], tables: dict[str, pl.DataFrame]
) -> None:
    assert tables["runs"]["run"].to_list() == RUNS
    num_scored = len(scored_facts)
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


def test_training_facts_are_not_scored(
    run: StudyRun, scored_facts: list[Fact], tables: dict[str, pl.DataFrame]
) -> None:
    scored = set(tables["scores"]["fact_id"])
    for job in run.plan.of_kind("tune"):
        trained = pl.read_parquet(run.store.path(job) / TRAINING_FACTS)
        assert 0 < len(trained) <= job.settings["size"]
        assert not scored & set(trained["fact_id"])
    assert {(fact.split, fact.domain) for fact in scored_facts} == {
        ("test", "in"),
        ("test", "out"),
        ("validation", "in"),
    }


def test_seeds_differ(run: StudyRun, tables: dict[str, pl.DataFrame]) -> None:
    losses = tables["runs"].filter(size=8, level=0)["final_loss"].to_list()
    assert len(set(losses)) == 2
    for job in run.plan.of_kind("tune"):
        assert job.settings["tune"]["seed"] == job.settings["seed"]


def test_the_tables_are_those_of_the_rooms(
    base: Path,
    run: StudyRun,
    scored_facts: list[Fact],
    tables: dict[str, pl.DataFrame],
    tmp_path: Path,
) -> None:
    """A restored model that is written and loaded says what the study told of it."""
    name = LARGEST[1]  # seed 1
    folder = run.tuned(name)
    levels = dict(tables["mastery"].select("fact_id", "level").iter_rows())
    told = tables["scores"].filter(run=name)
    numbers = tables["restorations"].filter(run=name)

    def says(model_folder: Path) -> list[str]:
        model, tokenizer, _ = load_model(model_folder)
        generator = TransformersGenerator(model, tokenizer)
        return score(generator, scored_facts, levels)["answer"].to_list()

    assert says(folder) == told.filter(method="tuned")["answer"].to_list()
    for method in ("relative", "random", "interpolation"):
        request = Request(method=method, shares=(10, 40), seed=1)
        pair = open_pair(base, folder)
        outputs = restore_checkpoints(pair, request, tmp_path / method)
        for output in outputs:
            rows = told.filter(method=method, share=output.share)
            assert says(output.path) == rows["answer"].to_list()
            row = numbers.filter(method=method, share=output.share).row(0, named=True)
            assert row["num_restored"] == output.num_restored
            # The one is that of the selection to match, the other what rounding made of it.
            assert row["norm_removed"] == pytest.approx(output.norm_removed, rel=1e-5)
            assert row["alpha"] == output.alpha
    found = diff(open_pair(base, folder), shares=[10, 40])
    assert tables["tensors"].filter(run=name).drop("run").equals(found.tensors)
    held = tables["concentration"].filter(run=name, ranking="relative")["held"].to_list()
    assert held == list(found.concentration["relative"].values())


def test_workers_change_nothing(
    study: StudyFile, tables: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    result = run_study(study, tmp_path / "out", num_workers=2)
    assert (result.num_done, result.num_failed) == (result.num_jobs, 0)
    found = read_tables(tmp_path / "out")
    assert found.keys() == tables.keys()
    for name, table in tables.items():
        assert found[name].equals(table), name
    assert result.report == str(tmp_path / "out" / "index.html")
    assert sorted(path.name for path in (tmp_path / "out" / "tuned").iterdir()) == sorted(RUNS)
    assert load_model(tmp_path / "out" / "tuned" / RUNS[0]).model.num_parameters() == 213_312
    listed = json.loads((tmp_path / "out" / "paper" / "index.json").read_text(encoding="utf-8"))
    made = {entry["name"] for entry in listed["tables"] if entry["files"]}
    assert {"level_sizes", "accuracy_by_level", "concentration", "restoration"} <= made
    assert {"strategies", "restored_by_layer", "restored_by_module", "exchange"} <= made


def test_what_is_stored_is_not_done_again(
    run: StudyRun, study: StudyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    monkeypatch.setattr("sftlens.study._work.do_job", lambda job, *_: done.append(job))
    do_here(study, run.folder)
    assert done == []


def test_a_changed_setting_does_again_what_depends_on_it(
    run: StudyRun, study: StudyFile, tables: dict[str, pl.DataFrame], tmp_path: Path
) -> None:
    kinds = []

    class Counting(InlineRunner):
        def submit(self, job: Job, inputs: Mapping[str, Job]) -> None:
            kinds.append(job.kind)
            super().submit(job, inputs)

    methods = ("relative", "absolute-bottom", "dare", "wise-ft")
    changed = study.model_copy(
        update={"shares": (10.0,), "methods": methods, "strategies": ("by-level", "mixed")}
    )
    plan = make_plan(changed, find_sources(changed))
    outcome = run_jobs(plan, run.store, Counting(run.store))
    assert not outcome.failed
    assert Counter(kinds) == {"tune": 4, "score": 4, "change": 4, "restore": 4}
    collected = write_tables(plan, run.store, tmp_path)
    assert collected.num_runs == 12
    found = read_tables(tmp_path)
    assert found["runs"].equals(tables["runs"])
    assert len(found["mixed_runs"]) == 4
    assert found["mixed_runs"]["level"].null_count() == 4
    assert set(found["mixed_scores"]["run"]) == set(found["mixed_runs"]["run"])
    assert dict.fromkeys(found["restorations"]["method"]) == dict.fromkeys(methods)
    removed = dict(found["restorations"].filter(run=LARGEST[0])["method", "norm_removed"].rows())
    assert removed["relative"] > removed["absolute-bottom"]
    assert removed["wise-ft"] == pytest.approx(1 - 0.9**2, abs=1e-4)
