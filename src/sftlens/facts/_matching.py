"""When a text counts as the answer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

Matching = Literal["contains", "words", "exact"]
"""``contains``: the answer occurs anywhere in the text (the paper's rule, sections 2 and 4).
``words``: it occurs with no letter or digit touching it, so that Iran is not found in Iranian.
``exact``: the text is the answer and nothing else."""


def fold(text: str) -> str:
    """Text made comparable: Unicode NFKC, case folding, and white space folded to single blanks."""
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def matches(text: str, answers: Sequence[str], matching: Matching = "contains") -> bool:
    """Whether a text gives one of the accepted answers.

    An answer that folds to nothing never matches.

    Args:
        text: what a model wrote.
        answers: accepted answers, aliases included.
        matching: see :data:`Matching`.
    """
    folded = fold(text)
    return any(_found(folded, answer, matching) for answer in map(fold, answers) if answer)


def _found(text: str, answer: str, matching: Matching) -> bool:
    if matching == "contains":
        return answer in text
    if matching == "exact":
        return answer == text
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text) is not None
