"""Pre-training of scale models: ordinary checkpoints, and the same whatever interrupts."""

from __future__ import annotations

import signal
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from killed import kill_at
from sftlens.checkpoints import file_hash, open_checkpoint
from sftlens.errors import UserError
from sftlens.facts import facts_table, read_facts
from sftlens.manifest import read_manifest
from sftlens.world import (
    PRESETS,
    Preset,
    PretrainSettings,
    TellingSettings,
    exposures_table,
    make_model,
    pretrain,
    tell,
    train_tokenizer,
)
from tiny_world import make_fact, small_preset

SETTINGS = PretrainSettings(num_epochs=1, save_every=5)


def pretrain_small(world: Path, out: Path, settings: PretrainSettings = SETTINGS) -> None:
    with small_preset():
        pretrain(world, out, settings)


def hashes(folder: Path) -> dict[str, str]:
    names = (path.name for path in folder.iterdir() if path.name != "manifest.json")
    return {name: file_hash(folder / name) for name in names}


@pytest.fixture(scope="module")
def uninterrupted(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pretrain") / "model"
    pretrain_small(world, out)
    return out


def test_the_folder_is_an_ordinary_checkpoint(base: Path) -> None:
    assert sorted(path.name for path in base.iterdir()) == [
        "config.json",
        "generation_config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    tokenizer = AutoTokenizer.from_pretrained(base)
    model, loading = AutoModelForCausalLM.from_pretrained(base, output_loading_info=True)
    assert not any(loading.values())
    assert model.dtype == torch.float32
    result = read_manifest(base, "pretrain")["result"]
    assert result["num_parameters"] == model.num_parameters()
    assert result["final_loss"] < 2  # a model that learned nothing has ln(1024) = 6.9
    prompt = tokenizer("Where was", return_tensors="pt")
    assert prompt["input_ids"][0, 0] == tokenizer.bos_token_id
    assert model.generate(**prompt, max_new_tokens=3, do_sample=False).shape[0] == 1


def test_given_facts_are_told_and_their_exposures_kept(tmp_path: Path) -> None:
    names = ("محمد بن موسى", "東京 – Łódź", "<s>Ada</s>\n{subject}", "\u202eadA\u202c 👩🏽‍🚀")
    facts = [make_fact(f"f{place}", name, subject=name) for place, name in enumerate(names)]
    source, out = tmp_path / "facts.parquet", tmp_path / "model"
    facts_table(facts).write_parquet(source)
    telling = TellingSettings(exposures=(9, 12), seed=4)
    with small_preset():
        pretrain(str(source), out, SETTINGS, telling=telling)
    told = tell(read_facts(source).facts, telling)
    assert pl.read_parquet(out / "exposures.parquet").equals(exposures_table(told.exposures))
    assert {"exposures.parquet", "model.safetensors"} < {path.name for path in out.iterdir()}
    tokenizer = AutoTokenizer.from_pretrained(out)
    AutoModelForCausalLM.from_pretrained(out)
    for name in names:
        ids = tokenizer(name, split_special_tokens=True)["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True) == name
    config = read_manifest(out, "pretrain")["config"]
    assert config["telling"] == telling.model_dump(mode="json")
    changed = telling.model_copy(update={"seed": 5})
    with pytest.raises(UserError, match="holds something already"):
        pretrain(source, out, SETTINGS, telling=changed)


def test_a_tokenizer_gives_texts_back(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    for text in ("Dorin Tes was born in Balville.", "Köln  –  東京\n", " x "):
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


@pytest.mark.parametrize(
    ("event", "ending", "count", "place", "left"),
    [
        # As it marks a resume point, as it has saved all, and as it clears the points away.
        ("open", "checkpoint-10/complete", 1, "work", {5}),
        ("os.rename", "/model", 1, "work", {10, 13}),
        ("os.remove", "optimizer.pt", 2, "out", None),
    ],
)
def test_killed_it_goes_on_and_ends_with_the_same_weights(
    world: Path,
    uninterrupted: Path,
    tmp_path: Path,
    event: str,
    ending: str,
    count: int,
    place: str,
    left: set[int] | None,
) -> None:
    out = tmp_path / "model"
    assert kill_at(event, ending, count, pretrain_small, world, out) == -signal.SIGKILL
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert (folder == out) == (place == "out")
    if left is not None:
        points = folder.glob("resume/checkpoint-*/complete")
        assert {int(path.parent.name.split("-")[1]) for path in points} == left
    pretrain_small(world, out)
    assert hashes(out) == hashes(uninterrupted)
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("preset", PRESETS)
def test_the_sizes_of_the_presets(preset: Preset) -> None:
    tokenizer = train_tokenizer(["a text"], 300)
    with torch.device("meta"):
        model = make_model(preset, tokenizer, seed=0)
    expected = {"tiny": 2.6e6, "small": 15.5e6, "medium": 97.5e6}[preset]
    assert model.num_parameters() == pytest.approx(expected, rel=0.02)
    assert f"{expected / 1e6:g} M" in PretrainSettings.model_fields["preset"].description


def test_the_weights_depend_on_the_seed_alone() -> None:
    tokenizer = train_tokenizer(["a text"], 300)
    with small_preset():
        torch.manual_seed(5)
        before = torch.random.get_rng_state()
        first, second, other = (make_model("tiny", tokenizer, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.lm_head.weight, second.lm_head.weight)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


@pytest.mark.parametrize(
    ("corpus", "told"),
    [
        (None, "holds no facts.parquet"),
        ("", "holds no texts"),
        ('{"text": "a"}\n{"text": 3}\n', "line 2"),
        ('{"text": "a"}\n{}\n', "line 2"),
        ('{"text": "a"}\nx\n', "line 2"),
        ('{"text": "a"}\n[]\n', "line 2"),
        ('{"text": "too short"}\n', "fills no sequence"),
    ],
)
def test_refused_worlds(tmp_path: Path, corpus: str | None, told: str) -> None:
    world = tmp_path / "world"
    world.mkdir()
    if corpus is not None:
        (world / "corpus.jsonl").write_text(corpus)
    with pytest.raises(UserError, match=told), small_preset():
        pretrain(world, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def test_the_headers_hold(base: Path) -> None:
    shapes = {name: info.shape for name, info in open_checkpoint(base).tensors.items()}
    assert shapes["model.embed_tokens.weight"] == shapes["lm_head.weight"] == (1024, 64)
