"""Weights outside of the region that are no numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import configured, write_copy

from sftlens.errors import UserError
from sftlens.weights import Request, diff, open_pair, preview_restoration, restore_checkpoints

Tensors = dict[str, torch.Tensor]

EMBEDDING, NORM = "model.embed_tokens.weight", "model.layers.1.input_layernorm.weight"


def with_value(name: str, place: int, value: float) -> Callable[[Tensors], Tensors]:
    def change(tensors: Tensors) -> Tensors:
        tensors[name].view(-1)[place] = value
        return tensors

    return change


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("name", "value"), [(EMBEDDING, float("nan")), (EMBEDDING, float("-inf")), (NORM, float("inf"))]
)
def test_weights_outside_of_the_region(
    tmp_path: Path, base: Path, tuned: Path, name: str, value: float, dtype: torch.dtype
) -> None:
    def broken(tensors: Tensors) -> Tensors:
        return {n: t.to(dtype) for n, t in with_value(name, 5, value)(tensors).items()}

    bad_tuned = write_copy(tuned, tmp_path / "bad-tuned", broken)
    bad_base = write_copy(base, tmp_path / "bad-base", broken)
    request, out = Request(shares=(20,)), tmp_path / "out"
    for pair, side in (
        (open_pair(base, bad_tuned), "tuned model"),
        (open_pair(bad_base, tuned), "base"),
    ):
        message = rf"'{name}' holds {value} in the {side} \(model.safetensors, flat position 5\)"
        for call in (
            lambda pair=pair: diff(pair, shares=[1]),
            lambda pair=pair: preview_restoration(pair, request, out),
            lambda pair=pair: restore_checkpoints(pair, request, out),
        ):
            with pytest.raises(UserError, match=message):
                call()
        assert not out.exists()
        assert not list(tmp_path.glob(".out*"))


def test_rows_that_only_the_tuned_model_has(tmp_path: Path, base: Path, tuned: Path) -> None:
    def padded(tensors: Tensors) -> Tensors:
        for name in (EMBEDDING, "lm_head.weight"):
            rows = torch.zeros(2, tensors[name].shape[1])
            tensors[name] = torch.cat([tensors[name], rows])
        tensors[EMBEDDING][-1, 3] = float("nan")
        return tensors

    wider = configured(write_copy(tuned, tmp_path / "padded", padded), vocab_size=66)
    pair = open_pair(base, wider)
    for region in ("blocks", "all"):
        with pytest.raises(UserError, match=f"'{EMBEDDING}' holds nan in the tuned model"):
            diff(pair, shares=[1], region=region)


def test_buffers_that_no_parameter_holds_may_be_infinite(
    tmp_path: Path, base: Path, tuned: Path
) -> None:
    def buffered(tensors: Tensors) -> Tensors:
        name = "model.layers.0.self_attn.rotary_emb.inv_freq"
        return tensors | {name: torch.tensor([0.0, float("-inf")])}

    first = write_copy(base, tmp_path / "first", buffered)
    second = write_copy(tuned, tmp_path / "second", buffered)
    assert diff(open_pair(first, second), shares=[1]).num_changed > 0
