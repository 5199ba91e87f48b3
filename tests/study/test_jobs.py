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
from sftlens.facts import Fact, facts_from_table, facts_table, read_facts
from sftlens.generation import TransformersGenerator, load_model
from sftlens.mastery import COMPLETIONS_SCHEMA, MASTERY_SCHEMA, Mastery
from sftlens.report.inference import CLAIMS_SCHEMA, paper_claims, read_study
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
from sftlens.study._tasks import TRAINING_FACTS, is_scored
from sftlens.tuning import TuneSettings
from sftlens.weights import (
    NORM_TOLERANCE,
    Request,
    diff,
    open_pair,
    restore_checkpoints,
)
from tiny_world import PROBE

RUNS = [
    f"level{level}-size{size}-seed{seed}" for size in (4, 8) for level in (0, 4) for seed in (0, 1)
]
LARGEST = RUNS[4:]
METHODS = ("relative", "random", "interpolation", "absolute-matched", "dg-hard")


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
        methods=METHODS,
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
        **dict.fromkeys(["num_top", "num_zero_base", "num_small_base"], pl.Int64()),
    }
    assert tables["restorations"].schema == {
        **run,
        **restored,
        "strength": pl.Float64(),
        **dict.fromkeys(["num_parameters", "num_restored", "num_restored_changed"], pl.Int64()),
        **dict.fromkeys(["norm_removed", "norm_to_match", "alpha"], pl.Float64()),
        "dtype": pl.String(),
    }
    assert tables["base_scores"].schema == SCORES_SCHEMA
    assert tables["training_scores"].schema == {**run, **restored, **SCORES_SCHEMA}
    assert tables["noise"].schema == {
        **run,
        "fact_id": pl.String(),
        "correct": pl.Boolean(),
        "again": pl.Boolean(),
    }
    assert tables["layer_scores"].schema == {
        **run,
        "first_layer": pl.Int32(),
        "last_layer": pl.Int32(),
        **SCORES_SCHEMA,
    }
    assert tables["claims"].schema == CLAIMS_SCHEMA
    assert tables["tensors"].columns == [
        *("run", "name", "layer", "module", "region", "num_parameters", "num_changed"),
        *("sum_relative", "sum_absolute"),
        *("num_restored_10", "num_top_10", "num_restored_40", "num_top_40"),
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
        for method in METHODS
        for share in ((10.0, 40.0) if method != "dg-hard" else (None,))
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
    pair = open_pair(base, folder)
    for name_of, rows in numbers.group_by("method"):
        method = str(name_of[0])
        strengths = tuple(rows["strength"].drop_nulls())
        plain = method.removesuffix("-matched")
        request = Request(method=plain, shares=strengths, seed=1)  # type: ignore[arg-type]
        outputs = restore_checkpoints(pair, request, tmp_path / method)
        for output, row in zip(outputs, rows.iter_rows(named=True), strict=True):
            of = told.filter(pl.col("share").eq_missing(row["share"]), method=method)
            assert says(output.path) == of["answer"].to_list()
            for column in ("num_restored", "num_restored_changed", "norm_removed", "alpha"):
                assert row[column] == getattr(output, column), (method, column)
    found = diff(pair, shares=[10, 40])
    assert tables["tensors"].filter(run=name).drop("run").equals(found.tensors)
    held = tables["concentration"].filter(run=name, ranking="relative")["held"].to_list()
    assert held == list(found.concentration["relative"].values())
    for ranking, by_share in found.concentration_without_small_base.items():
        rows = tables["concentration"].filter(run=name, ranking=f"{ranking} without small bases")
        assert rows["held"].to_list() == list(by_share.values())
        assert rows["num_top"].null_count() == len(rows)
    counts = tables["concentration"].filter(run=name, ranking="relative")
    counts = counts.select("num_top", "num_zero_base", "num_small_base")
    assert counts.rows() == [tuple(top) for top in found.top.values()]


def test_methods_at_the_same_norm(tables: dict[str, pl.DataFrame]) -> None:
    norms = tables["restorations"].select("run", "method", "share", "strength", "norm_removed")
    both = norms.filter(method="relative").join(
        norms.filter(method="absolute-matched"), on=["run", "share"]
    )
    assert len(both) == 2 * len(LARGEST)
    missed = (both["norm_removed_right"] / both["norm_removed"] - 1).abs()
    assert missed.max() <= NORM_TOLERANCE  # type: ignore[operator]
    assert both["strength"].equals(both["share"].alias("strength"))
    assert (both["strength_right"] <= both["share"]).all()


def test_training_facts_are_asked_before_and_after(
    run: StudyRun, tables: dict[str, pl.DataFrame]
) -> None:
    asked = tables["training_scores"]
    for name in LARGEST:
        trained = pl.read_parquet(run.store.path(run.plan.jobs[f"tune {name}"]) / TRAINING_FACTS)
        own = asked.filter(run=name)
        by_way = own.group_by("method", "share", maintain_order=True)
        ways = [("tuned", None), *tables["restorations"].filter(run=name)["method", "share"].rows()]
        assert [key for key, _ in by_way] == ways
        assert all(rows["fact_id"].equals(trained["fact_id"]) for _, rows in by_way)
        model, tokenizer, _ = load_model(run.tuned(name))
        facts = facts_from_table(trained)
        found = score(TransformersGenerator(model, tokenizer), facts, {})
        before = own.filter(method="tuned")
        assert found["answer"].equals(before["answer"])
        assert before["level"].unique().to_list() == [int(name[len("level")])]
    assert set(asked["run"]) == set(LARGEST)


def test_the_base_is_asked_the_same(
    base: Path, scored_facts: list[Fact], tables: dict[str, pl.DataFrame]
) -> None:
    model, tokenizer, _ = load_model(base)
    levels = dict(tables["mastery"].select("fact_id", "level").iter_rows())
    expected = score(TransformersGenerator(model, tokenizer), scored_facts, levels)
    assert tables["base_scores"].equals(expected)


def test_the_first_training_sets_are_asked_again(
    run: StudyRun, tables: dict[str, pl.DataFrame]
) -> None:
    noise = tables["noise"]
    assert list(dict.fromkeys(noise["run"])) == [name for name in LARGEST if name.endswith("0")]
    tuned = tables["scores"].filter(method="tuned")
    both = noise.join(tuned, on=["run", "fact_id"], maintain_order="left")
    assert len(both) == len(noise)
    assert both["correct"].equals(both["correct_right"].alias("correct"))
    for job in run.plan.of_kind("noise"):
        rows = noise.filter(run=job.settings["run"])
        flips = int((rows["correct"] != rows["again"]).sum())
        assert run.store.result(job) == {"num_flips": flips}


def test_whole_layers_are_given_back(
    base: Path, run: StudyRun, scored_facts: list[Fact], tables: dict[str, pl.DataFrame]
) -> None:
    """The scale model of the tests has two layers, so there are two groups of the eight."""
    name = LARGEST[0]
    own = tables["layer_scores"].filter(run=name)
    groups = own.group_by("first_layer", "last_layer", maintain_order=True)
    assert [key for key, _ in groups] == [(0, 0), (1, 1)]
    original, (model, tokenizer, _) = load_model(base).model, load_model(run.tuned(name))
    kept = original.state_dict()
    replaced = {
        tensor: kept[tensor] if ".layers.1." in tensor and "norm" not in tensor else value
        for tensor, value in model.state_dict().items()
    }
    model.load_state_dict(replaced)
    found = score(TransformersGenerator(model, tokenizer), scored_facts, {})
    assert found["answer"].equals(own.filter(first_layer=1)["answer"])
    assert set(tables["layer_scores"]["run"]) == set(LARGEST)


def test_the_claims_are_those_of_the_tables(run: StudyRun, tables: dict[str, pl.DataFrame]) -> None:
    assert tables["claims"].equals(paper_claims(read_study(run.folder)))
    assert "failures" not in tables


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
    written = modified(tmp_path / "out")
    again = run_study(study, tmp_path / "out")
    assert replace(again, notes=[]) == replace(result, notes=[])
    assert modified(tmp_path / "out") == written
    (tmp_path / "out" / "claims.parquet").unlink()
    assert run_study(study, tmp_path / "out") == result
    assert read_tables(tmp_path / "out")["claims"].equals(tables["claims"])


def modified(folder: Path) -> dict[str, int]:
    """When each file of a run folder was last written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}


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
    assert found["strategy_runs"]["strategy"].to_list() == ["mixed"] * 4
    assert found["strategy_runs"]["level"].null_count() == 4
    assert set(found["strategy_scores"]["run"]) == set(found["strategy_runs"]["run"])
    assert dict.fromkeys(found["restorations"]["method"]) == dict.fromkeys(methods)
    removed = dict(found["restorations"].filter(run=LARGEST[0])["method", "norm_removed"].rows())
    assert removed["relative"] > removed["absolute-bottom"]
    assert removed["wise-ft"] == pytest.approx(1 - 0.9**2, abs=1e-4)
