"""What must hold of every restoration, whatever the two checkpoints are."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import NamedTuple

import naive
import numpy as np
import pytest
import torch
from hypothesis import given, note, settings
from hypothesis import strategies as st
from tiny_models import read_tensors, same_bits, tiny_config, write_restored

from sftlens.weights import (
    REGIONS,
    CheckpointPair,
    Selection,
    diff,
    open_pair,
    select,
)

Tensors = dict[str, torch.Tensor]

RANKINGS = ("relative", "absolute", "small-base", "random")
SHAPES = {
    "model.embed_tokens.weight": (10, 2),
    "lm_head.weight": (10, 2),
    "model.norm.weight": (2,),
    **{
        f"model.layers.{layer}.{name}.weight": shape
        for layer in (0, 1)
        for name, shape in {
            **dict.fromkeys(("input_layernorm", "post_attention_layernorm"), (2,)),
            **{f"self_attn.{part}_proj": (2, 2) for part in "qkvo"},
            **dict.fromkeys(("mlp.gate_proj", "mlp.up_proj"), (14, 2)),
            "mlp.down_proj": (2, 14),
        }.items()
    },
}
NUM_BLOCKS = 200  # so that every share in halves of a percent is a whole number of parameters

shares = st.integers(0, 1000).map(lambda tenths: tenths / 10)
rankings = st.sampled_from(RANKINGS)
quick = settings(max_examples=20)
on_disk = settings(max_examples=10)


class Models(NamedTuple):
    """Two checkpoints in memory."""

    base: Tensors
    tuned: Tensors

    def __repr__(self) -> str:
        return "Models(...)"  # how they were drawn is noted


@st.composite
def models(draw: st.DrawFn, *, signed_zeros: bool = False) -> Models:
    """Checkpoints in which many, few or no keys are tied, and any part of the entries changed."""
    seed = draw(st.integers(0, 2**32 - 1))
    num_levels = draw(st.sampled_from([0, 1, 3, 40]))
    share_changed = draw(st.sampled_from([0, 0.05, 0.5, 1]))
    dtype = draw(st.sampled_from([torch.bfloat16, torch.float16, torch.float32]))
    note(f"drawn by {seed=} {num_levels=} {share_changed=} {dtype=}")
    generator = np.random.default_rng(seed)

    def values(shape: tuple[int, ...]) -> np.ndarray:
        if num_levels == 0:
            return generator.normal(size=shape) / 64
        drawn = generator.integers(-num_levels, num_levels + 1, shape) / 128
        if signed_zeros:
            drawn[generator.random(shape) < 0.2] = -0.0
        return drawn

    base, tuned = {}, {}
    for name, shape in SHAPES.items():
        before, after = values(shape), values(shape)
        kept = generator.random(shape) >= share_changed
        base[name] = torch.from_numpy(before).to(dtype)
        tuned[name] = torch.from_numpy(np.where(kept, before, after)).to(dtype)
    return Models(base, tuned)


def write_file(path: Path, tensors: Tensors) -> None:
    """A safetensors file with its tensors in this order, which the library itself would sort."""
    names = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32"}
    header, stored = {}, b""
    for name, tensor in tensors.items():
        content = tensor.contiguous().view(torch.uint8).numpy().tobytes()
        place = [len(stored), len(stored) + len(content)]
        header[name] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": place,
        }
        stored += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + stored)


def write_model(folder: Path, tensors: Tensors, shards: Sequence[Sequence[str]] = ()) -> Path:
    """A model folder whose files hold the names of ``shards``, in one file without them."""
    folder.mkdir()
    config = tiny_config(
        "llama", hidden_size=2, num_attention_heads=1, intermediate_size=14, vocab_size=10
    )
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    if not shards:
        write_file(folder / "model.safetensors", tensors)
        return folder
    weight_map = {}
    for number, names in enumerate(shards):
        file = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        write_file(folder / file, {name: tensors[name] for name in names})
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for one example; the fixture would be one for all of them."""
    folder = Path(tempfile.mkdtemp())
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def opened(base: Tensors, tuned: Tensors) -> Iterator[CheckpointPair]:
    with scratch() as folder:
        yield open_pair(write_model(folder / "base", base), write_model(folder / "tuned", tuned))


def marks(pair: CheckpointPair, selection: Selection) -> np.ndarray:
    """Which parameters of the region are restored, in the order of names and positions."""
    return np.concatenate(
        [np.asarray(mask) for name in selection.tensors for _, mask in selection.masks(pair, name)]
    )


def restored(pair: CheckpointPair, share: float, **how: object) -> np.ndarray:
    [selection] = select(pair, shares=[share], **how)
    return marks(pair, selection)


def share_of(count: int, num_parameters: int) -> float:
    """A share that restores exactly ``count`` parameters."""
    return ceil(Fraction(100 * count * 10**9, num_parameters)) / 10**9


def scaled(given: Models, factor: float) -> Models:
    """The same checkpoints with all values multiplied."""
    return Models(*({name: tensor * factor for name, tensor in side.items()} for side in given))


def require(region: str) -> None:
    if "mlp" not in REGIONS and region not in REGIONS:
        pytest.skip(f"this version has no region {region!r}")


@quick
@given(models(), rankings, st.sampled_from(["top", "bottom"]), shares, shares)
def test_smaller_shares_lie_within_larger(
    given: Models, ranking: str, order: str, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    with opened(*given) as pair:
        smaller = restored(pair, low, ranking=ranking, order=order)
        larger = restored(pair, high, ranking=ranking, order=order)
    assert not (smaller & ~larger).any()
    assert (smaller.sum(), larger.sum()) == (low * NUM_BLOCKS // 100, high * NUM_BLOCKS // 100)


@quick
@given(models(), rankings, shares)
def test_the_top_and_the_rest_from_the_bottom(given: Models, ranking: str, share: float) -> None:
    """Top k and bottom 100 - k split the region, but for ties at the cut and for the floors.

    Of N parameters the top restores r = floor(N k / 100), the bottom s = floor(N (100 - k) / 100),
    and m = N - r - s is 0 or 1. Let E entries have the key of the last one of the top, and q of
    them be restored. Both orders take ties from the same end, so that both restore
    max(0, min(q, E - q - m)) entries, all of them ties, and neither restores as many and m more.
    Where the top leaves out no tie (q = E) and m = 0, the two are complements.
    """
    rest = (1000 - round(10 * share)) / 10
    with opened(*given) as pair:
        [above] = select(pair, shares=[share], ranking=ranking)
        top = marks(pair, above)
        bottom = restored(pair, rest, ranking=ranking, order="bottom")
    ties = np.zeros(NUM_BLOCKS, dtype=bool)
    if above.num_restored:
        keys = naive.rank(given.base, given.tuned, "blocks", ranking).keys
        ties = keys == keys[top].min()
    assert ties.sum() == above.num_ties
    num_missed = NUM_BLOCKS - top.sum() - bottom.sum()
    quota = (top & ties).sum()
    num_both = max(0, min(quota, above.num_ties - quota - num_missed))
    assert num_missed == (round(10 * share) % 5 != 0)
    assert (top & bottom).sum() == num_both
    assert not (top & bottom & ~ties).any()
    assert (~top & ~bottom).sum() == num_both + num_missed
    if quota == above.num_ties and num_missed == 0:
        np.testing.assert_array_equal(top, ~bottom)


@pytest.mark.parametrize("part", ["blocks", "embeddings", "attention", "mlp", "blocks:1-1"])
@given(given=models(), ranking=rankings, share=shares)
@settings(max_examples=20)
def test_a_part_of_a_region_is_ordered_as_in_the_region(
    part: str, given: Models, ranking: str, share: float
) -> None:
    """What a restoration of ``all`` gives back of a part is what one of the part would."""
    require(part)
    with opened(*given) as pair:
        [whole] = select(pair, shares=[share], ranking=ranking, region="all")
        names = [tensor.name for tensor in pair.region(part)]
        expected = np.concatenate(
            [np.asarray(mask) for name in names for _, mask in whole.masks(pair, name)]
        )
        count = share_of(int(expected.sum()), len(expected))
        found = restored(pair, count, ranking=ranking, region=part)
    np.testing.assert_array_equal(found, expected)


@given(models())
@settings(max_examples=10)
def test_attention_and_mlp_make_up_the_blocks(given: Models) -> None:
    require("mlp")
    with opened(*given) as pair:
        parts = [{t.name for t in pair.region(region)} for region in ("attention", "mlp")]
        layers = [{t.name for t in pair.region(f"blocks:{n}-{n}")} for n in (0, 1)]
        blocks = {tensor.name for tensor in pair.region("blocks")}
        counts = {
            region: select(pair, shares=[100], region=region)[0].num_changed
            for region in ("blocks", "attention", "mlp", "blocks:0-0", "blocks:1-1", "blocks:0-1")
        }
    assert parts[0] | parts[1] == layers[0] | layers[1] == blocks
    assert not parts[0] & parts[1]
    assert not layers[0] & layers[1]
    assert counts["attention"] + counts["mlp"] == counts["blocks"] == counts["blocks:0-1"]
    assert counts["blocks:0-0"] + counts["blocks:1-1"] == counts["blocks"]


@quick
@given(models(), rankings, shares, st.data())
def test_shards_and_their_order_do_not_matter(
    given: Models, ranking: str, share: float, data: st.DataObject
) -> None:
    def dealt() -> list[list[str]]:
        names = data.draw(st.permutations(list(SHAPES)))
        ends = sorted(data.draw(st.sets(st.integers(1, len(names) - 1), max_size=4)))
        return [
            names[start:end] for start, end in zip([0, *ends], [*ends, len(names)], strict=True)
        ]

    with opened(*given) as pair:
        [expected] = select(pair, shares=[share], ranking=ranking, region="all")
        mask = marks(pair, expected)
        concentration = diff(pair, shares=[share]).concentration
    with scratch() as folder:
        base = write_model(folder / "base", given.base, dealt())
        tuned = write_model(folder / "tuned", given.tuned, dealt())
        pair = open_pair(base, tuned)
        [found] = select(pair, shares=[share], ranking=ranking, region="all")
        assert found == expected
        np.testing.assert_array_equal(marks(pair, found), mask)
        assert diff(pair, shares=[share]).concentration == concentration


@quick
@given(models(), st.sampled_from(["absolute", "small-base", "random"]), shares, st.integers(-6, 8))
def test_scaling_by_a_power_of_two_changes_no_choice(
    given: Models, ranking: str, share: float, power: int
) -> None:
    """But by relative change, whose 1e-8 is of one scale."""
    with opened(*given) as pair, opened(*scaled(given, 2.0**power)) as larger:
        [one] = select(pair, shares=[share], ranking=ranking)
        [other] = select(larger, shares=[share], ranking=ranking)
        np.testing.assert_array_equal(marks(pair, one), marks(larger, other))
    assert one.norm_removed == other.norm_removed
    assert one.num_ties == other.num_ties


@quick
@given(models(), rankings, shares)
def test_the_sign_of_all_weights_does_not_matter(given: Models, ranking: str, share: float) -> None:
    with opened(*given) as pair, opened(*scaled(given, -1)) as mirrored:
        [one] = select(pair, shares=[share], ranking=ranking)
        [other] = select(mirrored, shares=[share], ranking=ranking)
        assert one == other
        np.testing.assert_array_equal(marks(pair, one), marks(mirrored, other))


@quick
@given(models(), shares)
def test_absolute_change_is_the_same_either_way(given: Models, share: float) -> None:
    with opened(*given) as pair, opened(given.tuned, given.base) as back:
        [one] = select(pair, shares=[share], ranking="absolute")
        [other] = select(back, shares=[share], ranking="absolute")
        # The bases are those of the other side.
        bases = {"num_restored_small_base": 0, "num_restored_zero_base": 0}
        assert replace(one, **bases) == replace(other, **bases)
        np.testing.assert_array_equal(marks(pair, one), marks(back, other))


@quick
@given(models(), models(), shares, st.integers(0, 3))
def test_the_random_choice_does_not_see_the_weights(
    given: Models, other: Models, share: float, seed: int
) -> None:
    with opened(*given) as pair, opened(*other) as another:
        one = restored(pair, share, ranking="random", seed=seed)
        two = restored(another, share, ranking="random", seed=seed)
    np.testing.assert_array_equal(one, two)


@quick
@given(models(), models(), rankings, shares)
def test_what_lies_outside_of_a_region_does_not_matter(
    given: Models, other: Models, ranking: str, share: float
) -> None:
    def within(name: str) -> bool:
        return "layers" in name and "norm" not in name

    mingled = Models(
        *(
            {name: (one if within(name) else two)[name] for name in SHAPES}
            for one, two in zip(given, other, strict=True)
        )
    )
    with opened(*given) as pair, opened(*mingled) as changed:
        assert select(pair, shares=[share], ranking=ranking) == select(
            changed, shares=[share], ranking=ranking
        )


@on_disk
@given(models(signed_zeros=True), rankings, st.sampled_from(["top", "bottom"]))
def test_nothing_restored_is_the_tuned_model_and_everything_the_base(
    given: Models, ranking: str, order: str
) -> None:
    with scratch() as folder:
        base = write_model(folder / "base", given.base)
        tuned = write_model(folder / "tuned", given.tuned)
        how = {"method": ranking, "order": order, "region": "all"}
        nothing, everything = write_restored(base, tuned, [0, 100], folder / "out", **how)
        file = "model.safetensors"
        assert (nothing.path / file).read_bytes() == (tuned / file).read_bytes()
        assert (everything.path / file).read_bytes() == (base / file).read_bytes()


@on_disk
@given(models(), rankings, shares)
def test_a_restored_model_has_moved_by_what_is_left(
    given: Models, ranking: str, share: float
) -> None:
    """Its change from the base is the update without what the restoration says it removed."""
    with scratch() as folder:
        base = write_model(folder / "base", given.base)
        tuned = write_model(folder / "tuned", given.tuned)
        [output] = write_restored(base, tuned, [share], folder / "out", method=ranking)
        before, after = open_pair(base, tuned), open_pair(base, output.path)
        [update] = select(before, shares=[0])
        [left] = select(after, shares=[0])
        assert left.num_changed == update.num_changed - output.num_restored_changed
        tensors = read_tensors(base), read_tensors(tuned), read_tensors(output.path)
        names = [tensor.name for tensor in before.region("blocks")]
    full, kept = (
        sum(float((side[n].double() - tensors[0][n].double()).square().sum()) for n in names)
        for side in tensors[1:]
    )
    assert kept == pytest.approx((1 - output.norm_removed) * full, rel=1e-5, abs=1e-12)


@on_disk
@given(models(), st.sampled_from(["relative", "absolute"]), st.integers(0, 100), st.data())
def test_two_steps_are_one(given: Models, ranking: str, first: int, data: st.DataObject) -> None:
    """Restoring j % of the tuned model and then k % of the outcome gives that of j + k %.

    What is restored has no change left, and goes last; so the second step goes on where the first
    stopped. Equal by value: where no change is left there is nothing to tell apart.
    """
    second = data.draw(st.integers(0, 100 - first))
    with scratch() as folder:
        base = write_model(folder / "base", given.base)
        tuned = write_model(folder / "tuned", given.tuned)
        [step] = write_restored(base, tuned, [first], folder / "1", method=ranking)
        write_restored(base, step.path, [second], folder / "2", method=ranking)
        write_restored(base, tuned, [first + second], folder / "once", method=ranking)
        twice, once = read_tensors(folder / "2"), read_tensors(folder / "once")
    assert all(torch.equal(twice[name], once[name]) for name in SHAPES)


def test_files_are_those_of_the_library() -> None:
    """The writer above is read back by safetensors, in the order that was asked for."""
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    with scratch() as folder:
        found = read_tensors(write_model(folder / "model", tensors, [list(SHAPES)[::-1]]))
        assert all(same_bits(found[name], tensors[name]) for name in SHAPES)
        [file] = (folder / "model").glob("*.safetensors")
        header = file.read_bytes()
        size = int.from_bytes(header[:8], "little")
        assert list(json.loads(header[8 : 8 + size])) == list(SHAPES)[::-1]
