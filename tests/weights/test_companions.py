"""Which files an output folder takes from where."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_adapters import save_adapter
from tiny_models import write_restored

from sftlens.errors import UserError
from sftlens.weights import open_pair

GIVEN = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
}


@pytest.fixture
def model(base: Path, tmp_path: Path) -> Path:
    """A copy of the base, with a second chat template."""
    folder = shutil.copytree(base, tmp_path / "model")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tools.jinja").write_text("base")
    return folder


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    """An adapter with nothing beside it, as peft saves it with a model card."""
    return save_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])


def written(base: Path, tuned: Path, out: Path) -> dict[str, bytes]:
    """The small files of a restored folder, by their paths within it."""
    write_restored(base, tuned, [20], out)
    own = {"README.md", "manifest.json", "model.safetensors"}
    found = {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file()}
    assert own <= set(found)
    return {name: path.read_bytes() for name, path in found.items() if name not in own}


def test_a_model_gives_its_own(model: Path, base: Path, tmp_path: Path) -> None:
    (model / "additional_chat_templates" / "notes.txt").write_text("left")
    files = written(base, model, tmp_path / "out")
    assert set(files) == GIVEN | {"additional_chat_templates/tools.jinja"}
    assert files["additional_chat_templates/tools.jinja"] == b"base"


def test_a_bare_adapter_takes_the_base(model: Path, adapter: Path, tmp_path: Path) -> None:
    files = written(model, adapter, tmp_path / "out")
    assert set(files) == GIVEN | {"additional_chat_templates/tools.jinja"}
    assert all(content == (model / name).read_bytes() for name, content in files.items())


def test_an_adapter_with_a_chat_template(model: Path, adapter: Path, tmp_path: Path) -> None:
    (adapter / "chat_template.jinja").write_text("trained")
    files = written(model, adapter, tmp_path / "out")
    assert set(files) == GIVEN
    assert files["chat_template.jinja"] == b"trained"
    assert files["tokenizer.json"] == (model / "tokenizer.json").read_bytes()


def test_an_adapter_with_a_tokenizer(model: Path, adapter: Path, tmp_path: Path) -> None:
    (model / "merges.txt").write_text("base")
    (adapter / "tokenizer.json").write_text("{}")
    (adapter / "additional_chat_templates").mkdir()
    (adapter / "additional_chat_templates" / "rag.jinja").write_text("trained")
    (adapter / "generation_config.json").write_text("{ }")
    (adapter / "training_args.bin").write_text("pickle")
    (adapter / "config.json").write_text('{"never": "taken"}')
    files = written(model, adapter, tmp_path / "out")
    assert set(files) == {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "additional_chat_templates/rag.jinja",
    }
    assert files["config.json"] == (model / "config.json").read_bytes()
    assert files["generation_config.json"] == b"{ }"
    assert files["tokenizer.json"] == b"{}"


@pytest.mark.parametrize("linked", ["tokenizer.json", "additional_chat_templates"])
@pytest.mark.parametrize("side", ["model", "adapter"])
def test_links_out_of_the_folder_are_refused(
    model: Path, adapter: Path, base: Path, tmp_path: Path, side: str, linked: str
) -> None:
    outside = shutil.copytree(model, tmp_path / "outside")
    folder = model if side == "model" else adapter
    if (folder / linked).is_dir():
        shutil.rmtree(folder / linked)
    (folder / linked).unlink(missing_ok=True)
    (folder / linked).symlink_to(outside / linked)
    tuned = model if side == "model" else adapter
    with pytest.raises(UserError, match="is a link that leads out"):
        open_pair(base, tuned).companions()
