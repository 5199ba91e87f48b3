"""Alignment: what may differ between two checkpoints, and what may not."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import (
    configured,
    moved,
    read_tensors,
    same_bits,
    save_model,
    tiny_config,
    write_copy,
    write_restored,
)
from transformers import AutoModelForCausalLM

from sftlens.checkpoints import resolve_model
from sftlens.errors import UserError
from sftlens.weights import open_pair, select

Tensors = dict[str, torch.Tensor]
Change = Callable[[Tensors], Tensors]


def without(name: str) -> Change:
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name}


def cast(dtype: torch.dtype) -> Change:
    return lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()}


def test_regions_hold_their_tensors(base: Path, tuned: Path) -> None:
    pair = open_pair(base, tuned)
    embeddings = {tensor.name for tensor in pair.region("embeddings")}
    assert embeddings == {"model.embed_tokens.weight", "lm_head.weight"}
    assert {tensor.name for tensor in pair.region("all")} == set(read_tensors(tuned))
    assert [t.name for t in pair.region("all")] == sorted(read_tensors(tuned))
    assert pair.notes == ()
    with pytest.raises(UserError, match=r"region 'heads': there is none; choose from blocks, "):
        pair.region("heads")


def test_another_architecture_names_the_tensors(tmp_path: Path, base: Path) -> None:
    other = save_model(tmp_path / "gpt2", "gpt2")
    with pytest.raises(UserError, match=r"model\.\S+'.* more") as caught:
        open_pair(base, other)
    assert "llama" in str(caught.value)
    assert "gpt2" in str(caught.value)


def test_other_shapes_name_the_tensors(tmp_path: Path, base: Path) -> None:
    wider = save_model(tmp_path / "wider", "llama", intermediate_size=32)
    with pytest.raises(UserError, match=r"6 tensors: model\.layers\.0\.mlp\.down_proj"):
        open_pair(base, wider)


def test_missing_layers_name_the_tensors(tmp_path: Path, base: Path) -> None:
    deeper = save_model(tmp_path / "deeper", "llama", num_hidden_layers=3)
    with pytest.raises(UserError, match=r"the base lacks 9 tensors: 'model\.layers\.2"):
        open_pair(base, deeper)
    with pytest.raises(UserError, match=r"the tuned model lacks 9 tensors: 'model\.layers\.2"):
        open_pair(deeper, base)


def test_padded_vocabulary_compares_the_common_rows(tmp_path: Path, base: Path) -> None:
    def padded(tensors: Tensors) -> Tensors:
        rows = {"model.embed_tokens.weight", "lm_head.weight"}
        extra = torch.full((2, 16), 5.0)
        return {
            name: torch.cat([tensor, extra]) if name in rows else tensor
            for name, tensor in moved()(tensors).items()
        }

    tuned = configured(write_copy(base, tmp_path / "padded", padded), vocab_size=66)
    pair = open_pair(base, tuned)
    assert pair.num_parameters("embeddings") == 2 * 64 * 16
    assert len(pair.notes) == 2
    assert "64 rows in the base and 66" in pair.notes[0]
    back = open_pair(tuned, base)
    assert back.num_parameters("embeddings") == 2 * 64 * 16
    assert "left out" in back.notes[0]


def test_a_padded_head_and_a_tied_base(tmp_path: Path, base: Path) -> None:
    def padded(tensors: Tensors) -> Tensors:
        extra = torch.full((2, 16), 5.0)
        rows = ("model.embed_tokens.weight", "lm_head.weight")
        return tensors | {name: torch.cat([tensors[name], extra]) for name in rows}

    tied = write_copy(base, tmp_path / "tied", without("lm_head.weight"))
    configured(tied, tie_word_embeddings=True)
    tuned = configured(write_copy(base, tmp_path / "padded", padded), vocab_size=66)
    pair = open_pair(tied, tuned)
    assert pair.num_parameters("embeddings") == 2 * 64 * 16
    assert sum("66 in the tuned model" in note for note in pair.notes) == 2
    assert pair.tensors["lm_head.weight"].base.shape == (64, 16)


def test_names_without_the_prefix_of_the_model(tmp_path: Path) -> None:
    tuned = save_model(tmp_path / "tuned", "qwen3", seed=1)
    (tuned / "model.safetensors").rename(tmp_path / "whole.safetensors")
    whole = load_file(tmp_path / "whole.safetensors")
    inner = {name.removeprefix("model."): tensor for name, tensor in whole.items()}
    inner.pop("lm_head.weight", None)
    save_file(inner, tuned / "model.safetensors")
    base = save_model(tmp_path / "base", "qwen3")
    for first, second in ((base, tuned), (tuned, base)):
        pair = open_pair(first, second)
        assert pair.num_parameters("all") == sum(tensor.numel() for tensor in inner.values())
        assert {t.role.layer for t in pair.region("blocks")} == {0, 1}
        assert pair.notes == ()


def test_a_tied_base_and_a_tuned_model_with_a_head(tmp_path: Path, base: Path) -> None:
    tied = write_copy(base, tmp_path / "tied", without("lm_head.weight"))
    configured(tied, tie_word_embeddings=True)
    pair = open_pair(tied, base)
    head = pair.tensors["lm_head.weight"]
    assert head.base == pair.base.tensors["model.embed_tokens.weight"]
    assert any("ties its head" in note for note in pair.notes)
    back = open_pair(base, tied)
    assert "lm_head.weight" not in back.tensors
    assert any("not its embeddings, and left out" in note for note in back.notes)


def test_a_head_is_tied_by_the_configuration_only(tmp_path: Path, base: Path) -> None:
    """Without it transformers would make up a head for the side that stores none."""

    headless = write_copy(base, tmp_path / "headless", without("lm_head.weight"))
    for pair, side in (((headless, base), "base"), ((base, headless), "tuned model")):
        with pytest.raises(UserError, match=rf"the {side} lacks 1 tensor: 'lm_head\.weight'"):
            open_pair(*pair)


def test_a_tied_head_with_a_bias_of_its_own(tmp_path: Path) -> None:
    untied = save_model(tmp_path / "untied", "gptj")

    tied = write_copy(untied, tmp_path / "tied", without("lm_head.weight"))
    configured(tied, tie_word_embeddings=True)
    pair = open_pair(tied, untied)
    assert {t.name for t in pair.tensors.values() if t.role.kind == "head"} == {
        "lm_head.weight",
        "lm_head.bias",
    }
    assert pair.tensors["lm_head.weight"].base.shape == (64, 16)
    with pytest.raises(UserError, match=r"the tuned model lacks 1 tensor: 'lm_head\.bias'"):
        open_pair(untied, write_copy(tied, tmp_path / "cut", without("lm_head.bias")))


def test_a_stored_copy_of_a_tied_weight_counts_once(tmp_path: Path) -> None:
    tied = save_model(tmp_path / "tied", "qwen3")

    def with_copy(tensors: Tensors) -> Tensors:
        return tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}

    base = write_copy(tied, tmp_path / "base", with_copy)
    tuned = write_copy(tied, tmp_path / "tuned", lambda t: with_copy(moved()(t)))
    for first in (base, tied):
        pair = open_pair(first, tuned)
        assert pair.twins == {"lm_head.weight": "model.embed_tokens.weight"}
        assert pair.num_parameters("embeddings") == 64 * 16
        assert any("stored copy" in note for note in pair.notes)


def test_integers_are_compared_and_never_selected(tmp_path: Path, base: Path) -> None:
    def with_integers(value: int) -> Change:
        return lambda tensors: tensors | {"model.counter": torch.full((3,), value)}

    first = write_copy(base, tmp_path / "first", with_integers(1))
    second = write_copy(base, tmp_path / "second", with_integers(2))
    assert open_pair(first, first).notes == ()
    pair = open_pair(first, second)
    assert "model.counter" not in pair.tensors
    assert any("'model.counter' (I64) differs" in note for note in pair.notes)


def test_shards_make_no_difference(tmp_path: Path, base: Path, tuned: Path) -> None:
    shards = write_copy(tuned, tmp_path / "shards", lambda tensors: tensors, num_shards=4)
    whole, parted = open_pair(base, tuned), open_pair(base, shards)
    assert list(whole.tensors) == list(parted.tensors)
    assert len({tensor.tuned.file for tensor in parted.tensors.values()}) == 4
    assert select(whole, shares=[20])[0].tensors == select(parted, shares=[20])[0].tensors


DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@pytest.mark.parametrize("tuned_dtype", DTYPES, ids=str)
@pytest.mark.parametrize("base_dtype", DTYPES, ids=str)
def test_storage_types_may_differ(
    tmp_path: Path, base16: Path, base_dtype: torch.dtype, tuned_dtype: torch.dtype
) -> None:
    """Values that every type holds: only what moved has changed, whatever the types."""
    steps = write_copy(base16, tmp_path / "steps", lambda t: {n: v.sign() for n, v in t.items()})

    def with_one_moved(tensors: Tensors) -> Tensors:
        tensors["model.layers.0.mlp.up_proj.weight"].view(-1)[7] += 1
        return cast(tuned_dtype)(tensors)

    first = write_copy(steps, tmp_path / "first", cast(base_dtype))
    second = write_copy(steps, tmp_path / "second", with_one_moved)
    pair = open_pair(first, second)
    assert len(pair.notes) == len(pair.casts) == (base_dtype != tuned_dtype)
    assert select(pair, shares=[1], region="all")[0].num_changed == 1
    (out,) = write_restored(first, second, [100], tmp_path / "out", region="all")
    for name, tensor in read_tensors(out.path).items():
        assert same_bits(tensor, read_tensors(steps)[name].to(tuned_dtype))


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
@pytest.mark.parametrize("side", ["base", "tuned"])
def test_floats_of_eight_bits_are_refused(
    tmp_path: Path, base: Path, dtype: torch.dtype, side: str
) -> None:
    """Published without a quantization_config, or with another name for it."""
    eight = write_copy(base, tmp_path / "eight", cast(dtype))
    folders = {"base": (eight, base), "tuned": (base, eight)}
    for pair in (folders[side], (eight, eight)):
        with pytest.raises(UserError, match=r"eight: holds quantised weights.*21 tensors: .*F8_E"):
            open_pair(*pair)


def test_weights_in_integers_are_refused(tmp_path: Path, base: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"

    def in_bytes(tensors: Tensors) -> Tensors:
        return tensors | {name: (tensors[name] * 100).to(torch.int8)}

    eight = write_copy(base, tmp_path / "eight", in_bytes)
    with pytest.raises(UserError, match=rf"quantised.*1 tensor: '{name}' \(I8\)"):
        open_pair(eight, eight)


def test_buffers_that_the_model_computes_are_told_and_ignored(tmp_path: Path, base: Path) -> None:
    buffer = "model.layers.0.self_attn.rotary_emb.inv_freq"

    def with_buffer(tensors: Tensors) -> Tensors:
        return tensors | {buffer: torch.ones(4)}

    older = write_copy(base, tmp_path / "older", with_buffer)
    for first, second, note in (
        (older, base, f"only the base stores 1 tensor: '{buffer}', not loaded: left out"),
        (base, older, f"only the tuned model stores 1 tensor: '{buffer}', not loaded: kept"),
    ):
        pair = open_pair(first, second)
        assert pair.notes == (note,)
        assert buffer not in pair.tensors
    same = open_pair(older, older)
    assert buffer not in {tensor.name for tensor in same.region("blocks")}
    assert same.notes == ()


def test_tensors_of_no_and_of_one_entry(tmp_path: Path, base: Path) -> None:
    def with_small(value: float) -> Change:
        return lambda tensors: {
            **tensors,
            "model.none.weight": torch.empty(0, 5),
            "model.one.weight": torch.full((1,), value),
            "model.scalar": torch.tensor(value),
        }

    first = write_copy(base, tmp_path / "first", with_small(1.0))
    second = write_copy(base, tmp_path / "second", with_small(2.0))
    pair = open_pair(first, second)
    sizes = {tensor.name: tensor.num_parameters for tensor in pair.tensors.values()}
    assert sizes["model.none.weight"] == 0
    assert sizes["model.one.weight"] == sizes["model.scalar"] == 1
    assert list(pair.pieces(pair.tensors["model.none.weight"])) == []
    selection = select(pair, shares=[100], region="all")[0]
    assert selection.num_changed == 2
    assert selection.tensors["model.none.weight"].num_restored == 0


def test_a_vocabulary_without_rows_is_refused(tmp_path: Path, base: Path) -> None:
    def emptied(tensors: Tensors) -> Tensors:
        return tensors | {"model.embed_tokens.weight": torch.empty(0, 16)}

    empty = write_copy(base, tmp_path / "empty", emptied)
    for pair in ((empty, base), (base, empty)):
        with pytest.raises(
            UserError, match=r"of other shape or type 1 tensor: model\.embed_tokens"
        ):
            open_pair(*pair)


MIXTURES = ["deepseek_v3", "jamba", "lfm2_moe", "mixtral", "qwen2_moe", "qwen3_next"]


@pytest.mark.parametrize("name", MIXTURES)
def test_experts_one_by_one_and_packed(tmp_path: Path, name: str) -> None:
    """As transformers saves them by itself, and with save_original_format=False."""
    model = AutoModelForCausalLM.from_config(tiny_config(name))
    model.save_pretrained(tmp_path / "parts")
    model.save_pretrained(tmp_path / "packed", save_original_format=False)
    pairs = {}
    for form in ("parts", "packed"):
        tuned = write_copy(tmp_path / form, tmp_path / f"{form}-tuned", moved())
        pairs[form] = open_pair(tmp_path / form, tuned)
        assert pairs[form].notes == ()
    for region in ("blocks", "attention", "mlp", "embeddings", "all", "mlp:1"):
        sizes = {pair.num_parameters(region) for pair in pairs.values()}
        assert len(sizes) == 1
    labels = {
        form: {t.role.module for t in pair.region("mlp") if ".experts." in t.role.module}
        for form, pair in pairs.items()
    }
    assert labels["parts"].isdisjoint(labels["packed"])
    assert all(".experts.*." in label for label in labels["parts"])
    assert not any(set(label) & set("*0123456789") for label in labels["packed"])
    for first, second in (("parts", "packed"), ("packed", "parts")):
        with pytest.raises(UserError, match="same parameters in other pieces") as caught:
            open_pair(tmp_path / first, tmp_path / f"{second}-tuned")
        message = str(caught.value)
        assert re.search(r"experts\.0\.(w1|w2|down_proj|gate_proj)\.weight'", message)
        assert re.search(r"experts\.(down_proj|gate_up_proj)'", message)
        assert "save_original_format=False" in message
        assert "\n" not in message


@pytest.mark.parametrize("name", ["gpt_oss", "granitemoe", "jetmoe"])
def test_experts_that_are_packed_in_any_format(tmp_path: Path, name: str) -> None:
    model = AutoModelForCausalLM.from_config(tiny_config(name))
    model.save_pretrained(tmp_path / "original")
    model.save_pretrained(tmp_path / "own", save_original_format=False)
    pair = open_pair(tmp_path / "original", tmp_path / "own")
    assert select(pair, shares=[1], region="all")[0].num_changed == 0
    assert pair.num_parameters("all") == open_pair(
        tmp_path / "original", tmp_path / "original"
    ).num_parameters("all")


def test_models_of_the_hub_are_read_through_the_links_of_its_cache(
    tmp_path: Path, base: Path, tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    cache, commit = tmp_path / "hub", 40 * "a"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for folder, name in ((base, "base"), (tuned, "tuned")):
        home = cache / f"models--org--{name}"
        snapshot = home / "snapshots" / commit
        for made in (snapshot, home / "blobs", home / "refs"):
            made.mkdir(parents=True)
        (home / "refs" / "main").write_text(commit)
        for path in folder.iterdir():
            shutil.copyfile(path, home / "blobs" / f"blob-{path.name}")
            (snapshot / path.name).symlink_to(Path("../../blobs") / f"blob-{path.name}")
    hub = open_pair(resolve_model("org/base"), resolve_model(f"org/tuned@{commit}"))
    assert hub.tuned.folder.name == commit
    local = open_pair(base, tuned)
    assert select(hub, shares=[20])[0].tensors == select(local, shares=[20])[0].tensors


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("broken_side", ["base", "tuned model"])
def test_weights_that_are_no_numbers_are_named(
    tmp_path: Path, base: Path, tuned: Path, value: float, broken_side: str
) -> None:
    name = "model.layers.1.mlp.up_proj.weight"

    def broken(tensors: Tensors) -> Tensors:
        tensors[name].view(-1)[37] = value
        return tensors

    folder = write_copy(base, tmp_path / "broken", broken)
    pair = open_pair(folder, tuned) if broken_side == "base" else open_pair(base, folder)
    with pytest.raises(UserError, match=rf"{name}.*{broken_side}.*flat position 37"):
        select(pair, shares=[20])
    assert select(pair, shares=[20], region="embeddings")[0].num_restored > 0


def test_weights_beyond_comparison_are_named(tmp_path: Path, base: Path) -> None:
    def huge(tensors: Tensors) -> Tensors:
        tensors["model.layers.0.mlp.up_proj.weight"].view(-1)[5] = 3e38
        return tensors

    pair = open_pair(base, write_copy(base, tmp_path / "huge", huge))
    with pytest.raises(UserError, match=r"mlp\.up_proj\.weight' holds 3\.\d+e\+38 in the tuned"):
        select(pair, shares=[20])


@pytest.mark.parametrize("name", ["lm_head.weight", "model.layers.1.mlp.up_proj.weight"])
def test_what_both_sides_lack_is_refused(tmp_path: Path, base: Path, name: str) -> None:
    """A restoration of them would be a model that nothing loads."""
    folder = write_copy(base, tmp_path / "model", without(name))
    with pytest.raises(UserError, match=rf"missing or of another shape: {re.escape(name)} \("):
        open_pair(folder, folder)


def test_a_part_that_both_sides_lack_is_refused(tmp_path: Path) -> None:
    """One expert of several, which are one parameter in memory."""
    model = save_model(tmp_path / "whole", "mixtral")
    expert = next(name for name in read_tensors(model) if "experts.1." in name)
    folder = write_copy(model, tmp_path / "part", without(expert))
    with pytest.raises(UserError, match=r"missing or of another shape: model\.layers\.0\.mlp"):
        open_pair(folder, folder)


@pytest.mark.parametrize("sides", [("tuned",), ("base",), ("base", "tuned")])
def test_embeddings_stored_under_the_heads_name(tmp_path: Path, sides: tuple[str, ...]) -> None:
    """As safetensors' ``save_model`` may keep a tied pair; transformers loads it."""

    def under_head(tensors: Tensors) -> Tensors:
        return {name.replace("model.embed_tokens", "lm_head"): t for name, t in tensors.items()}

    base = save_model(tmp_path / "base", "llama", tie_word_embeddings=True)
    tuned = write_copy(base, tmp_path / "tuned", moved())
    stored = {
        name: write_copy(folder, tmp_path / f"{name}-stored", under_head)
        if name in sides
        else folder
        for name, folder in (("base", base), ("tuned", tuned))
    }
    pair = open_pair(stored["base"], stored["tuned"])
    (name,) = {"lm_head.weight", "model.embed_tokens.weight"} & pair.tensors.keys()
    assert pair.tensors[name].role.kind == "embedding"
    assert (name == "lm_head.weight") == ("tuned" in sides)
    (output,) = write_restored(
        stored["base"], stored["tuned"], [100], tmp_path / "out", region="all"
    )
    written = output.path
    assert written is not None
    assert read_tensors(written).keys() == read_tensors(stored["tuned"]).keys()
    loaded = AutoModelForCausalLM.from_pretrained(written).state_dict()
    original = AutoModelForCausalLM.from_pretrained(base).state_dict()
    assert all(same_bits(loaded[own], original[own]) for own in original)  # 100 % are the base
