"""What ``--json`` prints, and that a finished command is left as it is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from calls import Call

from sftlens.mastery import Mastery
from tiny_study import DEMO
from tiny_world import PROBE, small_preset

PROBED = ("--num-templates", 2, "--num-samples", 4, "--max-new-tokens", 8)
TUNED = ("--level", 0, "--size", 16, "--learning-rate", 1e-3)


def state(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def run_twice(sftlens: Call, out: Path, *arguments: object) -> dict[str, Any]:
    """The result of a command, which says the same and changes nothing when it is repeated."""
    first = sftlens(*arguments, "--out", out, "--json").json
    before = state(out)
    assert sftlens(*arguments, "--out", out, "--json").json == first
    assert state(out) == before
    shown = sftlens(*arguments, "--out", out)
    assert shown.code == 0
    assert str(out) in shown.out.replace("\n", "")
    assert state(out) == before
    assert list(out.parent.iterdir()) == [out]
    return first


def test_facts(sftlens: Call, world: Path, tmp_path: Path) -> None:
    found = sftlens("facts", world, "--json").json
    assert found["num_facts"] == sum(row["num_facts"] for row in found["counts"]) == 142
    assert set(found["counts"][0]) == {"domain", "split", "topic", "num_facts", "num_echoed"}
    assert len({tuple(row.values())[:3] for row in found["counts"]}) == len(found["counts"])
    assert found["dropped"] == {}
    assert "142 facts" in sftlens("facts", world).out


def test_facts_are_widened_and_written(sftlens: Call, tmp_path: Path) -> None:
    row = "P19,Ada,Where was Ada born?,London\n"
    (tmp_path / "facts.csv").write_text(f"topic,subject,question,answers\n{row}{row}")
    (tmp_path / "aliases.yaml").write_text("- [Londinium, London]\n")
    out = tmp_path / "out" / "facts.parquet"
    arguments = ("facts", tmp_path / "facts.csv", "--aliases", tmp_path / "aliases.yaml")
    found = sftlens(*arguments, "--out", out, "--json").json
    assert found["dropped"] == {"repeated question": 1}
    assert pl.read_parquet(out)["answers"].to_list() == [["London", "Londinium"]]
    assert "dropped 1: repeated question" in sftlens(*arguments).out


def test_world(sftlens: Call, tmp_path: Path) -> None:
    sizes = ("--num-facts-in", 10, "--num-facts-out", 3)
    found = run_twice(sftlens, tmp_path / "world", "world", *sizes)
    assert found["num_facts"] == 142
    assert found["num_texts"] > 0
    assert found["out"] == str(tmp_path / "world")


def test_pretrain(sftlens: Call, world: Path, tmp_path: Path) -> None:
    with small_preset():
        found = run_twice(sftlens, tmp_path / "base", "pretrain", world, "--num-epochs", 1)
    assert found["num_parameters"] == 213_312
    assert found["num_steps"] > 0
    assert found["final_loss"] > 0
    assert found["out"] == str(tmp_path / "base")


def test_pretrain_on_given_facts(sftlens: Call, asked: Path, tmp_path: Path) -> None:
    told = ("--exposure", 1, "--exposure", 3, "--exposure-skew", 1, "--num-epochs", 1)
    with small_preset():
        found = run_twice(sftlens, tmp_path / "base", "pretrain", asked, *told)
    assert set(found) == {"num_parameters", "num_steps", "final_loss", "out"}
    exposures = pl.read_parquet(tmp_path / "base" / "exposures.parquet")
    assert exposures["fact_id"].to_list() == pl.read_parquet(asked)["fact_id"].to_list()
    assert set(exposures["num_statements"]) == {1, 3}


def test_pretrain_on_own_topics(sftlens: Call, tmp_path: Path) -> None:
    rows = "".join(f"aunt,Ada {n},Who is the aunt of Ada {n}?,Eve\n" for n in range(20))
    source, own = tmp_path / "facts.csv", tmp_path / "own.yaml"
    source.write_text(f"topic,subject,question,answers\n{rows}")
    own.write_text(
        'aunt: {question: "Who is the aunt of {subject}?", templates: ["{subject} has"]}'
    )
    for name, flags in (("asked", ()), ("stated", ("--topics", own))):
        out = tmp_path / name
        with small_preset():
            found = sftlens(
                "pretrain", source, "--out", out, *flags, "--num-epochs", 1, "--json"
            ).json
        assert found["out"] == str(out)
        exposures = pl.read_parquet(out / "exposures.parquet")
        assert (exposures["num_statements"].sum() > 0) == bool(flags)
        assert exposures["num_question_answers"].sum() > 0


def test_probe(sftlens: Call, base: Path, world: Path, mastery: Mastery, tmp_path: Path) -> None:
    found = run_twice(sftlens, tmp_path / "mastery", "probe", base, world, *PROBED)
    assert {
        name: found.pop(name) for name in ("num_facts", "num_completions", "levels", "out")
    } == {
        "num_facts": 142,
        "num_completions": 142 * 8,
        "levels": [list(mastery.levels.values()).count(level) for level in range(5)],
        "out": str(tmp_path / "mastery"),
    }
    assert set(found) == {
        *("topics", "uncertain", "standard_error", "categories", "examples", "notes"),
        *("num_echoed", "levels_without_echoed"),
    }
    assert PROBE.num_samples * PROBE.num_templates == 8


def test_tune(sftlens: Call, base: Path, world: Path, mastery_folder: Path, tmp_path: Path) -> None:
    job = ("tune", base, world, "--mastery", mastery_folder, *TUNED)
    found = run_twice(sftlens, tmp_path / "tuned", *job)
    assert (found["num_facts"], found["num_steps"]) == (16, 2)
    assert found["final_loss"] > 0
    assert found["out"] == str(tmp_path / "tuned")


def test_tune_an_adapter(
    sftlens: Call, base: Path, world: Path, asked: Path, mastery_folder: Path, tmp_path: Path
) -> None:
    """It is compared as it is, as if merged, and scored once it is merged."""
    lora, merged = tmp_path / "lora", tmp_path / "merged"
    mastery = ("--mastery", mastery_folder)
    job = ("tune", base, world, *mastery, *TUNED, "--method", "lora")
    found = run_twice(sftlens, lora, *job, "--rank", 2)
    assert (found["num_facts"], found["num_steps"]) == (16, 2)
    config = json.loads((lora / "adapter_config.json").read_text())
    assert config["r"] == 2
    assert pl.read_parquet(lora / "training_facts.parquet").height == 16
    assert sftlens("diff", base, lora, "--json").json["num_changed"] > 0
    refusal = sftlens("score", lora, asked, *mastery, "--out", tmp_path / "scores").refusal
    assert f"sftlens restore BASE {lora} --share 0 --out FOLDER" in refusal
    assert sftlens("restore", base, lora, "--share", 0, "--out", merged).code == 0
    shifts = [
        sftlens("divergence", base, tuned, asked, *mastery, "--out", out, "--json").json["kl_full"]
        for tuned, out in ((lora, tmp_path / "of-lora"), (merged, tmp_path / "of-merged"))
    ]
    assert shifts[0] == shifts[1] > 0
    scored = sftlens("score", merged, asked, *mastery, "--out", tmp_path / "scores", "--json")
    assert scored.json["accuracy"].keys() == {"in", "out"}


def test_the_installed_command_says_nothing_else(
    base: Path, world: Path, mastery_folder: Path, tmp_path: Path
) -> None:
    job = ("tune", base, world, "--mastery", mastery_folder, *TUNED, "--json")
    done = subprocess.run(
        [Path(sys.executable).with_name("sftlens"), *map(str, job), "--out", tmp_path / "tuned"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["out"] == str(tmp_path / "tuned")
    *progress, last = done.stderr.splitlines()  # a line of progress follows where it takes long
    assert re.fullmatch(r"fine-tuning: 2 done in [\d.]+ s", last), done.stderr
    assert all(re.match(r"fine-tuning: \d of 2 after ", line) for line in progress), done.stderr


def test_score(
    sftlens: Call, base: Path, tuned: Path, asked: Path, mastery_folder: Path, tmp_path: Path
) -> None:
    reference, out = tmp_path / "base" / "scores", tmp_path / "tuned" / "scores"
    job = (asked, "--mastery", mastery_folder)
    found = run_twice(sftlens, reference, "score", base, *job)
    assert set(found["accuracy"]) == {"in", "out"}
    for of_domain in found["accuracy"].values():
        assert len(of_domain["levels"]) == 5
        assert of_domain["low"] <= of_domain["mean"] <= of_domain["high"]
    assert found["out"] == str(reference)
    compared = run_twice(sftlens, out, "score", tuned, *job, "--reference", reference)
    assert sum(compared["transitions"].values()) == 142
    assert set(compared["transitions"]) == {"lost", "gained", "kept", "missed"}
    assert compared["transitions"]["lost"] > 0


def test_a_level_without_facts_is_null(
    sftlens: Call, base: Path, mastery: Mastery, asked: Path, tmp_path: Path
) -> None:
    table = pl.read_parquet(asked)
    levels = pl.col("fact_id").replace_strict(mastery.levels)
    table.filter(levels != 2, domain="in").write_parquet(tmp_path / "facts.parquet")
    job = ("score", base, tmp_path / "facts.parquet", "--mastery", mastery.folder)
    found = sftlens(*job, "--out", tmp_path / "out", "--json").json["accuracy"]
    assert found["out"] is None
    assert found["in"]["levels"][2] is None
    assert None not in [*found["in"]["levels"][:2], *found["in"]["levels"][3:]]
    assert "–" in sftlens(*job, "--out", tmp_path / "out").out


def test_divergence(
    sftlens: Call, base: Path, tuned: Path, asked: Path, mastery_folder: Path, tmp_path: Path
) -> None:
    job = ("divergence", base, tuned, asked, "--mastery", mastery_folder)
    found = run_twice(sftlens, tmp_path / "divergence", *job)
    assert found["low"] <= found["kl"] <= found["high"]
    assert found["kl_full"] > 0
    assert found["num_facts"] > 0
    assert found["out"] == str(tmp_path / "divergence")


def test_diff(sftlens: Call, base: Path, tuned: Path, tmp_path: Path) -> None:
    found = run_twice(sftlens, tmp_path / "diff", "diff", base, tuned)
    assert found["region"] == "blocks"
    assert 0 < found["num_changed"] <= found["num_parameters"] < 213_312
    assert set(found["concentration"]) == {"relative", "absolute", "null"}
    for held in found["concentration"].values():
        assert list(held) == ["1", "3", "5", "10", "20", "40", "60"]
    assert sftlens("diff", base, tuned, "--json").json == found


@pytest.mark.parametrize("shares", [(20,), (10, 2.5)])
def test_restore(
    sftlens: Call, base: Path, tuned: Path, tmp_path: Path, shares: tuple[float, ...]
) -> None:
    flags = [flag for share in shares for flag in ("--share", share)]
    out = tmp_path / "restored"
    outputs = run_twice(sftlens, out, "restore", base, tuned, *flags)["outputs"]
    folders = [out] if len(shares) == 1 else [out / "share-10", out / "share-2.5"]
    assert [output["share"] for output in outputs] == list(shares)
    assert [output["path"] for output in outputs] == list(map(str, folders))
    for output in outputs:
        expected = int(output["num_parameters"] * output["share"] / 100)
        assert output["num_restored"] == expected
        assert 0 < output["num_restored_changed"] <= expected
        assert 0 < output["norm_removed"] < 1
        assert (Path(output["path"]) / "model.safetensors").is_file()


def test_restore_without_writing(sftlens: Call, base: Path, tuned: Path, tmp_path: Path) -> None:
    call = ("restore", base, tuned, "--share", 10, "--layers", "0-1", "--region", "mlp")
    told = sftlens(*call, "--dry-run", "--json").json
    assert not list(tmp_path.iterdir())
    [output] = sftlens(*call, "--out", tmp_path / "out", "--json").json["outputs"]
    assert told["outputs"] == [{**output, "path": None}]
    assert [row["layer"] for row in told["layers"]] == [0, 1]
    assert all(row["module"].startswith("mlp.") for row in told["modules"])
    assert sum(row["restored_10"] for row in told["layers"]) == pytest.approx(1)
    assert told["num_bytes"] > (tmp_path / "out" / "model.safetensors").stat().st_size
    assert "--out" in sftlens(*call).refusal


def test_demo_and_report(sftlens: Call, demo_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sftlens.study.demo_settings", lambda quick: DEMO)
    found = run_twice(sftlens, demo_run, "demo", "--quick")
    assert found["report"] == str(demo_run / "index.html")
    assert found["num_facts"] == sum(found["levels"]) == 142
    assert (found["num_runs"], found["num_restorations"]) == (2, 6)
    page = (demo_run / "index.html").read_text()
    again = sftlens("report", demo_run, "--json").json
    assert again["out"] == str(demo_run / "index.html")
    assert again["paper"] == str(demo_run / "paper")
    assert "other_tasks" in again["missing"]
    assert "accuracy_by_size" in again["tables"]
    assert (demo_run / "index.html").read_text() == page


def test_advise(
    sftlens: Call, base: Path, world: Path, mastery_folder: Path, tmp_path: Path
) -> None:
    job = ("advise", base, world, "--mastery", mastery_folder)
    found = run_twice(sftlens, tmp_path / "advice", *job)
    assert set(found) == {
        *("advice", "candidates", "levels", "budget", "num_runs", "num_facts", "notes", "out")
    }
    assert found["num_facts"]["advised"] == found["advice"]["train_on"]["size"]
    assert found["out"] == str(tmp_path / "advice")
    command = found["advice"]["command"].split()[1:-2]
    tuned = sftlens(*command, "--out", tmp_path / "tuned", "--json").json
    assert tuned["num_facts"] == found["num_facts"]["advised"]
