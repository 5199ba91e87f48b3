"""Batches under a budget, and what happens when memory runs out."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sftlens.facts import Fact
from sftlens.generation import Decoding, LoadedModel, TransformersGenerator
from sftlens.generation._batches import (
    Budget,
    Request,
    affordable_tokens,
    cache_bytes,
    plan_batches,
)

SAMPLED = Decoding(num_samples=4, temperature=0.7, max_new_tokens=6)

requests = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 12)), max_size=20).map(
    lambda drawn: [Request(place, *one[:1], range(one[1])) for place, one in enumerate(drawn)]
)


@given(requests=requests, most=st.integers(1, 400), same_length=st.booleans())
def test_passes_draw_every_sample_once_within_the_budget(
    requests: list[Request], most: int, same_length: bool
) -> None:
    planned = list(plan_batches(requests, 5, most))
    assert sorted(request for batch in planned for request in batch) == requests
    budget = Budget(most, same_length=same_length)
    drawn: dict[int, list[int]] = {request.place: [] for request in requests}
    for batch in planned:
        for taken in budget.passes(batch, 5):
            size = sum(len(request.samples) for request in taken)
            longest = max(request.length for request in taken)
            assert size == 1 or size * (longest + 5) <= most
            assert not same_length or {request.length for request in taken} == {longest}
            for request in taken:
                drawn[request.place] += request.samples
    assert drawn == {request.place: list(request.samples) for request in requests}


def test_a_budget_shrinks_and_slowly_grows_back() -> None:
    budget = Budget(1000)
    budget.shrink(800)
    assert budget.tokens == 400
    sizes = []
    for _ in range(200):
        budget.succeeded()
        sizes.append(budget.tokens)
    assert sizes == sorted(sizes)
    assert sizes[10] == 400
    assert sizes[-1] == 1000
    budget.afford(50)
    assert budget.tokens == 50


@pytest.mark.parametrize("most", [1, 3, 7, 1000])
def test_memory_that_runs_out_in_a_pass(
    loaded_base: LoadedModel,
    generator: TransformersGenerator,
    facts: list[Fact],
    monkeypatch: pytest.MonkeyPatch,
    most: int,
) -> None:
    """The texts and the batches stay the same, down to one row at a time."""
    model, tokenizer, _ = loaded_base
    prompts = [fact.question for fact in facts[::20]]
    expected = list(generator.complete(prompts, SAMPLED))
    forward = model.forward
    sizes = []

    def short_of_memory(input_ids: torch.Tensor, **given: object) -> object:
        sizes.append(len(input_ids))
        if len(input_ids) > most:
            raise torch.OutOfMemoryError
        return forward(input_ids=input_ids, **given)

    short_of_memory.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    monkeypatch.setattr(model, "forward", short_of_memory)
    short = TransformersGenerator(model, tokenizer)
    assert list(short.complete(prompts, SAMPLED)) == expected
    assert [places for places, _ in short.next_token_logits(prompts)]
    assert (max(sizes) > most) == (most < 1000)


def test_memory_that_is_too_small_for_one_sequence_is_an_error(
    loaded_base: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer, _ = loaded_base

    def fail(input_ids: torch.Tensor) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(model, "forward", fail)
    with pytest.raises(torch.OutOfMemoryError, match="one sequence alone"):
        list(TransformersGenerator(model, tokenizer).complete(["a"], SAMPLED))


def test_a_cuda_device_starts_from_its_free_memory(
    loaded_base: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = loaded_base.model.config
    assert cache_bytes(loaded_base.model) == 2 * 2 * 64 * 4  # layers, keys and values, width
    assert affordable_tokens(loaded_base.model, 32) is None
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (9_000_000, 10_000_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 2_000_000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 1_000_000)
    on_cuda = SimpleNamespace(
        device=SimpleNamespace(type="cuda"), dtype=torch.float32, config=config
    )
    token = 1024 + 8 * config.vocab_size / 32
    assert affordable_tokens(on_cuda, 32) == int(8_000_000 / token)  # type: ignore[arg-type]
