"""Alignment: what may differ between two checkpoints, and what may not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_models import moved, read_tensors, save_model, write_copy

from sftlens.errors import UserError
from sftlens.weights import open_pair, select

Tensors = dict[str, torch.Tensor]


def configured(folder: Path, **settings: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return folder


def test_regions_hold_their_tensors(base: Path, tuned: Path) -> None:
    pair = open_pair(base, tuned)
    embeddings = {tensor.name for tensor in pair.region("embeddings")}
    assert embeddings == {"model.embed_tokens.weight", "lm_head.weight"}
    assert {tensor.name for tensor in pair.region("all")} == set(read_tensors(tuned))
    assert [t.name for t in pair.region("all")] == sorted(read_tensors(tuned))
    assert pair.notes == ()
    with pytest.raises(UserError, match="attention"):
        pair.region("attention")


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


def test_a_tied_base_and_a_tuned_model_with_a_head(tmp_path: Path, base: Path) -> None:
    def without_head(tensors: Tensors) -> Tensors:
        return {name: tensor for name, tensor in tensors.items() if name != "lm_head.weight"}

    tied = write_copy(base, tmp_path / "tied", without_head)
    configured(tied, tie_word_embeddings=True)
    pair = open_pair(tied, base)
    head = pair.tensors["lm_head.weight"]
    assert head.base == pair.base.tensors["model.embed_tokens.weight"]
    assert any("ties its head" in note for note in pair.notes)
    back = open_pair(base, tied)
    assert "lm_head.weight" not in back.tensors
    assert any("not its embeddings, and left out" in note for note in back.notes)


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
    def with_integers(value: int) -> Tensors:
        return lambda tensors: tensors | {"model.counter": torch.full((3,), value)}

    first = write_copy(base, tmp_path / "first", with_integers(1))
    second = write_copy(base, tmp_path / "second", with_integers(2))
    assert open_pair(first, first).notes == ()
    pair = open_pair(first, second)
    assert "model.counter" not in pair.tensors
    assert any("'model.counter' (I64) differs" in note for note in pair.notes)


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
