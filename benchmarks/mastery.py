"""Are the levels right? R beside true exposures, five times the samples, and an endpoint.

usage: python benchmarks/mastery.py BASE WORLD --out DIR [--facts N]
           [--endpoint URL --endpoint-model NAME]

BASE is a model that ``sftlens pretrain`` made on WORLD. The samples that R
is compared with have another seed, so that they share none. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
from scipy.stats import spearmanr

SAMPLES = 10
MORE = 5 * SAMPLES


def main() -> None:
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    facts = given.out / "facts.parquet"
    whole = pl.read_parquet(given.world / "facts.parquet")
    if given.facts:
        whole = whole.sample(min(given.facts, len(whole)), seed=0)
    whole.write_parquet(facts)
    ours = probed(given, "r10", SAMPLES)
    rows = [("facts", str(len(ours)))]
    rows += exposures(ours, given.world)
    rows += more_samples(ours, probed(given, "r50", MORE, "--seed", "1"))
    if given.endpoint:
        served = ["--endpoint", given.endpoint, "--endpoint-model", given.endpoint_model]
        rows += both_ways(ours, probed(given, "endpoint", SAMPLES, *served))
    print("| | |\n| --- | --- |")
    print("\n".join(f"| {what} | {value} |" for what, value in rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", type=Path)
    parser.add_argument("world", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--facts", type=int, help="as many facts, drawn by seed 0; else all")
    parser.add_argument("--endpoint", help="of a server that holds BASE")
    parser.add_argument("--endpoint-model", default="")
    return parser.parse_args()


def probed(given: argparse.Namespace, name: str, num_samples: int, *options: str) -> pl.DataFrame:
    out = given.out / name
    command = [sys.executable, "-m", "sftlens", "probe", str(given.base)]
    command += [str(given.out / "facts.parquet"), "--out", str(out)]
    command += ["--num-samples", str(num_samples), "--ledger", str(given.out / "ledger")]
    done = subprocess.run([*command, *options, "--json"], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    print(f"{name}: levels {json.loads(done.stdout)['levels']}", file=sys.stderr)
    return pl.read_parquet(out / "mastery.parquet")


def exposures(mastery: pl.DataFrame, world: Path) -> list[tuple[str, str]]:
    told = pl.read_parquet(world / "exposures.parquet")
    joined = mastery.join(told, on="fact_id")
    total = joined["num_statements"] + joined["num_question_answers"]
    found = spearmanr(joined["mastery"], total).statistic
    means = joined.group_by("num_statements").agg(pl.col("mastery").mean()).sort("num_statements")
    listed = ", ".join(f"{number}: {mean:.2f}" for number, mean in means.iter_rows())
    return [
        ("Spearman correlation of R with true exposure", f"{found:.3f}"),
        ("mean R by times stated", listed),
    ]


def more_samples(ours: pl.DataFrame, more: pl.DataFrame) -> list[tuple[str, str]]:
    joined = ours.join(more, on="fact_id", suffix="_more").with_columns(agrees=agrees("_more"))
    by_level = joined.group_by("level").agg(pl.col("agrees").mean()).sort("level")
    within = joined["mastery_more"].is_between(joined["low"], joined["high"]).mean()
    sure = joined.filter(~pl.col("uncertain"))
    return [
        (
            f"R agrees with that of {MORE} samples a template",
            f"{percent(joined['agrees'])} of facts",
        ),
        (
            "the same by level",
            ", ".join(f"{level}: {100 * share:.1f}" for level, share in by_level.iter_rows()),
        ),
        ("the latter within the 95 % interval of the former alone", f"{100 * within:.1f} %"),
        *deviations(joined, "_more"),
        ("same level from both", percent(joined["level"] == joined["level_more"])),
        ("facts whose level is certain", str(len(sure))),
        ("of these the same level", percent(sure["level"] == sure["level_more"])),
    ]


def both_ways(ours: pl.DataFrame, served: pl.DataFrame) -> list[tuple[str, str]]:
    joined = ours.join(served, on="fact_id", suffix="_served").with_columns(
        agrees=agrees("_served")
    )
    error = pl.col("standard_error") ** 2 + pl.col("standard_error_served") ** 2
    mean_error = joined.select(error.sum().sqrt() / pl.len()).item()
    difference = (joined["mastery_served"] - joined["mastery"]).mean()
    return [
        (
            "mean R at the endpoint minus in process",
            f"{difference:+.4f} (standard error {mean_error:.4f})",
        ),
        ("R agrees with that in process", f"{percent(joined['agrees'])} of facts"),
        *deviations(joined, "_served"),
        ("same level from both", percent(joined["level"] == joined["level_served"])),
    ]


def agrees(other: str) -> pl.Expr:
    """Whether 0 lies in the 95 % interval of the difference (Newcombe 1998, method 10)."""
    one, two = pl.col("mastery"), pl.col(f"mastery{other}")
    up = (pl.col("high") - one) ** 2 + (two - pl.col(f"low{other}")) ** 2
    down = (one - pl.col("low")) ** 2 + (pl.col(f"high{other}") - two) ** 2
    return (one - two - down.sqrt() <= 0) & (one - two + up.sqrt() >= 0)


def deviations(joined: pl.DataFrame, other: str) -> list[tuple[str, str]]:
    measured = (joined["mastery"] - joined[f"mastery{other}"]).std()
    error = pl.col("standard_error") ** 2 + pl.col(f"standard_error{other}") ** 2
    told = joined.select(error.mean().sqrt()).item()
    return [
        (
            "deviation of the difference, measured and by the standard errors",
            f"{measured:.4f}, {told:.4f}",
        )
    ]


def percent(values: pl.Series) -> str:
    return f"{100 * values.mean():.1f} %"


if __name__ == "__main__":
    main()
