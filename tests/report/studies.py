"""An invented study's run folder, seeded, with effects of known sign."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from sftlens.manifest import write_manifest

TOPICS_IN = ("P17", "P19", "P20", "P36")
TOPICS_OUT = ("P26", "P40", "P50", "P106")
EXPOSURES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24)
SHARES = (1.0, 3.0, 5.0, 10.0, 20.0, 40.0, 60.0)
NORMS = {1.0: 0.002, 3.0: 0.006, 5.0: 0.01, 10.0: 0.025, 20.0: 0.07, 40.0: 0.2, 60.0: 0.37}
TOPS = (1.0, 3.0, 5.0, 10.0, 20.0, 40.0, 60.0)
SKEWED = (0.71, 0.79, 0.823, 0.87, 0.917, 0.961, 0.984)
FLAT = (0.02, 0.05, 0.08, 0.15, 0.37, 0.62, 0.81)


@dataclass(frozen=True, kw_only=True)
class Study:
    """What the invented study shows; effects in logits."""

    sizes: tuple[int, ...] = (30, 120, 480)
    num_seeds: int = 3
    facts_per_topic: int = 60
    size_effect: float = -1.0  # of the largest over the middle size, at level 0; less above
    restoration: float = 1.0  # at 20 %; collapses at 60 %
    random: float = 0.3
    interpolation: float = 0.9
    concentration_over_null: float = 0.003
    exposures: bool = True
    divergence: bool = True
    restored: bool = True
    validation: bool = False
    references: bool = True  # base scores, a second scoring, and the tensors
    quick: bool = False
    model: str = "scale-2m"
    subject: str = "Tavri"


def make_study(folder: Path, study: Study) -> Path:
    """Write the run folder of an invented study."""
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    facts = _facts(study, rng)
    mastery = _mastery(facts, rng)
    facts_only = facts.drop("exposure")
    facts_only.write_parquet(folder / "facts.parquet")
    if study.exposures:
        asked = facts["exposure"] // 3
        pl.DataFrame(
            {
                "fact_id": facts["fact_id"],
                "num_statements": facts["exposure"] - asked,
                "num_question_answers": asked,
            }
        ).write_parquet(folder / "exposures.parquet")
    mastery.write_parquet(folder / "mastery.parquet")
    runs = pl.DataFrame(
        [
            {
                "run": f"level{level}-size{size}-seed{seed}",
                "level": level,
                "size": size,
                "seed": seed,
                "num_facts": min(size, 400) if level == 4 else size,
                "num_steps": size // 8,
                "final_loss": 1.2 - 0.1 * level,
            }
            for level in range(5)
            for size in study.sizes
            for seed in range(study.num_seeds)
        ]
    )
    runs.write_parquet(folder / "runs.parquet")
    _scores(study, facts, mastery, runs, rng).write_parquet(folder / "scores.parquet")
    _divergence(study, facts, mastery, runs, rng).write_parquet(folder / "divergence.parquet")
    _concentration(study, runs, rng).write_parquet(folder / "concentration.parquet")
    _restorations(study, runs).write_parquet(folder / "restorations.parquet")
    if study.references:
        _references(folder, runs, np.random.default_rng(8))
    settings = {
        "model": study.model,
        "sizes": list(study.sizes),
        "shares": list(SHARES),
        "learning_rate": 3e-4,
        "batch_size": 8,
        "quick": study.quick,
    }
    write_manifest(
        folder, stage="study", config={"settings": settings}, result={"num_jobs": len(runs)}
    )
    return folder


def _references(folder: Path, runs: pl.DataFrame, rng: np.random.Generator) -> None:
    scores = pl.read_parquet(folder / "scores.parquet")
    tuned = scores.filter(pl.col("method") == "tuned")
    first = tuned.filter(pl.col("run") == runs["run"][0])
    level = first.join(pl.read_parquet(folder / "mastery.parquet"), on="fact_id")["level"]
    right = rng.random(len(first)) < 0.1 + 0.2 * level.to_numpy()
    first.select("fact_id", correct=right).write_parquet(folder / "base_scores.parquet")
    turned = rng.random(len(first)) < 0.02
    first.select("run", "fact_id", "correct", again=pl.col("correct") ^ turned).write_parquet(
        folder / "noise.parquet"
    )
    rows = [
        {
            "run": run,
            "name": f"blocks.{layer}.{module}",
            "layer": layer,
            "module": module,
            "region": "block",
            "num_parameters": size,
            "num_changed": size - 5,
            "sum_relative": float(size * rng.gamma(2, 1)),
            "sum_absolute": float(size * rng.gamma(20, 1e-4)),
        }
        for run in runs["run"]
        for layer in range(3)
        for module, size in (("attn.q", 400), ("attn.o", 400), ("mlp.up", 1600))
    ]
    pl.DataFrame(rows).write_parquet(folder / "tensors.parquet")


def _facts(study: Study, rng: np.random.Generator) -> pl.DataFrame:
    rows = []
    for domain, topics in (("in", TOPICS_IN), ("out", TOPICS_OUT)):
        for topic in topics:
            for i in range(study.facts_per_topic):
                name = f"{study.subject} {topic}-{i}"
                split = "test" if i % 2 else "train"
                if study.validation and i % 4 == 0:
                    split = "validation"
                rows.append(
                    {
                        "fact_id": f"{topic}:{i:04d}",
                        "topic": topic,
                        "subject": name,
                        "question": f"Where does {name} lie?",
                        "answers": [f"Orvel {i % 17}", f"Orv {i % 17}"],
                        "split": split,
                        "domain": domain,
                        "exposure": int(rng.choice(EXPOSURES)),
                    }
                )
    return pl.DataFrame(rows)


def _mastery(facts: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    exposure = facts["exposure"].to_numpy()
    chance = np.clip(0.02 + 0.04 * exposure + rng.normal(0, 0.15, len(exposure)), 0, 1)
    hits = rng.binomial(210, chance)
    return pl.DataFrame(
        {
            "fact_id": facts["fact_id"],
            "topic": facts["topic"],
            "num_completions": np.full(len(hits), 210),
            "num_hits": hits,
            "mastery": hits / 210,
            "level": np.ceil(4 * hits / 210).astype(np.int64),
            "best_template": [None if h == 0 else 3 for h in hits],
        }
    )


def _chance(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


def _scores(
    study: Study,
    facts: pl.DataFrame,
    mastery: pl.DataFrame,
    runs: pl.DataFrame,
    rng: np.random.Generator,
) -> pl.DataFrame:
    asked = facts["split"].is_in(["test", "validation"]).to_numpy()
    ids = facts["fact_id"].to_numpy()[asked]
    level = mastery["level"].to_numpy()[asked]
    out = (facts["domain"].to_numpy() == "out")[asked]
    ease = -2.5 + 1.4 * level - 0.2 * out + rng.normal(0, 0.5, len(level))
    draw = rng.random((study.num_seeds, len(level)))
    frames = []
    for run in runs.iter_rows(named=True):
        trained = run["level"]
        big = run["size"] == study.sizes[-1]
        small = run["size"] == study.sizes[0] and len(study.sizes) > 1
        logit = ease + (-1.5, -0.3, 0.5, 0.4, 0.3)[trained] - 1.0 * small
        logit = logit + big * study.size_effect * (1.0, 0.8, 0.3, 0.2, 0.1)[trained]
        uniform = np.clip(draw[run["seed"]] + rng.normal(0, 0.05, len(level)), 0, 1)
        variants: list[tuple[str, float | None, float]] = [("tuned", None, 0.0)]
        if big and study.restored:
            for share in SHARES:
                bump = np.interp(share, [0, 20, 40, 60], [0, 1, 0.6, -8])
                for method, height in (
                    ("relative", study.restoration),
                    ("random", study.random),
                    ("interpolation", study.interpolation),
                ):
                    variants.append((method, share, height * bump if bump > 0 else bump / 2))
        for method, share, lift in variants:
            wobble = rng.normal(0, 0.04, len(level)) if share else 0.0
            frames.append(
                pl.DataFrame(
                    {
                        "run": run["run"],
                        "method": method,
                        "share": pl.Series([share] * len(ids), dtype=pl.Float64),
                        "fact_id": ids,
                        "correct": uniform + wobble < _chance(logit + lift),
                    }
                )
            )
    return pl.concat(frames)


def _divergence(
    study: Study,
    facts: pl.DataFrame,
    mastery: pl.DataFrame,
    runs: pl.DataFrame,
    rng: np.random.Generator,
) -> pl.DataFrame:
    known = facts.with_columns(mastery["level"]).filter(
        (pl.col("split") == "test") & (pl.col("level") == 4)
    )
    frames = []
    for run in runs.iter_rows(named=True) if study.divergence else ():
        big = run["size"] == study.sizes[-1]
        mean = 0.15 + 0.1 * (4 - run["level"]) * (0.4 + big) + 0.2 * (run["size"] <= 30)
        kl = rng.gamma(2, mean / 2, len(known))
        frames.append(
            pl.DataFrame(
                {
                    "run": run["run"],
                    "fact_id": known["fact_id"],
                    "topic": known["topic"],
                    "template": 3,
                    "kl": kl,
                    "kl_full": kl * 1.1,
                }
            )
        )
    texts = dict.fromkeys(("run", "fact_id", "topic"), pl.String)
    numbers = {"template": pl.Int32, "kl": pl.Float64, "kl_full": pl.Float64}
    empty = pl.DataFrame(schema=texts | numbers)
    return pl.concat([empty, *frames])


def _concentration(study: Study, runs: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    rows = []
    for run in runs["run"]:
        wobble = rng.normal(0, 0.002)
        for top, skewed, flat in zip(TOPS, SKEWED, FLAT, strict=True):
            null = skewed + wobble - study.concentration_over_null * (1 - skewed) / 0.177
            for ranking, held in (
                ("relative", skewed + wobble),
                ("null", null),
                ("absolute", flat + wobble),
            ):
                rows.append({"run": run, "ranking": ranking, "top": top, "held": min(held, 1.0)})
    return pl.DataFrame(rows)


def _restorations(study: Study, runs: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for run in runs.filter(pl.col("size") == study.sizes[-1])["run"] if study.restored else ():
        for share, norm in NORMS.items():
            for method in ("relative", "random", "interpolation"):
                blend = method == "interpolation"
                removed = share / 100 if method == "random" else norm
                count = None if blend else int(1_900_000 * share / 100)
                rows.append(
                    {
                        "run": run,
                        "method": method,
                        "share": share,
                        "num_parameters": 1_900_000,
                        "num_restored": count,
                        "num_restored_changed": count,
                        "norm_removed": removed,
                        "alpha": (1 - removed) ** 0.5 if blend else None,
                    }
                )
    schema = {
        "run": pl.String,
        "method": pl.String,
        "share": pl.Float64,
        "num_parameters": pl.Int64,
        "num_restored": pl.Int64,
        "num_restored_changed": pl.Int64,
        "norm_removed": pl.Float64,
        "alpha": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema)
