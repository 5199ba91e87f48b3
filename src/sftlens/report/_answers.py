"""Who answered what: the scores as one row of right and wrong per model, over the same facts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sftlens.report._tables import Tables
from sftlens.scoring import Estimate, difference, mean_of_levels, proportion

TUNED = "tuned"
RELATIVE = "relative"
CONTROLLED = (RELATIVE, "random", "interpolation")  # the paper's ranking and what answers for it
DOMAINS = ("in", "out")
_UNSCORED = -1
_SPLIT_SEED = 0
NUM_RESAMPLES = 1000

Row = NDArray[np.int8]  # (num_facts,): 1 right, 0 wrong, -1 unscored
Mask = NDArray[np.bool_]  # (num_facts,)
Rows = dict["Cell", dict[int, Row]]  # by seed


class Cell(NamedTuple):
    """The models that share everything but the seed."""

    level: int
    size: int  # as asked for
    method: str = TUNED
    share: float | None = None  # percent


class Answers:
    """The scored facts, the cells of models, and accuracies over any part of the facts.

    ``choice`` holds the facts on which a share, a size or a level may be chosen; ``report(domain)``
    the test facts that no choice saw. The choice facts are the validation facts where every model
    was scored on them (``choice_kind`` "validation"), and otherwise one half of the test facts of
    the first domain, drawn within each level ("half").

    Args:
        tables: of the study.
        rows: the answers, where they were read already: over the facts of ``tables.scores`` in
            the order of their names, and then no other column of that table is looked at.
    """

    def __init__(self, tables: Tables, rows: Rows | None = None) -> None:
        scored = tables.scores["fact_id"].unique().sort()
        facts = (
            pl.DataFrame({"fact_id": scored})
            .join(tables.facts, on="fact_id", how="left", maintain_order="left")
            .join(
                tables.mastery.select("fact_id", "level"),
                on="fact_id",
                how="left",
                maintain_order="left",
            )
        )
        self.facts = facts
        self.levels: NDArray[np.int64] = facts["level"].to_numpy()
        self._domain = facts["domain"].to_numpy()
        self._split = facts["split"].to_numpy()
        self.rows = _rows(tables, facts) if rows is None else rows
        self.true_size = {
            (level, size): float(mean)
            for level, size, mean in tables.runs.group_by("level", "size")
            .agg(pl.col("num_facts").mean())
            .iter_rows()
        }
        self.domains = [domain for domain in DOMAINS if self.test(domain).any()]
        self.choice_kind, self.choice = self._choice()
        self.accuracy = lru_cache(maxsize=None)(self._accuracy)

    @cached_property
    def cells(self) -> list[Cell]:
        """Every cell with a score, tuned ones first."""
        return sorted(self.rows, key=lambda c: (c.method != TUNED, *c[:3], c.share or 0.0))

    @cached_property
    def levels_trained(self) -> list[int]:
        """The training levels with a scored run."""
        return sorted({cell.level for cell in self.rows if cell.method == TUNED})

    def sizes(self, level: int) -> list[int]:
        """The sizes (as asked for) with a scored run of this training level, ascending."""
        return sorted({c.size for c in self.rows if c.level == level and c.method == TUNED})

    def largest(self, level: int) -> Cell:
        """The tuned cell of the largest size of this training level; of the largest that was
        restored, where some were.
        """
        sizes = self.sizes(level)
        restored = {c.size for c in self.rows if c.level == level and c.method != TUNED}
        return Cell(level, max(restored.intersection(sizes), default=sizes[-1]))

    def distinct_sizes(self, level: int) -> list[int]:
        """The sizes without those that gave the same true number of training facts as a larger."""
        by_true: dict[float, int] = {}
        for size in self.sizes(level):
            by_true[self.true_size[level, size]] = size
        return sorted(by_true.values())

    def methods(self) -> list[str]:
        """The restoration methods scored: by relative change first, then its controls."""
        found = {cell.method for cell in self.rows} - {TUNED}
        known = [name for name in CONTROLLED if name in found]
        return known + sorted(found - set(known))

    def shares(self, level: int, method: str) -> list[float]:
        """The shares (percent) scored of one method at the largest size of a training level."""
        size = self.largest(level).size
        return sorted(
            cell.share
            for cell in self.rows
            if cell[:3] == (level, size, method) and cell.share is not None
        )

    def test(self, domain: str) -> Mask:
        """The test facts of a domain."""
        return np.asarray((self._domain == domain) & (self._split == "test"))

    def report(self, domain: str) -> Mask:
        """The test facts of a domain that no choice saw."""
        return self.test(domain) & ~self.choice

    @property
    def primary(self) -> str:
        """The domain that choices are made in: in-domain, where there is one."""
        return self.domains[0]

    def point(self, cell: Cell, mask: Mask) -> float | None:
        """The mean over test levels of a cell's accuracy, without its interval."""
        block = self._block([(row,) for row in self.rows[cell].values()], mask)
        if block is None:
            return None
        (correct,), levels = block
        by_fact = correct.mean(axis=0)
        return float(np.mean([by_fact[levels == level].mean() for level in np.unique(levels)]))

    def best(self, cells: Sequence[Cell]) -> Cell | None:
        """The cell that does best on the choice facts; of equals, the first."""
        points = {cell: self.point(cell, self.choice) for cell in cells}
        known = {cell: value for cell, value in points.items() if value is not None}
        return max(known, key=lambda cell: known[cell]) if known else None

    def _accuracy(
        self, cell: Cell, domain: str, part: str = "test", level: int | None = None
    ) -> Estimate | None:
        """The headline accuracy of a cell: the plain mean over test levels (paper section 4).

        Args:
            cell: the models, one a seed.
            domain: ``in`` or ``out``.
            part: ``test`` for all test facts, ``report`` for those that no choice saw.
            level: only the test facts of this level. Where all answers are right, or all wrong,
                a bootstrap has no spread; the interval is then Wilson's over the facts.
        """
        mask = self.test(domain) if part == "test" else self.report(domain)
        if level is not None:
            mask = mask & (self.levels == level)
        block = self._block([(row,) for row in self.rows.get(cell, {}).values()], mask)
        if block is None:
            return None
        (correct,), levels = block
        if level is not None and correct.min() == correct.max():
            return proportion(correct.shape[1] * int(correct[0, 0]), correct.shape[1])
        return mean_of_levels(correct, levels, num_resamples=NUM_RESAMPLES)

    def gain(self, pairs: Sequence[tuple[Cell, Cell]], mask: Mask) -> Estimate | None:
        """How much the first cells exceed the second ones, paired over seeds and facts.

        Several pairs are pooled: each pair's seeds count as further seeds.
        """
        rows = []
        for cell, reference in pairs:
            ours, theirs = self.rows.get(cell, {}), self.rows.get(reference, {})
            rows += [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
        block = self._block(rows, mask)
        if block is None:
            return None
        (first, second), levels = block
        return difference(first, second, levels, num_resamples=NUM_RESAMPLES)

    def _block(
        self, rows: Sequence[tuple[Row, ...]], mask: Mask
    ) -> tuple[tuple[NDArray[np.bool_], ...], NDArray[np.int64]] | None:
        """Rows as boolean blocks (num_rows, num_facts) over the facts that all of them scored."""
        if not rows:
            return None
        stacked = [np.stack(column)[:, mask] for column in zip(*rows, strict=True)]
        scored = np.all([(part != _UNSCORED).all(axis=0) for part in stacked], axis=0)
        if not scored.any():
            return None
        return tuple(part[:, scored] == 1 for part in stacked), self.levels[mask][scored]

    def _choice(self) -> tuple[str, Mask]:
        domain = self.primary if self.domains else "in"
        validation = np.asarray((self._domain == domain) & (self._split == "validation"))
        if validation.any() and all(
            (row[validation] != _UNSCORED).all() for by in self.rows.values() for row in by.values()
        ):
            return "validation", validation
        rng = np.random.default_rng(_SPLIT_SEED)
        half = np.zeros(len(self.levels), dtype=np.bool_)
        for level in np.unique(self.levels):
            members = np.flatnonzero(self.test(domain) & (self.levels == level))
            half[rng.permutation(members)[: len(members) // 2]] = True
        return "half", half


def _rows(tables: Tables, facts: pl.DataFrame) -> Rows:
    index = facts.select("fact_id").with_row_index("position")
    runs = {row["run"]: row for row in tables.runs.iter_rows(named=True)}
    scores = tables.scores.join(index, on="fact_id").with_columns(
        pl.col("correct").cast(pl.Int8).fill_null(_UNSCORED)
    )
    rows: Rows = {}
    for (name, method, share), group in scores.group_by("run", "method", "share"):
        row = np.full(len(facts), _UNSCORED, dtype=np.int8)
        row[group["position"].to_numpy()] = group["correct"].to_numpy()
        run = runs[str(name)]
        rows.setdefault(
            Cell(
                run["level"],
                run["size"],
                str(method),
                None if share is None else float(str(share)),
            ),
            {},
        )[run["seed"]] = row
    return rows
