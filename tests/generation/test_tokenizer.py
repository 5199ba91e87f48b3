"""Tokenizers: where they are missing, without the BOS that a model needs, with more than it has."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from damaged_models import TOKENIZER_FILES, copy_model
from remedies import run_python
from sftlens.errors import UserError
from sftlens.generation import (
    Decoding,
    LoadedModel,
    TransformersGenerator,
    load_model,
    load_tokenizer,
)

GREEDY = Decoding(max_new_tokens=6)


def set_json(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_folder_without_one(base: Path, tmp_path: Path) -> None:
    folder = copy_model(base, tmp_path / "model")
    for file in TOKENIZER_FILES:
        (folder / file).unlink()
    with pytest.raises(UserError, match=r"holds no tokenizer \(tokenizer\.json") as caught:
        load_model(folder)
    run_python(str(caught.value).replace(" BASE ", f" {base} "), folder)
    assert load_tokenizer(folder)("Ω")["input_ids"] == load_tokenizer(base)("Ω")["input_ids"]


def test_one_that_is_broken(base: Path, tmp_path: Path) -> None:
    folder = copy_model(base, tmp_path / "model")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="its tokenizer cannot be loaded"):
        load_model(folder)


@pytest.mark.parametrize("kind", ["gemma", "gemma2", "gemma3", "gemma3_text", "recurrent_gemma"])
def test_the_bos_that_a_model_needs_is_added_once(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    folder = copy_model(base, tmp_path / "model", model_type=kind)
    with_bos = load_tokenizer(folder)("A town")["input_ids"]
    assert "BOS" not in capsys.readouterr().err
    without_bos(folder)
    tokenizer = load_tokenizer(folder)
    assert tokenizer("A town")["input_ids"] == with_bos
    assert with_bos.count(tokenizer.bos_token_id) == 1
    told = capsys.readouterr().err
    assert f"its tokenizer adds no BOS, which {kind} models need: it is added here" in told
    load_tokenizer(folder)
    assert capsys.readouterr().err == ""  # reported once
    tokenizer.save_pretrained(tmp_path / "saved")  # and so is what a training writes
    shutil.copy(folder / "config.json", tmp_path / "saved")
    assert load_tokenizer(tmp_path / "saved")("A town")["input_ids"] == with_bos
    assert capsys.readouterr().err == ""


def test_what_the_message_advises_is_enough(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_model(base, tmp_path / "model", model_type="gemma")
    without_bos(folder)
    set_json(folder / "tokenizer_config.json", add_bos_token=True)  # is passed over
    load_tokenizer(folder)
    run_python(capsys.readouterr().err, tmp_path / "fixed")
    shutil.copy(folder / "config.json", tmp_path / "fixed")
    tokenizer = load_tokenizer(tmp_path / "fixed")
    assert tokenizer("A")["input_ids"][0] == tokenizer.bos_token_id
    assert capsys.readouterr().err == ""


def test_other_models_are_asked_as_their_tokenizer_has_it(base: Path, tmp_path: Path) -> None:
    folder = copy_model(base, tmp_path / "model")
    without_bos(folder)
    tokenizer = load_tokenizer(folder)
    assert tokenizer.bos_token_id not in tokenizer("A town")["input_ids"]


def without_bos(folder: Path) -> None:
    set_json(folder / "tokenizer.json", post_processor=None)


@pytest.mark.parametrize("added", [{"pad_token": "[PAD]"}, {"additional_special_tokens": ["[X]"]}])
def test_tokens_beyond_the_embeddings(
    loaded_base: LoadedModel, generator: TransformersGenerator, base: Path, added: dict
) -> None:
    tokenizer = load_tokenizer(base)
    tokenizer.add_special_tokens(added)
    assert len(tokenizer) > loaded_base.model.get_input_embeddings().num_embeddings
    longer = TransformersGenerator(loaded_base.model, tokenizer)
    prompts = ["A", "A longer prompt than the first"]
    assert list(longer.complete(prompts, GREEDY)) == list(generator.complete(prompts, GREEDY))
    token = next(iter(added.values()))
    token = token if isinstance(token, str) else token[0]
    with pytest.raises(UserError, match=r"has token '\[(PAD|X)\]' \(\d+\), and the model has emb"):
        list(longer.complete([f"A {token}"], GREEDY))
