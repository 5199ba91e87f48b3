"""Closed-book question answering: answers, accuracies, facts lost and gained."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from sftlens.errors import UserError
from sftlens.facts import Fact, facts_from_table
from sftlens.generation import Decoding, TransformersGenerator, load_model, question_prompt
from sftlens.manifest import read_manifest
from sftlens.mastery import Mastery, ProbeSettings, run_probe
from sftlens.scoring import (
    SCORES_SCHEMA,
    ScoreSettings,
    accuracy,
    mean_of_proportions,
    proportion,
    run_score,
    run_transitions,
    score,
    transitions,
)
from tiny_world import ScriptedGenerator, make_fact


def make_scores(rows: list[tuple[str, int | None, bool]]) -> pl.DataFrame:
    """Scores from (domain, level, correct)."""
    full = [
        (f"f{number}", "P19", domain, level, f"answer {number}", correct)
        for number, (domain, level, correct) in enumerate(rows)
    ]
    return pl.DataFrame(full, schema=SCORES_SCHEMA, orient="row")


def test_answers_are_judged() -> None:
    said = {"a": "in PARIS.", "b": "no", "c": "an Iranian"}
    facts = [
        make_fact("a", "Lutetia", "Paris", question="a"),
        make_fact("b", "Rome", question="b", topic="P26", domain="out"),
        make_fact("c", "Iran", question="c"),
    ]
    generator = ScriptedGenerator(
        lambda prompt, sample: next(said[name] for name in said if prompt == question_prompt(name))
    )
    told: list[int] = []
    found = score(generator, facts, {"a": 3, "c": 0}, advance=told.append)
    assert found.schema == SCORES_SCHEMA
    assert found.rows() == [
        ("a", "P19", "in", 3, "in PARIS.", True),
        ("b", "P26", "out", None, "no", False),
        ("c", "P19", "in", 0, "an Iranian", True),
    ]
    assert sum(told) == 3
    words = score(generator, facts, {}, ScoreSettings(matching="words"))
    assert words["correct"].to_list() == [True, False, False]
    assert words["level"].to_list() == [None] * 3


def test_answers_are_greedy_and_short() -> None:
    asked = []

    class Recorder(ScriptedGenerator):
        def complete(self, prompts, decoding: Decoding):  # type: ignore[no-untyped-def]
            asked.append(decoding)
            return super().complete(prompts, decoding)

    score(Recorder(lambda *_: ""), [make_fact()], {})
    assert asked == [Decoding(num_samples=1, temperature=0, max_new_tokens=16)]


def test_accuracy_by_hand() -> None:
    rows = [("in", 0, False)] * 3 + [("in", 0, True)] + [("in", 4, True)] * 2
    rows += [("in", 2, True), ("in", 2, False), ("in", None, True), ("out", 1, False)]
    found = accuracy(make_scores(rows))
    inside = found["in"]
    assert inside is not None
    assert [level and level.value for level in inside.levels] == [0.25, None, 0.5, None, 1.0]
    assert inside.mean.value == pytest.approx((0.25 + 0.5 + 1) / 3)
    assert inside.levels[0] == proportion(1, 4)
    assert inside.mean == mean_of_proportions(
        [proportion(1, 4), proportion(1, 2), proportion(2, 2)]
    )
    outside = found["out"]
    assert outside is not None
    # A level that was asked and always wrong is 0; one that was not asked is None.
    assert [level and level.value for level in outside.levels] == [None, 0.0, None, None, None]
    assert outside.mean.value == 0


def test_a_domain_without_levels_has_no_accuracy() -> None:
    found = accuracy(make_scores([("in", None, True), ("out", 0, True)]))
    assert found["in"] is None
    assert found["out"] is not None


def test_transitions() -> None:
    before = make_scores(
        [("in", k, correct) for k, correct in enumerate([True, True, False, False])]
    )
    after = make_scores(
        [("in", k, correct) for k, correct in enumerate([True, False, True, False])]
    )
    after = after.with_columns(answer=pl.lit("now"))
    found = transitions(before, after.reverse())
    assert found["transition"].to_list() == ["missed", "gained", "lost", "kept"]
    assert found.columns == [
        "fact_id",
        "topic",
        "domain",
        "level",
        "reference_answer",
        "answer",
        "transition",
    ]
    assert found["fact_id"].to_list() == ["f3", "f2", "f1", "f0"]
    assert found["reference_answer"].to_list() == [f"answer {k}" for k in (3, 2, 1, 0)]
    assert set(found["answer"]) == {"now"}
    assert set(transitions(after, after)["transition"]) == {"kept", "missed"}


def test_transitions_need_the_same_facts() -> None:
    scores = make_scores([("in", 0, True), ("in", 1, True)])
    for other in (scores[:1], scores.with_columns(fact_id=pl.col("fact_id") + "x")):
        with pytest.raises(UserError, match="different facts"):
            transitions(scores, other)


@pytest.fixture(scope="module")
def score_folder(models: Path, base: Path, world: Path, mastery_folder: Path) -> Path:
    run_score(str(base), str(world), mastery_folder, models / "scores", settings=ScoreSettings())
    return models / "scores"


def test_what_the_folder_holds(
    score_folder: Path, base: Path, facts: list[Fact], mastery: Mastery
) -> None:
    assert sorted(path.name for path in score_folder.iterdir()) == [
        "facts.parquet",
        "manifest.json",
        "scores.parquet",
    ]
    asked = [fact for fact in facts if fact.split == "test"]
    assert facts_from_table(pl.read_parquet(score_folder / "facts.parquet")) == asked
    model, tokenizer, _ = load_model(base)
    expected = score(TransformersGenerator(model, tokenizer), asked, mastery.levels)
    scores = pl.read_parquet(score_folder / "scores.parquet")
    assert scores.equals(expected)
    told = read_manifest(score_folder, "score")["result"]
    found = accuracy(expected)["out"]
    assert found is not None
    assert told["accuracy"]["out"] == {
        "levels": [level and level.value for level in found.levels],
        "mean": found.mean.value,
        "low": found.mean.low,
        "high": found.mean.high,
    }
    assert (told["num_facts"], told["num_without_level"]) == (len(asked), 0)


def test_facts_without_a_level_are_scored_and_counted(
    base: Path, world: Path, mastery_folder: Path, tmp_path: Path, facts: list[Fact]
) -> None:
    table = pl.read_parquet(world / "facts.parquet")
    fresh = pl.col("fact_id").str.starts_with("P19")
    some = table.with_columns(
        fact_id=pl.when(fresh).then(pl.col("fact_id") + "-new").otherwise(pl.col("fact_id"))
    )
    some.write_parquet(tmp_path / "facts.parquet")
    result = run_score(
        str(base),
        str(tmp_path / "facts.parquet"),
        mastery_folder,
        tmp_path / "out",
        settings=ScoreSettings(),
    )
    assert result.num_without_level == 2
    scores = pl.read_parquet(tmp_path / "out" / "scores.parquet")
    assert scores["level"].null_count() == 2
    assert scores["correct"].null_count() == 0


def test_run_transitions(
    score_folder: Path, tuned: Path, world: Path, mastery_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tuned"
    run_score(str(tuned), str(world), mastery_folder, out, settings=ScoreSettings())
    found = run_transitions(score_folder, out)
    before, after = (
        pl.read_parquet(folder / "scores.parquet")["correct"] for folder in (score_folder, out)
    )
    assert found == {
        "lost": (before & ~after).sum(),
        "gained": (~before & after).sum(),
        "kept": (before & after).sum(),
        "missed": (~before & ~after).sum(),
    }
    table = pl.read_parquet(out / "transitions.parquet")
    assert dict(table["transition"].value_counts().iter_rows()) == {
        name: number for name, number in found.items() if number
    }
    with pytest.raises(UserError, match=r"holds no manifest\.json"):
        run_transitions(tmp_path, out)


def test_transitions_of_models_scored_otherwise_are_refused(
    score_folder: Path, tuned: Path, world: Path, mastery_folder: Path, tmp_path: Path
) -> None:
    settings = ScoreSettings(max_new_tokens=1, matching="exact")
    run_score(str(tuned), str(world), mastery_folder, tmp_path / "out", settings=settings)
    with pytest.raises(UserError, match="was scored with other settings"):
        run_transitions(score_folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("split", "told"), [("train", "knows none of the 1 facts"), ("validation", "has no facts of")]
)
def test_refused_facts(
    base: Path, mastery_folder: Path, tmp_path: Path, split: str, told: str
) -> None:
    path = tmp_path / "facts.csv"
    path.write_text("topic,subject,question,answers,split\nP19,A,A?,Paris,train\n")
    with pytest.raises(UserError, match=told):
        run_score(
            str(base),
            str(path),
            mastery_folder,
            tmp_path / "out",
            split=split,
            settings=ScoreSettings(),
        )
    assert not (tmp_path / "out").exists()


def test_a_reference_is_read_before_anything_is_scored(
    score_folder: Path,
    tuned: Path,
    world: Path,
    mastery_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("sftlens.generation.load_model", load)
    damaged = tmp_path / "damaged"
    shutil.copytree(score_folder, damaged)
    pl.read_parquet(damaged / "scores.parquet")[:3].write_parquet(damaged / "scores.parquet")
    cases = [
        (tmp_path / "absent", ScoreSettings(), r"holds no manifest\.json"),
        (mastery_folder, ScoreSettings(), "of stage 'probe'"),
        (score_folder, ScoreSettings(matching="exact"), "was scored with other settings"),
        (damaged, ScoreSettings(), "has lost scores of some facts"),
    ]
    for reference, settings, told in cases:
        with pytest.raises(UserError, match=told):
            run_score(
                str(tuned),
                str(world),
                mastery_folder,
                tmp_path / "out",
                settings=settings,
                reference=reference,
            )
        assert not (tmp_path / "out").exists()


def test_accuracy_and_levels_stand_with_and_without_echoed_facts(
    base: Path, world: Path, tmp_path: Path
) -> None:
    table = pl.read_parquet(world / "facts.parquet").filter(topic="P19").head(6)
    table = table.with_columns(
        split=pl.lit("test"),
        answers=pl.when(pl.int_range(pl.len()) < 2)
        .then(pl.concat_list("subject"))
        .otherwise("answers"),
    )
    path = tmp_path / "facts.parquet"
    table.write_parquet(path)
    settings = ProbeSettings(num_templates=2, num_samples=2, max_new_tokens=4)
    probed = run_probe(str(base), str(path), tmp_path / "mastery", settings)
    assert probed is not None
    assert probed.levels_without_echoed is not None
    assert (probed.num_echoed, sum(probed.levels), sum(probed.levels_without_echoed)) == (2, 6, 4)
    scored = run_score(
        str(base), str(path), tmp_path / "mastery", tmp_path / "out", settings=ScoreSettings()
    )
    scores = pl.read_parquet(tmp_path / "out" / "scores.parquet")
    echoed = pl.read_parquet(tmp_path / "out" / "facts.parquet").filter("echoed")["fact_id"]
    assert len(echoed) == scored.num_echoed == 2
    for kept, found in (
        (scores, scored.accuracy),
        (scores.filter(~pl.col("fact_id").is_in(echoed.to_list())), scored.accuracy_without_echoed),
    ):
        expected = accuracy(kept)["in"]
        assert expected is not None
        assert found is not None
        assert found["in"] is not None
        assert (found["in"]["mean"], found["in"]["low"], found["in"]["high"]) == expected.mean
