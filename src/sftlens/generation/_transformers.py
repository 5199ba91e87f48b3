"""Completions by a model in this process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from sftlens.generation._decoding import Completed, Decoding

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_COMPACT_BELOW = 0.75  # share of living sequences under which the others leave the batch


class TransformersGenerator:
    """Completes prompts with a loaded model; see :class:`sftlens.generation.Generator`.

    The samples of a prompt share the one pass over it; batches hold prompts of like length under a
    budget of tokens, which shrinks when the device runs out of memory; finished sequences leave.

    Args:
        model: a causal language model in evaluation mode.
        tokenizer: its tokenizer.
        max_batch_tokens: prompt and completion tokens of a batch, all samples counted.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_batch_tokens: int | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        on_cpu = model.device.type == "cpu"
        self._max_batch_tokens = max_batch_tokens or (16_384 if on_cpu else 262_144)
        eos = model.generation_config.eos_token_id if model.generation_config else None
        ids = eos if isinstance(eos, list) else [eos]
        self._eos = sorted({i for i in [*ids, tokenizer.eos_token_id] if i is not None})

    @torch.inference_mode()
    def complete(self, prompts: Sequence[str], decoding: Decoding) -> Iterator[list[Completed]]:
        """See :meth:`sftlens.generation.Generator.complete`."""
        ids = self.tokenize(prompts)
        order = sorted(range(len(prompts)), key=lambda index: len(ids[index]))
        lengths = [len(ids[index]) for index in order]
        start = 0
        while start < len(order):
            size = self._batch_size(lengths, start, decoding)
            batch = order[start : start + size]
            try:
                texts = self._complete_batch(
                    [prompts[index] for index in batch], [ids[index] for index in batch], decoding
                )
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                self._max_batch_tokens //= 2
                continue
            yield [Completed(index, own) for index, own in zip(batch, texts, strict=True)]
            start += size

    def next_token_logits(self, prompts: Sequence[str]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """The logits of the first token after each prompt, batch by batch.

        Yields:
            The prompts' places, and their logits in float32 on the model's device,
            (num_prompts, vocab_size).
        """
        ids = self.tokenize(prompts)
        order = sorted(range(len(prompts)), key=lambda index: len(ids[index]))
        lengths = [len(ids[index]) for index in order]
        start = 0
        while start < len(order):
            batch = order[start : start + self._batch_size(lengths, start, Decoding())]
            with torch.inference_mode():
                _, logits, _ = self._prefill([ids[index] for index in batch])
            yield batch, logits
            start += len(batch)

    def tokenize(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of prompts, with the BOS that the tokenizer puts before a text."""
        ids: list[list[int]] = self.tokenizer(list(prompts))["input_ids"] if prompts else []
        return [own[:-1] if own and own[-1] == self.tokenizer.eos_token_id else own for own in ids]

    def _batch_size(self, lengths: list[int], start: int, decoding: Decoding) -> int:
        """How many prompts from ``start`` on, shortest first, fit the budget together."""
        end = start
        while end < len(lengths):
            num_sequences = (end + 1 - start) * decoding.num_samples
            if num_sequences * (lengths[end] + decoding.max_new_tokens) > self._max_batch_tokens:
                break
            end += 1
        return max(end - start, 1)

    def _prefill(self, ids: list[list[int]]) -> tuple[Any, torch.Tensor, torch.Tensor | None]:
        """Pass over left-padded prompts.

        Returns:
            The cache; the last logits, (num_prompts, vocab_size); and the attention mask, or None
            where nothing is padded.
        """
        device = self.model.device
        longest = max(map(len, ids))
        pad = self.tokenizer.pad_token_id
        pad = self.tokenizer.eos_token_id if pad is None else pad
        padded = torch.tensor([[pad] * (longest - len(own)) + own for own in ids], device=device)
        mask = None
        positions: dict[str, torch.Tensor] = {}
        if min(map(len, ids)) < longest:
            rows = [[0] * (longest - len(own)) + [1] * len(own) for own in ids]
            mask = torch.tensor(rows, device=device)
            positions = {"position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)}
        output = self.model(
            input_ids=padded, attention_mask=mask, use_cache=True, logits_to_keep=1, **positions
        )
        return output.past_key_values, output.logits[:, -1].float(), mask

    def _complete_batch(
        self, prompts: list[str], ids: list[list[int]], decoding: Decoding
    ) -> list[list[str]]:
        num_samples = decoding.num_samples
        cache, logits, mask = self._prefill(ids)
        if num_samples > 1:
            cache.batch_repeat_interleave(num_samples)
            logits = logits.repeat_interleave(num_samples, dim=0)
            mask = None if mask is None else mask.repeat_interleave(num_samples, dim=0)
        num_sequences = len(prompts) * num_samples
        device = logits.device
        keys = _sequence_keys(prompts, decoding) if decoding.temperature else None
        eos = torch.tensor(self._eos, device=device)
        tokens = torch.full((num_sequences, decoding.max_new_tokens), self._eos[0], device=device)
        rows = torch.arange(num_sequences, device=device)
        alive = torch.ones(num_sequences, dtype=torch.bool, device=device)
        for step in range(decoding.max_new_tokens):
            if keys is None:
                chosen = logits.argmax(dim=-1)
            else:
                uniform = torch.from_numpy(_uniform(keys[rows.cpu().numpy()], step)).to(device)
                chosen = _sample(logits / decoding.temperature, uniform)
            tokens[rows[alive], step] = chosen[alive]
            alive = alive & ~torch.isin(chosen, eos)
            num_alive = int(alive.sum())
            if num_alive == 0 or step + 1 == decoding.max_new_tokens:
                break
            if num_alive < _COMPACT_BELOW * len(rows):
                kept = alive.nonzero().squeeze(1)
                cache.batch_select_indices(kept)
                rows, chosen, alive = rows[kept], chosen[kept], alive[kept]
                mask = None if mask is None else mask[kept]
            positions: dict[str, torch.Tensor] = {}
            if mask is not None:
                mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
                positions = {"position_ids": mask.sum(dim=1, keepdim=True) - 1}
            output = self.model(
                input_ids=chosen[:, None],
                attention_mask=mask,
                past_key_values=cache,
                use_cache=True,
                **positions,
            )
            logits = output.logits[:, -1].float()
        return self._texts(tokens, num_samples)

    def _texts(self, tokens: torch.Tensor, num_samples: int) -> list[list[str]]:
        ends = set(self._eos)
        cut = []
        for row in tokens.tolist():
            length = next((place for place, token in enumerate(row) if token in ends), len(row))
            cut.append(row[:length])
        texts = self.tokenizer.batch_decode(
            cut, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return [texts[start : start + num_samples] for start in range(0, len(texts), num_samples)]


def _sample(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Draw a token of each row by inverting its cumulative distribution at ``uniform``."""
    cumulative = torch.softmax(logits, dim=-1).cumsum(dim=-1)
    target = uniform[:, None].to(cumulative.dtype) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).clamp(max=logits.shape[-1] - 1)[:, 0]


def _sequence_keys(prompts: list[str], decoding: Decoding) -> NDArray[np.uint64]:
    """A random stream for each sequence, by seed, prompt and number of the sample."""
    keys = []
    for prompt in prompts:
        digest = hashlib.blake2b(
            prompt.encode(), digest_size=8, key=decoding.seed.to_bytes(8, "little")
        ).digest()
        keys.append(int.from_bytes(digest, "little"))
    samples = np.arange(decoding.num_samples, dtype=np.uint64)
    return _mix(np.array(keys, dtype=np.uint64)[:, None] ^ _mix(samples + np.uint64(1))).reshape(-1)


def _uniform(keys: NDArray[np.uint64], step: int) -> NDArray[np.float32]:
    """Uniform numbers in [0, 1) with 24 bits, one for each stream at a step."""
    offset = np.uint64((step + 1) * 0x9E3779B97F4A7C15 % 2**64)
    bits = _mix(keys + offset)
    return ((bits >> np.uint64(40)).astype(np.float32)) * np.float32(2.0**-24)


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64: every input bit reaches every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
