"""The folder of the paper's tables, and the laws that they keep."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from latex import rows_of
from polars.testing import assert_frame_equal
from small_study import small_study
from studies import Study as Invented

from sftlens.report.figures import REMEDY
from sftlens.report.inference import paper_claims, read_study
from sftlens.report.paper import Study, paper_tables, write_paper_tables
from sftlens.report.paper._contents import CONTENTS
from sftlens.report.paper._reading import read_answers

NAMES = [spec.name for spec in CONTENTS]


def write(folder: Path, study: dict[str, pl.DataFrame]) -> Path:
    for name, table in study.items():
        table.write_parquet(folder / f"{name}.parquet")
    return folder


def listing(run: Path) -> dict[str, Any]:
    found = json.loads((run / "paper" / "index.json").read_text(encoding="utf-8"))
    return {entry["name"]: entry for entry in found["tables"]}


def made(study: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame | None]:
    return {one.name: one.table for one in paper_tables(Study(study))}


def test_the_exact_contents_of_the_folder(tmp_path: Path) -> None:
    result = write_paper_tables(write(tmp_path, small_study()))
    there = [name for name in NAMES if name != "claims"]
    names = [f"{name}.{kind}" for name in there for kind in ("parquet", "csv", "tex")]
    assert [path.name for path in result.files] == names
    assert sorted(p.name for p in (tmp_path / "paper").iterdir()) == sorted(
        [*names, "index.json", "cite"]
    )
    assert [path.name for path in result.citations] == [
        f"sftlens.{suffix}" for suffix in ("bib", "ris", "enw")
    ]
    assert (result.figures, result.notes) == ([], [REMEDY])  # as without matplotlib
    assert result.missing == {"claims": "the study has no table claims"}
    found = listing(tmp_path)
    assert list(found) == NAMES
    assert found["claims"]["files"] == []
    assert found["claims"]["num_rows"] is None
    assert found["claims"]["holes"] == ["the study has no table claims"]
    assert found["restoration"]["paper"] == "Table 4"
    assert found["restoration"]["holes"] == []


def test_the_three_files_hold_the_same(tmp_path: Path) -> None:
    write_paper_tables(write(tmp_path, small_study()))
    for name in NAMES[:-1]:
        table = pl.read_parquet(tmp_path / "paper" / f"{name}.parquet")
        csv = pl.read_csv(tmp_path / "paper" / f"{name}.csv", schema=table.schema)
        assert_frame_equal(table, csv)
        assert rows_of((tmp_path / "paper" / f"{name}.tex").read_text(encoding="utf-8"))
        assert listing(tmp_path)[name]["num_rows"] == len(table)


def test_from_files_as_from_tables(tmp_path: Path) -> None:
    study = small_study()
    run = write(tmp_path, study)
    for ours, theirs in zip(paper_tables(Study(run)), paper_tables(Study(study)), strict=True):
        assert ours.holes == theirs.holes
        if ours.table is not None and theirs.table is not None:
            assert_frame_equal(ours.table, theirs.table)


def test_the_order_of_rows_and_runs_does_not_matter() -> None:
    study = small_study()
    rng = np.random.default_rng(0)
    shuffled = {name: table[rng.permutation(len(table)).tolist()] for name, table in study.items()}
    for name, table in made(study).items():
        other = made(shuffled)[name]
        assert (table is None) == (other is None)
        if table is not None and other is not None:
            assert_frame_equal(table, other, rel_tol=1e-9)


NEEDED = {
    "facts": {"level_sizes", "levels_by_topic", "accuracy_by_size", "restoration", "strategies"},
    "mastery": {"level_sizes", "mastery_by_exposure", "accuracy_by_level"},
    "runs": {"accuracy_by_size", "concentration", "training_set", "restored_by_layer"},
    "scores": {
        "accuracy_by_size",
        "accuracy_by_level",
        "restoration",
        "layer_groups",
        "restoration_gains",
        "kl_by_run",
    },
    "divergence": {"kl_by_run"},
    "exposures": {"mastery_by_exposure"},
    "restorations": {"removed_norm"},
    "concentration": {"concentration"},
    "training_scores": {"training_set"},
    "layer_scores": {"layer_groups"},
    "task_scores": {"other_tasks"},
    "tensors": {"restored_by_layer", "restored_by_module", "change_by_place"},
}


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("state", ["absent", "empty", "damaged"])
def test_a_missing_table_is_a_told_hole(tmp_path: Path, name: str, state: str) -> None:
    study = small_study()
    run = write(tmp_path, study)
    write_paper_tables(run)
    path = tmp_path / f"{name}.parquet"
    if state == "absent":
        path.unlink()
    elif state == "empty":
        study[name].clear().write_parquet(path)
    else:
        path.write_bytes(path.read_bytes()[:-40] + b"x" * 40)
    result = write_paper_tables(run)
    assert NEEDED[name] <= set(result.missing)
    for hole in NEEDED[name]:
        assert result.missing[hole]
        assert not list((tmp_path / "paper").glob(f"{hole}.*"))  # the earlier ones are gone
        assert listing(run)[hole]["holes"] == [result.missing[hole]]


@pytest.mark.parametrize(
    ("absent", "name", "hole"),
    [
        ("divergence", "well_known_and_kl", "not measured: kl"),
        ("base_scores", "exchange", "not measured: base to tuned"),
        ("base_scores", "strategies", "not measured: base"),
        ("strategy_scores", "strategies", "not measured: lora"),
        ("strategy_runs", "strategies", "not measured: instruct"),
    ],
)
def test_a_missing_part_is_told(tmp_path: Path, absent: str, name: str, hole: str) -> None:
    study = small_study()
    del study[absent]
    write_paper_tables(write(tmp_path, study))
    assert hole in listing(tmp_path)[name]["holes"]
    assert listing(tmp_path)[name]["num_rows"] > 0


def test_a_missing_column_is_told(tmp_path: Path) -> None:
    study = small_study()
    study["scores"] = study["scores"].drop("correct")
    result = write_paper_tables(write(tmp_path, study))
    assert result.missing["restoration"] == "table scores has no column correct"


def test_rows_of_two_studies_are_told(tmp_path: Path) -> None:
    study = small_study()
    study["scores"] = pl.concat([study["scores"], study["scores"].head(1)])
    study["training_scores"] = study["training_scores"].with_columns(run=pl.lit("other"))
    result = write_paper_tables(write(tmp_path, study))
    assert "two rows of the same model and fact" in result.missing["accuracy_by_size"]
    assert "run 'other' is not in table runs" in result.missing["training_set"]


def test_a_model_that_failed_to_answer_is_not_wrong() -> None:
    """What was not scored leaves the facts, and where all of it was not, there is no number."""
    study = small_study()
    of_run = (pl.col("run") == "level0-seed0") & (pl.col("method") == "tuned")
    unknown = pl.when(of_run & (pl.col("fact_id") == "in1")).then(None).otherwise("correct")
    study["scores"] = study["scores"].with_columns(correct=unknown)
    table = made(study)["accuracy_by_size"]
    assert table is not None
    row = table.filter(domain="in", level=0).row(0, named=True)
    assert row["num_facts"] == 9
    assert row["value"] == pytest.approx(0.4)  # of level 0 only in0 counts
    study["scores"] = study["scores"].with_columns(
        correct=pl.when(of_run).then(None).otherwise("correct")
    )
    table = made(study)["accuracy_by_size"]
    assert table is not None
    row = table.filter(domain="in", level=0).row(0, named=True)
    assert (row["value"], row["low"], row["num_facts"]) == (None, None, 0)


def test_only_needed_columns_are_read(tmp_path: Path) -> None:
    """Batches of any size give the same rows, whatever the other columns hold."""
    table = pl.concat([small_study()["scores"]] * 1).with_columns(answer=pl.lit("x" * 100))
    path = tmp_path / "scores.parquet"
    table.write_parquet(path, row_group_size=7)
    facts = sorted(table["fact_id"].unique())
    keys = ["run", "method", "share"]
    ours = read_answers(path, "scores", keys, facts, "correct")
    theirs = table.sort("fact_id").group_by(keys).agg(pl.col("correct").cast(pl.Int8))
    assert len(ours) == len(theirs) == 16
    for run, method, share, correct in theirs.iter_rows():
        assert ours[run, method, share].tolist() == correct


def test_an_invented_study_has_its_tables(
    study_folder: Callable[[Invented], Path], tmp_path: Path
) -> None:
    run = study_folder(Invented(validation=True, subject=r"Tav_ri & 5 % of {x}\y"))
    claims = paper_claims(read_study(run), num_resamples=99)
    claims.write_parquet(run / "claims.parquet")
    result = write_paper_tables(run)
    assert set(result.missing) == {
        "other_tasks",
        "training_set",
        "restored_by_layer",
        "restored_by_module",
        "layer_groups",
    }
    assert_frame_equal(pl.read_parquet(run / "paper" / "claims.parquet"), claims)
    tex = (run / "paper" / "claims.tex").read_text(encoding="utf-8")
    assert len(rows_of(tex)) == len(claims)
    table = pl.read_parquet(run / "paper" / "restoration.parquet")
    at_20 = table.filter(domain="in", method="relative", share=20.0)
    assert (at_20["difference"] > 0).all()
    assert (table.filter(share=60.0, method="relative")["difference_high"] < 0).all()
    measured = table.drop_nulls("value")
    assert ((measured["low"] <= measured["value"]) & (measured["value"] <= measured["high"])).all()


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_paper_tables(write(tmp_path, small_study()))
    assert capfd.readouterr() == ("", "")
