"""Candidates asked, within the budget, and nothing asked twice."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from sftlens.facts import Fact, matches
from sftlens.generation import LoadedModel, TransformersGenerator, load_tuned
from sftlens.outputs import new_file
from sftlens.progress import Advance, silent
from sftlens.repair._candidates import Candidate, Restorations
from sftlens.repair._measure import Values
from sftlens.repair._parts import Part, Parts
from sftlens.repair._settings import RepairSettings
from sftlens.repair._task import Task
from sftlens.scoring import ScoreSettings, score
from sftlens.storage_types import StorageType
from sftlens.tables import read_table
from sftlens.weights import CheckpointPair, Restoration, Sweep

EVALUATIONS_SCHEMA = pl.Schema(
    {
        "candidate": pl.String(),
        "part": pl.String(),
        "kind": pl.String(),
        "item": pl.String(),
        "answer": pl.String(),
        "value": pl.Float64(),
    }
)

_FACT, _TASK = "fact", "task"


class Found(NamedTuple):
    """What a candidate made of the first facts of a part, and of as large a share of the task."""

    correct: Values  # (num_facts,), 1 is right
    kept: Values  # (num_items,) of the task, 1 is right


class Model:
    """The tuned model in memory, which becomes one candidate after the other.

    It is loaded when it is first asked, so that a search whose answers are all in the ledger needs
    none. Candidates are computed in the type that it is loaded in.
    """

    def __init__(self, pair: CheckpointPair, dtype: StorageType) -> None:
        self._pair = pair
        self._dtype = dtype
        self._loaded: LoadedModel | None = None
        self._sweep: Sweep | None = None

    def become(self, restoration: Restoration) -> LoadedModel:
        """Make it what a restoration gives."""
        if self._loaded is None or self._sweep is None:
            folders = self._pair.base.folder, self._pair.tuned.folder
            self._loaded = load_tuned(*folders, dtype=self._dtype)
            self._sweep = Sweep(self._loaded.model, self._pair)
        self._sweep.step(restoration)
        return self._loaded


class Examiner:
    """Asks candidates, and counts what that takes.

    Every evaluation lands in a file of its own in the ledger, whole or not there, and is read from
    there when the same is asked again, in a later process too. What is read counts like what is
    asked, so that a search that goes on makes the same choices.

    Args:
        restorations: of the pair.
        parts: the facts.
        task: beside the facts; None where the task is to answer in-domain facts with the answer
            and nothing else.
        settings: budget, decoding and matching.
        ledger: the folder of the evaluations.
        advance: told how many questions are done.
    """

    def __init__(
        self,
        restorations: Restorations,
        parts: Parts[Fact],
        task: Task | None,
        settings: RepairSettings,
        ledger: Path,
        *,
        advance: Advance = silent,
    ) -> None:
        self.restorations = restorations
        self.parts = parts
        self.task = task
        self.advance = advance
        self.spent = 0
        """Questions on validation facts and items so far."""
        self._any_inside = any(fact.domain == "in" for part in parts for fact in part)
        self._settings = settings
        self._ledger = ledger
        self._model = Model(restorations.pair, settings.dtype)
        self._tables: dict[tuple[Candidate, Part], list[pl.DataFrame]] = {}
        self._asked: dict[tuple[Candidate, Part], int] = {}

    @property
    def questions(self) -> int:
        """Of one evaluation on all validation facts and items of the task."""
        return self.cost("search") + self.cost("decision")

    @property
    def budget(self) -> int:
        """Questions that may be asked before the choice stands."""
        return self._settings.budget * self.questions

    def cost(self, part: Part, num_facts: int | None = None) -> int:
        """Questions of one evaluation on the first facts of a part."""
        num_facts = len(self.parts.of(part)) if num_facts is None else num_facts
        return num_facts + self._num_items(part, num_facts)

    def left(self) -> int:
        """Questions that may still be asked."""
        return self.budget - self.spent

    def examine(self, candidate: Candidate, part: Part, num_facts: int | None = None) -> Found:
        """What a candidate makes of the first facts of a part, all of them by default."""
        num_facts = len(self.parts.of(part)) if num_facts is None else num_facts
        place = candidate, part
        have = self._asked.get(place, 0)
        if num_facts > have:
            cost = self.cost(part, num_facts) - self.cost(part, have)
            if part != "test":
                assert cost <= self.left(), (cost, self.left())
                self.spent += cost
            self._tables.setdefault(place, []).append(self._evaluate(*place, have, num_facts))
            self._asked[place] = num_facts
            self.advance(cost)
        return self._found(place, num_facts)

    def num_seen(self, candidate: Candidate, part: Part = "search") -> int:
        """How many facts of a part a candidate was asked."""
        return self._asked.get((candidate, part), 0)

    def evaluations(self) -> pl.DataFrame:
        """Every answer, :data:`EVALUATIONS_SCHEMA`."""
        named = [
            table.select(pl.lit(str(candidate)).alias("candidate"), pl.lit(part).alias("part"), "*")
            for (candidate, part), tables in self._tables.items()
            for table in tables
        ]
        return pl.concat([EVALUATIONS_SCHEMA.to_frame(), *named])

    def _found(self, place: tuple[Candidate, Part], num_facts: int) -> Found:
        table = pl.concat(self._tables[place])
        correct = table.filter(kind=_FACT)["value"].to_numpy()[:num_facts]
        num_items = self._num_kept(place[1], num_facts)
        kept = table.filter(kind=_TASK)["value"].to_numpy()[:num_items]
        return Found(np.asarray(correct, float), np.asarray(kept, float))

    def _num_items(self, part: Part, num_facts: int) -> int:
        """Items of a task of its own that go with the first facts of a part."""
        if self.task is None:
            return 0
        return -(-self.task.num_items(part) * num_facts // len(self.parts.of(part)))

    def _num_kept(self, part: Part, num_facts: int) -> int:
        if self.task is not None:
            return self._num_items(part, num_facts)
        return sum(map(self._is_task, self.parts.of(part)[:num_facts]))

    def _is_task(self, fact: Fact) -> bool:
        return fact.domain == "in" or not self._any_inside

    def _evaluate(self, candidate: Candidate, part: Part, start: int, end: int) -> pl.DataFrame:
        label = f"{candidate}\n{part} {start} {end}"
        path = self._ledger / f"{hashlib.sha256(label.encode()).hexdigest()[:24]}.parquet"
        if path.is_file():
            return read_table(path, remedy="remove it")
        table = self._ask(candidate, part, start, end)
        with new_file(path) as partial:
            table.write_parquet(partial)
        return table

    def _ask(self, candidate: Candidate, part: Part, start: int, end: int) -> pl.DataFrame:
        loaded = self._model.become(self.restorations.of(candidate))
        facts = self.parts.of(part)[start:end]
        wanted = ScoreSettings(
            max_new_tokens=self._settings.max_new_tokens, matching=self._settings.matching
        )
        scores = score(TransformersGenerator(loaded.model, loaded.tokenizer), facts, {}, wanted)
        answers = scores["answer"].to_list()
        right = map(float, scores["correct"])
        rows = [
            (_FACT, fact.fact_id, answer, value)
            for fact, answer, value in zip(facts, answers, right, strict=True)
        ]
        if self.task is None:
            rows += [
                (_TASK, fact.fact_id, answer, float(matches(answer, fact.answers, "exact")))
                for fact, answer in zip(facts, answers, strict=True)
                if self._is_task(fact)
            ]
        else:
            first, last = self._num_items(part, start), self._num_items(part, end)
            rows += [(_TASK, *one) for one in self.task.ask(loaded, part, first, last)]
        schema = {name: EVALUATIONS_SCHEMA[name] for name in ("kind", "item", "answer", "value")}
        return pl.DataFrame(rows, schema=schema, orient="row")
