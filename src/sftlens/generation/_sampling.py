"""Random streams, one a sampled text, and tokens drawn by them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

_CHUNK = 1 << 25  # probabilities at once, 128 MiB


def stream_keys(prompt: str, samples: Sequence[int], seed: int) -> NDArray[np.uint64]:
    """The random stream of each sample of a prompt, by seed, prompt and number of the sample."""
    digest = hashlib.blake2b(
        prompt.encode(), digest_size=8, key=seed.to_bytes(8, "little")
    ).digest()
    key = np.uint64(int.from_bytes(digest, "little"))
    return _mix(key ^ _mix(np.array(samples, dtype=np.uint64) + np.uint64(1)))


def uniform(keys: NDArray[np.uint64], step: int) -> NDArray[np.float32]:
    """Uniform numbers in [0, 1) with 24 bits, one for each stream at a step."""
    offset = np.uint64((step + 1) * 0x9E3779B97F4A7C15 % 2**64)
    bits = _mix(keys + offset)
    return ((bits >> np.uint64(40)).astype(np.float32)) * np.float32(2.0**-24)


def draw(
    logits: torch.Tensor,
    rows: NDArray[np.int64],
    numbers: NDArray[np.float32] | None,
    temperature: float,
) -> NDArray[np.int64]:
    """Draw a token of each sequence by inverting the cumulative distribution of its row.

    Args:
        logits: (num_rows, vocab_size); several sequences may share a row.
        rows: the row of each sequence, (num_sequences,).
        numbers: in [0, 1), (num_sequences,); None takes the highest logit.
        temperature: of the distribution.

    Returns:
        (num_sequences,).
    """
    num_rows, vocab_size = logits.shape
    if numbers is None:
        highest: NDArray[np.int64] = logits.argmax(dim=-1).cpu().numpy()
        return highest[rows]
    # One column for each sequence of a row, so that a row's distribution is computed once.
    counts = np.bincount(rows, minlength=num_rows)
    order = np.argsort(rows, kind="stable")
    columns = np.empty_like(rows)
    columns[order] = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows[order]]
    table = np.zeros((num_rows, counts.max()), dtype=np.float32)
    table[rows, columns] = numbers
    given = torch.from_numpy(table).to(logits.device)
    size = max(1, _CHUNK // vocab_size)
    drawn = [
        _invert(logits[start : start + size].float() / temperature, given[start : start + size])
        for start in range(0, num_rows, size)
    ]
    found: NDArray[np.int64] = torch.cat(drawn).cpu().numpy()
    return found[rows, columns]


def _invert(logits: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    cumulative = torch.softmax(logits, dim=-1).cumsum(dim=-1)
    target = numbers * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).clamp_(max=logits.shape[-1] - 1)


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64: every input bit reaches every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
