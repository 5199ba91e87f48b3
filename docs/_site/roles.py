"""Docstrings name other objects by Sphinx roles; on the site these become links."""

from __future__ import annotations

import re
from html import escape
from typing import Any

import griffe

_ROLE = re.compile(r":(?:func|class|meth|data|attr|mod|exc|obj):`(?P<name>[^`]+)`")


class Roles(griffe.Extension):
    """Turns roles into references, which become links where the site has their object."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is None:
            return

        def reference(found: re.Match[str]) -> str:
            name = found["name"].lstrip("~")
            shown = name.rpartition(".")[2] if found["name"].startswith("~") else name
            return (
                f'<autoref optional identifier="{escape(_path(obj, name))}">'
                f"<code>{escape(shown)}</code></autoref>"
            )

        obj.docstring.value = _ROLE.sub(reference, obj.docstring.value)


def _path(obj: griffe.Object, name: str) -> str:
    try:
        return obj.resolve(name)
    except griffe.NameResolutionError:
        return name
