"""A grid of training runs and restorations: `sftlens study run` beside the plain way.

usage: python benchmarks/study.py [--folder DIR] [--levels 0 3] [--size 75] [--seeds 2]
           [--shares 5 10 20 40 60] [--test-facts 300] [--batch-size 64] [--repeat 1] [--json FILE]

The plain way is one process after another, as one would script it: for each run a TRL script, for
each share `sftlens restore` to disk, and for each model that came of it lm-evaluation-harness on
the facts that `sftlens facts --export lm-eval` wrote. Base, training facts, prompts, decoding and
matching are those of the study, and both ways must find the same accuracies. The base (a scale
model) and the levels of its facts are made beforehand and not counted; `--folder` keeps them.
Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import yaml
from _measure import Measured, measure, memory_kind

PLAIN_SFT = Path(__file__).with_name("_plain_sft.py")
RATE = 3e-4
TOLERANCE = 0.01
"""By how much an accuracy may differ: batches of another make-up round sums otherwise, which can
turn an answer where two tokens are all but equal."""

Cell = tuple[str, float | None, str]  # run, share (None: tuned), domain


class Way(NamedTuple):
    """One way through the grid.

    Attributes:
        seconds: in all.
        cpu_seconds: of all cores.
        peak_bytes: the largest of its processes, or of those that run at a time.
        stages: seconds by stage.
        accuracy: by run, share and domain.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    stages: dict[str, float]
    accuracy: dict[Cell, float]


def main() -> None:
    given = arguments()
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="true")
    load = os.getloadavg()[0]
    with nullcontext(given.folder) if given.folder else tempfile.TemporaryDirectory() as folder:
        made = prepare(Path(folder), given)
        rounds = []
        for number in range(given.repeat):
            with tempfile.TemporaryDirectory(dir=folder) as work:
                ours = by_study(made, Path(work))
                tell(f"round {number + 1}: study {ours.seconds:.1f} s")
                plain = by_hand(made, Path(work), given)
                tell(f"round {number + 1}: plain way {plain.seconds:.1f} s")
            rounds.append((ours, plain))
    print("\n".join(page(rounds, given)))
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    print(f"\nOMP_NUM_THREADS {threads}; load {load:.1f} before, {os.getloadavg()[0]:.1f} after.")
    if given.json:
        told = [{"study": as_json(ours), "plain": as_json(plain)} for ours, plain in rounds]
        given.json.write_text(json.dumps(told, indent=2) + "\n")
    if any(largest_difference(*both)[0] > TOLERANCE for both in rounds):
        sys.exit("the two ways do not find the same")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--folder", type=Path, help="where the base and the levels are kept and found again")
    add("--levels", type=int, nargs="+", default=[0, 3], help="mastery levels that are trained on")
    add("--size", type=int, default=75, help="training facts of a run")
    add("--seeds", type=int, default=2, help="runs of each level")
    add("--shares", type=int, nargs="+", default=[5, 10, 20, 40, 60], help="percent restored")
    add("--test-facts", type=int, default=300, help="facts that every model is asked")
    add("--batch-size", type=int, default=64, help="of lm-evaluation-harness")
    add("--repeat", type=int, default=1, help="rounds of both ways")
    add("--json", type=Path, help="file to write every measurement to")
    return parser.parse_args()


class Made(NamedTuple):
    """What both ways start from.

    Attributes:
        base: folder of the base model.
        facts: file of the facts.
        study: the study file.
        jobs: results of the jobs that levels are from.
        tasks: the facts as tasks of lm-evaluation-harness.
        rows: by run, its seed and the training file of the plain way.
    """

    base: Path
    facts: Path
    study: Path
    jobs: Path
    tasks: Path
    rows: dict[str, tuple[int, Path]]


def prepare(folder: Path, given: argparse.Namespace) -> Made:
    """The base, the facts, their levels, and the inputs of the plain way."""
    from sftlens.facts import facts_table, read_facts
    from sftlens.mastery import read_mastery
    from sftlens.study import InlineRunner, Store, load_study, make_plan, run_jobs, training_runs
    from sftlens.study._study import find_sources
    from sftlens.tuning import choose_training_facts

    folder.mkdir(parents=True, exist_ok=True)
    world, base = folder / "world", folder / "base"
    if not world.exists():
        sftlens("world", "--out", world)
    if not base.exists():
        sftlens("pretrain", world, "--out", base)
    every = read_facts(world).facts
    tested = [fact for fact in every if fact.split == "test"]
    step = max(1.0, len(tested) / given.test_facts)
    chosen = [tested[int(n * step)] for n in range(min(given.test_facts, len(tested)))]
    trained = [fact for fact in every if fact.split == "train" and fact.domain == "in"]
    facts = folder / "facts.parquet"
    facts_table([*trained, *chosen]).write_parquet(facts)
    content = {
        "base": str(base.absolute()),
        "facts": str(facts.absolute()),
        "levels": given.levels,
        "sizes": [given.size],
        "seeds": given.seeds,
        "shares": given.shares,
        "methods": ["relative"],
        "layer_groups": 0,
        "keep_models": "none",
        "probe": {"num_templates": 8, "num_samples": 5, "max_new_tokens": 12},
        "tune": {"learning_rate": RATE},
    }
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    study = load_study(file)
    plan, store = make_plan(study, find_sources(study)), Store(folder / "jobs")
    names = ("facts", "probe")
    plan.jobs = {name: job for name, job in plan.jobs.items() if name in names}
    if (failed := run_jobs(plan, store, InlineRunner(store)).failed) != {}:
        sys.exit(str(failed))
    levels = read_mastery(store.path(plan.jobs["probe"]) / "mastery").levels
    rows = {}
    for run in training_runs(study):
        own = choose_training_facts(
            trained, levels, level=run.level or 0, size=given.size, seed=run.seed
        )
        rows[run.name] = (run.seed, folder / f"{run.name}.jsonl")
        rows[run.name][1].write_text("".join(map(row, own)))
    tasks = folder / "tasks"
    shutil.rmtree(tasks, ignore_errors=True)
    sftlens("facts", facts, "--split", "test", "--aliases", "none", "--export", "lm-eval", tasks)
    return Made(base, facts, file, folder / "jobs", tasks, rows)


def row(fact: Any) -> str:
    """A training fact as TRL takes it (paper section 3)."""
    return (
        json.dumps(
            {
                "prompt": f"<|question|> {fact.question} <|answer|>",
                "completion": f" {fact.answers[0]} ",
            }
        )
        + "\n"
    )


def by_study(made: Made, work: Path) -> Way:
    """The whole grid by one command, whose tables, claims and report are counted too."""
    out = work / "study"
    shutil.copytree(made.jobs, out / "jobs")
    before = set((out / "jobs").rglob("job.json"))
    measured = sftlens("study", "run", made.study, "--out", out)
    records = [path for path in (out / "jobs").rglob("job.json") if path not in before]
    stages: dict[str, float] = defaultdict(float)
    begins, ends = [], []
    for path in records:
        record = json.loads(path.read_text())
        stages[f"jobs, {record['kind']}"] += record["seconds"]
        ends.append(path.stat().st_mtime)
        begins.append(path.stat().st_mtime - record["seconds"])
    stages = {name: stages[name] for name in sorted(stages, key=stages.__getitem__, reverse=True)}
    stages["jobs, from the first's begin to the last's end"] = max(ends) - min(begins)
    stages["before and after them"] = measured.seconds - (max(ends) - min(begins))
    scores = pl.read_parquet(out / "scores.parquet")
    groups = scores.group_by("run", "method", "share", "domain").agg(pl.col("correct").mean())
    accuracy = {
        (run, share, domain): value
        for run, method, share, domain, value in groups.iter_rows()
        if method in ("tuned", "relative")
    }
    cpu = measured.cpu_seconds or 0.0
    return Way(measured.seconds, cpu, measured.peak_bytes, dict(stages), accuracy)


def by_hand(made: Made, work: Path, given: argparse.Namespace) -> Way:
    """Every model by processes of its own, one after the other."""
    took: list[tuple[str, Measured]] = []
    accuracy: dict[Cell, float] = {}
    for run, (seed, rows) in made.rows.items():
        tuned = work / run
        command = [sys.executable, PLAIN_SFT, made.base, rows, tuned, RATE, seed]
        took.append(("fine-tune (TRL)", run_command(command)))
        models: dict[float | None, Path] = {None: tuned}
        for share in given.shares:
            models[share] = work / f"{run}-{share}"
            told = sftlens("restore", made.base, tuned, "--share", share, "--out", models[share])
            took.append(("restore to disk (`sftlens restore`)", told))
        for share, model in models.items():
            results = work / "results"
            took.append(("score (lm-evaluation-harness)", evaluate(made, model, results, given)))
            (file,) = results.rglob("results_*.json")
            for task, found in json.loads(file.read_text())["results"].items():
                accuracy[run, share, task.split("_")[1]] = found["acc,none"]
            shutil.rmtree(results)
            shutil.rmtree(model)
    stages: dict[str, float] = defaultdict(float)
    for stage, measured in took:
        stages[stage] += measured.seconds
    peak = max(measured.peak_bytes for _, measured in took)
    cpu = sum(measured.cpu_seconds or 0.0 for _, measured in took)
    return Way(sum(stages.values()), cpu, peak, dict(stages), accuracy)


def evaluate(made: Made, model: Path, results: Path, given: argparse.Namespace) -> Measured:
    names = sorted(path.stem for path in made.tasks.glob("sftlens_*.yaml"))
    command = [
        *(sys.executable, "-m", "lm_eval", "run", "--model", "hf"),
        *("--model_args", f"pretrained={model},dtype=float32"),
        *("--tasks", *names, "--include_path", made.tasks),
        *("--batch_size", given.batch_size, "--output_path", results),
    ]
    return run_command(command)


def sftlens(*arguments: object) -> Measured:
    return run_command([sys.executable, "-m", "sftlens", *arguments])


def run_command(command: list[Any]) -> Measured:
    words = [str(word) for word in command]
    measured = measure(words).require_success(" ".join(words[1:4]))
    tell(f"{' '.join(Path(word).name for word in words[1:4])}: {measured.seconds:.1f} s")
    return measured


def largest_difference(ours: Way, plain: Way) -> tuple[float, int]:
    """The largest difference of an accuracy, and how many of them differ at all."""
    domains = {domain for *_, domain in plain.accuracy}
    assert ours.accuracy.keys() == plain.accuracy.keys(), domains
    differences = [abs(ours.accuracy[cell] - value) for cell, value in plain.accuracy.items()]
    return max(differences), sum(value > 1e-9 for value in differences)


def page(rounds: list[tuple[Way, Way]], given: argparse.Namespace) -> Iterator[str]:
    num_runs = len(given.levels) * given.seeds
    num_models = num_runs * (1 + len(given.shares))
    yield (
        f"{num_runs} runs ({len(given.levels)} levels, {given.seeds} seeds, {given.size} facts), "
        f"{num_models} models tuned or restored, each asked {given.test_facts} facts; "
        f"{os.cpu_count()} cores ({platform.machine()}); memory is {memory_kind()}."
    )
    yield ""
    yield (
        "| round | way | seconds | models an hour | times the plain way "
        "| processor seconds | times the plain way | peak memory, GB |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for number, (ours, plain) in enumerate(rounds, start=1):
        for name, way in (("`sftlens study run`", ours), ("plain", plain)):
            yield (
                f"| {number} | {name} | {way.seconds:.1f} | "
                f"{3600 * num_models / way.seconds:,.0f} | {plain.seconds / way.seconds:.2f} | "
                f"{way.cpu_seconds:.0f} | {plain.cpu_seconds / way.cpu_seconds:.2f} | "
                f"{way.peak_bytes / 1e9:.2f} |"
            )
    for number, (ours, plain) in enumerate(rounds, start=1):
        largest, num_different = largest_difference(ours, plain)
        yield ""
        yield (
            f"Round {number}: of {len(plain.accuracy)} accuracies {num_different} differ, by "
            f"{largest:.4f} at most ({TOLERANCE} are allowed)."
        )
        for name, way in (("study", ours), ("plain", plain)):
            yield ""
            yield f"| {name}, round {number} | seconds |"
            yield "| --- | --- |"
            for stage, seconds in way.stages.items():
                yield f"| {stage} | {seconds:.1f} |"


def as_json(way: Way) -> dict[str, Any]:
    accuracy = [[*cell, value] for cell, value in way.accuracy.items()]
    return {**way._asdict(), "accuracy": accuracy}


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
