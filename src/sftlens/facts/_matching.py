"""When a text counts as the answer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

Matching = Literal["contains", "words", "exact"]
"""``contains``: the answer occurs anywhere in the text (the paper's rule, sections 2 and 4), but
for an answer of at most three letters or digits, which must stand as a word: US is no part of
Russia, and 12 none of 1912.
``words``: it occurs with no letter or digit touching it, so that Iran is not found in Iranian.
``exact``: the text is the answer and nothing else."""


def fold(text: str) -> str:
    """Text made comparable: Unicode NFKC, case folding, and white space folded to single blanks."""
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


_SHORT = 3


def _is_short(answer: str) -> bool:
    """Tell if an answer is so short that it stands in many other words.

    Scripts without capitals, such as the Chinese, write whole names in two letters and put no
    blanks between words.
    """
    return len(answer) <= _SHORT and all(
        not char.isalpha() or char.upper() != char for char in answer
    )


def matches(text: str, answers: Sequence[str], matching: Matching = "contains") -> bool:
    """Tell if a text gives one of the accepted answers.

    An answer that folds to nothing never matches.

    Args:
        text: what a model wrote.
        answers: accepted answers, aliases included.
        matching: see :data:`Matching`.
    """
    folded = fold(text)
    return any(_found(folded, answer, matching) for answer in map(fold, answers) if answer)


def _found(text: str, answer: str, matching: Matching) -> bool:
    if matching == "exact":
        return answer == text
    if answer not in text:
        return False
    if matching == "contains" and not _is_short(answer):
        return True
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text) is not None
