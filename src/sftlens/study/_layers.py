"""The job that gives whole groups of layers back, one at a time (paper Table 11)."""

from __future__ import annotations

from typing import Any

import polars as pl

from sftlens.generation import TransformersGenerator, load_model
from sftlens.scoring import ScoreSettings, score
from sftlens.study._tasks import Task
from sftlens.weights import Interpolation, LayerRange, Sweep, open_pair

LAYER_SCORES = "layer_scores.parquet"


def layer_groups(num_layers: int, num_groups: int) -> list[LayerRange]:
    """The layers of a model in contiguous groups whose sizes differ by one at most.

    Args:
        num_layers: decoder blocks, which are numbered from 0.
        num_groups: groups to make; never more than there are layers.
    """
    count = min(num_groups, num_layers)
    starts = [number * num_layers // count for number in range(count)]
    return [
        LayerRange(start, end - 1)
        for start, end in zip(starts, [*starts[1:], num_layers], strict=True)
    ]


def restore_layers(task: Task) -> dict[str, Any]:
    """Give all block parameters of a group of layers back in memory, and score what there is."""
    pair = open_pair(task.base, task.tuned)
    model, tokenizer, _ = load_model(task.tuned, dtype=task.dtype)
    generator = TransformersGenerator(model, tokenizer)
    settings = ScoreSettings(**task.settings["score"])
    facts, levels = task.scored_facts(), task.mastery().levels
    groups = layer_groups(pair.num_layers, task.settings["layer_groups"])
    tables = []
    with Sweep(model, pair) as sweep:
        for layers in groups:
            sweep.step(Interpolation(alpha=0, region=f"blocks:{layers}"))
            table = score(generator, facts, levels, settings)
            tables.append(
                table.select(
                    pl.lit(task.settings["run"]).alias("run"),
                    pl.lit(layers.first, dtype=pl.Int32).alias("first_layer"),
                    pl.lit(layers.last, dtype=pl.Int32).alias("last_layer"),
                    pl.all(),
                )
            )
    pl.concat(tables).write_parquet(task.folder / LAYER_SCORES)
    return {"num_groups": len(groups)}
