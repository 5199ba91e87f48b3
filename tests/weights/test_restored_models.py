"""Restored models on disk: what is in them, and that they appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import pickle
import shutil
import tracemalloc
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from tiny_models import (
    moved,
    naive_restoration,
    read_tensors,
    same_bits,
    save_model,
    write_copy,
    write_restored,
)
from transformers import AutoModelForCausalLM, AutoTokenizer

from sftlens.errors import UserError
from sftlens.weights import (
    Engine,
    Request,
    open_pair,
    restore_checkpoints,
    select,
)
from sftlens.weights import _writer as writer

Tensors = dict[str, torch.Tensor]
Usage = namedtuple("Usage", "total used free")


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def block_names(folder: Path) -> list[str]:
    return [tensor.name for tensor in open_pair(folder, folder).region("blocks")]


def test_share_0_is_the_tuned_model(tmp_path: Path, base16: Path, tuned16: Path) -> None:
    write_restored(base16, tuned16, [0], tmp_path / "out", region="all")
    written, expected = content(tmp_path / "out"), content(tuned16)
    assert set(written) == {*expected, "README.md", "manifest.json"}
    assert all(written[name] == expected[name] for name in expected)


@pytest.mark.parametrize("method", ["relative", "random", "interpolation"])
def test_share_100_of_all_is_the_base(
    tmp_path: Path, base16: Path, tuned16: Path, method: str
) -> None:
    write_restored(base16, tuned16, [100], tmp_path / "out", region="all", method=method)
    written, expected = read_tensors(tmp_path / "out"), read_tensors(base16)
    assert set(written) == set(expected)
    assert all(same_bits(written[name], expected[name]) for name in expected)


@pytest.mark.parametrize("method", ["relative", "absolute", "small-base"])
@pytest.mark.parametrize("order", ["top", "bottom"])
def test_restored_models_against_the_naive(
    tmp_path: Path, base16: Path, tuned16: Path, method: str, order: str
) -> None:
    outputs = write_restored(
        base16, tuned16, [0.1, 20, 75], tmp_path / "out", method=method, order=order
    )
    base, tuned = read_tensors(base16), read_tensors(tuned16)
    names = block_names(tuned16)
    for output in outputs:
        expected = naive_restoration(
            base, tuned, names, method, output.num_restored, bottom=order == "bottom"
        )
        written = read_tensors(output.path)
        assert all(same_bits(written[name], expected[name]) for name in tuned)


def test_output_tells_what_the_selection_tells(tmp_path: Path, base: Path, tuned: Path) -> None:
    outputs = write_restored(base, tuned, [10, 99], tmp_path / "out")
    for output, selection in zip(
        outputs, select(open_pair(base, tuned), shares=[10, 99]), strict=True
    ):
        assert output.num_restored == selection.num_restored
        assert output.num_restored_changed == selection.num_restored_changed
        assert output.num_ties == selection.num_ties
        assert output.norm_removed == pytest.approx(selection.norm_removed)
        assert output.warning == selection.warning
    assert outputs[0].warning is None
    assert "changed only" in outputs[1].warning


def test_folder_of_one_share(tmp_path: Path, base: Path, tuned: Path) -> None:
    [output] = write_restored(base, tuned, [20], tmp_path / "deep" / "out")
    assert output.path == tmp_path / "deep" / "out"
    assert sorted(content(output.path)) == sorted(
        [
            *("README.md", "manifest.json", "model.safetensors"),
            *("config.json", "generation_config.json"),
            *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
        ]
    )
    manifest = json.loads((output.path / "manifest.json").read_text())
    assert manifest["stage"] == "restore"
    assert manifest["config"]["shares"] == [20]
    assert len(manifest["config"]["base_hash"]) == 64
    assert manifest["result"]["outputs"] == [output.as_json()]
    card = (output.path / "README.md").read_text()
    assert f"sftlens restore {base} {tuned} --share 20" in card
    assert f"{output.num_restored:,}" in card


def test_the_hub_reads_base_and_licence(
    tmp_path: Path, base: Path, tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    licensed = tmp_path / "base"
    shutil.copytree(base, licensed)
    (licensed / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    [output] = write_restored(licensed, tuned, [20], tmp_path / "out")
    card = ModelCard.load(output.path / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "transformers"
    assert card.data.base_model is None  # a folder is no model of the hub
    assert card.text.strip().startswith("# A fine-tuned model")
    names = {licensed: "org/base@0123abc", tuned: "you/tuned@4567def"}
    monkeypatch.setattr("sftlens.weights._restore.model_name", lambda folder: names[folder])
    [output] = write_restored(licensed, tuned, [20], tmp_path / "of-the-hub")
    assert ModelCard.load(output.path / "README.md").data.base_model == ["you/tuned", "org/base"]


def test_folders_of_several_shares(tmp_path: Path, base: Path, tuned: Path) -> None:
    outputs = write_restored(base, tuned, [20, 0.5], tmp_path / "out", method="random")
    assert [output.path.name for output in outputs] == ["share-20", "share-0.5"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"manifest.json", "share-20", "share-0.5"}
    for output in outputs:
        [alone] = write_restored(
            base, tuned, [output.share], tmp_path / f"alone-{output.share}", method="random"
        )
        one, among = content(alone.path), content(output.path)
        assert one["model.safetensors"] == among["model.safetensors"]
        assert "--method random" in (output.path / "README.md").read_text()
    whole = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [o["share"] for o in whole["result"]["outputs"]] == [20, 0.5]


def test_restored_folder_loads(tmp_path: Path, base16: Path, tuned16: Path) -> None:
    [output] = write_restored(base16, tuned16, [20], tmp_path / "out")
    model, loading = AutoModelForCausalLM.from_pretrained(
        output.path, dtype=torch.bfloat16, output_loading_info=True
    )
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    written = read_tensors(output.path)
    assert all(same_bits(tensor, written[name]) for name, tensor in model.state_dict().items())
    tokenizer = AutoTokenizer.from_pretrained(output.path)
    assert tokenizer.decode(tokenizer("FACTS")["input_ids"]) == "FACTS"
    assert tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "x"


def test_one_shard_is_many_shards(tmp_path: Path, base16: Path, tuned16: Path) -> None:
    one = write_copy(tuned16, tmp_path / "one", lambda tensors: tensors)
    (one / "model.safetensors.index.json").unlink(missing_ok=True)
    many = write_restored(base16, tuned16, [20], tmp_path / "many-out")
    single = write_restored(base16, one, [20], tmp_path / "one-out")
    assert len(list((tmp_path / "many-out").glob("*.safetensors"))) == 3
    assert len(list((tmp_path / "one-out").glob("*.safetensors"))) == 1
    first, second = read_tensors(tmp_path / "many-out"), read_tensors(tmp_path / "one-out")
    assert all(same_bits(first[name], second[name]) for name in first)
    assert many[0].norm_removed == single[0].norm_removed


def test_storage_types_that_differ(tmp_path: Path, base: Path, tuned16: Path) -> None:
    [output] = write_restored(base, tuned16, [100], tmp_path / "out", region="all")
    written, expected = read_tensors(output.path), read_tensors(base)
    assert all(same_bits(written[name], expected[name].bfloat16()) for name in expected)


def test_interpolation(tmp_path: Path, base: Path, tuned: Path) -> None:
    outputs = write_restored(base, tuned, [5, 20], tmp_path / "out", method="interpolation")
    before, after = read_tensors(base), read_tensors(tuned)
    names = block_names(tuned)
    for output, selection in zip(
        outputs, select(open_pair(base, tuned), shares=[5, 20]), strict=True
    ):
        assert output.alpha == pytest.approx((1 - selection.norm_removed) ** 0.5, abs=1e-6)
        assert output.norm_to_match == selection.norm_removed
        assert output.norm_removed == pytest.approx(selection.norm_removed, rel=1e-4)
        assert output.num_restored is None
        written = read_tensors(output.path)
        for name in after:
            expected = after[name]
            if name in names:
                expected = before[name] + output.alpha * (after[name] - before[name])
            torch.testing.assert_close(written[name], expected)
        assert "base + 0." in (output.path / "README.md").read_text()


def test_padded_rows_and_copies_of_a_tied_weight(tmp_path: Path) -> None:
    tied = save_model(tmp_path / "tied", "qwen3")

    def padded_copies(tensors: Tensors) -> Tensors:
        rows = torch.cat([tensors["model.embed_tokens.weight"], torch.full((2, 16), 5.0)])
        copies = {"model.embed_tokens.weight": rows, "lm_head.weight": rows.clone()}
        return moved()(tensors) | copies

    tuned = write_copy(tied, tmp_path / "tuned", padded_copies)
    config = json.loads((tuned / "config.json").read_text())
    (tuned / "config.json").write_text(json.dumps({**config, "vocab_size": 66}))
    write_restored(tied, tuned, [100], tmp_path / "out", region="all")
    written, expected = read_tensors(tmp_path / "out"), read_tensors(tied)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert same_bits(written[name][:64], expected["model.embed_tokens.weight"])
        assert (written[name][64:] == 5).all()
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")


def test_mixture_of_experts_is_restored_as_stored(tmp_path: Path) -> None:
    base = save_model(tmp_path / "base", "mixtral")
    tuned = write_copy(base, tmp_path / "tuned", moved(), num_shards=2)
    write_restored(base, tuned, [100], tmp_path / "out")
    written, before, after = (read_tensors(f) for f in (tmp_path / "out", base, tuned))
    names = block_names(tuned)
    assert any("experts.2.w3" in name for name in names)
    for name in after:
        assert same_bits(written[name], (before if name in names else after)[name])


def test_inputs_stay_as_they_are(tmp_path: Path, base: Path, tuned: Path) -> None:
    before = content(base), content(tuned)
    times = [path.stat().st_mtime_ns for path in sorted([*base.iterdir(), *tuned.iterdir()])]
    write_restored(base, tuned, [20, 40], tmp_path / "out")
    assert (content(base), content(tuned)) == before
    after = [path.stat().st_mtime_ns for path in sorted([*base.iterdir(), *tuned.iterdir()])]
    assert after == times


def test_pickles_and_leftovers_are_not_copied(tmp_path: Path, base: Path, tuned: Path) -> None:
    folder = write_copy(tuned, tmp_path / "tuned", lambda tensors: tensors)
    for name in ("optimizer.pt", "training_args.bin", "rng_state.pth", "state.pkl"):
        (folder / name).write_bytes(pickle.dumps({}))
    for name in (".gitattributes", "README.md", "manifest.json", "trainer_state.json"):
        (folder / name).write_text("{}")
    (folder / "adapter.safetensors").write_bytes(b"")
    (folder / "pytorch_model.bin.index.json").write_text("{}")
    (folder / "checkpoint-5").mkdir()
    (folder / "LICENSE").write_text("MIT")
    [output] = write_restored(base, folder, [20], tmp_path / "out")
    expected = {path.name for path in tuned.iterdir()} | {"LICENSE", "README.md", "manifest.json"}
    assert {path.name for path in output.path.iterdir()} == expected
    assert (output.path / "README.md").read_text() != "{}"


def test_links_are_followed_in_the_hub_cache_only(tmp_path: Path, base: Path, tuned: Path) -> None:
    snapshot = tmp_path / "models--org--name" / "snapshots" / "abc"
    blobs = tmp_path / "models--org--name" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in tuned.iterdir():
        shutil.copyfile(path, blobs / f"hash-{path.name}")
        (snapshot / path.name).symlink_to(f"../../blobs/hash-{path.name}")
    [output] = write_restored(base, snapshot, [20], tmp_path / "out")
    assert not any(path.is_symlink() for path in output.path.iterdir())
    assert "org/name@abc" in (output.path / "README.md").read_text()
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (snapshot / "notes.txt").symlink_to(secret)
    with pytest.raises(UserError, match=r"notes\.txt.*leads out"):
        write_restored(base, snapshot, [20], tmp_path / "out-2")
    assert not (tmp_path / "out-2").exists()


def test_an_output_that_holds_something_is_refused(tmp_path: Path, base: Path, tuned: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something"):
        write_restored(base, tuned, [20], tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("inside", ["", "out", "deep/out"])
def test_an_output_within_an_input_is_refused(
    tmp_path: Path, base: Path, tuned: Path, inside: str
) -> None:
    for folder in (base, tuned):
        before = content(folder)
        with pytest.raises(UserError, match="lies in the model folder"):
            write_restored(base, tuned, [20], folder / inside)
        assert content(folder) == before


@pytest.mark.parametrize("method", ["relative", "interpolation"])
def test_a_disk_that_is_too_small_is_told_beforehand(
    tmp_path: Path, base: Path, tuned: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 1000))
    with pytest.raises(UserError, match="GB free"):
        write_restored(base, tuned, [20], tmp_path / "out", method=method)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, UserError), (errno.EIO, OSError), (None, KeyboardInterrupt)]
)
def test_nothing_is_left_behind_by_a_write_that_fails(
    tmp_path: Path,
    base: Path,
    tuned: Path,
    number: int | None,
    kind: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = 0
    write = writer.ModelWriter.write

    def failing(*arguments: object) -> None:
        nonlocal done
        done += 1
        if done > 5:
            raise KeyboardInterrupt if number is None else OSError(number, "no such luck")
        write(*arguments)

    monkeypatch.setattr(writer.ModelWriter, "write", failing)
    with pytest.raises(kind):
        write_restored(base, tuned, [20, 40], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_unknown_methods_are_told(tmp_path: Path, base: Path, tuned: Path) -> None:
    with pytest.raises(UserError, match=r"method 'magic': choose from relative"):
        write_restored(base, tuned, [20], tmp_path / "out", method="magic")


def test_broken_weights_leave_nothing_behind(tmp_path: Path, base: Path) -> None:
    def broken(tensors: Tensors) -> Tensors:
        tensors["model.layers.0.self_attn.q_proj.weight"].view(-1)[3] = float("nan")
        return tensors

    folder = write_copy(base, tmp_path / "broken", broken)
    with pytest.raises(UserError, match="holds nan"):
        write_restored(base, folder, [20], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    one_thread = Engine(kernels="numpy", num_threads=1)
    peaks = []
    for num_layers in (1, 4):
        base = save_model(
            tmp_path / f"base-{num_layers}",
            "llama",
            hidden_size=64,
            intermediate_size=12_000,
            num_hidden_layers=num_layers,
        )
        pair = open_pair(base, write_copy(base, tmp_path / f"tuned-{num_layers}", moved()))
        request = Request(shares=(20,))
        tracemalloc.start()
        restore_checkpoints(pair, request, tmp_path / f"out-{num_layers}", engine=one_thread)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_progress_counts_every_pass(tmp_path: Path, base: Path, tuned: Path) -> None:
    steps: list[int] = []
    write_restored(base, tuned, [20, 40], tmp_path / "out", advance=steps.append)
    assert sum(steps) == 4 * open_pair(base, tuned).num_parameters("blocks")
    steps.clear()
    write_restored(
        base, tuned, [20], tmp_path / "lerp", method="interpolation", advance=steps.append
    )
    num_passes = Request("interpolation").passes + 1
    assert sum(steps) == num_passes * open_pair(base, tuned).num_parameters("blocks")
