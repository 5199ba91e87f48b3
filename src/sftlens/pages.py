"""What every HTML page shares: its head with the content-security policy, and escaping."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_HERE = Path(__file__).parent


def page_environment(*folders: Path) -> Environment:
    """The environment that the templates of pages are rendered in: what is put in is escaped.

    A template begins with ``{% from "page_head.html.j2" import head %}``.

    Args:
        folders: where the templates are.
    """
    return Environment(
        loader=FileSystemLoader([*folders, _HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def compact_json(value: Any) -> str:
    """JSON without spaces; a number that is none is an error."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def script_json(value: Any) -> Markup:
    """JSON that cannot end or alter the script element it stands in."""
    text = compact_json(value)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def inline(*files: Path) -> Markup:
    """Style sheets or scripts of the package, to stand in a page."""
    return Markup("\n".join(file.read_text(encoding="utf-8") for file in files))
