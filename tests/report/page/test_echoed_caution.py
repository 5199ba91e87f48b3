"""What the page says of facts whose answer stands in their own question."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import polars as pl

from sftlens.report._answers import Answers
from sftlens.report.page._advice import _echoed


def test_echoed_test_facts_are_a_caution() -> None:
    facts = pl.DataFrame(
        {
            "fact_id": list("abcd"),
            "subject": ["Lutsk Raion", "France", "Panjgur District", "Peru"],
            "question": [f"What is the capital of {name}?" for name in "abcd"],
            "answers": [["Lutsk"], ["Paris"], ["Panjgur"], ["Lima"]],
        }
    )
    inside = np.array([True, True, True, False])
    answers = SimpleNamespace(
        facts=facts,
        levels=np.array([4, 4, 0, 4]),
        domains=["in", "out"],
        test=lambda domain: inside if domain == "in" else ~inside,
    )
    (text,) = _echoed(cast(Answers, answers))
    assert text.startswith(
        "In-domain, the answers to 2 of 3 test facts stand in their own question, 1 of the 2 of "
        "level 4 among them"
    )
