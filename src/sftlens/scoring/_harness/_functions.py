"""What a task made of facts does in the harness; written out beside the task as its own code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sftlens.facts import matches


def read_facts(name: str, **_: object) -> dict[str, Any]:
    """The facts of the file NAME.jsonl beside this one."""
    from datasets import Dataset

    with Path(__file__).with_name(f"{name}.jsonl").open(encoding="utf-8") as lines:
        return {"facts": Dataset.from_list([json.loads(line) for line in lines])}


def prompt(doc: dict[str, Any]) -> str:
    """What the model is to complete."""
    return str(doc["prompt"])


def answers(doc: dict[str, Any]) -> list[str]:
    """What counts as the answer."""
    return list(doc["answers"])


def contains(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether an answer occurs anywhere in what the model wrote."""
    return {"acc": float(matches(results[0], doc["answers"], "contains"))}


def words(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether an answer occurs with no letter or digit touching it."""
    return {"acc": float(matches(results[0], doc["answers"], "words"))}


def exact(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether what the model wrote is an answer and nothing else."""
    return {"acc": float(matches(results[0], doc["answers"], "exact"))}
