"""Sampled completions as probing asks for them: `TransformersGenerator` beside plain `generate`.

usage: python benchmarks/probe.py [--preset small | --model DIR --facts FILE] [--repeat 3]

The same prompts, samples, temperature, longest text and tokens of a batch. Each engine runs in a
process of its own, in turn. Both kinds of text are measured: those that end by themselves, and
those that run to their last token, as a base model's mostly do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _measure import Measured, measure, memory_kind

SAME = 3.0  # standard errors that two hit rates of the same sampling may differ by
JOB = Path(__file__).with_name("_probe_job.py")
TITLES = {
    "plain": "plain `generate`",
    "shared": "`TransformersGenerator`",
    "settled": "the same, settled texts left",
}


class DifferentOutcomesError(SystemExit):
    """Two engines that should draw from one distribution hit at different rates."""


class Run(NamedTuple):
    """One engine on all prompts."""

    measured: Measured
    told: dict[str, Any]


def main() -> None:
    given = arguments()
    with nullcontext(given.folder) if given.folder else tempfile.TemporaryDirectory() as folder:
        if given.model is None:
            given.model, given.facts = scale_model(Path(folder), given.preset)
        job = {
            "model": str(given.model),
            "facts": str(given.facts),
            "num_prompts": given.prompts,
            "decoding": {"num_samples": 10, "temperature": 0.7, "max_new_tokens": 32},
            "max_batch_tokens": given.batch_tokens,
            "device": given.device,
        }
        idle = run({**job, "engine": "load", "endless": False}).measured.peak_bytes
        tables = {}
        for endless in (False, True):
            runs: dict[str, list[Run]] = {engine: [] for engine in TITLES}
            for _ in range(given.repeat):
                for engine, own in runs.items():
                    own.append(run({**job, "engine": engine, "endless": endless}))
                    told = own[-1].told
                    print(f"{engine}: {told['seconds']:.1f} s", file=sys.stderr, flush=True)
            tables["never end" if endless else "end"] = runs
    print("\n".join(page(tables, idle)))
    if given.json:
        given.json.write_text(json.dumps(as_json(tables, idle, job), indent=2) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--preset", default="small", help="scale model that is made: tiny, small or medium")
    add("--folder", type=Path, help="where the scale model is kept and found again; else temporary")
    add("--model", type=Path, help="a model instead of a scale model")
    add("--facts", type=Path, help="the facts that the model is asked")
    add("--prompts", type=int, default=300, help="prompts, of 10 samples each")
    add("--batch-tokens", type=int, default=16_384, help="tokens of a batch, all samples counted")
    add("--device", help="such as cuda; by default CUDA where there is a device")
    add("--repeat", type=int, default=3, help="rounds over all engines")
    add("--json", type=Path, help="file to write every measurement to")
    given = parser.parse_args()
    if (given.model is None) != (given.facts is None):
        parser.error("--model and --facts: give both or neither")
    if min(given.prompts, given.batch_tokens, given.repeat) < 1:
        parser.error("--prompts, --batch-tokens, --repeat: must be at least 1")
    return given


def scale_model(folder: Path, preset: Any) -> tuple[Path, Path]:
    """A model that knows part of a small world, and that world's facts."""
    from sftlens.world import PretrainSettings, WorldSettings, pretrain, write_world

    world, model = folder / "world", folder / preset
    settings = WorldSettings(num_facts_in=10, num_facts_out=3, exposures=(0, 8, 24, 64))
    if not world.exists():
        write_world(world, settings)
    pretrain(
        world,
        model,
        PretrainSettings(preset=preset, num_epochs=5, batch_size=4, learning_rate=1e-3),
    )
    return model, world


def run(job: dict[str, Any]) -> Run:
    measured = measure([sys.executable, str(JOB), json.dumps(job)])
    measured.require_success(str(job["engine"]))
    return Run(measured, json.loads(measured.out.splitlines()[-1]))


class Hits(NamedTuple):
    """How often completions hold the answer.

    ``error`` is the standard error of the rate for these prompts: what drawing other samples of
    them would move it by.
    """

    rate: float
    error: float


def hits(run: Run) -> Hits:
    found = np.array(run.told["hits"], dtype=float)  # (num_prompts, num_samples)
    variances = found.var(axis=1, ddof=1) / found.shape[1]
    return Hits(float(found.mean()), float(np.sqrt(variances.sum()) / len(found)))


def errors_apart(one: Hits, other: Hits) -> float:
    """How many standard errors of their difference two hit rates lie apart."""
    return (one.rate - other.rate) / max(float(np.hypot(one.error, other.error)), 1e-9)


def require_same_outcomes(runs: dict[str, list[Run]]) -> None:
    """Refuse to compare the speed of engines that do not do the same."""
    yardstick = hits(runs["plain"][0])
    for engine, own in runs.items():
        found = hits(own[0])
        apart = errors_apart(found, yardstick)
        if abs(apart) > SAME:
            raise DifferentOutcomesError(
                f"{TITLES[engine]} hits {found.rate:.4f} ± {found.error:.4f}, {TITLES['plain']} "
                f"{yardstick.rate:.4f} ± {yardstick.error:.4f}: {abs(apart):.1f} standard errors "
                "apart, so that the two do not draw from one distribution and no ratio is shown"
            )


def rate(run: Run) -> float:
    """Completions a second."""
    return float(np.size(run.told["hits"]) / run.told["seconds"])


def summary(runs: dict[str, list[Run]], idle: int) -> dict[str, dict[str, Any]]:
    """Medians over the rounds; ratios are taken within a round."""
    require_same_outcomes(runs)
    told = {}
    for engine, own in runs.items():
        ratios = [rate(one) / rate(other) for one, other in zip(own, runs["plain"], strict=True)]
        found, yardstick = hits(own[0]), hits(runs["plain"][0])
        told[engine] = {
            "completions_per_second": statistics.median(map(rate, own)),
            "times_plain": statistics.median(ratios),
            "times_plain_low": min(ratios),
            "times_plain_high": max(ratios),
            "hit_rate": found.rate,
            "hit_rate_error": found.error,
            "errors_from_plain": errors_apart(found, yardstick),
            "same_hits_as_shared": own[0].told["hits"] == runs["shared"][0].told["hits"],
            "share_in_forwards": statistics.median(one.told["share_in_forwards"] for one in own),
            "peak_bytes": max(one.measured.peak_bytes for one in own),
            "peak_bytes_above_model": max(one.measured.peak_bytes for one in own) - idle,
            "device_peak_bytes": own[0].told["device_peak_bytes"],
        }
    return told


def page(tables: dict[str, dict[str, list[Run]]], idle: int) -> list[str]:
    """The printed tables, as Markdown."""
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    lines = [
        f"OMP_NUM_THREADS {threads}, load {os.getloadavg()[0]:.1f} at the end; memory is "
        f"{memory_kind()}, {idle / 1e6:.0f} MB with the model alone."
    ]
    for kind, runs in tables.items():
        lines += [
            "",
            f"Texts that {kind}, medians of {len(runs['plain'])} rounds:",
            "",
            "| | completions a second | times plain (lowest to highest) "
            "| hit rate ± standard error | time in forward passes "
            "| peak memory above the model, MB |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for engine, own in summary(runs, idle).items():
            lines.append(
                f"| {TITLES[engine]} | {own['completions_per_second']:.0f} "
                f"| {own['times_plain']:.2f} ({own['times_plain_low']:.2f} to "
                f"{own['times_plain_high']:.2f}) "
                f"| {own['hit_rate']:.4f} ± {own['hit_rate_error']:.4f} "
                f"| {100 * own['share_in_forwards']:.0f} % "
                f"| {own['peak_bytes_above_model'] / 1e6:.0f} |"
            )
    return lines


def as_json(
    tables: dict[str, dict[str, list[Run]]], idle: int, job: dict[str, Any]
) -> dict[str, Any]:
    return {
        "job": job,
        "command": sys.argv,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "memory_measured": memory_kind(),
        "peak_bytes_of_the_model": idle,
        "texts": {kind: summary(runs, idle) for kind, runs in tables.items()},
    }


if __name__ == "__main__":
    main()
