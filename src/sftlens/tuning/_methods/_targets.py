"""Distributions that a trained model is held to, computed once by the base."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from sftlens.errors import UserError
from sftlens.generation import NotFiniteError, not_finite, require_finite
from sftlens.tuning._methods._tokens import batches

FULL_VOCABULARY = 4096
NUM_TOP_TOKENS = 128


class Asked(NamedTuple):
    """What the base is asked about one training row.

    Attributes:
        ids: the row's tokens.
        read: the tokens that the base reads instead, or the same.
        first: the place in them that corresponds to the first of ``places``.
        places: consecutive places of the row after which the next token is predicted.
    """

    ids: list[int]
    read: list[int]
    first: int
    places: range


class Target(NamedTuple):
    """What the base expects at some places of one row.

    Attributes:
        places: of the tokens after which the next one is predicted, (num_places,).
        tokens: its likeliest next tokens, (num_places, num_tokens); None where all are kept.
        log_probs: theirs, in float32, (num_places, num_tokens).
    """

    places: torch.Tensor
    tokens: torch.Tensor | None
    log_probs: torch.Tensor

    @property
    def num_bytes(self) -> int:
        """Memory it takes."""
        return sum(part.nbytes for part in self if part is not None)


Targets = Mapping[tuple[int, ...], Target]
"""By a row's token ids."""


def base_targets(model: Any, tokenizer: Any, asked: Sequence[Asked]) -> Targets:
    """Ask the base, before it is trained.

    Raises:
        UserError: when it has fewer positions than it is to read, or its logits are not finite.
    """
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    longest = max(len(one.read) for one in asked)
    if positions and longest > positions:
        raise UserError(
            f"the base would read {longest} tokens for a target, and has {positions} positions; "
            "choose another method"
        )
    targets = {}
    pad = tokenizer.eos_token_id
    for numbers, ids, mask in batches([one.read for one in asked], pad, model.device):
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        for number, own in zip(numbers, logits, strict=True):
            one = asked[number]
            expected = own[one.first : one.first + len(one.places)]
            try:
                require_finite(expected)
            except NotFiniteError as error:
                raise not_finite(model, tokenizer.decode(one.read), error.fault) from None
            targets[tuple(one.ids)] = target(expected, torch.tensor(one.places))
    return targets


def target(logits: torch.Tensor, places: torch.Tensor) -> Target:
    """Keep what logits say of the next token, on the CPU.

    Of a vocabulary of up to 4,096 tokens all are kept, of a larger one the 128 likeliest.

    Args:
        logits: (num_places, vocab_size).
        places: (num_places,).
    """
    log_probs = functional.log_softmax(logits.float(), dim=-1)
    if log_probs.shape[-1] <= FULL_VOCABULARY:
        return Target(places, None, log_probs.cpu())
    kept = log_probs.topk(NUM_TOP_TOKENS, dim=-1)
    return Target(places, kept.indices.int().cpu(), kept.values.cpu())


def divergence(own: Target, logits: torch.Tensor) -> torch.Tensor:
    """KL(target ‖ model) in nats at each place, (num_places,); gradients flow to the logits.

    Where not all tokens were kept, the others count as one, and the value is a lower bound.

    Args:
        own: on any device.
        logits: of the row's places, (length, vocab_size).
    """
    device = logits.device
    log_probs = functional.log_softmax(logits[own.places.to(device)].float(), dim=-1)
    expected = own.log_probs.to(device)
    if own.tokens is not None:
        log_probs = _with_rest(log_probs.gather(-1, own.tokens.to(device).long()))
        expected = _with_rest(expected)
    return (expected.exp() * (expected - log_probs)).sum(dim=-1)


def _with_rest(log_probs: torch.Tensor) -> torch.Tensor:
    """A last column: the logarithm of what is missing to a probability of 1."""
    rest = torch.log1p(-log_probs.exp().sum(dim=-1, keepdim=True).clamp(max=1 - 1e-6))
    return torch.cat([log_probs, rest], dim=-1)


def held_to(targets: Targets, strength: float) -> Callable[[Any], Any]:
    """Makes a trainer whose loss is TRL's plus ``strength`` times the mean divergence.

    The mean is over the places of a batch's rows. The divergence takes a forward pass of its own,
    for TRL's loss makes no logits.
    """

    def subclass(trainer: Any) -> Any:
        class HeldTrainer(trainer):  # type: ignore[misc]
            def compute_loss(
                self,
                model: Any,
                inputs: dict[str, Any],
                return_outputs: bool = False,
                num_items_in_batch: Any = None,
            ) -> Any:
                ids, mask = inputs["input_ids"], inputs["attention_mask"]
                found = super().compute_loss(
                    model, inputs, return_outputs, num_items_in_batch=num_items_in_batch
                )
                logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
                each = [
                    divergence(targets[tuple(row[kept.bool()].tolist())], own)
                    for row, kept, own in zip(ids, mask, logits, strict=True)
                ]
                extra = strength * torch.cat(each).mean()
                return (found[0] + extra, found[1]) if return_outputs else found + extra

        return HeldTrainer

    return subclass
