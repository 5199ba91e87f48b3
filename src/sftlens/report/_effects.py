"""The study's comparisons: every choice on facts that the comparison then leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sftlens.report._answers import RELATIVE, TUNED, Answers, Cell
from sftlens.scoring import Estimate

Effect = dict[str, Estimate | None]  # by domain


@dataclass(frozen=True, kw_only=True)
class SizeEffect:
    """The largest training set of one level against the best smaller one on the choice facts."""

    largest: Cell
    best: Cell
    effect: Effect  # largest minus best


@dataclass(frozen=True, kw_only=True)
class CommonSize:
    """All levels at their largest size against the best smaller common size, pooled."""

    best: int  # as asked for
    effect: Effect  # largest minus best


@dataclass(frozen=True, kw_only=True)
class LevelEffect:
    """One training level against another, both at their largest size."""

    level: int
    other: int
    effect: Effect  # level minus other


@dataclass(frozen=True, kw_only=True)
class Strength:
    """One method at one share against the tuned model."""

    cell: Cell
    effect: Effect  # restored minus tuned


@dataclass(frozen=True, kw_only=True)
class Restoration:
    """Restoration by relative change of the runs of one training level at the largest size."""

    tuned: Cell
    chosen: Strength
    controls: dict[str, Effect]  # chosen minus the control, at the same share
    controls_gain: dict[str, Effect]  # the control minus tuned, at the same share
    controls_best: dict[str, Strength]  # each control at its own best share
    over_best: dict[str, Effect]  # chosen minus the control at its own best share


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The tuned cell that does best on the choice facts, and the cells it surely beats or not."""

    cell: Cell
    worse: list[Cell] = field(default_factory=list)
    alike: list[Cell] = field(default_factory=list)
    better: list[Cell] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Effects:
    """All comparisons of a study; what the study has no runs for is None or empty."""

    by_size: dict[int, SizeEffect]
    common_size: CommonSize | None
    best_level: int | None
    by_level: list[LevelEffect]  # the best level at the largest size against each other one
    restorations: dict[int, Restoration]
    pooled_gain: Effect
    pooled_controls: dict[str, Effect]
    pooled_over_best: dict[str, Effect]
    recommendation: Recommendation | None
    restored_over_recommended: tuple[Cell, Effect] | None


def compute_effects(answers: Answers) -> Effects:
    """Every comparison that the report's answers rest on."""
    levels = answers.levels_trained
    best_level = _best_level(answers, levels) if len(levels) > 1 else None
    restorations = restorations_of(answers)
    found = list(restorations.values())
    controls = [name for name in answers.methods() if name != RELATIVE]
    recommendation = _recommendation(answers)
    return Effects(
        by_size={
            level: effect
            for level in levels
            if (effect := _size_effect(answers, level)) is not None
        },
        common_size=_common_size(answers, levels),
        best_level=best_level,
        by_level=[
            _level_effect(answers, best_level, other)
            for other in levels
            if best_level is not None and other != best_level
        ],
        restorations=restorations,
        pooled_gain=_effect(answers, [(r.chosen.cell, r.tuned) for r in found]),
        pooled_controls={
            name: _effect(
                answers, [(r.chosen.cell, r.chosen.cell._replace(method=name)) for r in found]
            )
            for name in controls
        },
        pooled_over_best={
            name: _effect(
                answers,
                [
                    (r.chosen.cell, r.controls_best[name].cell)
                    for r in found
                    if name in r.controls_best
                ],
            )
            for name in controls
        },
        recommendation=recommendation,
        restored_over_recommended=_restored_over(answers, recommendation, found),
    )


def restorations_of(answers: Answers) -> dict[int, Restoration]:
    """The restorations of each training level's largest size, at the share that does best there."""
    found = {level: _restoration(answers, level) for level in answers.levels_trained}
    return {level: one for level, one in found.items() if one is not None}


def _effect(answers: Answers, pairs: Sequence[tuple[Cell, Cell]]) -> Effect:
    return {domain: answers.gain(pairs, answers.report(domain)) for domain in answers.domains}


def _size_effect(answers: Answers, level: int) -> SizeEffect | None:
    cells = [Cell(level, size) for size in answers.distinct_sizes(level)]
    best = answers.best(cells[:-1])
    if best is None:
        return None
    return SizeEffect(largest=cells[-1], best=best, effect=_effect(answers, [(cells[-1], best)]))


def _common_size(answers: Answers, levels: Sequence[int]) -> CommonSize | None:
    common = sorted(set.intersection(*(set(answers.sizes(level)) for level in levels)))
    means = {}
    for size in common[:-1]:
        found = [answers.point(Cell(level, size), answers.choice) for level in levels]
        known = [value for value in found if value is not None]
        if len(known) == len(levels):
            means[size] = sum(known) / len(known)
    if not means:
        return None
    best = max(means, key=lambda size: means[size])
    pairs = [(answers.largest(level), Cell(level, best)) for level in levels]
    return CommonSize(best=best, effect=_effect(answers, pairs))


def _best_level(answers: Answers, levels: Sequence[int]) -> int | None:
    best = answers.best([answers.largest(level) for level in levels])
    return best.level if best else None


def _level_effect(answers: Answers, level: int, other: int) -> LevelEffect:
    pair = (answers.largest(level), answers.largest(other))
    return LevelEffect(level=level, other=other, effect=_effect(answers, [pair]))


def _restoration(answers: Answers, level: int) -> Restoration | None:
    tuned = answers.largest(level)
    strengths = {
        method: [Cell(*tuned[:2], method, share) for share in answers.shares(level, method)]
        for method in answers.methods()
    }
    chosen = answers.best(strengths.get(RELATIVE, []))
    if chosen is None:
        return None
    controls = {
        name: chosen._replace(method=name)
        for name, cells in strengths.items()
        if name not in (RELATIVE, TUNED) and chosen._replace(method=name) in cells
    }
    bests = {
        name: best
        for name, cells in strengths.items()
        if name != RELATIVE and (best := answers.best(cells)) is not None
    }

    def strength(cell: Cell) -> Strength:
        return Strength(cell=cell, effect=_effect(answers, [(cell, tuned)]))

    return Restoration(
        tuned=tuned,
        chosen=strength(chosen),
        controls={name: _effect(answers, [(chosen, cell)]) for name, cell in controls.items()},
        controls_gain={name: _effect(answers, [(cell, tuned)]) for name, cell in controls.items()},
        controls_best={name: strength(cell) for name, cell in bests.items()},
        over_best={name: _effect(answers, [(chosen, cell)]) for name, cell in bests.items()},
    )


def _recommendation(answers: Answers) -> Recommendation | None:
    cells = [
        Cell(level, size)
        for level in answers.levels_trained
        for size in answers.distinct_sizes(level)
    ]
    best = answers.best(cells)
    if best is None:
        return None
    found = Recommendation(cell=best)
    for other in cells:
        if other == best:
            continue
        effect = answers.gain([(best, other)], answers.report(answers.primary))
        if effect is None:
            continue
        if effect.low > 0:
            found.worse.append(other)
        else:
            (found.better if effect.high < 0 else found.alike).append(other)
    return found


def _restored_over(
    answers: Answers, recommendation: Recommendation | None, found: Sequence[Restoration]
) -> tuple[Cell, Effect] | None:
    best = answers.best([restoration.chosen.cell for restoration in found])
    if best is None or recommendation is None:
        return None
    return best, _effect(answers, [(best, recommendation.cell)])
