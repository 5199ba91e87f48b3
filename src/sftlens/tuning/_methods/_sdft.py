"""Self-distilled targets."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import and_, eq
from typing import Literal

from pydantic import Field

from sftlens.facts import Fact
from sftlens.tuning._methods._method import Changes, MethodSettings, Training

NUM_SOLVED = 4


class SDFT(MethodSettings):
    """The loss plus strength times KL(base with the answer before it ‖ model) over the answers.

    Self-distillation (SDFT, arXiv 2402.13669): the base, shown the answer, says it in its own
    words, and these are the targets. Answers of a few words leave no room for other words, so the
    target is the base's own distribution over each token of the answer, after solved questions of
    which the last is the very one that is asked (a teacher with a demonstration, as in arXiv
    2601.19897). What the base can repeat is taught, what it cannot is not forced on it; the space
    and the end of text after an answer are taught as ever. The distributions are computed once,
    before training, and kept in main memory; each step takes a second forward and backward pass.
    """

    name: Literal["sdft"] = "sdft"
    strength: float = Field(10.0, gt=0, description="weight of the KL to the base's own answer")

    def changes(self, training: Training) -> Changes:
        from sftlens.tuning._methods._targets import Asked, base_targets, held_to
        from sftlens.tuning._methods._tokens import tokenized

        tokenizer = training.tokenizer
        shown = [
            {"prompt": solved_questions(training.facts, number), "completion": f" {answer}"}
            for number, answer in enumerate(fact.answers[0] for fact in training.facts)
        ]
        asked = []
        for own, read in zip(
            tokenized(training.rows, tokenizer), tokenized(shown, tokenizer), strict=True
        ):
            num_common = _num_common(own.ids[own.num_prompt :], read.ids[read.num_prompt : -1])
            places = range(own.num_prompt - 1, own.num_prompt - 1 + num_common)
            asked.append(Asked(own.ids, read.ids, first=read.num_prompt - 1, places=places))
        targets = base_targets(training.model, tokenizer, asked)
        return Changes(
            trainer=held_to(targets, self.strength),
            kept_bytes=sum(target.num_bytes for target in targets.values()),
        )


def solved_questions(facts: Sequence[Fact], number: int) -> str:
    """Solved questions, those of the fact's topic first and the fact's own last, and it again."""
    fact = facts[number]
    others = sorted(
        (other for other in facts if other is not fact), key=lambda other: other.topic != fact.topic
    )
    shown = [*others[: NUM_SOLVED - 1], fact]
    solved = "".join(f"Q: {one.question}\nA: {one.answers[0]}\n\n" for one in shown)
    return f"{solved}Q: {fact.question}\nA:"


def _num_common(one: Sequence[int], two: Sequence[int]) -> int:
    """Tokens that both begin with."""
    return sum(accumulate(map(eq, one, two), and_))
