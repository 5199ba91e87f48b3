"""The sentences and the claims follow the numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from pages import Page
from studies import Study

from sftlens.report import write_report
from sftlens.report._wording import Sign, number, percent_interval, points, sign, signed
from sftlens.scoring import Estimate

Read = Callable[[Study], Page]


def test_restoration_that_helps(study_page: Read) -> None:
    page = study_page(Study(restoration=2.0, random=0.0, interpolation=0.0))
    assert page.claim("restoration-in")[0] == "holds"
    assert "helps" in page.texts["answer-restoration"]
    assert "hurts" not in page.texts["answer-restoration"]
    assert page.claim("over-random-in")[0] == "holds"
    assert page.claim("over-interpolation-in")[0] == "holds"
    assert "Is it the choice of parameters that helps? yes" in page.texts["answer-controls"]
    assert "restore 20 % after" in page.texts["brief-do"]


def test_restoration_that_hurts(study_page: Read) -> None:
    page = study_page(Study(restoration=-25.0, random=0.0, interpolation=0.0))
    assert page.claim("restoration-in")[0] in ("does not hold", "undecided")
    assert "helps" not in page.texts["answer-restoration"]
    assert "leave it as it is" in page.texts["brief-do"]
    assert "restore 20 %" not in page.texts["brief-do"]


def test_restoration_that_hurts_at_every_share(study_folder: Callable[[Study], Path]) -> None:
    """With one share only there is nothing gentler to choose."""
    run = study_folder(Study(restoration=-25.0, random=0.0, interpolation=0.0))
    for name in ("scores", "restorations"):
        frame = pl.read_parquet(run / f"{name}.parquet")
        kept = frame.filter(pl.col("share").is_null() | (pl.col("share") == 20))
        kept.write_parquet(run / f"{name}.parquet")
    page = Page(write_report(run))
    assert page.claim("restoration-in")[0] == "does not hold"
    assert "hurts" in page.texts["answer-restoration"]
    assert "helps at" not in page.texts["answer-restoration"]
    assert "leave it as it is" in page.texts["brief-do"]
    assert "does better" in page.texts["answer-controls"]


def test_restoration_without_effect(study_page: Read) -> None:
    page = study_page(Study(restoration=0.0, random=0.0, interpolation=0.0))
    assert page.claim("restoration-in")[0] == "undecided"
    assert "cannot be told apart" in page.texts["answer-restoration"]
    assert "leave it as it is" in page.texts["brief-do"]
    assert page.claim("over-random-in")[0] == "undecided"
    assert "not shown" in page.texts["answer-controls"]


def test_a_control_that_does_better(study_page: Read) -> None:
    page = study_page(Study(restoration=0.5, random=0.0, interpolation=3.0))
    assert page.claim("over-interpolation-in")[0] == "does not hold"
    assert "a control does better" in page.texts["answer-controls"]


@pytest.mark.parametrize(
    ("effect", "verdict", "word"), [(-4.0, "holds", "hurts"), (4.0, "does not hold", "helps")]
)
def test_more_data(study_page: Read, effect: float, verdict: str, word: str) -> None:
    page = study_page(Study(size_effect=effect))
    assert page.claim("size-in")[0] == verdict
    assert f"set {word} at" in page.texts["answer-size"]


def test_a_concentration_that_its_null_shows_too_says_nothing(study_page: Read) -> None:
    page = study_page(Study())
    assert "says nothing" in page.texts["answer-concentration"]
    assert page.claim("concentration-over-null")[0] == "does not hold"


def test_a_concentration_beyond_its_null(study_page: Read) -> None:
    page = study_page(Study(concentration_over_null=0.3))
    assert "says nothing" not in page.texts["answer-concentration"]
    assert "more concentrated than chance" in page.texts["answer-concentration"]
    assert page.claim("concentration-over-null")[0] == "holds"


def test_the_share_is_chosen_on_half_of_the_test_facts(study_page: Read) -> None:
    page = study_page(Study())
    assert "one half of the in-domain test facts" in page.texts["how-sure"]


def test_the_share_is_chosen_on_scored_validation_facts(study_page: Read) -> None:
    page = study_page(Study(validation=True))
    assert "validation facts" in page.texts["how-sure"]
    assert "one half" not in page.texts["how-sure"]


def test_a_quick_run_says_so(study_page: Read) -> None:
    page = study_page(Study(quick=True))
    assert "too small to show effects" in page.texts["quick"]
    assert "quick" not in study_page(Study()).texts


def test_one_seed_is_told(study_page: Read) -> None:
    page = study_page(Study(num_seeds=1))
    assert "With one seed" in page.texts["how-sure"]


def test_signs() -> None:
    assert sign(Estimate(0.1, 0.01, 0.2)) is Sign.POSITIVE
    assert sign(Estimate(-0.1, -0.2, -0.01)) is Sign.NEGATIVE
    assert sign(Estimate(0.0, 0.0, 0.0)) is Sign.UNCLEAR
    assert sign(None) is Sign.UNKNOWN


def test_numbers() -> None:
    assert number(None) == "not measured"
    assert number(-1234.56, 1) == "\N{MINUS SIGN}1,234.6"
    assert number(-0.01, 1) == "0.0"
    assert signed(0.04) == "0.0"
    assert signed(2) == "+2.0"
    assert percent_interval(None) == "not measured"
    text = points(Estimate(0.0423, -0.01, 0.0734)).replace("\N{NO-BREAK SPACE}", " ")
    assert text == "+4.2 points (\N{MINUS SIGN}1.0 to +7.3)"
