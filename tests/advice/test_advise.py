"""Advice on a scale model: what is written, that it repeats, and that it goes on when killed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tiny_advice import SETTINGS

from killed import kill_at
from sftlens.advice import (
    CANDIDATES_SCHEMA,
    PILOTS_SCHEMA,
    AdviceResult,
    AdviseSettings,
    run_advise,
)
from sftlens.errors import UserError
from sftlens.facts import Fact, facts_from_table, facts_table, read_facts
from sftlens.mastery import Mastery
from sftlens.study import Job, Store, _work
from sftlens.tuning import TuneSettings, choose_training_facts, run_tune

PILOT = (
    *("advice.json", "advice.md", "answers.parquet", "candidates.parquet"),
    *("facts.parquet", "manifest.json", "pilots.parquet"),
)


def read(out: str | Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(Path(out) / f"{name}.parquet")


def told(result: AdviceResult) -> dict[str, object]:
    """What does not name the folder."""
    content = result.as_json() | {"out": None}
    return content | {"advice": result.advice | {"command": None}}


def advise(base: Path, planned: Path, mastery_folder: Path, out: Path) -> AdviceResult:
    return run_advise(str(base), str(planned), out, mastery=mastery_folder, settings=SETTINGS)


def test_the_folder(advised: AdviceResult) -> None:
    out = Path(advised.out)
    assert sorted(path.name for path in out.iterdir()) == sorted(PILOT)
    assert [path.name for path in out.parent.glob(".advised*")] == []
    content = json.loads((out / "advice.json").read_text())
    assert AdviseSettings(**content.pop("settings")) == SETTINGS
    assert content == advised.as_json()
    candidates = read(out, "candidates")
    assert candidates.schema == CANDIDATES_SCHEMA
    assert read(out, "pilots").schema == PILOTS_SCHEMA
    assert candidates["candidate"][0] == "base"
    assert candidates["chosen"].sum() == 1
    assert candidates["recipe"].sum() == 1
    page = (out / "advice.md").read_text()
    for statement in advised.advice["statements"]:
        assert f"- **{statement['advice']}** {statement['evidence']}" in page


def test_the_budget_is_kept(advised: AdviceResult) -> None:
    pilots = read(advised.out, "pilots")
    assert len(pilots) == len(pilots.unique(["candidate", "seed"])) == advised.num_runs
    assert advised.num_runs == advised.budget == SETTINGS.budget
    num_seeds = dict(pilots.group_by("candidate").len().iter_rows())
    told = read(advised.out, "candidates").filter(pl.col("size") > 0)
    assert dict(told.select("candidate", "num_seeds").iter_rows()) == num_seeds


def test_what_is_asked_and_what_is_trained_on(
    advised: AdviceResult, planned: Path, mastery: Mastery
) -> None:
    facts = read_facts(planned).facts
    asked = set(read(advised.out, "answers")["fact_id"])
    assert asked == {fact.fact_id for fact in facts if fact.split == "validation"}
    trained = facts_from_table(read(advised.out, "facts"))
    chosen = advised.advice["train_on"]
    if chosen is None:
        assert trained == []
        return
    assert trained == choose_training_facts(
        facts,
        mastery.levels,
        level=chosen["levels"] if len(chosen["levels"]) > 1 else chosen["levels"][0],
        size=chosen["size"],
        seed=0,
    )


def test_what_is_told_is_what_the_models_answered(advised: AdviceResult) -> None:
    answers = read(advised.out, "answers").sort("candidate", "seed", "fact_id")
    counts = answers.filter(candidate="base").group_by("domain", "level").len()
    for row in read(advised.out, "candidates").iter_rows(named=True):
        own = answers.filter(candidate=row["candidate"])
        for column, domains in (("in", ["in"]), ("out", ["out"]), ("", ["in", "out"])):
            means = []
            for domain, level, number in counts.iter_rows():
                if number >= 3 and domain in domains:
                    means.append(own.filter(domain=domain, level=level)["correct"].mean())
            name = f"knowledge_{column}".rstrip("_")
            assert row[name] == pytest.approx(np.mean(means))
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]


def test_the_same_again(
    advised: AdviceResult, base: Path, planned: Path, mastery_folder: Path, tmp_path: Path
) -> None:
    job = (base, planned, mastery_folder, tmp_path / "again")
    again = advise(*job)
    assert told(again) == told(advised)
    for name in ("facts", "candidates", "pilots", "answers"):
        assert read(again.out, name).equals(read(advised.out, name))
    before = {path: path.stat().st_mtime_ns for path in Path(again.out).iterdir()}
    assert again == advise(*job)
    assert {path: path.stat().st_mtime_ns for path in Path(again.out).iterdir()} == before


def test_killed_it_goes_on(
    advised: AdviceResult,
    base: Path,
    planned: Path,
    mastery_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "killed"
    job = (base, planned, mastery_folder, out)
    # Facts, base, and two whole runs; the third is trained and not asked yet.
    assert kill_at("os.rename", "job.json", 8, advise, *job) == -9
    assert not out.exists()
    [work] = tmp_path.glob(".killed.advise-*")
    assert len([*work.glob("jobs/*/*/job.json")]) == 7
    do_job, done = _work.do_job, []

    def counted(job: Job, inputs: Mapping[str, Job], store: Store) -> None:
        done.append(job.name)
        do_job(job, inputs, store)

    monkeypatch.setattr(_work, "do_job", counted)
    assert told(advise(*job)) == told(advised)
    assert len(done) == 2 * SETTINGS.budget + 2 - 7  # none of the seven is made again
    assert read(out, "answers").equals(read(advised.out, "answers"))
    assert list(tmp_path.iterdir()) == [out]


def test_without_a_pilot_the_papers_figures_are_told_as_such(
    base: Path, world: Path, mastery_folder: Path, tmp_path: Path
) -> None:
    result = run_advise(str(base), str(world), tmp_path / "out", mastery=mastery_folder)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*PILOT} - {
        "answers.parquet",
        "pilots.parquet",
    }
    assert result.advice["basis"] == "paper"
    assert (result.budget, result.num_runs) == (0, 0)
    for one in result.advice["statements"][:2]:
        assert "not of this model" in one["evidence"]
    for one in result.advice["drop"]:
        assert "not of this model" in one["evidence"]
    assert "Nothing but the levels was measured" in (tmp_path / "out" / "advice.md").read_text()
    assert all(row["knowledge"] is None for row in result.candidates)


def test_the_advice_can_be_followed(advised: AdviceResult, tmp_path: Path) -> None:
    if advised.advice["train_on"] is None:
        assert advised.advice["command"] is None
        return
    words = shlex.split(advised.advice["command"])
    assert words[:2] == ["sftlens", "tune"]
    base, facts = words[2:4]
    options = dict(zip(words[4::2], words[5::2], strict=True))
    settings = TuneSettings(
        learning_rate=float(options["--learning-rate"]), batch_size=int(options["--batch-size"])
    )
    done = run_tune(
        base,
        facts,
        Path(options["--mastery"]),
        tmp_path / "tuned",
        level=None,
        size=None,
        settings=settings,
    )
    assert done is not None
    assert done.num_facts == advised.num_facts["advised"]


def test_facts_without_splits(base: Path, world: Path, asked: Path, tmp_path: Path) -> None:
    """All in-domain facts may be trained on; a fifth is held back, and the rest is probed."""
    few = pl.read_parquet(asked).group_by("topic", maintain_order=True).head(6)
    few.filter(domain="in").write_parquet(tmp_path / "few.parquet")
    settings = SETTINGS.model_copy(update={"budget": 4})
    with pytest.MonkeyPatch.context() as patch:
        from tiny_world import PROBE

        patch.setattr("sftlens.advice._run.ProbeSettings", lambda: PROBE)
        result = run_advise(
            str(base), str(tmp_path / "few.parquet"), tmp_path / "out", settings=settings
        )
    assert result.num_facts["training"] + result.num_facts["validation"] == 60
    assert result.num_facts["validation"] == 12
    assert len(result.notes) == 2
    levels = pl.read_parquet(tmp_path / "out" / "mastery" / "mastery.parquet")
    assert len(levels) == 60
    advised = facts_from_table(read(result.out, "facts"))
    assert {fact.split for fact in advised} <= {"train"}
    assert not {f.fact_id for f in advised} & set(read(result.out, "answers")["fact_id"])


@pytest.mark.parametrize(
    ("keep", "settings", "told"),
    [
        (pl.col("split") != "train", AdviseSettings(), "has no facts to train on"),
        (pl.col("split") != "never", None, "budget is of the pilot"),
        (
            (pl.col("split") == "train") | pl.col("topic").is_in(["P17", "P19"]),
            SETTINGS,
            "2 in-domain validation facts with a level",
        ),
    ],
)
def test_what_is_refused(
    facts: list[Fact],
    base: Path,
    mastery_folder: Path,
    tmp_path: Path,
    keep: pl.Expr,
    settings: AdviseSettings | None,
    told: str,
) -> None:
    if settings is None:
        with pytest.raises(ValueError, match=told):
            AdviseSettings(budget=10)
        return
    path = tmp_path / "facts.parquet"
    facts_table(facts).filter(keep).write_parquet(path)
    with pytest.raises(UserError, match=told):
        run_advise(
            str(base), str(path), tmp_path / "out", mastery=mastery_folder, settings=settings
        )
    assert list(tmp_path.iterdir()) == [path]
