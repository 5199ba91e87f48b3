"""Formulas as MathML, which browsers show by themselves: no script, and nothing to fetch."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from latex2mathml.converter import convert

_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">(?:\\\((?P<inline>.*?)\\\)|\\\[(?P<block>.*?)\\\])'
    r"</(?P=tag)>",
    re.DOTALL,
)


def on_page_content(html: str, **_: Any) -> str:
    """The page with what ``pymdownx.arithmatex`` marked as LaTeX turned into MathML."""
    return _FORMULA.sub(_mathml, html)


def _mathml(found: re.Match[str]) -> str:
    if found["inline"] is not None:
        return convert(unescape(found["inline"]))
    return (
        f'<div class="formula">{convert(unescape(found["block"]).strip(), display="block")}</div>'
    )
