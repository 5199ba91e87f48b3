"""What a completions server does of what it is asked, found out by asking."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from sftlens.errors import UserError
from sftlens.generation._decoding import Decoding
from sftlens.generation._endpoint_api import GivenUpError, RefusedError

# Each may go on in many ways, and neither is what a model says within so few tokens.
_PROMPTS = ("The first thing that one sees in the old town is", "My favourite book of all is about")
_MAX_TOKENS = 12
_MAX_CHARACTERS = 32  # of a token, where a server does not tell the number of tokens
_HOT = 1.5  # a temperature at which even a sure model varies
_NUM_SINGLE = 4


class Texts(NamedTuple):
    """What a server completed.

    Attributes:
        texts: one text a choice.
        num_tokens: tokens of all choices, where the server tells.
        model: the model that the server names, where it does.
    """

    texts: list[str]
    num_tokens: int | None
    model: str | None


class Capabilities(NamedTuple):
    """What a server does of what it is asked; None where that was not tried.

    Attributes:
        n: gives as many texts as are asked for in one request.
        greedy: gives one text at temperature 0.
        samples: gives many at a temperature above 0.
        seed: gives the same texts again for the same seed, several requests at a time.
        echo: puts the prompt before the text.
        leading_space: leaves the space at a text's beginning.
        style: which fields keep the server's own filters out of the sampling: ``filters`` by
            fields of their own, ``generation_config`` in one of transformers, ``top_p`` that field
            alone, ``none`` the server takes none of them.
    """

    n: bool | None
    greedy: bool
    samples: bool | None
    seed: bool | None
    echo: bool
    leading_space: bool | None
    style: str

    def notes(self) -> list[str]:
        """What is not as one would expect, a sentence each."""
        found = []
        if self.style == "generation_config":
            found.append(
                "the server refuses the field top_k: a generation config is sent in its place"
            )
        if self.style in ("top_p", "none"):
            found.append(
                "the server refuses the fields top_k, min_p and repetition_penalty"
                + (" and top_p" if self.style == "none" else "")
                + ": those that it was started with hold"
            )
        if self.n is False:
            found.append("the server gives one text a request: each sample is a request of its own")
        if not self.greedy:
            found.append(
                "the server samples at temperature 0 too: it may not sample at the temperature"
                " that is asked for"
            )
        if self.seed is False:
            found.append(
                "the server does not give the same texts again for the same seed, so many requests"
                " at a time: a repeated run finds others"
            )
        if self.echo:
            found.append("the server repeats the prompt before the text: it is taken off")
        if self.leading_space is False:
            found.append("the server takes off the space at the beginning of a text")
        return found


class Ask(Protocol):
    """Asks for the completions of one prompt."""

    def __call__(
        self,
        prompt: str,
        *,
        style: str,
        temperature: float,
        max_tokens: int,
        seed: int,
        n: int = 1,
        any_number: bool = False,
    ) -> Awaitable[Texts]: ...


_STYLES: dict[str, Callable[[float], dict[str, Any]]] = {
    "filters": lambda _: {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "generation_config": lambda temperature: {
        "generation_config": json.dumps(
            {
                "do_sample": temperature > 0,
                "top_p": 1.0,
                "top_k": 0,
                "min_p": 0.0,
                "repetition_penalty": 1.0,
            }
        )
    },
    "top_p": lambda _: {"top_p": 1.0},
    "none": lambda _: {},
}


def style_fields(style: str, temperature: float) -> dict[str, Any]:
    """The fields of a request that have the server sample from the model's whole distribution."""
    return _STYLES[style](temperature)


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
    usage = answer.get("usage")
    num_tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    model = answer.get("model")
    return Texts(
        texts,
        num_tokens if type(num_tokens) is int else None,
        model if isinstance(model, str) else None,
    )


async def find_capabilities(ask: Ask, decoding: Decoding, *, url: str) -> Capabilities:
    """Find out what a server does of what a decoding needs.

    The first request has the decoding's own temperature, since a server that batches continuously
    may keep that of the first request it gets.

    Raises:
        UserError: when the server cannot decode so.
    """
    style = await _style(ask, decoding.temperature)

    async def texts(
        prompt: str, *, temperature: float, seed: int = 0, n: int = 1, any_number: bool = False
    ) -> Texts:
        return await ask(
            prompt,
            style=style,
            temperature=temperature,
            max_tokens=_MAX_TOKENS,
            seed=seed,
            n=n,
            any_number=any_number,
        )

    cold = await asyncio.gather(*(texts(p, temperature=0.0) for p in _PROMPTS for _ in range(2)))
    own = [answer.texts[0] for answer in cold]
    echo = all(text.startswith(p) for p, text in zip(_PROMPTS, own[::2], strict=True))
    answers = list(zip([p for p in _PROMPTS for _ in range(2)], cold, strict=True))
    # Numbers are rounded otherwise from batch to batch, so that one pair may differ.
    greedy = own[0] == own[1] or own[2] == own[3]

    n = samples = same_again = None
    if decoding.temperature > 0:
        hot = max(decoding.temperature, _HOT)
        if decoding.num_samples > 1:
            try:
                several = await texts(
                    _PROMPTS[0], temperature=hot, n=decoding.num_samples, any_number=True
                )
                n = len(several.texts) == decoding.num_samples
                answers.append((_PROMPTS[0], several))
            except (RefusedError, GivenUpError):
                n = False
        for prompt in _PROMPTS:
            rounds = []
            for order in (1, -1):  # a seed must hold for its own request, not for the next to run
                if n:
                    found = [await texts(prompt, temperature=hot, n=decoding.num_samples)]
                else:
                    asked = [
                        texts(prompt, temperature=hot, seed=seed)
                        for seed in range(_NUM_SINGLE)[::order]
                    ]
                    found = (await asyncio.gather(*asked))[::order]
                answers += [(prompt, answer) for answer in found]
                rounds.append([text for answer in found for text in answer.texts])
            samples = len(set(rounds[0])) > 1
            same_again = rounds[0] == rounds[1]
            if samples:
                break

    capabilities = Capabilities(
        n=n,
        greedy=greedy,
        samples=samples,
        seed=same_again if samples else None,
        echo=echo,
        leading_space=_leading_space(answers, echo),
        style=style,
    )
    if not all(_within_limit(prompt, answer, echo) for prompt, answer in answers):
        raise UserError(
            f"{url}: writes more than the max_tokens that are asked for; use a server that keeps"
            " to them"
        )
    if decoding.temperature == 0 and not greedy:
        raise UserError(
            f"{url}: answers otherwise each time at temperature 0; start the server anew (one that"
            " batches continuously may keep the temperature of its first request), or use another"
        )
    if style == "generation_config" and not greedy:
        raise UserError(
            f"{url}: keeps the sampling of the first request it got, and forgets the end of text;"
            " start the server anew without continuous batching"
        )
    if samples is False:
        raise UserError(
            f"{url}: gives the same text for every sample at temperature {decoding.temperature:g};"
            " start the server anew, with do_sample true in the model's generation_config.json"
            " and without a fixed seed, or use another"
        )
    return capabilities


async def _style(ask: Ask, temperature: float) -> str:
    # A server of transformers that batches continuously forgets the end of text where it is sent a
    # generation config, and to take the likeliest token needs none.
    *styles, last = (style for style in _STYLES if temperature > 0 or style != "generation_config")
    for style in styles:
        try:
            await ask(
                _PROMPTS[0],
                style=style,
                temperature=temperature,
                max_tokens=_MAX_TOKENS,
                seed=0,
            )
        except RefusedError as refusal:
            if refusal.status not in (400, 422):
                raise
        else:
            return style
    await ask(_PROMPTS[0], style=last, temperature=temperature, max_tokens=_MAX_TOKENS, seed=0)
    return last


def _within_limit(prompt: str, answer: Texts, echo: bool) -> bool:
    num_texts = len(answer.texts)
    if answer.num_tokens is not None:
        return answer.num_tokens <= (_MAX_TOKENS + 1) * num_texts  # some count the end of text
    longest = max(len(text) for text in answer.texts) - (len(prompt) if echo else 0)
    return longest <= _MAX_CHARACTERS * _MAX_TOKENS


def _leading_space(answers: Sequence[tuple[str, Texts]], echo: bool) -> bool | None:
    texts = [
        text.removeprefix(prompt) if echo else text
        for prompt, answer in answers
        for text in answer.texts
    ]
    written = [text for text in texts if text.strip()]
    return any(text[0].isspace() for text in written) if written else None
