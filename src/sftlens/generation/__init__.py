"""Prompts in, completions out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sftlens.generation._decoding import Completed, Decoding, Generator
from sftlens.generation._finite import NotFiniteError, not_finite, require_finite
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
    "NotFiniteError",
    "TransformersGenerator",
    "answer_completion",
    "load_model",
    "load_tokenizer",
    "load_tuned",
    "not_finite",
    "padding_token",
    "question_prompt",
    "require_finite",
]


_LAZY = {
    "EndpointGenerator": "_endpoint",
    "TransformersGenerator": "_transformers",
}
"""What needs torch or a client of HTTP, by the module that holds it."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
