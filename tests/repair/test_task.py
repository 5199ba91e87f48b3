"""Tasks that a repair keeps: the user's own examples, and tasks of lm-evaluation-harness."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from sftlens.errors import UserError
from sftlens.facts import Fact
from sftlens.generation import LoadedModel, load_model, question_prompt
from sftlens.repair import RepairSettings, run_repair
from sftlens.repair._task import Examples, HarnessTask, Task, open_task
from sftlens.scoring import export_harness_tasks, load_harness_tasks

PARTS = ("search", "decision", "test")


@pytest.fixture(scope="module")
def loaded(tuned: Path) -> LoadedModel:
    return load_model(tuned)


def rows_of(facts: list[Fact]) -> list[dict[str, str]]:
    return [{"prompt": question_prompt(f.question), "completion": f.answers[0]} for f in facts]


def write_json(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    pl.DataFrame(rows).write_csv(path)


def write_parquet(path: Path, rows: list[dict[str, str]]) -> None:
    pl.DataFrame(rows).write_parquet(path)


def all_items(task: Task, loaded: LoadedModel) -> dict[str, list[tuple[str, float]]]:
    found = {}
    for part in PARTS:
        answered = task.ask(loaded, part, 0, task.num_items(part))
        found[part] = [(one.item, one.value) for one in answered]
    return found


def test_any_format_gives_the_same(facts: list[Fact], loaded: LoadedModel, tmp_path: Path) -> None:
    rows = rows_of(facts[:41])
    writers: dict[str, Callable[[Path, list[dict[str, str]]], None]] = {
        "own.jsonl": write_json,
        "own.csv": write_csv,
        "own.parquet": write_parquet,
    }
    found = []
    for name, write in writers.items():
        write(tmp_path / name, rows)
        found.append(all_items(Examples(tmp_path / name, RepairSettings()), loaded))
    assert found[0] == found[1] == found[2]
    parts = [{item for item, _ in own} for own in found[0].values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 41
    assert [len(part) for part in parts] in ([10, 10, 21], [11, 10, 20])
    values = {value for own in found[0].values() for _, value in own}
    assert values == {0.0, 1.0}


def test_a_beginning_is_asked_alone(facts: list[Fact], loaded: LoadedModel, tmp_path: Path) -> None:
    write_json(tmp_path / "own.jsonl", rows_of(facts[:40]))
    task = Examples(tmp_path / "own.jsonl", RepairSettings())
    whole = task.ask(loaded, "search", 0, 10)
    assert task.ask(loaded, "search", 3, 7) == whole[3:7]
    assert task.ask(loaded, "search", 4, 4) == []


def test_the_files_own_split(facts: list[Fact], tmp_path: Path) -> None:
    splits = ["validation", "test", "train", "test"] * 5
    rows = [{**r, "split": s} for r, s in zip(rows_of(facts[:20]), splits, strict=True)]
    write_json(tmp_path / "own.jsonl", rows)
    task = Examples(tmp_path / "own.jsonl", RepairSettings())
    assert [task.num_items(part) for part in PARTS] == [3, 2, 10]


def test_training_items_are_never_searched_on(
    facts: list[Fact], loaded: LoadedModel, tmp_path: Path
) -> None:
    for splits, sizes, note in (
        (["train", "train", "test"], [2, 2, 4], "no split validation: a seeded half"),
        (["train", "train", "validation"], [2, 2, 4], "no split test: a seeded half"),
        (["train", "train", ""], [2, 2, 4], None),
        (["validation", "train", ""], [4, 4, 8], None),
    ):
        rows = [
            {**row, "split": split}
            for row, split in zip(rows_of(facts[:24]), splits * 8, strict=True)
        ]
        write_csv(tmp_path / "own.csv", rows)
        task = Examples(tmp_path / "own.csv", RepairSettings())
        assert [task.num_items(part) for part in PARTS] == sizes
        asked = {item for own in all_items(task, loaded).values() for item, _ in own}
        assert not any(splits[(int(item) - 1) % 3] == "train" for item in asked)
        assert task.notes[0].endswith("items of the task are of split train and were left out.")
        assert any(note in told for told in task.notes[1:]) if note else not task.notes[1:]
    write_csv(tmp_path / "own.csv", [{**row, "split": "train"} for row in rows_of(facts[:24])])
    with pytest.raises(UserError, match="has 0 examples of the splits validation and test"):
        Examples(tmp_path / "own.csv", RepairSettings())


def test_headers_of_a_task_file(facts: list[Fact], tmp_path: Path) -> None:
    rows = "".join(f"Who is {n}?,Nobody\n" for n in range(4))
    (tmp_path / "own.csv").write_text(f"prompt , completion\n{rows}")
    assert Examples(tmp_path / "own.csv", RepairSettings()).num_items("test") == 2
    (tmp_path / "own.csv").write_text("prompt,prompt,completion\na,b,c\n")
    with pytest.raises(UserError, match="column prompt stands 2 times"):
        Examples(tmp_path / "own.csv", RepairSettings())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("own.jsonl", '{"prompt": "a"}\n' * 5, "completion is missing"),
        ("own.jsonl", "{]\n", "cannot be read"),
        ("own.jsonl", "[1]\n" * 5, "no object"),
        ("own.csv", "prompt,completion\na,b\n", "has 1 examples"),
        ("own.csv", "prompt,completion,split\n" + "a,b,dev\n" * 4, "split 'dev'"),
        ("own.parquet", "no parquet", "cannot be read as Parquet"),
        ("own.txt", "", "is none of"),
        ("absent.jsonl", None, "cannot be read"),
    ],
)
def test_refusals(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        open_task(RepairSettings(keep=str(tmp_path / name)))


def test_a_repair_keeps_the_users_task(
    base: Path, tuned: Path, asked: Path, facts: list[Fact], tmp_path: Path
) -> None:
    write_json(tmp_path / "own.jsonl", rows_of(facts[:40]))
    keep = str(tmp_path / "own.jsonl")
    settings = RepairSettings(keep=keep, budget=4, methods=("wise-ft",), shares=(30, 60))
    out = tmp_path / "out"
    found = run_repair(str(base), str(tuned), str(asked), out, settings=settings)
    evaluations = pl.read_parquet(out / "evaluations.parquet")
    tasks = evaluations.filter(kind="task", candidate="tuned")
    assert dict(tasks.group_by("part").len().iter_rows()) == {
        "search": 10,
        "decision": 10,
        "test": 20,
    }
    full = found.num_facts["search"] + found.num_facts["decision"] + 20
    assert len(evaluations.filter(pl.col("part") != "test")) / full == found.evaluations
    card = (out / "model" / "README.md").read_text()
    assert "kept: own.jsonl" in card
    assert f"--keep {keep}" in card


def test_a_task_of_the_harness(
    facts: list[Fact], loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_harness_tasks(facts[:40], tmp_path / "tasks")
    known = load_harness_tasks(["sftlens"], tmp_path / "tasks")
    monkeypatch.setattr(
        "sftlens.scoring.load_harness_tasks",
        lambda names: load_harness_tasks(names, tmp_path / "tasks"),
    )
    name = max(known.names, key=known.num_items)
    assert known.num_items(name) >= 8
    task = open_task(RepairSettings(keep=f"lm-eval:{name}:acc"))
    assert isinstance(task, HarnessTask)
    items = all_items(task, loaded)
    numbers = [int(item) for own in items.values() for item, _ in own]
    assert sorted(numbers) == list(range(known.num_items(name)))
    assert {value for own in items.values() for _, value in own} <= {0.0, 1.0}
    first = task.ask(loaded, "search", 0, 3)
    assert [(one.item, one.value) for one in first] == items["search"][:3]
    with pytest.raises(UserError, match=r"name one of them, as in lm-eval"):
        HarnessTask(f"{name}:magic", RepairSettings()).ask(loaded, "search", 0, 2)
    with pytest.raises(UserError, match="is a group"):
        HarnessTask("sftlens", RepairSettings())
