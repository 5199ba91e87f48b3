"""The tables of a study's run folder, read and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import polars as pl

from sftlens.errors import UserError
from sftlens.facts import DOMAINS, SPLITS
from sftlens.manifest import read_manifest
from sftlens.scoring import NUM_LEVELS
from sftlens.storage_types import StorageType
from sftlens.tables import Kind, columns_of, read_table

STAGE = "study"

# A column whose name ends with "?" may hold nulls: "not measured", never zero. One with "??" may be
# missing: earlier versions did not write it.
_SCHEMAS: Mapping[str, Mapping[str, Kind]] = {
    "facts": {
        "fact_id": pl.String,
        "topic": pl.String,
        "subject": pl.String,
        "question": pl.String,
        "answers": pl.List(pl.String),
        "split": pl.String,
        "domain": pl.String,
    },
    "exposures": {
        "fact_id": pl.String,
        "num_statements": pl.Int64,
        "num_question_answers": pl.Int64,
    },
    "mastery": {
        "fact_id": pl.String,
        "topic": pl.String,
        "num_completions": pl.Int64,
        "num_hits": pl.Int64,
        "mastery": pl.Float64,
        "level": pl.Int64,
        "best_template?": pl.Int64,
    },
    "runs": {
        "run": pl.String,
        "level": pl.Int64,
        "size": pl.Int64,
        "seed": pl.Int64,
        "num_facts": pl.Int64,
        "num_steps?": pl.Int64,
        "final_loss?": pl.Float64,
    },
    "scores": {
        "run": pl.String,
        "method": pl.String,
        "share?": pl.Float64,
        "fact_id": pl.String,
        "correct?": pl.Boolean,
    },
    "divergence": {
        "run": pl.String,
        "fact_id": pl.String,
        "topic": pl.String,
        "template?": pl.Int64,
        "kl?": pl.Float64,
        "kl_full?": pl.Float64,
    },
    "concentration": {
        "run": pl.String,
        "ranking": pl.String,
        "top": pl.Float64,
        "held?": pl.Float64,
        "num_top??": pl.Int64,
        "num_zero_base??": pl.Int64,
        "num_small_base??": pl.Int64,
    },
    "restorations": {
        "run": pl.String,
        "method": pl.String,
        "share?": pl.Float64,
        "num_parameters?": pl.Int64,
        "num_restored?": pl.Int64,
        "num_restored_changed?": pl.Int64,
        "norm_removed?": pl.Float64,
        "alpha?": pl.Float64,
    },
    "base_scores": {"fact_id": pl.String, "correct?": pl.Boolean},
    "tensors": {
        "run": pl.String,
        "name": pl.String,
        "layer?": pl.Int64,
        "module": pl.String,
        "num_parameters": pl.Int64,
        "num_changed": pl.Int64,
        "sum_relative?": pl.Float64,
        "sum_absolute?": pl.Float64,
    },
    "noise": {"run": pl.String, "fact_id": pl.String, "correct?": pl.Boolean, "again?": pl.Boolean},
}
_RANGES = {
    "level": (0, NUM_LEVELS - 1),
    "mastery": (0, 1),
    "num_facts": (0, math.inf),
    "share": (0, 100),
}
_AMONG: Mapping[str, tuple[str, ...]] = {"domain": DOMAINS, "split": SPLITS}
_OPTIONAL = ("exposures", "base_scores", "tensors", "noise")
_MODEL_KEYS = ("model", "base", "base_model", "model_name")


@dataclass(frozen=True, kw_only=True)
class Tables:
    """What a study left in its run folder; fractions throughout, shares in percent."""

    facts: pl.DataFrame
    exposures: pl.DataFrame | None
    mastery: pl.DataFrame
    runs: pl.DataFrame
    scores: pl.DataFrame
    divergence: pl.DataFrame
    concentration: pl.DataFrame
    restorations: pl.DataFrame
    settings: Mapping[str, Any]
    result: Mapping[str, Any]
    versions: Mapping[str, Any]
    base_scores: pl.DataFrame | None = None
    tensors: pl.DataFrame | None = None
    noise: pl.DataFrame | None = None

    @property
    def quick(self) -> bool:
        """Whether the study says of itself that it is too small to show effects."""
        return self.settings.get("quick") is True

    @property
    def dtype(self) -> str | None:
        """The type that models were asked in, if the settings give one."""
        found = self.settings.get("dtype")
        return found if isinstance(found, str) and found in get_args(StorageType) else None

    @property
    def model(self) -> str | None:
        """The base model's name as the settings give it, if they do."""
        for key in _MODEL_KEYS:
            if isinstance(name := self.settings.get(key), str) and name:
                return name
        return None


def load_tables(run: Path) -> Tables:
    """Read the run folder of a study.

    Raises:
        UserError: when the folder is no study's, a table or a column is missing or of another
            type, or the tables do not fit together.
    """
    manifest = read_manifest(run, STAGE)
    frames = {name: _read(run, name) for name in _SCHEMAS}
    _check_links(run, frames)
    config = manifest.get("config")
    settings = config.get("settings", {}) if isinstance(config, dict) else {}
    result = manifest.get("result")
    versions = manifest.get("versions")
    return Tables(
        **frames,  # type: ignore[arg-type]  # only optional ones can be None
        settings=settings if isinstance(settings, dict) else {},
        result=result if isinstance(result, dict) else {},
        versions=versions if isinstance(versions, dict) else {},
    )


def _read(run: Path, name: str) -> pl.DataFrame | None:
    path = run / f"{name}.parquet"
    if not path.is_file():
        if name in _OPTIONAL:
            return None
        raise UserError(f"{run}: holds no table {path.name}; run the study to its end first")
    schema = {column.rstrip("?"): kind for column, kind in _SCHEMAS[name].items()}
    nullable = [column.rstrip("?") for column in _SCHEMAS[name] if column.endswith("?")]
    optional = [column[:-2] for column in _SCHEMAS[name] if column.endswith("??")]
    columns = columns_of(
        schema, nullable=nullable, optional=optional, between=_RANGES, among=_AMONG
    )
    remedy = "give a run folder of this version of sftlens"
    table = read_table(path, remedy=remedy, columns=columns, only=columns)
    absent = [column for column in optional if column not in table.columns]
    return table.with_columns(pl.lit(None, schema[c]).alias(c) for c in absent).select(*columns)


def _check_links(run: Path, frames: Mapping[str, pl.DataFrame | None]) -> None:
    tables = {name: frame for name, frame in frames.items() if frame is not None}
    for name, key in (
        ("facts", ["fact_id"]),
        ("mastery", ["fact_id"]),
        ("runs", ["run"]),
        ("runs", ["level", "size", "seed"]),
        ("scores", ["run", "method", "share", "fact_id"]),
        ("base_scores", ["fact_id"]),
        ("tensors", ["run", "name"]),
    ):
        if name in tables and tables[name].select(key).is_duplicated().any():
            raise UserError(f"{run / name}.parquet: has two rows of the same {', '.join(key)}")
    for name, column, other in (
        ("scores", "run", "runs"),
        ("divergence", "run", "runs"),
        ("concentration", "run", "runs"),
        ("restorations", "run", "runs"),
        ("tensors", "run", "runs"),
        ("mastery", "fact_id", "facts"),
        ("scores", "fact_id", "mastery"),
    ):
        if name not in tables:
            continue
        known = tables[other][column].unique()
        strangers = tables[name][column].unique()
        strangers = strangers.filter(~strangers.is_in(known.implode())).sort()
        if len(strangers):
            raise UserError(
                f"{run / name}.parquet: {column} {strangers[0]!r} is not in {other}.parquet; "
                "the tables must come from one study"
            )
    tests = tables["facts"].filter(pl.col("split") == "test").select("fact_id")
    tuned = tables["scores"].filter(pl.col("method") == "tuned")
    if tuned.join(tests, on="fact_id", how="semi").is_empty():
        raise UserError(
            f"{run}/scores.parquet: no tuned model was scored on test facts; score the runs first"
        )
