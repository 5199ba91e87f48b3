"""Each figure and the table that it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import polars as pl

from sftlens.report.figures import _mastery, _restored, _tuned, _weights


class Drawing(NamedTuple):
    """A figure for a paper.

    Attributes:
        name: of its files.
        table: the paper's table that it shows.
        draw: makes it; None where the table has nothing to draw.
    """

    name: str
    table: str
    draw: Callable[[pl.DataFrame], Any]


DRAWINGS = (
    Drawing("level_sizes", "level_sizes", _mastery.level_sizes),
    Drawing("levels_by_topic", "levels_by_topic", _mastery.levels_by_topic),
    Drawing("mastery_by_exposure", "mastery_by_exposure", _mastery.mastery_by_exposure),
    Drawing("accuracy_by_size", "accuracy_by_size", _tuned.accuracy_by_size),
    Drawing("accuracy_by_level", "accuracy_by_level", _tuned.accuracy_by_level),
    Drawing("well_known_and_kl", "well_known_and_kl", _tuned.well_known_and_kl),
    Drawing("kl_by_run", "kl_by_run", _tuned.kl_by_run),
    Drawing("concentration", "concentration", _weights.concentration),
    Drawing("change_by_place", "change_by_place", _weights.change_by_place),
    Drawing("restoration", "restoration", _restored.restoration),
    Drawing("restoration_methods", "restoration", _restored.restoration_methods),
    Drawing("restoration_gains", "restoration_gains", _restored.restoration_gains),
    Drawing("removed_norm", "removed_norm", _restored.removed_norm),
    Drawing("training_set", "training_set", _restored.training_set),
    Drawing("strategies", "strategies", _tuned.strategies),
    Drawing("restored_by_layer", "restored_by_layer", _weights.restored_by_layer),
    Drawing("restored_by_module", "restored_by_module", _weights.restored_by_module),
    Drawing("layer_groups", "layer_groups", _restored.layer_groups),
    Drawing("exchange", "exchange", _tuned.exchange),
)
