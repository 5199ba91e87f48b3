"""Splits as others name them."""

from __future__ import annotations

import re

from sftlens.facts._fact import Split

_WORDS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "dev": "validation",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


def split_of_name(name: str) -> Split:
    """The split that the name of a file or split tells; ``test`` where it tells none."""
    for word in re.findall(r"[a-z]+", name.lower()):
        if word in _WORDS:
            return _WORDS[word]
    return "test"
