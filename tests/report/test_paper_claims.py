"""The claims table: decisions on studies whose effects are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated import simulated
from studies import Study

from sftlens.errors import UserError
from sftlens.report.inference import (
    CLAIMS_SCHEMA,
    Contrast,
    decide,
    harmless_shares,
    holm,
    infer,
    paper_claims,
    read_study,
    size_curves,
    smallest_effect_p,
)
from sftlens.report.inference._token_claims import rank_correlation
from sftlens.report.inference._weight_claims import layer_slopes

Tables = dict[str, pl.DataFrame]
NUM_RESAMPLES = 999


def judged(tables: Tables) -> dict[str, dict[str, Any]]:
    table = paper_claims(tables, num_resamples=NUM_RESAMPLES)
    assert table.schema == CLAIMS_SCHEMA
    return {row["claim"]: row for row in table.iter_rows(named=True)}


def as_the_paper(level: int, size: int) -> float:
    """Level 0 is worst and level 2 best, all the more with many facts; 240 is the best size."""
    of_level = (-0.1, 0.0, 0.1, 0.0, -0.05)[level] * (1.5 if size == 1920 else 0.7)
    return of_level + {60: -0.1, 240: 0.1}.get(size, 0.0)


def kl_as_the_paper(level: int, size: int) -> float:
    rise = {60: 0.3, 1920: 1.2 if level < 2 else 0.3}.get(size, 0.0)
    return rise - 0.3 * (level > 2)


@pytest.fixture(scope="module")
def tables() -> Tables:
    """A study in which the claims of the paper hold, restoration as well by chance as by rank."""
    return simulated(
        np.random.default_rng(0),
        effect=as_the_paper,
        kl_effect=kl_as_the_paper,
        gain=0.1,
        facts_per_level=80,
        num_seeds=5,
        spread=0.01,
    )


@pytest.fixture(scope="module")
def claims(tables: Tables) -> dict[str, dict[str, Any]]:
    return judged(tables)


def test_effects_that_are_there_are_found(claims: dict[str, dict[str, Any]]) -> None:
    for name, effect in {
        "size-in": 0.1,
        "size-out": 0.1,
        "level-matters": 0.3,
        "level-matters-more": 0.16,
        "low-mastery-worst-in": 0.075,
        "middle-level-best": 0.225,
        "kl-falls": 0.3,
        "kl-rises": 0.66,
        "kl-rises-low-levels": 0.9,
        "restoration-in": 0.1,
        "restoration-out": 0.1,
    }.items():
        row = claims[name]
        assert row["low"] - 0.02 < effect < row["high"] + 0.02, name
        assert row["covers"] == "facts and training sets"
    for name in ("size-in", "level-matters", "middle-level-best", "kl-rises", "restoration-in"):
        assert claims[name]["decision"] == "holds", name


def test_effects_that_are_not_there_are_not_found(claims: dict[str, dict[str, Any]]) -> None:
    for name in ("over-random-in", "over-random-out", "over-best-random"):
        assert claims[name]["decision"] == "undecided"
        assert claims[name]["low"] < 0 < claims[name]["high"]


def test_the_reverse_does_not_hold() -> None:
    claims = judged(
        simulated(
            np.random.default_rng(1),
            effect=lambda level, size: -as_the_paper(level, size),
            gain=-0.1,
            control_gain=0.0,
            facts_per_level=60,
            num_seeds=5,
            spread=0.01,
        )
    )
    for name in ("size-in", "middle-level-best", "restoration-in", "over-random-in"):
        assert claims[name]["decision"] == "does not hold", name


def test_what_is_missing_is_not_measured(claims: dict[str, dict[str, Any]]) -> None:
    reasons = {
        "concentration": "the study has no table concentration",
        "early-layers": "the study has no table tensors",
        "over-absolute-in": "the control absolute was not scored",
        "over-interpolation-in": "the control interpolation was not scored",
        "unneeded-norm": "the study has no table restorations",
        "unneeded-count": "no restoration took back 90 % of the parameters; the most was 40 %",
        "collapse": "no model was restored at 60 %",
    }
    for name, reason in reasons.items():
        row = claims[name]
        assert row["decision"] == "not measured"
        assert row["reason"] == reason
        assert {row[c] for c in ("effect", "low", "high", "p", "p_holm", "num_facts")} == {None}


@pytest.mark.parametrize(
    ("norm", "decision"), [(0.2005, "holds"), (0.02, "not measured"), (None, "not measured")]
)
def test_interpolation_is_a_control_where_it_removes_the_same_norm(
    norm: float | None, decision: str
) -> None:
    found = simulated(
        np.random.default_rng(2),
        effect=as_the_paper,
        gain=0.1,
        control_gain=0.0,
        facts_per_level=60,
        num_seeds=5,
        spread=0.01,
    )
    is_control = pl.col("method") == "random"
    method = pl.when(is_control).then(pl.lit("interpolation")).otherwise("method")
    found["scores"] = found["scores"].with_columns(method=method)
    rows = found["scores"].filter(pl.col("method") != "tuned").select("run", "method", "share")
    norms = pl.when(pl.col("method") == "interpolation").then(pl.lit(norm)).otherwise(0.2)
    found["restorations"] = rows.unique().with_columns(norm_removed=norms)
    claims = judged(found)
    for name in ("over-interpolation-in", "over-interpolation-out"):
        assert claims[name]["decision"] == decision
        reason = claims[name]["reason"] or ""
        assert ("interpolation removed 2 % of the squared norm" in reason) == (norm == 0.02)
        assert ("are not known" in reason) == (norm is None)
    assert claims["over-best-interpolation"]["decision"] == "holds"


@pytest.mark.parametrize("missing", ["facts", "mastery", "runs", "scores", "divergence"])
def test_claims_without_a_table(tables: Tables, missing: str) -> None:
    left = {name: table for name, table in tables.items() if name != missing}
    claims = judged(left)
    told = {row["reason"] for row in claims.values()}
    assert f"the study has no table {missing}" in told
    measured = {name for name, row in claims.items() if row["decision"] != "not measured"}
    assert ("size-in" in measured) == (missing == "divergence")
    assert ("kl-rises" in measured) == (missing not in ("divergence", "runs"))
    assert judged({name: table.clear() for name, table in left.items()}).keys() == claims.keys()


def test_a_column_of_another_kind_is_told(tables: Tables) -> None:
    scores = tables["scores"]
    without = judged({**tables, "scores": scores.drop("correct")})
    assert without["size-in"]["reason"] == "table scores has no column correct"
    words = scores.with_columns(share=pl.lit("much"))
    strange = judged({**tables, "scores": words})
    assert strange["size-in"]["reason"] == "table scores has columns of other types"


def test_tables_that_do_not_fit_are_refused(tables: Tables) -> None:
    twice = pl.concat([tables["scores"], tables["scores"].head(1)])
    with pytest.raises(UserError, match="two rows of the same run"):
        paper_claims({**tables, "scores": twice})
    with pytest.raises(UserError, match="runs that table runs lacks"):
        paper_claims({**tables, "runs": tables["runs"].tail(-1)})


def test_row_order_does_not_matter(tables: Tables, claims: dict[str, dict[str, Any]]) -> None:
    shuffled = {
        name: table.sample(fraction=1, shuffle=True, seed=5) for name, table in tables.items()
    }
    assert judged(shuffled) == claims


def test_unscored_answers_do_not_count(tables: Tables, claims: dict[str, dict[str, Any]]) -> None:
    """A fact that one model did not answer leaves the comparisons of that model, and no other."""
    last = pl.col("fact_id") == "in-test-0399"
    unscored = tables["scores"].with_columns(
        correct=pl.when(last, pl.col("run") == "level1-size1920-seed0")
        .then(None)
        .otherwise("correct")
    )
    found = judged({**tables, "scores": unscored})
    assert found["size-in"]["num_facts"] == claims["size-in"]["num_facts"] - 1
    assert found["size-level0"] == claims["size-level0"] | {
        "p_holm": found["size-level0"]["p_holm"]
    }


def test_one_training_set_decides_nothing_between_conditions() -> None:
    claims = judged(
        simulated(
            np.random.default_rng(2),
            effect=as_the_paper,
            gain=0.15,
            facts_per_level=60,
            num_seeds=1,
        )
    )
    size, restored = claims["size-in"], claims["restoration-in"]
    assert size["covers"] == restored["covers"] == "facts"
    assert size["low"] < 0.1 < size["high"]
    assert (size["p"], size["decision"]) == (None, "undecided")
    assert "one training set of each" in size["reason"]
    assert restored["p"] < 0.05  # the same models before and after


def test_a_size_is_chosen_by_other_facts_and_seeds() -> None:
    """Without 240 the best smaller size is chosen; luck of one training set does not choose it."""
    tables = simulated(np.random.default_rng(3), sizes=(8, 16, 32, 64), facts_per_level=20)
    row = judged(tables)["size-in"]
    assert row["compared"].endswith("(chosen on other facts and by the other seeds) minus 64")
    assert row["num_facts"] == 100


def test_false_alarms_over_the_table_are_few() -> None:
    """Of 60 families of 12 effects that are none, Holm lets about one in twenty through."""
    rng = np.random.default_rng(6)
    levels = np.repeat(np.arange(5), 20)
    alarms = uncorrected = 0
    for trial in range(60):
        contrasts = []
        for _ in range(12):
            chance = 0.5 + rng.normal(0, 0.05, (4, 1))
            hits = rng.random((4, 100)) < chance
            contrasts.append(Contrast((hits - 0.5 + 0.0,), levels))
        found = infer(contrasts, num_resamples=999, seed=trial)
        p_values = [one.p() for one in found]
        uncorrected += min(p_values) <= 0.05
        decisions = {
            decide(one.estimate.value, "above", 0.0, p)
            for one, p in zip(found, holm(p_values), strict=True)
        }
        alarms += decisions != {"undecided"}
    assert alarms <= 6
    assert uncorrected > 12  # which the correction is for


def test_holm_by_hand() -> None:
    assert holm([0.01, None, 0.04, 0.03, 0.005]) == pytest.approx([0.03, None, 0.06, 0.06, 0.02])
    assert holm([None]) == [None]
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=12))
def test_holm_laws(p_values: list[float | None]) -> None:
    adjusted = holm(p_values)
    known = [(p, a) for p, a in zip(p_values, adjusted, strict=True) if p is not None]
    assert all(a is not None and p <= a <= min(1, len(known) * p + 1e-12) for p, a in known)
    assert [a for _, a in sorted(known)] == sorted(a for _, a in known)
    assert sum(a is None for a in adjusted) == sum(p is None for p in p_values)


def test_decisions() -> None:
    assert decide(0.3, "above", 0.2, 0.05) == "holds"
    assert decide(0.1, "above", 0.2, 0.05) == "does not hold"
    assert decide(0.1, "below", 0.2, 0.01) == "holds"
    assert decide(0.3, "above", 0.2, 0.051) == "undecided"
    assert decide(0.3, "above", 0.2, None) == "undecided"


def test_the_smallest_of_effects() -> None:
    assert smallest_effect_p([0.1, 0.3], [0.04, 0.001], 0.0) == 0.04
    assert smallest_effect_p([-0.1, 0.3], [0.04, 0.001], 0.0) == 0.08
    assert smallest_effect_p([-0.1, -0.3], [0.04, 0.001], 0.0) == 0.002
    assert smallest_effect_p([-0.1], [0.7], 0.0) == 0.7


def test_rank_correlation() -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=20)
    value, low, high, p = rank_correlation(x, np.exp(-3 * x))
    assert (value, low, high) == pytest.approx((-1, -1, -1))
    assert p == pytest.approx(1 / 10_000)
    value, low, high, p = rank_correlation(x, rng.normal(size=20))
    assert low < value < high
    assert p > 0.05
    five = np.arange(5.0)
    assert rank_correlation(five, five)[3] == pytest.approx(2 / 120, abs=0.005)


def test_layers_by_hand() -> None:
    """Layers of 10 and 30 parameters hold 4 and 4 restored ones: densities 2 and 2/3."""
    tensors = pl.DataFrame(
        {
            "run": ["a", "a", "a", "b", "c"],
            "layer": [1, 0, 0, 0, None],
            "num_parameters": [30, 4, 6, 5, 5],
            "num_restored_20": [4, 1, 3, 5, 5],
        }
    )
    assert layer_slopes(tensors, "num_restored_20") == pytest.approx([2 / 3 - 2])


def test_weights(tables: Tables) -> None:
    runs = tables["runs"].filter(size=1920)["run"].to_list()
    rng = np.random.default_rng(8)
    concentration = pl.DataFrame(
        [
            {"run": run, "ranking": ranking, "top": top, "held": held + rng.normal(0, 0.002)}
            for run in runs
            for ranking, top, held in (
                ("relative", 5.0, 0.82),
                ("null", 5.0, 0.815),
                ("relative", 20.0, 0.89),
                ("relative", 40.0, 0.96),
            )
        ]
    )
    tensors = pl.DataFrame(
        [
            {
                "run": run,
                "name": f"layers.{layer}",
                "layer": layer,
                "num_parameters": 1000,
                "num_restored_10": 0,
                "num_restored_20": 240 - 10 * layer + int(rng.integers(-5, 5)),
            }
            for run in runs
            for layer in range(8)
        ]
    )
    claims = judged({**tables, "concentration": concentration, "tensors": tensors})
    assert claims["concentration"]["decision"] == "holds"
    assert claims["concentration"]["effect"] == pytest.approx(0.82, abs=0.002)
    assert claims["concentration-over-null"]["decision"] == "does not hold"
    assert claims["early-layers"]["decision"] == "holds"
    assert claims["early-layers"]["effect"] == pytest.approx(-70 / 205, abs=0.02)
    assert claims["unneeded-relative"]["compared"] == "restored at 40 % minus tuned"
    assert claims["unneeded-relative"]["decision"] == "holds"
    one = judged({"runs": tables["runs"], "concentration": concentration.filter(run=runs[0])})
    assert one["concentration"]["decision"] == "undecided"
    assert one["concentration"]["low"] is None
    assert one["concentration"]["reason"] == "one run: nothing tells how much runs differ"


def test_size_curves(tables: Tables) -> None:
    curves = size_curves(tables, num_resamples=NUM_RESAMPLES)
    assert len(curves) == 2 * 5 * 3
    cell = curves.row(
        by_predicate=(pl.col("domain") == "in") & (pl.col("level") == 2) & (pl.col("size") == 240),
        named=True,
    )
    answers = tables["scores"].filter(
        pl.col("run").str.starts_with("level2-size240-"),
        pl.col("method") == "tuned",
        pl.col("fact_id").str.starts_with("in-test"),
    )
    by_level = (
        answers.join(tables["mastery"], on="fact_id")
        .group_by("level")
        .agg(pl.col("correct").mean())
    )
    assert cell["accuracy"] == pytest.approx(by_level["correct"].mean())
    assert 0 <= cell["low"] < cell["accuracy"] < cell["high"] <= 1
    assert cell["num_training_sets"] == 5
    assert size_curves({}).is_empty()


def test_harmless_shares(study_folder: Callable[[Study], Path]) -> None:
    """Restoration gains up to 40 % and collapses at 60 %."""
    tables = read_study(study_folder(Study(facts_per_topic=100, validation=True)))
    tables.pop("tensors")  # they are not needed
    found = harmless_shares(tables, num_resamples=NUM_RESAMPLES)
    inside = found.filter(domain="in")
    assert inside["share"].to_list() == [1, 3, 5, 10, 20, 40, 60]
    harmless = dict(inside.select("share", "harmless").iter_rows())
    assert not harmless[60]
    # One share that is not shown to be harmless stops the test.
    assert inside["harmless"].to_list() == sorted(inside["harmless"].to_list(), reverse=True)
    assert inside["norm_removed"].to_list() == pytest.approx(
        [0.002, 0.006, 0.01, 0.025, 0.07, 0.2, 0.37]
    )
    claims = judged(tables)
    assert claims["collapse"]["decision"] == "holds"
    assert claims["unneeded-relative"]["effect"] > 0
    assert harmless_shares({}).is_empty()


def test_a_damaged_table_is_refused(study_folder: Callable[[Study], Path]) -> None:
    folder = study_folder(Study(facts_per_topic=8))
    (folder / "scores.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="run the study again"):
        read_study(folder)
