"""Which facts the chosen restoration gives back, and which it costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sftlens.report._answers import Answers
from sftlens.report._effects import Effects

NUM_EXAMPLES = 50


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """Answers of the test facts that no choice saw, tuned against restored, over all seeds."""

    level: int
    share: float  # percent
    num_answers: int
    num_gained: int
    num_lost: int
    num_facts_gained: int  # right more often over the seeds than before
    num_facts_lost: int


@dataclass(frozen=True, kw_only=True)
class Example:
    """One fact that changed hands after one training level."""

    level: int  # of training
    gained: bool
    num_changed: int  # seeds
    num_seeds: int
    topic: str
    question: str
    answers: tuple[str, ...]
    mastery_level: int


def count_exchanges(answers: Answers, effects: Effects, domain: str) -> list[Exchange]:
    """Lost and gained answers of each training level at its chosen share."""
    found = []
    for level, restoration in effects.restorations.items():
        change = _change(answers, effects, level)[:, answers.report(domain)]
        known = ~np.isnan(change)
        if not known.any():
            continue
        by_fact = np.nansum(change, axis=0)
        found.append(
            Exchange(
                level=level,
                share=restoration.chosen.cell.share or 0.0,
                num_answers=int(known.sum()),
                num_gained=int((change == 1).sum()),
                num_lost=int((change == -1).sum()),
                num_facts_gained=int((by_fact > 0).sum()),
                num_facts_lost=int((by_fact < 0).sum()),
            )
        )
    return found


def pick_examples(answers: Answers, effects: Effects) -> list[Example]:
    """Up to 50 facts, gained and lost in turn, those first that changed with the most seeds."""
    mixed = np.random.default_rng(0).permutation(len(answers.levels))  # not topic by topic
    seen = np.any([answers.report(domain) for domain in answers.domains], axis=0)
    found: dict[bool, list[tuple[int, Example]]] = {True: [], False: []}
    for level in effects.restorations:
        change = _change(answers, effects, level)
        by_fact = np.nansum(change, axis=0)
        for place in np.flatnonzero(seen & (by_fact != 0)):
            fact = answers.facts.row(int(place), named=True)
            gained = bool(by_fact[place] > 0)
            example = Example(
                level=level,
                gained=gained,
                num_changed=int((change[:, place] == (1 if gained else -1)).sum()),
                num_seeds=int((~np.isnan(change[:, place])).sum()),
                topic=fact["topic"],
                question=fact["question"],
                answers=tuple(fact["answers"]),
                mastery_level=fact["level"],
            )
            found[gained].append((int(mixed[place]), example))
    order = {
        gained: [e for _, e in sorted(rows, key=lambda row: (-row[1].num_changed, row[0]))]
        for gained, rows in found.items()
    }
    half = NUM_EXAMPLES // 2
    num_lost = min(len(order[False]), max(half, NUM_EXAMPLES - len(order[True])))
    return order[True][: NUM_EXAMPLES - num_lost] + order[False][:num_lost]


def _change(answers: Answers, effects: Effects, level: int) -> np.ndarray:
    """1 gained, -1 lost, 0 the same, NaN unscored; (num_seeds, num_facts)."""
    restoration = effects.restorations[level]
    before, after = answers.rows[restoration.tuned], answers.rows[restoration.chosen.cell]
    rows = []
    for seed in sorted(before.keys() & after.keys()):
        scored = (before[seed] >= 0) & (after[seed] >= 0)
        rows.append(np.where(scored, after[seed].astype(float) - before[seed], np.nan))
    return np.array(rows).reshape(len(rows), len(answers.levels))
