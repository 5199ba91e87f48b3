"""Fine-tuning by two processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from damaged_models import change_weights
from launched import fsdp_config
from sftlens.errors import UserError
from sftlens.generation import load_model
from sftlens.manifest import read_manifest
from sftlens.team import Team
from sftlens.tuning import TuneSettings, run_tune
from sftlens.tuning._distributed import share_of_batch, without_weights

SETTINGS = TuneSettings(learning_rate=1e-3, batch_size=4, num_epochs=2)
SIZE = 13  # no multiple of the batch: the last step of each epoch is short


def launch(config: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    command += ["--config_file", str(config), "-m", "sftlens", "tune", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("kind", ["FSDP", "MULTI_CPU"])
def test_two_processes_train_as_one(
    base: Path, world: Path, mastery_folder: Path, tmp_path: Path, kind: str
) -> None:
    alone = run_tune(
        *(str(base), str(world), mastery_folder, tmp_path / "one"),
        level=0,
        size=SIZE,
        settings=SETTINGS,
    )
    assert alone is not None
    done = launch(
        fsdp_config(tmp_path, kind),
        *(base, world, "--mastery", mastery_folder, "--out", tmp_path / "two", "--level", 0),
        *("--size", SIZE, "--batch-size", 4, "--num-epochs", 2, "--learning-rate", 1e-3, "--json"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["num_steps"] == alone.num_steps == 8
    assert told["final_loss"] == pytest.approx(alone.final_loss, rel=1e-5)
    one, two = tmp_path / "one", tmp_path / "two"
    assert sorted(path.name for path in two.iterdir()) == sorted(
        path.name for path in one.iterdir()
    )
    for name in ("config.json", "generation_config.json", "training_facts.parquet"):
        assert (two / name).read_bytes() == (one / name).read_bytes(), name
    expected, found, before = (
        load_file(folder / "model.safetensors") for folder in (one, two, base)
    )
    assert list(found) == list(expected)
    for name, tensor in found.items():
        # Sums over two halves of a batch are rounded in another order; steps are about 1e-3 large.
        assert torch.allclose(tensor, expected[name], rtol=0, atol=2e-5), name
    assert max((found[name] - before[name]).abs().max() for name in found) > 1e-3
    assert load_model(two).model.dtype == torch.float32
    assert read_manifest(two, "tune")["config"] == read_manifest(one, "tune")["config"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--batch-size", 5), "batch_size 5 facts cannot be shared by 2 processes"),
        (("--learning-rate", 1e30, "--size", 16), "fine-tuning diverged"),
    ],
)
def test_what_both_processes_refuse_is_told_once(
    base: Path,
    world: Path,
    mastery_folder: Path,
    tmp_path: Path,
    options: tuple[object, ...],
    told: str,
) -> None:
    done = launch(
        fsdp_config(tmp_path),
        *(base, world, "--mastery", mastery_folder, "--out", tmp_path / "out", "--level", 0),
        *(*options, "--json"),
    )
    assert done.returncode != 0
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("sftlens: ")]
    assert len(lines) == 1, done.stderr[-3000:]
    assert told in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["FSDP.yaml"]


def test_a_model_without_weights_is_like_the_loaded_one(base: Path, tmp_path: Path) -> None:
    tied = shutil.copytree(base, tmp_path / "tied")
    config = json.loads((tied / "config.json").read_text())
    (tied / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    change_weights(
        tied, lambda tensors: {k: t for k, t in tensors.items() if k != "lm_head.weight"}
    )
    for folder in (base, tied):
        expected, found = load_model(folder).model, without_weights(folder).model
        parameters = dict(found.named_parameters())
        assert {name: one.shape for name, one in parameters.items()} == {
            name: one.shape for name, one in expected.named_parameters()
        }
        assert {one.dtype for one in parameters.values()} == {torch.float32}
        assert len({one.data_ptr() for one in parameters.values()}) == len(parameters)
        assert not any(one.is_meta for one in parameters.values())
        buffers = dict(found.named_buffers())
        assert buffers  # of the positions
        for name, buffer in expected.named_buffers():
            assert torch.equal(buffers[name], buffer), name


def test_a_batch_is_shared_equally() -> None:
    assert [share_of_batch(8, Team(0, size, 0)) for size in (1, 2, 8)] == [8, 4, 1]
    with pytest.raises(UserError, match="take a multiple of 16"):
        share_of_batch(8, Team(0, 16, 0))


CONFIGS = Path(__file__).parents[2] / "studies" / "accelerate"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_ready_configurations_are_read_by_accelerate(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    config = load_config_from_file(str(path))
    assert str(config.distributed_type) == "DistributedType.FSDP"
    assert config.mixed_precision == "bf16"
    assert config.num_processes >= 2
    assert set(config.fsdp_config) <= set(vars(launch_command_parser().parse_args(["script"])))
    assert config.fsdp_config["fsdp_version"] == 2
    assert config.fsdp_config["fsdp_activation_checkpointing"] is True
    assert config.fsdp_config["fsdp_cpu_ram_efficient_loading"] is True


def test_there_are_ready_configurations() -> None:
    names = {path.name for path in CONFIGS.glob("*.yaml")}
    assert names == {"fsdp-8b.yaml", "fsdp-70b.yaml", "fsdp-70b-offload.yaml"}
