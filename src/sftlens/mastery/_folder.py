"""The mastery folder, read by everything that asks for levels."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sftlens.errors import UserError
from sftlens.facts import Fact, facts_from_file, fold
from sftlens.manifest import read_manifest
from sftlens.mastery._grade import COMPLETIONS_SCHEMA, MASTERY_SCHEMA, TEMPLATES_SCHEMA
from sftlens.mastery._levels import NUM_LEVELS
from sftlens.tables import columns_of, read_table

COMPLETIONS = "completions.parquet"
MASTERY = "mastery.parquet"
FACTS = "facts.parquet"
TEMPLATES = "templates.parquet"
GREEDY = "greedy.parquet"
LEDGER = "ledger"

_ADDED = MASTERY_SCHEMA.names()[7:]  # which tables of older versions lack

_MASTERY = columns_of(
    MASTERY_SCHEMA,
    nullable=_ADDED,
    optional=_ADDED,
    between={
        "num_completions": (1, math.inf),
        "num_hits": (0, math.inf),
        "mastery": (0, 1),
        "level": (0, NUM_LEVELS - 1),
        "best_template": (0, math.inf),
        "low": (0, 1),
        "high": (0, 1),
    },
)
_TEMPLATES = columns_of(
    TEMPLATES_SCHEMA,
    nullable=["text"],
    between={"template": (0, math.inf), "mastery": (0, 1)},
)
_COMPLETIONS = columns_of(COMPLETIONS_SCHEMA)


class Mastery(NamedTuple):
    """A mastery folder that was read.

    Attributes:
        folder: where it lies.
        table: one row a fact, :data:`sftlens.mastery.MASTERY_SCHEMA`.
        base: identity of the base model; levels belong to that model alone.
        key: stands for everything that the levels depend on.
    """

    folder: Path
    table: pl.DataFrame
    base: Mapping[str, Any]
    key: str

    @property
    def levels(self) -> Mapping[str, int]:
        """Level by fact_id."""
        return dict(self.table.select("fact_id", "level").iter_rows())

    def completions(self) -> pl.DataFrame:
        """The judged completions, one row each.

        Raises:
            UserError: when the folder lost its table.
        """
        return read_table(self.folder / COMPLETIONS, remedy="probe again", columns=_COMPLETIONS)

    def templates(self) -> pl.DataFrame:
        """What each template gave.

        Raises:
            UserError: when the folder lacks its table.
        """
        return read_table(self.folder / TEMPLATES, remedy="probe again", columns=_TEMPLATES)

    def require_base(self, identity: Mapping[str, str]) -> None:
        """Refuse a base model other than the one that was probed.

        Raises:
            UserError: when weights, configuration or tokenizer differ.
        """
        if "weights" not in self.base:
            sys.stderr.write(
                f"{self.folder}: was probed at an endpoint as {self.base.get('name')!r}; whether "
                f"{identity['name']} is that model cannot be checked\n"
            )
            return
        if any(identity[part] != self.base.get(part) for part in ("weights", "files")):
            raise UserError(
                f"{self.folder}: holds the mastery of another model than {identity['name']}; "
                "probe this base model first"
            )

    def require_known(self, facts: Sequence[Fact], source: str) -> None:
        """Refuse facts that were not probed; those that lack a level are counted on stderr.

        Args:
            facts: the facts whose levels are needed.
            source: what they were read from, for the message.

        Raises:
            UserError: when none of them has a level, or one has the id of another fact.
        """
        levels = self.levels
        known = [fact for fact in facts if fact.fact_id in levels]
        if facts and not known:
            raise UserError(
                f"{self.folder}: knows none of the {len(facts):,} facts of {source}; probe them "
                "first, or give the folder that they were probed into"
            )
        self._require_same(known, source)
        if len(known) < len(facts):
            sys.stderr.write(
                f"{self.folder}: knows {len(known):,} of the {len(facts):,} facts of {source}; the "
                "others have no level\n"
            )

    def _require_same(self, facts: Sequence[Fact], source: str) -> None:
        """Refuse ids that are used for other facts, as where rows are numbered in two files."""
        if not (self.folder / FACTS).is_file():
            return
        probed = facts_from_file(self.folder / FACTS, remedy="probe again")
        questions = {fact.fact_id: (fact.topic, fold(fact.question)) for fact in probed}
        for fact in facts:
            found = questions.get(fact.fact_id, (fact.topic, fold(fact.question)))
            if found != (fact.topic, fold(fact.question)):
                raise UserError(
                    f"{self.folder}: fact_id {fact.fact_id!r} is another fact there than in "
                    f"{source}; probe these facts first, or give the folder that they were probed "
                    "into"
                )


def read_mastery(folder: Path) -> Mastery:
    """Read a folder that ``sftlens probe`` wrote.

    Raises:
        UserError: when it is none, or its table is damaged.
    """
    content = read_manifest(folder, "probe")
    table = read_table(folder / MASTERY, remedy="probe again", columns=_MASTERY, key=["fact_id"])
    base = content["config"].get("base")
    if not isinstance(base, dict):
        raise UserError(f"{folder}: its manifest does not name the base model; probe again")
    return Mastery(folder, table, base, str(content["config_key"]))
