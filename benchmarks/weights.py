"""What comparing and restoring checkpoints takes, beside reading and copying them.

usage: python benchmarks/weights.py [--params 1.1e9] [--repeat 3] [--markdown FILE] [--json FILE]
       python benchmarks/weights.py --sizes 0.25e9 0.5e9 1.1e9 2.5e9

What is measured, and how, is told in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _measure import Measured, measure, memory_kind
from _random_pair import Pair, random_pair

HERE = Path(__file__).parent
SHARES = (1, 3, 5, 10, 20, 40, 60)
ONE_SHARE = 20
LARGE = (8e9, 70e9)

SFTLENS = [sys.executable, "-m", "sftlens"]


class Job(NamedTuple):
    """One thing to measure."""

    title: str
    command: Callable[[Pair, Path], list[str]]
    beside: str | None = None
    """The job that it is divided by."""


def _shares() -> list[str]:
    return [word for share in SHARES for word in ("--share", str(share))]


def _ours(*words: str) -> list[str]:
    return [*SFTLENS, *words, "--json"]


def _script(name: str, *words: object) -> list[str]:
    return [sys.executable, str(HERE / name), *map(str, words)]


JOBS = {
    "start": Job(
        "start Python and import torch",
        lambda _, __: [sys.executable, "-c", "import torch, safetensors"],
    ),
    "one-pass": Job(
        "one pass over both in plain torch",
        lambda pair, _: _script("_one_pass.py", pair.base, pair.tuned),
    ),
    "diff": Job(
        "sftlens diff",
        lambda pair, _: _ours("diff", str(pair.base), str(pair.tuned)),
        "one-pass",
    ),
    "dry-run": Job(
        f"sftlens restore, {len(SHARES)} shares, --dry-run",
        lambda pair, _: _ours("restore", str(pair.base), str(pair.tuned), *_shares(), "--dry-run"),
        "one-pass",
    ),
    "copies": Job(
        f"{len(SHARES)} copies of the tuned model",
        lambda pair, out: _script("_copies.py", pair.tuned, out, len(SHARES)),
    ),
    "restore": Job(
        f"sftlens restore, {len(SHARES)} models written",
        lambda pair, out: _ours(
            "restore", str(pair.base), str(pair.tuned), *_shares(), "--out", str(out)
        ),
        "copies",
    ),
    "restore-one": Job(
        "sftlens restore, 1 model written",
        lambda pair, out: _ours(
            *("restore", str(pair.base), str(pair.tuned)),
            *("--share", str(ONE_SHARE), "--out", str(out)),
        ),
    ),
}


@dataclass
class Table:
    """The runs of every job on one pair."""

    pair: Pair
    runs: dict[str, list[Measured]] = field(default_factory=dict)

    def seconds(self, name: str) -> float:
        """Of the fastest run: what else the machine does can only add."""
        return min(run.seconds for run in self.runs[name])

    def peak(self, name: str) -> int:
        """Bytes, of the largest run."""
        return max(run.peak_bytes for run in self.runs[name])

    def ratio(self, name: str, other: str) -> float:
        """How many times as long as another job, the median over the rounds."""
        runs = zip(self.runs[name], self.runs[other], strict=True)
        return statistics.median(one.seconds / two.seconds for one, two in runs)


def main() -> None:
    given = arguments()
    jobs = chosen_jobs(given)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="sftlens-benchmark-"))
    folder.mkdir(parents=True, exist_ok=True)
    tables = []
    try:
        for num_parameters in given.sizes or [given.params]:
            tables.append(measured(jobs, folder, num_parameters, given))
            if given.folder is None:
                shutil.rmtree(tables[-1].pair.base.parent)
    finally:
        if given.folder is None:
            shutil.rmtree(folder)
    text = "\n".join(page(tables, jobs))
    print(text)
    if given.markdown:
        given.markdown.write_text(text + "\n")
    if given.json:
        given.json.write_text(json.dumps(as_json(tables), indent=2) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--params", type=float, default=1.1e9, help="parameters of the random pair")
    add("--sizes", type=float, nargs="+", help="several; measures diff and dry-run only")
    add("--repeat", type=int, default=1, help="rounds over all measurements")
    add("--only", nargs="+", metavar="NAME", help=f"of {', '.join(JOBS)}, official, mergekit")
    add("--folder", type=Path, help="where pairs are made, kept and found again; else temporary")
    add("--seed", type=int, default=0, help="of the pair")
    add("--update", type=float, default=5e-5, help="deviation of the update")
    add("--official", type=Path, help="folder of the official code's param_restore.py")
    add("--mergekit", help="the Python that has mergekit")
    add("--json", type=Path, help="file to write every measurement to")
    add("--markdown", type=Path, help="file to write the printed tables to")
    given = parser.parse_args()
    if given.repeat < 1:
        parser.error("--repeat: must be at least 1")
    return given


def chosen_jobs(given: argparse.Namespace) -> dict[str, Job]:
    """The jobs asked for, without those that cannot run here, which are told."""
    jobs = dict(JOBS)
    if given.official:
        code = given.official.resolve()
        if not (code / "param_restore.py").is_file():
            sys.exit(f"--official {code}: holds no param_restore.py; see docs/benchmarks.md")
        jobs["official"] = Job(
            f"official code, 1 share ({ONE_SHARE} %)",
            lambda pair, out: _script(
                "_official.py", code, pair.base, pair.tuned, out, ONE_SHARE, "bf16"
            ),
            "restore-one",
        )
    if given.mergekit:
        jobs["mergekit"] = Job(
            f"mergekit, breadcrumbs, 1 share ({ONE_SHARE} %)",
            lambda pair, out: _mergekit(given.mergekit, pair, out),
            "restore-one",
        )
    wanted = given.only or (["one-pass", "diff", "dry-run"] if given.sizes else list(jobs))
    if unknown := set(wanted) - set(jobs):
        sys.exit(f"--only {', '.join(sorted(unknown))}: choose from {', '.join(jobs)}")
    if "dry-run" in wanted and "--dry-run" not in _help_of_restore():
        print("dry-run: left out, this sftlens has no `restore --dry-run`", file=sys.stderr)
        wanted = [name for name in wanted if name != "dry-run"]
    return {name: job for name, job in jobs.items() if name in wanted}


def _help_of_restore() -> str:
    called = subprocess.run([*SFTLENS, "restore", "--help"], capture_output=True, text=True)
    if called.returncode:
        sys.exit(f"sftlens cannot be run by {sys.executable}: {called.stderr.strip()[-500:]}")
    return called.stdout


def _mergekit(python: str, pair: Pair, out: Path) -> list[str]:
    """Breadcrumbs that drop the largest share of the update, tensor by tensor."""
    parameters = {"weight": 1.0, "density": 1 - ONE_SHARE / 100, "gamma": ONE_SHARE / 100}
    recipe = {
        "merge_method": "breadcrumbs",
        "base_model": str(pair.base),
        "models": [{"model": str(pair.tuned), "parameters": parameters}],
        "dtype": "bfloat16",
    }
    # JSON is YAML.
    config = out.with_name("mergekit.yaml")
    config.write_text(json.dumps(recipe))
    run = [python, "-m", "mergekit.scripts.run_yaml", str(config), str(out)]
    return [*run, "--no-copy-tokenizer"]


def measured(
    jobs: dict[str, Job], folder: Path, num_parameters: float, given: argparse.Namespace
) -> Table:
    """All jobs on one pair, round by round, so that what is compared ran side by side."""
    tell(f"making or finding the pair of {num_parameters:g} parameters")
    pair = random_pair(folder, num_parameters, update=given.update, seed=given.seed)
    _require_space(folder, pair, jobs)
    table = Table(pair)
    for _ in range(given.repeat):
        for name, job in jobs.items():
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                out = Path(scratch, "out")
                command = job.command(pair, out)
                pair.read()
                os.sync()  # what an earlier job left to be written is not this one's
                run = measure(command).require_success(name)
            table.runs.setdefault(name, []).append(run)
            tell(f"{name}: {run.seconds:.1f} s, {run.peak_bytes / 1e9:.2f} GB")
    return table


def _require_space(folder: Path, pair: Pair, jobs: dict[str, Job]) -> None:
    num_copies = len(SHARES) if {"copies", "restore"} & set(jobs) else 1
    needed, free = num_copies * pair.checkpoint_bytes, shutil.disk_usage(folder).free
    if needed > 0.95 * free:
        sys.exit(f"{folder}: needs {needed / 1e9:.1f} GB, has {free / 1e9:.1f}; try --folder")


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def page(tables: list[Table], jobs: dict[str, Job]) -> list[str]:
    """The printed tables, as Markdown."""
    lines = [f"    python {shlex.join(sys.argv)}", "", machine_line(), ""]
    for table in tables:
        lines += [*pair_lines(table), "", *job_lines(table, jobs), ""]
    if len(tables) > 1:
        lines += [*fit_lines(tables, jobs), ""]
    return lines[:-1]


def machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "num_cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": memory,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "python": platform.python_version(),
        "memory_measured": memory_kind(),
        **{name: version(name) for name in ("sftlens", "torch", "transformers", "numpy")},
    }


def machine_line() -> str:
    told = machine()
    threads = f", OMP_NUM_THREADS={told['threads']}" if told["threads"] else ""
    return (
        f"{told['processor']}, {told['num_cores']} cores{threads}, "
        f"{told['memory_bytes'] / 1e9:.0f} GB; sftlens {told['sftlens']}, torch {told['torch']}, "
        f"Python {told['python']}. Memory is {told['memory_measured']}."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def pair_lines(table: Table) -> list[str]:
    shape, size = table.pair.shape, table.pair.checkpoint_bytes
    lines = [
        f"Random pair of {shape.num_parameters / 1e9:.3f} B parameters ({shape.num_hidden_layers} "
        f"layers, width {shape.hidden_size:,}, vocabulary {shape.vocab_size:,}), bf16, "
        f"{size / 1e9:.2f} GB each; all files read once before each measurement."
    ]
    if "diff" in table.runs:
        found = json.loads(table.runs["diff"][0].out)
        changed = 100 * found["num_changed"] / found["num_parameters"]
        lines.append(f"The update changed {changed:.1f} % of the block parameters.")
    rounds = len(next(iter(table.runs.values())))
    if rounds > 1:
        lines.append(f"Fastest of {rounds} rounds; ratios are medians over the rounds.")
    return lines


def job_lines(table: Table, jobs: dict[str, Job]) -> list[str]:
    lines = ["| | seconds | peak memory, GB | ratio |", "| --- | --- | --- | --- |"]
    for name in table.runs:
        job = jobs[name]
        ratio = ""
        if job.beside in table.runs:
            ratio = f"{table.ratio(name, job.beside):.2f} × {job.beside}"
        lines.append(
            f"| {job.title} (`{name}`) | {table.seconds(name):.1f} "
            f"| {table.peak(name) / 1e9:.2f} | {ratio} |"
        )
    if "official" in table.runs:
        steps = json.loads(table.runs["official"][-1].out.splitlines()[-1])
        told = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in steps.items())
        lines += ["", f"Official code: {told} (saving is part of restore and save)."]
    return lines


class Fit(NamedTuple):
    """Seconds as a line over the number of parameters."""

    start: float
    per_billion: float
    largest_residual: float  # seconds

    def seconds(self, num_parameters: float) -> float:
        return self.start + self.per_billion * num_parameters / 1e9


def fit(tables: list[Table], name: str) -> Fit:
    """Least squares over the fastest runs."""
    sizes = np.array([table.pair.shape.num_parameters / 1e9 for table in tables])
    seconds = np.array([table.seconds(name) for table in tables])
    slope, start = np.polyfit(sizes, seconds, 1)
    residual = float(np.abs(seconds - (start + slope * sizes)).max())
    return Fit(float(start), float(slope), residual)


def fit_lines(tables: list[Table], jobs: dict[str, Job]) -> list[str]:
    billions = [f"{table.pair.shape.num_parameters / 1e9:.2f} B" for table in tables]
    stated = [f"{size / 1e9:.0f} B, by the line" for size in LARGE]
    columns = ["", *billions, "line, s (N in B)", "largest residual, s", *stated]
    lines = [_row(columns), _row(["---"] * len(columns))]
    for name, job in jobs.items():
        line = fit(tables, name)
        seconds = [f"{table.seconds(name):.1f} s" for table in tables]
        formula = f"{line.start:.2f} + {line.per_billion:.2f} N"
        large = [f"{line.seconds(size):.0f} s" for size in LARGE]
        lines.append(_row([job.title, *seconds, formula, f"{line.largest_residual:.2f}", *large]))
    for name, job in jobs.items():
        peaks = [f"{table.peak(name) / 1e9:.2f} GB" for table in tables]
        lines.append(_row([f"{job.title}: peak memory", *peaks, "", "", *[""] * len(LARGE)]))
    disks = "; ".join(
        f"{size / 1e9:.0f} B: {4 * size / 1e9:.0f} GB the pair, {2 * size / 1e9:.0f} GB each "
        f"restored model, {2 * len(SHARES) * size / 1e9:.0f} GB all {len(SHARES)}"
        for size in LARGE
    )
    return [
        *lines,
        "",
        "The line is fitted to files that lie in the page cache. A pair that does not fit into it "
        "is read from the disk in every pass, and then the disk's own speed decides.",
        f"Disk in bf16 (2 bytes a parameter): {disks}.",
    ]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def as_json(tables: list[Table]) -> dict[str, Any]:
    return {
        "machine": machine(),
        "command": sys.argv,
        "pairs": [
            {
                "num_parameters": table.pair.shape.num_parameters,
                "checkpoint_bytes": table.pair.checkpoint_bytes,
                "runs": {
                    name: [{"seconds": r.seconds, "peak_bytes": r.peak_bytes} for r in runs]
                    for name, runs in table.runs.items()
                },
            }
            for table in tables
        ],
    }


if __name__ == "__main__":
    main()
