"""What claims are judged against stands beside them."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from sftlens.report import _findings
from sftlens.report.inference import (
    _restoration_claims,
    _training_claims,
    _weight_claims,
    paper_claims,
)

ROOT = Path(__file__).parents[2]
CLAIMS = {row["claim"]: row for row in paper_claims({}).iter_rows(named=True)}
BY_MARGIN = {
    "LEVEL_MARGIN": (_training_claims.LEVEL_MARGIN, "level-matters", "above 5 points"),
    "HELD": (_weight_claims.HELD, "concentration", "above 0.7"),
    "NULL_MARGIN": (_findings.NULL_MARGIN, "concentration-over-null", "above 0.05"),
    "MARGIN": (-_restoration_claims.MARGIN, "unneeded-count", "above -2 points"),
}


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "benchmarks" / "study_results.py"))


@pytest.mark.parametrize("name", BY_MARGIN)
def test_a_margin_is_told(name: str, results: dict[str, Any]) -> None:
    value, claim, told = BY_MARGIN[name]
    assert CLAIMS[claim]["threshold"] == value
    assert results["threshold"](CLAIMS[claim]) == told
    page = (ROOT / "docs/concepts/intervals-and-claims.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if f"`{name}`" in line]
    assert f"| {told} |" in line
    module = ROOT / "src/sftlens/report" / line.split("`")[3]
    assert f"\n{name} = " in module.read_text(encoding="utf-8")


def test_no_other_claim_has_one(results: dict[str, Any]) -> None:
    told = {name for name, row in CLAIMS.items() if results["threshold"](row)}
    also = {"unneeded-norm", "unneeded-relative"}
    assert told == {claim for _, claim, _ in BY_MARGIN.values()} | also


def test_the_table_of_claims_shows_it(results: dict[str, Any], tmp_path: Path) -> None:
    paper_claims({}).write_parquet(tmp_path / "claims.parquet")
    lines = results["claims"](tmp_path).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells[0][2] == "threshold"
    assert {len(row) for row in cells} == {len(cells[0])}
    by_sentence = {row[0]: row[2] for row in cells[2:]}
    sentence = CLAIMS["concentration-over-null"]["sentence"]
    assert by_sentence[sentence] == "above 0.05"
