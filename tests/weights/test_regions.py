"""Names of regions: what they hold, and that equal regions have equal names."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tiny_models import save_model

from sftlens.errors import UserError
from sftlens.weights import REGIONS, CheckpointPair, open_pair, region_name, select
from sftlens.weights._regions import parse_region

LAYERED = [region for region in REGIONS if region != "embeddings"]

ranges = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 5)).map(lambda r: (r[0], r[0] + r[1])), min_size=1
)


def spelt(layers: list[tuple[int, int]]) -> str:
    return ",".join(f"{first}-{last}" for first, last in layers)


def covered(name: str) -> set[int]:
    parsed = parse_region(name)
    assert parsed.layers is not None
    return {layer for first, last in parsed.layers for layer in range(first, last + 1)}


@given(st.sampled_from(LAYERED), ranges)
def test_a_name_keeps_its_layers(region: str, layers: list[tuple[int, int]]) -> None:
    name = region_name(region, spelt(layers))
    assert name.partition(":")[0] == region
    assert covered(name) == {n for first, last in layers for n in range(first, last + 1)}
    assert region_name(name) == name
    assert str(parse_region(name)) == name


@given(ranges, ranges)
def test_equal_layers_have_equal_names(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    names = [region_name("blocks", spelt(layers)) for layers in (first, second)]
    assert (names[0] == names[1]) == (covered(names[0]) == covered(names[1]))


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("blocks:3", "blocks:3"),
        ("blocks:3-3", "blocks:3"),
        ("mlp:28-31,0-3", "mlp:0-3,28-31"),
        ("mlp:0-3,2-5", "mlp:0-5"),
        ("all:0,1,2", "all:0-2"),
        ("attention:007, 9", "attention:7,9"),
        ("embeddings", "embeddings"),
    ],
)
def test_normal_forms(spelling: str, name: str) -> None:
    assert region_name(spelling) == name


@given(st.text(alphabet="01289-,: ablocksmp²٣", max_size=12))
@example("9" * 5000)
def test_any_layers_are_read_or_refused(layers: str) -> None:
    refused = None
    try:
        name = region_name("blocks", layers)
    except UserError as error:
        refused = str(error)
    if refused is None:
        assert region_name(name) == name
    else:
        assert len(refused.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "there is none; choose from blocks, attention, mlp, embeddings, all"),
        ("heads", "there is none"),
        ("heads:0-3", "there is none"),
        ("Blocks", "there is none"),
        ("blocks:", "'' names no layers; write numbers and ranges, as in 0-3,28-31"),
        ("blocks:a-3", "'a-3' names no layers"),
        ("blocks:-1", "'-1' names no layers"),
        ("blocks:1.5", "'1.5' names no layers"),
        ("blocks:0-3,", "'' names no layers"),
        ("blocks:٣", "names no layers"),
        ("blocks:3-0", "'3-0' runs backwards; write 0-3"),
        ("embeddings:0-3", "the embeddings lie in no layer"),
    ],
)
def test_bad_names_are_told_in_one_line(name: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        region_name(name)
    assert words in str(caught.value)
    assert repr(name) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_layers_are_given_once() -> None:
    assert region_name("mlp", "0-3") == "mlp:0-3"
    with pytest.raises(UserError, match="both name layers"):
        region_name("mlp:0-3", "5")


def names(pair: CheckpointPair, region: str) -> set[str]:
    return {tensor.name for tensor in pair.region(region)}


def test_a_pair_has_the_layers_of_a_region(pair: CheckpointPair) -> None:
    for region in LAYERED:
        layers = [names(pair, f"{region}:{layer}") for layer in (0, 1)]
        assert all(".0." in name for name in layers[0])
        assert all(".1." in name for name in layers[1])
        assert names(pair, f"{region}:0-1") == layers[0] | layers[1]
        assert pair.num_parameters(f"{region}:1") == sum(
            tensor.num_parameters for tensor in pair.region(region) if tensor.role.layer == 1
        )
    assert names(pair, "blocks:0-1") == names(pair, "blocks")
    within = {tensor.name for tensor in pair.tensors.values() if ".layers." in tensor.name}
    assert names(pair, "all:0-1") == within
    assert any("norm" in name for name in within)


def test_attention_and_mlp_are_the_blocks(pair: CheckpointPair) -> None:
    assert names(pair, "attention").isdisjoint(names(pair, "mlp"))
    assert names(pair, "attention") | names(pair, "mlp") == names(pair, "blocks")
    assert {name.split(".")[3] for name in names(pair, "attention")} == {"self_attn"}


def test_layers_that_the_model_lacks(pair: CheckpointPair) -> None:
    for region, layer in (("blocks:2", 2), ("mlp:0,1-40", 40), ("all:999999999", 999999999)):
        with pytest.raises(UserError, match=rf"no layer {layer}; the model has 2 layers, 0 to 1"):
            pair.region(region)


def test_a_selection_within_layers(pair: CheckpointPair) -> None:
    selection = select(pair, shares=[20], region="mlp:1")[0]
    assert set(selection.tensors) == names(pair, "mlp:1")
    assert selection.num_parameters == pair.num_parameters("mlp:1") == 3 * 16 * 24


def test_a_model_without_mlp(tmp_path: Path) -> None:
    mamba = save_model(tmp_path / "mamba", "mamba")
    pair = open_pair(mamba, mamba)
    assert pair.num_parameters("attention") == pair.num_parameters("blocks")
    with pytest.raises(UserError, match="holds no parameters of region 'mlp'"):
        pair.region("mlp")
