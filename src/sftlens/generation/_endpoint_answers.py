"""The answers of ``/v1/completions``."""

from __future__ import annotations

from typing import Any, NamedTuple


class Texts(NamedTuple):
    """What a server completed.

    Attributes:
        texts: one text a choice.
        num_tokens: tokens of all choices, where the server tells.
        num_prompt_tokens: tokens of the prompt as the model read it, where the server tells.
        model: the model that the server names, where it does.
    """

    texts: list[str]
    num_tokens: int | None
    num_prompt_tokens: int | None
    model: str | None


def read_texts(answer: Any, num_texts: int | None) -> Texts:
    """The texts of an answer to ``/v1/completions``, in the order of their ``index``.

    Args:
        answer: what the JSON holds.
        num_texts: how many there must be; with None at least one.

    Raises:
        ValueError: when the answer is of another form.
    """
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise ValueError("it has no choices")
    if len(choices) != num_texts if num_texts else not choices:
        raise ValueError(f"it has {len(choices)} choices, {num_texts or 'some'} are asked for")
    places = [choice.get("index") for choice in choices]
    if all(type(place) is int for place in places):
        choices = sorted(choices, key=lambda choice: int(choice["index"]))
    texts = []
    for choice in choices:
        if not isinstance(choice.get("text"), str):
            raise ValueError("a choice has no text")
        if choice.get("finish_reason") in ("abort", "error"):
            raise ValueError("a choice was left unfinished")
        texts.append(choice["text"].encode(errors="replace").decode())  # JSON may hold surrogates
    model = answer.get("model")
    return Texts(
        texts,
        _count(answer, "completion_tokens"),
        _count(answer, "prompt_tokens"),
        model if isinstance(model, str) else None,
    )


def _count(answer: dict[str, Any], name: str) -> int | None:
    usage = answer.get("usage")
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if type(count) is int else None
