"""Completions: what a model says does not depend on how it is asked."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from sftlens.facts import Fact, builtin_topics
from sftlens.generation import Decoding, LoadedModel, TransformersGenerator

GREEDY = Decoding(max_new_tokens=10)
SAMPLED = Decoding(num_samples=5, temperature=0.7, max_new_tokens=10, seed=3)
decodings = pytest.mark.parametrize("decoding", [GREEDY, SAMPLED], ids=["greedy", "sampled"])


@pytest.fixture(scope="module")
def prompts(facts: list[Fact]) -> list[str]:
    """Prompts of mixed length, one of them empty, one twice."""
    topics = builtin_topics()
    some = [topics[fact.topic].prompt(i % 21, fact.subject) for i, fact in enumerate(facts[::7])]
    return [*some, "", facts[0].question, some[0]]


def texts(
    generator: TransformersGenerator, prompts: list[str], decoding: Decoding, **asked: Any
) -> list[list[str]]:
    batches = list(generator.complete(prompts, decoding, **asked))
    found = {one.place: one.texts for batch in batches for one in batch}
    assert sorted(found) == list(range(len(prompts)))
    if "settled" not in asked:
        assert all(one.cut == [False] * len(one.texts) for batch in batches for one in batch)
    return [found[place] for place in range(len(prompts))]


def test_greedy_is_what_transformers_generates(
    loaded_base: LoadedModel, generator: TransformersGenerator, prompts: list[str]
) -> None:
    model, tokenizer, _ = loaded_base
    expected = []
    for prompt in prompts:
        inputs = tokenizer(prompt, return_tensors="pt")
        output = model.generate(**inputs, max_new_tokens=10, do_sample=False)
        new = output[0, inputs["input_ids"].shape[1] :]
        expected.append([tokenizer.decode(new, skip_special_tokens=True)])
    assert texts(generator, prompts, GREEDY) == expected
    assert len({text for own in expected for text in own}) > 10


@decodings
@pytest.mark.parametrize("max_batch_tokens", [40, 150, 1000])
def test_small_batches_say_the_same(
    loaded_base: LoadedModel,
    generator: TransformersGenerator,
    prompts: list[str],
    decoding: Decoding,
    max_batch_tokens: int,
) -> None:
    model, tokenizer, _ = loaded_base
    small = TransformersGenerator(model, tokenizer, max_batch_tokens=max_batch_tokens)
    assert texts(small, prompts, decoding) == texts(generator, prompts, decoding)


@decodings
def test_the_order_and_the_other_prompts_do_not_matter(
    generator: TransformersGenerator, prompts: list[str], decoding: Decoding
) -> None:
    found = texts(generator, prompts, decoding)
    assert texts(generator, prompts[::-1], decoding) == found[::-1]
    assert texts(generator, prompts[2:5], decoding) == found[2:5]
    assert found[0] == found[-1]  # the same prompt


def test_samples_depend_on_their_number_and_the_seed(
    generator: TransformersGenerator, prompts: list[str]
) -> None:
    found = texts(generator, prompts, SAMPLED)
    fewer = texts(generator, prompts, SAMPLED.model_copy(update={"num_samples": 2}))
    assert fewer == [own[:2] for own in found]
    assert texts(generator, prompts, SAMPLED) == found
    assert texts(generator, prompts, SAMPLED.model_copy(update={"seed": 4})) != found
    assert any(len(set(own)) > 1 for own in found)


def test_only_the_samples_that_are_asked_for(
    generator: TransformersGenerator, prompts: list[str]
) -> None:
    found = texts(generator, prompts, SAMPLED)
    samples = [[4, 1], [], [0], *[range(place % 4) for place in range(3, len(prompts))]]
    expected = [
        [own[number] for number in asked] for own, asked in zip(found, samples, strict=True)
    ]
    assert texts(generator, prompts, SAMPLED, samples=samples) == expected
    assert texts(generator, prompts, SAMPLED, samples=[[]] * len(prompts)) == [[]] * len(prompts)
    further = texts(generator, prompts, SAMPLED, samples=[[7]] * len(prompts))
    more = texts(generator, prompts, SAMPLED.model_copy(update={"num_samples": 8}))
    assert further == [own[7:] for own in more]
    with pytest.raises(ValueError, match="samples of 1 prompts"):
        texts(generator, prompts, SAMPLED, samples=[[0]])


@pytest.mark.parametrize("max_batch_tokens", [150, 300, None])
def test_the_same_call_yields_the_same_batches(
    loaded_base: LoadedModel, prompts: list[str], max_batch_tokens: int | None
) -> None:
    model, tokenizer, _ = loaded_base
    calls = [
        [
            [one.place for one in batch]
            for batch in TransformersGenerator(
                model, tokenizer, max_batch_tokens=max_batch_tokens
            ).complete(prompts, SAMPLED, settled=settled)
        ]
        for settled in (None, lambda place, text: True)
    ]
    assert calls[0] == calls[1]
    assert (len(calls[0]) > 1) == (max_batch_tokens is not None)


def test_a_low_temperature_is_greedy(generator: TransformersGenerator, prompts: list[str]) -> None:
    cold = Decoding(num_samples=2, temperature=1e-4, max_new_tokens=10)
    expected = texts(generator, prompts, GREEDY)
    assert texts(generator, prompts, cold) == [own * 2 for own in expected]


def test_no_prompts_no_completions(generator: TransformersGenerator) -> None:
    assert list(generator.complete([], GREEDY)) == []
    assert list(generator.next_token_logits([])) == []


def test_texts_end_before_the_end_of_text(
    loaded_base: LoadedModel, prompts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer, _ = loaded_base
    whole = texts(TransformersGenerator(model, tokenizer), prompts, GREEDY)
    assert not any(special in own[0] for own in whole for special in tokenizer.all_special_tokens)
    full_stop = tokenizer.convert_tokens_to_ids(".")
    changed = copy.deepcopy(model.generation_config)
    changed.eos_token_id = [tokenizer.eos_token_id, full_stop]
    monkeypatch.setattr(model, "generation_config", changed)
    cut = texts(TransformersGenerator(model, tokenizer), prompts, GREEDY)
    assert any("." in own[0] for own in whole)
    assert cut == [[own[0].split(".")[0]] for own in whole]


def test_an_end_of_text_that_a_tokenizer_appends_is_taken_off(loaded_base: LoadedModel) -> None:
    from tokenizers import processors

    model, tokenizer, _ = loaded_base
    appending = copy.deepcopy(tokenizer)
    appending.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    assert appending("a")["input_ids"][-1] == tokenizer.eos_token_id
    expected = TransformersGenerator(model, tokenizer).tokenize(["a", "bc d"])
    assert TransformersGenerator(model, appending).tokenize(["a", "bc d"]) == expected


@pytest.mark.parametrize("max_batch_tokens", [1, 100, None])
def test_next_token_logits_are_those_of_a_plain_forward_pass(
    loaded_base: LoadedModel, prompts: list[str], max_batch_tokens: int | None
) -> None:
    model, tokenizer, _ = loaded_base
    own = TransformersGenerator(model, tokenizer, max_batch_tokens=max_batch_tokens)
    seen = []
    for places, logits in own.next_token_logits(prompts):
        seen += places
        for place, row in zip(places, logits, strict=True):
            with torch.inference_mode():
                ids = tokenizer(prompts[place], return_tensors="pt")["input_ids"]
                expected = model(ids).logits[0, -1]
            torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-4)
    assert sorted(seen) == list(range(len(prompts)))
