"""What a study's tables hold for the claims; what they lack is told, and never guessed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sftlens.errors import UserError
from sftlens.report._answers import TUNED, Answers, Cell, Mask, Row
from sftlens.report._tables import Tables
from sftlens.report.inference._crossed import Contrast

_MIN_FACTS_OF_KL = 10
PAPER_MIDDLE = 240  # the best size of the paper, whatever the training level

_COLUMNS: Mapping[str, Mapping[str, type[pl.DataType]]] = {
    "facts": {"fact_id": pl.String, "domain": pl.String, "split": pl.String},
    "mastery": {"fact_id": pl.String, "level": pl.Int64},
    "runs": {
        "run": pl.String,
        "level": pl.Int64,
        "size": pl.Int64,
        "seed": pl.Int64,
        "num_facts": pl.Int64,
    },
    "scores": {
        "run": pl.String,
        "method": pl.String,
        "share": pl.Float64,
        "fact_id": pl.String,
        "correct": pl.Boolean,
    },
    "divergence": {"run": pl.String, "fact_id": pl.String, "kl": pl.Float64},
    "concentration": {
        "run": pl.String,
        "ranking": pl.String,
        "top": pl.Float64,
        "held": pl.Float64,
    },
    "restorations": {
        "run": pl.String,
        "method": pl.String,
        "share": pl.Float64,
        "norm_removed": pl.Float64,
    },
    "tensors": {
        "run": pl.String,
        "name": pl.String,
        "layer": pl.Int64,
        "num_parameters": pl.Int64,
    },
}
_KEYS = {
    "facts": ["fact_id"],
    "mastery": ["fact_id"],
    "runs": ["level", "size", "seed"],
    "scores": ["run", "method", "share", "fact_id"],
    "divergence": ["run", "fact_id"],
    "concentration": ["run", "ranking", "top"],
    "restorations": ["run", "method", "share"],
    "tensors": ["run", "name"],
}
_OF_EACH_FACT = ("facts", "mastery", "scores", "divergence")
TABLES: Mapping[str, tuple[str, ...] | None] = {
    name: tuple(columns) if name in _OF_EACH_FACT else None for name, columns in _COLUMNS.items()
}
"""The tables that claims are judged by, with the columns of each; None for all, where some are
named after shares."""


class NotMeasuredError(Exception):
    """A claim that the tables say nothing of, with the reason."""


class Term(NamedTuple):
    """A model's answers, and how they count in an effect."""

    weight: float
    row: Row


class Evidence:
    """The tables of a study, asked by the claims.

    Args:
        tables: by name; any may be missing or lack columns.

    Raises:
        UserError: when a table has two rows of the same key, or scores of a run that ``runs``
            lacks.
    """

    def __init__(self, tables: Mapping[str, pl.DataFrame]) -> None:
        self._tables = tables

    def table(self, name: str) -> pl.DataFrame:
        """A table with its columns in their types.

        Raises:
            NotMeasuredError: when it is missing, empty, or lacks a column.
            UserError: when a key occurs twice.
        """
        table = self._tables.get(name)
        if table is None:
            raise NotMeasuredError(f"the study has no table {name}")
        if missing := [column for column in _COLUMNS[name] if column not in table.columns]:
            raise NotMeasuredError(f"table {name} has no column {missing[0]}")
        try:
            table = table.with_columns(
                pl.col(column).cast(kind) for column, kind in _COLUMNS[name].items()
            )
        except pl.exceptions.PolarsError:
            raise NotMeasuredError(f"table {name} has columns of other types") from None
        if table.is_empty():
            raise NotMeasuredError(f"table {name} is empty")
        if table.select(_KEYS[name]).is_duplicated().any():
            raise UserError(
                f"table {name}: has two rows of the same {', '.join(_KEYS[name])}; "
                "the tables must come from one study"
            )
        return table

    def of_known_runs(self, name: str) -> pl.DataFrame:
        """A table with a column ``run``, and level, size and seed of its runs."""
        table, runs = self.table(name), self.table("runs")
        joined = table.join(runs.select("run", "level", "size", "seed"), on="run", how="left")
        if joined["seed"].null_count():
            raise UserError(
                f"table {name}: has runs that table runs lacks; the tables must come from one study"
            )
        return joined

    @cached_property
    def study(self) -> Tables:
        """The tables that answers and divergence are read from."""
        scores = self.of_known_runs("scores").select(_COLUMNS["scores"].keys())
        facts, mastery = self.table("facts"), self.table("mastery").drop_nulls("level")
        known = facts.join(mastery.select("fact_id"), on="fact_id", how="semi")
        scores = scores.join(known.select("fact_id"), on="fact_id", how="semi")
        try:
            divergence = self.table("divergence")
        except NotMeasuredError:
            divergence = pl.DataFrame(schema=_COLUMNS["divergence"])
        empty = pl.DataFrame()
        return Tables(
            facts=facts,
            exposures=None,
            mastery=mastery,
            runs=self.table("runs"),
            scores=scores,
            divergence=divergence,
            concentration=empty,
            restorations=empty,
            settings={},
            result={},
            versions={},
        )

    @cached_property
    def answers(self) -> Answers:
        """Who answered what.

        Raises:
            NotMeasuredError: when a table is missing, or no tuned model was scored on test facts.
        """
        if self.study.scores.is_empty():
            raise NotMeasuredError("no scored fact has a mastery level")
        answers = Answers(self.study)
        if not answers.domains or not any(cell.method == TUNED for cell in answers.rows):
            raise NotMeasuredError("no tuned model was scored on test facts")
        return answers

    @cached_property
    def kl(self) -> dict[Cell, dict[int, NDArray[np.float64]]]:
        """KL(tuned ‖ base) in nats over the facts that every run has one of, by cell and seed."""
        rows = self.of_known_runs("divergence").drop_nulls("kl").filter(pl.col("kl").is_finite())
        wide = {
            (int(str(level)), int(str(size)), int(str(seed))): dict(
                zip(group["fact_id"], group["kl"], strict=True)
            )
            for (level, size, seed), group in rows.group_by("level", "size", "seed")
        }
        shared = sorted(set.intersection(*map(set, wide.values()))) if wide else []
        if len(shared) < _MIN_FACTS_OF_KL:
            raise NotMeasuredError(
                f"{len(shared)} facts have a KL for every run; an interval needs {_MIN_FACTS_OF_KL}"
            )
        grid: dict[Cell, dict[int, NDArray[np.float64]]] = {}
        for level, size, seed in sorted(wide):
            by_fact = wide[level, size, seed]
            row = np.array([by_fact[fact] for fact in shared])
            grid.setdefault(Cell(level, size), {})[seed] = row
        return grid

    def domain_facts(self, domain: str, *, chosen: bool) -> Mask:
        """The test facts of a domain; without those of a choice where one was made."""
        answers = self.answers
        mask = answers.report(domain) if chosen else answers.test(domain)
        if not mask.any():
            raise NotMeasuredError(f"no test fact of domain {domain} was scored")
        return mask

    @cached_property
    def sizes(self) -> list[int]:
        """The sizes (as asked for) that every training level has, ascending."""
        answers = self.answers
        return sorted(set.intersection(*(set(answers.sizes(k)) for k in answers.levels_trained)))

    def levels_that_differ(self, size: int, other: int) -> list[int]:
        """The training levels that had enough facts for two sizes to be two."""
        true = self.answers.true_size
        found = [k for k in self.answers.levels_trained if true[k, size] != true[k, other]]
        if not found:
            raise NotMeasuredError(f"no level has more training facts at {size} than at {other}")
        return found

    @cached_property
    def middles(self) -> Middles:
        """For each seed the middle size that the largest is held against."""
        if len(self.sizes) < 2:
            raise NotMeasuredError("the levels have fewer than two sizes in common")
        answers = self.answers
        choice = {
            cell: dict(
                zip(rows, headlines(list(rows.values()), answers, answers.choice), strict=True)
            )
            for cell, rows in answers.rows.items()
            if cell.method == "tuned" and cell.size in self.sizes
        }
        return middle_sizes(self.sizes[:-1], choice, self.sizes[-1])

    def contrast(self, strata: Sequence[Sequence[Sequence[Term]]], mask: Mask) -> Contrast:
        """An effect of sums of models' answers, over the facts that all of them answered.

        Args:
            strata: of training sets, of terms.
            mask: which facts count.

        Raises:
            NotMeasuredError: when there is no training set, or no fact that all answered.
        """
        if not strata or not all(strata):
            raise NotMeasuredError("no training set has all the models to be compared")
        rows = [term.row for stratum in strata for terms in stratum for term in terms]
        known = mask & np.all([row >= 0 for row in rows], axis=0)
        if not known.any():
            raise NotMeasuredError("no fact was answered by all the models to be compared")
        blocks = tuple(
            np.stack([sum_terms(terms, known) for terms in stratum]) for stratum in strata
        )
        firsts = [[term.weight for term in stratum[0]] for stratum in strata]
        weights = np.array([weight for first in firsts for weight in first])
        return Contrast(
            blocks,
            self.answers.levels[known],
            lowest=float(weights[weights < 0].sum()),
            highest=float(weights[weights > 0].sum()),
        )


class Middles(NamedTuple):
    """The middle size by seed, and how it was found."""

    by_seed: dict[int, int]
    chosen: bool  # on choice facts, which the comparison must then leave out
    told: str


def middle_sizes(
    candidates: Sequence[int], choice: Mapping[Cell, Mapping[int, float]], largest: int
) -> Middles:
    """The size that the largest is held against, by seed.

    240, the paper's, where the study has it. Otherwise the size that does best on the choice facts
    with the other seeds: a training set that was lucky must not choose its own size.

    Args:
        candidates: sizes below the largest.
        choice: how well each cell's models do on the choice facts, by seed; more is better.
        largest: the size that is held against.
    """
    seeds = sorted({seed for cell, by in choice.items() if cell.size == largest for seed in by})
    fixed = PAPER_MIDDLE if PAPER_MIDDLE in candidates else None
    if len(candidates) == 1:
        fixed = candidates[0]
    if fixed is not None:
        return Middles(dict.fromkeys(seeds, fixed), False, f"{fixed:,} training facts")
    by_seed = {}
    for seed in seeds:
        means = {
            size: _mean_of_cells(
                choice, size, [other for other in seeds if other != seed] or [seed]
            )
            for size in candidates
        }
        by_seed[seed] = max(means, key=lambda size: means[size])
    sizes = sorted(set(by_seed.values()))
    told = f"{' or '.join(f'{size:,}' for size in sizes)} training facts"
    return Middles(by_seed, True, f"{told} (chosen {how_chosen(len(seeds))})")


def _mean_of_cells(
    choice: Mapping[Cell, Mapping[int, float]], size: int, seeds: Iterable[int]
) -> float:
    """The mean over training levels; minus infinity where a level lacks these seeds."""
    means = []
    for cell, by in choice.items():
        if cell.size == size:
            found = [by[seed] for seed in seeds if seed in by]
            means.append(float(np.mean(found)) if found else -np.inf)
    return float(np.mean(means)) if means else -np.inf


def how_chosen(num_seeds: int) -> str:
    """By what a size or a level was chosen."""
    return f"on other facts{' and by the other seeds' if num_seeds > 1 else ''}"


def headlines(rows: Sequence[Row], answers: Answers, mask: Mask) -> list[float]:
    """The mean over levels of each row's accuracy, over the facts that all of them answered."""
    block = np.stack(rows)
    known = mask & (block >= 0).all(axis=0)
    if not known.any():
        raise NotMeasuredError("no choice fact was answered by all the models to choose from")
    levels = answers.levels[known]
    parts = [block[:, known][:, levels == level].mean(axis=1) for level in np.unique(levels)]
    return [float(value) for value in np.mean(parts, axis=0)]


def sum_terms(terms: Sequence[Term], known: Mask) -> NDArray[np.float32]:
    """The weighted sum of rows, (num_facts,)."""
    total: NDArray[np.float32] = np.sum(
        [np.float32(term.weight) * term.row[known] for term in terms], axis=0, dtype=np.float32
    )
    return total


def shared_seeds(*groups: Mapping[int, object]) -> list[int]:
    """The seeds that all have."""
    return sorted(set.intersection(*(set(group) for group in groups)))
