"""The numbers on the page are those of the tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pages import Page
from scipy import stats
from studies import Study

from sftlens.report import write_report
from sftlens.report.inference import paper_claims, read_study


@pytest.fixture(scope="module")
def run(study_folder: Callable[[Study], Path]) -> Path:
    return study_folder(Study())


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return Page(write_report(run))


@pytest.fixture(scope="module")
def scored(run: Path) -> pl.DataFrame:
    read = {
        name: pl.read_parquet(run / f"{name}.parquet")
        for name in ("scores", "facts", "mastery", "runs")
    }
    return (
        read["scores"]
        .join(read["facts"].select("fact_id", "domain", "split"), on="fact_id")
        .join(read["mastery"].select("fact_id", pl.col("level").alias("test_level")), on="fact_id")
        .join(read["runs"], on="run")
        .filter(pl.col("split") == "test")
    )


def _accuracy(rows: pl.DataFrame) -> float:
    by_level = rows.group_by("test_level").agg(pl.col("correct").mean())
    return 100 * float(np.mean(by_level["correct"].to_numpy()))


def _first(text: str) -> float:
    return float(text.split()[0].replace("\N{MINUS SIGN}", "-").replace(",", ""))


def test_the_accuracies_by_size_and_level(page: Page, scored: pl.DataFrame) -> None:
    rows = page.rows("accuracy")
    assert len(rows) == 15
    for level, size, _, seeds, *texts in rows:
        assert seeds == "3"
        for domain, text in zip(("in", "out"), texts, strict=True):
            here = scored.filter(
                pl.col("method") == "tuned",
                pl.col("level") == int(level),
                pl.col("size") == int(size),
                pl.col("domain") == domain,
            )
            assert _first(text) == pytest.approx(_accuracy(here), abs=0.051)


def test_the_accuracies_by_test_level(page: Page, scored: pl.DataFrame) -> None:
    for domain in ("in", "out"):
        rows = page.tables[f"heat-{domain}"][2:]
        assert [row[0] for row in rows] == [f"level {level}" for level in range(5)]
        for level, row in enumerate(rows):
            here = scored.filter(
                pl.col("method") == "tuned",
                pl.col("level") == level,
                pl.col("size") == 480,
                pl.col("domain") == domain,
            )
            for test_level, text in enumerate(row[1:6]):
                part = here.filter(pl.col("test_level") == test_level)
                assert _first(text) == pytest.approx(_accuracy(part), abs=0.051)
            assert _first(row[6]) == pytest.approx(_accuracy(here), abs=0.051)


def test_the_accuracies_by_restored_share(page: Page, scored: pl.DataFrame) -> None:
    names = {
        "largest relative change": "relative",
        "random choice": "random",
        "plain interpolation": "interpolation",
        "tuned model": "tuned",
    }
    rows = page.rows("restoration-2")
    assert len(rows) == 1 + 3 * 7
    for name, share, *texts in rows:
        for domain, text in zip(("in", "out"), texts, strict=True):
            here = scored.filter(
                pl.col("method") == names[name],
                pl.col("level") == 2,
                pl.col("size") == 480,
                pl.col("domain") == domain,
                True if share == "none" else pl.col("share") == float(share.rstrip(" %")),
            )
            assert _first(text) == pytest.approx(_accuracy(here), abs=0.051)


def test_the_gains_are_on_facts_that_the_choice_never_saw(page: Page, scored: pl.DataFrame) -> None:
    """Out-of-domain facts take no part in the choice, so all of them are reported."""
    for level, domain, share, gain, *_ in page.rows("gains"):
        if domain != "out-of-domain":
            continue
        here = scored.filter(
            pl.col("level") == int(level), pl.col("size") == 480, pl.col("domain") == "out"
        )
        restored = here.filter(
            pl.col("method") == "relative", pl.col("share") == float(share.rstrip(" %"))
        )
        tuned = here.filter(pl.col("method") == "tuned")
        assert _first(gain) == pytest.approx(_accuracy(restored) - _accuracy(tuned), abs=0.051)


def test_the_mastery_by_exposure_and_its_correlation(page: Page, run: Path) -> None:
    both = pl.read_parquet(run / "mastery.parquet").join(
        pl.read_parquet(run / "exposures.parquet"), on="fact_id"
    )
    both = both.with_columns(exposure=pl.col("num_statements") + pl.col("num_question_answers"))
    rows = page.rows("exposure")
    assert [int(row[0]) for row in rows] == sorted(both["exposure"].unique())
    for label, text, count in rows:
        here = both.filter(pl.col("exposure") == int(label))
        assert _first(text) == pytest.approx(100 * here["mastery"].mean(), abs=0.051)
        assert int(count) == len(here)
    rho = stats.spearmanr(both["exposure"], both["mastery"]).statistic
    assert f"ρ = {rho:.2f}" in page.texts["mastery"]


def test_the_divergence_and_its_correlation(page: Page, run: Path) -> None:
    kl = pl.read_parquet(run / "divergence.parquet")
    runs = pl.read_parquet(run / "runs.parquet")
    joined = kl.join(runs, on="run")
    for level, size, _, text in page.rows("kl-size"):
        here = joined.filter(pl.col("level") == int(level), pl.col("size") == int(size))
        assert _first(text) == pytest.approx(here["kl"].mean(), abs=0.00051)
    tuned = pl.read_parquet(run / "scores.parquet").filter(pl.col("method") == "tuned")
    by_run = (
        kl.join(tuned, on=["run", "fact_id"])
        .group_by("run")
        .agg(pl.col("kl").mean(), pl.col("correct").mean())
    )
    rho = stats.spearmanr(by_run["kl"], by_run["correct"]).statistic
    assert f"ρ = {rho:.2f}".replace("-", "\N{MINUS SIGN}") in page.texts["answer-divergence"]


def test_the_concentration(page: Page, run: Path) -> None:
    held = pl.read_parquet(run / "concentration.parquet")
    for top, *texts in page.rows("concentration"):
        for ranking, text in zip(("relative", "null", "absolute"), texts, strict=True):
            here = held.filter(
                pl.col("ranking") == ranking, pl.col("top") == float(top.rstrip(" %"))
            )
            assert _first(text) == pytest.approx(100 * here["held"].mean(), abs=0.051)


def test_the_levels_of_each_topic(page: Page, run: Path) -> None:
    mastery = pl.read_parquet(run / "mastery.parquet")
    for topic, _, *counts, _ in page.rows("topics")[:-1]:
        levels = mastery.filter(pl.col("topic") == topic)["level"].to_numpy()
        assert [int(count) for count in counts] == np.bincount(levels, minlength=5).tolist()


def test_the_exchange_is_the_net_gain(page: Page) -> None:
    for row in page.rows("exchange"):
        answers, gained, lost = (int(part.replace(",", "")) for part in row[3:6])
        assert 0 <= gained <= answers
        assert 0 <= lost <= answers
    assert 0 < len(page.rows("examples")) <= 50
    for kind, question, accepted, *_ in page.rows("examples"):
        assert kind in ("gained", "lost")
        assert question.startswith("Where does Tavri")
        assert accepted.startswith("Orvel")


def test_the_settings(page: Page) -> None:
    settings = dict(page.rows("settings"))
    assert settings["model"] == "scale-2m"
    assert settings["sizes"] == "30, 120, 480"
    assert settings["quick"] == "no"


def test_the_map_of_layers_and_modules(page: Page, run: Path) -> None:
    tensors = pl.read_parquet(run / "tensors.parquet")
    for measure in ("relative", "absolute"):
        rows = page.rows(f"weights-{measure}")
        assert [row[0] for row in rows] == ["0", "1", "2", "all layers"]
        assert page.tables[f"weights-{measure}"][0][1:] == [
            *("attn.o", "attn.q", "mlp.up", "all modules")
        ]
        change = pl.col(f"sum_{measure}")
        shares = tensors.with_columns(
            fraction=change / change.sum().over("run"),
            even=pl.col("num_parameters") / pl.col("num_parameters").sum().over("run"),
        )
        for layer, row in enumerate(rows[:3]):
            for module, text in zip(("attn.o", "attn.q", "mlp.up"), row[1:4], strict=True):
                here = shares.filter(pl.col("layer") == layer, pl.col("module") == module)
                times, fraction = text.split()[:2]
                assert float(times) == pytest.approx(
                    (here["fraction"] / here["even"]).mean(), abs=0.0051
                )
                assert float(fraction) == pytest.approx(100 * here["fraction"].mean(), abs=0.051)
        assert rows[3][4].startswith("1.00 100.0")


def test_the_base_model_among_the_ways(page: Page, run: Path, scored: pl.DataFrame) -> None:
    base = pl.read_parquet(run / "base_scores.parquet")
    asked = scored.unique("fact_id").drop("correct").join(base, on="fact_id")
    (row,) = [row for row in page.rows("strategies") if row[0].startswith("base model")]
    out = asked.filter(pl.col("domain") == "out")  # of which no choice was made
    assert _first(row[2]) == pytest.approx(_accuracy(out), abs=0.051)


def test_the_first_screen_says_what_the_tables_say(
    page: Page, run: Path, scored: pl.DataFrame
) -> None:
    told = page.texts["brief-knowledge"]
    largest = scored.filter(
        pl.col("method") == "tuned", pl.col("size") == 480, pl.col("domain") == "in"
    )
    means = [_accuracy(largest.filter(pl.col("level") == level)) for level in range(5)]
    for mean in (min(means), max(means)):
        assert f"{mean:.1f} % (" in told
    known = largest.filter(pl.col("test_level") == 4)
    kept = [100 * known.filter(pl.col("level") == level)["correct"].mean() for level in range(5)]
    for mean in (min(kept), max(kept)):
        assert f"{mean:.1f} % (" in told
    claims = paper_claims(read_study(run))
    counts = dict(claims["decision"].value_counts().iter_rows())
    measured = len(claims) - counts.get("not measured", 0)
    assert f"Of the {measured} claims of the paper" in told
    assert f"{counts['holds']} hold" in told
    assert f"{counts['undecided']} " in told


def test_each_question_shows_the_decision_on_its_claim(page: Page, run: Path) -> None:
    claims = paper_claims(read_study(run))
    decisions = dict(claims.select("claim", "decision").iter_rows())
    for answer, claim in (
        ("size", "size-in"),
        ("divergence", "kl-accuracy"),
        ("concentration", "concentration-over-null"),
        ("restoration", "restoration-in"),
        ("controls", "over-random-in"),
    ):
        judged = f"Here, after correction for all claims: {decisions[claim]}"
        assert judged in page.texts[f"answer-{answer}"]


def test_every_short_answer_leads_to_its_evidence(page: Page) -> None:
    for name in ("done", "knowledge", "do", "careful"):
        card = page.source.split(f'id="brief-{name}"')[1].split("</section>")[0]
        anchors = re.findall(r'<a href="#([\w-]+)">', card)
        assert anchors
        assert all(f'id="{anchor}"' in page.source for anchor in anchors)
