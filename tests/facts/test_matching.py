"""When a text counts as an answer."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sftlens.facts import fold, matches


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("  São\tPaulo \n", "são paulo"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("Ｔｏｋｙｏ", "tokyo"),  # full-width letters
        ("e\N{COMBINING ACUTE ACCENT}", "é"),
        ("New\N{NO-BREAK SPACE}York", "new york"),
        ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
        ("\N{IDEOGRAPHIC SPACE}東京 ", "東京"),
        ("", ""),
    ],
)
def test_fold(text: str, folded: str) -> None:
    assert fold(text) == folded


@given(st.text())
@example("ᾳ\N{COMBINING ACUTE ACCENT}İ")
def test_fold_is_done_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.text())
def test_fold_makes_compatible_forms_equal(text: str) -> None:
    assert fold(unicodedata.normalize("NFD", text)) == fold(text)
    assert fold(unicodedata.normalize("NFKC", text)) == fold(text)


@pytest.mark.parametrize(
    ("text", "answer", "contains", "words", "exact"),
    [
        ("He was born in Iran.", "Iran", True, True, False),
        ("an Iranian painter", "Iran", True, False, False),
        ("IRAN", "iran", True, True, True),
        (" Iran \n", "Iran", True, True, True),
        ("(Iran)", "Iran", True, True, False),
        ("Iran's capital", "Iran", True, True, False),
        ("“Iran”, they say", "Iran", True, True, False),
        ("Mali2", "Mali", True, False, False),
        ("in Russia", "US", False, False, False),
        ("born in Jerusalem", "USA", False, False, False),
        ("the US, that is", "US", True, True, False),
        ("in 1912", "12", False, False, False),
        ("U2's Bono", "U2", True, True, False),
        ("我住在東京都", "東京", True, False, False),
        ("Iranian Iran", "Iran", True, True, False),
        ("he works for Yahoo!", "Yahoo!", True, True, False),
        ("C++ and more", "C++", True, True, False),
        ("New\n  York", "new york", True, True, True),
        ("в Москве", "Москва", False, False, False),
        ("город Москва.", "москва", True, True, False),
        ("московская", "моск", True, False, False),
        ("首都は 東京 です", "東京", True, True, False),
        ("ירושלים, בירת", "ירושלים", True, True, False),
        ("Caf\N{LATIN SMALL LETTER E WITH ACUTE}", "Cafe\N{COMBINING ACUTE ACCENT}", *[True] * 3),
        ("a.b", "axb", False, False, False),
        ("axb", "a.b", False, False, False),
        ("anything", "", False, False, False),
        ("", "", False, False, False),
        ("anything", " \t", False, False, False),
    ],
)
def test_matching_by_hand(text: str, answer: str, contains: bool, words: bool, exact: bool) -> None:
    assert matches(text, [answer], "contains") is contains
    assert matches(text, [answer], "words") is words
    assert matches(text, [answer], "exact") is exact


def test_any_answer_counts() -> None:
    assert matches("the USA", ["United States", "USA"])
    assert not matches("the USA", ["United States", "America"])
    assert not matches("the USA", [])


@given(st.text(), st.text(min_size=1), st.text())
def test_an_answer_is_found_wherever_white_space_frames_it(
    before: str, answer: str, after: str
) -> None:
    if fold(answer):
        assert matches(f"{before} {answer} {after}", [answer])
        assert matches(answer, [answer], "exact")


@given(st.text(), st.lists(st.text(), max_size=3))
def test_each_rule_is_stricter_than_the_one_before(text: str, answers: list[str]) -> None:
    exact, words, contains = (
        matches(text, answers, rule) for rule in ("exact", "words", "contains")
    )
    assert exact <= words <= contains
