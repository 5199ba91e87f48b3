"""The page is safe, self-contained, and stands on tables that may lack parts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from pages import Page
from studies import Study

from sftlens.errors import UserError
from sftlens.pages import script_json
from sftlens.report import write_report
from sftlens.report.inference import paper_claims, read_study

Make = Callable[[Study], Path]
HOSTILE = "<script>alert(1)</script>"


def test_the_page_appears_in_the_run_folder(study_folder: Make) -> None:
    run = study_folder(Study())
    before = {path.name for path in run.iterdir()}
    assert write_report(run) == run / "index.html"
    assert {path.name for path in run.iterdir()} == before | {"index.html"}
    assert write_report(run).read_bytes() == (run / "index.html").read_bytes()


def test_the_page_loads_nothing(study_folder: Make) -> None:
    path = write_report(study_folder(Study()))
    assert path.stat().st_size < 5_000_000
    page = Page(path)
    for tag, attributes in page.tags:
        assert tag not in ("img", "iframe", "object", "embed", "link", "base", "form")
        assert "src" not in attributes
        if tag != "a":
            assert "href" not in attributes
    policy = next(a["content"] for t, a in page.tags if "http-equiv" in a)
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert not re.search(r"url\(|@import", re.findall(r"<style>.*?</style>", page.source, re.S)[0])
    links = {a["href"] for t, a in page.tags if t == "a" and not a["href"].startswith("#")}
    assert links == {"https://arxiv.org/abs/2509.16596"}
    ids = {a["id"] for _, a in page.tags if "id" in a}
    assert {a["href"][1:] for t, a in page.tags if t == "a" and a["href"][0] == "#"} <= ids
    assert page.source.count('id="plotly"') == 1


def test_hostile_names_stay_text(study_folder: Make) -> None:
    run = study_folder(Study(model=HOSTILE, subject=HOSTILE))
    for name in ("facts", "mastery", "divergence"):
        frame = pl.read_parquet(run / f"{name}.parquet")
        renamed = frame.with_columns(pl.col("topic").replace({"P17": HOSTILE}))
        renamed.write_parquet(run / f"{name}.parquet")
    of_runs = ("runs", "scores", "divergence", "concentration", "restorations", "tensors", "noise")
    for name in of_runs:
        frame = pl.read_parquet(run / f"{name}.parquet")
        odd = frame.with_columns(pl.col("run").replace({"level0-size30-seed0": HOSTILE}))
        odd.write_parquet(run / f"{name}.parquet")
    page = Page(write_report(run))
    assert "<script>alert" not in page.source
    assert HOSTILE in page.texts["mastery"]
    assert any(HOSTILE in row[1] for row in page.rows("examples"))
    figures = re.search(r'id="figures">(.*?)</script>', page.source, re.S)
    assert figures is not None
    specs = json.dumps(json.loads(figures[1])["figures"])
    assert HOSTILE not in specs
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in specs


def test_json_cannot_leave_its_script_element() -> None:
    value = {"a": "</script><!--&\u2028\u2029"}
    text = str(script_json(value))
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_without_exposures_divergence_and_restorations(study_folder: Make) -> None:
    run = study_folder(Study(exposures=False, divergence=False, restored=False, sizes=(120,)))
    page = Page(write_report(run))
    assert "no-exposure" in page.texts
    assert "no-divergence" in page.texts
    assert "no-restoration" in page.texts
    for name in (
        "size-in",
        "kl-rises",
        "kl-accuracy",
        "restoration-in",
        "collapse",
        "over-random-in",
    ):
        assert page.claim(name)[0] == "not measured"
    for name in ("size", "divergence", "restoration", "controls"):
        assert "not measured" in page.texts[f"answer-{name}"]
    assert "exposure" not in page.tables
    assert not re.search(r"\b(nan|None)\b", " ".join(page.texts.values()))


def test_unscored_answers_are_left_out_and_told(study_folder: Make) -> None:
    run = study_folder(Study())
    scores = pl.read_parquet(run / "scores.parquet")
    lost = scores["fact_id"].unique().sort()[::7]
    holes = pl.when(pl.col("fact_id").is_in(lost.implode())).then(None).otherwise(pl.col("correct"))
    scores.with_columns(correct=holes).write_parquet(run / "scores.parquet")
    page = Page(write_report(run))
    assert "were not scored" in page.texts["be-careful"]


@pytest.mark.parametrize("name", ["facts", "mastery", "runs", "scores", "divergence"])
def test_a_missing_table_is_told_in_one_line(study_folder: Make, name: str) -> None:
    run = study_folder(Study(restored=False))
    (run / f"{name}.parquet").unlink()
    with pytest.raises(UserError, match=rf"{name}\.parquet") as error:
        write_report(run)
    assert "\n" not in str(error.value)
    assert not (run / "index.html").exists()


@pytest.mark.parametrize(
    ("name", "column"), [("scores", "correct"), ("exposures", "num_statements"), ("runs", "seed")]
)
def test_a_missing_column_is_told_in_one_line(study_folder: Make, name: str, column: str) -> None:
    run = study_folder(Study(restored=False))
    pl.read_parquet(run / f"{name}.parquet").drop(column).write_parquet(run / f"{name}.parquet")
    with pytest.raises(UserError, match=f"column {column} is missing") as error:
        write_report(run)
    assert "\n" not in str(error.value)


def test_tables_that_do_not_fit_together_are_told(study_folder: Make) -> None:
    run = study_folder(Study(restored=False))
    mastery = pl.read_parquet(run / "mastery.parquet")
    mastery.tail(-300).write_parquet(run / "mastery.parquet")
    with pytest.raises(UserError, match=r"fact_id .* is not in mastery\.parquet"):
        write_report(run)
    mastery.with_columns(level=pl.lit("x")).write_parquet(run / "mastery.parquet")
    with pytest.raises(UserError, match="column level holds String"):
        write_report(run)
    (run / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"manifest\.json"):
        write_report(run)


def test_one_domain_alone(study_folder: Make) -> None:
    run = study_folder(Study(restoration=2.0))
    facts = pl.read_parquet(run / "facts.parquet")
    facts.with_columns(domain=pl.lit("out")).write_parquet(run / "facts.parquet")
    page = Page(write_report(run))
    assert "heat-in" not in page.tables
    assert "in-domain" not in page.texts["answers"]
    assert page.claim("restoration-out")[0] == "holds"


def test_a_number_that_is_no_number_is_not_measured(study_folder: Make) -> None:
    run = study_folder(Study(restored=False))
    held = pl.read_parquet(run / "concentration.parquet")
    null = pl.col("ranking") == "null"
    holes = pl.when(null).then(float("nan")).otherwise(pl.col("held"))
    held.with_columns(held=holes).write_parquet(run / "concentration.parquet")
    page = Page(write_report(run))
    assert all(row[2] == "not measured" for row in page.rows("concentration"))
    assert "Without its null" in page.texts["answer-concentration"]
    assert page.claim("concentration-over-null")[0] == "not measured"


def test_a_study_without_scored_test_facts_is_told(study_folder: Make) -> None:
    run = study_folder(Study(restored=False))
    facts = pl.read_parquet(run / "facts.parquet")
    facts.with_columns(split=pl.lit("train")).write_parquet(run / "facts.parquet")
    with pytest.raises(UserError, match="no tuned model was scored on test facts"):
        write_report(run)


def test_failed_jobs_are_shown_as_text(study_folder: Make) -> None:
    run = study_folder(Study(restored=False))
    assert "failures" not in Page(write_report(run)).texts
    rows = {"job": ["a"], "kind": ["tune"], "run": [None], "reason": [HOSTILE]}
    schema = dict.fromkeys(rows, pl.String)
    pl.DataFrame(rows, schema=schema).write_parquet(run / "failures.parquet")
    page = Page(write_report(run))
    assert page.rows("failures") == [["a", "tune", "none", HOSTILE]]
    assert "<script>alert" not in page.source


def test_the_claims_are_those_of_the_table(study_folder: Make) -> None:
    run = study_folder(Study(restored=False))
    table = paper_claims(read_study(run))
    page = Page(write_report(run))
    decisions = dict(table.select("claim", "decision").iter_rows())
    assert {name: page.claim(name)[0] for name in decisions} == decisions
    table.with_columns(decision=pl.lit("undecided")).write_parquet(run / "claims.parquet")
    page = Page(write_report(run))
    assert {page.claim(name)[0] for name in decisions} == {"undecided"}
