"""What completes prompts, and how it is asked to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field


class Decoding(BaseModel):
    """How completions are decoded."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    num_samples: int = Field(1, ge=1, description="completions of each prompt")
    temperature: float = Field(0.0, ge=0, description="of the sampling; 0 is greedy")
    max_new_tokens: int = Field(16, ge=1, description="tokens a completion has at most")
    seed: int = Field(0, ge=0, lt=2**32, description="of the sampling")


class Completed(NamedTuple):
    """The completions of one prompt.

    Attributes:
        place: the prompt's place among those that were given.
        texts: one text a sample asked for, without the prompt and without special tokens.
        cut: of each text whether it was left as soon as its outcome was settled.
    """

    place: int
    texts: list[str]
    cut: list[bool]


class Generator(Protocol):
    """Prompts in, completions out."""

    def complete(
        self,
        prompts: Sequence[str],
        decoding: Decoding,
        *,
        samples: Sequence[Sequence[int]] | None = None,
        settled: Callable[[int, str], bool] | None = None,
    ) -> Iterator[list[Completed]]: ...
