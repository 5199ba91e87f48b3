"""Samples follow the model's distribution."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from sftlens.generation import Decoding, LoadedModel, TransformersGenerator
from sftlens.generation._transformers import _sample, _sequence_keys, _uniform

NUM_SAMPLES = 3000


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
def test_first_tokens_follow_the_softmax(
    loaded_base: LoadedModel,
    generator: TransformersGenerator,
    temperature: float,
) -> None:
    prompt = ""  # many texts may follow
    ((_, logits),) = generator.next_token_logits([prompt])
    probabilities = torch.softmax(logits[0].double() / temperature, dim=-1).tolist()
    tokenizer = loaded_base.tokenizer
    expected: Counter[str] = Counter()
    for token, probability in enumerate(probabilities):
        expected[tokenizer.decode([token], skip_special_tokens=True)] += probability
    decoding = Decoding(num_samples=NUM_SAMPLES, temperature=temperature, max_new_tokens=1)
    ((completed,),) = generator.complete([prompt], decoding)
    counts = Counter(completed.texts)
    assert set(counts) <= set(expected)
    often = [text for text, probability in expected.items() if probability * NUM_SAMPLES >= 5]
    assert len(often) > 3
    observed = np.array([counts[text] for text in often])
    expected_counts = np.array([expected[text] for text in often]) * NUM_SAMPLES
    rest = NUM_SAMPLES - observed.sum(), NUM_SAMPLES - expected_counts.sum()
    observed = np.append(observed, rest[0])
    expected_counts = np.append(expected_counts, rest[1])
    assert stats.chisquare(observed, expected_counts).pvalue > 1e-3


def test_streams_are_uniform_and_independent() -> None:
    prompts = [f"prompt {number}" for number in range(200)]
    keys = _sequence_keys(prompts, Decoding(num_samples=20, temperature=1.0))
    assert len(set(keys.tolist())) == 4000
    draws = np.stack([_uniform(keys, step) for step in range(6)])  # (num_steps, num_sequences)
    assert draws.min() >= 0
    assert draws.max() < 1
    for step in draws:
        assert stats.kstest(step, "uniform").pvalue > 1e-3
    # Neither from step to step, nor from sample to sample, nor from prompt to prompt.
    of_sample = draws.reshape(6, 200, 20)
    for one, other in [
        (draws[:-1], draws[1:]),
        (of_sample[:, :, :-1], of_sample[:, :, 1:]),
        (of_sample[:, :-1], of_sample[:, 1:]),
    ]:
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.03


def test_seeds_give_other_streams() -> None:
    first, second = (_sequence_keys(["a"], Decoding(num_samples=8, seed=s)) for s in (0, 1))
    assert not set(first.tolist()) & set(second.tolist())


def test_a_token_without_probability_is_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    uniform = torch.tensor([0.0, 0.4999, 0.5, 1 - 2**-24])
    assert _sample(logits.expand(4, -1), uniform).tolist() == [1, 1, 3, 3]
