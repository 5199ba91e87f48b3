"""KL of the tuned model from the base (paper section 5)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sftlens.divergence import full_kl, top_token_kl

logits = arrays(np.float32, (3, 25), elements=st.floats(-30, 30, width=32))


def naive_kl(tuned: np.ndarray, base: np.ndarray, num_tokens: int) -> list[float]:
    """Straight from the definition, fact by fact and token by token."""
    found = []
    for tuned_row, base_row in zip(tuned.astype(float), base.astype(float), strict=True):
        top = sorted(range(len(tuned_row)), key=lambda token: -tuned_row[token])[:num_tokens]
        p = [math.exp(tuned_row[token] - tuned_row[top[0]]) for token in top]
        highest = max(base_row[token] for token in top)
        q = [math.exp(base_row[token] - highest) for token in top]
        found.append(
            sum(
                a / sum(p) * (math.log(a / sum(p)) - math.log(b / sum(q)))
                for a, b in zip(p, q, strict=True)
            )
        )
    return found


def test_by_hand() -> None:
    # Paper section 5 with the two highest of four tokens. Tuned: tokens 1 and 3, softmax over the
    # two (3/4, 1/4); base, the logits of the same tokens: (1/2, 1/2); the base's own highest token
    # does not enter. KL = 3/4 ln(3/4 · 2) + 1/4 ln(1/4 · 2).
    tuned = torch.tensor([[-2.0, math.log(3), -1.0, 0.0]])
    base = torch.tensor([[9.0, 1.0, 3.0, 1.0]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert top_token_kl(tuned, base, num_tokens=2).item() == pytest.approx(expected, rel=1e-6)
    assert expected == pytest.approx(0.130812, abs=1e-6)


def test_the_full_kl_by_hand() -> None:
    tuned = torch.tensor([[1 / 2, 1 / 4, 1 / 4]]).log()
    base = torch.tensor([[1 / 4, 1 / 4, 1 / 2]]).log()
    expected = 1 / 2 * math.log(2) - 1 / 4 * math.log(2)
    assert full_kl(tuned, base).item() == pytest.approx(expected, rel=1e-6)


@given(logits, logits, st.integers(1, 30))
def test_against_the_definition(tuned: np.ndarray, base: np.ndarray, num_tokens: int) -> None:
    # The choice among equal logits is the definition's own business.
    tuned = tuned + np.arange(25, dtype=np.float32) * 1e-2
    if any(len(np.unique(row)) < 25 for row in tuned):
        return
    found = top_token_kl(torch.tensor(tuned), torch.tensor(base), num_tokens)
    assert found.tolist() == pytest.approx(naive_kl(tuned, base, num_tokens), abs=1e-9, rel=1e-9)
    full = full_kl(torch.tensor(tuned), torch.tensor(base))
    assert full.tolist() == pytest.approx(naive_kl(tuned, base, 25), abs=1e-9, rel=1e-9)
    assert (found >= 0).all()
    assert (full >= 0).all()


def test_ten_tokens_by_default() -> None:
    generator = torch.Generator().manual_seed(0)
    tuned, base = torch.randn(2, 5, 40, generator=generator)
    expected = naive_kl(tuned.numpy(), base.numpy(), 10)
    assert top_token_kl(tuned, base).tolist() == pytest.approx(expected)


@given(logits)
def test_a_model_does_not_diverge_from_itself(own: np.ndarray) -> None:
    assert full_kl(torch.tensor(own), torch.tensor(own)).tolist() == [0, 0, 0]
    assert top_token_kl(torch.tensor(own), torch.tensor(own)).tolist() == [0, 0, 0]


@given(logits, logits, st.integers(-9, 9), st.integers(-9, 9))
def test_a_constant_added_to_all_logits_changes_nothing(
    tuned: np.ndarray, base: np.ndarray, first: int, second: int
) -> None:
    # Whole numbers, so that the sums are exact and the ten highest stay the ten highest.
    tuned, base = tuned.round(), base.round()
    for kl in (full_kl, top_token_kl):
        before = kl(torch.tensor(tuned), torch.tensor(base))
        after = kl(torch.tensor(tuned + first), torch.tensor(base + second))
        torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-12)


def test_a_padded_vocabulary_is_cut() -> None:
    generator = torch.Generator().manual_seed(1)
    tuned, base = torch.randn(2, 4, 20, generator=generator)
    padded = torch.cat([base, torch.full((4, 5), 100.0)], dim=1)
    padded_tuned = torch.cat([tuned, torch.full((4, 5), 100.0)], dim=1)
    for kl in (full_kl, top_token_kl):
        expected = kl(tuned, base)
        assert torch.equal(kl(tuned, padded), expected)
        assert torch.equal(kl(padded_tuned, base), expected)


def test_many_facts_are_many_single_ones() -> None:
    generator = torch.Generator().manual_seed(2)
    tuned, base = torch.randn(2, 150, 30, generator=generator)
    rows = [full_kl(tuned[row : row + 1], base[row : row + 1]).item() for row in range(150)]
    assert full_kl(tuned, base).tolist() == pytest.approx(rows, rel=1e-12)
