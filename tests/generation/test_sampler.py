"""Samples follow the model's distribution."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from sftlens.generation import Decoding, LoadedModel, TransformersGenerator, _sampling
from sftlens.generation._sampling import draw, stream_keys, uniform

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
    keys = np.concatenate([stream_keys(prompt, range(20), 0) for prompt in prompts])
    assert len(set(keys.tolist())) == 4000
    draws = np.stack([uniform(keys, step) for step in range(6)])  # (num_steps, num_sequences)
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
    first, second = (stream_keys("a", range(8), seed) for seed in (0, 1))
    assert not set(first.tolist()) & set(second.tolist())


def test_a_stream_depends_on_the_number_of_its_sample_alone() -> None:
    assert stream_keys("a", [7, 2], 0).tolist() == stream_keys("a", range(8), 0)[[7, 2]].tolist()


def test_a_token_without_probability_is_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    numbers = np.array([0.0, 0.4999, 0.5, 1 - 2**-24], dtype=np.float32)
    assert draw(logits, np.zeros(4, dtype=np.int64), numbers, 1.0).tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize("chunk", [1, 2**25])
def test_sequences_of_a_row_draw_as_if_each_had_its_own(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(_sampling, "_CHUNK", chunk)
    logits = 3 * torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    rows = np.array([3, 0, 0, 1, 3, 0, 3, 3])  # row 2 has none
    numbers = uniform(stream_keys("a", range(8), 0), 0)
    alone = [
        draw(logits[row : row + 1], np.zeros(1, dtype=np.int64), number[None], 0.7)[0]
        for row, number in zip(rows, numbers, strict=True)
    ]
    assert draw(logits, rows, numbers, 0.7).tolist() == alone
    assert draw(logits, rows, None, 0.0).tolist() == logits.argmax(dim=-1)[rows].tolist()
