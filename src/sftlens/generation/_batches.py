"""Which prompts are completed together, and how many sequences at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CPU_TOKENS = 16_384
_CPU_CACHE_BYTES = 2 << 30
_OTHER_TOKENS = 262_144
_CUDA_SHARE = 0.8  # of the free memory; the rest is for activations
_GROW_AFTER = 16  # passes without running out of memory
_GROW_BY = 1.25


class Request(NamedTuple):
    """Samples to draw of one prompt."""

    place: int
    length: int  # of the prompt in tokens
    samples: Sequence[int]


def plan_batches(
    requests: Iterable[Request], max_new_tokens: int, max_tokens: int
) -> Iterator[list[Request]]:
    """Requests of like length, shortest first, as many as fit the budget together, at least one."""
    batch: list[Request] = []
    num_sequences = 0
    for request in sorted(requests, key=lambda request: request.length):
        num_sequences += len(request.samples)
        if batch and num_sequences * (request.length + max_new_tokens) > max_tokens:
            yield batch
            batch, num_sequences = [], len(request.samples)
        batch.append(request)
    if batch:
        yield batch


class Budget:
    """How many tokens a pass may hold: prompt and new ones, all samples counted.

    Shrinks when memory runs out and slowly grows back.

    Args:
        most: what it starts with and never exceeds.
        same_length: whether all prompts of a pass must have one length.
    """

    def __init__(self, most: int, *, same_length: bool = False) -> None:
        self.tokens = self._most = most
        self._same_length = same_length
        self._num_passes = 0

    def afford(self, tokens: int) -> None:
        """Stay within what memory has room for."""
        self.tokens = max(1, min(self.tokens, tokens))

    def passes(self, batch: Sequence[Request], max_new_tokens: int) -> Passes:
        """The passes that a batch takes."""
        return Passes(self, batch, max_new_tokens)

    def take(self, waiting: deque[Request], max_new_tokens: int) -> list[Request]:
        """Take the next pass off those that wait, shortest first; splits a prompt's samples."""
        taken: list[Request] = []
        num_sequences = 0
        while waiting:
            place, length, samples = waiting[0]
            if taken and self._same_length and length != taken[0].length:
                break
            room = self.tokens // (length + max_new_tokens) - num_sequences
            if not taken:
                room = max(room, 1)
            if len(samples) <= room:
                taken.append(waiting.popleft())
                num_sequences += len(samples)
                continue
            if not taken:
                taken.append(Request(place, length, samples[:room]))
                waiting[0] = Request(place, length, samples[room:])
            break
        return taken

    def shrink(self, num_tokens: int) -> None:
        """A pass of so many tokens ran out of memory."""
        self.tokens = max(1, min(self.tokens, num_tokens) // 2)
        self._num_passes = 0

    def succeeded(self) -> None:
        """A pass went through."""
        self._num_passes += 1
        if self._num_passes >= _GROW_AFTER:
            self.tokens = min(self._most, int(self.tokens * _GROW_BY) + 1)
            self._num_passes = 0


class Passes:
    """What of a batch is still to be done, pass by pass, each as large as memory lets it be."""

    def __init__(self, budget: Budget, batch: Sequence[Request], max_new_tokens: int) -> None:
        self._budget = budget
        self._waiting = deque(request for request in batch if request.samples)
        self._max_new_tokens = max_new_tokens

    def __iter__(self) -> Iterator[list[Request]]:
        while self._waiting:
            yield self._budget.take(self._waiting, self._max_new_tokens)

    def failed(self, taken: Sequence[Request]) -> None:
        """Memory did not suffice for a pass: it waits again, and passes become smaller.

        Raises:
            torch.OutOfMemoryError: when it was a single sequence.
        """
        num_sequences = sum(len(request.samples) for request in taken)
        if num_sequences == 1:
            raise torch.OutOfMemoryError("one sequence alone does not fit into memory")
        self._waiting.extendleft(reversed(taken))
        longest = max(request.length for request in taken)
        self._budget.shrink(num_sequences * (longest + self._max_new_tokens))


def default_tokens(model: PreTrainedModel) -> int:
    """Tokens of a batch when nothing is said; depends on the model and the kind of device alone."""
    if model.device.type != "cpu":
        return _OTHER_TOKENS
    return max(1, min(_CPU_TOKENS, _CPU_CACHE_BYTES // cache_bytes(model)))


def affordable_tokens(model: PreTrainedModel, max_new_tokens: int) -> int | None:
    """Tokens of a pass that the free memory of a CUDA device has room for; None elsewhere."""
    device = model.device
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    # A sequence counts max_new_tokens at the least, and has one row of logits, as stored and in
    # float32.
    logits = 8 * model.config.get_text_config().vocab_size / max_new_tokens
    return int(_CUDA_SHARE * free / (cache_bytes(model) + logits))


def cache_bytes(model: PreTrainedModel) -> int:
    """Bytes that keys and values of one token take in the cache."""
    config = model.config.get_text_config()
    num_heads = getattr(config, "num_attention_heads", None) or 1
    num_kv_heads = getattr(config, "num_key_value_heads", None) or num_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // num_heads
    num_values = 2 * config.num_hidden_layers * num_kv_heads * head_dim
    num_bytes: int = num_values * model.dtype.itemsize
    return num_bytes
