"""A study small enough to reckon by hand: twenty facts, two training levels, two seeds."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

IN = [f"in{i}" for i in range(10)]  # two of each mastery level
OUT = [f"out{i}" for i in range(5)]  # one of each
VALIDATION = [f"val{i}" for i in range(5)]  # one of each
ASKED = [*IN, *OUT, *VALIDATION]
ECHOED = (0, 8, 14)  # in0, in8, out4: their answers stand in their questions
LEVELS = [i // 2 for i in range(10)] + list(range(5)) * 2
RUNS = [
    (f"level{level}-seed{seed}", level, 8, seed, 8 - level) for level in (0, 2) for seed in (0, 1)
]
RUN_NAMES = [run[0] for run in RUNS]

# Right answers of each model: of the facts in, out, and of validation.
TUNED = {
    "level0-seed0": "1000000011 10000 00001",
    "level0-seed1": "1100000011 10001 00001",
    "level2-seed0": "1010101011 11000 00111",
    "level2-seed1": "1010101010 11100 00111",
}
RESTORED = {  # by relative change, 20 %
    "level0-seed0": "1010000011 10010 00011",
    "level0-seed1": "1110000011 10011 00011",
    "level2-seed0": "1110101011 11010 01111",
    "level2-seed1": "1110101011 11110 01111",
}
WORSE = dict.fromkeys(RUN_NAMES, "0000000000 00000 00000")  # by relative change, 60 %
BASE = "0000000111 00011 00000"


def answers(bits: str) -> list[bool]:
    return [bit == "1" for bit in bits.replace(" ", "")]


def scores(bits: str, **labels: object) -> pl.DataFrame:
    """Answers to all facts, with further columns in front."""
    told = {
        name: pl.Series([value] * len(ASKED), dtype=pl.Float64 if name == "share" else None)
        for name, value in labels.items()
    }
    return pl.DataFrame({**told, "fact_id": ASKED, "correct": answers(bits)})


def of_method(by_run: dict[str, str], method: str, share: float | None) -> list[pl.DataFrame]:
    return [scores(bits, run=run, method=method, share=share) for run, bits in by_run.items()]


def small_study() -> dict[str, pl.DataFrame]:
    """The tables, by name; those of what is optional too."""
    facts = pl.DataFrame(
        {
            "fact_id": ASKED,
            "subject": ASKED,
            "question": [f"What is {name}?" for name in ASKED],
            "answers": [[name if n in ECHOED else "Oslo"] for n, name in enumerate(ASKED)],
            "domain": ["in"] * 10 + ["out"] * 5 + ["in"] * 5,
            "split": ["test"] * 15 + ["validation"] * 5,
        }
    )
    restorations = [
        (run, method, share, norm, strength)
        for run in RUN_NAMES
        for method, share, norm, strength in (
            ("relative", 20.0, 0.25, 20.0),
            ("relative", 60.0, 0.75, 60.0),
            ("random", 20.0, 0.0, 20.0),
        )
    ]
    return {
        "facts": facts,
        "mastery": pl.DataFrame(
            {
                "fact_id": ASKED,
                "topic": ["river"] * 4 + ["hill"] * 6 + ["town"] * 5 + ["hill"] * 5,
                "mastery": [level / 4 for level in LEVELS],
                "level": LEVELS,
            }
        ),
        "exposures": pl.DataFrame(
            {"fact_id": ASKED, "num_statements": LEVELS, "num_question_answers": [1] * len(ASKED)}
        ),
        "runs": pl.DataFrame(
            RUNS, schema=["run", "level", "size", "seed", "num_facts"], orient="row"
        ),
        "scores": pl.concat(
            [
                *of_method(TUNED, "tuned", None),
                *of_method(RESTORED, "relative", 20.0),
                *of_method(WORSE, "relative", 60.0),
                *of_method(TUNED, "random", 20.0),  # which changed nothing
            ]
        ),
        "restorations": pl.DataFrame(
            restorations,
            schema=["run", "method", "share", "norm_removed", "strength"],
            orient="row",
        ),
        "base_scores": scores(BASE),
        "noise": _noise(),
        "layer_scores": pl.concat(
            scores(bits, run=run, first_layer=0, last_layer=3) for run, bits in RESTORED.items()
        ),
        "training_scores": _training(),
        "strategy_runs": pl.DataFrame(
            [
                ("mixed-a", "mixed", None, 8, 0),
                ("lora-0", "lora", 0, 8, 0),
                ("lora-2", "lora", 2, 8, 0),
                ("instruct", "instruct", None, None, None),
            ],
            schema={
                "run": pl.String,
                "strategy": pl.String,
                "level": pl.Int64,
                "size": pl.Int64,
                "seed": pl.Int64,
            },
            orient="row",
        ),
        "strategy_scores": pl.concat(
            [
                scores(TUNED["level2-seed0"], run="mixed-a"),
                scores(TUNED["level0-seed0"], run="lora-0"),
                scores(RESTORED["level2-seed0"], run="lora-2"),
                scores(BASE, run="instruct"),
            ]
        ),
        "task_scores": _tasks(),
        "concentration": _concentration(),
        "tensors": _tensors(),
        "divergence": pl.DataFrame(
            [
                (run, fact, 0.5 + level / 4 + seed / 10)
                for run, level, _, seed, _ in RUNS
                for fact in (*IN, "val4", "never asked")
            ],
            schema=["run", "fact_id", "kl"],
            orient="row",
        ),
    }


def _noise() -> pl.DataFrame:
    """The first seed of each level again, with one answer lost and one gained."""
    frames = []
    for run, again in (
        ("level0-seed0", "0010000011 10000 00001"),
        ("level2-seed0", "0110101011 11000 00111"),
    ):
        table = scores(TUNED[run], run=run)
        frames.append(table.with_columns(again=pl.Series(answers(again))))
    return pl.concat(frames)


def _training() -> pl.DataFrame:
    """Each seed has its own four training facts of level 2."""
    rows: list[tuple[object, ...]] = []
    by_seed: dict[int, tuple[Sequence[int], Sequence[int]]] = {
        0: ((1, 1, 0, 0), (1, 1, 1, 0)),
        1: ((1, 1, 1, 0), (1, 1, 1, 1)),
    }
    for seed, (before, after) in by_seed.items():
        run = f"level2-seed{seed}"
        for i in range(4):
            fact = f"train{seed}-{i}"
            rows.append((run, "tuned", None, fact, bool(before[i])))
            rows.append((run, "relative", 20.0, fact, bool(after[i])))
    schema = {
        "run": pl.String,
        "method": pl.String,
        "share": pl.Float64,
        "fact_id": pl.String,
        "correct": pl.Boolean,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _tasks() -> pl.DataFrame:
    rows = [
        ("base", "base", None, "gsm8k", "exact_match", 0.5, 0.01, 100),
        ("level2-seed0", "tuned", None, "gsm8k", "exact_match", 0.4, 0.03, 100),
        ("level2-seed1", "tuned", None, "gsm8k", "exact_match", 0.6, 0.03, 100),
        ("level2-seed0", "relative", 20.0, "gsm8k", "exact_match", 0.5, None, 100),
        ("mixed-a", "tuned", None, "xsum", "rouge", 21.0, 0.5, 50),
    ]
    schema = {
        "model": pl.String,
        "method": pl.String,
        "share": pl.Float64,
        "task": pl.String,
        "metric": pl.String,
        "value": pl.Float64,
        "stderr": pl.Float64,
        "num_items": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _concentration() -> pl.DataFrame:
    rows = [
        (run, ranking, 5.0, held + 0.02 * seed)
        for run, _, _, seed, _ in RUNS
        for ranking, held in (("relative", 0.8), ("null", 0.79), ("absolute", 0.1))
    ]
    return pl.DataFrame(rows, schema=["run", "ranking", "top", "held"], orient="row")


def _tensors() -> pl.DataFrame:
    rows = [
        (run, f"{layer}.{module}", layer, module, 100, restored, 1.0 + layer + seed, 1.0)
        for run, _, _, seed, _ in RUNS
        for layer, module, restored in (
            (0, "mlp.up", 30),
            (0, "attn.q", 10),
            (1, "mlp.up", 5),
            (1, "attn.q", 5),
        )
    ]
    columns = [
        *("run", "name", "layer", "module", "num_parameters", "num_restored_12.5"),
        *("sum_absolute", "sum_relative"),
    ]
    return pl.DataFrame(rows, schema=columns, orient="row")
