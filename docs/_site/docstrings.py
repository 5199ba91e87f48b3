"""What the Python reference makes of the docstrings."""

from __future__ import annotations

import re
from html import escape
from typing import Any

import griffe

_ROLE = re.compile(r":(?:func|class|meth|data|attr|mod|exc|obj):`(?P<name>[^`]+)`")


class Docstrings(griffe.Extension):
    """Turns Sphinx roles into references, and shows constants that speak for themselves.

    A reference becomes a link where the site has its object. A public constant without a docstring,
    such as a schema, would be left out; an empty one makes its value appear.
    """

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        of_module = attr.parent is not None and attr.parent.is_module
        if of_module and attr.docstring is None and not attr.name.startswith("_"):
            attr.docstring = griffe.Docstring("&#8203;", parent=attr)

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
