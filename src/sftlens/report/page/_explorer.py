"""What each restoration gave and cost, run by run, for the page's explorer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from sftlens.report._answers import TUNED, Answers, Cell, Mask, Row
from sftlens.report._findings import method_name
from sftlens.report._tables import Tables
from sftlens.report._wording import tenths
from sftlens.scoring import NUM_LEVELS, Estimate, mean_of_proportions, proportion

_RIGHT, _UNSCORED = 1, -1


class Counts(NamedTuple):
    """Answers of the tuned model (before) against those of the restored one (after)."""

    num_answers: int  # that both have
    come_back: int | None  # right with the base, wrong before, right after; None without a base
    newly_right: int  # wrong before and, where it was asked, with the base; right after
    newly_lost: int  # right before, wrong after


def explorer(answers: Answers, tables: Tables, base: Row | None) -> dict[str, Any] | None:
    """Every restoration beside the model that it was made from; None where there is none.

    The accuracies are over all test facts, in tenths of a percent as the page's tables print
    them, each with its 95 % interval. Over all seeds the interval is that of the tables; of one
    seed it is Wilson's over the facts of a level, and those combined for the mean.

    Args:
        answers: of the tuned and the restored models.
        tables: of the study; its restorations tell the norm that was removed.
        base: the base model's answers over the same facts.
    """
    cells = [
        cell for cell in answers.cells if cell.method != TUNED and Cell(*cell[:2]) in answers.rows
    ]
    if not cells:
        return None
    methods = [m for m in answers.methods() if any(cell.method == m for cell in cells)]
    for domain in answers.domains:
        for level in range(NUM_LEVELS):  # level by level, which share the draws of a bootstrap
            for cell in cells:
                answers.accuracy(cell, domain, "test", level)
    norms = _norms(tables)
    groups = []
    for level, size in sorted({cell[:2] for cell in cells}):
        tuned = Cell(level, size)
        own = [cell for cell in cells if cell[:2] == (level, size)]
        restored = {seed for cell in own for seed in answers.rows[cell]}
        seeds = sorted(restored & answers.rows[tuned].keys())
        groups.append(
            {
                "level": level,
                "size": size,
                "facts": answers.true_size[level, size],
                "seeds": seeds,
                "tuned": _model(answers, tuned, seeds),
                "restored": [
                    {
                        "method": methods.index(cell.method),
                        "share": cell.share,
                        **_model(answers, cell, seeds),
                        "counts": [
                            _counts(answers, base, cell, chosen) for chosen in _choices(seeds)
                        ],
                        "norms": [_norm(norms, cell, chosen) for chosen in _choices(seeds)],
                    }
                    for cell in own
                ],
            }
        )
    return {
        "domains": answers.domains,
        "methods": [method_name(method) for method in methods],
        "has_base": base is not None,
        "groups": groups,
    }


def _choices(seeds: list[int]) -> Iterator[list[int]]:
    """All seeds together, then each by itself."""
    yield seeds
    yield from ([seed] for seed in seeds)


def _model(answers: Answers, cell: Cell, seeds: list[int]) -> dict[str, Any]:
    """Accuracies by choice of seeds, domain and level, the mean last."""
    rows = answers.rows[cell]
    return {
        "accuracy": [
            [[_numbers(one) for one in part] for part in found]
            for found in (
                [_over_seeds(answers, cell, domain) for domain in answers.domains],
                *(
                    [_of_one(answers, rows.get(seed), domain) for domain in answers.domains]
                    for seed in seeds
                ),
            )
        ]
    }


def _over_seeds(answers: Answers, cell: Cell, domain: str) -> list[Estimate | None]:
    return [answers.accuracy(cell, domain, "test", level) for level in (*range(NUM_LEVELS), None)]


def _of_one(answers: Answers, row: Row | None, domain: str) -> list[Estimate | None]:
    found: list[Estimate | None] = []
    for level in range(NUM_LEVELS):
        asked = answers.test(domain) & (answers.levels == level)
        own = row[asked] if row is not None else np.empty(0, np.int8)
        scored = own[own != _UNSCORED]
        found.append(proportion(int(scored.sum()), len(scored)) if len(scored) else None)
    known = [one for one in found if one is not None]
    return [*found, mean_of_proportions(known) if known else None]


def _numbers(estimate: Estimate | None) -> list[int] | None:
    return None if estimate is None else [tenths(part) for part in estimate]


def _counts(answers: Answers, base: Row | None, cell: Cell, seeds: list[int]) -> list[Counts]:
    """One for each domain, over the test facts."""
    return [_counted(answers, base, cell, seeds, answers.test(d)) for d in answers.domains]


def _counted(
    answers: Answers, base: Row | None, cell: Cell, seeds: list[int], asked: Mask
) -> Counts:
    totals = np.zeros(4, np.int64)
    for seed in seeds:
        before = answers.rows[Cell(*cell[:2])].get(seed)
        after = answers.rows[cell].get(seed)
        if before is None or after is None:
            continue
        scored = asked & (before != _UNSCORED) & (after != _UNSCORED)
        gained = scored & (before != _RIGHT) & (after == _RIGHT)
        back = gained & (base == _RIGHT) if base is not None else np.zeros_like(gained)
        lost = scored & (before == _RIGHT) & (after != _RIGHT)
        totals += [int(part.sum()) for part in (scored, back, gained & ~back, lost)]
    num_answers, come_back, newly_right, newly_lost = totals.tolist()
    return Counts(num_answers, None if base is None else come_back, newly_right, newly_lost)


def _norms(tables: Tables) -> dict[tuple[Cell, int], float | None]:
    rows = tables.restorations.join(
        tables.runs.select("run", "level", "size", "seed"), on="run"
    ).select("level", "size", "method", "share", "seed", "norm_removed")
    return {
        (Cell(level, size, method, share), seed): norm
        for level, size, method, share, seed, norm in rows.iter_rows()
    }


def _norm(
    norms: dict[tuple[Cell, int], float | None], cell: Cell, seeds: list[int]
) -> list[int] | None:
    """Mean, lowest and highest of the squared norm removed, in tenths of a percent."""
    known = [norm for seed in seeds if (norm := norms.get((cell, seed))) is not None]
    if not known:
        return None
    return [tenths(float(part)) for part in (np.mean(known), min(known), max(known))]
