"""What is trained is kept: whatever can be refused is refused before the first step."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from damaged_models import copy_model
from sftlens.errors import UserError
from sftlens.facts import Fact
from sftlens.generation import load_model, load_tokenizer
from sftlens.tuning import Tuned, TuneSettings, fine_tune

SETTINGS = TuneSettings(learning_rate=1e-3, batch_size=4)


def tune(base: Path, out: Path, facts: list[Fact], settings: TuneSettings = SETTINGS) -> Tuned:
    out.mkdir()
    return fine_tune(load_model(base), facts[:5], out, settings)


def test_a_generation_configuration_that_only_loads_is_kept(
    base: Path, tmp_path: Path, facts: list[Fact]
) -> None:
    """As Llama 2 has one, with sampling values and no ``do_sample``."""
    folder = copy_model(base, tmp_path / "base")
    odd = {"do_sample": False, "temperature": 0.9, "top_p": 0.6, "eos_token_id": 1}
    (folder / "generation_config.json").write_text(json.dumps(odd))
    tune(folder, tmp_path / "out", facts)
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text()) == odd
    before, after = (load_file(own / "model.safetensors") for own in (base, tmp_path / "out"))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    load_model(tmp_path / "out")


def test_what_cannot_be_saved_is_refused_before_the_training(
    base: Path, tmp_path: Path, facts: list[Fact], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_model(base)

    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("no such value\nin two lines")

    monkeypatch.setattr(loaded.model.config, "save_pretrained", refuse, raising=False)
    before = loaded.model.state_dict()["model.norm.weight"].clone()
    with pytest.raises(UserError, match=r"loads and cannot be saved \(no such value\)"):
        fine_tune(loaded, facts[:5], tmp_path, SETTINGS)
    assert torch.equal(loaded.model.state_dict()["model.norm.weight"], before)
    assert not list(tmp_path.iterdir())


def test_a_padding_token_that_the_model_does_not_have(
    base: Path, tmp_path: Path, facts: list[Fact]
) -> None:
    """Padding is masked: the model is the one that is trained without that token."""
    folder = shutil.copytree(base, tmp_path / "base")
    tokenizer = load_tokenizer(base)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    tune(base, tmp_path / "plain", facts)
    tune(folder, tmp_path / "out", facts)
    plain, padded = (load_file(tmp_path / own / "model.safetensors") for own in ("plain", "out"))
    assert all(torch.equal(plain[name], padded[name]) for name in plain)
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")  # its own padding token is a row
    assert load_tokenizer(tmp_path / "out").pad_token == "[PAD]"


def test_a_loss_that_is_no_number_ends_the_training_at_once(
    base: Path, tmp_path: Path, facts: list[Fact]
) -> None:
    steps: list[int] = []
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"the loss is nan in step [23] of 8; lower the learning"):
        fine_tune(
            load_model(base),
            facts[:8],
            tmp_path / "out",
            TuneSettings(learning_rate=1e30, batch_size=1),
            advance=steps.append,
        )
    assert len(steps) < 8
    assert not list((tmp_path / "out").iterdir())
