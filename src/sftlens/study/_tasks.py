"""What the jobs share: where their inputs lie, and how those are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sftlens.checkpoints import is_adapter, model_identity
from sftlens.errors import UserError
from sftlens.facts import Fact
from sftlens.generation import LoadedModel, load_model, load_tuned
from sftlens.mastery import Mastery, read_mastery
from sftlens.storage_types import StorageType
from sftlens.study._plan import INSTRUCT, Job
from sftlens.study._store import MODEL, facts_of_result

FACTS = "facts.parquet"
WORLD = "world"
MASTERY = "mastery"
SCORES = "scores.parquet"
TRAINING_FACTS = "training_facts.parquet"


class Task(NamedTuple):
    """A job with its inputs at hand.

    Attributes:
        job: the job.
        inputs: the folders of the inputs' results, by role.
        folder: takes the result's files.
        ledger: keeps completions for this and other probes.
    """

    job: Job
    inputs: Mapping[str, Path]
    folder: Path
    ledger: Path

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.job.settings

    @property
    def base(self) -> Path:
        """The folder of the base model."""
        if "base" in self.inputs:
            return self.inputs["base"] / MODEL
        return Path(self.job.places["base"])

    @property
    def tuned(self) -> Path:
        return self.inputs["tuned"] / MODEL

    @property
    def dtype(self) -> StorageType | None:
        """The type that models are asked in; None for the stored one."""
        return self.settings.get("dtype")

    def facts(self) -> list[Fact]:
        """All facts of the study."""
        return facts_of_result(self.inputs["facts"] / FACTS)

    def training_facts(self) -> list[Fact]:
        """The facts that the tuned model was trained on."""
        return facts_of_result(self.inputs["tuned"] / TRAINING_FACTS)

    def scored_facts(self) -> list[Fact]:
        """Test facts, and the in-domain validation facts that choices are made on.

        Where the settings name a split, all facts of that one instead.
        """
        split = self.settings.get("split")
        if split is not None:
            return [fact for fact in self.facts() if fact.split == split]
        return [fact for fact in self.facts() if is_scored(fact)]

    def load_scored(self) -> LoadedModel:
        """The model that is asked: the tuned one, of an adapter merged, or the instruct model."""
        if "tuned" not in self.inputs:
            return load_model(self.job.places[INSTRUCT], dtype=self.dtype)
        if is_adapter(self.tuned):
            return load_tuned(self.base, self.tuned, dtype=self.dtype)
        return load_model(self.tuned, dtype=self.dtype)

    def mastery(self) -> Mastery:
        """What the probe found, in a job of the plan or before it."""
        if "probe" in self.inputs:
            return read_mastery(self.inputs["probe"] / MASTERY)
        return read_mastery(Path(self.job.places["mastery"]))


def is_scored(fact: Fact) -> bool:
    """Whether tuned models are asked a fact."""
    return fact.split == "test" or (fact.split == "validation" and fact.domain == "in")


def is_trained_on(fact: Fact) -> bool:
    """Whether training sets draw from a fact."""
    return fact.split == "train" and fact.domain == "in"


def is_used(fact: Fact) -> bool:
    """Whether anything but the probe looks at a fact."""
    return is_scored(fact) or is_trained_on(fact)


def known_by_content(folder: Path) -> dict[str, str]:
    """What identifies a model wherever it lies."""
    return {part: told for part, told in model_identity(folder).items() if part != "name"}


def labelled(table: pl.DataFrame, run: str, method: str, share: float | None) -> pl.DataFrame:
    """Scores with the run, the method and the share in front."""
    return table.select(
        pl.lit(run).alias("run"),
        pl.lit(method).alias("method"),
        pl.lit(share, dtype=pl.Float64).alias("share"),
        pl.all(),
    )


def left_out(error: UserError) -> dict[str, Any]:
    """The result of a job for which there is nothing to do."""
    return {"left_out": str(error)}
