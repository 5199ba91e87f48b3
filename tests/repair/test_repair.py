"""A repair of a scale model: what is written, that it repeats, and that it goes on when killed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
from huggingface_hub import ModelCard
from tiny_repair import SETTINGS, forced
from transformers import AutoModelForCausalLM, AutoTokenizer

from killed import kill_at
from sftlens.errors import UserError
from sftlens.facts import Fact, facts_table, read_facts
from sftlens.generation import TransformersGenerator, load_model
from sftlens.norms import is_same_norm
from sftlens.repair import (
    CANDIDATES_SCHEMA,
    FRONT_SCHEMA,
    RepairResult,
    RepairSettings,
    run_repair,
)
from sftlens.repair._candidates import AS_IT_IS, BASE, Candidate, Restorations, Way
from sftlens.repair._controls import controls
from sftlens.repair._examine import Examiner
from sftlens.repair._parts import divide_facts
from sftlens.scoring import score
from sftlens.weights import open_pair, taken_back

TABLES = ("candidates", "front", "without_echoed", "evaluations", "facts")
REST = ("model", "repair.json", "index.html", "manifest.json")


def read(out: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(out / f"{name}.parquet")


def test_the_folder(repaired: RepairResult) -> None:
    out = Path(repaired.out)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*(f"{name}.parquet" for name in TABLES), *REST]
    )
    assert [path.name for path in out.parent.glob(".repaired*")] == []
    told = json.loads((out / "repair.json").read_text())
    assert told["chosen"] == repaired.chosen
    assert RepairSettings(**told["settings"]) == SETTINGS
    candidates, front = read(out, "candidates"), read(out, "front")
    assert (candidates.schema, front.schema) == (CANDIDATES_SCHEMA, FRONT_SCHEMA)
    assert candidates["candidate"][0] == "tuned"
    assert candidates["chosen"].sum() == 1
    assert candidates["candidate"].n_unique() == len(candidates)
    assert {"chosen", "fixed", "control", "tuned", "base"} <= set(front["role"])
    assert front["on_front"].any()


def test_the_budget_is_kept(repaired: RepairResult) -> None:
    evaluations = read(Path(repaired.out), "evaluations")
    asked = evaluations.filter(pl.col("part") != "test", kind="fact")
    once = asked.unique(["candidate", "item"])
    assert len(once) == len(asked)  # nothing is asked twice
    full = repaired.num_facts["search"] + repaired.num_facts["decision"]
    assert len(asked) / full == pytest.approx(repaired.evaluations)
    assert 1 < repaired.evaluations <= SETTINGS.budget


def test_the_search_sees_no_test_fact(repaired: RepairResult) -> None:
    evaluations = read(Path(repaired.out), "evaluations").filter(kind="fact")
    items = {part: set(own["item"]) for (part,), own in evaluations.group_by("part")}
    assert items["search"].isdisjoint(items["decision"])
    assert items["test"].isdisjoint(items["search"] | items["decision"])
    assert any("seeded half" in note for note in repaired.notes)


def test_what_is_told_is_what_the_models_answer(
    repaired: RepairResult, base: Path, tuned: Path, asked: Path
) -> None:
    out = Path(repaired.out)
    front = read(out, "front")
    facts = {fact.fact_id: fact for fact in read_facts(str(asked)).facts}
    evaluations = read(out, "evaluations").filter(part="test", kind="fact")
    for folder, candidate in ((tuned, "tuned"), (out / "model", repaired.chosen["candidate"])):
        own = evaluations.filter(candidate=candidate)
        model, tokenizer, _ = load_model(folder)
        tested = [facts[item] for item in own["item"]]
        scores = score(TransformersGenerator(model, tokenizer), tested, {})
        assert scores["answer"].to_list() == own["answer"].to_list()
        [row] = front.filter(
            pl.col("role") == ("tuned" if candidate == "tuned" else "chosen")
        ).rows(named=True)
        by_domain = scores.group_by("domain").agg(pl.col("correct").mean())
        assert row["knowledge"] == pytest.approx(by_domain["correct"].mean())
        inside = scores.filter(domain="in")
        exact = [
            text.strip().lower() in [a.lower() for a in facts[i].answers]
            for i, text in inside.select("fact_id", "answer").iter_rows()
        ]
        assert row["task"] == pytest.approx(sum(exact) / len(exact))


def test_the_model_loads_and_its_card_tells_all(repaired: RepairResult) -> None:
    folder = Path(repaired.out) / "model"
    AutoModelForCausalLM.from_pretrained(folder)
    AutoTokenizer.from_pretrained(folder)
    card = (folder / "README.md").read_text()
    data = ModelCard(card).data
    assert data.library_name == "transformers"
    assert data.base_model is None  # a folder is no model of the hub
    assert data.datasets is None
    assert data.license is None
    assert repaired.chosen["why"] in card
    assert "sftlens repair" in card
    assert "--budget 6" in card


def test_a_second_search_makes_the_same_choice(
    repaired: RepairResult, base: Path, tuned: Path, asked: Path, tmp_path: Path
) -> None:
    again = run_repair(str(base), str(tuned), str(asked), tmp_path / "again", settings=SETTINGS)
    assert replace(again, out=repaired.out) == repaired
    for name in TABLES:
        assert read(tmp_path / "again", name).equals(read(Path(repaired.out), name))


def test_a_finished_folder_is_left_as_it_is(
    repaired: RepairResult, base: Path, tuned: Path, asked: Path
) -> None:
    out = Path(repaired.out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    same = run_repair(str(base), str(tuned), str(asked), out, settings=SETTINGS)
    assert same.chosen == repaired.chosen
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    with pytest.raises(UserError, match="holds something already"):
        run_repair(str(base), str(tuned), str(asked), out, settings=RepairSettings(budget=7))


def repair_there(base: str, tuned: str, asked: str, out: str) -> None:
    torch.set_num_threads(1)
    run_repair(base, tuned, asked, Path(out), settings=SETTINGS)


@pytest.mark.parametrize(
    ("event", "ending", "count"),
    [("os.rename", ".parquet", 1), ("os.rename", ".parquet", 9), ("open", "README.md", 1)],
)
def test_killed_it_goes_on(
    repaired: RepairResult,
    base: Path,
    tuned: Path,
    asked: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    event: str,
    ending: str,
    count: int,
) -> None:
    out = tmp_path / "out"
    calls = str(base), str(tuned), str(asked), str(out)
    assert kill_at(event, ending, count, repair_there, *calls) == -9
    assert not out.exists()
    [work] = tmp_path.glob(".out.repair-*")
    done = {path.name for path in (work / "ledger").glob("*.parquet")}
    assert len(done) >= count - 1
    asked_anew = []
    ask = Examiner._ask

    def counted(self: Examiner, candidate: Candidate, *where: object) -> pl.DataFrame:
        asked_anew.append((str(candidate), *where))
        return ask(self, candidate, *where)  # type: ignore[arg-type]

    monkeypatch.setattr(Examiner, "_ask", counted)
    found = run_repair(*calls[:3], out, settings=SETTINGS)
    assert replace(found, out=repaired.out) == repaired
    evaluations = read(out, "evaluations").equals(read(Path(repaired.out), "evaluations"))
    assert evaluations
    if event == "open":
        assert asked_anew == []
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_choice_with_its_own_ways_for_layer_groups(
    base: Path, tuned: Path, asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = Candidate(Way("relative", 20.0), (("layer 0 mlp", BASE), ("outside", BASE)))
    forced(chosen, monkeypatch)
    found = run_repair(str(base), str(tuned), str(asked), tmp_path / "out", settings=SETTINGS)
    assert found.chosen["candidate"] == str(chosen)
    assert [group["alpha"] for group in found.chosen["groups"]] == [0, 0]
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    assert "layer 0 mlp: wise-ft 100 %" in card
    assert "Chosen is" in found.chosen["why"]
    pair = open_pair(base, tmp_path / "out" / "model")
    for tensor in pair.tensors.values():
        files = pair.base_files.entries(tensor.base), pair.tuned_files.entries(tensor.tuned)
        inside = tensor.role.kind == "block"
        restored = not inside or (tensor.role.layer == 0 and tensor.role.part == "mlp")
        assert torch.equal(*files) == restored, tensor.name
    same_norm = [row for row in found.front if row["role"] == "control"]
    assert len(same_norm) == 6
    for row in same_norm:
        assert row["norm_to_match"] == found.chosen["norm_removed"]
        assert is_same_norm(row["norm_removed"], row["norm_to_match"]), row["candidate"]
        assert row["candidate"].endswith("of all")


def test_controls_remove_the_same_norm(base: Path, tuned: Path) -> None:
    restorations = Restorations(open_pair(base, tuned), SETTINGS)
    candidate = Candidate(Way("fapm", 40.0))
    [taken] = taken_back(restorations.pair, [restorations.of(candidate)])
    found = controls(candidate, taken.norm_removed, restorations, seed=0)
    measured = taken_back(restorations.pair, [restorations.of(one.candidate) for one in found])
    for control, own in zip(found, measured, strict=True):
        assert control.norm_removed == pytest.approx(own.norm_removed, abs=1e-9)
        assert control.norm_to_match == taken.norm_removed
        assert control.is_matched
    assert controls(AS_IT_IS, 0.0, restorations, seed=0) == []


def test_controls_of_a_repair_that_gives_everything_back(base: Path, tuned: Path) -> None:
    """No share removes more than the whole, where the search for one has to end."""
    restorations = Restorations(open_pair(base, tuned), SETTINGS)
    found = controls(Candidate(Way("wise-ft", 100.0)), 1.0, restorations, seed=0)
    [whole] = taken_back(restorations.pair, [restorations.of(Candidate(Way("wise-ft", 100.0)))])
    assert len(found) == 6
    for control in found:
        assert control.norm_removed == pytest.approx(whole.norm_removed, abs=0.01)


def test_an_adapter_of_a_base_with_a_licence(
    base: Path, tuned: Path, asked: Path, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    model = AutoModelForCausalLM.from_pretrained(base)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    licensed = shutil.copytree(base, tmp_path / "licensed")
    (licensed / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    settings = RepairSettings(budget=3, methods=("wise-ft",), shares=(50,))
    found = run_repair(
        str(licensed), str(tmp_path / "adapter"), str(asked), tmp_path / "out", settings=settings
    )
    assert found.evaluations <= 3
    load_model(tmp_path / "out" / "model")
    assert ModelCard.load(tmp_path / "out" / "model" / "README.md").data.license == "cc-by-4.0"


def test_by_level(
    base: Path, tuned: Path, asked: Path, mastery_folder: Path, tmp_path: Path, facts: list[Fact]
) -> None:
    settings = RepairSettings(budget=3, methods=("wise-ft",), shares=(50,))
    found = run_repair(
        str(base),
        str(tuned),
        str(asked),
        tmp_path / "out",
        mastery=mastery_folder,
        settings=settings,
    )
    levels = dict(
        pl.read_parquet(mastery_folder / "mastery.parquet").select("fact_id", "level").iter_rows()
    )
    own = read(tmp_path / "out", "evaluations").filter(part="test", kind="fact", candidate="tuned")
    domains = {fact.fact_id: fact.domain for fact in facts}
    means = []
    for domain in ("in", "out"):
        by_level: dict[int, list[float]] = {}
        for item, value in own.select("item", "value").iter_rows():
            if domains[item] == domain:
                by_level.setdefault(levels[item], []).append(value)
        parts = [sum(v) / len(v) for v in by_level.values() if len(v) >= 3]
        means.append(sum(parts) / len(parts))
    [row] = [row for row in found.front if row["role"] == "tuned"]
    assert row["knowledge"] == pytest.approx(sum(means) / 2)
    assert [row["knowledge_in"], row["knowledge_out"]] == pytest.approx(means)


def test_training_facts_take_no_part(asked: Path) -> None:
    facts = read_facts(str(asked)).facts
    table = facts_table(facts)
    split = pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.lit("train"))
    split = split.when(pl.int_range(pl.len()) % 3 == 1).then(pl.lit("validation"))
    path = asked.with_name("divided.parquet")
    table.with_columns(split=split.otherwise(pl.lit("test"))).write_parquet(path)
    divided = divide_facts(read_facts(str(path)).facts, None, seed=0, source="facts")
    assert divided.notes == []
    assert {fact.split for fact in divided.parts.search + divided.parts.decision} == {"validation"}
    assert {fact.split for fact in divided.parts.test} == {"test"}
    halves = len(divided.parts.search), len(divided.parts.decision)
    assert abs(halves[0] - halves[1]) <= 1
    start = divided.parts.search[: len(divided.parts.search) // 2]
    inside = sum(fact.domain == "in" for fact in divided.parts.search)
    assert abs(2 * sum(fact.domain == "in" for fact in start) - inside) <= 14
    path.unlink()


def test_refusals(base: Path, tuned: Path, asked: Path, tmp_path: Path) -> None:
    def call(facts: Path = asked, out: Path | None = None, **settings: object) -> None:
        wanted = RepairSettings(**settings)  # type: ignore[arg-type]
        run_repair(str(base), str(tuned), str(facts), out or tmp_path / "out", settings=wanted)

    with pytest.raises(UserError, match="method 'magic'"):
        call(methods=("magic",))
    with pytest.raises(UserError, match="share"):
        call(shares=(0.0,))
    few = tmp_path / "few.parquet"
    pl.read_parquet(asked).head(5).write_parquet(few)
    with pytest.raises(UserError, match="has 5 facts"):
        call(few)
    with pytest.raises(UserError, match="lies in the model folder"):
        call(out=tuned / "out")
    assert not (tmp_path / "out").exists()
