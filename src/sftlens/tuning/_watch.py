"""Facts that a model is asked while it is trained, without a trace in the training."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from sftlens.errors import UserError
from sftlens.facts import Fact, Matching, matches
from sftlens.generation import Decoding, TransformersGenerator, question_prompt
from sftlens.mastery import NUM_LEVELS


class WatchedAccuracy(NamedTuple):
    """How many of the facts a model answers.

    Attributes:
        mean: the plain mean of the levels that have facts (paper section 4); without levels, the
            fraction of all facts.
        levels: by mastery level 0 to 4; None for a level without facts.
    """

    mean: float
    levels: list[float | None]


class Watch:
    """A seeded sample of facts, and what a model in training says to them.

    Args:
        facts: to draw from.
        levels: mastery level by fact_id; where it is empty there is one accuracy. Facts without a
            level are left out where others have one.
        num_facts: how many are drawn at most, as many of each level as there are.
        seed: of the draw.
        prompt: makes the prompt of a question; by default that of ``sftlens tune``.
        max_new_tokens: tokens of an answer at most, greedy.
        matching: when an answer is correct.

    Raises:
        UserError: when there is no fact to ask.
    """

    def __init__(
        self,
        facts: Sequence[Fact],
        levels: Mapping[str, int] | None = None,
        *,
        num_facts: int,
        seed: int,
        prompt: Callable[[str], str] = question_prompt,
        max_new_tokens: int = 16,
        matching: Matching = "contains",
    ) -> None:
        self._levels = levels or {}
        self.facts = _drawn(facts, self._levels, num_facts, seed)
        if not self.facts:
            raise UserError("there is no fact to watch; give facts, and levels that are theirs")
        self._prompts = [prompt(fact.question) for fact in self.facts]
        self._decoding = Decoding(max_new_tokens=max_new_tokens)
        self._matching = matching

    def answers(self, model: Any, tokenizer: Any) -> list[bool]:
        """Whether the model answers each fact; the model is left as it was."""
        correct = [False] * len(self.facts)
        with undisturbed(model) as asked:
            generator = TransformersGenerator(asked, tokenizer)
            for batch in generator.complete(self._prompts, self._decoding):
                for number, texts, _ in batch:
                    accepted = self.facts[number].answers
                    correct[number] = matches(texts[0], accepted, self._matching)
        return correct

    def first_token_logits(self, model: Any, tokenizer: Any) -> torch.Tensor:
        """Of the first answer token, float32 on the CPU, (num_facts, vocab_size)."""
        found: torch.Tensor | None = None
        with undisturbed(model) as asked:
            generator = TransformersGenerator(asked, tokenizer)
            for places, logits in generator.next_token_logits(self._prompts):
                if found is None:
                    found = torch.empty(len(self._prompts), logits.shape[-1])
                found[places] = logits.cpu()
        assert found is not None
        return found

    def accuracy(self, correct: Sequence[bool]) -> WatchedAccuracy:
        """The accuracy that answers make."""
        by_level: list[list[bool]] = [[] for _ in range(NUM_LEVELS)]
        if self._levels:
            for fact, is_correct in zip(self.facts, correct, strict=True):
                by_level[self._levels[fact.fact_id]].append(is_correct)
        levels = [sum(own) / len(own) if own else None for own in by_level]
        present = [level for level in levels if level is not None]
        mean = sum(present) / len(present) if present else sum(correct) / len(correct)
        return WatchedAccuracy(mean, levels)


@contextmanager
def undisturbed(model: Any) -> Iterator[Any]:
    """The model in evaluation mode, for a block that leaves no trace in its training.

    Afterwards each module has its mode, and the random numbers go on where they were. Of a PEFT
    model it is the model within, with its adapter in place.

    Raises:
        UserError: when the adapter is a learnt prompt, which the model within does not have.
    """
    inner = model
    if hasattr(model, "get_base_model"):
        if model.active_peft_config.is_prompt_learning:
            raise UserError(
                "a model with a learnt prompt cannot be watched; leave the callback out"
            )
        inner = model.get_base_model()
    modes = [(module, module.training) for module in model.modules()]
    device = inner.device
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            model.eval()
            yield inner
        finally:
            for module, mode in modes:
                module.training = mode


def _drawn(
    facts: Sequence[Fact], levels: Mapping[str, int], num_facts: int, seed: int
) -> list[Fact]:
    groups: dict[int, list[Fact]] = {}
    for fact in sorted(facts, key=lambda fact: fact.fact_id):
        if not levels or fact.fact_id in levels:
            groups.setdefault(levels.get(fact.fact_id, 0), []).append(fact)
    rng = random.Random(f"watched facts {seed}")
    queues = [groups[level] for level in sorted(groups)]
    for queue in queues:
        rng.shuffle(queue)
    drawn: list[Fact] = []
    while queues and len(drawn) < num_facts:
        for queue in queues[: num_facts - len(drawn)]:
            drawn.append(queue.pop())
        queues = [queue for queue in queues if queue]
    return drawn
