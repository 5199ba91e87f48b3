"""Facts lost and gained, beside what scoring the same model twice turns over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from sftlens.report._answers import TUNED, Answers, Cell, Mask, Row
from sftlens.report.inference import Contrast, Turnover, turnover_contrasts
from sftlens.report.inference._evidence import NotMeasuredError
from sftlens.report.paper._intervals import NUMBERS, VALUE, frame, infer_all
from sftlens.report.paper._study import Study, test_mask
from sftlens.report.paper._training import tuned_cells

FROM_BASE, FROM_TUNED = "base to tuned", "tuned to restored"
_QUANTITIES = Turnover._fields

_Rows = Mapping[int, Row]


def exchange(study: Study) -> pl.DataFrame:
    """Facts lost and gained by fine-tuning, and by restoration at its chosen share.

    Fractions of all test facts, whatever their level. A share is chosen on facts that are left out
    here. The noise floor comes from asking the same tuned models twice, with another batch size.

    Returns:
        domain, level and size of training, compared (``base to tuned`` or ``tuned to restored``),
        method and share (percent) of the restoration, quantity (``lost``, ``gained``, ``net`` =
        gained minus lost; where the floor was measured ``floor_lost``, ``floor_gained``,
        ``lost_over_floor``, ``gained_over_floor``, over the training sets asked twice), value,
        low, high, num_facts, num_training_sets.

    Raises:
        NotMeasuredError: when neither the base nor a restored model was scored.
    """
    answers = study.answers
    base, again = study.base, _again(study)
    keys: list[dict[str, Any]] = []
    contrasts: list[Contrast | int] = []

    def add(key: dict[str, Any], quantities: Iterator[tuple[str, Contrast]]) -> None:
        for quantity, contrast in quantities:
            keys.append({**key, "quantity": quantity})
            contrasts.append(contrast)

    for domain in answers.domains:
        for cell in tuned_cells(answers):
            if base is None:
                break
            mask = test_mask(answers, domain, chosen=False)
            tuned = answers.rows[cell]
            quantities = _quantities(
                dict.fromkeys(tuned, base), tuned, tuned, again.get(cell, {}), mask
            )
            key = {"compared": FROM_BASE, "level": cell.level, "size": cell.size}
            add({"domain": domain, **key}, quantities)
        for cell in _chosen(answers):
            mask = test_mask(answers, domain, chosen=True)
            before = answers.rows.get(Cell(*cell[:2]), {})
            floor = again.get(Cell(*cell[:2]), {})
            quantities = _quantities(before, answers.rows[cell], before, floor, mask)
            add({"domain": domain, "compared": FROM_TUNED, **cell._asdict()}, quantities)
    if not keys:
        raise NotMeasuredError("neither the base nor a restored model was scored")
    rows = [
        {**key, **found.numbers, **found.counts}
        for key, found in zip(keys, infer_all(contrasts), strict=True)
    ]
    return frame(
        rows,
        {
            "domain": pl.String,
            "level": pl.Int64,
            "size": pl.Int64,
            "compared": pl.String,
            "method": pl.String,
            "share": pl.Float64,
            "quantity": pl.String,
        },
        VALUE,
        NUMBERS,
    )


def _chosen(answers: Answers) -> list[Cell]:
    """Each method at the share that does best on the choice facts, by level and size."""
    groups: dict[tuple[int, int, str], list[Cell]] = {}
    for cell in answers.cells:
        if cell.method != TUNED:
            groups.setdefault(cell[:3], []).append(cell)
    places = {method: place for place, method in enumerate(answers.methods())}
    order = sorted(groups, key=lambda group: (*group[:2], places[group[2]]))
    best = [answers.best(groups[group]) for group in order]
    return [cell for cell in best if cell is not None]


def _again(study: Study) -> dict[Cell, dict[int, Row]]:
    """The second answers of the tuned models that were asked twice."""
    try:
        second = study.rows("noise", ("run",), "again")
    except NotMeasuredError:
        return {}
    found: dict[Cell, dict[int, Row]] = {}
    for (name,), row in second.items():
        run = study.run(name, "noise")
        found.setdefault(Cell(run.level, run.size), {})[run.seed] = row
    return found


def _quantities(
    before: _Rows, after: _Rows, tuned: _Rows, again: _Rows, mask: Mask
) -> Iterator[tuple[str, Contrast]]:
    """What can be told of two models, by name.

    Args:
        before: answers of the first, by seed.
        after: of the second.
        tuned: of the tuned model, which is one of the two.
        again: of the tuned model, asked a second time; not of every seed.
        mask: which facts count.
    """
    seeds = sorted(before.keys() & after.keys())
    if blocks := _blocks([(before[seed], after[seed]) for seed in seeds], mask):
        first, second = blocks
        yield from zip(_QUANTITIES[:3], turnover_contrasts(first, second), strict=True)
    rows = [(before[k], after[k], tuned[k], again[k]) for k in seeds if k in again]
    if blocks := _blocks(rows, mask):
        first, second, *twice = blocks
        found = turnover_contrasts(first, second, (twice[0], twice[1]))
        yield from zip(_QUANTITIES[3:], found[3:], strict=True)


def _blocks(rows: Sequence[tuple[Row, ...]], mask: Mask) -> list[np.ndarray]:
    """Boolean blocks (num_training_sets, num_facts) over the facts that all answered; or none."""
    if not rows:
        return []
    stacked = [np.stack(column) for column in zip(*rows, strict=True)]
    known = mask & np.all([(part >= 0).all(axis=0) for part in stacked], axis=0)
    return [part[:, known] == 1 for part in stacked] if known.any() else []
