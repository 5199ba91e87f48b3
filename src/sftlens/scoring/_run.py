"""The score folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sftlens import notebook
from sftlens.checkpoints import model_identity, resolve_model
from sftlens.errors import UserError
from sftlens.facts import Split, facts_hash, facts_table, is_echoed, read_facts
from sftlens.mastery import read_mastery
from sftlens.output_folder import open_output
from sftlens.progress import progress
from sftlens.scoring._score import Accuracy, ScoreSettings, accuracy, score
from sftlens.scoring._transitions import SCORES, require_comparable

FACTS = "facts.parquet"


@dataclass(frozen=True)
class ScoreResult(notebook.Tabular):
    """What ``sftlens score`` tells.

    Attributes:
        accuracy: by domain, ``levels`` (a fraction each, None for a level without facts), ``mean``
            and its 95 % interval ``low`` and ``high``; None for a domain without facts.
        num_facts: facts asked.
        num_without_level: those of them that the mastery folder does not know; they are scored,
            and enter no level.
        out: the score folder.
        num_echoed: those of the facts whose answer stands in their own question
            (:func:`sftlens.facts.is_echoed`); None in a folder of a version that did not count.
        accuracy_without_echoed: the accuracy of the others, in the same form.
    """

    accuracy: dict[str, dict[str, Any] | None]
    num_facts: int
    num_without_level: int
    out: str
    num_echoed: int | None = None
    accuracy_without_echoed: dict[str, dict[str, Any] | None] | None = None

    def to_polars(self) -> pl.DataFrame:
        """A row a domain and test level (``mean`` of them too): accuracy, low, high; fractions."""
        rows: list[dict[str, Any]] = []
        for domain, found in self.accuracy.items():
            if found is not None:
                for level, value in enumerate(found["levels"]):
                    rows.append({"domain": domain, "level": str(level), "accuracy": value})
                mean = {"accuracy": found["mean"], "low": found["low"], "high": found["high"]}
                rows.append({"domain": domain, "level": "mean", **mean})
        numbers = dict.fromkeys(("accuracy", "low", "high"), pl.Float64)
        return pl.DataFrame(rows, schema={"domain": pl.String, "level": pl.String, **numbers})

    def _repr_html_(self) -> str:
        title = f"accuracy on {self.num_facts:,} facts"
        return notebook.as_html(title, self.to_polars(), [f"written to {self.out}"])


def run_score(
    model: str,
    source: str,
    mastery: Path,
    out: Path,
    *,
    split: Split = "test",
    settings: ScoreSettings,
    reference: Path | None = None,
) -> ScoreResult:
    """Score a model on facts and write the score folder, whole or not at all.

    The folder holds the tables ``facts`` and ``scores`` and the manifest. A finished folder of the
    same call is left as it is.

    Args:
        model: folder or hub id.
        source: facts, as :func:`sftlens.facts.read_facts` takes them.
        mastery: folder that ``sftlens probe`` wrote for the base model.
        out: the score folder.
        split: facts of which split are asked.
        settings: see :class:`ScoreSettings`.
        reference: a score folder that this one is to be compared with by :func:`run_transitions`;
            that it can be is made sure before anything is scored.

    Raises:
        UserError: when an input is unusable, no fact has a level, or ``out`` holds something.
    """
    every_fact = read_facts(source).facts
    facts = [fact for fact in every_fact if fact.split == split]
    if not facts:
        raise UserError(f"{source}: has no facts of split {split}; choose another split")
    probed = read_mastery(mastery)
    levels = probed.levels
    unknown = sum(fact.fact_id not in levels for fact in facts)
    probed.require_known(facts, source)
    folder = resolve_model(model)
    config = {
        "model": model_identity(folder),
        "facts": facts_hash(facts),
        "mastery": probed.key,
        "split": split,
        "settings": settings.model_dump(mode="json"),
    }
    if reference is not None:
        require_comparable(reference, config, [fact.fact_id for fact in facts])
    with open_output(out, stage="score", config=config) as output:
        if output.finished is not None:
            return ScoreResult(**{**output.finished, "out": str(out)})
        from sftlens.generation import TransformersGenerator, load_model

        loaded, tokenizer, _ = load_model(folder)
        with progress("scoring", len(facts)) as advance:
            generator = TransformersGenerator(loaded, tokenizer)
            scores = score(generator, facts, levels, settings, advance=advance)
        facts_table(facts).write_parquet(output.work / FACTS)
        scores.write_parquet(output.work / SCORES)
        echoed = [fact.fact_id for fact in facts if is_echoed(fact)]
        others = scores.filter(~pl.col("fact_id").is_in(echoed))
        result = ScoreResult(
            accuracy=_by_domain(scores),
            num_facts=len(facts),
            num_without_level=unknown,
            out=str(out),
            num_echoed=len(echoed),
            accuracy_without_echoed=_by_domain(others),
        )
        output.complete(result.as_json())
    return result


def _by_domain(scores: pl.DataFrame) -> dict[str, dict[str, Any] | None]:
    return {domain: _as_json(value) for domain, value in accuracy(scores).items()}


def _as_json(found: Accuracy | None) -> dict[str, Any] | None:
    if found is None:
        return None
    levels = [None if level is None else level.value for level in found.levels]
    mean, low, high = found.mean
    return {"levels": levels, "mean": mean, "low": low, "high": high}
