"""What a completions server does of what a decoding needs, found out by asking."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Protocol

from sftlens.errors import UserError
from sftlens.generation._decoding import Decoding
from sftlens.generation._endpoint_answers import Texts
from sftlens.generation._endpoint_api import GivenUpError, RefusedError
from sftlens.generation._endpoint_capabilities import STYLES, Capabilities, Filter

# Each may go on in many ways, and neither is what a model says within so few tokens.
_PROMPTS = ("The first thing that one sees in the old town is", "My favourite book of all is about")
_MAX_TOKENS = 12
_MAX_CHARACTERS = 32  # of a token, where a server does not tell the number of tokens
_HOT = 1.5  # a temperature at which even a sure model varies
_NUM_SINGLE = 4
_SHORTEST = "a"  # one token of every vocabulary
_MOST_AROUND = 2  # tokens that tokenizers put before a text: one mostly, two in ChatGLM's family
_SEEN_AGAIN = 8  # characters
_TEMPLATED = (
    "it puts prompts into a chat template, so that statements are answered and not completed; use a"
    " server that completes the bare prompt, such as vLLM or llama.cpp"
)


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
        likeliest: Filter | None = None,
    ) -> Awaitable[Texts]: ...


class _AskSo(Protocol):
    def __call__(
        self,
        prompt: str,
        *,
        temperature: float,
        seed: int = 0,
        n: int = 1,
        any_number: bool = False,
        likeliest: Filter | None = None,
    ) -> Awaitable[Texts]: ...


async def find_capabilities(ask: Ask, decoding: Decoding, *, url: str) -> Capabilities:
    """Find out what a server does of what a decoding needs.

    The first request has the decoding's own temperature, since a server that batches continuously
    may keep that of the first request it gets.

    Raises:
        UserError: when the server cannot decode so, or does not complete the bare prompt.
    """
    style = await _style(ask, decoding.temperature)
    texts: _AskSo = partial(ask, style=style, max_tokens=_MAX_TOKENS, seed=0)
    await _require_bare_prompts(texts, url)

    cold = await asyncio.gather(*(texts(p, temperature=0.0) for p in _PROMPTS for _ in range(2)))
    own = [answer.texts[0] for answer in cold]
    echo = all(text.startswith(p) for p, text in zip(_PROMPTS, own[::2], strict=True))
    answers = list(zip([p for p in _PROMPTS for _ in range(2)], cold, strict=True))
    # Numbers are rounded otherwise from batch to batch, so that one pair may differ.
    greedy = own[0] == own[1] or own[2] == own[3]
    begun = dict(zip(_PROMPTS, own[::2], strict=True))
    if echo:
        begun = {prompt: text.removeprefix(prompt) for prompt, text in begun.items()}
    continues = await _continues(texts, begun) if greedy else None

    n = samples = same_again = None
    ignored: tuple[Filter, ...] = ()
    if decoding.temperature > 0:
        hot = max(decoding.temperature, _HOT)
        if decoding.num_samples > 1:
            n, several = await _num_texts(texts, hot, decoding.num_samples)
            answers += [(_PROMPTS[0], answer) for answer in several]
        for prompt in _PROMPTS:
            rounds = []
            for order in (1, -1):  # a seed must hold for its own request, not for the next to run
                found = await _several(texts, prompt, hot, n, order=order)
                answers += [(prompt, answer) for answer in found]
                rounds.append([text for answer in found for text in answer.texts])
            samples = len(set(rounds[0])) > 1
            same_again = rounds[0] == rounds[1]
            if samples:
                break
        if samples and greedy and style in ("all", "filters", "generation_config"):
            ignored = await _ignored(texts, hot, n)

    capabilities = Capabilities(
        n=n,
        greedy=greedy,
        samples=samples,
        seed=same_again if samples else None,
        echo=echo,
        leading_space=_leading_space(answers, echo),
        continues=continues,
        style=style,
        ignored=ignored,
    )
    # Either alone may have another cause.
    if capabilities.continues is False and capabilities.leading_space is False:
        raise UserError(
            f"{url}: does not go on with a text that it began itself, and begins without a space:"
            f" {_TEMPLATED}"
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
    if style == "generation_config" and "top_k" in ignored:  # it takes any name, and heeds none
        style = await _style(ask, decoding.temperature, STYLES[STYLES.index(style) + 1 :])
        return capabilities._replace(style=style, ignored=())
    return capabilities


async def _style(ask: Ask, temperature: float, styles: Sequence[str] = STYLES) -> str:
    # A server of transformers that batches continuously forgets the end of text where it is sent a
    # generation config, and to take the likeliest token needs none.
    *styles, last = (style for style in styles if temperature > 0 or style != "generation_config")
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


async def _require_bare_prompts(texts: _AskSo, url: str) -> None:
    """Refuse a server that counts more tokens in the shortest prompt than it can hold.

    Where a server does not count the prompt's tokens, this tells nothing.
    """
    answer = await texts(_SHORTEST, temperature=0.0)
    if (answer.num_prompt_tokens or 0) > 1 + _MOST_AROUND:
        raise UserError(
            f"{url}: counts {answer.num_prompt_tokens} tokens in the prompt {_SHORTEST!r}:"
            f" {_TEMPLATED}"
        )


async def _continues(texts: _AskSo, begun: dict[str, str]) -> bool | None:
    """Cut a text in its middle, and see the server go on with it: the likeliest tokens after the
    prompt and the first half are the second half.

    Returns:
        Whether one of the texts goes on as it did, None where none is long enough to be cut.
    """
    tried = False
    for prompt, text in begun.items():
        spaces = [at.start() for at in re.finditer(r"(?<=\w) (?=\w)", text)]
        spaces = [at for at in spaces if len(text) - at > _SEEN_AGAIN]
        if not spaces:
            continue
        tried = True
        middle = min(spaces, key=lambda at: abs(at - (len(text) - _SEEN_AGAIN) / 2))
        joint = " " if text[0].isalnum() else ""  # where the server takes off the space
        written = prompt + joint + text[:middle]
        answer = await texts(written, temperature=0.0)
        going_on = answer.texts[0].removeprefix(written).lstrip()
        if going_on.startswith(text[middle:].lstrip()[:_SEEN_AGAIN].rstrip()):
            return True
    return False if tried else None


async def _num_texts(texts: _AskSo, hot: float, wanted: int) -> tuple[int, list[Texts]]:
    """Texts that a server gives in one request, ``wanted`` at most, and the answers seen.

    llama.cpp refuses more than it has slots, and its message names their number.
    """
    given, refused, tried = 1, wanted + 1, wanted
    answers: list[Texts] = []
    while refused - given > 1:
        hints: list[int] = []
        try:
            answer = await texts(_PROMPTS[0], temperature=hot, n=tried, any_number=True)
        except RefusedError as refusal:
            refused = tried
            hints = [int(number) for number in re.findall(r"\b\d{1,4}\b", str(refusal))]
        except GivenUpError:
            break
        else:
            answers.append(answer)
            if len(answer.texts) == tried:
                given = tried
            else:
                refused = tried
                hints = [len(answer.texts)]
                if hints[0] <= given or hints[0] > tried:  # it takes no notice of the number
                    break
        hints = [number for number in hints if given < number < refused]
        tried = max(hints, default=(given + refused) // 2)
    return given, answers


async def _several(
    texts: _AskSo,
    prompt: str,
    hot: float,
    n: int | None,
    *,
    order: int = 1,
    likeliest: Filter | None = None,
) -> list[Texts]:
    """Texts of one prompt, in one request or in several at a time."""
    if n is not None and n > 1:
        return [await texts(prompt, temperature=hot, n=n, likeliest=likeliest)]
    asked = [
        texts(prompt, temperature=hot, seed=seed, likeliest=likeliest)
        for seed in range(_NUM_SINGLE)[::order]
    ]
    return (await asyncio.gather(*asked))[::order]


async def _ignored(texts: _AskSo, hot: float, n: int | None) -> tuple[Filter, ...]:
    """The filters without effect: texts differ where only the likeliest token may be drawn."""
    ignored: list[Filter] = []
    filters: tuple[Filter, ...] = ("top_k", "min_p")
    for own in filters:
        for prompt in _PROMPTS:
            answers = await _several(texts, prompt, hot, n, likeliest=own)
            if len({text for answer in answers for text in answer.texts}) == 1:
                break
        else:
            ignored.append(own)
    return tuple(ignored)


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
