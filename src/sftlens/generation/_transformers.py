"""Completions by a model in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from sftlens.errors import UserError
from sftlens.generation._batches import (
    Budget,
    Request,
    affordable_tokens,
    default_tokens,
    plan_batches,
)
from sftlens.generation._decoding import Completed, Decoding, Settled, asked_samples
from sftlens.generation._finite import NotFiniteError, not_finite
from sftlens.generation._forward import Forward, keeps_cache
from sftlens.generation._passes import Decoded, Integers, decode
from sftlens.generation._sampling import stream_keys
from sftlens.generation._tokenizer import num_rows, padding_token

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class TransformersGenerator:
    """Completes prompts with a loaded model; see :class:`sftlens.generation.Generator`.

    Batches hold prompts of like length under a budget of tokens. A batch is one pass through the
    model where memory has room for it, else several smaller ones. In a pass the samples of a prompt
    share what they have in common, and finished ones leave.

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
        self._max_batch_tokens = max_batch_tokens or default_tokens(model)
        self._budget = Budget(self._max_batch_tokens, same_length=not keeps_cache(model))
        eos = model.generation_config.eos_token_id if model.generation_config else None
        ids = eos if isinstance(eos, list) else [eos]
        self._eos = sorted({i for i in [*ids, tokenizer.eos_token_id] if i is not None})
        self._pad = padding_token(model, tokenizer)
        self._num_rows = num_rows(model)

    @torch.inference_mode()
    def complete(
        self,
        prompts: Sequence[str],
        decoding: Decoding,
        *,
        samples: Sequence[Sequence[int]] | None = None,
        settled: Settled | None = None,
    ) -> Iterator[list[Completed]]:
        """See :meth:`sftlens.generation.Generator.complete`.

        Raises:
            UserError: when a prompt is longer than the model's positions allow, or holds a token
                that the model does not have, and when logits are not finite.
        """
        numbers = asked_samples(prompts, decoding, samples)
        ids = self._fitting(prompts, decoding.max_new_tokens)
        requests = [Request(place, len(own), numbers[place]) for place, own in enumerate(ids)]
        affordable = affordable_tokens(self.model, decoding.max_new_tokens)
        if affordable is not None:
            self._budget.afford(affordable)
        for batch in plan_batches(requests, decoding.max_new_tokens, self._max_batch_tokens):
            done: dict[int, list[Decoded]] = {request.place: [] for request in batch}
            passes = self._budget.passes(batch, decoding.max_new_tokens)
            for taken in passes:
                try:
                    decoded = self._pass(taken, prompts, ids, decoding, settled)
                except torch.OutOfMemoryError:
                    passes.failed(taken)
                    continue
                self._budget.succeeded()
                for request, own in zip(taken, decoded, strict=True):
                    done[request.place] += own
            texts = iter(self._texts([one.tokens for own in done.values() for one in own]))
            yield [
                Completed(
                    place,
                    [_prefix(next(texts)) if one.cut else next(texts) for one in own],
                    [one.cut for one in own],
                )
                for place, own in done.items()
            ]

    def next_token_logits(self, prompts: Sequence[str]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """The logits of the first token after each prompt, batch by batch.

        Yields:
            The prompts' places, and their logits in float32 on the model's device,
            (num_prompts, vocab_size).

        Raises:
            UserError: as :meth:`complete`.
        """
        ids = self._fitting(prompts, 1)
        requests = [Request(place, len(own), [0]) for place, own in enumerate(ids)]
        for batch in plan_batches(requests, 1, self._max_batch_tokens):
            passes = self._budget.passes(batch, 1)
            for taken in passes:
                places = [request.place for request in taken]
                try:
                    with torch.inference_mode():
                        forward = Forward(self.model, self._pad)
                        logits = forward.start([ids[place] for place in places]).float()
                except NotFiniteError as error:
                    raise not_finite(self.model, prompts[places[error.row]], error.fault) from None
                except torch.OutOfMemoryError:
                    passes.failed(taken)
                    continue
                yield places, logits

    def tokenize(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of prompts, with the BOS that the tokenizer puts before a text.

        Where it puts none, an empty prompt is one BOS, or the end of text where there is no BOS.
        """
        ids: list[list[int]] = self.tokenizer(list(prompts))["input_ids"] if prompts else []
        eos, bos = self.tokenizer.eos_token_id, self.tokenizer.bos_token_id
        ids = [own[:-1] if own and own[-1] == eos else own for own in ids]
        return [own or [eos if bos is None else bos] for own in ids]

    def _fitting(self, prompts: Sequence[str], max_new_tokens: int) -> list[list[int]]:
        """Token ids of prompts, if they and their completions lie within the model's positions."""
        ids = self.tokenize(prompts)
        positions = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        for prompt, own in zip(prompts, ids, strict=True):
            if max(own) >= self._num_rows:
                token = self.tokenizer.convert_ids_to_tokens(max(own))
                raise UserError(
                    f"prompt {prompt[:40]!r} has token {token!r} ({max(own)}), and the model has "
                    f"embeddings for {self._num_rows} tokens; give the tokenizer that it was "
                    "trained with, or resize its embeddings"
                )
            # The last token is drawn, and not read.
            if positions and len(own) + max_new_tokens - 1 > positions:
                raise UserError(
                    f"prompt {prompt[:40]!r} has {len(own)} tokens, with {max_new_tokens} new ones "
                    f"more than the model's {positions} positions; shorten it or ask for fewer"
                )
        return ids

    def _pass(
        self,
        requests: Sequence[Request],
        prompts: Sequence[str],
        ids: Sequence[list[int]],
        decoding: Decoding,
        settled: Settled | None,
    ) -> list[list[Decoded]]:
        places = [request.place for request in requests]

        def are_settled(numbers: Integers, tokens: Integers) -> list[bool]:
            assert settled is not None
            texts = self._texts(tokens.tolist())
            return [
                settled(places[number], _prefix(text))
                for number, text in zip(numbers, texts, strict=True)
            ]

        try:
            return decode(
                Forward(self.model, self._pad),
                [ids[place] for place in places],
                [stream_keys(prompts[r.place], r.samples, decoding.seed) for r in requests],
                decoding,
                self._eos,
                None if settled is None else are_settled,
            )
        except NotFiniteError as error:
            raise not_finite(self.model, prompts[places[error.row]], error.fault) from None

    def _texts(self, tokens: list[list[int]]) -> list[str]:
        texts: list[str] = self.tokenizer.batch_decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return texts


def _prefix(text: str) -> str:
    """An unfinished text without a character of which some bytes are still to come."""
    return text.rstrip("\ufffd")
