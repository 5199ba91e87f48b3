"""What the tuning was for, as questions whose accuracy a repair has to keep."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sftlens.delimited import read_delimited
from sftlens.errors import UserError, first_line
from sftlens.facts import Matching, matches
from sftlens.generation import Decoding, LoadedModel, TransformersGenerator
from sftlens.repair._parts import Part, divide_items
from sftlens.repair._settings import RepairSettings
from sftlens.tables import read_table

HARNESS = "lm-eval:"

_FEWEST = 4
_MORE_TOKENS = 2  # than the expected completion has: room for the end of the text
_METRICS = ("exact_match", "acc", "em", "f1")


class Answered(NamedTuple):
    """What a model made of one item; ``value`` is 1 for right and 0 for wrong, or between."""

    item: str
    answer: str
    value: float


class Task(Protocol):
    """A task of its own, beside the facts."""

    name: str
    """What a person calls it."""

    key: str
    """Stands for everything that its items and their judgement depend on."""

    notes: list[str]
    """What has to be reported about how its items were divided."""

    def num_items(self, part: Part) -> int:
        """How many items a part has."""
        ...

    def ask(self, loaded: LoadedModel, part: Part, start: int, end: int) -> list[Answered]:
        """Some of a part's items asked of a model, in their order."""
        ...


class Example(NamedTuple):
    """One example of a task."""

    name: str
    prompt: str
    completion: str
    split: str | None


class Examples:
    """A file of prompts and the completions expected of them.

    The prompt is completed as it stands, after BOS where the tokenizer puts one, greedily and by as
    many tokens as the longest expected completion has and two more.

    Args:
        path: ``.jsonl``, ``.csv`` or ``.parquet`` with the columns ``prompt, completion[, split]``.
        settings: seed and matching.

    Raises:
        UserError: when the file cannot be read, or lacks a column or examples.
    """

    def __init__(self, path: Path, settings: RepairSettings) -> None:
        rows = _rows(path)
        examples = [_example(row, number, path) for number, row in enumerate(rows, start=1)]
        measured = [example for example in examples if example.split != "train"]
        if len(measured) < _FEWEST:
            raise UserError(
                f"{path}: has {len(measured)} examples of the splits validation and test; give at "
                f"least {_FEWEST}, better 200"
            )
        content = json.dumps([list(example) for example in measured])
        self.name = path.name
        self.key = hashlib.sha256(content.encode()).hexdigest()
        self._matching: Matching = settings.matching
        self._completions = [example.completion for example in examples]
        self._parts, self.notes = divide_items(
            examples, lambda e: f"{e.name} {e.prompt}", lambda e: e.split, seed=settings.seed
        )

    def num_items(self, part: Part) -> int:
        return len(self._parts.of(part))

    def ask(self, loaded: LoadedModel, part: Part, start: int, end: int) -> list[Answered]:
        asked = self._parts.of(part)[start:end]
        generator = TransformersGenerator(loaded.model, loaded.tokenizer)
        longest = max(map(len, generator.tokenize(self._completions)))
        decoding = Decoding(max_new_tokens=longest + _MORE_TOKENS)
        answers = [""] * len(asked)
        for batch in generator.complete([example.prompt for example in asked], decoding):
            for place, texts, _ in batch:
                answers[place] = texts[0]
        return [
            Answered(one.name, text, float(matches(text, [one.completion], self._matching)))
            for one, text in zip(asked, answers, strict=True)
        ]


class HarnessTask:
    """A task of lm-evaluation-harness, by the mean of one metric over its items.

    Args:
        name: ``TASK`` or ``TASK:METRIC``; without a metric exact_match, acc, em or f1, the first
            that the task has.
        settings: its seed halves the items and draws the examples in prompts.

    Raises:
        UserError: when there is no such task, or when it is a group.
    """

    def __init__(self, name: str, settings: RepairSettings) -> None:
        from sftlens.scoring import load_harness_tasks

        task, _, metric = name.partition(":")
        self._tasks = load_harness_tasks([task])
        if len(self._tasks.names) != 1:
            raise UserError(f"{name}: is a group of lm-evaluation-harness; name one task")
        [self._task] = self._tasks.names
        self.name = f"{name} of lm-evaluation-harness"
        self.key = f"{HARNESS}{name} {self._tasks.num_items(self._task)}"
        self._metric = metric or None
        self._seed = settings.seed
        numbers = range(self._tasks.num_items(self._task))
        self._parts, self.notes = divide_items(numbers, str, lambda _: None, seed=settings.seed)
        if not all(self._parts):
            raise UserError(f"{name}: has {len(numbers)} items, too few to divide")

    def num_items(self, part: Part) -> int:
        return len(self._parts.of(part))

    def ask(self, loaded: LoadedModel, part: Part, start: int, end: int) -> list[Answered]:
        import polars as pl

        from sftlens.scoring import HarnessSettings, evaluate_harness_tasks

        asked = self._parts.of(part)[start:end]
        if not asked:
            return []
        settings = HarnessSettings(seed=self._seed)
        found = evaluate_harness_tasks(
            loaded, self._tasks, settings, items=True, places={self._task: asked}
        ).items
        assert found is not None
        metric = self._metric_of(found["metric"].unique().to_list())
        first = found.filter(pl.col("metric") == metric)["filter"][0]
        own = found.filter((pl.col("metric") == metric) & (pl.col("filter") == first))
        by_item = {item: (text, value) for _, item, _, _, value, text, _ in own.iter_rows()}
        if any(value is None for _, value in by_item.values()):
            raise UserError(
                f"{self.name}: metric {metric} has no number for one item; name another metric, "
                f"as in {HARNESS}{self._task}:acc"
            )
        return [Answered(str(item), *by_item[item]) for item in asked]

    def _metric_of(self, metrics: Sequence[str]) -> str:
        wanted = [self._metric] if self._metric else _METRICS
        for metric in wanted:
            if metric in metrics:
                return metric
        raise UserError(
            f"{self.name}: has the metrics {', '.join(sorted(metrics))}; name one of them, as in "
            f"{HARNESS}{self._task}:{sorted(metrics)[0]}"
        )


def open_task(settings: RepairSettings) -> Task | None:
    """The task that settings name; None where the answers to facts are the task.

    Raises:
        UserError: when it cannot be read.
    """
    if settings.keep is None:
        return None
    if settings.keep.startswith(HARNESS):
        return HarnessTask(settings.keep.removeprefix(HARNESS), settings)
    return Examples(Path(settings.keep).expanduser(), settings)


def _rows(path: Path) -> list[dict[str, Any]]:
    readers = {".jsonl": _json_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}
    if path.suffix not in readers:
        raise UserError(f"{path}: is none of {', '.join(readers)}, nor {HARNESS}TASK; convert it")
    try:
        return readers[path.suffix](path)
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: cannot be read ({first_line(error)}); fix it") from None


def _json_rows(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_delimited(path)]


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    return read_table(path, remedy="write it again").to_dicts()


def _example(row: Any, number: int, path: Path) -> Example:
    where = f"{path}, example {number}"
    if not isinstance(row, dict):
        raise UserError(f"{where}: is no object with prompt and completion; fix it")
    for column in ("prompt", "completion"):
        if not isinstance(row.get(column), str) or not row[column].strip():
            raise UserError(f"{where}: {column} is missing or empty; give text")
    split = row.get("split") or None
    if split not in (None, "train", "validation", "test"):
        raise UserError(f"{where}: split {split!r} is none of train, validation, test")
    return Example(str(number), row["prompt"], row["completion"].strip(), split)
