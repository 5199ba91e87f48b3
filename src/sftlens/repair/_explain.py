"""The choice in sentences, each computed from the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sftlens.repair._candidates import Candidate
from sftlens.repair._decide import CONFIDENCE, Decision, Verdict
from sftlens.repair._tables import estimate
from sftlens.rounding import between_points, fixed, percent, points
from sftlens.scoring import Estimate

Rows = Sequence[Mapping[str, Any]]


def points_interval(found: Estimate | None) -> str:
    """A difference of fractions in percentage points, with its unit and interval."""
    if found is None:
        return "not measured"
    return f"{points(found.value)} points ({between_points(found.low, found.high)})"


def why(decision: Decision, *, num_candidates: int, num_decision: int, front: Rows) -> str:
    """One paragraph: what was searched, what was decided and why, and what the test facts say.

    Args:
        decision: the choice and the verdicts.
        num_candidates: that the search tried.
        num_decision: validation facts that the search did not see.
        front: the rows of the test facts.
    """
    told = [f"The search tried {num_candidates} candidates."]
    told += _decided(decision, num_decision)
    if not decision.chosen.is_tuned:
        told += _tested(front)
    return " ".join(told)


def _decided(decision: Decision, num_decision: int) -> list[str]:
    if not decision.verdicts:
        return [
            "None of them gained knowledge on the facts of the search and kept the task, so the "
            "tuned model is left as it is."
        ]
    sure = round(100 * CONFIDENCE)
    if decision.chosen.is_tuned:
        best = max(decision.verdicts, key=lambda verdict: verdict.gain)
        return [
            "The tuned model is left as it is: on "
            f"{num_decision} validation facts that the search did not see, no finalist is surely "
            f"better and keeps the task. The best of {len(decision.verdicts)}, "
            f"{named(best.candidate)}, has {points(best.gain)} points of knowledge there, and "
            f"with {sure} % confidence at least {points(best.low)} ({_facts(best)}).",
            *([] if best.keeps_task else [_task(best)]),
        ]
    own = next(v for v in decision.verdicts if v.candidate == decision.chosen)
    return [
        f"Chosen is {named(own.candidate)}: on {num_decision} validation facts that the search "
        f"did not see, it has {points(own.gain)} points of knowledge over the tuned model, and "
        f"with {sure} % confidence at least {points(own.low)} ({_facts(own)}).",
        _task(own),
    ]


def _facts(verdict: Verdict) -> str:
    return f"{verdict.num_gained} facts gained, {verdict.num_lost} lost"


def _task(verdict: Verdict) -> str:
    if verdict.task_gain is None:
        return "The task has no items to measure."
    return f"The task changes by {points_interval(verdict.task_gain)} on all validation items."


def _tested(front: Rows) -> list[str]:
    own = next(row for row in front if row["role"] == "chosen")
    tuned = next(row for row in front if row["role"] == "tuned")
    told = [
        f"On {own['num_facts']} test facts, which had no part in the choice, knowledge is "
        f"{percent(own['knowledge'])}, {points_interval(estimate(own, 'gain'))} over the tuned "
        f"model's {percent(tuned['knowledge'])}"
        f"; the task changes by {points_interval(estimate(own, 'task_gain'))}."
    ]
    controls = [row for row in front if row["role"] == "control"]
    if controls:
        best = max(controls, key=lambda row: row["knowledge"])
        ahead = 100 * (best["knowledge"] - own["knowledge"])
        told.append(
            f"It takes {percent(own['norm_removed'])} of the squared norm of the update back; of "
            f"{len(controls)} controls that take back as much, the best is {best['candidate']} "
            f"with {percent(best['knowledge'])}, {fixed(abs(ahead))} points "
            f"{'above' if ahead > 0 else 'below'} the choice."
        )
    return told


def named(candidate: Candidate) -> str:
    """A candidate as a sentence names it."""
    if candidate.is_tuned:
        return "the tuned model as it is"
    if not candidate.groups:
        return f"“{candidate.way}”"
    return f"“{candidate.way}” with other ways for {len(candidate.groups)} groups of layers"
