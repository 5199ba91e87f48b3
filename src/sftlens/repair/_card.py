"""The model card of a repaired model."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sftlens import __version__
from sftlens.card import metadata
from sftlens.repair._explain import points_interval
from sftlens.repair._settings import RepairSettings
from sftlens.repair._tables import estimate
from sftlens.rounding import between, percent
from sftlens.scoring import Estimate


class Told(NamedTuple):
    """What a card tells.

    Attributes:
        base: name of the base model.
        tuned: name of the tuned model.
        hashes: of the weights of both.
        licence: what the base's card states, as
            :func:`sftlens.card.stated_licence` gives it.
        facts: where the facts came from.
        mastery: the folder of the levels, as the user named it; None without.
        task: what the task is called; None for the default.
        settings: of the search.
        groups: what happened to each group of layers, where it differs.
        chosen: the candidate's name.
        is_tuned: whether nothing was restored.
        why: the paragraph.
        stored: the storage type of the weights.
        front: the rows of the test facts.
        notes: on how the models were aligned and the facts divided.
    """

    base: str
    tuned: str
    hashes: tuple[str, str]
    licence: Mapping[str, Any]
    facts: str
    mastery: str | None
    task: str | None
    settings: RepairSettings
    groups: Sequence[str]
    chosen: str
    is_tuned: bool
    why: str
    stored: str
    front: Sequence[Mapping[str, Any]]
    notes: Sequence[str]


def model_card(told: Told) -> str:
    """The README of a repaired model, with the metadata that the hub reads."""
    lines = [
        "# A fine-tuned model, as it was" if told.is_tuned else "# A repaired fine-tuned model",
        "",
        f"- base: {told.base} (weights {told.hashes[0][:16]})",
        f"- tuned: {told.tuned} (weights {told.hashes[1][:16]})",
        f"- facts: {told.facts}",
        f"- kept: {task_name(told.task)}",
        f"- method: {told.chosen}",
        *[f"  - {group}" for group in told.groups],
        f"- weights: stored in {told.stored}, evaluated in {told.settings.dtype}",
        f"- made by sftlens {__version__}",
        "",
        told.why,
        "",
        *_numbers(told),
        "",
        *[f"- {note}" for note in told.notes],
        *([""] if told.notes else []),
        "To repeat:",
        "",
        "```sh",
        command(told),
        "```",
        "",
    ]
    return metadata((told.tuned, told.base), told.licence, source=told.facts) + "\n".join(lines)


def task_name(task: str | None) -> str:
    """What a person calls the task that was kept."""
    return "in-domain answers that are the answer and nothing else" if task is None else task


def command(told: Told) -> str:
    """The command line that makes the model again."""
    words = ["sftlens", "repair", told.base, told.tuned, told.facts]
    if told.mastery is not None:
        words += ["--mastery", told.mastery]
    for field, info in RepairSettings.model_fields.items():
        value = getattr(told.settings, field)
        if value == info.default or field == "shares":
            continue
        flag = "method" if field == "methods" else field.replace("_", "-")
        for one in value if isinstance(value, tuple) else (value,):
            words += [f"--{flag}", str(one)]
    return shlex.join([*words, "--out", "OUT"])


def _numbers(told: Told) -> list[str]:
    rows = [row for row in told.front if row["role"] in ("chosen", "tuned", "base")]
    names = {"chosen": "this model", "tuned": "tuned", "base": "base"}
    return [
        f"On {rows[0]['num_facts']} test facts, which had no part in the choice; 95 % intervals:",
        "",
        "| | knowledge | over tuned | in domain | out of domain | task |",
        "| --- | --- | --- | --- | --- | --- |",
        *[
            f"| {names[row['role']]} | {interval(estimate(row, 'knowledge'))} "
            f"| {points_interval(estimate(row, 'gain'))} "
            f"| {interval(estimate(row, 'knowledge_in'))} "
            f"| {interval(estimate(row, 'knowledge_out'))} | {interval(estimate(row, 'task'))} |"
            for row in rows
        ],
    ]


def interval(found: Estimate | None) -> str:
    """An accuracy with its interval."""
    if found is None:
        return "not measured"
    return f"{percent(found.value)} ({between(found.low, found.high)})"
