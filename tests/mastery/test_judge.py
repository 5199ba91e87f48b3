"""When a completion counts, and when its outcome is settled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftlens.facts import Matching
from sftlens.mastery._judge import is_hit, is_settled
from sftlens.mastery._prompts import Asked
from tiny_world import make_fact

MATCHINGS: tuple[Matching, ...] = ("contains", "words", "exact")


def asked(*answers: str, one_line: bool = False) -> Asked:
    return Asked(make_fact("a", *answers), 0, "prompt", one_line)


@pytest.mark.parametrize(
    ("text", "settled"),
    [
        ("Iran", False),  # could become Iranian
        ("Iranian", False),
        ("Iran,", True),
        ("Iran ", True),
        ("in Iran\n", True),
        ("Tirana. IRAN!", True),
        ("Tirana.", False),
        ("", False),
    ],
)
def test_settled(text: str, settled: bool) -> None:
    assert is_settled(asked("Iran"), text, "contains") == settled
    assert is_settled(asked("Iran"), text, "words") == settled
    assert not is_settled(asked("Iran"), text, "exact")


def test_one_line() -> None:
    one = asked("Rome", one_line=True)
    assert not is_hit(one, " Paris\nRome", "contains")
    assert is_hit(one, "\n Rome\nParis", "contains")
    assert is_settled(one, "Paris\n", "exact")
    assert not is_settled(one, "\n", "contains")
    assert is_hit(asked("Rome"), " Paris\nRome", "contains")


signs = st.text(alphabet="aA b.\n\u0301é", max_size=8)


@given(signs, signs, st.sampled_from(["a", "ab", "b a", "é", "ba."]), st.booleans())
def test_what_is_settled_stays(beginning: str, rest: str, answer: str, one_line: bool) -> None:
    one = asked(answer, one_line=one_line)
    for matching in MATCHINGS:
        if is_settled(one, beginning, matching):
            for other in MATCHINGS if one_line and "\n" in beginning.lstrip() else [matching]:
                outcomes = {is_hit(one, text, other) for text in (beginning, beginning + rest)}
                assert len(outcomes) == 1
