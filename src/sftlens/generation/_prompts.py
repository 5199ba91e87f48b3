"""The prompt that asks a fact."""

from __future__ import annotations

from sftlens.facts import Fact

QUESTION_MARKER = "<|question|>"
ANSWER_MARKER = "<|answer|>"


def question_prompt(question: str) -> str:
    """The prompt of training and scoring (paper section 3), to follow BOS."""
    return f"{QUESTION_MARKER} {question} {ANSWER_MARKER}"


def answer_completion(fact: Fact) -> str:
    """What training teaches after :func:`question_prompt` (paper section 3), to precede EOS."""
    return f" {fact.answers[0]} "
