"""Jobs and their keys: a changed setting changes what depends on it, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from sftlens.study import Plan, Run, Sources, StudyFile, make_plan, training_runs
from sftlens.study._harness_tasks import NamedTask

HERE = Sources({"weights": "w", "files": "f"}, "/models/base", "h", "facts.csv")
STUDY: dict[str, Any] = {
    "base": "base",
    "facts": "facts.csv",
    "levels": [0, 3],
    "sizes": [8, 16],
    "seeds": 2,
    "shares": [10, 40],
}


def keys(sources: Sources = HERE, **changes: Any) -> dict[str, str]:
    plan = make_plan(StudyFile.model_validate({**STUDY, **changes}), sources)
    return {name: job.key for name, job in plan.jobs.items()}


def kinds_changed(**changes: Any) -> set[str]:
    before, after = keys(), keys(**changes)
    assert before.keys() == after.keys()
    return {name.split()[0] for name in before if before[name] != after[name]}


def test_the_runs_of_a_study() -> None:
    study = StudyFile.model_validate({**STUDY, "strategies": ["by-level", "mixed", "lora"]})
    runs = training_runs(study)
    whole = [Run(k, n, s) for n in (8, 16) for k in (0, 3, None) for s in (0, 1)]
    assert runs == [*whole, *(Run(k, 16, s, lora=True) for k in (0, 3) for s in (0, 1))]
    assert len({run.name for run in runs}) == 16
    assert runs[0].name == "level0-size8-seed0"
    assert runs[11].name == "mixed-size16-seed1"
    assert runs[-1].name == "lora-level3-size16-seed1"
    assert [runs[n].strategy for n in (0, 11, -1)] == ["by-level", "mixed", "lora"]
    assert Run(1, "all", 0).name == "level1-all-seed0"


def test_every_input_comes_before() -> None:
    plan = make_plan(StudyFile.model_validate(STUDY), HERE)
    seen: set[str] = set()
    for name, job in plan.jobs.items():
        assert set(job.inputs.values()) <= seen
        seen.add(name)
    assert [len(plan.of_kind(kind)) for kind in ("tune", "score", "change", "restore")] == [
        *(8, 8, 4, 4)
    ]
    assert len({job.key for job in plan.jobs.values()}) == len(plan.jobs)


OF_RUNS = {"tune", "score", "divergence", "change", "restore", "noise", "layers"}
SCORED = {"base-score", "score", "noise", "layers", "restore"}


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"shares": [10]}, {"change", "restore"}),
        ({"methods": ["relative"]}, {"restore"}),
        ({"layer_groups": 2}, {"layers"}),
        ({"score": {"max_new_tokens": 4}}, SCORED),
        ({"tune": {"batch_size": 2}}, OF_RUNS),
        ({"probe": {"num_samples": 2}}, {"probe", "outlook", "base-score", *OF_RUNS}),
        ({"unused_facts": True}, {"facts", "probe", "outlook", "base-score", *OF_RUNS}),
        ({"out": "elsewhere", "keep_models": "none", "quick": True}, set()),
        ({"estimate": {"device": "cpu"}}, set()),
    ],
)
def test_a_change_reaches_what_depends_on_it(changes: dict[str, Any], changed: set[str]) -> None:
    assert kinds_changed(**changes) == changed


def test_what_is_asked_beside_the_scores() -> None:
    """The base once, the first training set of each restored size again, and all layers."""
    plan = make_plan(StudyFile.model_validate(STUDY), HERE)
    restored = [f"level{level}-size16-seed{seed}" for level in (0, 3) for seed in (0, 1)]
    assert [job.name for job in plan.of_kind("base-score")] == ["base-score"]
    assert [job.settings["run"] for job in plan.of_kind("noise")] == restored[::2]
    assert [job.settings["run"] for job in plan.of_kind("layers")] == restored
    without = make_plan(StudyFile.model_validate({**STUDY, "layer_groups": 0}), HERE)
    assert without.of_kind("layers") == []


def test_more_runs_leave_the_others_as_they_are() -> None:
    before, after = keys(), keys(seeds=3, sizes=[8, 16, 12], levels=[0, 3, 4])
    assert before.items() <= after.items()
    assert len(after) > len(before)


STRATEGIES: dict[str, Any] = {
    "strategies": ["by-level", "mixed", "lora"],
    "instruct": "chat",
    "tasks": ["a_task", "own.yaml"],
}
TASKS = (NamedTask("a_task", "lm-eval 1", None), NamedTask("own", "lm-eval 1, o", "/tasks"))
CHAT = HERE._replace(instruct={"weights": "c"}, instruct_folder="/models/chat", tasks=TASKS)


def test_strategies_and_tasks_add_jobs() -> None:
    plain, more = keys(), keys(CHAT, **STRATEGIES)
    assert plain.items() <= more.items()
    tuned = [f"{k}-size{n}-seed{s}" for n in (8, 16) for k in ("mixed",) for s in (0, 1)]
    tuned += [f"lora-level{k}-size16-seed{s}" for k in (0, 3) for s in (0, 1)]
    added = [f"{kind} {name}" for kind in ("tune", "score") for name in tuned]
    evaluated = ["base", "level0-size16-seed0", "level3-size16-seed0"]
    added += ["score instruct", *(f"tasks {name}" for name in evaluated)]
    assert more.keys() - plain.keys() == set(added)


@pytest.mark.parametrize(
    ("sources", "changes", "changed"),
    [
        ({"instruct": {"weights": "d"}}, {}, {"score instruct"}),
        ({"instruct_folder": "/elsewhere"}, {}, set()),
        ({"tasks": (TASKS[0], TASKS[1]._replace(folder="/moved"))}, {}, set()),
        ({"tasks": (TASKS[0], TASKS[1]._replace(identity="p"))}, {}, {"tasks"}),
        ({}, {"harness": {"limit": 3}}, {"tasks"}),
        ({}, {"lora": {"rank": 3}}, {"tune lora", "score lora"}),
        ({}, {"shares": [10]}, {"change", "restore", "tasks level"}),
    ],
)
def test_a_change_reaches_strategies_and_tasks(
    sources: dict[str, Any], changes: dict[str, Any], changed: set[str]
) -> None:
    before = keys(CHAT, **STRATEGIES)
    after = keys(CHAT._replace(**sources), **{**STRATEGIES, **changes})
    assert before.keys() == after.keys()
    different = {name for name in before if before[name] != after[name]}
    assert different == {name for name in before if name.startswith(tuple(changed))}


def test_where_things_lie_does_not_count() -> None:
    moved = HERE._replace(base_folder="/elsewhere", facts_source="other.csv")
    assert keys(moved) == keys()
    other_base = keys(HERE._replace(base={"weights": "v", "files": "f"}))
    assert {name for name in other_base if other_base[name] == keys()[name]} == {"facts"}
    other_facts = keys(HERE._replace(facts="g"))
    assert not {name for name in other_facts if other_facts[name] == keys()[name]}


def test_a_scale_model_is_made_first() -> None:
    study = StudyFile.model_validate({"scale": {}, "sizes": [8], "levels": [0], "seeds": 1})
    plan: Plan = make_plan(study, Sources())
    assert list(plan.jobs)[:5] == ["world", "base", "facts", "probe", "outlook"]
    assert all("base" in job.inputs for job in plan.of_kind("tune"))
