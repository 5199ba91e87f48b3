"""Size and level of the training sets (paper section 4, phenomena 1 and 2)."""

from __future__ import annotations

from functools import partial

import numpy as np

from sftlens.report._answers import Cell, Mask
from sftlens.report.inference._claim import Claim, Compared
from sftlens.report.inference._crossed import Contrast
from sftlens.report.inference._evidence import (
    Evidence,
    NotMeasuredError,
    Term,
    headlines,
    how_chosen,
    shared_seeds,
)
from sftlens.scoring import NUM_LEVELS

LEVEL_MARGIN = 0.05  # accuracy by which the training level has to matter


def training_claims() -> list[Claim]:
    """The claims of phenomena 1 and 2."""
    return [*_size_claims(), *_level_claims()]


def _size_claims() -> list[Claim]:
    claims = [
        Claim(
            name=f"size-{domain}",
            source="phenomenon 1",
            sentence="Beyond a moderate size, more training data costs knowledge.",
            paper="best at 240, whatever the level; 1,920 worse by up to 13.69 points",
            domain=domain,
            unit="accuracy",
            between_training_sets=True,
            measure=partial(_middle_over_largest, domain=domain, level=None),
        )
        for domain in ("in", "out")
    ]
    claims += [
        Claim(
            name=f"size-level{level}",
            source="phenomenon 1",
            sentence=f"So it is for training facts of level {level}.",
            paper="8.86 points (LLaMA-3-8B)" if level == 0 else "best at 240 too",
            domain="in",
            unit="accuracy",
            between_training_sets=True,
            measure=partial(_middle_over_largest, domain="in", level=level),
        )
        for level in range(NUM_LEVELS)
    ]
    return claims


def _middle_over_largest(evidence: Evidence, *, domain: str, level: int | None) -> Compared:
    answers, middles = evidence.answers, evidence.middles
    largest = evidence.sizes[-1]
    mask = evidence.domain_facts(domain, chosen=middles.chosen)
    if level is not None and level not in answers.levels_trained:
        raise NotMeasuredError(f"no model was tuned on facts of level {level}")
    used = set(middles.by_seed.values())
    differing = set.intersection(
        *(set(evidence.levels_that_differ(size, largest)) for size in used)
    )
    wanted = sorted(differing) if level is None else [level]
    if not differing.issuperset(wanted) or not wanted:
        raise NotMeasuredError("there were no more training facts for the largest size")
    strata = []
    for one in wanted:
        large = answers.rows[Cell(one, largest)]
        stratum = []
        for seed, middle in middles.by_seed.items():
            small = answers.rows[Cell(one, middle)]
            if seed in large and seed in small:
                share = 1 / len(wanted)
                stratum.append([Term(share, small[seed]), Term(-share, large[seed])])
        strata.append(stratum)
    text = f"{middles.told} minus {largest:,}"
    return Compared(contrasts=(evidence.contrast(strata, mask),), text=text)


def _level_claims() -> list[Claim]:
    return [
        Claim(
            name="level-matters",
            source="phenomenon 2",
            sentence="With the largest training sets, the level of their facts matters.",
            paper="12.06 points between the best and the worst level, at 1,920",
            domain="in",
            unit="accuracy",
            threshold=LEVEL_MARGIN,
            between_training_sets=True,
            measure=partial(_spread, over_middle=False),
        ),
        Claim(
            name="level-matters-more",
            source="phenomenon 2",
            sentence="It matters more with the largest training sets than with middle ones.",
            paper="1.5 times as much at 1,920 as at 240",
            domain="in",
            unit="accuracy",
            between_training_sets=True,
            measure=partial(_spread, over_middle=True),
        ),
        *(
            Claim(
                name=f"low-mastery-worst-{domain}",
                source="phenomenon 2",
                sentence="Training on facts the model does not know costs most.",
                paper="level 0 is 7.22 points below the next at 1,920 (45.47 and 52.69 %)"
                if domain == "in"
                else "level 0 is 4.01 points below the next at 1,920 (46.24 and 50.25 %)",
                domain=domain,
                unit="accuracy",
                between_training_sets=True,
                measure=partial(_zero_is_worst, domain=domain),
            )
            for domain in ("in", "out")
        ),
        Claim(
            name="middle-level-best",
            source="phenomenon 2",
            sentence="Half-known facts train better than unknown and than well-known ones.",
            paper="level 2 is 12.06 points over level 0 and 3.60 over level 4, at 1,920",
            domain="in",
            unit="accuracy",
            between_training_sets=True,
            measure=_middle_level_best,
        ),
    ]


def _spread(evidence: Evidence, *, over_middle: bool) -> Compared:
    """Best minus worst level; which they are is told by other facts and other seeds."""
    answers = evidence.answers
    levels = answers.levels_trained
    if len(levels) < 2:
        raise NotMeasuredError("models were tuned on one level only")
    largest = evidence.sizes[-1] if evidence.sizes else None
    if largest is None:
        raise NotMeasuredError("the levels have no size in common")
    mask = evidence.domain_facts("in", chosen=True)
    seeds = shared_seeds(*(answers.rows[Cell(level, largest)] for level in levels))
    middles = evidence.middles if over_middle else None
    smaller = {middles.by_seed[seed] for seed in seeds} if middles else set()
    ends = {size: _Ends(evidence, size, seeds) for size in {largest} | smaller}
    stratum = []
    for seed in seeds:
        terms = ends[largest].terms(seed, 1.0)
        if middles is not None:
            terms += ends[middles.by_seed[seed]].terms(seed, -1.0)
        stratum.append(terms)
    best = ends[largest].told()
    text = f"level {best} at {largest:,} training facts (chosen {how_chosen(len(seeds))})"
    if middles is not None:
        text += f"; minus the same at {middles.told}"
    return Compared(contrasts=(evidence.contrast([stratum], mask),), text=text)


class _Ends:
    """The best and the worst training level of a size, for each seed by the other seeds."""

    def __init__(self, evidence: Evidence, size: int, seeds: list[int]) -> None:
        answers = evidence.answers
        self._rows = {level: answers.rows[Cell(level, size)] for level in answers.levels_trained}
        if any(seed not in rows for rows in self._rows.values() for seed in seeds):
            raise NotMeasuredError(f"not every seed has a model of every level at {size}")
        if not seeds:
            raise NotMeasuredError("no seed has models of every level")
        points = np.array(
            [
                headlines([rows[seed] for seed in seeds], answers, answers.choice)
                for rows in self._rows.values()
            ]
        )  # (num_levels, num_seeds)
        self._found: dict[int, tuple[int, int]] = {}
        for place, seed in enumerate(seeds):
            others = np.delete(points, place, axis=1) if len(seeds) > 1 else points
            means = others.mean(axis=1)
            levels = list(self._rows)
            self._found[seed] = levels[int(means.argmax())], levels[int(means.argmin())]

    def terms(self, seed: int, weight: float) -> list[Term]:
        best, worst = self._found[seed]
        return [
            Term(weight, self._rows[best][seed]),
            Term(-weight, self._rows[worst][seed]),
        ]

    def told(self) -> str:
        pairs = sorted(set(self._found.values()))
        return " or ".join(f"{best} minus {worst}" for best, worst in pairs)


def _zero_is_worst(evidence: Evidence, *, domain: str) -> Compared:
    levels = evidence.answers.levels_trained
    others = [level for level in levels if level > 0]
    if 0 not in levels or not others:
        raise NotMeasuredError("models were not tuned on level 0 and another level")
    return _level_pairs(evidence, [(other, 0) for other in others], domain)


def _middle_level_best(evidence: Evidence) -> Compared:
    if not {0, 2, 4} <= set(evidence.answers.levels_trained):
        raise NotMeasuredError("models were not tuned on levels 0, 2 and 4")
    return _level_pairs(evidence, [(2, 0), (2, 4)], "in")


def _level_pairs(evidence: Evidence, pairs: list[tuple[int, int]], domain: str) -> Compared:
    if not evidence.sizes:
        raise NotMeasuredError("the levels have no size in common")
    largest = evidence.sizes[-1]
    mask = evidence.domain_facts(domain, chosen=False)
    names = ", ".join(f"{one} over {other}" for one, other in pairs)
    least = "the least of levels " if len(pairs) > 1 else "level "
    return Compared(
        contrasts=tuple(_level_pair(evidence, *pair, largest, mask) for pair in pairs),
        text=f"{least}{names}, at {largest:,} training facts",
    )


def _level_pair(evidence: Evidence, one: int, other: int, size: int, mask: Mask) -> Contrast:
    rows = evidence.answers.rows
    strata = [
        [[Term(weight, row)] for _, row in sorted(rows[Cell(level, size)].items())]
        for level, weight in ((one, 1.0), (other, -1.0))
    ]
    return evidence.contrast(strata, mask)
