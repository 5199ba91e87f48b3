"""A scale model of its own world, with levels and enough facts for validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sftlens.facts import Fact, facts_table, read_facts
from sftlens.generation import question_prompt
from sftlens.mastery import ProbeSettings, run_probe
from sftlens.outputs import new_file
from sftlens.world import PretrainSettings, WorldSettings, pretrain, write_world

PROBE = ProbeSettings(num_templates=8, num_samples=5, max_new_tokens=12)


def prepared(
    out: Path, demo: Path | None, seed: int, **world_settings: Any
) -> tuple[Path, Path, Path]:
    """The base, the facts and the folder of their levels; made unless they are there.

    Args:
        out: takes what is made.
        demo: a demo's run folder whose world and base are taken instead of new ones.
        seed: of the world, the base and the division.
        **world_settings: others of the world than its own 170 and 60 facts of a topic, in and out
            of domain.
    """
    world, base = (demo or out) / "world", (demo or out) / "base"
    settings = WorldSettings(
        **{"num_facts_in": 170, "num_facts_out": 60, **world_settings, "seed": seed}
    )
    if not (world / "manifest.json").is_file():
        write_world(world, settings)
    if not (base / "manifest.json").is_file():
        pretrain(world, base, PretrainSettings(seed=seed), markers=[question_prompt("")])
    path = out / "facts.parquet"
    if not path.is_file():
        with new_file(path) as partial:
            divided(read_facts(world).facts, seed).write_parquet(partial)
    if not (out / "mastery" / "manifest.json").is_file():
        run_probe(str(base), str(path), out / "mastery", PROBE)
    return base, path, out / "mastery"


def divided(facts: Sequence[Fact], seed: int) -> pl.DataFrame:
    """Facts with more of them for validation than a world has.

    A third of the facts to train on, which nobody then trains on, and half of those out of domain.
    """
    table = facts_table(facts)
    drawn = np.random.default_rng(seed).random(len(table))
    trained = pl.Series(drawn < 1 / 3) & (table["split"] == "train")
    outside = table["domain"] == "out"
    half = pl.when(pl.Series(drawn < 1 / 2)).then(pl.lit("validation")).otherwise(pl.lit("test"))
    split = pl.when(outside).then(half).when(trained).then(pl.lit("validation"))
    return table.with_columns(split=split.otherwise(pl.col("split")))
