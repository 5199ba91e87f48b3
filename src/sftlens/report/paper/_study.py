"""What a study left for the paper's tables; what it lacks is told, and never guessed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from sftlens.errors import UserError
from sftlens.report._answers import RELATIVE, TUNED, Answers, Cell, Mask, Row, Rows
from sftlens.report._tables import Tables
from sftlens.report.inference._evidence import Evidence, NotMeasuredError
from sftlens.report.paper._reading import ABSENT, UNSCORED, Key, fact_ids, read_answers
from sftlens.tables import read_table

_RUNS: Mapping[str, type[pl.DataType]] = {
    "run": pl.String,
    "level": pl.Int64,
    "size": pl.Int64,
    "seed": pl.Int64,
    "num_facts": pl.Int64,
}
CHOSEN_ON = {"validation": "validation facts", "half": "the other half of the test facts"}
_MODEL = ("run", "method", "share")


class Run(NamedTuple):
    """A training set: its mastery level, its size as asked for, and its seed."""

    level: int
    size: int
    seed: int


class Study:
    """The tables of a study's run folder, each read when it is asked for, and once.

    Args:
        source: the run folder, or tables by name. Any may be missing or lack columns.
    """

    def __init__(self, source: Path | Mapping[str, pl.DataFrame]) -> None:
        self._source = source

    def table(self, name: str, columns: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
        """These columns of a table, in their types.

        Raises:
            NotMeasuredError: when the table is missing or empty, or lacks a column.
            UserError: when it cannot be read.
        """
        table = self.whole(name, columns)
        if missing := [column for column in columns if column not in table.columns]:
            raise NotMeasuredError(f"table {name} has no column {missing[0]}")
        try:
            table = table.select(pl.col(column).cast(kind) for column, kind in columns.items())
        except pl.exceptions.PolarsError:
            raise NotMeasuredError(f"table {name} has columns of other types") from None
        if table.is_empty():
            raise NotMeasuredError(f"table {name} is empty")
        return table

    def whole(self, name: str, columns: Iterable[str] | None = None) -> pl.DataFrame:
        """A table as it is.

        Args:
            name: of the table.
            columns: those that are needed, where it has to be read; None for all.

        Raises:
            NotMeasuredError: when it is missing.
            UserError: when it cannot be read.
        """
        source = self._of(name)
        if isinstance(source, pl.DataFrame):
            return source
        return read_table(source, remedy="run the study again", only=columns)

    @cached_property
    def runs(self) -> dict[str, Run]:
        """The training sets of one level, by name of the run."""
        return {run: Run(*rest) for run, *rest in self._runs.select(list(_RUNS)[:4]).iter_rows()}

    @cached_property
    def num_training_facts(self) -> dict[tuple[int, int], float]:
        """The mean number of training facts, by level and size as asked for."""
        means = self._runs.group_by("level", "size").agg(pl.col("num_facts").mean())
        return {(level, size): mean for level, size, mean in means.iter_rows()}

    @cached_property
    def _runs(self) -> pl.DataFrame:
        table = self.table("runs", _RUNS)
        for key in (["run"], ["level", "size", "seed"]):
            if table.select(key).is_duplicated().any():
                raise UserError(
                    f"table runs: has two rows of the same {', '.join(key)}; "
                    "the tables must come from one study"
                )
        return table

    def run(self, name: object, table: str) -> Run:
        """The training set of a run.

        Raises:
            UserError: when table ``runs`` does not know it.
        """
        if (run := self.runs.get(str(name))) is None:
            raise UserError(
                f"table {table}: run {name!r} is not in table runs; "
                "the tables must come from one study"
            )
        return run

    @cached_property
    def known(self) -> pl.DataFrame:
        """The facts that have a mastery level: fact_id (sorted), domain, split, level."""
        facts = self.table("facts", {"fact_id": pl.String, "domain": pl.String, "split": pl.String})
        mastery = self.table("mastery", {"fact_id": pl.String, "level": pl.Int64})
        known = facts.join(mastery.drop_nulls(), on="fact_id").sort("fact_id")
        if known["fact_id"].is_duplicated().any():
            raise UserError(
                "tables facts, mastery: a fact stands there twice; "
                "the tables must come from one study"
            )
        if known.is_empty():
            raise NotMeasuredError("no fact has a mastery level")
        return known

    @cached_property
    def answers(self) -> Answers:
        """The answers of the models that were tuned on one level, and of their restorations.

        Raises:
            NotMeasuredError: when a table is missing, or no tuned model was scored on test facts.
        """
        read = read_answers(
            self._of("scores"), "scores", _MODEL, self.known["fact_id"].to_list(), "correct"
        )
        if not read:
            raise NotMeasuredError("table scores has no row of a fact with a mastery level")
        asked = np.any([row != ABSENT for row in read.values()], axis=0)
        rows = self._cells(
            {key: np.maximum(row[asked], UNSCORED) for key, row in read.items()}, "scores"
        )
        empty = pl.DataFrame()
        tables = Tables(
            facts=self.known.drop("level"),
            exposures=None,
            mastery=self.known.select("fact_id", "level"),
            runs=self._runs,
            scores=self.known.select("fact_id").filter(asked),
            divergence=empty,
            concentration=empty,
            restorations=empty,
            settings={},
            result={},
            versions={},
        )
        answers = Answers(tables, rows)
        if not answers.domains or not answers.levels_trained:
            raise NotMeasuredError("no tuned model was scored on test facts")
        return answers

    def rows(self, name: str, keys: tuple[str, ...], verdict: str = "correct") -> dict[Key, Row]:
        """Another table of answers, over the facts of ``answers``.

        Raises:
            NotMeasuredError: when the table or a column is missing.
            UserError: when a fact has two rows of the same key.
        """
        facts = self.answers.facts["fact_id"].to_list()
        read = read_answers(self._of(name), name, keys, facts, verdict)
        return {key: np.maximum(row, UNSCORED) for key, row in read.items()}

    @cached_property
    def base(self) -> Row | None:
        """The answers of the base model to the training prompt; None where it was not asked."""
        try:
            return self.rows("base_scores", ()).get(())
        except NotMeasuredError:
            return None

    @cached_property
    def training(self) -> Rows:
        """The answers of models to training facts; -2 where a fact is not of the training set.

        Raises:
            NotMeasuredError: when they were not asked.
        """
        source = self._of("training_scores")
        ids = fact_ids(source, "training_scores")
        read = read_answers(source, "training_scores", _MODEL, ids, "correct")
        if not read:
            raise NotMeasuredError("table training_scores is empty")
        return self._cells(read, "training_scores")

    @cached_property
    def evidence(self) -> Evidence:
        """The tables ``runs`` and ``divergence`` for the room of claims."""
        found = {}
        for name in ("runs", "divergence"):
            try:
                found[name] = self.whole(name)
            except NotMeasuredError:
                continue
        return Evidence(found)

    def _cells(self, rows: Mapping[Key, Row], table: str) -> Rows:
        found: Rows = {}
        for (name, method, share), row in rows.items():
            run = self.run(name, table)
            try:
                percent = None if share is None else float(str(share))
            except ValueError:
                raise UserError(
                    f"table {table}: share {share!r} is no number; run the study again"
                ) from None
            cell = Cell(run.level, run.size, str(method), percent)
            found.setdefault(cell, {})[run.seed] = row
        return {cell: dict(sorted(found[cell].items())) for cell in sorted(found, key=cell_order)}

    def _of(self, name: str) -> Path | pl.DataFrame:
        if isinstance(self._source, Path):
            path = self._source / f"{name}.parquet"
            if not path.is_file():
                raise NotMeasuredError(f"the study has no table {name}")
            return path
        if name not in self._source:
            raise NotMeasuredError(f"the study has no table {name}")
        return self._source[name]


def cell_order(cell: Cell) -> tuple[int, int, int, str, float]:
    """By level and size; the tuned model, then restoration by relative change, then the others."""
    rank = {TUNED: 0, RELATIVE: 1}.get(cell.method, 2)
    share = -1.0 if cell.share is None else cell.share
    return cell.level, cell.size, rank, cell.method, share


def test_mask(answers: Answers, domain: str, *, chosen: bool) -> Mask:
    """The test facts of a domain; without those of a choice where one was made.

    Raises:
        NotMeasuredError: when there are none.
    """
    mask = answers.report(domain) if chosen else answers.test(domain)
    if not mask.any():
        raise NotMeasuredError(f"no test fact of domain {domain} was scored")
    return mask
