"""Token level: how far the tuned model's first predicted token is from the base's (section 5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import polars as pl
import torch

from sftlens.errors import UserError
from sftlens.facts import Fact, fill, fold
from sftlens.generation import Decoding, Generator, question_prompt
from sftlens.mastery import BestTemplate

DIVERGENCE_SCHEMA = pl.Schema(
    {
        "fact_id": pl.String(),
        "topic": pl.String(),
        "template": pl.Int32(),
        "kl": pl.Float64(),
        "kl_full": pl.Float64(),
    }
)

NUM_TOP_TOKENS = 10
"""Tokens of the tuned model that the KL is taken over (paper section 5)."""

MAX_WORDS_BEFORE = 2
"""Words before the answer with which it still stands near a completion's beginning."""


class LogitsGenerator(Generator, Protocol):
    """A generator that also gives the logits of the first token after a prompt."""

    def next_token_logits(self, prompts: Sequence[str]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Prompts' places and their logits, (num_prompts, vocab_size), batch by batch."""
        ...


class BaseOutlook(NamedTuple):
    """What the base model expects next, for the facts that the divergence is measured on.

    Attributes:
        facts: level-4 facts whose completion by the base has the answer near its beginning.
        templates: the mapping template of each fact's topic.
        statement_logits: after the mapping template, float32 on the CPU, (num_facts, vocab_size).
        question_logits: after the question prompt, likewise.
    """

    facts: list[Fact]
    templates: list[int]
    statement_logits: torch.Tensor
    question_logits: torch.Tensor


def base_outlook(
    generator: LogitsGenerator,
    facts: Sequence[Fact],
    levels: Mapping[str, int],
    templates: Mapping[str, BestTemplate],
) -> BaseOutlook:
    """Take the base model's side of the divergence (paper section 5).

    Args:
        generator: the base model.
        facts: candidates; those of level 4 are used whose greedy completion has the answer after
            at most :data:`MAX_WORDS_BEFORE` other words.
        levels: mastery level by fact_id.
        templates: the template with the highest success by topic, as
            :func:`sftlens.mastery.best_templates` finds it; facts of other topics are left out.

    Raises:
        UserError: when no fact qualifies.
    """
    mastered = [fact for fact in facts if levels.get(fact.fact_id) == 4 and fact.topic in templates]
    prompts = [fill(templates[fact.topic].text, fact.subject) for fact in mastered]
    kept = sorted(
        index
        for batch in generator.complete(prompts, Decoding())
        for index, texts, _ in batch
        if answer_is_near(texts[0], mastered[index].answers)
    )
    if not kept:
        raise UserError(
            f"none of the {len(facts)} facts has level 4 with the answer near the beginning of the "
            "base model's completion; give more facts"
        )
    chosen = [mastered[index] for index in kept]
    return BaseOutlook(
        chosen,
        [templates[fact.topic].number for fact in chosen],
        _gather(generator, [prompts[index] for index in kept]),
        _gather(generator, [question_prompt(fact.question) for fact in chosen]),
    )


def divergence(generator: LogitsGenerator, outlook: BaseOutlook) -> pl.DataFrame:
    """How far a tuned model's first answer token is from the base model's (paper section 5).

    ``kl``: KL(tuned ‖ base) in nats between the softmaxes over the tuned model's ten highest
    logits after the question prompt and the base model's logits of the same ten tokens after the
    mapping template. ``kl_full``: KL(tuned ‖ base) in nats over the whole vocabulary, both after
    the question prompt.

    Args:
        generator: the tuned model.
        outlook: the base model's side.

    Returns:
        One row a fact, :data:`DIVERGENCE_SCHEMA`.
    """
    tuned = _gather(generator, [question_prompt(fact.question) for fact in outlook.facts])
    top = top_token_kl(tuned, outlook.statement_logits)
    full = full_kl(tuned, outlook.question_logits)
    rows = [
        (fact.fact_id, fact.topic, template, kl, kl_full)
        for fact, template, kl, kl_full in zip(
            outlook.facts, outlook.templates, top.tolist(), full.tolist(), strict=True
        )
    ]
    return pl.DataFrame(rows, schema=DIVERGENCE_SCHEMA, orient="row")


def top_token_kl(
    tuned: torch.Tensor, base: torch.Tensor, num_tokens: int = NUM_TOP_TOKENS
) -> torch.Tensor:
    """KL(tuned ‖ base) over the tuned model's highest tokens, in nats (paper section 5).

    Args:
        tuned: logits, (num_facts, vocab_size).
        base: logits of the same tokens, (num_facts, vocab_size); a vocabulary that one side padded
            is cut to the common tokens.
        num_tokens: how many of the tuned model's highest logits to take.

    Returns:
        (num_facts,), not negative.
    """
    size = min(tuned.shape[-1], base.shape[-1])
    highest = tuned[..., :size].double().topk(min(num_tokens, size), dim=-1)
    return _kl(highest.values, base[..., :size].double().gather(-1, highest.indices))


def full_kl(tuned: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """KL(tuned ‖ base) over the whole common vocabulary, in nats; arguments as above."""
    size = min(tuned.shape[-1], base.shape[-1])
    return torch.cat(
        [
            _kl(tuned[row : row + 64, :size].double(), base[row : row + 64, :size].double())
            for row in range(0, len(tuned), 64)
        ]
    )


def answer_is_near(completion: str, answers: Sequence[str]) -> bool:
    """Whether an answer stands after at most :data:`MAX_WORDS_BEFORE` words of a completion."""
    text = fold(completion)
    places = [text.find(folded) for folded in map(fold, answers) if folded]
    return any(place >= 0 and len(text[:place].split()) <= MAX_WORDS_BEFORE for place in places)


def _kl(tuned: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    log_tuned = torch.log_softmax(tuned, dim=-1)
    log_base = torch.log_softmax(base, dim=-1)
    return (log_tuned.exp() * (log_tuned - log_base)).sum(dim=-1).clamp(min=0)


def _gather(generator: LogitsGenerator, prompts: Sequence[str]) -> torch.Tensor:
    """The next-token logits of all prompts on the CPU, (num_prompts, vocab_size)."""
    gathered: torch.Tensor | None = None
    for places, logits in generator.next_token_logits(prompts):
        if gathered is None:
            gathered = torch.empty(len(prompts), logits.shape[-1])
        gathered[places] = logits.cpu()
    assert gathered is not None
    return gathered
