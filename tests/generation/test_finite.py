"""Logits that are not numbers end the work, with the prompt and the likely cure."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from damaged_models import change_weights, copy_model
from remedies import run_python
from sftlens.errors import UserError
from sftlens.generation import Decoding, LoadedModel, TransformersGenerator, load_model

PROMPTS = ["plain", "also plain", "Where is Ω? " + "x" * 40, "short"]
GREEDY = Decoding(max_new_tokens=3)
SAMPLED = Decoding(num_samples=2, temperature=0.7, max_new_tokens=3)


@pytest.fixture
def spoilt(loaded_base: LoadedModel) -> Callable[[float, int], TransformersGenerator]:
    """Makes a generator whose logits hold a value after texts with an Ω, from some token on."""
    tokenizer = loaded_base.tokenizer
    omega = tokenizer("Ω", add_special_tokens=False)["input_ids"][-1]

    def make(value: float, first: int = 0) -> TransformersGenerator:
        model = copy.deepcopy(loaded_base.model)
        rows: list[torch.Tensor] = []

        def spoil(module: Any, args: Any, given: Any, output: Any) -> None:
            ids = given["input_ids"]
            if ids.shape[1] > 1:
                rows[:] = [(ids == omega).any(dim=1)]
                first_left[0] = first
            else:
                first_left[0] -= 1
            if first_left[0] <= 0 and len(rows[0]) == len(ids):
                output.logits[rows[0], -1] = value

        first_left = [first]
        model.register_forward_hook(spoil, with_kwargs=True)
        return TransformersGenerator(model, tokenizer)

    return make


@pytest.mark.parametrize("decoding", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_they_are_refused_with_the_prompt(
    spoilt: Callable[..., TransformersGenerator], value: float, decoding: Decoding
) -> None:
    generator = spoilt(value)
    with pytest.raises(UserError) as caught:
        list(generator.complete(PROMPTS, decoding))
    message = str(caught.value)
    assert "after the prompt 'Where is Ω? xxxxxxxxxxxxxxxxxxxxxxxxxxxx…'" in message
    assert ("NaN" if value != value else "infinity") in message
    assert "float32" in message
    assert "\n" not in message
    with pytest.raises(UserError, match="after the prompt 'Where is Ω"):
        list(generator.next_token_logits(PROMPTS))
    assert list(generator.next_token_logits(["plain"]))


def test_so_are_those_of_a_later_token(spoilt: Callable[..., TransformersGenerator]) -> None:
    with pytest.raises(UserError, match="after the prompt 'Where is Ω"):
        list(spoilt(float("nan"), 1).complete([PROMPTS[2]], GREEDY))


def test_tokens_that_are_ruled_out_are_no_fault(
    loaded_base: LoadedModel, generator: TransformersGenerator
) -> None:
    model = copy.deepcopy(loaded_base.model)

    def mask(module: Any, args: Any, output: Any) -> None:
        output.logits[..., 300:] = -float("inf")

    model.register_forward_hook(mask)
    masked = TransformersGenerator(model, loaded_base.tokenizer)
    for decoding in (GREEDY, SAMPLED):
        assert len(list(masked.complete(PROMPTS, decoding))) == 1


def test_activations_that_overflow_float16(base: Path, tmp_path: Path) -> None:
    """Finite weights, NaN logits; what the message advises is a model that answers."""

    def large(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        for name, tensor in tensors.items():
            if "down_proj" in name or "up_proj" in name:
                tensor *= 2000
        return {name: tensor.half() for name, tensor in tensors.items()}

    folder = copy_model(base, tmp_path / "half", dtype="float16")
    change_weights(folder, large)
    model, tokenizer, _ = load_model(folder)
    with pytest.raises(UserError, match="its activations overflow float16; give it in") as caught:
        list(TransformersGenerator(model, tokenizer).complete(["A town"], GREEDY))
    run_python(caught.value, tmp_path / "out")
    model, tokenizer, _ = load_model(tmp_path / "out")
    assert model.dtype == torch.float32
    assert list(TransformersGenerator(model, tokenizer).complete(["A town"], GREEDY))
