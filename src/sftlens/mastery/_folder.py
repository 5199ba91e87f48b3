"""The mastery folder, read by everything that asks for levels."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sftlens.errors import UserError
from sftlens.manifest import read_manifest
from sftlens.mastery._grade import MASTERY_SCHEMA, TEMPLATES_SCHEMA
from sftlens.tables import read_table

COMPLETIONS = "completions.parquet"
MASTERY = "mastery.parquet"
FACTS = "facts.parquet"
TEMPLATES = "templates.parquet"
GREEDY = "greedy.parquet"
LEDGER = "ledger"

_NEEDED = MASTERY_SCHEMA.names()[:7]


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
        return read_table(self.folder / COMPLETIONS, remedy="probe again")

    def templates(self) -> pl.DataFrame:
        """What each template gave.

        Raises:
            UserError: when the folder lacks its table.
        """
        return read_table(
            self.folder / TEMPLATES, remedy="probe again", columns=TEMPLATES_SCHEMA.names()
        )

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


def read_mastery(folder: Path) -> Mastery:
    """Read a folder that ``sftlens probe`` wrote.

    Raises:
        UserError: when it is none, or its table is damaged.
    """
    content = read_manifest(folder, "probe")
    table = read_table(folder / MASTERY, remedy="probe again", columns=_NEEDED)
    base = content["config"].get("base") if isinstance(content.get("config"), dict) else None
    if not isinstance(base, dict):
        raise UserError(f"{folder}: its manifest does not name the base model; probe again")
    return Mastery(folder, table, base, str(content.get("config_key")))
