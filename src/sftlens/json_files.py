"""JSON objects read from files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sftlens.errors import UserError, first_line


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        UserError: when the file is absent, is not valid JSON, or holds no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({first_line(error)})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no JSON object; fetch or save the model again")
    return content
