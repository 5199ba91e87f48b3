"""Study files: the ready ones, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import sftlens.study
from sftlens.errors import UserError
from sftlens.facts import facts_table, read_facts
from sftlens.mastery import ProbeSettings
from sftlens.scoring import ScoreSettings
from sftlens.study import Sources, StudyFile, demo_settings, load_study, make_plan, plan_study
from sftlens.study._fitting import model_size, training_notes
from sftlens.study._harness_tasks import find_tasks
from sftlens.study._launch import read_launch
from sftlens.study._rates import DEVICES
from sftlens.tuning import TuneSettings

STUDIES = Path(__file__).parents[2] / "studies"
CONTROLS = ("random", "relative-bottom", "absolute", "small-base", "interpolation")
READY = sorted(
    path.relative_to(STUDIES).as_posix()
    for path in STUDIES.rglob("*.yaml")
    if path.parent.name not in ("accelerate", "tasks")  # no studies, but what they name
)


@pytest.fixture
def entity_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with a piece of the data set, and no way to load a model."""
    for folder, topic, subject in [
        *(("train", "P19", f"Ada {number}") for number in range(10)),
        ("dev", "P19", "Bo"),
        ("test", "P19", "Cy"),
        ("train", "P26", "Di"),
        ("test", "P26", "Ed"),
    ]:
        path = tmp_path / "data/entity_questions" / folder / f"{topic}.{folder}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        asked = "Where was {} born?" if topic == "P19" else "Who is {} married to?"
        rows = json.loads(path.read_text()) if path.exists() else []
        rows.append({"question": asked.format(subject), "answers": ["London"]})
        path.write_text(json.dumps(rows))
    monkeypatch.chdir(tmp_path)
    drawn = tmp_path / "runs/entity-questions/facts.parquet"
    drawn.parent.mkdir(parents=True)
    facts = read_facts("entity_questions:data/entity_questions").facts
    facts_table(facts).write_parquet(drawn)

    def fail(*_: object, **__: object) -> None:
        pytest.fail("a plan loads no model")

    for name in ("generation._load.resolve_model", "study._study.resolve_model"):
        monkeypatch.setattr(f"sftlens.{name}", fail)


@pytest.mark.usefixtures("entity_questions")
@pytest.mark.parametrize("name", READY)
def test_the_ready_files_are_planned(name: str) -> None:
    study = load_study(STUDIES / name)
    found = plan_study(study)
    assert found.num_jobs == sum(found.kinds.values())
    units = {"completions", "steps", "answers", "hours", "GB", "jobs"}
    assert {one.unit for one in found.estimate} == units | ({"models"} if study.tasks else set())
    assert all(one.value >= 0 and one.rests_on for one in found.estimate)
    assert not any("does not fit" in note for note in found.notes)
    if study.scale is None:
        # Out-of-domain facts of the train split are of no use, and are not probed.
        assert found.estimate[0].rests_on.startswith("13 facts")


@pytest.mark.parametrize("name", READY)
def test_the_ready_files_can_train_on_their_device(name: str) -> None:
    """By 16 bytes a parameter, and 2 for the base beside an adapter, with a tenth left free."""
    study = load_study(STUDIES / name)
    number = model_size(study).num_parameters
    memory = DEVICES[study.estimate.device].memory
    if number is None:  # the plan tells what to write
        return
    assert (study.launch is not None) == (16 * number > memory)
    if "lora" in study.strategies and study.base is not None:
        assert 2 * number < 0.9 * memory
    if study.launch is not None:
        launch = read_launch(study.launch)
        assert launch.num_processes is not None
        assert study.tune.batch_size % launch.num_processes == 0
        assert launch.offloads or 16 * number / launch.num_processes < 0.9 * memory


@pytest.mark.parametrize("name", [name for name in READY if name.startswith("paper/")])
def test_the_papers_studies(name: str) -> None:
    study = load_study(STUDIES / name)
    assert study.levels == (0, 1, 2, 3, 4)
    assert study.sizes == (60, 120, 240, 480, 960, 1920, "all")
    assert study.seeds == 5
    assert study.shares == (1, 3, 5, 10, 20, 40, 60)
    assert (study.probe, study.tune, study.score) == (
        ProbeSettings(),
        TuneSettings(),
        ScoreSettings(),
    )
    assert {"relative", "random", "interpolation"} <= set(study.methods)
    lora = () if "70b" in name else ("lora",)  # which no GPU has room for
    assert study.strategies == ("by-level", "mixed", *lora)
    assert study.instruct is not None
    assert study.tasks == ("gsm8k", "xsum")
    assert sum(study.estimate.level_sizes or ()) == 75_944
    assert len([name for name in READY if name.startswith("paper/")]) == 5


def test_the_demo_runs_what_is_packaged() -> None:
    packaged = Path(sftlens.study.__file__).parent
    for name in ("demo", "demo-quick"):
        assert demo_settings(quick=name == "demo-quick") == load_study(packaged / f"{name}.yaml")
    quick = (packaged / "demo-quick.yaml").read_bytes()
    assert quick == (STUDIES / "demo-quick.yaml").read_bytes()


def test_the_demo_study_has_the_runs_of_the_demo_and_more() -> None:
    """What the one has made, the other need not make again."""
    demo, study = demo_settings(), load_study(STUDIES / "demo.yaml")
    keys = [
        {job.key for job in make_plan(one, Sources()).jobs.values() if job.kind != "restore"}
        for one in (demo, study)
    ]
    assert keys[0] < keys[1]
    assert set(demo.methods) < set(study.methods)
    assert set(CONTROLS) <= set(study.methods)
    assert "mixed" in study.strategies


def test_a_task_file_is_found_beside_the_study_or_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "here").mkdir()
    beside, here = tmp_path / "studies" / "mine.yaml", tmp_path / "here" / "other.yaml"
    for path in (beside, here):
        path.write_text(f"task: {path.stem}\n", encoding="utf-8")
    study = tmp_path / "studies" / "study.yaml"
    tasks = ["mine.yaml", "other.yaml", "gsm8k", "absent.yaml"]
    study.write_text(yaml.safe_dump({**GOOD, "tasks": tasks}), encoding="utf-8")
    monkeypatch.chdir(tmp_path / "here")
    assert load_study(study).tasks == (str(beside), str(here), "gsm8k", "absent.yaml")
    with pytest.raises(UserError, match=r"absent\.yaml: does not exist"):
        find_tasks(load_study(study).tasks)


@pytest.mark.parametrize("name", [name for name in READY if name.startswith("paper/")])
def test_the_papers_studies_have_controls_and_other_methods(name: str) -> None:
    methods = load_study(STUDIES / name).methods
    assert set(CONTROLS) <= set(methods)
    matched = {method for method in methods if method.endswith("-matched")}
    assert {"absolute-matched", "lines-matched", "ties-matched", "fapm-matched"} < matched
    assert "dg-hard" in methods


def test_a_study_has_every_control_unless_told_otherwise() -> None:
    assert set(StudyFile.model_validate(GOOD).methods) == {"relative", *CONTROLS}


SHARED = "distributed_type: FSDP\nnum_processes: 4\n"


@pytest.mark.parametrize(
    ("launch", "billions", "told"),
    [
        (None, 4, []),
        (None, 8, ["does not fit: it takes 128 GB, one h100 has 80 GB, and without launch:"]),
        (SHARED, 8, ["takes 128 GB shared by the 4 GPUs of launch:, 32 GB each"]),
        (SHARED, 30, ["does not fit: it takes 480 GB shared by the 4 GPUs of launch:, 120 GB"]),
        (SHARED + "fsdp_config: {fsdp_offload_params: true}\n", 30, ["480 GB in main memory"]),
        ("distributed_type: FSDP\n", 8, ["which does not say how many"]),
        ("distributed_type: MULTI_GPU\n", 4, ["takes 64 GB on each GPU"]),
        ("distributed_type: MULTI_GPU\n", 8, ["does not fit: it takes 128 GB on each GPU"]),
        (SHARED, 38, ["608 GB", "LoRA does not fit: it takes the base's 76 GB"]),
    ],
)
def test_what_a_plan_tells_of_memory(
    tmp_path: Path, launch: str | None, billions: int, told: list[str]
) -> None:
    config = tmp_path / "launch.yaml"
    config.write_text(launch or "")
    study = StudyFile.model_validate(
        {
            **GOOD,
            "strategies": ["by-level", "lora"],
            "launch": None if launch is None else str(config),
            "estimate": {"num_parameters": billions * 10**9},
        }
    )
    notes = training_notes(study, model_size(study))
    assert len(notes) == len(told)
    assert all(part in note for part, note in zip(told, notes, strict=True))
    assert not any("one device" in note for note in notes if launch and "LoRA" not in note)


def test_a_plan_counts(tmp_path: Path) -> None:
    """By hand: 9 training facts of one level in steps of 4, twice; 3 scored facts."""
    rows = [f"P19,A{n},Where was A{n} born?,X,train,in" for n in range(45)]
    rows += [f"P19,B{n},Where was B{n} born?,X,test,in" for n in range(3)]
    header = "topic,subject,question,answers,split,domain"
    (tmp_path / "facts.csv").write_text("\n".join([header, *rows]))
    study = StudyFile.model_validate(
        {
            "base": "org/absent",
            "facts": str(tmp_path / "facts.csv"),
            "levels": [0],
            "sizes": [4, "all"],
            "seeds": 2,
            "shares": [10, 20],
            "methods": ["relative", "random-matched", "dg-hard"],
            "layer_groups": 3,
            "probe": {"num_templates": 3, "num_samples": 2},
            "tune": {"batch_size": 4},
        }
    )
    found = plan_study(study)
    values = [
        one.value for one in found.estimate if one.unit in ("completions", "steps", "answers")
    ]
    ways = 2 + 2 + 1
    scored = 3 * (1 + 4 + 1)  # the base, four runs, one of two restored runs again
    training = 2 * 4 * (1 + ways)  # two runs of four facts, before and after each restoration
    assert values == [48 * 6, 2 * 1 + 2 * 3, scored, 3 * 2 * ways, 3 * 2 * 3, training]
    assert "org/absent is not here" in found.notes[0]
    assert "device hours in all" not in {one.what for one in found.estimate}
    stated = study.model_copy(
        update={"estimate": study.estimate.model_copy(update={"num_parameters": 10**12})}
    )
    assert any("fine-tuning does not fit" in note for note in plan_study(stated).notes)


def test_a_plan_counts_strategies_and_tasks(tmp_path: Path) -> None:
    """By hand: 9 training facts of one level; LoRA at the restored size, all of them."""
    rows = [f"P19,A{n},Where was A{n} born?,X,train,in" for n in range(45)]
    rows += [f"P19,B{n},Where was B{n} born?,X,test,in" for n in range(3)]
    header = "topic,subject,question,answers,split,domain"
    (tmp_path / "facts.csv").write_text("\n".join([header, *rows]))
    study = StudyFile.model_validate(
        {
            "base": "org/absent",
            "facts": str(tmp_path / "facts.csv"),
            "strategies": ["by-level", "lora"],
            "instruct": "org/absent-chat",
            "tasks": ["gsm8k"],
            "levels": [0],
            "sizes": [4, 8],
            "seeds": 2,
            "shares": [10, 20],
            "tune": {"batch_size": 4},
            "estimate": {"num_parameters": 1000},
        }
    )
    found = plan_study(study)
    values = {one.what: one.value for one in found.estimate}
    assert values["fine-tuning"] == 2 * 1 + 2 * 2 + 2 * 2
    told = values["answers of the base and of tuned models"]
    assert told == (6 + 1 + 1 + 1) * 3  # the instruct model, the base, and one run again
    assert values["models on other tasks"] == 1 + 1 + 2 * 2
    assert values["disk, tuned models"] == pytest.approx(2 * 2000 / 1e9)  # no adapters
    assert found.kinds["tasks"] == 2
    assert any("6 models on other tasks" in note for note in found.notes)


GOOD: dict[str, Any] = {"base": "org/model", "facts": "facts.csv"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("base: [", "is not valid YAML"),
        ("- base", "holds no keys"),
        ("", "holds no keys"),
        ("base: a\nbase: b\n", "line 2: 'base' is given twice"),
        ("base: a\n", "facts: goes with base:"),
        ("facts: a\n", "give either base:"),
        ("base: a\nfacts: b\nscale: {}\n", "give either base:"),
        ("scale: {}\nfacts: b\n", "scale: brings its own"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as refused:
        load_study(path)
    assert str(path) in str(refused.value)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("sise", [60], "sise: is no key here; known: base, scale"),
        ("tune", {"learning_rte": 1}, "tune.learning_rte: is no key here; known: learning_rate"),
        ("scale", {"world": {"x": 1}}, "scale.world.x: is no key here; known: exposures"),
        ("estimate", {"rates": {"x": 1}}, "estimate.rates"),
        (
            "sizes",
            [60, 0],
            "sizes.1: 0 is refused, write a number of facts from 1 to 2147483647, or all",
        ),
        ("sizes", [60, True], "sizes.1: True is refused"),
        ("sizes", [60, 60], "60 is given twice"),
        ("sizes", [], "sizes: [] is refused"),
        ("levels", [5], "levels.0: 5 is refused"),
        ("levels", [], "levels: is empty"),
        ("seeds", 0, "seeds: 0 is refused"),
        ("shares", [101], "share 101"),
        ("shares", [], "no share given"),
        ("methods", ["magic"], "'magic' is unknown; choose from relative"),
        ("methods", ["dg-hard-matched"], "no strength to vary; choose another, or dg-hard"),
        ("methods", ["dare-matched"], "enlarges"),
        ("methods", ["interpolation-matched"], "its strength is matched to relative already"),
        ("methods", ["relative-matched"], "write relative"),
        ("methods", ["ties-bottom-matched"], "order 'bottom' has no effect"),
        ("layer_groups", -1, "layer_groups: -1 is refused"),
        ("methods", ["dare-bottom"], "order 'bottom' has no effect"),
        ("strategies", ["qlora"], "strategies.0: 'qlora' is refused"),
        ("lora", {"rank": 0}, "lora.rank: 0 is refused"),
        ("harness", {"limits": 1}, "harness.limits: is no key here; known: limit"),
        ("tasks", ["gsm8k", "gsm8k"], "gsm8k is given twice"),
        ("restored_sizes", [7], "restored_sizes: 7 is none of the sizes"),
        ("tune", {"seed": 1}, "write seeds: instead"),
        ("probe", {"num_samples": "\u202e\n{x}"}, "probe.num_samples: "),
    ],
)
def test_values_that_are_refused(tmp_path: Path, key: str, value: object, told: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps({**GOOD, key: value}))  # JSON is YAML
    with pytest.raises(UserError) as refused:
        load_study(path)
    assert str(path) in str(refused.value)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_absent(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_study(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match="is a folder"):
        load_study(tmp_path)


def test_a_training_method_is_a_setting_and_plain_jobs_stay(tmp_path: Path) -> None:
    def tune_of(text: str) -> dict[str, object]:
        path = tmp_path / "study.yaml"
        path.write_text("scale: {}\nsizes: [4]\nlevels: [0]\nseeds: 1\n" + text)
        jobs = make_plan(load_study(path), Sources()).jobs
        (job,) = [job for job in jobs.values() if job.kind == "tune"]
        return {"key": job.key, **job.settings["tune"]}

    plain = tune_of("")
    assert "method" not in plain
    assert tune_of("tune: {method: sft}\n") == plain
    held = tune_of("tune: {method: {name: kl, strength: 2}}\n")
    assert held["method"] == {"name": "kl", "strength": 2.0}
    assert held["key"] != plain["key"]
    with pytest.raises(UserError, match="strenth"):
        tune_of("tune: {method: {name: kl, strenth: 2}}\n")
    with pytest.raises(UserError, match="write unused_facts: true"):
        tune_of("unused_facts: false\ntune: {method: early-stop}\n")
