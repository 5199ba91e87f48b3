"""Texts packed into sequences of one length."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sftlens.memory import require_memory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TEXTS_AT_ONCE = 10_000  # what the tokenizer says of a text takes a hundred times its tokens


class Packed:
    """Packed sequences as training takes them, one item a sequence.

    Attributes:
        tokens: (num_sequences, sequence_length).
    """

    def __init__(self, tokens: NDArray[np.int32]) -> None:
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, NDArray[np.int64]]:
        ids = self.tokens[index].astype(np.int64)
        return {"input_ids": ids, "labels": ids}


def pack(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    sequence_length: int,
    num_passes: int,
    seed: int,
) -> Packed:
    """Whole sequences of one length; each pass over the texts has an order of its own.

    A text is BOS, its tokens, EOS. What looks like a special token within a text is spelled out, so
    that no text ends another. The end of a pass that fills no sequence is left out.

    Raises:
        UserError: when the sequences do not fit into memory.
    """
    tokens, starts = _tokenized(texts, tokenizer)
    lengths = np.diff(starts)
    num_sequences = len(tokens) // sequence_length
    require_memory(
        4.0 * num_passes * num_sequences * sequence_length,
        f"{num_passes:,} passes over {len(tokens):,} tokens",
        "take fewer epochs",
    )
    packed = np.empty((num_passes, num_sequences, sequence_length), dtype=np.int32)
    rng = random.Random(f"packing {seed}")
    order = list(range(len(texts)))
    for sequences in packed:
        rng.shuffle(order)
        own = lengths[order]
        # Where in the stream a text begins, and where it begins in ``tokens``, for each token.
        offset = np.repeat(starts[order] - (np.cumsum(own) - own), own)
        stream = tokens[offset + np.arange(len(tokens))]
        sequences[:] = stream[: sequences.size].reshape(sequences.shape)
    return Packed(packed.reshape(-1, sequence_length))


def _tokenized(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """All texts in one row: tokens, and where each text starts, with the end behind the last."""
    parts = []
    starts = [0]
    for first in range(0, len(texts), _TEXTS_AT_ONCE):
        some = list(texts[first : first + _TEXTS_AT_ONCE])
        for ids in tokenizer(some, split_special_tokens=True)["input_ids"]:
            parts.append(np.array([*ids, tokenizer.eos_token_id], dtype=np.int32))
            starts.append(starts[-1] + len(parts[-1]))
    tokens = np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)
    return tokens, np.array(starts, dtype=np.int64)
