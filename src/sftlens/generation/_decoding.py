"""What completes prompts, and how it is asked to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field


class Decoding(BaseModel):
    """How completions are decoded."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    num_samples: int = Field(1, ge=1, le=10_000, description="completions of each prompt")
    temperature: float = Field(0.0, ge=0, description="of the sampling; 0 is greedy")
    max_new_tokens: int = Field(16, ge=1, le=65_536, description="tokens a completion has at most")
    seed: int = Field(0, ge=0, lt=2**32, description="of the sampling")


class Completed(NamedTuple):
    """The completions of one prompt.

    Attributes:
        place: the prompt's place among those that were given.
        texts: one text a sample asked for, without the prompt and without special tokens.
        cut: whether the text was left as soon as its outcome was settled.
    """

    place: int
    texts: list[str]
    cut: list[bool]


Settled = Callable[[int, str], bool]
"""Whether what is asked is settled by an unfinished text, given its prompt's place and the text."""


class Generator(Protocol):
    """Prompts in, completions out."""

    def complete(
        self,
        prompts: Sequence[str],
        decoding: Decoding,
        *,
        samples: Sequence[Sequence[int]] | None = None,
        settled: Settled | None = None,
    ) -> Iterator[list[Completed]]:
        """Complete prompts, batch by batch, in an order of the generator's own.

        A sampled text depends on the model, the prompt, the number of the sample and the decoding,
        not on the other prompts, samples or their order (up to rounding in the model's arithmetic).
        Which prompts make a batch depends on the prompts and samples alone, so that the same call
        yields the same batches.

        Args:
            prompts: what is completed.
            decoding: how; its ``num_samples`` counts where ``samples`` says nothing.
            samples: the numbers of the samples to draw of each prompt, by its place; may be ragged,
                and empty for a prompt.
            settled: asked now and then about a text that is not finished. Once it says so the text
                ends there: it is a prefix of what it would have been.
        """
        ...


def asked_samples(
    prompts: Sequence[str], decoding: Decoding, samples: Sequence[Sequence[int]] | None
) -> Sequence[Sequence[int]]:
    """The numbers of the samples to draw of each prompt."""
    if samples is None:
        return [range(decoding.num_samples)] * len(prompts)
    if len(samples) != len(prompts):
        raise ValueError(f"samples of {len(samples)} prompts, but {len(prompts)} prompts")
    return samples
