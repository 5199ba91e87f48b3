"""The front over the test facts whose answer does not stand in their own question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from sftlens.facts import is_echoed
from sftlens.repair._candidates import AS_IT_IS
from sftlens.repair._examine import Examiner
from sftlens.repair._measure import gain, knowledge, strata
from sftlens.repair._tables import Row, interval_columns, named

WITHOUT_ECHOED_SCHEMA = pl.Schema(
    {
        "role": pl.String,
        "candidate": pl.String,
        "num_facts": pl.Int64,
        **interval_columns("knowledge"),
        **interval_columns("gain"),
    }
)
"""The columns of the table ``front`` over these facts alone, in its order; no row where no answer
stands in a question, or every one does."""


def without_echoed_table(
    examiner: Examiner, rows: Sequence[Row], levels: Mapping[str, int] | None, *, seed: int
) -> pl.DataFrame:
    """Models on the test facts that repeating the question does not answer.

    The answers are those that :func:`sftlens.repair._tables.front_table` counts; nothing is asked.
    """
    facts = examiner.parts.test
    kept = np.array([not is_echoed(fact) for fact in facts], dtype=bool)
    if kept.all() or not kept.any():
        return WITHOUT_ECHOED_SCHEMA.to_frame()
    of = strata([fact for fact, own in zip(facts, kept, strict=True) if own], levels)
    tuned = examiner.examine(AS_IT_IS, "test").correct[kept]
    found = []
    for role, candidate, *_ in rows:
        own = examiner.examine(candidate, "test").correct[kept]
        found.append(
            {
                "role": role,
                "candidate": str(candidate),
                "num_facts": len(own),
                **named("knowledge", knowledge(own, of)),
                **named("gain", gain(own, tuned, of, seed=seed)),
            }
        )
    return pl.DataFrame(found, schema=WITHOUT_ECHOED_SCHEMA)
