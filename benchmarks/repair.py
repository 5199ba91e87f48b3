"""Repairs of tuned models that played no part in building the search.

usage: python benchmarks/repair.py --out DIR [--demo RUN] [--seed S] [--budget N] [--grid]
           [--json FILE]

Takes the world and base of a demo's run folder, or makes a world of its own seed and pre-trains the
preset `tiny` on it. Probes the base, and tunes five models of other levels, sizes and seeds than
the demo's. Each is repaired on validation facts, and on test
facts stands beside the tuned model, the paper's fixed 20 % of relative change, and the best plain
interpolation, whose strength is chosen on all validation facts. With `--grid` the full grid of
methods and strengths is asked all validation facts too, and its best stands beside the search's.
Every stage is kept in DIR, and the same call goes on from there. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from _prepared import prepared
from numpy.typing import NDArray

from sftlens.facts import Fact, facts_from_table, matches
from sftlens.generation import TransformersGenerator, load_model
from sftlens.mastery import read_mastery
from sftlens.outputs import new_file
from sftlens.repair import METHODS, RepairSettings, run_repair
from sftlens.scoring import Estimate, difference, score
from sftlens.tuning import TuneSettings, run_tune
from sftlens.weights import Interpolation, Planned, Request, Restoration, Sweep, open_pair, plan


class Tuned(NamedTuple):
    """One model: what it is tuned on."""

    level: int
    size: int
    seed: int

    @property
    def name(self) -> str:
        return f"level{self.level}-size{self.size}-seed{self.seed}"


MODELS = (Tuned(0, 120, 11), Tuned(1, 50, 12), Tuned(2, 90, 13), Tuned(3, 70, 14), Tuned(4, 40, 15))
STRENGTHS = tuple(range(5, 100, 5))
SHARES = RepairSettings().shares
ALLOWED = RepairSettings().max_task_loss

Answers = NDArray[np.bool_]


class Asked(NamedTuple):
    """Of some facts, whether the answer holds an accepted one, and whether it is nothing else."""

    correct: Answers
    exact: Answers


class Bench:
    """One tuned model in memory, which becomes any restoration."""

    def __init__(self, base: Path, tuned: Path) -> None:
        self.pair = open_pair(base, tuned)
        model, tokenizer, _ = load_model(tuned)
        self._generator = TransformersGenerator(model, tokenizer)
        self._sweep = Sweep(model, self.pair)

    def ask(self, way: Restoration, facts: Sequence[Fact]) -> Asked:
        self._sweep.step(way)
        table = score(self._generator, facts, {})
        exact = [
            matches(answer, fact.answers, "exact")
            for answer, fact in zip(table["answer"], facts, strict=True)
        ]
        return Asked(table["correct"].to_numpy(), np.array(exact))


class Judge:
    """Values of answers to a set of facts."""

    def __init__(self, facts: Sequence[Fact], levels: dict[str, int]) -> None:
        self.facts = facts
        self.inside = np.array([fact.domain == "in" for fact in facts])
        self.strata = np.array([levels[f.fact_id] + 5 * (f.domain == "out") for f in facts])

    def gain(self, one: list[Answers], other: list[Answers], domain: str = "all") -> Estimate:
        """By how much the mean of levels and of domains differs, paired; over models too."""
        chosen = {"in": self.inside, "out": ~self.inside}.get(domain, np.full_like(self.inside, 1))
        sides = (np.mean([own[chosen] for own in side], axis=0) for side in (one, other))
        first, second = sides
        return _paired(first, second, self.strata[chosen])

    def knowledge(self, own: Answers, domain: str = "all") -> float:
        return self.gain([own], [np.zeros_like(own)], domain).value

    def task(self, own: Asked) -> float:
        return float(own.exact[self.inside].mean())

    def task_gain(self, one: list[Asked], other: list[Asked]) -> Estimate:
        sides = (np.mean([own.exact[self.inside] for own in side], axis=0) for side in (one, other))
        first, second = sides
        return _paired(first, second, np.zeros(len(first), dtype=int))


def _paired(
    first: NDArray[np.float64], second: NDArray[np.float64], strata: NDArray[np.integer]
) -> Estimate:
    """Facts are resampled; the models are these five."""
    return difference(np.array([first]), np.array([second]), strata)


def best_of(ways: Sequence[Restoration], bench: Bench, judge: Judge) -> int | None:
    """The way with most knowledge that keeps the task, on facts; None is the tuned model."""
    tuned = bench.ask(Interpolation(alpha=1), judge.facts)
    least = judge.task(tuned) - ALLOWED
    best, most = None, judge.knowledge(tuned.correct)
    for number, way in enumerate(ways):
        own = bench.ask(way, judge.facts)
        if judge.task(own) >= least and judge.knowledge(own.correct) > most:
            best, most = number, judge.knowledge(own.correct)
    return best


def grid(bench: Bench) -> list[Planned]:
    """Every method and strength that the search begins with."""
    found: list[Planned] = []
    for method in METHODS:
        shares = () if method == "dg-hard" else SHARES
        found += plan(bench.pair, Request(method=method, shares=shares))  # type: ignore[arg-type]
    return found


def run_model(
    own: Tuned, out: Path, place: tuple[Path, Path, Path], budget: int, with_grid: bool
) -> dict[str, Any]:
    """Tune, repair, and ask the test facts; numbers of one model."""
    base, facts, mastery = place
    levels = dict(read_mastery(mastery).levels)
    tuned = out / "tuned" / own.name
    settings = TuneSettings(learning_rate=3e-4, seed=own.seed)
    run_tune(
        str(base), str(facts), mastery, tuned, level=own.level, size=own.size, settings=settings
    )
    started = time.perf_counter()
    repaired = run_repair(
        str(base),
        str(tuned),
        str(facts),
        out / f"repaired-{budget}" / own.name,
        mastery=mastery,
        settings=RepairSettings(budget=budget),
    )
    seconds = time.perf_counter() - started
    every = facts_from_table(pl.read_parquet(facts))
    validation, test = (
        Judge([fact for fact in every if fact.split == split], levels)
        for split in ("validation", "test")
    )
    bench = Bench(base, tuned)
    strengths = [Interpolation(alpha=1 - strength / 100, region="blocks") for strength in STRENGTHS]
    chosen = best_of(strengths, bench, validation)
    ways: dict[str, Restoration] = {
        "tuned": Interpolation(alpha=1),
        "relative 20 %": plan(bench.pair, Request(shares=(20,)))[0].restoration,
        "interpolation": Interpolation(alpha=1) if chosen is None else strengths[chosen],
    }
    found: dict[str, Any] = {
        "interpolation": 0 if chosen is None else STRENGTHS[chosen],
        "chosen": repaired.chosen["candidate"],
        "decision": repaired.decision,
        "evaluations": repaired.evaluations,
        "seconds": seconds,
    }
    if with_grid:
        planned = grid(bench)
        best = best_of([one.restoration for one in planned], bench, validation)
        ways["grid"] = Interpolation(alpha=1) if best is None else planned[best].restoration
        found["grid_evaluations"] = len(planned)
    answers = {name: bench.ask(way, test.facts) for name, way in ways.items()}
    answers["repaired"] = _of_repair(repaired.out, repaired.chosen["candidate"], test.facts)
    if repaired.decision:
        answers["search's best"] = _of_repair(
            repaired.out, repaired.decision[0]["candidate"], test.facts
        )
    found["answers"] = {
        name: {"correct": own.correct.tolist(), "exact": own.exact.tolist()}
        for name, own in answers.items()
    }
    return found


def _of_repair(out: str, candidate: str, facts: Sequence[Fact]) -> Asked:
    """What the repair itself found on the test facts."""
    table = pl.read_parquet(Path(out) / "evaluations.parquet").filter(
        part="test", kind="fact", candidate=candidate
    )
    answers = dict(table.select("item", "answer").iter_rows())
    values = dict(table.select("item", "value").iter_rows())
    exact = [matches(answers[fact.fact_id], fact.answers, "exact") for fact in facts]
    return Asked(np.array([values[f.fact_id] == 1 for f in facts]), np.array(exact))


def markdown(found: dict[str, dict[str, Any]], judge: Judge) -> str:
    """The tables: each model by itself, then the mean over all."""
    by_name = {
        model: {
            name: Asked(np.array(a["correct"]), np.array(a["exact"]))
            for name, a in own["answers"].items()
        }
        for model, own in found.items()
    }
    lines = [
        "| model | | in | out | knowledge | over tuned (95 %) | task | over tuned (95 %) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for model, answers in by_name.items():
        tuned = answers["tuned"]
        for name, own in answers.items():
            cells = [
                model if name == "tuned" else "",
                _label(name, found[model]),
                *(f"{100 * judge.knowledge(own.correct, d):.1f}" for d in ("in", "out", "all")),
                _points(judge.gain([own.correct], [tuned.correct])),
                f"{100 * judge.task(own):.1f}",
                _points(judge.task_gain([own], [tuned])),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "| mean over models: repaired less … | in | out | knowledge | task |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in ("tuned", "relative 20 %", "interpolation", "grid"):
        if not all(name in answers for answers in by_name.values()):
            continue
        ours = [answers["repaired"] for answers in by_name.values()]
        theirs = [answers[name] for answers in by_name.values()]
        gains = [
            judge.gain([own.correct for own in ours], [own.correct for own in theirs], domain)
            for domain in ("in", "out", "all")
        ]
        cells = [name, *map(_points, gains), _points(judge.task_gain(ours, theirs))]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| model | chosen | evaluations | seconds |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {model} | {own['chosen']} | {own['evaluations']:.1f} | {own['seconds']:.0f} |"
        for model, own in found.items()
    ]
    return "\n".join(lines)


def _label(name: str, found: dict[str, Any]) -> str:
    return f"interpolation {found['interpolation']} %" if name == "interpolation" else name


def _points(found: Estimate) -> str:
    value, low, high = (f"{100 * part:+.1f}" for part in found)
    return f"{value} ({low} to {high})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--demo", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--budget", type=int, default=40)
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    place = prepared(options.out, options.demo, options.seed)
    found: dict[str, dict[str, Any]] = {}
    for own in MODELS:
        kind = f"{own.name}-{options.budget}{'-grid' if options.grid else ''}"
        path = options.out / "numbers" / f"{kind}.json"
        if not path.is_file():
            numbers = run_model(own, options.out, place, options.budget, options.grid)
            with new_file(path) as partial:
                partial.write_text(json.dumps(numbers))
        found[own.name] = json.loads(path.read_text())
        print(f"{own.name}: {found[own.name]['chosen']}", file=sys.stderr, flush=True)
    levels = dict(read_mastery(place[2]).levels)
    every = facts_from_table(pl.read_parquet(place[1]))
    judge = Judge([fact for fact in every if fact.split == "test"], levels)
    print(markdown(found, judge))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
