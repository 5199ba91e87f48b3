"""One advice on the shared scale model, made once."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from tiny_advice import SETTINGS

from sftlens.advice import AdviceResult, run_advise


@pytest.fixture(scope="session")
def planned(models: Path, world: Path) -> Path:
    """A file of the world's facts with enough of them for validation, and none to test."""
    table = pl.read_parquet(world / "facts.parquet")
    half = (pl.int_range(pl.len()) % 2 == 0) & (pl.col("split") == "train")
    rest = pl.when(half).then(pl.lit("train")).otherwise(pl.lit("validation"))
    path = models / "planned.parquet"
    table.with_columns(split=rest).write_parquet(path)
    return path


@pytest.fixture(scope="session")
def advised(models: Path, base: Path, planned: Path, mastery_folder: Path) -> AdviceResult:
    """With a pilot, of levels that were measured before."""
    out = models / "advised"
    return run_advise(str(base), str(planned), out, mastery=mastery_folder, settings=SETTINGS)
