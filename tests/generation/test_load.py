"""Loading a model: what is taken, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from damaged_models import DAMAGES, change_weights, damaged
from sftlens.errors import UserError
from sftlens.generation import LoadedModel, load_model


def test_a_model_is_ready_for_use(loaded_base: LoadedModel, base: Path) -> None:
    model, tokenizer, folder = loaded_base
    assert folder == base
    assert not model.training
    assert model.device.type == "cpu"
    assert tokenizer.eos_token == "</s>"
    for name, tensor in load_file(base / "model.safetensors").items():
        assert torch.equal(model.state_dict()[name], tensor)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_stored_dtype_is_kept(base: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    folder = shutil.copytree(base, tmp_path / "model")
    change_weights(folder, lambda tensors: {name: t.to(dtype) for name, t in tensors.items()})
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("float32", str(dtype).split(".")[1]))
    assert load_model(folder).model.dtype == dtype


@pytest.mark.parametrize("damage", DAMAGES)
def test_refused_models(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    folder = damaged(base, tmp_path / "model", damage)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refusal:
        load_model(folder)
    assert DAMAGES[damage][1] in str(refusal.value)
    assert str(folder) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "ran").exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        load_model(tmp_path / "absent")
