"""The tables of a repair: every candidate on validation facts, and the front on test facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from sftlens.facts import DOMAINS
from sftlens.repair._candidates import AS_IT_IS, Candidate
from sftlens.repair._examine import Examiner
from sftlens.repair._measure import Strata, alike, gain, gains, knowledge, task_accuracy
from sftlens.repair._parts import Part
from sftlens.scoring import Estimate

_GROUPS = pl.List(
    pl.Struct({"group": pl.String, "method": pl.String, "share": pl.Float64, "alpha": pl.Float64})
)
_WHAT = {
    "candidate": pl.String,
    "method": pl.String,
    "share": pl.Float64,
    "alpha": pl.Float64,
    "order": pl.String,
    "groups": _GROUPS,
    "norm_removed": pl.Float64,
}


def interval_columns(name: str) -> dict[str, Any]:
    """The columns of a value with its interval."""
    return {name: pl.Float64, f"{name}_low": pl.Float64, f"{name}_high": pl.Float64}


CANDIDATES_SCHEMA = pl.Schema(
    {
        **_WHAT,
        "num_facts": pl.Int64,
        **interval_columns("knowledge"),
        **interval_columns("gain"),
        **interval_columns("task"),
        **interval_columns("task_gain"),
        "finalist": pl.Boolean,
        "chosen": pl.Boolean,
    }
)
"""One row a candidate, on the facts of the search that it was asked; ``gain`` and ``task_gain``
are differences to the tuned model on the same facts, with paired intervals. ``groups`` holds what
differs by group of layers; ``alpha`` is what is left of every change, null where a method treats
entries differently. ``norm_removed`` is of the whole update, measured on the values that were
evaluated."""

FRONT_SCHEMA = pl.Schema(
    {
        "role": pl.String,
        **_WHAT,
        "norm_to_match": pl.Float64,
        "num_facts": pl.Int64,
        **interval_columns("knowledge"),
        **interval_columns("knowledge_in"),
        **interval_columns("knowledge_out"),
        **interval_columns("gain"),
        **interval_columns("gain_in"),
        **interval_columns("gain_out"),
        **interval_columns("task"),
        **interval_columns("task_gain"),
        "on_front": pl.Boolean,
    }
)
"""One row a model, on test facts. ``role``: ``chosen``, ``finalist``, ``searched`` (no other was
better in both knowledge and task during the search), ``fixed`` (the paper's 20 %), ``control``,
``tuned``, ``base``. ``norm_to_match``, of a control, is what the repair removes; where
``norm_removed`` misses it the two are not compared. ``on_front``: whether no other row is better in
one of knowledge and task and as good in the other. Null is not measured."""


class Row(NamedTuple):
    """A model of the front, and what it is there for."""

    role: str
    candidate: Candidate
    norm_removed: float
    norm_to_match: float | None = None  # of a control


def candidates_table(
    examiner: Examiner,
    candidates: Sequence[Candidate],
    norms: Mapping[Candidate, float],
    of: Strata,
    finalists: Sequence[Candidate],
    chosen: Candidate,
    *,
    seed: int,
) -> pl.DataFrame:
    """Every candidate on the facts of the search that it was asked, the tuned model first."""
    order = [AS_IT_IS, *(one for one in candidates if one != AS_IT_IS)]
    rows: dict[Candidate, dict[str, Any]] = {}
    by_number: dict[int, list[Candidate]] = {}
    for one in order:
        by_number.setdefault(examiner.num_seen(one), []).append(one)
    for number, members in by_number.items():
        found = [examiner.examine(one, "search", number) for one in members]
        tuned = examiner.examine(AS_IT_IS, "search", number)
        seen = of.first(number)
        gained = gains(np.array([f.correct for f in found]), tuned.correct, seen, seed=seed)
        kept = np.array([f.kept for f in found])
        items = alike(kept.shape[1])
        tasks = gains(kept, tuned.kept, items, seed=seed) if kept.size else [None] * len(members)
        for one, own, difference, task in zip(members, found, gained, tasks, strict=True):
            accuracy = task_accuracy(own.kept, seed=seed) if len(own.kept) else None
            rows[one] = {
                **_what(one, norms.get(one)),
                "num_facts": number,
                **named("knowledge", knowledge(own.correct, seen)),
                **named("gain", difference),
                **named("task", accuracy),
                **named("task_gain", task),
                "finalist": one in finalists,
                "chosen": one == chosen,
            }
    return pl.DataFrame([rows[one] for one in order], schema=CANDIDATES_SCHEMA)


def front_table(examiner: Examiner, rows: Sequence[Row], of: Strata, *, seed: int) -> pl.DataFrame:
    """Models on the test facts."""
    part: Part = "test"
    tuned = examiner.examine(AS_IT_IS, part)
    found = []
    for role, candidate, norm_removed, norm_to_match in rows:
        own = examiner.examine(candidate, part)
        row = {
            "role": role,
            **_what(candidate, norm_removed),
            "norm_to_match": norm_to_match,
            "num_facts": len(own.correct),
            **named("knowledge", knowledge(own.correct, of)),
            **named("gain", gain(own.correct, tuned.correct, of, seed=seed)),
            **named("task", None),
            **named("task_gain", None),
        }
        for domain in DOMAINS:
            inside = of.of(domain)
            measured = bool(inside.domains)
            level = knowledge(own.correct, inside) if measured else None
            paired = gain(own.correct, tuned.correct, inside, seed=seed) if measured else None
            row |= named(f"knowledge_{domain}", level) | named(f"gain_{domain}", paired)
        if len(own.kept):
            row |= named("task", task_accuracy(own.kept, seed=seed))
            items = alike(len(own.kept))
            row |= named("task_gain", gain(own.kept, tuned.kept, items, seed=seed))
        found.append(row)
    for row in found:
        row["on_front"] = not any(_dominates(other, row) for other in found)
    return pl.DataFrame(found, schema=FRONT_SCHEMA)


def estimate(row: Mapping[str, Any], name: str) -> Estimate | None:
    """A value with its interval from a row of one of the tables; None where not measured."""
    if row[name] is None:
        return None
    return Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _dominates(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    first = one["knowledge"], one["task"] or 0.0
    second = other["knowledge"], other["task"] or 0.0
    return first != second and all(a >= b for a, b in zip(first, second, strict=True))


def _what(candidate: Candidate, norm_removed: float | None) -> dict[str, Any]:
    way = candidate.way
    groups = [
        {"group": group, "method": own.method or "tuned", "share": own.share, "alpha": own.alpha}
        for group, own in candidate.groups
    ]
    return {
        "candidate": str(candidate),
        "method": way.method or "tuned",
        "share": way.share,
        "alpha": way.alpha,
        "order": way.order,
        "groups": groups,
        "norm_removed": norm_removed,
    }


def named(name: str, found: Estimate | None) -> dict[str, float | None]:
    """A value with its interval as these columns hold it."""
    value, low, high = found or (None, None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}
