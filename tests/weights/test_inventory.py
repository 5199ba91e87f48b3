"""What tensors are, remembered between commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_models import save_model

from sftlens.checkpoints import open_checkpoint
from sftlens.errors import UserError
from sftlens.weights import _inventory
from sftlens.weights._architecture import Architecture
from sftlens.weights._inventory import Inventory, inventory


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sftlens" / "inventories"


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders whose architecture was built."""
    folders: list[Path] = []

    def build(folder: Path) -> Architecture:
        folders.append(folder)
        return Architecture(folder)

    monkeypatch.setattr(_inventory, "Architecture", build)
    return folders


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "mixtral", "mixtral")


def test_the_second_time_nothing_is_built(model: Path, cache: Path, built: list[Path]) -> None:
    checkpoint = open_checkpoint(model)
    first = inventory(checkpoint)
    assert first == Inventory.of(Architecture(model), checkpoint.tensors)
    assert inventory(checkpoint) == first
    assert built == [model]
    assert len(list(cache.iterdir())) == 1


def test_another_configuration_is_another_model(
    model: Path, tmp_path: Path, cache: Path, built: list[Path]
) -> None:
    first = inventory(open_checkpoint(model))
    other = tmp_path / "other"
    shutil.copytree(model, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    assert not first.tied
    assert inventory(open_checkpoint(other)).tied
    assert built == [model, other]


@pytest.mark.parametrize("damage", ["", "{}", "[1]", '{"roles": {"a": [1]}}', "\x00\xff"])
def test_a_damaged_cache_is_made_anew(
    model: Path, cache: Path, built: list[Path], damage: str
) -> None:
    checkpoint = open_checkpoint(model)
    first = inventory(checkpoint)
    [kept] = cache.iterdir()
    text = kept.read_text()
    kept.write_text(damage)
    assert inventory(checkpoint) == first
    assert built == [model, model]
    assert kept.read_text() == text
    assert list(cache.iterdir()) == [kept]


def test_no_place_for_the_cache_is_no_matter(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: list[Path]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    checkpoint = open_checkpoint(model)
    assert inventory(checkpoint) == inventory(checkpoint)
    assert built == [model, model]


def test_a_refusal_is_not_kept(model: Path, tmp_path: Path, cache: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(model, other)
    (other / "config.json").write_text('{"model_type": "no such model"}')
    with pytest.raises(UserError, match="no causal language model"):
        inventory(open_checkpoint(other))
    assert not cache.exists()
