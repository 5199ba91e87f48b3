"""Training rows as tokens, before TRL makes its batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

_BATCH = 8


class Tokens(NamedTuple):
    """One row.

    Attributes:
        ids: of prompt and completion, EOS included, as TRL trains on them.
        num_prompt: how many of them are the prompt's.
    """

    ids: list[int]
    num_prompt: int


def tokenized(rows: Sequence[Mapping[str, str]], tokenizer: Any) -> list[Tokens]:
    """The tokens of prompts and completions."""
    found = []
    for row in rows:
        prompt = tokenizer(row["prompt"])["input_ids"]
        if prompt[-1] == tokenizer.eos_token_id:
            prompt = prompt[:-1]
        answer = tokenizer(row["completion"], add_special_tokens=False)["input_ids"]
        found.append(Tokens([*prompt, *answer, tokenizer.eos_token_id], len(prompt)))
    return found


def batches(
    rows: Sequence[list[int]], pad: int, device: Any, batch_size: int = _BATCH
) -> Iterator[tuple[range, torch.Tensor, torch.Tensor]]:
    """Rows padded on the right: their numbers, ids and mask, each (num_rows, length)."""
    for start in range(0, len(rows), batch_size):
        own = rows[start : start + batch_size]
        length = max(map(len, own))
        ids = [[*row, *[pad] * (length - len(row))] for row in own]
        mask = [[1] * len(row) + [0] * (length - len(row)) for row in own]
        yield (
            range(start, start + len(own)),
            torch.tensor(ids, device=device),
            torch.tensor(mask, device=device),
        )
