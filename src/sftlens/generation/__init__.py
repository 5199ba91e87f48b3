"""Prompts in, completions out."""

from typing import TYPE_CHECKING, Any

from sftlens.generation._decoding import Completed, Decoding, Generator
from sftlens.generation._load import LoadedModel, load_model, load_tuned
from sftlens.generation._prompts import (
    ANSWER_MARKER,
    QUESTION_MARKER,
    answer_completion,
    question_prompt,
)
from sftlens.generation._tokenizer import load_tokenizer, padding_token

if TYPE_CHECKING:
    from sftlens.generation._endpoint import EndpointGenerator
    from sftlens.generation._transformers import TransformersGenerator

__all__ = [
    "ANSWER_MARKER",
    "QUESTION_MARKER",
    "Completed",
    "Decoding",
    "EndpointGenerator",
    "Generator",
    "LoadedModel",
    "TransformersGenerator",
    "answer_completion",
    "load_model",
    "load_tokenizer",
    "load_tuned",
    "padding_token",
    "question_prompt",
]


def __getattr__(name: str) -> Any:
    if name == "TransformersGenerator":
        from sftlens.generation._transformers import TransformersGenerator

        return TransformersGenerator
    if name == "EndpointGenerator":
        from sftlens.generation._endpoint import EndpointGenerator

        return EndpointGenerator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
