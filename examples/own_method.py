"""A restoration method of one's own, held against the built-in ones.

The paper gives the most changed parameters their base value back: all or nothing. The method here
caps instead: no parameter ends up further from its base value than `cap` times that value. A class
with two attributes and one function is a method; what measures, evaluates and writes the built-in
ones then does so with it.

    python examples/own_method.py                     # makes a scale model first: about a minute
    python examples/own_method.py --caps 0.5 0.05     # the same models, other strengths

A method that takes more of the update back is nearer to the base for that alone. So each strength
is compared with three others at the same norm removed: the paper's ranking, a random choice, and
plain interpolation with the base. Nothing is chosen here, which is why test facts may be asked; to
choose a strength, ask validation facts.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from rich.console import Console
from rich.table import Table
from scale_model import ScaleModels, scale_models

from sftlens.facts import read_facts
from sftlens.generation import TransformersGenerator, load_model
from sftlens.mastery import read_mastery
from sftlens.scoring import difference, mean_of_levels, score
from sftlens.weights import (
    CheckpointPair,
    Interpolation,
    PairTensor,
    Request,
    Restoration,
    Sweep,
    match_removed_norm,
    open_pair,
    taken_back,
)


@dataclass(frozen=True, kw_only=True)
class Capped:
    """No parameter of the region changes by more than ``cap`` times its base value."""

    cap: float
    region: str = "blocks"
    needs_whole_tensors: bool = False  # pieces of a tensor will do, so that any size of model will

    def begin(
        self, pair: CheckpointPair, kernels: Any, tensor: PairTensor
    ) -> Callable[[Any], torch.Tensor]:
        """What makes of a piece of a tensor, base and tuned as stored, the restored piece."""

        def repair(piece: Any) -> torch.Tensor:
            base, tuned = piece.base.float(), piece.tuned.float()
            most = self.cap * base.abs()
            update = (tuned - base).clamp(-most, most)
            capped = (base + update).to(piece.tuned.dtype)
            return torch.where(update == tuned - base, piece.tuned, capped)

        return repair


def comparisons(
    pair: CheckpointPair, caps: Sequence[float]
) -> Iterator[tuple[float, float, dict[str, Restoration]]]:
    """For each cap the norm it removes, and the restorations that remove as much."""
    own = [Capped(cap=cap) for cap in caps]
    norms = [taken.norm_removed for taken in taken_back(pair, own, region="blocks")]
    rankings = {
        name: match_removed_norm(pair, request, norms)
        for name, request in {"relative": Request("relative"), "random": Request("random")}.items()
    }
    for number, norm in enumerate(norms):
        ways: dict[str, Restoration] = {"capped": own[number]}
        for name, found in rankings.items():
            ways[name] = found[number].restoration.planned.restoration
        ways["interpolation"] = Interpolation(alpha=math.sqrt(1 - norm))
        yield caps[number], norm, ways


def compare(models: ScaleModels, caps: Sequence[float]) -> Table:
    """Score every restoration in memory, without writing a checkpoint."""
    facts = [fact for fact in read_facts(str(models.world)).facts if fact.split == "test"]
    levels = read_mastery(models.mastery).levels
    pair = open_pair(models.base, models.tuned)
    model, tokenizer, _ = load_model(models.tuned)
    generator = TransformersGenerator(model, tokenizer)
    columns = ("cap", "norm removed", "capped", "relative", "random", "interpolation")
    shown = Table(
        *columns, "capped − interpolation (95 %)", title="Test facts answered, mean of the levels"
    )

    def answered() -> pl.DataFrame:
        return score(generator, facts, levels)

    shown.add_row("tuned", "0 %", f"{_mean(answered()):.1%}")
    with Sweep(model, pair) as sweep:
        for cap, norm, ways in comparisons(pair, caps):
            scores = {}
            for name, way in ways.items():
                sweep.step(way)
                scores[name] = answered()
            gain = difference(
                _correct(scores["capped"]),
                _correct(scores["interpolation"]),
                scores["capped"]["level"].to_numpy(),
            )
            shown.add_row(
                f"{cap:g}",
                f"{norm:.1%}",
                *(f"{_mean(scores[name]):.1%}" for name in columns[2:]),
                f"{gain.value:+.1%} ({gain.low:+.1%} to {gain.high:+.1%})",
            )
    return shown


def _correct(scores: pl.DataFrame) -> np.ndarray:
    return scores["correct"].to_numpy()[None, :]  # (1 model, num_facts)


def _mean(scores: pl.DataFrame) -> float:
    return mean_of_levels(_correct(scores), scores["level"].to_numpy()).value


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the models, compare, and print one table."""
    parser = argparse.ArgumentParser(description="A restoration method of one's own, compared.")
    parser.add_argument("--folder", type=Path, default=Path("scale-model"), help="of the models")
    parser.add_argument("--num-facts", type=int, default=20, help="of each in-domain topic")
    parser.add_argument("--num-epochs", type=int, default=5, help="of the base's pre-training")
    parser.add_argument("--caps", type=float, nargs="+", default=[1.0, 0.2, 0.05, 0.01])
    options = parser.parse_args(arguments)
    models = scale_models(
        options.folder, num_facts=options.num_facts, num_epochs=options.num_epochs
    )
    Console().print(compare(models, options.caps))


if __name__ == "__main__":
    main()
