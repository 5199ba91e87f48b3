"""How large the page of a study with 20,000 facts is, how soon it opens, and how fast it filters.

The tables are made up, of the shape that a study leaves; the page is made from them as for any
study, and opened from disk in Chromium with the network off.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from playwright.sync_api import sync_playwright

from sftlens.manifest import write_manifest
from sftlens.report import write_report

TOPICS = tuple((f"P{17 + place}", "in" if place < 10 else "out") for place in range(24))
SIZES = (60, 240, 1920)
SHARES = (1.0, 3.0, 5.0, 10.0, 20.0, 40.0, 60.0)
MODULES = ("attn.q", "attn.k", "attn.v", "attn.o", "mlp.gate", "mlp.up", "mlp.down")
METHODS = ("relative", "random", "interpolation")
WATCH = """
  window.seen = {};
  new MutationObserver(() => {
    for (const name of ["usable", "drawn"]) {
      if (document.documentElement?.dataset[name] && !window.seen[name]) {
        window.seen[name] = performance.now();
      }
    }
  }).observe(document, { subtree: true, attributes: true, childList: true });
"""
FILTER = """([id, value, event]) => {
  const field = document.getElementById(id);
  const start = performance.now();
  field.value = value;
  field.dispatchEvent(new Event(event, { bubbles: true }));
  document.body.offsetHeight; // lay the new rows out
  return performance.now() - start;
}"""
FILTERS = (
    ("change to lost", "fact-change", "lost", "change"),
    ("topic", "fact-topic", "3", "change"),
    ("level", "fact-level", "4", "change"),
    ("all levels", "fact-level", "", "change"),
    ("all topics", "fact-topic", "", "change"),
    ("all facts", "fact-change", "all", "change"),
    ("first letter of a search", "fact-search", "t", "input"),
    ("a word", "fact-search", "tavri 1234", "input"),
    ("search emptied", "fact-search", "", "input"),
    ("one run", "fact-run", "0/1920/0", "change"),
    ("all runs", "fact-run", "", "change"),
    ("a restoration", "fact-comparison", "0/20", "change"),
)


def make_tables(run: Path, num_facts: int, num_seeds: int) -> None:
    """The run folder of a study over this many test and validation facts."""
    rng = np.random.default_rng(0)
    run.mkdir(parents=True)
    place = np.arange(num_facts)
    topics = [TOPICS[i % len(TOPICS)] for i in place]
    ids = [f"{topic}:{i:06d}" for i, (topic, _) in enumerate(topics)]
    level = rng.integers(5, size=num_facts)
    facts = pl.DataFrame(
        {
            "fact_id": ids,
            "topic": [topic for topic, _ in topics],
            "subject": [f"Tavri {i:x}-{rng.integers(1 << 30):x}" for i in place],
            "answers": [[f"Orvel {i % 977}", f"Orv {i % 977}"] for i in place],
            "split": ["validation" if i % 5 == 0 else "test" for i in place],
            "domain": [domain for _, domain in topics],
        }
    ).with_columns(question=pl.format("In which town of the region was {} born?", "subject"))
    facts.write_parquet(run / "facts.parquet")
    hits = np.where(level == 0, 0, rng.integers(50 * level - 49, 50 * level + 1))
    pl.DataFrame(
        {
            "fact_id": ids,
            "topic": facts["topic"],
            "num_completions": 200,
            "num_hits": hits,
            "mastery": hits / 200,
            "level": level,
            "best_template": None,
        },
        schema_overrides={"best_template": pl.String},
    ).write_parquet(run / "mastery.parquet")
    runs = pl.DataFrame(
        [
            (f"level{k}-size{size}-seed{seed}", k, size, seed, size, size // 8, 1.0)
            for k in range(5)
            for size in SIZES
            for seed in range(num_seeds)
        ],
        schema=["run", "level", "size", "seed", "num_facts", "num_steps", "final_loss"],
        orient="row",
    )
    runs.write_parquet(run / "runs.parquet")
    ease = 0.1 + 0.18 * level
    draw = rng.random(num_facts)
    pl.DataFrame({"fact_id": ids, "correct": draw < ease}).write_parquet(
        run / "base_scores.parquet"
    )
    frames, restored, tensors, held = [], [], [], []
    for one in runs.iter_rows(named=True):
        own = np.clip(draw + rng.normal(0, 0.12, num_facts), 0, 1)
        variants: list[tuple[str, float | None]] = [("tuned", None)]
        if one["size"] == SIZES[-1]:
            variants += [(method, share) for method in METHODS for share in SHARES]
        for method, share in variants:
            wobble = rng.normal(0, 0.001 * (share or 0), num_facts)
            frames.append(
                pl.DataFrame({"fact_id": pl.Series(ids), "correct": own + wobble < ease}).select(
                    run=pl.lit(one["run"]),
                    method=pl.lit(method),
                    share=pl.lit(share, pl.Float64),
                    fact_id="fact_id",
                    correct="correct",
                )
            )
            if share is not None:
                removed = share / 100
                restored.append((one["run"], method, share, 10**9, None, None, removed, None))
        for layer in range(32):
            for module in (
                "attn.q",
                "attn.k",
                "attn.v",
                "attn.o",
                "mlp.gate",
                "mlp.up",
                "mlp.down",
            ):
                tensors.append(
                    (
                        one["run"],
                        f"{layer}.{module}",
                        layer,
                        module,
                        10**6,
                        10**6,
                        *rng.gamma(9, size=2),
                    )
                )
        for ranking in ("relative", "null", "absolute"):
            held += [(one["run"], ranking, top, 1 - np.exp(-top / 10)) for top in SHARES]
    pl.concat(frames).write_parquet(run / "scores.parquet")
    whole = ("num_parameters", "num_restored", "num_restored_changed")
    pl.DataFrame(
        restored,
        schema={
            "run": pl.String,
            "method": pl.String,
            "share": pl.Float64,
            **dict.fromkeys(whole, pl.Int64),
            "norm_removed": pl.Float64,
            "alpha": pl.Float64,
        },
        orient="row",
    ).write_parquet(run / "restorations.parquet")
    pl.DataFrame(
        tensors,
        schema=[
            *("run", "name", "layer", "module", "num_parameters", "num_changed"),
            *("sum_relative", "sum_absolute"),
        ],
        orient="row",
    ).write_parquet(run / "tensors.parquet")
    pl.DataFrame(held, schema=["run", "ranking", "top", "held"], orient="row").write_parquet(
        run / "concentration.parquet"
    )
    known = facts.filter(pl.Series(level == 4), pl.col("split") == "test")
    pl.concat(
        [
            known.select(
                pl.lit(name).alias("run"), "fact_id", "topic", pl.lit("t").alias("template")
            ).with_columns(kl=pl.Series(rng.gamma(2, 0.1, len(known))), kl_full=pl.lit(0.3))
            for name in runs["run"]
        ]
    ).write_parquet(run / "divergence.parquet")
    write_manifest(run, stage="study", config={"settings": {"model": "made up"}}, result={})


def open_page(path: Path, repeat: int) -> dict[str, Any]:
    """Milliseconds from navigation to usable and to all figures drawn, and of each filter."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    opened: list[dict[str, float]] = []
    filtered: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        version = browser.version
        for _ in range(repeat):
            context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
            page = context.new_page()
            page.set_default_timeout(300_000)
            page.add_init_script(WATCH)
            page.goto(path.as_uri())
            page.wait_for_selector("html[data-drawn]", state="attached")
            opened.append(page.evaluate("window.seen"))
            page.wait_for_timeout(1500)
            for name, *arguments in FILTERS:
                filtered.setdefault(name, []).append(page.evaluate(FILTER, arguments))
            context.close()
        browser.close()
    return {"chromium": version, "opened": opened, "filtered": filtered}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keeps the study there, and finds it again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        run = options.folder or Path(made) / "run"
        if not (run / "manifest.json").is_file():
            make_tables(run, options.facts, options.seeds)
        begin = time.process_time()
        path = write_report(run)
        seconds = time.process_time() - begin
        size = path.stat().st_size
        found = open_page(path, options.repeat)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    load = ", ".join(f"{part:.1f}" for part in os.getloadavg())
    print(
        f"{today}, {platform.machine()}, {os.cpu_count()} cores, load {load}, "
        f"Chromium {found['chromium']}, {options.repeat} rounds\n"
    )
    print("| what | median (lowest to highest) |\n| --- | --- |")
    print(f"| size of the page | {size / 1e6:.2f} MB |")
    print(f"| writing the page, processor time | {seconds:.0f} s |")
    for name, words in (("usable", "navigation to usable"), ("drawn", "to all figures drawn")):
        print(f"| {words} | {_told([one[name] for one in found['opened']])} |")
    for name, times in found["filtered"].items():
        print(f"| {name} | {_told(times)} |")


def _told(times: list[float]) -> str:
    low, middle, high = min(times), float(np.median(times)), max(times)
    return f"{middle:.0f} ms ({low:.0f} to {high:.0f})"


if __name__ == "__main__":
    main()
