"""How much of the validation facts a candidate's models know, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sftlens.facts import DOMAINS, Fact
from sftlens.mastery import NUM_LEVELS
from sftlens.report.inference import Contrast, infer
from sftlens.scoring import Estimate

KNOWN = 3
"""The lowest level of facts that count as known by the base."""

_MIN_FACTS = 3  # of a level in a domain; with fewer it enters no mean
_NUM_RESAMPLES = 3999

Answers = NDArray[np.float64]
"""1 where the answer was right, else 0; (num_training_sets, num_facts)."""


class Part(NamedTuple):
    """Facts that a mean is over."""

    members: NDArray[np.int64]  # (num_members,) places of the facts
    groups: NDArray[np.int64]  # (num_members,) each group weighs the same

    def mean(self, answers: Answers) -> float:
        """The mean over training sets of the mean over groups."""
        values = answers.mean(axis=0)[self.members]
        of_groups = [values[self.groups == group].mean() for group in np.unique(self.groups)]
        return float(np.mean(of_groups))


class Measure:
    """Means over the validation facts: the paper's, of levels (section 4), over both domains.

    Every level of every domain weighs the same. A level with fewer than three facts of a domain
    enters no mean; where no level has three, all facts of the domain count alike.

    Args:
        facts: the validation facts.
        levels: mastery level by fact_id.
        seed: of the resamples.
    """

    def __init__(self, facts: Sequence[Fact], levels: Mapping[str, int], *, seed: int) -> None:
        self._seed = seed
        graded = np.array([levels[fact.fact_id] for fact in facts])
        groups = np.full(len(facts), -1)
        for number, domain in enumerate(DOMAINS):
            own = np.array([fact.domain == domain for fact in facts])
            counts = np.bincount(graded[own], minlength=NUM_LEVELS)
            enough = own & (counts[graded] >= _MIN_FACTS)
            groups[enough] = graded[enough] + NUM_LEVELS * number
            if not enough.any():
                groups[own] = NUM_LEVELS * number
        self.all = _part(groups)
        self.inside = _part(np.where(groups < NUM_LEVELS, groups, -1))
        outside = _part(np.where(groups >= NUM_LEVELS, groups, -1))
        self.outside = outside if len(outside.members) else None
        known = _part(np.where(graded >= KNOWN, 0, -1))
        self.known = known if len(known.members) >= _MIN_FACTS else None

    def estimate(self, answers: Sequence[Answers], part: Part | None = None) -> list[Estimate]:
        """The mean of each, with intervals over facts and training sets."""
        part = part or self.all
        return self._infer([(_of(one, part),) for one in answers], part, lowest=0.0)

    def differences(
        self, pairs: Sequence[tuple[Answers, Answers]], part: Part | None = None
    ) -> list[Estimate]:
        """How much the first of each pair exceeds the second; paired over facts.

        Training sets of the two were drawn apart, and their spreads add.
        """
        part = part or self.all
        blocks = [(_of(one, part), -_of(other, part)) for one, other in pairs]
        return self._infer(blocks, part, lowest=-1.0)

    def _infer(
        self, blocks: Sequence[tuple[Answers, ...]], part: Part, *, lowest: float
    ) -> list[Estimate]:
        contrasts = [Contrast(block, part.groups, lowest=lowest) for block in blocks]
        found = infer(contrasts, num_resamples=_NUM_RESAMPLES, seed=self._seed)
        return [one.estimate for one in found]


def _of(answers: Answers, part: Part) -> Answers:
    return answers[:, part.members]


def _part(groups: NDArray[np.int64]) -> Part:
    members = np.flatnonzero(groups >= 0)
    return Part(members, groups[members])
