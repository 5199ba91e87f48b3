"""Mastery levels (paper section 2)."""

from __future__ import annotations

NUM_LEVELS = 5


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
