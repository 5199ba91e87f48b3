"""The advice as a page to read, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sftlens.rounding import between, between_points, percent, points


def page(result: Mapping[str, Any]) -> str:
    """The page of what ``sftlens advise`` tells.

    Args:
        result: :class:`sftlens.advice.AdviceResult` as a mapping.
    """
    advice = result["advice"]
    parts = ["# Advice on fine-tuning\n"]
    if advice["basis"] == "paper":
        parts.append(
            "**Nothing but the levels was measured on this model.** Accuracies below are the "
            "reference paper's (arXiv 2509.16596), of other models.\n"
        )
    parts.append(_statements([(one["advice"], one["evidence"]) for one in advice["statements"]]))
    parts.append("## Facts to train on, by level\n")
    parts.append(
        _table(
            ["level", "facts", "of uncertain level", "advice", "evidence"],
            [_level(one, advice) for one in result["levels"]],
        )
    )
    parts.append(_expected(advice))
    measured = [row for row in result["candidates"] if row["knowledge"] is not None]
    if measured:
        parts.append(
            f"## Candidates\n\n{result['num_runs']} of {result['budget']} training runs. Accuracy "
            f"on {result['num_facts']['validation']} validation facts with 95 % intervals; in all "
            "the mean over mastery levels and domains. With one run an interval holds no spread "
            "between runs.\n"
        )
        names = ["in all", "in-domain", "out-of-domain", "facts of level 3 and 4"]
        head = ["", "runs", *names, "over the base"]
        parts.append(_table(head, [_candidate(row) for row in measured]))
    parts.append("## Limits\n")
    parts.append("".join(f"- {limit}\n" for limit in advice["limits"]))
    if result["notes"]:
        parts.append("## Notes\n")
        parts.append("".join(f"- {_cell(note)}\n" for note in result["notes"]))
    if advice["command"] is not None:
        parts.append(f"## The advice, followed\n\n```sh\n{advice['command']}\n```\n")
    return "\n".join(parts)


def _expected(advice: Mapping[str, Any]) -> str:
    rows = [
        (name, percent(one["value"]), _interval(one, ""), one["rests_on"])
        for name, one in advice["expect"].items()
        if one is not None
    ]
    if not rows:
        return "## What to expect\n\nNothing was measured.\n"
    return "## What to expect\n\n" + _table(["", "accuracy", "95 % interval", "rests on"], rows)


def _level(one: Mapping[str, Any], advice: Mapping[str, Any]) -> tuple[str, ...]:
    out = {drop["level"]: drop for drop in advice["drop"]}
    drop = out.get(one["level"])
    told, evidence = (drop["advice"], drop["evidence"]) if drop else ("", "")
    if drop is None and one["num_facts"] and advice["train_on"] is not None:
        told = "Train on."
    uncertain = "–" if one["uncertain"] is None else percent(one["uncertain"])
    return str(one["level"]), str(one["num_facts"]), uncertain, told, evidence


def _candidate(row: Mapping[str, Any]) -> tuple[str, ...]:
    mark = " (chosen)" if row["chosen"] else " (the paper's)" if row["recipe"] else ""
    values = [
        "–" if row[name] is None else f"{percent(row[name])} {_interval(row, name)}"
        for name in ("knowledge", "knowledge_in", "knowledge_out", "known")
    ]
    over = "–"
    if row["over_base"] is not None:
        ends = between_points(row["over_base_low"], row["over_base_high"])
        over = f"{points(row['over_base'])} ({ends})"
    name = "the base as it is" if row["size"] == 0 else row["candidate"]
    return f"{name}{mark}", str(row["num_seeds"]), *values, over


def _interval(row: Mapping[str, Any], name: str) -> str:
    low, high = (row[f"{name}_{end}" if name else end] for end in ("low", "high"))
    return "–" if low is None else f"({between(low, high)})"


def _statements(found: Iterable[tuple[str, str]]) -> str:
    return "".join(f"- **{advice}** {evidence}\n" for advice, evidence in found)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
