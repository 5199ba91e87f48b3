"""Advice followed, beside the paper's fixed recipe, on scale models that it was not built with.

usage: python benchmarks/advise.py --out DIR [--seed 101 --seed 102 …] [--budget 40]
    [--num-facts-in 250 --num-facts-out 40] [--exposure 2 --exposure 4 …] [--json FILE]

For each seed a world is made, the preset `tiny` is pre-trained on it and probed, unless
`DIR/world-SEED` holds `world`, `base`, `facts.parquet` and `mastery` already. `sftlens advise
--pilot` sees training and validation facts alone. Its advice and the paper's recipe, 240 facts of
level 2 or all where there are fewer, are then each followed with five seeds that no pilot run had,
and asked the test facts. Every stage is kept in DIR, and the same call goes on from there. Prints
Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from _prepared import prepared
from numpy.typing import NDArray

from sftlens.advice import AdviseSettings, run_advise
from sftlens.facts import Fact, facts_from_table
from sftlens.generation import TransformersGenerator, load_model
from sftlens.mastery import read_mastery
from sftlens.outputs import new_file
from sftlens.report.inference import Contrast, Inference, infer
from sftlens.scoring import Estimate, score
from sftlens.tuning import TuneSettings, choose_training_facts, fine_tune

WORLDS = (101, 102, 103)
SEEDS = (1001, 1002, 1003, 1004, 1005)
TUNE = TuneSettings(learning_rate=3e-4)
RECIPE = ((2,), 240)
DOMAINS = ("in", "out")

Way = tuple[tuple[int, ...], int]


class World(NamedTuple):
    """A base model with its facts and their levels."""

    seed: int
    folder: Path
    base: Path
    facts: Path
    mastery: Path

    @property
    def levels(self) -> dict[str, int]:
        return dict(read_mastery(self.mastery).levels)

    def read(self) -> list[Fact]:
        return facts_from_table(pl.read_parquet(self.facts))


def run_world(world: World, budget: int) -> dict[str, Any]:
    """Numbers of one world: the advice, and what both ways of training gave."""
    started = time.perf_counter()
    advised = run_advise(
        str(world.base),
        str(world.facts),
        world.folder / f"advice-{budget}",
        mastery=world.mastery,
        settings=AdviseSettings(pilot=True, budget=budget, tune=TUNE),
    )
    seconds = time.perf_counter() - started
    chosen = advised.advice["train_on"]
    ways: dict[str, Way | None] = {
        "advice": None if chosen is None else (tuple(chosen["levels"]), chosen["size"]),
        "recipe": RECIPE,
    }
    scored = {name: follow(world, way) for name, way in ways.items()}
    return {
        "levels": [one["num_facts"] for one in advised.levels],
        "num_facts": advised.num_facts,
        "train_on": chosen,
        "expect": advised.advice["expect"],
        "num_runs": advised.num_runs,
        "num_pilot_facts": pilot_facts(Path(advised.out)),
        "seconds": seconds,
        "ways": scored,
    }


def pilot_facts(out: Path) -> int:
    """Training facts of all pilot runs, each as often as it was trained on."""
    return int(pl.read_parquet(out / "pilots.parquet")["size"].sum())


def follow(world: World, way: Way | None) -> dict[str, Any]:
    """Train with the fresh seeds and ask the test facts; without a way, the base is asked."""
    tested = sorted(
        (fact for fact in world.read() if fact.split == "test"), key=lambda fact: fact.fact_id
    )
    named = "base" if way is None else f"{'+'.join(map(str, way[0]))}-{way[1]}"
    rows, sizes = [], []
    for seed in SEEDS if way is not None else SEEDS[:1]:
        path = world.folder / "followed" / f"{named}-{seed}.json"
        if not path.is_file():
            told = one_run(world, way, seed, tested)
            with new_file(path) as partial:
                partial.write_text(json.dumps(told))
        told = json.loads(path.read_text())
        rows.append(told["correct"])
        sizes.append(told["num_facts"])
    return {"correct": rows, "num_facts": sizes[0]}


def one_run(world: World, way: Way | None, seed: int, tested: Sequence[Fact]) -> dict[str, Any]:
    loaded = load_model(world.base)
    trained: list[Fact] = []
    if way is not None:
        levels, size = way
        trained = choose_training_facts(
            world.read(),
            world.levels,
            level=levels[0] if len(levels) == 1 else levels,
            size=size,
            seed=seed,
        )
        with tempfile.TemporaryDirectory() as out:
            fine_tune(loaded, trained, Path(out), TUNE.model_copy(update={"seed": seed}))
    generator = TransformersGenerator(loaded.model.eval(), loaded.tokenizer)
    table = score(generator, tested, {})
    return {"num_facts": len(trained), "correct": table["correct"].to_list()}


class Judge:
    """Accuracies on the test facts of one world: means over levels."""

    def __init__(self, world: World) -> None:
        tested = sorted(
            (fact for fact in world.read() if fact.split == "test"), key=lambda fact: fact.fact_id
        )
        levels = world.levels
        self._levels = np.array([levels[fact.fact_id] for fact in tested])
        self._inside = np.array([fact.domain == "in" for fact in tested])

    def infer(self, blocks: Sequence[Sequence[Sequence[bool]]], domain: str) -> Inference:
        """The first block's mean, less the second's where there are two."""
        chosen = self._inside if domain == "in" else ~self._inside
        signs = (1.0, -1.0)
        strata = tuple(
            sign * np.asarray(block, dtype=float)[:, chosen]
            for sign, block in zip(signs, blocks, strict=False)
        )
        lowest = 0.0 if len(strata) == 1 else -1.0
        [found] = infer([Contrast(strata, self._levels[chosen], lowest=lowest)])
        return found


def over_worlds(parts: Sequence[Inference]) -> Estimate:
    """The mean over these worlds, which are independent of one another."""
    rng = np.random.default_rng(0)
    replicates: NDArray[np.float64] = np.mean(
        [rng.permutation(part.replicates) for part in parts], axis=0
    )
    low, high = np.quantile(replicates, [0.025, 0.975])
    return Estimate(
        float(np.mean([part.estimate.value for part in parts])), float(low), float(high)
    )


def markdown(found: dict[int, dict[str, Any]], judges: dict[int, Judge]) -> str:
    lines = [
        "| world | training facts by level 0 to 4 | advice | facts | recipe | facts | "
        "runs | facts of all runs | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for seed, own in found.items():
        ways = own["ways"]
        told = own["train_on"]
        advice = "none" if told is None else f"levels {', '.join(map(str, told['levels']))}"
        cells = [
            seed,
            " / ".join(map(str, own["levels"])),
            advice,
            ways["advice"]["num_facts"],
            "level 2",
            ways["recipe"]["num_facts"],
            own["num_runs"],
            own["num_pilot_facts"],
            f"{own['seconds']:.0f}",
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += [
        "",
        "| world | domain | advice | recipe | advice less recipe | advice promised |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    differences: dict[str, list[Inference]] = {domain: [] for domain in DOMAINS}
    for seed, own in found.items():
        advice, recipe = (own["ways"][name]["correct"] for name in ("advice", "recipe"))
        for domain in DOMAINS:
            judge = judges[seed]
            differences[domain].append(judge.infer([advice, recipe], domain))
            promised = own["expect"]["in-domain" if domain == "in" else "out-of-domain"]
            cells = [
                str(seed),
                domain,
                percent(judge.infer([advice], domain).estimate),
                percent(judge.infer([recipe], domain).estimate),
                points(differences[domain][-1].estimate),
                percent(Estimate(*(promised[part] for part in ("value", "low", "high")))),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    for domain in DOMAINS:
        mean = points(over_worlds(differences[domain]))
        lines.append(f"| mean | {domain} | | | {mean} | |")
    both = over_worlds([part for domain in DOMAINS for part in differences[domain]])
    lines.append(f"| mean | both | | | {points(both)} | |")
    return "\n".join(lines)


def percent(found: Estimate) -> str:
    value, low, high = (f"{100 * part:.1f}" for part in found)
    return f"{value} ({low} to {high})"


def points(found: Estimate) -> str:
    value, low, high = (f"{100 * part:+.1f}" for part in found)
    return f"{value} ({low} to {high})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, action="append", help="of a world")
    parser.add_argument("--budget", type=int, default=40)
    parser.add_argument("--num-facts-in", type=int, default=250, help="of an in-domain topic")
    parser.add_argument("--num-facts-out", type=int, default=40, help="of any other topic")
    parser.add_argument(
        "--exposure", type=int, action="append", help="times that a fact is told, one of these"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    world_settings = {
        "num_facts_in": options.num_facts_in,
        "num_facts_out": options.num_facts_out,
        **({"exposures": options.exposure} if options.exposure else {}),
    }
    found: dict[int, dict[str, Any]] = {}
    judges: dict[int, Judge] = {}
    for seed in options.seed or WORLDS:
        folder = options.out / f"world-{seed}"
        place = prepared(folder, None, seed, **world_settings)
        world = World(seed, folder, *place)
        path = folder / f"numbers-{options.budget}.json"
        if not path.is_file():
            numbers = run_world(world, options.budget)
            with new_file(path) as partial:
                partial.write_text(json.dumps(numbers))
        found[seed] = json.loads(path.read_text())
        judges[seed] = Judge(world)
        print(f"{seed}: {found[seed]['train_on']}", file=sys.stderr, flush=True)
    print(markdown(found, judges))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
