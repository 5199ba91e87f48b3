"""Which way of fine-tuning forgets least? Every method of ``sftlens tune``, and LoRA, beside SFT.

usage: python benchmarks/training_methods.py RUN --out DIR [--seeds 5] [--size 150]
           [--first-seed 0] [--level 0 --level 1] [--method sdft] [--learning-rate 3e-4]

RUN is a folder that ``sftlens demo`` wrote. Each method trains on the same facts as plain SFT at
several strengths; the strength is chosen by validation facts of the split, the numbers are of test
facts. A known fact is one of mastery level 3 or 4; it is lost where the tuned model answers it
wrongly. Runs that DIR holds already are not made again. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from sftlens.facts import Fact, facts_from_table
from sftlens.generation import TransformersGenerator, load_model, load_tuned
from sftlens.outputs import new_file
from sftlens.scoring import Estimate, difference, mean_of_levels, score
from sftlens.tuning import (
    LoraSettings,
    TuneSettings,
    Validation,
    choose_training_facts,
    fine_tune,
    validation_facts,
)

GRID: dict[str, list[dict[str, Any]]] = {
    "sft": [{}],
    "lora": [{"learning_rate": rate} for rate in (3e-4, 1e-3, 3e-3, 1e-2)],
    "l2-sp": [{"strength": s} for s in (0.03, 0.1, 0.3, 1.0)],
    "kl": [{"strength": s} for s in (1.0, 3.0, 10.0, 30.0)],
    "sdft": [{"strength": s} for s in (1.0, 3.0, 10.0, 30.0)],
    "layers": [{"region": r} for r in ("attention", "mlp", "blocks:0-1", "blocks:2-3")],
    "sparse": [
        {"strength": s, "rule": r} for r in ("gradient", "random") for s in (10.0, 30.0, 60.0)
    ],
    "restore": [{"strength": s} for s in (1.0, 5.0, 10.0, 20.0)],
    "early-stop": [{}],
}
KNOWN = 3
SLACK = 0.01  # accuracy on validation facts that a strength may cost against plain SFT


class Ran(NamedTuple):
    """A method at one strength over all seeds; ``scores`` has one table a seed."""

    method: str
    values: dict[str, Any]
    scores: list[pl.DataFrame]
    told: list[dict[str, float]]

    @property
    def label(self) -> str:
        return ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in self.values.values())


def main() -> None:
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    facts = facts_from_table(pl.read_parquet(given.run / "facts.parquet"))
    mastery = pl.read_parquet(given.run / "mastery.parquet")
    levels = dict(mastery.select("fact_id", "level").iter_rows())
    for level in given.level:
        plain, *others = [
            [run(given, facts, levels, level, method, values) for values in strengths]
            for method, strengths in GRID.items()
            if method in ("sft", *(given.method or GRID))
        ]
        print(f"\n{given.size} facts of level {level}, {given.seeds} seeds\n")
        print(HEAD)
        for ran in [plain[0], *(chosen(runs, plain[0]) for runs in others)]:
            print(row(ran, plain[0]))
        print(f"\nEvery strength, level {level}\n")
        print(HEAD)
        for ran in (ran for runs in others for ran in runs):
            print(row(ran, plain[0]))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=150)
    parser.add_argument("--level", type=int, action="append")
    parser.add_argument("--method", action="append", choices=GRID, help="without it all")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    given = parser.parse_args()
    given.level = given.level or [0, 1]
    return given


def run(
    given: argparse.Namespace,
    facts: Sequence[Fact],
    levels: dict[str, int],
    level: int,
    method: str,
    values: dict[str, Any],
) -> Ran:
    scores, told = [], []
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        words = [method, *map(str, values.values()), level, given.size, seed, given.learning_rate]
        path = given.out / f"{'_'.join(map(str, words)).replace(':', '-')}.parquet"
        if not path.exists():
            lora = LoraSettings(**values) if method == "lora" else None
            settings = TuneSettings(
                learning_rate=given.learning_rate,
                seed=seed,
                method={"name": "sft"} if lora else {"name": method, **values},
            )
            one(given, facts, levels, level, settings, lora, path)
        scores.append(pl.read_parquet(path))
        told.append(json.loads(path.with_suffix(".json").read_text()))
    return Ran(method, values, scores, told)


def one(
    given: argparse.Namespace,
    facts: Sequence[Fact],
    levels: dict[str, int],
    level: int,
    settings: TuneSettings,
    lora: LoraSettings | None,
    path: Path,
) -> None:
    """Train once and ask the training facts, and those of the splits validation and test."""
    trained = choose_training_facts(facts, levels, level=level, size=given.size, seed=settings.seed)
    chosen = {fact.fact_id for fact in trained}
    asked = [fact for fact in facts if fact.split != "train" or fact.fact_id in chosen]
    loaded = load_model(given.run / "base")
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        tuned = fine_tune(
            loaded,
            trained,
            Path(out),
            settings,
            lora=lora,
            validation=Validation(validation_facts(facts), levels),
        )
        seconds = time.perf_counter() - begin
        if lora is not None:
            loaded = load_tuned(given.run / "base", Path(out))
    generator = TransformersGenerator(loaded.model.eval(), loaded.tokenizer)
    splits = pl.DataFrame(
        [(fact.fact_id, fact.split) for fact in asked], ["fact_id", "split"], orient="row"
    )
    table = score(generator, asked, levels).join(splits, on="fact_id", maintain_order="left")
    told = {"seconds": seconds, "steps": tuned.num_steps, "kept_bytes": tuned.kept_bytes}
    path.with_suffix(".json").write_text(json.dumps(told))
    with new_file(path) as work:
        table.write_parquet(work)


def correct(ran: Ran, *, split: str, domain: str, known: bool) -> tuple[Any, Any]:
    """Whether each fact was answered, (num_seeds, num_facts), and its level, (num_facts,).

    Known facts count alike, as of one level.
    """
    parts = [table.filter(split=split, domain=domain).sort("fact_id") for table in ran.scores]
    if known:
        parts = [part.filter(pl.col("level") >= KNOWN) for part in parts]
    levels = parts[0]["level"].to_numpy()
    answered = np.stack([part["correct"].to_numpy() for part in parts])
    return answered, np.zeros_like(levels) if known else levels


def chosen(runs: Sequence[Ran], plain: Ran) -> Ran:
    """The strength that loses fewest known validation facts at no less task accuracy.

    Of the strengths whose accuracy on in-domain validation facts is at most a point below plain
    SFT's; where there is none, the one with the highest accuracy.
    """

    def accuracy(ran: Ran) -> float:
        return mean_of_levels(*correct(ran, split="validation", domain="in", known=False)).value

    def kept(ran: Ran) -> float:
        return mean_of_levels(*correct(ran, split="validation", domain="in", known=True)).value

    able = [ran for ran in runs if accuracy(ran) >= accuracy(plain) - SLACK]
    return max(able, key=kept) if able else max(runs, key=accuracy)


HEAD = """| method | strength | in-domain | difference | out-of-domain | known lost in | \
of plain SFT's | difference | known lost out | of plain SFT's | trained facts | steps | s | \
MB kept |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def row(ran: Ran, plain: Ran) -> str:
    inside = {"split": "test", "domain": "in", "known": False}
    task = mean_of_levels(*correct(ran, **inside))
    outside = mean_of_levels(*correct(ran, **inside | {"domain": "out"}))
    change = against(ran, plain, **inside)
    lost, of_plain = losses(ran, plain, "in")
    lost_out, of_plain_out = losses(ran, plain, "out")
    fewer = against(ran, plain, **inside | {"known": True})
    trained = [table.filter(split="train")["correct"].mean() for table in ran.scores]
    told = {key: np.mean([one[key] for one in ran.told]) for key in ran.told[0]}
    cells = [
        ran.method,
        ran.label,
        with_interval(task),
        "" if ran is plain else with_interval(change, sign="+"),
        f"{100 * outside.value:.1f}",
        f"{100 * lost:.1f}",
        f"{of_plain:.2f}",
        ""
        if ran is plain
        else with_interval(Estimate(-fewer.value, -fewer.high, -fewer.low), sign="+"),
        f"{100 * lost_out:.1f}",
        f"{of_plain_out:.2f}",
        f"{100 * np.mean(trained):.1f}",
        f"{told['steps']:.0f}",
        f"{told['seconds']:.1f}",
        f"{told['kept_bytes'] / 1e6:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def losses(ran: Ran, plain: Ran, domain: str) -> tuple[float, float]:
    """The fraction of known facts that are lost, and its ratio to plain SFT's."""
    lost, reference = (
        1 - mean_of_levels(*correct(one, split="test", domain=domain, known=True)).value
        for one in (ran, plain)
    )
    return lost, lost / reference


def against(ran: Ran, plain: Ran, **which: Any) -> Estimate:
    answered, levels = correct(ran, **which)
    return difference(answered, correct(plain, **which)[0], levels)


def with_interval(value: Estimate, sign: str = "") -> str:
    low, middle, high = (f"{100 * x:{sign}.1f}" for x in (value.low, value.value, value.high))
    return f"{middle} ({low} to {high})"


if __name__ == "__main__":
    main()
