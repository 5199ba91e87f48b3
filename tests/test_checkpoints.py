"""Model folders: found, and checked by their headers before a weight is read."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from sftlens import checkpoints
from sftlens.checkpoints import (
    is_adapter,
    model_identity,
    model_name,
    open_adapter,
    open_checkpoint,
    resolve_model,
    weights_hash,
)
from sftlens.errors import UserError
from sftlens.headers import DTYPE_BYTES

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def tensors(*names: str) -> dict[str, np.ndarray]:
    return {name: np.arange(6, dtype=np.float32).reshape(2, 3) for name in names}


def raw(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(begin: int, end: int, shape: list[int] | None = None, dtype: str = "U8") -> dict:
    return {"dtype": dtype, "shape": shape or [end - begin], "data_offsets": [begin, end]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text("{}")
    return path


def single(folder: Path, content: bytes) -> Path:
    (folder / SINGLE).write_bytes(content)
    return folder


def sharded(folder: Path, shards: dict[str, bytes], weight_map: Any) -> Path:
    for file, content in shards.items():
        (folder / file).write_bytes(content)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        open_checkpoint(folder)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_a_single_file(folder: Path) -> None:
    checkpoint = open_checkpoint(single(folder, save(tensors("b", "a"))))
    assert checkpoint.files == (SINGLE,)
    assert checkpoint.index is None
    assert list(checkpoint.tensors) == ["a", "b"]
    info = checkpoint.tensors["b"]
    assert (info.file, info.dtype, info.shape, info.num_entries) == (SINGLE, "F32", (2, 3), 6)
    stored = (folder / SINGLE).read_bytes()[info.begin : info.end]
    assert stored == tensors("b")["b"].tobytes()


def test_shards(folder: Path) -> None:
    shards = {"s-2.safetensors": save(tensors("a", "c")), "s-1.safetensors": save(tensors("b"))}
    files = {"a": "s-2.safetensors", "b": "s-1.safetensors", "c": "s-2.safetensors"}
    checkpoint = open_checkpoint(sharded(folder, shards, files))
    assert checkpoint.files == ("s-1.safetensors", "s-2.safetensors")
    assert checkpoint.index == INDEX
    assert {name: info.file for name, info in checkpoint.tensors.items()} == files


def test_the_hash_is_that_of_sha256sum(folder: Path) -> None:
    shards = {"s-2.safetensors": save(tensors("a")), "s-1.safetensors": save(tensors("b"))}
    sharded(folder, shards, {"a": "s-2.safetensors", "b": "s-1.safetensors"})
    lines = "".join(
        f"{hashlib.sha256(shards[file]).hexdigest()}  {file}\n" for file in sorted(shards)
    )
    expected = hashlib.sha256(lines.encode()).hexdigest()
    assert weights_hash(open_checkpoint(folder)) == expected


def test_reading_large_weights_shows_progress(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = {"s-1.safetensors": save(tensors("a")), "s-2.safetensors": save(tensors("b"))}
    checkpoint = open_checkpoint(
        sharded(folder, shards, {"a": "s-1.safetensors", "b": "s-2.safetensors"})
    )
    expected = weights_hash(checkpoint)
    assert capsys.readouterr().err == ""  # soon done
    monkeypatch.setattr(checkpoints, "_LONG_TO_READ", 1)
    assert weights_hash(checkpoint) == expected
    num_bytes = sum(map(len, shards.values()))
    assert capsys.readouterr().err.startswith(f"reading the weights: {num_bytes} done in ")


@pytest.mark.parametrize(
    "file",
    [
        *("../secret.safetensors", "/etc/x.safetensors", "sub/x.safetensors"),
        *("..\\x.safetensors", "C:x.safetensors", "..", ".", "", "x\0.safetensors", 3, None, ["x"]),
    ],
)
def test_a_weight_map_cannot_leave_the_folder(folder: Path, file: Any) -> None:
    (folder.parent / "secret.safetensors").write_bytes(save(tensors("a")))
    refused(sharded(folder, {}, {"a": file}), INDEX, "'a'", "plain name")


@pytest.mark.parametrize("content", ["[]", "3", "{", "{}", '{"weight_map": []}', "[" * 100_000])
def test_an_index_that_is_none(folder: Path, content: str) -> None:
    (folder / INDEX).write_text(content)
    refused(folder, INDEX)


def test_an_index_of_pickles(folder: Path) -> None:
    refused(sharded(folder, {"a.bin": b"x"}, {"a": "a.bin"}), "'a.bin'", "no safetensors file")


def test_a_missing_shard(folder: Path) -> None:
    shards = {"s-1.safetensors": save(tensors("a"))}
    refused(
        sharded(folder, shards, {"a": "s-1.safetensors", "b": "s-2.safetensors"}),
        *("s-2.safetensors", "is missing", "'b'"),
    )


def test_a_tensor_that_is_not_where_the_index_says(folder: Path) -> None:
    shards = {"s-1.safetensors": save(tensors("a")), "s-2.safetensors": save(tensors("c"))}
    weight_map = {"a": "s-1.safetensors", "b": "s-2.safetensors", "c": "s-2.safetensors"}
    refused(sharded(folder, shards, weight_map), "s-2.safetensors", "lacks tensor 'b'")
    weight_map = {"a": "s-2.safetensors", "c": "s-1.safetensors"}
    refused(sharded(folder, shards, weight_map), "lacks tensor 'a'")


def test_a_tensor_in_two_shards(folder: Path) -> None:
    shards = {"s-1.safetensors": save(tensors("a", "b")), "s-2.safetensors": save(tensors("b"))}
    weight_map = {"a": "s-1.safetensors", "b": "s-2.safetensors"}
    refused(sharded(folder, shards, weight_map), "'b'", "s-1.safetensors", "s-2.safetensors")


@pytest.mark.parametrize("cut", [1, 20, 1000])
def test_a_truncated_file(folder: Path, cut: int) -> None:
    whole = save(tensors("a", "b"))
    refused(single(folder, whole[: max(0, len(whole) - cut)]), SINGLE)


def test_a_file_that_is_too_long(folder: Path) -> None:
    refused(single(folder, save(tensors("a")) + b"\0"), SINGLE, "longer", "'a'")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["truncated"]),
        (b"\xff" * 8, ["header of"]),
        ((1 << 62).to_bytes(8, "little") + b"{}", ["header of"]),
        (raw(b"\xff\xfe"), ["broken header"]),
        (raw(b"{"), ["broken header"]),
        (raw([]), ["broken header"]),
        (raw(b'{"a":' * 50_000 + b"1"), ["broken header"]),
        (raw({"__metadata__": []}), ["__metadata__"]),
        (raw({"a": 3}), ["'a'", "broken"]),
        (raw({"a": {"dtype": "F32", "shape": [1]}}), ["'a'", "broken"]),
        (raw({"a": entry(0, 4) | {"shape": [-4]}}, b"1234"), ["'a'", "broken"]),
        (raw({"a": entry(0, 4) | {"shape": [4.0]}}, b"1234"), ["'a'", "broken"]),
        (raw({"a": entry(0, 1) | {"shape": [True]}}, b"1"), ["'a'", "broken"]),
        (raw({"a": entry(0, 4) | {"data_offsets": [0]}}, b"1234"), ["'a'", "broken"]),
        (raw({"a": entry(4, 0, [4])}, b"1234"), ["'a'", "4 bytes"]),
        (raw({"a": entry(0, 4, [4], "F32")}, b"1234"), ["'a'", "16 bytes"]),
        (raw({"a": entry(0, 4, [8], "F4")}, b"1234"), ["'a'", "F4"]),
        (raw({"a": entry(0, 4), "b": entry(2, 6)}, b"123456"), ["'b'", "'a'", "overlap"]),
        (raw({"a": entry(0, 4), "b": entry(0, 4)}, b"1234"), ["'a'", "'b'", "overlap"]),
        (raw({"a": entry(0, 2), "b": entry(3, 4)}, b"1234"), ["'b'", "gap"]),
        (raw({"a": entry(0, 1 << 40)}, b"1234"), ["truncated", "'a'"]),
        (
            raw(b'{"a":' + json.dumps(entry(0, 1)).encode() + b',"a":' + b"3}", b"1"),
            ["'a'", "twice"],
        ),
    ],
)
def test_broken_headers(folder: Path, content: bytes, words: list[str]) -> None:
    refused(single(folder, content), SINGLE, *words)


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.text(max_size=4),
        st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["U8", "F32", "BF16", "F9"]),
                "shape": st.lists(st.integers(-1, 3), max_size=2),
                "data_offsets": st.lists(st.integers(-1, 12), min_size=1, max_size=3),
            }
        )
        | st.none(),
        max_size=3,
    ),
    st.binary(max_size=12),
)
def test_any_header_is_read_or_refused(folder: Path, header: dict, data: bytes) -> None:
    """Never another error; and what is read, the safetensors library reads as well."""
    single(folder, raw(header, data))
    try:
        checkpoint = open_checkpoint(folder)
    except UserError:
        return
    assert sum(info.end - info.begin for info in checkpoint.tensors.values()) == len(data)
    if not any(info.dtype == "BF16" for info in checkpoint.tensors.values()):
        assert set(load((folder / SINGLE).read_bytes())) == set(checkpoint.tensors)


@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(st.text(max_size=3), st.text(max_size=6) | st.integers(), max_size=3))
def test_any_weight_map_of_no_safetensors_is_refused(folder: Path, weight_map: dict) -> None:
    refused(sharded(folder, {}, weight_map), INDEX)


def test_every_storage_type_has_its_size() -> None:
    for name, dtype in (("F32", np.float32), ("I64", np.int64), ("BOOL", np.bool_)):
        assert DTYPE_BYTES[name] == np.dtype(dtype).itemsize


def test_a_local_folder(folder: Path) -> None:
    single(folder, save(tensors("a")))
    assert resolve_model(folder) == folder
    assert resolve_model(str(folder)) == folder
    assert model_name(folder) == str(folder)


@pytest.mark.parametrize("source", ["./nothing", "/no/such/folder", "~/no-such-folder", "a/b/c"])
def test_a_path_that_does_not_exist(source: str) -> None:
    with pytest.raises(UserError, match="no such folder"):
        resolve_model(source)
    with pytest.raises(UserError, match="no such folder"):
        resolve_model(Path(source))


def test_a_file_is_no_folder(folder: Path) -> None:
    with pytest.raises(UserError, match="is a file"):
        resolve_model(folder / "config.json")


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    for read in (resolve_model, open_checkpoint):
        with pytest.raises(UserError, match=r"is no model folder.*config\.json"):
            read(tmp_path)


def test_an_adapter_is_taken_where_one_may_be(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(save(tensors("b", "a")))
    assert is_adapter(tmp_path)
    assert resolve_model(tmp_path, adapter=True) == tmp_path
    assert list(open_adapter(tmp_path).tensors) == ["a", "b"]
    for read in (resolve_model, open_checkpoint):
        with pytest.raises(UserError, match=r"PEFT adapter.*sftlens restore BASE .*--share 0"):
            read(tmp_path)


def test_where_an_adapter_may_be_a_model_may(folder: Path) -> None:
    with pytest.raises(UserError, match="no safetensors weights"):
        resolve_model(folder, adapter=True)
    with pytest.raises(UserError, match=r"no PEFT adapter.*adapter_config\.json"):
        open_adapter(folder)
    assert resolve_model(single(folder, save(tensors("a"))), adapter=True) == folder


def test_an_adapter_without_weights(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="no adapter weights"):
        resolve_model(tmp_path, adapter=True)
    (tmp_path / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match=r"pickled adapter weights only.*save_file"):
        resolve_model(tmp_path, adapter=True)
    (tmp_path / "adapter_model.safetensors").write_bytes(save(tensors("a"))[:20])
    with pytest.raises(UserError, match=r"adapter_model\.safetensors: is truncated"):
        open_adapter(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickles_are_refused_with_a_remedy(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"pickle")
    with pytest.raises(UserError, match=rf"pickled weights only \({name}\).*save_pretrained"):
        resolve_model(folder)


def test_a_folder_without_weights(folder: Path) -> None:
    with pytest.raises(UserError, match="no safetensors weights"):
        resolve_model(folder)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with one model, and no network."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    revision = "0123456789abcdef0123456789abcdef01234567"
    home = cache / "models--org--name"
    snapshot = home / "snapshots" / revision
    for made in (snapshot, home / "blobs", home / "refs"):
        made.mkdir(parents=True)
    for reference in ("main", "v2"):
        (home / "refs" / reference).write_text(revision)
    contents = {"config.json": b"{}", SINGLE: save(tensors("a"))}
    for name, content in contents.items():
        blob = home / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/{blob.name}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot


@pytest.mark.parametrize("source", ["org/name", "org/name@main", "org/name@v2"])
def test_a_hub_model_from_the_cache(hub_cache: Path, source: str) -> None:
    folder = resolve_model(source)
    assert folder == hub_cache
    assert list(open_checkpoint(folder).tensors) == ["a"]
    assert model_name(folder) == f"org/name@{hub_cache.name}"


def test_a_hub_model_by_its_commit(hub_cache: Path) -> None:
    assert resolve_model(f"org/name@{hub_cache.name}") == hub_cache


def test_a_hub_adapter_from_the_cache(hub_cache: Path) -> None:
    for path in (hub_cache / "config.json", hub_cache / SINGLE):
        path.rename(path.with_name(f"adapter_{path.name}"))
    assert resolve_model("org/name", adapter=True) == hub_cache
    assert model_name(hub_cache) == f"org/name@{hub_cache.name}"
    with pytest.raises(UserError, match="org/name: is a PEFT adapter"):
        resolve_model("org/name")


@pytest.mark.parametrize("source", ["org/other", "org/name@v3", "gpt3"])
def test_a_hub_model_that_cannot_be_reached(hub_cache: Path, source: str) -> None:
    with pytest.raises(UserError, match="no model of this id can be reached") as caught:
        resolve_model(source)
    assert "\n" not in str(caught.value)


def test_only_safe_files_are_fetched(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    single(folder, save(tensors("a")))
    asked: dict[str, Any] = {}

    def fetch(name: str, **settings: Any) -> str:
        asked.update(settings, name=name)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert resolve_model("org/name@refs/pr/1") == folder
    assert (asked["name"], asked["revision"]) == ("org/name", "refs/pr/1")
    wanted = ["config.json", "tokenizer.json", SINGLE, INDEX, "model-00001-of-00002.safetensors"]
    wanted += ["tokenizer.model", "chat_template.jinja", "generation_config.json", "merges.txt"]
    left = ["pytorch_model.bin", "optimizer.pt", "modeling_x.py", "onnx/model.safetensors"]
    wanted += ["adapter_config.json", "adapter_model.safetensors", "README.md"]
    left += ["adapter_model.bin", "checkpoint-5/adapter_model.safetensors", "training_args.bin"]
    left += [
        "original/README.md",
        "consolidated.safetensors",
        "model.gguf",
        "original/tokenizer.model",
        "flax.msgpack",
    ]
    found = filter_repo_objects(
        [*wanted, *left],
        allow_patterns=asked["allow_patterns"],
        ignore_patterns=asked["ignore_patterns"],
    )
    assert list(found) == wanted


def test_importing_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, sftlens.checkpoints; "
        "print([m for m in ('torch', 'transformers', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run(  # a fresh interpreter
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_identity_tells_what_a_model_answers_by(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(save({"w": np.zeros(2)}))
    (folder / "config.json").write_text('{"rope_theta": 10000}')
    before = model_identity(folder)
    (folder / "README.md").write_text("a card")
    assert model_identity(folder) == before
    (folder / "config.json").write_text('{"rope_theta": 20000}')
    after = model_identity(folder)
    assert after["weights"] == before["weights"]
    assert after["files"] != before["files"]
