"""The mastery folder."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from sftlens.checkpoints import model_identity
from sftlens.errors import UserError
from sftlens.facts import Fact, builtin_topics, facts_from_table, facts_hash, facts_table
from sftlens.generation import TransformersGenerator
from sftlens.manifest import read_manifest
from sftlens.mastery import Mastery, grade, level_sizes, probe, read_mastery, run_probe
from tiny_world import PROBE


def test_what_the_folder_holds(
    mastery_folder: Path, mastery: Mastery, base: Path, facts: list[Fact]
) -> None:
    assert sorted(path.name for path in mastery_folder.iterdir()) == [
        "completions.parquet",
        "facts.parquet",
        "ledger",
        "manifest.json",
        "mastery.parquet",
        "templates.parquet",
    ]
    assert facts_from_table(pl.read_parquet(mastery_folder / "facts.parquet")) == facts
    assert len(mastery.completions()) == 142 * 2 * 4
    assert grade(facts, mastery.completions()).equals(mastery.table)
    content = read_manifest(mastery_folder, "probe")
    assert content["config"] == {
        "base": model_identity(base),
        "facts": facts_hash(facts),
        "templates": content["config"]["templates"],
        "settings": PROBE.model_dump(mode="json"),
    }
    assert content["result"]["levels"] == level_sizes(mastery.table)
    assert mastery.levels == dict(mastery.table.select("fact_id", "level").iter_rows())


def test_what_is_told(mastery_folder: Path, mastery: Mastery, facts: list[Fact]) -> None:
    told = read_manifest(mastery_folder, "probe")["result"]
    table = mastery.table
    by_topic = {one["topic"]: one for one in told["topics"]}
    assert list(by_topic) == list(dict.fromkeys(fact.topic for fact in facts))
    for topic, one in by_topic.items():
        own = table.filter(pl.col("topic") == topic)
        assert one["levels"] == level_sizes(own)
        assert one["num_facts"] == len(own)
        assert one["mastery"] == pytest.approx(own["mastery"].mean())
    for level, share in enumerate(told["uncertain"]):
        assert share == pytest.approx(table.filter(level=level)["uncertain"].mean())
    assert told["standard_error"] == pytest.approx(table["standard_error"].mean())
    assert told["categories"] is None
    completions = mastery.completions()
    for one in told["examples"]:
        row = table.row(by_predicate=pl.col("fact_id") == one["fact_id"], named=True)
        assert (one["level"], one["mastery"]) == (row["level"], row["mastery"])
        own = completions.filter(fact_id=one["fact_id"], template=row["best_template"])
        assert one["completion"] in own["text"].to_list()
        assert own.filter(text=one["completion"])["hit"].any() == (one["level"] > 0)
    assert [one["level"] for one in told["examples"]] == sorted([*range(5), *range(5)])


def test_templates_are_told_by_their_wording(mastery_folder: Path, mastery: Mastery) -> None:
    templates = pl.read_parquet(mastery_folder / "templates.parquet")
    assert len(templates) == 24 * 2
    assert templates["num_hits"].sum() == mastery.table["num_hits"].sum()
    for topic, number, text in templates.select("topic", "template", "text").iter_rows():
        assert text == builtin_topics()[topic].templates[number]


def test_judging_anew_loads_no_model(
    mastery_folder: Path,
    base: Path,
    facts: list[Fact],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr("sftlens.generation.load_model", refuse)
    ledger = shutil.copytree(mastery_folder / "ledger", tmp_path / "ledger")
    more = [replace(fact, answers=(*fact.answers, "e")) for fact in facts]
    facts_table(more).write_parquet(tmp_path / "facts.parquet")
    result = run_probe(
        *(str(base), str(tmp_path / "facts.parquet"), tmp_path / "out", PROBE), ledger=ledger
    )
    assert result is not None
    assert result.levels != read_manifest(mastery_folder, "probe")["result"]["levels"]
    assert not (tmp_path / "out" / "ledger").exists()


def test_two_processes_share_the_work(
    mastery_folder: Path, base: Path, world: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [
        # What `accelerate launch` starts on several GPUs; on CPUs it starts one process.
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("-m", "sftlens", "probe", str(base), str(world)),
        *("--out", str(out), "--num-templates", "2", "--num-samples", "4"),
        *("--max-new-tokens", "8", "--json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["num_completions"] == 142 * 2 * 4
    for name in ("completions", "mastery", "templates"):
        one, two = (pl.read_parquet(f / f"{name}.parquet") for f in (out, mastery_folder))
        assert one.equals(two), name
    assert len(list((out / "ledger").glob("*/*.parquet"))) == 2  # one a process


def test_it_is_what_probing_gives(
    mastery: Mastery, generator: TransformersGenerator, facts: list[Fact]
) -> None:
    assert probe(generator, facts[::9], PROBE).mastery.equals(mastery.table[::9])


def test_facts_that_were_told_often_are_known_better(mastery: Mastery, world: Path) -> None:
    exposures = pl.read_parquet(world / "exposures.parquet")
    joined = mastery.table.join(exposures, on="fact_id")
    by_exposure = dict(joined.group_by("num_statements").agg(pl.col("mastery").mean()).iter_rows())
    assert by_exposure[12] > by_exposure[2] > by_exposure[0]
    assert min(level_sizes(mastery.table)) > 0


def test_a_finished_folder_is_left_as_it_is(
    mastery_folder: Path, base: Path, world: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(mastery_folder, tmp_path / "mastery")
    before = {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    result = run_probe(str(base), str(world), copy, PROBE)
    assert result.out == str(copy)
    assert result.num_completions == 142 * 2 * 4
    assert {path.name: path.stat().st_mtime_ns for path in copy.iterdir()} == before
    with pytest.raises(UserError, match="holds something already"):
        run_probe(str(base), str(world), copy, PROBE.model_copy(update={"seed": 1}))
    assert {path.name: path.stat().st_mtime_ns for path in copy.iterdir()} == before


def test_interrupted_it_goes_on(
    mastery: Mastery, base: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sftlens.mastery._run.facts_table", interrupt)  # after the completions
    with pytest.raises(KeyboardInterrupt):
        run_probe(str(base), str(world), tmp_path / "out", PROBE)
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    monkeypatch.setattr(TransformersGenerator, "complete", interrupt)
    run_probe(str(base), str(world), tmp_path / "out", PROBE)
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    found = read_mastery(tmp_path / "out")
    assert found.table.equals(mastery.table)
    assert found.key == mastery.key


def test_levels_belong_to_one_base_model(mastery: Mastery, base: Path, tuned: Path) -> None:
    mastery.require_base(model_identity(base))
    mastery.require_base({**model_identity(base), "name": "called otherwise"})
    with pytest.raises(UserError, match="holds the mastery of another model"):
        mastery.require_base(model_identity(tuned))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": 7}, "row 1: level 7 is above 4"),
        ({"level": None}, "row 1: level None is no value"),
        ({"level": "high"}, "column level holds String, not Int32"),
        ({"mastery": 2.0}, "row 1: mastery 2.0 is above 1"),
        ({"mastery": float("nan")}, "row 1: mastery nan is not a finite number"),
        ({"num_completions": 0}, "row 1: num_completions 0 is below 1"),
        ({"fact_id": "same"}, "fact_id 'same' is in two rows"),
        ({"uncertain": "yes"}, "column uncertain holds String, not Boolean"),
    ],
)
def test_tables_with_other_values(
    mastery_folder: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    folder = tmp_path / "mastery"
    folder.mkdir()
    shutil.copy(mastery_folder / "manifest.json", folder)
    table = pl.read_parquet(mastery_folder / "mastery.parquet")
    changed = table.with_columns(pl.lit(value).alias(name) for name, value in change.items())
    changed.write_parquet(folder / "mastery.parquet")
    with pytest.raises(UserError, match=re.escape(message)):
        read_mastery(folder)


def test_tables_of_older_versions_lack_the_intervals(mastery_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mastery"
    folder.mkdir()
    shutil.copy(mastery_folder / "manifest.json", folder)
    table = pl.read_parquet(mastery_folder / "mastery.parquet").select(pl.nth(range(7)))
    table.write_parquet(folder / "mastery.parquet")
    assert read_mastery(folder).table.equals(table)


def test_facts_that_were_probed_in_part(
    mastery: Mastery, facts: list[Fact], capsys: pytest.CaptureFixture[str]
) -> None:
    strangers = [replace(fact, fact_id=f"new {fact.fact_id}") for fact in facts[:5]]
    mastery.require_known(facts, "here")
    assert capsys.readouterr().err == ""
    mastery.require_known([*facts[:3], *strangers], "here")
    assert "knows 3 of the 8 facts of here; the others have no level" in capsys.readouterr().err


def test_damaged_folders(mastery_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no manifest\.json"):
        read_mastery(tmp_path)
    folder = shutil.copytree(mastery_folder, tmp_path / "mastery")
    table = pl.read_parquet(folder / "mastery.parquet")
    table.drop("level").write_parquet(folder / "mastery.parquet")
    with pytest.raises(UserError, match="column level is missing"):
        read_mastery(folder)
    (folder / "mastery.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="cannot be read"):
        read_mastery(folder)
    shutil.copy(mastery_folder / "mastery.parquet", folder)
    (folder / "completions.parquet").unlink()
    with pytest.raises(UserError, match=r"completions\.parquet: cannot be read"):
        read_mastery(folder).completions()
