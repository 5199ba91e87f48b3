"""A finished study as Markdown: what it was, its main tables, the paper's claims beside it.

    python benchmarks/study_results.py RUN docs/results/NAME.md

RUN is the folder of a study that `sftlens study run` wrote. Accuracies are in percent, with 95 %
intervals in brackets. Every table of RUN/paper goes as CSV into a folder beside the Markdown.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from sftlens.report.paper import write_paper_tables

SHARE = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    tables = options.out.with_suffix("")
    tables.mkdir(parents=True, exist_ok=True)
    written = write_paper_tables(options.run)
    for path in written.files:
        if path.suffix == ".csv":
            shutil.copyfile(path, tables / path.name)
    paper = options.run / "paper"
    parts = [settings(options.run)]
    parts += [section(paper) for section in (levels, sizes, restorations, tasks, claims)]
    missing = "".join(f"- `{name}`: {reason}\n" for name, reason in written.missing.items())
    if missing:
        parts.append(f"### Not measured\n\n{missing}")
    options.out.write_text("\n".join(part for part in parts if part))
    print(options.out)


def settings(run: Path) -> str:
    manifest = json.loads((run / "manifest.json").read_text())
    told, result = manifest["config"]["settings"], manifest["result"]
    rows = [(key, ", ".join(map(str, v)) if isinstance(v, list) else v) for key, v in told.items()]
    rows += [("models fine-tuned", result["num_runs"]), ("restored", result["num_restorations"])]
    versions = manifest["versions"]
    rows += [
        (name, versions[name]) for name in ("torch", "transformers", "trl") if name in versions
    ]
    return f"### The study\n\n{table(('', ''), rows)}"


def levels(paper: Path) -> str:
    found = read(paper, "level_sizes")
    if found is None:
        return ""
    wide = found.pivot("level", index=["domain", "split"], values="num_facts").fill_null(0)
    names = [f"level {name}" for name in wide.columns[2:]]
    return f"### Facts\n\n{table(('domain', 'split', *names), wide.rows())}"


def sizes(paper: Path) -> str:
    found = read(paper, "accuracy_by_size")
    if found is None:
        return ""
    rows = [
        (
            r["domain"],
            r["level"],
            r["size"],
            f"{r['num_training_facts']:.0f}",
            percent(r),
            r["num_training_sets"],
        )
        for r in found.iter_rows(named=True)
    ]
    head = (
        "domain",
        "trained on level",
        "size",
        "facts trained on",
        "mean of levels",
        "training sets",
    )
    return f"### Accuracy by size and level (Figures 2 and 6)\n\n{table(head, rows)}"


def restorations(paper: Path) -> str:
    found = read(paper, "restoration")
    if found is None:
        return ""
    found = found.filter((pl.col("size") == found["size"].max()) & (pl.col("domain") == "in"))
    at = found.filter((pl.col("share") == SHARE) | pl.col("share").is_null())
    rows = [
        (
            r["level"],
            r["method"],
            percent(r),
            percent(r, "difference", sign=True),
            part(r["norm_removed"]),
        )
        for r in at.iter_rows(named=True)
    ]
    head = (
        "trained on level",
        "method",
        "mean of levels",
        "minus tuned",
        "squared norm removed, %",
    )
    return (
        f"### Restoration of {SHARE:g} % and its controls, in-domain, largest size (Table 4)\n\n"
        f"{table(head, rows)}"
    )


def tasks(paper: Path) -> str:
    found = read(paper, "other_tasks")
    if found is None:
        return ""
    alone = pl.col("method").is_in(["base", "tuned"])
    restored = pl.col("method").is_in(["relative", "interpolation"]) & (pl.col("share") == SHARE)
    rows = [
        (
            f"{r['task']}, {r['metric']}",
            r["level"],
            r["method"],
            percent(r) if r["unit"] == "fraction" else f"{r['value']:.3f}",
        )
        for r in found.filter(alone | restored).iter_rows(named=True)
    ]
    head = ("task", "trained on level", "model", "value")
    return f"### Other tasks, and after restoration of {SHARE:g} % (Table 5)\n\n{table(head, rows)}"


def claims(paper: Path) -> str:
    found = read(paper, "claims")
    if found is None:
        return ""
    rows = [
        (
            r["sentence"] + (f" ({r['domain']})" if r["domain"] else ""),
            r["paper"],
            threshold(r),
            effect(r),
            "" if r["p_holm"] is None else f"{r['p_holm']:.3g}",
            r["decision"] + (f": {r['reason']}" if r["decision"] == "not measured" else ""),
        )
        for r in found.iter_rows(named=True)
    ]
    head = ("claim", "paper", "threshold", "here", "p, Holm", "decision")
    return f"### The paper's claims\n\n{table(head, rows)}"


def read(paper: Path, name: str) -> pl.DataFrame | None:
    path = paper / f"{name}.parquet"
    return pl.read_parquet(path) if path.is_file() else None


def percent(row: dict[str, Any], name: str = "value", *, sign: bool = False) -> str:
    if row[name] is None:
        return ""
    prefix = "" if name == "value" else f"{name}_"
    low, high = row[f"{prefix}low"], row[f"{prefix}high"]
    form = "+.1f" if sign else ".1f"
    value = f"{100 * row[name]:{form}}"
    return value if low is None else f"{value} ({100 * low:{form}} to {100 * high:{form}})"


def threshold(row: dict[str, Any]) -> str:
    """What the effect is judged against, and on which side of it the claim holds; empty for 0."""
    if not row["threshold"]:
        return ""
    scale, unit = scale_of(row)
    return f"{row['claimed']} {scale * row['threshold']:.3g}{unit}"


def effect(row: dict[str, Any]) -> str:
    if row["effect"] is None:
        return ""
    scale, unit = scale_of(row)
    told = [
        f"{scale * row[name]:.3g}" for name in ("effect", "low", "high") if row[name] is not None
    ]
    interval = f" ({told[1]} to {told[2]})" if len(told) == 3 else ""
    return f"{told[0]}{unit}{interval}"


def scale_of(row: dict[str, Any]) -> tuple[int, str]:
    return (100, " points") if row["unit"] == "accuracy" else (1, "")


def part(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(
        "| " + " | ".join("" if c is None else str(c).replace("|", "\\|") for c in line) + " |\n"
        for line in lines
    )


if __name__ == "__main__":
    main()
