"""Expressions of untrusted files mean what they mean in Python, and cannot take long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftlens.weights import _expressions
from sftlens.weights._expressions import PathPattern

ATOMS = st.sampled_from(
    ["a", "b", r"\.", ".", "[ab]", "[^a]", "[a-c1]", r"\d", r"\w", r"[\d.]", "^", "$", r"\W"]
)
REPEATS = st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{0,}", "*?", "{,2}"])


def combined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    groups = st.tuples(parts, REPEATS).map(lambda pair: f"(?:{pair[0]}){pair[1]}")
    choices = st.lists(parts, min_size=2, max_size=3).map(lambda ways: f"({'|'.join(ways)})")
    return groups | choices | st.lists(parts, max_size=3).map("".join)


@given(
    st.recursive(ATOMS, combined, max_leaves=6),
    st.lists(st.text("ab1.", max_size=6), min_size=1, max_size=4),
)
def test_the_same_as_python(expression: str, paths: list[str]) -> None:
    pattern = PathPattern(expression)
    for path in paths:
        assert pattern.matches(path) == bool(re.match(rf"(.*\.)?({expression})$", path))


@pytest.mark.parametrize(
    "expression",
    [
        "q_proj",
        r"model\.layers\.(0|1)\..*",
        r".*\.(q|v)_proj",
        r"layers\.\d{1,2}\.mlp\..+",
        "q)|(v",
    ],
)
def test_expressions_in_use(expression: str) -> None:
    pattern = PathPattern(expression)
    paths = [
        f"model.layers.{layer}.{module}"
        for layer in (0, 1, 12)
        for module in ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj")
    ]
    expected = [bool(re.match(rf"(.*\.)?({expression})$", path)) for path in paths]
    assert [pattern.matches(path) for path in paths] == expected
    assert any(expected)


@pytest.mark.parametrize("expression", ["(", "a**", "[b-a]", "(?i)a", r"(a)\2"])
def test_what_is_none(expression: str) -> None:
    with pytest.raises(ValueError, match="is no regular expression"):
        PathPattern(expression)


@pytest.mark.parametrize("expression", [r"(a)\1", "(?=a)a", "(?<!b)a", "(?i:a)", r"\ba"])
def test_what_cannot_be_bounded(expression: str) -> None:
    with pytest.raises(ValueError, match="which is not supported"):
        PathPattern(expression)


def test_length_and_steps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="is longer than 2000"):
        PathPattern("a" * 2001)
    monkeypatch.setattr(_expressions, "MAX_STEPS", 50)
    with pytest.raises(ValueError, match="takes too long"):
        PathPattern("(a|b)+").matches("ab" * 50)


def test_repeats_in_the_billions_take_no_time() -> None:
    assert PathPattern("a{0,2000000000}").matches("aaa")
    assert not PathPattern("a{2000000000}").matches("aaa")
