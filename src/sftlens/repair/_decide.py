"""The decision: whether what the search found is surely better than the tuned model.

The best of many candidates looks better than it is on the facts that it was chosen on. The
decision is therefore made on the other half of the validation facts, which the search never saw:
however many candidates the search tried, and however it came from one to the next, the few
finalists it hands on are measured there without that favour. Between the finalists themselves the
bounds hold at once (the largest deviation of all finalists over resampled facts), so that taking
the best of three does not bring it back. A correction over all candidates on all facts would need
to know how many the search could have tried, and asks for a gain as large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sftlens.repair._candidates import AS_IT_IS, Candidate
from sftlens.repair._examine import Found
from sftlens.repair._measure import Strata, alike, gain, resampled
from sftlens.scoring import Estimate

CONFIDENCE = 0.95
"""One-sided: about one candidate without any gain in 20 is taken."""

MIN_CHANGED = 5
"""With fewer facts lost or gained, all of them gained could be chance (0.5^4 > 5 %)."""


class Verdict(NamedTuple):
    """What the decision's facts say of one finalist.

    Attributes:
        candidate: the finalist.
        gain: knowledge above the tuned model's, on facts that the search did not see.
        low: the lower bound of that gain, which holds for all finalists at once.
        num_gained: facts that it answers and the tuned model does not.
        num_lost: the reverse.
        task_gain: accuracy of the task above the tuned model's, over all validation items, with
            its 95 % interval; None where there are no items.
        surely_better: whether the bound lies above 0, and enough facts changed to say so.
        keeps_task: whether the task loses no more than is allowed, and not significantly.
    """

    candidate: Candidate
    gain: float
    low: float
    num_gained: int
    num_lost: int
    task_gain: Estimate | None
    surely_better: bool
    keeps_task: bool

    @property
    def passes(self) -> bool:
        return self.surely_better and self.keeps_task


class Decision(NamedTuple):
    """The choice, and what was found of each finalist."""

    chosen: Candidate
    verdicts: list[Verdict]


def decide(
    finalists: Sequence[Candidate],
    decision: Mapping[Candidate, Found],
    search: Mapping[Candidate, Found],
    of: Strata,
    *,
    max_task_loss: float,
    seed: int,
) -> Decision:
    """Choose a finalist that is surely better than the tuned model, or the tuned model.

    Args:
        finalists: what the search found.
        decision: what they and the tuned model made of the decision's half.
        search: what they and the tuned model made of the search's half; only the task is read.
        of: the strata of the decision's facts.
        max_task_loss: how much of the task's accuracy may go, a fraction.
        seed: of the resamples.

    Returns:
        Of the finalists that pass, the one with the largest gain; the first of them where they are
        equal; the tuned model where none passes.
    """
    if not finalists:
        return Decision(AS_IT_IS, [])
    tuned = decision[AS_IT_IS]
    differences = np.array([decision[one].correct - tuned.correct for one in finalists])
    gains = differences @ of.weights
    means = resampled(differences, of, seed=seed)
    errors = means.std(axis=0)
    scaled = np.divide(means - gains, errors, out=np.zeros_like(means), where=errors > 0)
    bound = float(np.quantile(scaled.max(axis=1), CONFIDENCE))
    verdicts = []
    for number, one in enumerate(finalists):
        lost = _task_gain(one, decision, search, seed)
        counted = differences[number][of.codes >= 0]
        low = float(gains[number] - bound * errors[number])
        verdicts.append(
            Verdict(
                candidate=one,
                gain=float(gains[number]),
                low=low,
                num_gained=int((counted > 0).sum()),
                num_lost=int((counted < 0).sum()),
                task_gain=lost,
                surely_better=low > 0 and int((counted != 0).sum()) >= MIN_CHANGED,
                keeps_task=lost is None or (lost.value >= -max_task_loss and lost.high >= 0),
            )
        )
    passing = [verdict for verdict in verdicts if verdict.passes]
    best = max(passing, key=lambda verdict: verdict.gain, default=None)
    return Decision(AS_IT_IS if best is None else best.candidate, verdicts)


def _task_gain(
    one: Candidate,
    decision: Mapping[Candidate, Found],
    search: Mapping[Candidate, Found],
    seed: int,
) -> Estimate | None:
    values, reference = (
        np.concatenate([search[candidate].kept, decision[candidate].kept])
        for candidate in (one, AS_IT_IS)
    )
    return gain(values, reference, alike(len(values)), seed=seed) if len(values) else None
