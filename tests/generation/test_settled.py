"""Texts whose outcome is settled are left; what was said until then stays the same."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from sftlens.facts import Fact, builtin_topics
from sftlens.generation import Completed, Decoding, LoadedModel, TransformersGenerator

DECODING = Decoding(num_samples=5, temperature=0.7, max_new_tokens=10, seed=3)


@pytest.fixture(scope="module")
def prompts(facts: list[Fact]) -> list[str]:
    topics = builtin_topics()
    return [topics[fact.topic].prompt(i % 21, fact.subject) for i, fact in enumerate(facts[::9])]


def complete(
    generator: TransformersGenerator, prompts: list[str], **asked: object
) -> list[Completed]:
    batches = generator.complete(prompts, DECODING, **asked)  # type: ignore[arg-type]
    return sorted(one for batch in batches for one in batch)


def test_settled_texts_are_prefixes(generator: TransformersGenerator, prompts: list[str]) -> None:
    whole = complete(generator, prompts)
    num_cut = 0
    for before, after in zip(
        whole, complete(generator, prompts, settled=lambda _, text: "a" in text), strict=True
    ):
        for full, left, cut in zip(before.texts, after.texts, after.cut, strict=True):
            if cut:
                num_cut += 1
                assert full.startswith(left)
                assert "a" in left
            else:
                assert full == left
    total = sum(len(one.texts) for one in whole)
    assert 0 < num_cut < total


def test_finished_texts_are_not_asked_about(
    generator: TransformersGenerator, prompts: list[str]
) -> None:
    asked = defaultdict(set)

    def always(place: int, text: str) -> bool:
        asked[place].add(text)
        return True

    found = complete(generator, prompts, settled=always)
    assert {cut for one in found for cut in one.cut} == {False, True}
    for one in found:
        left = {text for text, cut in zip(one.texts, one.cut, strict=True) if cut}
        assert asked[one.place] == left


def test_a_text_of_the_largest_length_is_finished(
    generator: TransformersGenerator, prompts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sftlens.generation._passes._ASK_EVERY", DECODING.max_new_tokens)

    def fail(*_: object) -> bool:
        raise AssertionError("asked")

    assert complete(generator, prompts, settled=fail) == complete(generator, prompts)


def test_what_is_settled_does_not_depend_on_the_batch(
    loaded_base: LoadedModel, generator: TransformersGenerator, prompts: list[str]
) -> None:
    def some(place: int, text: str) -> bool:
        return (place + len(text)) % 3 == 0

    model, tokenizer, _ = loaded_base
    small = TransformersGenerator(model, tokenizer, max_batch_tokens=60)
    found = complete(generator, prompts, settled=some)
    assert complete(small, prompts, settled=some) == found
    assert {cut for one in found for cut in one.cut} == {False, True}


def test_no_half_of_a_character_is_shown(
    loaded_base: LoadedModel, facts: list[Fact], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer, _ = loaded_base
    generator = TransformersGenerator(model, tokenizer)
    euros = tokenizer("\u20ac" * 4)["input_ids"][1:]  # three bytes each, a token a byte
    assert len(euros) == 12
    drawn = iter(euros)
    monkeypatch.setattr(
        "sftlens.generation._passes.draw",
        lambda logits, rows, *_: np.full(len(rows), next(drawn)),
    )
    seen = []

    def settled(_: int, text: str) -> bool:
        seen.append(text)
        return len(seen) == 2

    monkeypatch.setattr("sftlens.generation._passes._ASK_EVERY", 4)
    (found,) = complete(generator, ["a"], settled=settled)
    assert seen == ["\u20ac", "\u20ac" * 2]
    assert set(found.texts) == {"\u20ac" * 2}
