"""Scores that others are held against: of the base, and of a tuned model asked once more."""

from __future__ import annotations

from typing import Any

from sftlens.generation import TransformersGenerator, load_model
from sftlens.scoring import ScoreSettings, score
from sftlens.study._store import read_result
from sftlens.study._tasks import SCORES, Task

BASE_SCORES = "base_scores.parquet"
NOISE = "noise.parquet"


def score_base(task: Task) -> dict[str, Any]:
    """Ask the base what its tuned models are asked, with their prompt."""
    model, tokenizer, _ = load_model(task.base, dtype=task.dtype)
    table = score(
        TransformersGenerator(model, tokenizer),
        task.scored_facts(),
        task.mastery().levels,
        ScoreSettings(**task.settings["score"]),
    )
    table.write_parquet(task.folder / BASE_SCORES)
    return {}


def score_again(task: Task) -> dict[str, Any]:
    """Ask a tuned model the same facts again in batches of another size.

    Nothing but the rounding of sums differs, so answers that turn from right to wrong or back are
    the floor for facts that are called lost or gained.
    """
    before = read_result(task.inputs["score"] / SCORES)
    model, tokenizer, _ = load_model(task.tuned, dtype=task.dtype)
    tokens = task.settings["max_batch_tokens"]
    after = score(
        TransformersGenerator(model, tokenizer, max_batch_tokens=tokens),
        task.scored_facts(),
        {},
        ScoreSettings(**task.settings["score"]),
    )
    assert after["fact_id"].equals(before["fact_id"])
    table = before.select("run", "fact_id", "correct").with_columns(again=after["correct"])
    table.write_parquet(task.folder / NOISE)
    return {"num_flips": int((table["correct"] != table["again"]).sum())}
