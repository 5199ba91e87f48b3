"""What a completions server does of what it is asked, and the fields that keep its filters off."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

Filter = Literal["top_k", "min_p"]
"""A filter of the sampling that is no part of OpenAI's API, so that a server may ignore it."""


class Capabilities(NamedTuple):
    """What a server does of what it is asked; None where that was not tried.

    Attributes:
        n: texts that it gives in one request, at most the samples of the decoding.
        greedy: gives one text at temperature 0.
        samples: gives many at a temperature above 0.
        seed: gives the same texts again for the same seed, several requests at a time.
        echo: puts the prompt before the text.
        leading_space: leaves the space at a text's beginning.
        continues: goes on with a text of its own as it did before; a server that puts the prompt
            into a chat template does not.
        style: which fields keep the server's own filters out of the sampling: ``all`` those of
            vLLM, SGLang and llama.cpp, ``filters`` without llama.cpp's own, ``generation_config``
            one field of transformers, ``openai`` those of OpenAI's API alone, ``none`` the server
            takes none of them.
        ignored: filters that the server takes no notice of, though it accepts their fields.
    """

    n: int | None
    greedy: bool
    samples: bool | None
    seed: bool | None
    echo: bool
    leading_space: bool | None
    continues: bool | None
    style: str
    ignored: tuple[Filter, ...] = ()

    def notes(self, num_samples: int) -> list[str]:
        """What is not as one would expect, a sentence each."""
        found = []
        if self.continues is False:
            found.append(
                "the server does not go on with a text that it began itself: if it puts prompts"
                " into a chat template, its answers are no completions and the levels mean nothing"
            )
        if self.style == "generation_config":
            found.append(
                "the server refuses the field top_k: a generation config is sent in its place"
            )
        if self.style in ("openai", "none"):
            found.append(
                "the server refuses the fields top_k, min_p and repetition_penalty"
                + (" and top_p" if self.style == "none" else "")
                + ": those that it was started with hold"
            )
        elif self.ignored:
            found.append(
                f"the server ignores {' and '.join(self.ignored)}: the filters that it was started"
                " with hold (Ollama: the 40 likeliest tokens)"
            )
        if self.n == 1 and num_samples > 1:
            found.append("the server gives one text a request: each sample is a request of its own")
        elif self.n is not None and self.n < num_samples:
            found.append(
                f"the server gives at most {self.n} texts a request: a prompt's {num_samples}"
                f" samples are {-(-num_samples // self.n)} requests"
            )
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


# A server ignores the names that it does not know, or refuses the request: then the next style is
# tried. All these filters can be switched on where a server is started.
_OPENAI = {"top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
_FILTERS = {**_OPENAI, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
_LLAMA_CPP = {
    "repeat_penalty": 1.0,
    "typical_p": 1.0,
    "top_n_sigma": -1.0,
    "xtc_probability": 0.0,
    "dry_multiplier": 0.0,
    "dynatemp_range": 0.0,
    "mirostat": 0,
}
_STYLES: dict[str, Callable[[float], dict[str, Any]]] = {
    "all": lambda _: {**_FILTERS, **_LLAMA_CPP},
    "filters": lambda _: _FILTERS,
    "generation_config": lambda temperature: {
        "do_sample": temperature > 0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
    },
    "openai": lambda _: _OPENAI,
    "none": lambda _: {},
}
STYLES = tuple(_STYLES)
_LIKELIEST: dict[Filter, float] = {"top_k": 1, "min_p": 1.0}


def style_fields(style: str, temperature: float, likeliest: Filter | None = None) -> dict[str, Any]:
    """The fields of a request that have the server sample from the model's whole distribution.

    Args:
        style: one of :data:`STYLES`.
        temperature: of the request.
        likeliest: a filter that is set to leave the likeliest token alone, to see it heeded.
    """
    fields = _STYLES[style](temperature)
    if likeliest:
        fields = {**fields, likeliest: _LIKELIEST[likeliest]}
    if style == "generation_config":
        return {"generation_config": json.dumps(fields)}
    return fields
