"""Runs side by side: the facts they share, the numbers, the page, the command."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from pages import Page
from studies import Study as Invented

from axe import found_by_axe, needs_axe
from browsing import needs_chromium, opened
from sftlens.cli import main
from sftlens.errors import UserError
from sftlens.report._answers import Cell
from sftlens.report.compare import NUMBERS_SCHEMA, decided_otherwise, write_comparison
from sftlens.report.compare._sources import read_sources, shared_facts
from sftlens.report.inference import paper_claims, read_study

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'
MakeStudy = Callable[[Invented], Path]


@pytest.fixture(scope="module")
def runs(study_folder: MakeStudy, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Named runs; ``same`` asked the same facts, ``other`` none of them, ``fewer`` some."""
    root = tmp_path_factory.mktemp("runs")
    made = {
        "first": Invented(sizes=(30, 240)),
        "same": Invented(sizes=(30, 240), size_effect=-4.0, model=HOSTILE),
        "other": Invented(sizes=(30, 240), subject=HOSTILE, restored=False, divergence=False),
        "fewer": Invented(sizes=(30,), facts_per_topic=40, num_seeds=1, quick=True),
    }
    for name, study in made.items():
        folder = shutil.move(study_folder(study), root / name)
        claims = paper_claims(read_study(Path(folder)), num_resamples=99)
        claims.write_parquet(root / name / "claims.parquet")
    return {name: root / name for name in made}


@pytest.fixture(scope="module")
def out(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("comparison") / "out"
    write_comparison(list(runs.values()), out)
    return out


@pytest.fixture(scope="module")
def numbers(out: Path) -> pl.DataFrame:
    return pl.read_parquet(out / "comparison.parquet")


def accuracy(numbers: pl.DataFrame, run: str, **what: Any) -> dict[str, Any]:
    told = {"domain": "in", "level": 0, "size": 240, "test_level": "mean", **what}
    return numbers.filter(pl.col("quantity") == "accuracy", run=run, **told).row(0, named=True)


def test_the_folder(out: Path, numbers: pl.DataFrame) -> None:
    assert sorted(path.name for path in out.iterdir()) == [
        "claims.parquet",
        "comparison.parquet",
        "index.html",
        "manifest.json",
        "settings.parquet",
    ]
    assert numbers.schema == NUMBERS_SCHEMA
    assert set(numbers["run"]) == {"first", "same", "other", "fewer"}


def test_shared_facts(runs: dict[str, Path]) -> None:
    first, same, other, fewer = read_sources(list(runs.values()))
    found = shared_facts(same, first)
    assert found is not None
    assert found.all_shared
    assert found.same_levels
    assert found.same_training
    none = shared_facts(other, first)
    assert none is not None
    assert (none.num_own, none.num_shared) == (240, 0)
    some = shared_facts(fewer, first)
    assert some is not None
    assert (some.num_own, some.num_first, some.num_shared) == (160, 240, 160)
    assert not some.same_levels
    assert not some.same_training
    assert first.answers is not None
    assert fewer.answers is not None
    assert (
        first.answers.facts["fact_id"][int(some.first[5])]
        == (fewer.answers.facts["fact_id"][int(some.own[5])])
    )


def test_a_difference_is_that_of_the_answers(runs: dict[str, Path], numbers: pl.DataFrame) -> None:
    first, same = read_sources([runs["first"], runs["same"]])
    assert first.answers is not None
    assert same.answers is not None
    cell, mask = Cell(0, 240), first.answers.test("in")
    ours, theirs = (
        np.stack(list(one.answers.rows[cell].values()))[:, mask].mean(axis=0)
        for one in (same, first)
        if one.answers is not None
    )
    levels = first.answers.levels[mask]
    by_level = [(ours - theirs)[levels == level].mean() for level in np.unique(levels)]
    row = accuracy(numbers, "same")
    assert row["difference"] == pytest.approx(np.mean(by_level))
    reference = accuracy(numbers, "first")
    assert row["difference"] == pytest.approx(row["value"] - reference["value"])
    assert row["difference"] < 0
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    assert (row["weighted_by"], row["training_sets"]) == ("levels", "same")
    assert row["num_shared_facts"] == int(mask.sum())
    assert reference["difference"] is None


def test_same_models_differ_by_exactly_nothing(numbers: pl.DataFrame) -> None:
    """The effect of size is that of the largest only."""
    row = accuracy(numbers, "same", size=30)
    assert row["difference"] == 0
    assert row["difference_low"] < 0 < row["difference_high"]


def test_other_levels_weigh_facts_alike(runs: dict[str, Path], numbers: pl.DataFrame) -> None:
    row = accuracy(numbers, "fewer", size=30)
    assert (row["weighted_by"], row["training_sets"]) == ("facts", "apart")
    first, fewer = read_sources([runs["first"], runs["fewer"]])
    shared = shared_facts(fewer, first)
    assert shared is not None
    here = shared.domains == "in"
    means = [
        np.stack(list(one.answers.rows[Cell(0, 30)].values()))[:, places[here]].mean()
        for one, places in ((fewer, shared.own), (first, shared.first))
        if one.answers is not None
    ]
    assert row["difference"] == pytest.approx(means[0] - means[1])
    assert row["num_shared_facts"] == int(here.sum())
    of_levels = numbers.filter(pl.col("test_level") != "mean", run="fewer", quantity="accuracy")
    assert of_levels["difference"].null_count() == len(of_levels)


def test_other_facts_have_no_difference(numbers: pl.DataFrame) -> None:
    rows = numbers.filter(run="other", quantity="accuracy")
    assert len(rows)
    assert rows["value"].null_count() == 0
    assert rows["difference"].null_count() == len(rows)


def test_what_was_not_measured_is_absent(numbers: pl.DataFrame) -> None:
    quantities = set(numbers.filter(run="other")["quantity"])
    assert quantities == {"accuracy", "concentration", "test facts"}
    gains = numbers.filter(pl.col("quantity") == "restoration gain", run="first", domain="in")
    assert set(gains["method"]) == {"relative", "random", "interpolation"}
    assert gains.filter(level=0, method="relative")["value"].item() > 0


def test_the_page_holds_the_numbers_of_the_table(out: Path, numbers: pl.DataFrame) -> None:
    page = Page(out / "index.html")
    rows = page.tables["accuracy-in"]
    shown = [row[-1] for row in rows if row[-1].startswith("value") is False]
    for run in ("first", "same", "other", "fewer"):
        found = accuracy(numbers, run, size=30)
        value, low, high = (f"{100 * found[key]:.1f}" for key in ("value", "low", "high"))
        assert any(text.startswith(f"{value} % ({low} to {high})") for text in shown), run
    kl = numbers.filter(run="first", quantity="kl", level=0, size=30).row(0, named=True)
    assert any(f"{kl['value']:.3f}" in row[-1] for row in page.tables["kl"])


def test_what_differs_is_told(out: Path) -> None:
    page = Page(out / "index.html")
    answers = page.texts["answers"]
    assert "Run 2 was asked the same 240 test facts as run 1" in answers
    assert "It was trained on the same facts too" in answers
    assert "Run 3 was asked other test facts than run 1 (240 and 240, none the same)" in answers
    assert "160 are shared, of 160 and 240" in answers
    assert "quick run, too small to show effects" in re.sub(r"<[^>]*>", "", page.source)
    settings = {tuple(row[:2]): row[2:] for row in page.tables["settings"][1:]}
    assert settings["models and facts", "base model"][1] == HOSTILE
    assert settings["settings", "sizes"] == ["30, 240", "30, 240", "30, 240", "30"]
    table = pl.read_parquet(out / "settings.parquet")
    model = table.filter(pl.col("setting") == "base model", run="same")
    assert model["value"].to_list() == [HOSTILE]


def test_claims_stand_side_by_side(out: Path) -> None:
    page = Page(out / "index.html")
    claims = pl.read_parquet(out / "claims.parquet")
    assert set(claims["run"]) == {"first", "same", "other", "fewer"}
    rows = page.tables["claims"][1:]
    first = claims.filter(run="first")
    assert len(rows) == len(first)
    for row, decision in zip(rows, first["decision"], strict=True):
        assert row[1].startswith(decision)


def test_what_was_not_measured_is_no_decision() -> None:
    assert not decided_otherwise(["holds", "not measured", "holds"])
    assert decided_otherwise(["holds", "undecided"])


def test_the_command(runs: dict[str, Path], tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    out = tmp_path / "out"
    names = [str(runs["first"]), str(runs["fewer"])]
    monkeypatch.setattr(sys, "argv", ["sftlens", "report", *names, "--out", str(out)])
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr().out
    assert "2: fewer, 160 test facts, 160 of them asked by run 1 too, at other mastery" in shown
    assert f"the comparison is at {out / 'index.html'}" in shown
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--json"])
    with pytest.raises(SystemExit):
        main()
    found = json.loads(capsys.readouterr().out)
    assert found["runs"] == ["first", "fewer"]
    assert found["facts"][1] == {"num_facts": 160, "num_shared": 160, "same_levels": False}
    (row,) = (
        r for r in found["accuracy"] if (r["run"], r["domain"], r["level"]) == ("fewer", "in", 0)
    )
    assert (row["size"], row["weighted_by"]) == (30, "facts")
    monkeypatch.setattr(sys, "argv", ["sftlens", "report", names[0], "--out", str(out)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "the report of one run stands in its folder" in capsys.readouterr().err


def test_the_page_is_text_and_loads_nothing(out: Path) -> None:
    page = Page(out / "index.html")
    assert not [tag for tag, _ in page.tags if tag in ("script", "img", "iframe", "object", "link")]
    assert HOSTILE not in page.source
    assert not re.search(r"\b(?:src|srcset)=", re.sub(r"&\w+;[^<]*", "", page.source))
    links = [given.get("href", "") for tag, given in page.tags if tag == "a"]
    assert all(link.startswith("#") or link == "https://arxiv.org/abs/2509.16596" for link in links)
    assert "default-src 'none'" in page.source
    ids = [given["id"] for _, given in page.tags if "id" in given]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)


def test_a_second_call_changes_nothing(runs: dict[str, Path], out: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    again = write_comparison(list(runs.values()), out)
    assert again.runs == ["first", "same", "other", "fewer"]
    assert again.report == str(out / "index.html")
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    with pytest.raises(UserError, match="holds something already"):
        write_comparison(list(runs.values())[:2], out)


def test_labels_are_the_shortest_that_differ(runs: dict[str, Path], tmp_path: Path) -> None:
    for name in ("a/run", "b/run"):
        shutil.copytree(runs["fewer"], tmp_path / name)
    sources = read_sources([tmp_path / "a" / "run", tmp_path / "b" / "run"])
    assert [one.label for one in sources] == ["a/run", "b/run"]


def test_refusals(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="named twice"):
        write_comparison([runs["first"], runs["same"] / ".." / "first"], tmp_path / "out")
    with pytest.raises(UserError, match=r"holds no manifest\.json"):
        write_comparison([runs["first"], tmp_path], tmp_path / "out")
    with pytest.raises(UserError, match="two run folders or more"):
        write_comparison([runs["first"]], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_scores_is_not_compared_and_told(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    bare = tmp_path / HOSTILE.replace("/", "")
    shutil.copytree(runs["fewer"], bare)
    (bare / "scores.parquet").unlink()
    (bare / "claims.parquet").unlink()
    result = write_comparison([runs["first"], bare], tmp_path / "out")
    assert result.facts[1] is None
    page = Page(tmp_path / "out" / "index.html")
    assert "Run 2 has no scored test facts" in page.texts["answers"]
    assert bare.name not in page.source
    assert bare.name in page.tables["claims"][0][2]


@needs_chromium
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_in_a_browser(browser: Browser, out: Path, width: int, scheme: str) -> None:
    page, troubles = opened(browser, out / "index.html", width, scheme, has_charts=False)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#accuracy"
    page.locator("#accuracy summary").first.press("Enter")
    assert page.locator("#accuracy details").first.evaluate("part => part.open")
    assert troubles == []
    page.context.close()


@needs_chromium
@needs_axe
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing(browser: Browser, out: Path, width: int, scheme: str) -> None:
    page, troubles = opened(browser, out / "index.html", width, scheme, has_charts=False)
    assert found_by_axe(page) == []
    assert troubles == []
    page.context.close()
