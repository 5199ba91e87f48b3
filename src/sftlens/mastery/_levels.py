"""Mastery levels (paper section 2), and the categories of SliCK."""

from __future__ import annotations

import math
from typing import Literal

NUM_LEVELS = 5

Category = Literal["HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown"]
CATEGORIES: tuple[Category, ...] = ("HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown")


def level_of(num_hits: int, num_completions: int) -> int:
    """The level of a fact: 0 where R = 0, else i where R is in ((i−1)/4, i/4] (paper section 2).

    Exact in integers, so that R = 1/4 is level 1 and no rounding can move it.

    Args:
        num_hits: completions that hold an accepted answer.
        num_completions: all completions of the fact, N_map · N_sample.

    Raises:
        ValueError: when there are no completions, or more hits than completions.
    """
    if not 0 <= num_hits <= num_completions or num_completions == 0:
        raise ValueError(f"{num_hits} hits of {num_completions} completions give no level")
    return -(-4 * num_hits // num_completions)


def level_of_mastery(mastery: float) -> int:
    """The level of a mastery R in [0, 1] that is no count, such as the end of an interval."""
    return math.ceil(4 * mastery)


def category_of(num_greedy_hits: int, num_greedy: int, num_hits: int) -> Category:
    """SliCK's category of a fact (arXiv 2405.05904, section 3 and Table 1).

    ``HighlyKnown``: all greedy completions hold the answer; ``MaybeKnown``: some of them do;
    ``WeaklyKnown``: none does, but a sampled one; ``Unknown``: none at all.

    Args:
        num_greedy_hits: prompts whose greedy completion holds the answer.
        num_greedy: prompts.
        num_hits: sampled completions that do.
    """
    if num_greedy_hits == num_greedy:
        return "HighlyKnown"
    if num_greedy_hits:
        return "MaybeKnown"
    return "WeaklyKnown" if num_hits else "Unknown"
