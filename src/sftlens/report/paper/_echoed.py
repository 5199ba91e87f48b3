"""Levels and accuracy with and without the facts whose answer stands in their own question."""

from __future__ import annotations

import numpy as np
import polars as pl

from sftlens.facts import echoed_ids
from sftlens.report.inference._evidence import NotMeasuredError
from sftlens.report.paper._intervals import NUMBERS, VALUE, Asked, accuracy_of, frame, intervals
from sftlens.report.paper._mastery import level_sizes
from sftlens.report.paper._study import Study, test_mask

ALL = "all"
WITHOUT = "without echoed"
ECHOED = "echoed"
_TEXTS = ("fact_id", "subject", "question", "answers")


def echoed_levels(study: Study) -> pl.DataFrame:
    """Facts by mastery level, and how many of them have an answer in their own question.

    Returns:
        domain, split, level, num_facts, num_echoed.

    Raises:
        NotMeasuredError: when there is no mastery, or the facts have no questions.
    """
    keys = ["domain", "split", "level"]
    found = study.known.filter(pl.col("fact_id").is_in(list(_echoed(study)))).group_by(keys)
    counts = found.agg(num_echoed=pl.len().cast(pl.Int64))
    return (
        level_sizes(study)
        .join(counts, on=keys, how="left", maintain_order="left")
        .with_columns(pl.col("num_echoed").fill_null(0))
    )


def echoed_accuracy(study: Study) -> pl.DataFrame:
    """The headline accuracy over all test facts, over the others than echoed ones, and over these.

    Of the base model, where it was asked, and of the models tuned on the largest training sets.

    Returns:
        domain, level and size of training (null for the base), facts (``all``, ``without echoed``
        or ``echoed``), value, low, high, num_facts, num_training_sets.

    Raises:
        NotMeasuredError: when no tuned model was scored, or the facts have no questions.
    """
    answers = study.answers
    echoed = np.isin(answers.facts["fact_id"].to_numpy(), list(_echoed(study)))
    models: list[tuple[int | None, int | None, list[np.ndarray]]] = []
    if study.base is not None:
        models.append((None, None, [study.base]))
    for cell in map(answers.largest, answers.levels_trained):
        models.append((cell.level, cell.size, list(answers.rows[cell].values())))
    keys: list[tuple[str, int | None, int | None, str]] = []
    asked: list[Asked] = []
    for domain in answers.domains:
        mask = test_mask(answers, domain, chosen=False)
        parts = {ALL: mask, WITHOUT: mask & ~echoed, ECHOED: mask & echoed}
        for level, size, rows in models:
            for name, part in parts.items():
                if part.any():
                    keys.append((domain, level, size, name))
                    asked.append(accuracy_of(rows, part))
    names = ("domain", "level", "size", "facts")
    rows_of = [
        {**dict(zip(names, key, strict=True)), **found.numbers, **found.counts}
        for key, found in zip(keys, intervals(answers, asked), strict=True)
    ]
    kinds = {"domain": pl.String, "level": pl.Int64, "size": pl.Int64, "facts": pl.String}
    return frame(rows_of, kinds, VALUE, NUMBERS)


def _echoed(study: Study) -> set[str]:
    facts = study.whole("facts", _TEXTS)
    if missing := [name for name in _TEXTS if name not in facts.columns]:
        raise NotMeasuredError(f"table facts has no column {missing[0]}")
    if facts.schema["answers"] != pl.List(pl.String):
        raise NotMeasuredError("table facts has columns of other types")
    return echoed_ids(facts.drop_nulls(_TEXTS))
