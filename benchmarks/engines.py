"""Every engine that can run here on one pair: the same result, and how long each takes.

usage: python benchmarks/engines.py [--params 2e8] [--folder DIR] [--json FILE]

Exits with 1 when two engines choose different entries.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import torch
from _random_pair import random_pair

from sftlens.weights import PAPER_SHARES, Engine, Selection, diff, open_pair, select

RANKINGS = ("relative", "absolute", "random", "small-base")


def engines() -> dict[str, Engine]:
    """The engines of this machine by name."""
    found = {"numpy": Engine(kernels="numpy", num_threads=2)}
    if find_spec("numba"):
        found["numba"] = Engine(kernels="numba", num_threads=2)
    found["torch on the CPU"] = Engine(kernels="torch", num_threads=1)
    if torch.cuda.is_available():
        found[torch.cuda.get_device_name()] = Engine(kernels="torch", num_threads=2, device="cuda")
    return found


def choices(selections: list[Selection]) -> list[tuple[object, ...]]:
    """All of a selection that decides which entries are restored."""
    return [(found.cut, dict(found.tensors), found.num_restored_changed) for found in selections]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--params", type=float, default=2e8, help="parameters of the random pair")
    parser.add_argument("--folder", type=Path, help="where the pair is kept; else temporary")
    parser.add_argument("--json", type=Path, help="file to write every measurement to")
    options = parser.parse_args()
    told: dict[str, dict[str, object]] = {}
    first: list[object] | None = None
    different = False
    kept = options.folder
    with nullcontext(kept) if kept else tempfile.TemporaryDirectory() as folder:
        made = random_pair(Path(folder), options.params)
        pair = open_pair(made.base, made.tuned)
        for name, engine in engines().items():
            select(pair, shares=[20], region="embeddings", engine=engine)  # compiles, warms up
            found: list[object] = []
            started = time.perf_counter()
            for ranking in RANKINGS:
                chosen = select(pair, shares=PAPER_SHARES, ranking=ranking, engine=engine)
                found.append(choices(chosen))
            selected = time.perf_counter()
            found.append(diff(pair, engine=engine).concentration)
            compared = time.perf_counter()
            first = first or found
            same = found == first
            different |= not same
            told[name] = {
                "select_seconds": (selected - started) / len(RANKINGS),
                "diff_seconds": compared - selected,
                "same": same,
            }
            print(
                f"{name}: select {told[name]['select_seconds']:.2f} s, "
                f"diff {told[name]['diff_seconds']:.2f} s, "
                f"{'the same result' if same else 'ANOTHER RESULT'}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps({"params": options.params, "engines": told}, indent=2))
    sys.exit(different)


if __name__ == "__main__":
    main()
