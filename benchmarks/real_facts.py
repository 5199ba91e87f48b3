"""Real facts through the whole job: cleaned, told, learned, probed, fine-tuned on, asked for.

usage: python benchmarks/real_facts.py --entity-questions PATH [--facts-per-topic N] [--seed S]
           [--preset P] [--num-epochs N] [--num-templates N] [--num-samples N]
           [--level L] [--size N] [--learning-rate R] [--out DIR] [--json FILE]

PATH is the unpacked data set of EntityQuestions, of which N facts of each topic are drawn: of
in-domain topics three quarters from the train split, all others from the test split. `--facts FILE`
takes any facts in their place. A scale model is pre-trained on them, each told a known number of
times, so that what the probe finds can be checked against the truth, which no published model
allows. With `--out` every stage is kept, and the same call goes on from there. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import polars as pl
from _measure import measure, memory_kind
from scipy.stats import spearmanr

from sftlens.facts import DOMAINS
from sftlens.mastery import NUM_LEVELS


class Stages:
    """Runs commands of sftlens and keeps what each took."""

    def __init__(self) -> None:
        self.took: dict[str, dict[str, float]] = {}

    def run(self, name: str, *arguments: object) -> dict[str, Any]:
        """The JSON object that a command prints."""
        command = [sys.executable, "-m", "sftlens", *map(str, arguments), "--json"]
        print(f"{name} …", file=sys.stderr, flush=True)
        done = measure(command).require_success(name)
        self.took[name] = {"seconds": done.seconds, "peak_bytes": done.peak_bytes}
        found: dict[str, Any] = json.loads(done.out)
        return found


def level_sizes(mastery: Path) -> dict[str, list[int]]:
    """By domain, how many of the probed facts each level has."""
    probed = pl.read_parquet(mastery / "mastery.parquet").join(
        pl.read_parquet(mastery / "facts.parquet").select("fact_id", "domain"), on="fact_id"
    )
    counts = {
        (domain, level): number
        for domain, level, number in probed.group_by("domain", "level").len().iter_rows()
    }
    return {
        domain: [counts.get((domain, level), 0) for level in range(NUM_LEVELS)]
        for domain in DOMAINS
    }


def against_the_truth(mastery: Path, base: Path) -> dict[str, Any]:
    """How R follows the true exposure, statements and questions together (scipy's Spearman)."""
    told = pl.read_parquet(base / "exposures.parquet").with_columns(
        exposure=pl.col("num_statements") + pl.col("num_question_answers")
    )
    joined = pl.read_parquet(mastery / "mastery.parquet").join(
        told, on="fact_id", how="inner", validate="1:1"
    )
    found = spearmanr(joined["mastery"], joined["exposure"])
    by_statements = (
        joined.group_by("num_statements")
        .agg(num_facts=pl.len(), mastery=pl.col("mastery").mean())
        .sort("num_statements")
    )
    return {
        "spearman": float(found.statistic),
        "p_value": float(found.pvalue),
        "by_statements": by_statements.to_dicts(),
    }


def markdown(columns: list[str], rows: Iterable[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def accuracy_cells(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return ["–"] * (NUM_LEVELS + 1)
    low, high = percent(found["low"]), percent(found["high"])
    levels = [percent(value) for value in found["levels"]]
    return [*levels, f"{percent(found['mean'])} ({low} to {high})"]


def drawn_facts(options: argparse.Namespace, stages: Stages, out: Path) -> dict[str, int]:
    """Write a part of the data set, cleaned; what cleaning dropped, by reason."""
    num_test = options.facts_per_topic // 4
    parts = {
        ("in", "train"): options.facts_per_topic - num_test,
        ("in", "test"): num_test,
        ("out", "test"): options.facts_per_topic,
    }
    tables = []
    dropped: dict[str, int] = {}
    for (domain, split), limit in parts.items():
        part = out.with_name(f"facts-{domain}-{split}.parquet")
        part.unlink(missing_ok=True)
        found = stages.run(
            f"facts {domain} {split}",
            *("facts", f"entity_questions:{options.entity_questions}"),
            *("--domain", domain, "--split", split, "--limit", limit, "--seed", options.seed),
            *("--out", part),
        )
        dropped = found["dropped"]  # by cleaning, so the same for all parts
        tables.append(pl.read_parquet(part))
    pl.concat(tables).write_parquet(out)
    return dropped


def run_all(options: argparse.Namespace, place: Path) -> dict[str, Any]:
    """Every stage, one command each."""
    stages = Stages()
    facts, base, mastery = place / "facts.parquet", place / "base", place / "mastery"
    if options.facts:
        facts = options.facts
        dropped = stages.run("facts", "facts", facts)["dropped"]
    else:
        dropped = drawn_facts(options, stages, facts)
    seed = ("--seed", options.seed)
    shape = ("--preset", options.preset, "--num-epochs", options.num_epochs)
    trained = stages.run("pretrain", "pretrain", facts, "--out", base, *shape, *seed)
    probe = ("--num-templates", options.num_templates, "--num-samples", options.num_samples)
    probed = stages.run("probe", "probe", base, facts, "--out", mastery, *probe, *seed)
    tuned = stages.run(
        "tune",
        *("tune", base, facts, "--mastery", mastery, "--level", options.level),
        *("--size", options.size, "--learning-rate", options.learning_rate, *seed),
        *("--out", place / "tuned"),
    )
    scores = {
        name: stages.run(
            f"score {name}",
            *("score", model, facts, "--mastery", mastery, "--out", place / f"scores-{name}"),
        )["accuracy"]
        for name, model in (("before", base), ("after", place / "tuned"))
    }
    return {
        "num_facts": probed["num_facts"],
        "dropped": dropped,
        "base": {key: trained[key] for key in ("num_parameters", "num_steps", "final_loss")},
        "levels": level_sizes(mastery),
        **against_the_truth(mastery, base),
        "tuned": {key: tuned[key] for key in ("num_facts", "num_steps", "final_loss")},
        "accuracy": scores,
        "took": stages.took,
    }


def tables(found: dict[str, Any], level: int) -> str:
    """What was found, in Markdown."""
    levels = [f"level {number}" for number in range(NUM_LEVELS)]
    sizes = markdown(
        ["facts", *levels],
        ([domain, *map(str, numbers)] for domain, numbers in found["levels"].items()),
    )
    truth = markdown(
        ["times stated", "facts", "mean R"],
        (
            [str(row["num_statements"]), str(row["num_facts"]), f"{row['mastery']:.2f}"]
            for row in found["by_statements"]
        ),
    )
    accuracy = markdown(
        ["accuracy, %", *levels, "mean (95 %)"],
        (
            [f"{domain}, {when}", *accuracy_cells(found["accuracy"][when][domain])]
            for domain in DOMAINS
            for when in found["accuracy"]
        ),
    )
    took = markdown(
        ["stage", "seconds", "peak, GB"],
        (
            [name, f"{row['seconds']:.1f}", f"{row['peak_bytes'] / 1e9:.2f}"]
            for name, row in found["took"].items()
        ),
    )
    return "\n\n".join(
        [
            f"{found['num_facts']} facts, {found['base']['num_parameters']:,} parameters, "
            f"fine-tuned on {found['tuned']['num_facts']} facts of level {level}",
            sizes,
            f"Spearman of R with true exposure: {found['spearman']:.2f}",
            truth,
            accuracy,
            f"{took}\n\nMemory: {memory_kind()}.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--entity-questions", type=Path, help="the unpacked data set")
    source.add_argument("--facts", type=Path, help="any facts file in its place")
    parser.add_argument("--facts-per-topic", type=int, default=60, help="of --entity-questions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", default="tiny", help="of the scale model")
    parser.add_argument("--num-epochs", type=int, default=4, help="passes over the corpus")
    parser.add_argument("--num-templates", type=int, default=21)
    parser.add_argument("--num-samples", type=int, default=10, help="of each template")
    parser.add_argument("--level", type=int, default=4, help="of the facts to fine-tune on")
    parser.add_argument("--size", type=int, default=120, help="facts to fine-tune on")
    parser.add_argument("--learning-rate", type=float, default=3e-4, help="of fine-tuning")
    parser.add_argument("--out", type=Path, help="where every stage is kept; else temporary")
    parser.add_argument("--json", type=Path, help="file to write every number to")
    options = parser.parse_args()
    kept = options.out
    with nullcontext(kept) if kept else tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        found = run_all(options, place)
    print(tables(found, options.level))
    if options.json:
        settings = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in vars(options).items()
            if name not in ("out", "json") and value is not None
        }
        options.json.write_text(json.dumps({"settings": settings, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
