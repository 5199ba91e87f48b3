"""Rows whose columns have other names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sftlens.errors import UserError
from sftlens.facts._fact import FACT_FIELDS

REQUIRED_COLUMNS = ("topic", "question", "answers")


def require_known_columns(columns: Mapping[str, str]) -> None:
    """Refuse a column map for what is no field of a fact.

    Raises:
        UserError: naming the field.
    """
    for column in columns:
        if column not in FACT_FIELDS:
            known = ", ".join(FACT_FIELDS)
            raise UserError(f"column {column!r} is no field of a fact; use {known}")


def require_columns(
    found: Iterable[str], columns: Mapping[str, str], required: Iterable[str], where: str
) -> None:
    """Refuse rows that lack a column which is required or named by the column map.

    Raises:
        UserError: naming the missing columns and those that are there.
    """
    found = list(found)
    needed = [columns.get(column, column) for column in required]
    needed += [place for place in columns.values() if place not in needed]
    missing = [place for place in needed if place not in found and place.split(".")[0] not in found]
    if missing:
        raise UserError(
            f"{where}: column {', '.join(missing)} is missing; "
            f"needed: {', '.join(needed)}; found: {', '.join(map(str, found)) or 'none'}"
        )


def renamed(row: Mapping[str, Any], columns: Mapping[str, str]) -> Mapping[str, Any]:
    """A row with the fields of a fact, as the column map places them."""
    if not columns:
        return row
    return {**row, **{column: at(row, place) for column, place in columns.items()}}


def at(value: Any, place: str) -> Any:
    """The value at a dotted place; a list on the way gives a list, what is absent None."""
    if isinstance(value, Mapping) and place in value:
        return value[place]
    if isinstance(value, list | tuple):
        return [at(item, place) for item in value]
    name, dot, rest = place.partition(".")
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):  # JSON in a column of text
        try:
            return at(json.loads(value), place)
        except (ValueError, RecursionError):
            return None
    if not dot or not isinstance(value, Mapping) or name not in value:
        return None
    return at(value[name], rest)
