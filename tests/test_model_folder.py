"""Folders that tools read in several ways, or not at all: refused with a command that works."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from remedies import run_python, run_shell
from sftlens.checkpoints import is_adapter, model_identity, open_checkpoint, resolve_model
from sftlens.errors import UserError
from sftlens.model_folder import require_model

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "llama"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: place for place, token in enumerate(["<s>", "</s>", *alphabet, "ab"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(llama: Path, tmp_path: Path) -> Path:
    """A copy whose path no shell takes as it stands."""
    return shutil.copytree(llama, tmp_path / "it's a [model]")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / WEIGHTS)


def deal(folder: Path, *, index: bool = True, num_shards: int = 2) -> list[str]:
    """Store the weights in shards beside ``model.safetensors``."""
    files, weight_map = [], {}
    for shard in range(num_shards):
        files.append(f"model-{shard + 1:05d}-of-{num_shards:05d}.safetensors")
        part = dict(list(weights(folder).items())[shard::num_shards])
        save_file(part, folder / files[-1], metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, files[-1])
    if index:
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return files


def refusal(folder: Path) -> str:
    for adapter in (False, True):
        with pytest.raises(UserError) as caught:
            resolve_model(folder, adapter=adapter)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same_weights(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "adapter_model.bin", None])
def test_weights_beside_an_adapter(folder: Path, tmp_path: Path, file: str | None) -> None:
    (folder / "adapter_config.json").write_text("{}")
    if file:
        (folder / file).write_bytes(b"x")
    assert not is_adapter(folder)
    message = refusal(folder)
    found = re.search(r"a copy without it: (.+?);", message)
    assert found is not None
    run_shell(found[1], tmp_path / "copy")
    assert resolve_model(tmp_path / "copy") == tmp_path / "copy"
    assert same_weights(tmp_path / "copy", folder)


@pytest.mark.parametrize("index", [True, False])
def test_a_file_beside_shards(folder: Path, tmp_path: Path, index: bool) -> None:
    deal(folder, index=index)
    found = re.search(r"the stale ones: (.+?) \(or", refusal(folder))
    assert found is not None
    run_shell(found[1], tmp_path / "copy")
    assert not (tmp_path / "copy" / WEIGHTS).exists()
    if index:
        assert len(open_checkpoint(tmp_path / "copy").files) == 2


def test_an_index_that_leads_nowhere_else_is_passed_over(folder: Path) -> None:
    names = list(weights(folder))
    for file in (WEIGHTS, "model-00001-of-00002.safetensors"):  # as mlx writes it; left over
        (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(names, file)}))
        assert open_checkpoint(resolve_model(folder)).files == (WEIGHTS,)


def test_shards_without_their_index(folder: Path, tmp_path: Path) -> None:
    before = weights(folder)
    files = deal(folder, index=False, num_shards=3)
    (folder / WEIGHTS).unlink()
    message = refusal(folder)
    assert "holds 3 shards" in message
    run_python(message, tmp_path)
    assert open_checkpoint(folder).files == tuple(files)
    loaded = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in before.items())
    (folder / INDEX).unlink()
    (folder / files[1]).unlink()
    assert f"lacks {INDEX} and shards, first {files[1]}" in refusal(folder)


def test_a_distributed_checkpoint(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch.distributed.checkpoint as dcp
    from accelerate.commands.accelerate_cli import main

    source = shutil.copytree(folder, tmp_path / "source")
    (folder / WEIGHTS).unlink()
    shards = folder / "pytorch_model_fsdp_0"
    dcp.save({"model": weights(source)}, checkpoint_id=shards, no_dist=True)
    found = re.search(r"beside: accelerate (.+) && (cp .+)", refusal(folder))
    assert found is not None
    out = tmp_path / "merged"
    monkeypatch.setattr(sys, "argv", ["accelerate", "merge-weights", str(shards), str(out)])
    assert found[1].startswith("merge-weights ")
    main()
    run_shell(found[2], out)
    assert same_weights(resolve_model(out), source)


def test_weights_of_a_variant(folder: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS).rename(folder / "model.fp16.safetensors")
    run_python(refusal(folder), tmp_path / "out")
    assert (folder / "model.fp16.safetensors").read_bytes()
    assert set(weights(resolve_model(tmp_path / "out"))) == set(
        load_file(folder / "model.fp16.safetensors")
    )


def test_weights_under_a_name_of_the_configuration(folder: Path, tmp_path: Path) -> None:
    source = shutil.copytree(folder, tmp_path / "source")
    (folder / WEIGHTS).rename(folder / "own.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "transformers_weights": "own.safetensors"})
    )
    message = refusal(folder)
    assert "'own.safetensors' (transformers_weights)" in message
    run_python(message, tmp_path / "out")
    assert set(weights(tmp_path / "out")) == set(weights(source))


def test_pickled_weights(folder: Path, tmp_path: Path) -> None:
    source = shutil.copytree(folder, tmp_path / "source")
    torch.save(weights(folder), folder / "pytorch_model.bin")
    assert resolve_model(folder) == folder  # the safetensors are read
    (folder / WEIGHTS).unlink()
    message = refusal(folder)
    assert "pickled weights only (pytorch_model.bin)" in message
    run_python(message, tmp_path / "out")
    assert same_weights(resolve_model(tmp_path / "out"), source)


def test_a_gguf_file(llama: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    from tiny_gguf import write_llama

    write_llama(llama, tmp_path / "model.gguf", vocabulary=True)
    with pytest.raises(UserError) as caught:
        resolve_model(tmp_path / "model.gguf")
    assert "gguf_file" in refusal(tmp_path)
    run_python(caught.value, tmp_path / "out")
    out = weights(resolve_model(tmp_path / "out"))
    for name, tensor in weights(llama).items():
        torch.testing.assert_close(out[name], tensor.bfloat16(), msg=name)


@pytest.mark.parametrize(
    "file", ["consolidated.safetensors", "consolidated.00.pth", "optimizer.safetensors"]
)
def test_weights_of_other_tools(folder: Path, file: str) -> None:
    (folder / WEIGHTS).rename(folder / file)
    assert file in refusal(folder)


def test_the_folder_above_a_trainers_checkpoints(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for step in (90, 100, 1000):
        shutil.copytree(folder, run / f"checkpoint-{step}")
    message = refusal(run)
    assert "holds no config.json" in message
    assert message.endswith(f"such as {run / 'checkpoint-1000'}")
    shutil.copy(folder / "config.json", run)  # which some trainers put there first
    assert refusal(run).endswith(f"such as {run / 'checkpoint-1000'}")


def test_the_identity_covers_what_decides_an_answer(folder: Path) -> None:
    seen = [model_identity(folder)]
    (folder / "additional_chat_templates").mkdir()
    for file in (
        *("generation_config.json", "tokenizer_config.json", "chat_template.jinja", "tekken.json"),
        "additional_chat_templates/tools.jinja",
    ):
        (folder / file).write_text("{}")
        seen.append(model_identity(folder))
    (folder / "notes.txt").write_text("of no account")
    assert model_identity(folder) == seen[-1]
    assert len({one["files"] for one in seen}) == len(seen)
    assert len({one["weights"] for one in seen}) == 1


@pytest.mark.parametrize("word", ["path", "shape"])
def test_messages_are_short(word: str) -> None:
    told = "/".join(["x" * 50] * 100) if word == "path" else str([1] * 300_000)
    message = str(UserError(f"{told}: is wrong; see to it"))
    assert len(message) < 400
    assert message.endswith(": is wrong; see to it")
    assert str(UserError("of shape [2, 3, 4, 5]")) == "of shape [2, 3, 4, 5]"


def test_the_merge_of_an_adapter_is_named_for_the_shell(tmp_path: Path) -> None:
    folder = tmp_path / "it's mine"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="merge it into its base first") as caught:
        require_model(folder, str(folder))
    command = str(caught.value).split("`")[-2]
    wanted = ["sftlens", "restore", "BASE", str(folder), "--share", "0", "--out", "FOLDER"]
    assert shlex.split(command) == wanted
