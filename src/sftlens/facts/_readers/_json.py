"""JSON documents and JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sftlens.errors import UserError
from sftlens.facts._readers._values import shown


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        UserError: when it is no UTF-8 or cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); choose another") from None


def parse(text: str, where: str) -> Any:
    """The value of a JSON text.

    Raises:
        UserError: when it is no JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: is no JSON ({error}); fix it") from None


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file with one a line, each with the place that an error names.

    Raises:
        UserError: when a line holds something else.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    where = f"{path}, line {number}"
                    yield where, as_object(parse(line, where), where)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from None


def json_rows(path: Path, value: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON list, each with the place that an error names.

    Raises:
        UserError: when the value is no list of objects.
    """
    if not isinstance(value, list):
        raise UserError(f"{path}: holds {shown(value)} where a list of rows belongs; fix it")
    for number, row in enumerate(value, start=1):
        where = f"{path}, row {number}"
        yield where, as_object(row, where)


def as_object(value: object, where: str) -> dict[str, Any]:
    """A value that must be a JSON object.

    Raises:
        UserError: when it is something else.
    """
    if not isinstance(value, dict):
        raise UserError(f"{where}: is no JSON object; write one a line")
    return value
