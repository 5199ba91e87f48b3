"""Strategies beside one level's facts: mixed facts, LoRA, an instruct model; and other tasks."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from killed import kill_at
from sftlens.checkpoints import is_adapter
from sftlens.errors import UserError
from sftlens.facts import Fact, facts_table, read_facts
from sftlens.generation import LoadedModel, TransformersGenerator, load_model, question_prompt
from sftlens.scoring import (
    SCORES_SCHEMA,
    HarnessSettings,
    evaluate_harness_tasks,
    load_harness_tasks,
    score,
)
from sftlens.study import Plan, Store, StudyFile, make_plan, run_study
from sftlens.study._harness_tasks import find_tasks
from sftlens.study._other_tasks import TASK_SCORES_SCHEMA
from sftlens.study._study import do_here, find_sources, write_study
from sftlens.study._tasks import is_scored
from sftlens.tuning import TuneSettings
from sftlens.weights import Request, open_pair, restore_checkpoints
from tiny_world import PROBE

CHOICES = """\
task: own_choice
dataset_path: json
dataset_kwargs: {data_files: {test: PATH/own.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: question
doc_to_choice: choices
doc_to_target: gold
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: brier_score, aggregation: brier_score, higher_is_better: false}
"""

TEXTS = """\
task: own_text
dataset_path: json
dataset_kwargs: {data_files: {test: PATH/own.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: question
doc_to_target: answer
generation_kwargs: {until: ["</s>"], max_gen_toks: 5}
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
filter_list:
  - {name: first, filter: [{function: take_first}]}
  - {name: word, filter: [{function: regex, regex_pattern: "(\\\\w+)"}, {function: take_first}]}
"""

RUN = "level0-size8-seed0"


class StudyRun(NamedTuple):
    """A study that was run."""

    study: StudyFile
    folder: Path
    plan: Plan
    store: Store

    def tuned(self, run: str) -> Path:
        return self.store.model(self.plan.jobs[f"tune {run}"])

    def table(self, name: str) -> pl.DataFrame:
        return pl.read_parquet(self.folder / f"{name}.parquet")


def write_tasks(folder: Path, facts: list[Fact]) -> tuple[str, ...]:
    """Tasks of facts that the base knows in part."""
    folder.mkdir(parents=True)
    rows = [
        {
            "question": question_prompt(fact.question),
            "answer": fact.answers[0],
            "choices": [fact.answers[0], other.answers[0]],
            "gold": 0,
        }
        for fact, other in zip(facts[:60:3], facts[60:], strict=False)
    ]
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name, text in (("choice", CHOICES), ("text", TEXTS)):
        (folder / f"{name}.yaml").write_text(text.replace("PATH", str(folder)))
    return str(folder / "choice.yaml"), str(folder / "text.yaml")


@pytest.fixture(scope="module")
def study(
    base: Path, tuned: Path, facts: list[Fact], tmp_path_factory: pytest.TempPathFactory
) -> StudyFile:
    folder = tmp_path_factory.mktemp("inputs")
    facts_table(facts).write_parquet(folder / "facts.parquet")
    return StudyFile(
        base=str(base),
        facts=str(folder / "facts.parquet"),
        strategies=("by-level", "mixed", "lora"),
        instruct=str(tuned),
        tasks=write_tasks(folder / "tasks", facts),
        harness=HarnessSettings(limit=20, batch_size=10),
        levels=(0,),
        sizes=(8,),
        seeds=2,
        shares=(10, 40),
        methods=("relative", "absolute-matched"),
        probe=PROBE,
        tune=TuneSettings(learning_rate=1e-3, batch_size=4),
        keep_models="all",
    )


@pytest.fixture(scope="module")
def run(study: StudyFile, tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    folder = tmp_path_factory.mktemp("run")
    plan, store = do_here(study, folder)
    write_study(study, plan, store, folder)
    return StudyRun(study, folder, plan, store)


def answers(loaded: LoadedModel, facts: list[Fact]) -> list[str]:
    return score(TransformersGenerator(loaded.model, loaded.tokenizer), facts, {})[
        "answer"
    ].to_list()


def test_the_runs_of_strategies(run: StudyRun) -> None:
    runs = run.table("strategy_runs")
    integers = dict.fromkeys(["level", "size", "seed", "num_facts", "num_steps"], pl.Int32())
    assert runs.schema == {
        "run": pl.String(),
        "strategy": pl.String(),
        **integers,
        "final_loss": pl.Float64(),
    }
    assert runs.select("run", "strategy", "level", "size", "seed", "num_steps").rows() == [
        ("mixed-size8-seed0", "mixed", None, 8, 0, 2),
        ("mixed-size8-seed1", "mixed", None, 8, 1, 2),
        ("lora-level0-size8-seed0", "lora", 0, 8, 0, 2),
        ("lora-level0-size8-seed1", "lora", 0, 8, 1, 2),
        ("instruct", "instruct", *[None] * 4),
    ]
    scores = run.table("strategy_scores")
    assert scores.schema == {"run": pl.String(), **SCORES_SCHEMA}
    assert list(dict.fromkeys(scores["run"])) == runs["run"].to_list()
    # What stands under a level is trained on whole weights alone.
    for name in ("runs", "scores", "restorations"):
        assert set(run.table(name)["run"]) == {RUN, "level0-size8-seed1"}


def test_an_adapter_is_scored_merged(run: StudyRun, base: Path, tuned: Path) -> None:
    assert run.study.facts is not None
    asked = [fact for fact in read_facts(run.study.facts).facts if is_scored(fact)]
    scores = run.table("strategy_scores")
    adapter = run.tuned("lora-level0-size8-seed1")
    assert is_adapter(adapter)
    plain = AutoModelForCausalLM.from_pretrained(base)
    merged = PeftModel.from_pretrained(plain, adapter).merge_and_unload().eval()
    loaded = load_model(base)
    expected = answers(loaded._replace(model=merged), asked)
    assert scores.filter(run=adapter_name(adapter, run))["answer"].to_list() == expected
    assert expected != answers(loaded, asked)
    assert scores.filter(run="instruct")["answer"].to_list() == answers(load_model(tuned), asked)


def adapter_name(adapter: Path, run: StudyRun) -> str:
    return next(told.name for told in run.plan.runs.values() if run.tuned(told.name) == adapter)


def test_other_tasks_are_those_of_written_models(run: StudyRun, base: Path, tmp_path: Path) -> None:
    """A restored model that is written and loaded does as well as the study told."""
    found = run.table("task_scores")
    assert found.schema == {name: dtype() for name, dtype in TASK_SCORES_SCHEMA.items()}
    tuned = run.tuned(RUN)
    pair = open_pair(base, tuned)
    models: dict[tuple[str, str, float | None], Path] = {
        ("base", "base", None): base,
        (RUN, "tuned", None): tuned,
    }
    for method in ("relative", "interpolation"):
        request = Request(method=method, shares=(10, 40))
        for output in restore_checkpoints(pair, request, tmp_path / method):
            models[RUN, method, output.share] = output.path
    strengths = run.table("restorations").filter(run=RUN, method="absolute-matched")
    for share, strength in strengths.select("share", "strength").iter_rows():
        matched = Request(method="absolute", shares=(strength,))
        (output,) = restore_checkpoints(pair, matched, tmp_path / f"matched-{share}")
        models[RUN, "absolute-matched", share] = output.path
    assert list(dict.fromkeys(found.select("model", "method", "share").iter_rows())) == [*models]
    tasks = load_harness_tasks(["own_choice", "own_text"], Path(run.study.tasks[0]).parent)
    values = set()
    for (model, method, share), folder in models.items():
        expected = evaluate_harness_tasks(folder, tasks, run.study.harness).results
        same = pl.col("share").eq_missing(pl.lit(share))
        rows = found.filter(same, model=model, method=method)
        told = ["acc", "brier_score", "exact_match,first", "exact_match,word"]
        assert rows["metric"].to_list() == told
        for column in ("task", "value", "stderr", "num_items"):
            assert rows[column].to_list() == expected[column].to_list()
        values.add(tuple(rows["value"]))
    assert set(found["num_items"]) == {20}
    assert len(values) == len(models)


def other_tasks(study: StudyFile, folder: Path) -> None:
    do_here(study, folder)


def test_other_tasks_go_on_after_a_kill(run: StudyRun) -> None:
    job = run.plan.jobs[f"tasks {RUN}"]
    expected = run.table("task_scores")
    run.store.remove(job)
    event = ("os.rename", "parts/interpolation-10.parquet", 1)
    assert kill_at(*event, other_tasks, run.study, run.folder) == -signal.SIGKILL
    parts = run.store.path(job).with_name(f".{job.key}.work") / "parts"
    done = {path: path.stat().st_mtime_ns for path in parts.glob("*.parquet")}
    assert {path.stem for path in done} == {"tuned", "relative-10", "relative-40"}
    made = []
    with pytest.MonkeyPatch.context() as patch:
        evaluate = evaluate_harness_tasks

        def counted(*arguments: object) -> object:
            made.append(arguments)
            return evaluate(*arguments)  # type: ignore[arg-type]

        patch.setattr("sftlens.study._other_tasks.evaluate_harness_tasks", counted)
        plan, store = do_here(run.study, run.folder)
    assert len(made) == 4
    write_study(run.study, plan, store, run.folder)
    assert run.table("task_scores").equals(expected)


def test_tasks_count_by_content(run: StudyRun, tmp_path: Path) -> None:
    def keys(files: Sequence[str]) -> dict[str, str]:
        study = run.study.model_copy(update={"tasks": tuple(files)})
        plan = make_plan(study, find_sources(study))
        return {name: job.key for name, job in plan.jobs.items()}

    before = keys(run.study.tasks)
    assert before == {name: job.key for name, job in run.plan.jobs.items()}
    here = Path(run.study.tasks[0]).parent
    there = shutil.copytree(here, tmp_path / "tasks")
    moved = [str(there / Path(file).name) for file in run.study.tasks]
    assert keys(moved) == before
    with (there / "own.jsonl").open("a") as data:
        data.write("\n{}")
    after = keys(moved)
    assert {name.split()[0] for name in before if after[name] != before[name]} == {"tasks"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "does not exist; give a YAML file of a task"),
        ("task: [", "line 1: is not valid YAML"),
        ("- task", "names no task:"),
        ("task: [a, b]\n", "names no task:"),
        ("task: own\noutput_type: dance\n", "Got invalid output_type 'dance'"),
    ],
)
def test_refused_tasks_are_told_first(
    study: StudyFile, tmp_path: Path, text: str | None, told: str
) -> None:
    if text is not None:
        (tmp_path / "own.yaml").write_text(text)
    refused_study = study.model_copy(update={"tasks": (str(tmp_path / "own.yaml"),)})
    with pytest.raises(UserError, match=told) as refused:
        run_study(refused_study, tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name == "job.json"]


def test_the_harness_is_asked_for_first(
    study: StudyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("sftlens.study._harness_tasks.version", absent)
    with pytest.raises(UserError, match=r"pip install sftlens\[eval\]"):
        run_study(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_name_that_two_tasks_have(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("task: mine\n")
    with pytest.raises(UserError, match="mine is named twice"):
        find_tasks(["mine", str(tmp_path / "own.yaml")])


def test_a_custom_tag_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("task: mine\nprocess_results: !function utils.x\n")
    (found,) = find_tasks([str(tmp_path / "own.yaml")])
    assert (found.name, found.folder) == ("mine", str(tmp_path))
