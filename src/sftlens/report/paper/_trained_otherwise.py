"""Models that were not tuned on the facts of one level by full fine-tuning."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from sftlens.report.inference._evidence import NotMeasuredError
from sftlens.report.paper._study import Study

STRATEGIES = ("instruct", "mixed", "lora")


class StrategyRun(NamedTuple):
    """A model of another strategy.

    Attributes:
        run: its name.
        strategy: ``instruct``, ``mixed``, ``lora``.
        level: of its training facts; None where they are mixed.
        size: of its training set, as asked for; None where it is not known.
        seed: of its training set; None of a model that was not trained here.
    """

    run: str
    strategy: str
    level: int | None
    size: int | None
    seed: int | None


def strategy_runs(study: Study, *, required: bool = True) -> list[StrategyRun]:
    """The models of other strategies, in the order of strategy, level, size and seed.

    Args:
        study: with or without them.
        required: whether a missing table is an error, and not an empty list.

    Raises:
        NotMeasuredError: when there are none and some are required.
    """
    try:
        table = study.table(
            "strategy_runs",
            {
                "run": pl.String,
                "strategy": pl.String,
                "level": pl.Int64,
                "size": pl.Int64,
                "seed": pl.Int64,
            },
        )
    except NotMeasuredError:
        if required:
            raise
        return []
    rows = table.sort("strategy", "level", "size", "seed", "run", nulls_last=False).rows()
    return [StrategyRun(*row) for row in rows]
