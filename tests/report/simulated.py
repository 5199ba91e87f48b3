"""Tables of invented studies whose effects are known in accuracy, not in logits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

SIZES = (60, 240, 1920)
SHARES = (20.0, 40.0)
EASE = np.array([0.15, 0.3, 0.5, 0.65, 0.8])  # of a fact, by its mastery level

Effect = Callable[[int, int], float]


def no_effect(level: int, size: int) -> float:
    return 0.0


def simulated(
    rng: np.random.Generator,
    *,
    effect: Effect = no_effect,
    kl_effect: Effect = no_effect,
    gain: float = 0.0,
    control_gain: float | None = None,
    facts_per_level: int = 30,
    num_seeds: int = 3,
    sizes: tuple[int, ...] = SIZES,
    spread: float = 0.03,
) -> dict[str, pl.DataFrame]:
    """Tables of a study.

    Args:
        rng: of all draws.
        effect: what training level and size add to the chance of a right answer.
        kl_effect: what they add to the mean KL of 1.
        gain: what restoration adds, at any share; random choice as a control adds
            ``control_gain``, by default the same.
        facts_per_level: of each of the splits and domains.
        num_seeds: training sets of each level and size.
        sizes: of the training sets.
        spread: standard deviation over training sets, of accuracy and of KL.
    """
    levels = np.repeat(np.arange(5), facts_per_level)
    names, frames = [], []
    for domain, split in (("in", "validation"), ("in", "test"), ("out", "test")):
        ids = [f"{domain}-{split}-{i:04d}" for i in range(len(levels))]
        names += ids
        frames.append(
            pl.DataFrame({"fact_id": ids, "level": levels, "domain": domain, "split": split})
        )
    known = pl.concat(frames)
    level = known["level"].to_numpy()
    of_fact = rng.beta(4 * EASE[level], 4 * (1 - EASE[level]))
    runs, scores, kls = [], [], []
    control_gain = gain if control_gain is None else control_gain
    at_test = np.array([name.startswith("in-test") for name in names]) & (level == 4)
    kl_of_fact = rng.gamma(4, 0.25, at_test.sum())
    for trained in range(5):
        for size in sizes:
            for seed in range(num_seeds):
                run = f"level{trained}-size{size}-seed{seed}"
                runs.append((run, trained, size, seed, size))
                chance = of_fact + effect(trained, size) + rng.normal(0, spread)
                variants: list[tuple[str, float | None, float]] = [("tuned", None, 0.0)]
                if size == sizes[-1]:
                    variants += [("relative", share, gain) for share in SHARES]
                    variants += [("random", share, control_gain) for share in SHARES]
                for method, share, more in variants:
                    scores.append(
                        pl.DataFrame(
                            {
                                "run": run,
                                "method": method,
                                "share": pl.Series([share] * len(names), dtype=pl.Float64),
                                "fact_id": names,
                                "correct": rng.random(len(names)) < chance + more,
                            }
                        )
                    )
                mean = kl_effect(trained, size) + rng.normal(0, spread)
                kls.append(
                    pl.DataFrame(
                        {
                            "run": run,
                            "fact_id": np.array(names)[at_test],
                            "kl": kl_of_fact + mean + rng.gamma(1, 0.2, at_test.sum()),
                        }
                    )
                )
    return {
        "facts": known.select("fact_id", "domain", "split"),
        "mastery": known.select("fact_id", "level"),
        "runs": pl.DataFrame(
            runs, schema=["run", "level", "size", "seed", "num_facts"], orient="row"
        ),
        "scores": pl.concat(scores),
        "divergence": pl.concat(kls),
    }
