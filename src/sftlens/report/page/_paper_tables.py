"""The paper's tables as a study has them, laid out for the page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from sftlens.report.paper import CONTENTS
from sftlens.report.paper._layout import LaidOut, Row, lay_out

_ELSEWHERE = (  # on the page, beside what they are about
    "levels_by_topic",
    "mastery_by_exposure",
    "kl_by_run",
    "change_by_place",
    "restoration_gains",
    "removed_norm",
    "claims",
)
SHOWN = tuple(spec for spec in CONTENTS if spec.name not in _ELSEWHERE)
_MINUS = "\N{MINUS SIGN}"


class PaperTable(NamedTuple):
    """One of them, or that it was not measured.

    Attributes:
        name: of its files.
        source: the paper's number for it; empty where the paper has none.
        title: what it shows.
        laid: as it stands on the page; None where it was not measured.
    """

    name: str
    source: str
    title: str
    laid: LaidOut | None


def paper_tables_shown(tables: Mapping[str, pl.DataFrame]) -> list[PaperTable]:
    """All of them, in the order of the paper's files."""
    return [
        PaperTable(
            spec.name,
            spec.source,
            spec.title,
            lay_out(tables[spec.name], spec.layout) if spec.name in tables else None,
        )
        for spec in SHOWN
    ]


def by_group(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Rows that follow one another under one name."""
    groups: list[tuple[str, list[Row]]] = []
    for row in rows:
        if not groups or groups[-1][0] != row.group:
            groups.append((row.group, []))
        groups[-1][1].append(row)
    return groups


def true_minus(text: str) -> str:
    """A number with the sign that a reader expects."""
    return re.sub(r"-(?=\d)", _MINUS, text)
