"""Every scored fact and every model's answer to it, packed for the page's list of facts."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sftlens.report._answers import TUNED, Answers, Cell, Row
from sftlens.report._findings import method_name
from sftlens.report._wording import number, percent

_RIGHT, _UNSCORED = 1, -1
_MOST = 2_000_000  # characters of the page
_FEWEST_FACTS = 1000


class _Model(NamedTuple):
    cell: Cell
    seed: int
    row: Row
    reference: Row | None  # the model that it was made from; most of its answers are the same


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Facts and answers as the page holds them, both gzip in base64.

    ``facts`` is JSON in columns; ``answers`` has for each model one bit a fact, lowest bit first,
    1 for a right answer. The bits of a tuned model are those in which it differs from the base,
    and those of a restored one in which it differs from the tuned one: few of them are set, so
    that they pack well. A model with unscored answers has a second row, 1 for those.
    """

    num_facts: int
    has_base: bool
    has_restored: bool
    facts: str
    answers: str
    left_out: str | None  # what the page has no room for

    @property
    def size(self) -> int:
        """Characters of the page."""
        return len(self.facts) + len(self.answers)


def base_row(answers: Answers, base_scores: pl.DataFrame | None) -> Row | None:
    """The base model's answers over the facts of ``answers``; None where it was not asked."""
    if base_scores is None or base_scores.is_empty():
        return None
    joined = answers.facts.select("fact_id").join(
        base_scores, on="fact_id", how="left", maintain_order="left"
    )
    row: Row = joined["correct"].cast(pl.Int8).fill_null(_UNSCORED).to_numpy()
    return row if (row != _UNSCORED).any() else None


def floor_text(noise: pl.DataFrame | None) -> str | None:
    """What asking the same tuned models twice turns over; None where that was not done."""
    if noise is None or (asked := noise.drop_nulls()).is_empty():
        return None
    turned = int((asked["correct"] != asked["again"]).sum())
    runs = asked["run"].n_unique()
    return (
        f"The floor: asked again in batches of another size, {number(runs)} tuned "
        f"model{'s' * (runs != 1)} turned {number(turned)} of {number(len(asked))} answers "
        f"({percent(turned / len(asked), 2)}) though nothing was changed."
    )


def make_ledger(answers: Answers, base: Row | None, *, most: int = _MOST) -> Ledger:
    """The facts that were scored, with who answered them right.

    Args:
        answers: of the tuned and the restored models.
        base: the base model's answers, over the same facts.
        most: characters that it may take. Beyond that, restored models are left out first, then
            all training sets but the largest, then the facts that changed in the fewest models.
    """
    models = list(_models(answers, base))
    tuned = [model for model in models if model.cell.method == TUNED]
    largest = [
        model
        for model in tuned
        if model.cell.size == max(c.size for c, *_ in tuned if c.level == model.cell.level)
    ]
    places = np.arange(len(answers.facts))
    ledger = _packed(answers, base, models, places, None)
    for kept, words in (
        (tuned, "the answers of restored models"),
        (largest, "the answers of all models but those tuned on the largest training sets"),
    ):
        if ledger.size <= most:
            return ledger
        ledger = _packed(answers, base, kept, places, f"This page has no room for {words}.")
    by_change = _most_changed_first(largest, len(places))
    while ledger.size > most and len(places) > _FEWEST_FACTS:
        places = by_change[: max(_FEWEST_FACTS, len(places) // 2)]
        told = (
            f"This page has room for {number(len(places))} of the {number(len(answers.facts))} "
            "facts, those that changed in most models, and for the answers of the models tuned on "
            "the largest training sets."
        )
        ledger = _packed(answers, base, largest, places, told)
    return ledger


def _models(answers: Answers, base: Row | None) -> Iterable[_Model]:
    for cell in answers.cells:
        tuned = answers.rows.get(Cell(*cell[:2]), {})
        for seed, row in sorted(answers.rows[cell].items()):
            if cell.method == TUNED:
                yield _Model(cell, seed, row, base)
            elif seed in tuned:
                yield _Model(cell, seed, row, tuned[seed])


def _most_changed_first(models: Sequence[_Model], num_facts: int) -> NDArray[np.int64]:
    changed = np.zeros(num_facts, np.int64)
    for model in models:
        if model.reference is not None:
            changed += model.row != model.reference
    return np.argsort(-changed, kind="stable")


def _packed(
    answers: Answers,
    base: Row | None,
    models: Sequence[_Model],
    places: NDArray[np.int64],
    left_out: str | None,
) -> Ledger:
    facts = answers.facts[places].with_row_index("place").sort("topic", "question", "fact_id")
    order = places[facts["place"].to_numpy()]
    topics = facts["topic"].unique().sort().to_list()
    index = {topic: place for place, topic in enumerate(topics)}
    domains = facts["domain"].unique().sort().to_list()
    methods = sorted({m.cell.method for m in models} - {TUNED}, key=answers.methods().index)
    bits: list[NDArray[np.uint8]] = []

    def add(row: Row, reference: Row | None) -> list[int]:
        """The numbers of the rows of bits: right, and unscored where there are such answers."""
        own = row[order] == _RIGHT
        if reference is not None:
            own = own ^ (reference[order] == _RIGHT)
        unscored = row[order] == _UNSCORED
        first = len(bits)
        bits.append(np.packbits(own, bitorder="little"))
        if unscored.any():
            bits.append(np.packbits(unscored, bitorder="little"))
        return list(range(first, len(bits)))

    content: dict[str, Any] = {
        "topics": topics,
        "domains": domains,
        "methods": [method_name(method) for method in methods],
        "topic": [index[topic] for topic in facts["topic"]],
        "domain": [domains.index(domain) for domain in facts["domain"]],
        "level": facts["level"].to_list(),
        "question": facts["question"].to_list(),
        "answers": ["; ".join(accepted) for accepted in facts["answers"]],
        "base": None if base is None else add(base, None),
        "models": [
            {
                "level": model.cell.level,
                "size": model.cell.size,
                "seed": model.seed,
                "method": None if model.cell.method == TUNED else methods.index(model.cell.method),
                "share": model.cell.share,
                "rows": add(model.row, model.reference),
            }
            for model in models
        ],
        "facts": {
            f"{level}-{size}": answers.true_size[level, size]
            for level, size in sorted({model.cell[:2] for model in models})
        },
    }
    return Ledger(
        num_facts=len(facts),
        has_base=base is not None,
        has_restored=bool(methods),
        facts=packed(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()),
        answers=packed(b"".join(row.tobytes() for row in bits)),
        left_out=left_out,
    )


def packed(content: bytes) -> str:
    """Bytes as the page holds them: gzip in base64, which no text in them can leave."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
