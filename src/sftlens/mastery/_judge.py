"""Whether a completion gives the answer, and from when on that cannot change."""

from __future__ import annotations

import re
from functools import lru_cache

from sftlens.facts import Matching, fold, matches
from sftlens.mastery._prompts import Asked

_folded = lru_cache(maxsize=1 << 16)(fold)


def is_hit(asked: Asked, text: str, matching: Matching) -> bool:
    """Whether a completion of a prompt holds an accepted answer of its fact."""
    return matches(_judged(asked, text), asked.fact.answers, matching)


def is_settled(asked: Asked, text: str, matching: Matching) -> bool:
    """Whether nothing that may follow can change the outcome of a completion.

    So it is when the one line that counts has ended; and when an answer stands there as words of
    its own, whatever comes after it, unless the text must be the answer and nothing else. What is
    settled for ``contains`` is settled for ``words`` too, so that changing from one to the other
    needs no other texts.
    """
    if asked.one_line and "\n" in text.lstrip():
        return True
    if matching == "exact":
        return False
    folded = fold(text) + (" " if text[-1:].isspace() else "")
    return any(
        answer in folded and re.search(rf"(?<!\w){re.escape(answer)}(?=\W)", folded)
        for answer in map(_folded, asked.fact.answers)
        if answer
    )


def _judged(asked: Asked, text: str) -> str:
    return text.lstrip().partition("\n")[0] if asked.one_line else text
