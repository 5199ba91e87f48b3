"""Loading a model: what is taken, what is refused."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from damaged_models import DAMAGES, change_weights, copy_model, damaged
from remedies import run_python
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


@pytest.mark.parametrize("number", [1, 0, -1])
def test_a_configuration_with_fewer_layers_than_the_weights(
    base: Path, tmp_path: Path, number: int
) -> None:
    folder = copy_model(base, tmp_path / "model", num_hidden_layers=number)
    with pytest.raises(UserError, match=rf"no place for \(model\.layers\.{max(number, 0)}\."):
        load_model(folder)


def test_a_configuration_with_more_layers_than_the_weights(base: Path, tmp_path: Path) -> None:
    folder = copy_model(base, tmp_path / "model", num_hidden_layers=9)
    with pytest.raises(
        UserError, match=r"weights are missing or of another shape: model\.layers\."
    ):
        load_model(folder)


@pytest.mark.parametrize(
    "name",
    ["model.layers.0.self_attn.q_proj.bias", "model.layers.1.self_attn.q_norm.weight"],
)
def test_tensors_that_the_configuration_does_not_know(
    base: Path, tmp_path: Path, name: str
) -> None:
    """The remedy saves the model that transformers loads, without them."""
    folder = copy_model(base, tmp_path / "model")
    change_weights(folder, lambda tensors: tensors | {name: torch.ones(64)})
    with pytest.raises(UserError, match=re.escape(f"no place for ({name})")) as caught:
        load_model(folder)
    run_python(caught.value, tmp_path / "out")
    assert name not in load_file(tmp_path / "out" / "model.safetensors")
    load_model(tmp_path / "out")


def test_what_lies_beside_the_model_is_reported(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_model(base, tmp_path / "model")
    change_weights(folder, lambda tensors: tensors | {"v_head.weight": torch.ones(64)})
    load_model(folder)
    assert (
        "not loaded, since the model has no place for it: v_head.weight" in capsys.readouterr().err
    )


def test_names_with_another_prefix(base: Path, tmp_path: Path) -> None:
    folder = copy_model(base, tmp_path / "model")
    change_weights(folder, lambda own: {f"student.{name}": tensor for name, tensor in own.items()})
    with pytest.raises(UserError, match="weights are missing"):
        load_model(folder)
