"""Pilot runs: jobs of the study's kinds, kept until the advice is whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from sftlens.advice._candidates import Candidate
from sftlens.advice._measure import Answers
from sftlens.advice._settings import AdviseSettings
from sftlens.errors import UserError
from sftlens.study import (
    BASE_SCORES,
    SCORES,
    InlineRunner,
    Plan,
    ProcessRunner,
    Runner,
    Store,
    run_jobs,
)
from sftlens.tables import read_table

VALIDATION = "validation"

_REMEDY = "remove its folder and run the same command again"


class Sources(NamedTuple):
    """What pilot runs start from.

    Attributes:
        base: folder of the base model.
        identity: what identifies it wherever it lies.
        facts: file of the training and validation facts.
        facts_hash: what identifies those.
        mastery: folder of their levels.
        mastery_key: what identifies those.
    """

    base: Path
    identity: Mapping[str, str]
    facts: Path
    facts_hash: str
    mastery: Path
    mastery_key: str


class Pilots:
    """Trains candidates and asks their models the validation facts, each run once.

    A run that an earlier call finished is not made again, so that a killed call goes on.

    Args:
        store: takes the results.
        sources: see :class:`Sources`.
        settings: budget, training and scoring.

    Attributes:
        runs: seeds of each candidate that was trained, in their order.
    """

    def __init__(self, store: Store, sources: Sources, settings: AdviseSettings) -> None:
        self._store, self._settings = store, settings
        self._plan = Plan()
        self._at = {"base": str(sources.base), "mastery": str(sources.mastery)}
        self._identity = {"base": dict(sources.identity), "mastery": sources.mastery_key}
        self._score = {"score": settings.score.model_dump(mode="json"), "split": VALIDATION}
        told = {"facts": sources.facts_hash, "unused_facts": True}
        self._facts = self._plan.add("facts", told, {}, places={"facts": str(sources.facts)})
        self._base = self._plan.add(
            "base-score", {**self._identity, **self._score}, {"facts": self._facts}, places=self._at
        )
        self.runs: dict[Candidate, list[int]] = {}
        self._runner: Runner = InlineRunner(store)
        self._workers: ProcessRunner | None = None

    def __enter__(self) -> Pilots:
        import torch

        if torch.cuda.device_count() > 1:
            self._runner = self._workers = ProcessRunner(self._store).__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._workers is not None:
            self._workers.__exit__(kind, error, trace)

    @property
    def num_runs(self) -> int:
        return sum(map(len, self.runs.values()))

    @property
    def left(self) -> int:
        """Runs that the budget still allows."""
        return self._settings.budget - self.num_runs

    def train(self, candidates: Sequence[Candidate]) -> None:
        """Train each candidate once more, with its next seed.

        Raises:
            UserError: when a run failed; the next call tries it again.
        """
        assert len(candidates) <= self.left
        for one in candidates:
            seeds = self.runs.setdefault(one, [])
            seeds.append(self._settings.seed + len(seeds))
            self._add(one, seeds[-1])
        outcome = run_jobs(self._plan, self._store, self._runner, stage="jobs of pilot runs")
        for name, reason in outcome.failed.items():
            raise UserError(f"{name}: {reason}")

    def _add(self, one: Candidate, seed: int) -> None:
        name = _run_name(one, seed)
        tune = self._settings.tune.model_copy(update={"seed": seed}).model_dump(mode="json")
        level = one.levels[0] if len(one.levels) == 1 else list(one.levels)
        training = {"level": level, "size": one.size, "seed": seed, "tune": tune}
        tuned = self._plan.add(
            "tune",
            {**training, **self._identity},
            {"facts": self._facts},
            model=name,
            places=self._at,
            keeps_model=False,
        )
        self._plan.add(
            "score",
            {"run": name, **self._identity, **self._score},
            {"tuned": tuned, "facts": self._facts},
            model=name,
            places=self._at,
        )

    def answers(self, one: Candidate) -> Answers:
        """Whether each validation fact was answered, by seed."""
        tables = [self.scores(one, seed) for seed in self.runs[one]]
        return np.array([table["correct"].to_numpy() for table in tables], dtype=np.float64)

    def base_answers(self) -> Answers:
        """The same of the base as it is, one row."""
        return self.base_scores()["correct"].to_numpy().astype(np.float64)[None]

    def scores(self, one: Candidate, seed: int) -> pl.DataFrame:
        """What a run's model answered, in the order of the validation facts."""
        job = self._plan.jobs[f"score {_run_name(one, seed)}"]
        return read_table(self._store.path(job) / SCORES, remedy=_REMEDY)

    def base_scores(self) -> pl.DataFrame:
        """What the base answered."""
        path = self._store.path(self._plan.jobs[self._base]) / BASE_SCORES
        return read_table(path, remedy=_REMEDY)

    def told(self, one: Candidate, seed: int) -> dict[str, Any]:
        """What the training of a run told."""
        return self._store.result(self._plan.jobs[f"tune {_run_name(one, seed)}"])


def _run_name(one: Candidate, seed: int) -> str:
    return f"{one.name}-seed{seed}"
