"""The choice in sentences, each computed from the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sftlens.norms import is_same_norm
from sftlens.repair._candidates import Candidate
from sftlens.repair._decide import CONFIDENCE, Decision, Verdict
from sftlens.repair._tables import estimate
from sftlens.rounding import between_points, fixed, percent, points
from sftlens.scoring import Estimate
from sftlens.storage_types import StorageType

Rows = Sequence[Mapping[str, Any]]


def points_interval(found: Estimate | None) -> str:
    """A difference of fractions in percentage points, with its unit and interval."""
    if found is None:
        return "not measured"
    return f"{points(found.value)} points ({between_points(found.low, found.high)})"


class Written(NamedTuple):
    """How the choice is stored.

    Attributes:
        dtype: the type that is written; None for the tuned model's own.
        own: the tuned model's own type.
        rounded: what is left of the norm removed in the own type, where that does not hold what
            was evaluated; else None.
    """

    dtype: StorageType | None
    own: str
    rounded: float | None

    @property
    def stored(self) -> str:
        """The type of the weights that are written."""
        return self.dtype or self.own


def why(
    decision: Decision,
    *,
    num_candidates: int,
    num_decision: int,
    front: Rows,
    dtype: StorageType,
    written: Written,
) -> str:
    """One paragraph: what was searched, what was decided and why, and what the test facts say.

    Args:
        decision: the choice and the verdicts.
        num_candidates: that the search tried.
        num_decision: validation facts that the search did not see.
        front: the rows of the test facts.
        dtype: the type that models were evaluated in.
        written: how the choice is stored.
    """
    told = [f"The search tried {num_candidates} candidates."]
    told += _decided(decision, num_decision)
    if not decision.chosen.is_tuned:
        told += _tested(front, dtype)
        told.append(_stored(front, dtype, written))
    return " ".join(told)


def _stored(front: Rows, dtype: StorageType, written: Written) -> str:
    if written.dtype is None:
        return (
            f"All models were evaluated in {dtype}; the checkpoint is stored in {written.own}, "
            "which holds the same values."
            if dtype != written.own
            else f"All models were evaluated in {dtype}, in which the checkpoint is stored too."
        )
    own = next(row for row in front if row["role"] == "chosen")
    rounded = written.rounded
    if rounded is None or is_same_norm(rounded, own["norm_removed"]):
        loss = f"{written.own}, the tuned model's type, does not hold all of its values"
    else:
        loss = (
            f"rounded to {written.own}, the tuned model's type, it would remove "
            f"{percent(rounded)} of the squared norm instead of {percent(own['norm_removed'])}"
        )
    return (
        f"All models were evaluated in {dtype}, and the checkpoint is stored in it: {loss}. Load "
        f"it in {dtype}, or repair with --dtype {written.own} to search among what that type holds."
    )


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


def _tested(front: Rows, dtype: StorageType) -> list[str]:
    own = next(row for row in front if row["role"] == "chosen")
    tuned = next(row for row in front if row["role"] == "tuned")
    told = [
        f"On {own['num_facts']} test facts, which had no part in the choice, knowledge is "
        f"{percent(own['knowledge'])}, {points_interval(estimate(own, 'gain'))} over the tuned "
        f"model's {percent(tuned['knowledge'])}"
        f"; the task changes by {points_interval(estimate(own, 'task_gain'))}."
    ]
    controls, others = split_controls(front)
    if controls:
        best = max(controls, key=lambda row: row["knowledge"])
        ahead = 100 * (best["knowledge"] - own["knowledge"])
        told.append(
            f"It takes {percent(own['norm_removed'])} of the squared norm of the update back, "
            f"measured in {dtype}; of {len(controls)} controls that take back as much, the best is "
            f"{best['candidate']} "
            f"with {percent(best['knowledge'])}, {fixed(abs(ahead))} points "
            f"{'above' if ahead > 0 else 'below'} the choice."
        )
    told += [
        f"The comparison with {_control(row)} at the same norm is undecided: in {dtype} it removes "
        f"{percent(row['norm_removed'])} at the nearest."
        for row in others
    ]
    return told


def split_controls(front: Rows) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The controls that remove the norm that they were to match, and those that miss it."""
    found: tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]] = ([], [])
    for row in front:
        if row["role"] == "control":
            found[not is_same_norm(row["norm_removed"], row["norm_to_match"])].append(row)
    return found


def _control(row: Mapping[str, Any]) -> str:
    if row["method"] == "wise-ft":
        return "plain interpolation"
    return str(row["method"]) + ("" if row["order"] == "top" else f" from the {row['order']}")


def named(candidate: Candidate) -> str:
    """A candidate as a sentence names it."""
    if candidate.is_tuned:
        return "the tuned model as it is"
    if not candidate.groups:
        return f"“{candidate.way}”"
    return f"“{candidate.way}” with other ways for {len(candidate.groups)} groups of layers"
