"""Small bases beside the concentration, and changed entries by place, in a study's report."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from studies import Study as Written
from studies import make_study

from sftlens.report._answers import Answers
from sftlens.report._effects import compute_effects
from sftlens.report._findings import find_all
from sftlens.report._shift import BASES, WITHOUT, measure_concentration, measure_divergence
from sftlens.report._tables import Tables, load_tables
from sftlens.report._weights_map import changed_by_share
from sftlens.report.page._listings import concentration_listing
from sftlens.report.paper._places import restored_by_layer
from sftlens.report.paper._shift import concentration
from sftlens.report.paper._study import Study

NBSP = "\u00a0"
RUNS = pl.DataFrame(
    {"run": ["a", "b"], "level": 0, "size": 8, "seed": [0, 1], "num_facts": 8},
    schema_overrides={"level": pl.Int64},
)


def with_bases(table: pl.DataFrame) -> pl.DataFrame:
    """The same with what a study of today counts: 40 % of each top 0 in the base, 50 % small."""
    counted = pl.col("ranking") == "relative"
    more = [
        table.filter(ranking=ranking).with_columns(
            pl.lit(f"{ranking} without small bases").alias("ranking"), pl.col("held") / 2
        )
        for ranking in ("relative", "null")
    ]
    return pl.concat([table, *more]).with_columns(
        num_top=pl.when(counted).then(100),
        num_zero_base=pl.when(counted).then(40),
        num_small_base=pl.when(counted).then(50),
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run folder of an earlier version, and one of today's."""
    root = tmp_path_factory.mktemp("studies")
    found = {name: make_study(root / name, Written()) for name in ("earlier", "today")}
    path = found["today"] / "concentration.parquet"
    with_bases(pl.read_parquet(path)).write_parquet(path)
    return found


@pytest.fixture(scope="module")
def today(folders: dict[str, Path]) -> Tables:
    return load_tables(folders["today"])


def test_the_page_shows_small_bases_beside_the_concentration(today: Tables) -> None:
    found = measure_concentration(today)
    listing = concentration_listing(found)
    assert listing.columns[-4:] == (*WITHOUT, *BASES.values())
    shown = {cell.replace(NBSP, " ") for row in listing.rows for cell in row[-2:]}
    assert shown == {"40.0 % (40.0 % to 40.0 %)", "50.0 % (50.0 % to 50.0 %)"}
    for ranking, without in zip(("relative", "null"), WITHOUT, strict=True):
        for (name, top), held in found.held.items():
            if name == ranking:
                assert found.held[without, top].mean == pytest.approx(held.mean / 2)


def test_the_finding_says_what_small_bases_do(today: Tables, folders: dict[str, Path]) -> None:
    def sentences(tables: Tables) -> str:
        answers, found = Answers(tables), measure_concentration(tables)
        findings = find_all(answers, compute_effects(answers), measure_divergence(tables), found)
        [of_weights] = [f.sentences for f in findings if f.name == "concentration"]
        return " ".join(of_weights).replace(NBSP, " ")

    assert "40.0 % of the changed parameters in this top are 0 in the base" in sentences(today)
    assert "Without the parameters whose base is below 1e-4" in sentences(today)
    assert "1e-4" not in sentences(load_tables(folders["earlier"]))


def test_run_folders_of_earlier_versions_have_none(folders: dict[str, Path]) -> None:
    found = measure_concentration(load_tables(folders["earlier"]))
    assert found.bases == {}
    assert concentration_listing(found).columns == ("top", "relative", "null", "absolute")


def test_table_3_has_them_below(folders: dict[str, Path]) -> None:
    earlier, now = (concentration(Study(folders[name])) for name in ("earlier", "today"))
    new = now.filter(~pl.col("ranking").is_in(earlier["ranking"].unique().implode()))
    assert new["ranking"].unique(maintain_order=True).to_list() == [*WITHOUT, *BASES.values()]
    assert now.filter(pl.col("ranking").is_in(earlier["ranking"].unique().implode())).equals(
        earlier
    )
    zeros = now.filter(ranking=BASES["num_zero_base"])
    assert zeros["value"].to_list() == pytest.approx([0.4] * len(zeros))
    assert zeros["top"].n_unique() == earlier["top"].n_unique()


def test_a_top_without_changes_has_no_part(folders: dict[str, Path], tmp_path: Path) -> None:
    table = pl.read_parquet(folders["today"] / "concentration.parquet")
    table = table.with_columns(num_top=pl.col("num_top") * 0, num_zero_base=0, num_small_base=0)
    tables = {"runs": pl.read_parquet(folders["today"] / "runs.parquet"), "concentration": table}
    assert not set(BASES.values()) & set(concentration(Study(tables))["ranking"])


def tensors(**columns: list[float]) -> pl.DataFrame:
    """Two runs of two layers, 100 parameters each, of which 20 changed."""
    return pl.DataFrame(
        {
            "run": ["a", "a", "b", "b"],
            "name": ["0.up", "1.up"] * 2,
            "layer": [0, 1] * 2,
            "module": "up",
            "num_parameters": 100,
            "num_changed": 20,
            **columns,
        }
    )


def test_shares_end_at_what_changed() -> None:
    """Earlier tables filled a share up by name; the parts of today's are of what changed."""
    filled = {"num_restored_10": [12, 8] * 2, "num_restored_60": [100, 20] * 2}
    assert changed_by_share(tensors(**filled)) == {10.0: "num_restored_10"}
    old = restored_by_layer(Study({"runs": RUNS, "tensors": tensors(**filled)}))
    assert old["share"].unique().to_list() == [10.0]
    counted = {"num_top_10": [10.0, 10.0] * 2, "num_top_60": [20.0, 20.0] * 2}
    both = tensors(**filled, **counted)
    assert changed_by_share(both) == {10.0: "num_top_10", 60.0: "num_top_60"}
    new = restored_by_layer(Study({"runs": RUNS, "tensors": both}))
    assert new.filter(share=60)["value"].to_list() == [0.5, 0.5]


def test_a_table_that_counts_nothing() -> None:
    assert changed_by_share(tensors()) == {}
    assert changed_by_share(tensors(num_restored_some=[1.0] * 4)) == {}
