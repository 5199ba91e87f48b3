"""One pass: sequences that are decoded together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sftlens.generation._decoding import Decoding
from sftlens.generation._forward import Forward
from sftlens.generation._sampling import draw, uniform

_ASK_EVERY = 3  # tokens between two questions whether a text is settled

Integers = NDArray[np.int64]


class Decoded(NamedTuple):
    """The new tokens of a sequence, without the end of text, and whether it was left early."""

    tokens: list[int]
    cut: bool


def decode(
    forward: Forward,
    prompts: Sequence[list[int]],
    keys: Sequence[NDArray[np.uint64]],
    decoding: Decoding,
    ends: Sequence[int],
    settled: Callable[[Integers, Integers], Sequence[bool]] | None = None,
) -> list[list[Decoded]]:
    """Decode the samples of some prompts together.

    Samples of a prompt that have the same tokens so far are one row of the model's batch: the
    prompt is computed once, and rows part where the samples do. Rows leave when all their samples
    have ended or are settled.

    Args:
        forward: the model.
        prompts: token ids of each prompt.
        keys: the random streams of each prompt's samples, at least one.
        decoding: temperature and number of tokens.
        ends: tokens that end a text.
        settled: of some unfinished sequences, given as number of prompt and new tokens of each,
            those whose outcome is settled; asked every few tokens.

    Returns:
        The samples of each prompt.
    """
    streams = np.concatenate(keys)
    prompt_of = np.repeat(np.arange(len(prompts)), [len(own) for own in keys])
    tokens = np.zeros((len(streams), decoding.max_new_tokens), dtype=np.int64)
    lengths = np.zeros(len(streams), dtype=np.int64)
    cut = np.zeros(len(streams), dtype=bool)
    logits = forward.start(prompts)
    living, rows = np.arange(len(streams)), prompt_of
    for step in range(decoding.max_new_tokens):
        numbers = uniform(streams[living], step) if decoding.temperature else None
        drawn = draw(logits, rows, numbers, decoding.temperature)
        goes_on = ~np.isin(drawn, ends)
        living, rows, drawn = living[goes_on], rows[goes_on], drawn[goes_on]
        tokens[living, step] = drawn
        lengths[living] += 1
        if len(living) == 0 or step + 1 == decoding.max_new_tokens:
            break
        vocab_size = logits.shape[-1]
        distinct, first, rows = np.unique(
            rows * vocab_size + drawn, return_index=True, return_inverse=True
        )
        if settled is not None and (step + 1) % _ASK_EVERY == 0:
            some = living[first]
            done = np.array(settled(prompt_of[some], tokens[some, : step + 1]), dtype=bool)
            if done.any():
                cut[living[done[rows]]] = True
                stays = ~done[rows]
                living = living[stays]
                if len(living) == 0:
                    break
                distinct = distinct[~done]
                rows = (np.cumsum(~done) - 1)[rows[stays]]
        logits = forward.step(distinct // vocab_size, distinct % vocab_size)
    decoded = [
        Decoded(row[:length].tolist(), bool(left))
        for row, length, left in zip(tokens, lengths, cut, strict=True)
    ]
    ends_at = np.cumsum([len(own) for own in keys])
    return [decoded[end - len(own) : end] for own, end in zip(keys, ends_at, strict=True)]
