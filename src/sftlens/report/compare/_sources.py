"""The runs that are compared, and which facts two of them asked alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sftlens.errors import UserError
from sftlens.manifest import read_manifest
from sftlens.report._answers import Answers
from sftlens.report._tables import STAGE
from sftlens.report.inference._evidence import NotMeasuredError
from sftlens.report.paper import Study

_TOLD: Mapping[str, Any] = {
    "fact_id": pl.String,
    "topic": pl.String,
    "question": pl.String,
    "answers": pl.List(pl.String),
}
_FACT = ["fact_id", "question", "answers", "domain"]  # what makes two facts the same


@dataclass(frozen=True)
class Source:
    """One run folder of a study.

    Attributes:
        label: the shortest end of its path that no other run shares.
        folder: where it lies.
        manifest: as :func:`sftlens.manifest.read_manifest` gives it.
        study: its tables.
    """

    label: str
    folder: Path
    manifest: Mapping[str, Any]
    study: Study

    @cached_property
    def answers(self) -> Answers | None:
        """Who answered what; None where no tuned model was scored.

        Raises:
            UserError: when a table is not sound.
        """
        try:
            return self.study.answers
        except NotMeasuredError:
            return None

    @cached_property
    def facts(self) -> pl.DataFrame:
        """The scored test facts: fact_id, question, answers (as one text), domain, level, place.

        ``place`` is the position in ``answers``.

        Raises:
            NotMeasuredError: when there are none, or the table of facts lacks a column.
        """
        return (
            self.study.answers.facts.with_row_index("place")
            .filter(pl.col("split") == "test")
            .join(self._told, on="fact_id", how="left", maintain_order="left")
            .select(*_FACT, "level", "place")
        )

    @cached_property
    def training_facts(self) -> pl.DataFrame:
        """What training sets are drawn from: fact_id, topic, question, answers, level.

        Raises:
            NotMeasuredError: when the table of facts lacks a column.
        """
        known = self.study.known.filter(domain="in", split="train")
        told = known.join(self._told, on="fact_id", how="left")
        return told.select("fact_id", "topic", "question", "answers", "level").sort("fact_id")

    @cached_property
    def _told(self) -> pl.DataFrame:
        table = self.study.table("facts", _TOLD)
        return table.with_columns(pl.col("answers").list.join("\0"))


class Shared(NamedTuple):
    """The test facts that a run and the first one asked alike.

    Attributes:
        num_own: test facts that the run was scored on.
        num_first: those of the first run.
        own: positions of the shared ones in the run's answers, (num_shared,).
        first: in the first run's, (num_shared,).
        domains: (num_shared,).
        levels: of the first run's base model, (num_shared,).
        same_levels: whether the run's base model has them all at the same level.
        same_training: whether a level, size and seed give the same training set in both: the draw
            depends on the in-domain training facts and their levels, and on nothing else.
    """

    num_own: int
    num_first: int
    own: NDArray[np.int64]
    first: NDArray[np.int64]
    domains: NDArray[np.object_]
    levels: NDArray[np.int64]
    same_levels: bool
    same_training: bool

    @property
    def num_shared(self) -> int:
        """How many they share."""
        return len(self.own)

    @property
    def all_shared(self) -> bool:
        """Whether neither asked a fact that the other did not."""
        return self.num_shared == self.num_own == self.num_first


def read_sources(runs: Sequence[Path]) -> list[Source]:
    """The run folders to be compared.

    Raises:
        UserError: when there are fewer than two, one is no study's, or one is named twice.
    """
    folders = [run.resolve() for run in runs]
    if len(folders) < 2:
        raise UserError("a comparison takes two run folders or more")
    for place, folder in enumerate(folders):
        if folder in folders[:place]:
            raise UserError(f"{runs[place]}: is named twice; name each run folder once")
    return [
        Source(label, folder, read_manifest(run, STAGE), Study(folder))
        for label, folder, run in zip(_labels(folders), folders, runs, strict=True)
    ]


def shared_facts(source: Source, first: Source) -> Shared | None:
    """The test facts that two runs asked alike; None where either has no scored test facts.

    Two facts are the same where id, question, answers and domain are.
    """
    try:
        own, other = source.facts, first.facts
    except NotMeasuredError:
        return None
    both = own.join(other, on=_FACT, how="inner", suffix="_first", maintain_order="right")
    return Shared(
        num_own=len(own),
        num_first=len(other),
        own=both["place"].to_numpy().astype(np.int64),
        first=both["place_first"].to_numpy().astype(np.int64),
        domains=both["domain"].to_numpy(),
        levels=both["level_first"].to_numpy().astype(np.int64),
        same_levels=bool((both["level"] == both["level_first"]).all()),
        same_training=source.training_facts.equals(first.training_facts),
    )


def _labels(folders: Sequence[Path]) -> list[str]:
    for depth in range(1, max(len(folder.parts) for folder in folders) + 1):
        labels = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(labels)) == len(labels):
            return labels
    raise AssertionError(folders)
