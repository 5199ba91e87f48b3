"""Selection, diff and restored bytes against the naive whole-model reference.

Every engine that can run here is held to it, over pairs that are made to be awkward: most keys
tied, tensors of no and of one entry, odd shapes, signed zeros and subnormals, mixed storage.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import naive
import numpy as np
import pytest
import torch
from tiny_models import read_tensors, same_bits, save_model, write_copy, write_restored

import sftlens.weights
from sftlens.weights import REGIONS, CheckpointPair, Selection, _pair, diff, open_pair
from sftlens.weights import select as select_
from sftlens.weights._keys import Criterion
from sftlens.weights._radix import no_upper

RANKINGS = ("relative", "absolute", "small-base", "random")
ORDERS = ("top", "bottom")
REGION_NAMES = ("blocks", "attention", "mlp", "embeddings", "all", "blocks:1-2")
SHARES = (0, 0.1, 1, 20, 33.3, 57.9, 100)
SEED = 3

Tensors = dict[str, torch.Tensor]


class Case(NamedTuple):
    """A pair on disk, and all of its tensors in memory."""

    pair: CheckpointPair
    base: Tensors
    tuned: Tensors

    def __repr__(self) -> str:
        return f"Case({self.pair.tuned.folder})"


def engine(*settings: Any) -> Any:
    """One parameter of :func:`engines`, skipped with the reason where it cannot run."""
    kernels, num_threads = settings[:2]
    device = settings[2] if len(settings) > 2 else "cpu"
    marks = []
    if kernels == "numba" and importlib.util.find_spec("numba") is None:
        marks.append(pytest.mark.skip(reason="numba is not installed"))
    if device == "cuda" and not torch.cuda.is_available():
        marks.append(pytest.mark.skip(reason="no CUDA device is visible"))
    name = kernels if device == "cpu" else device
    return pytest.param((kernels, num_threads, device), id=f"{name}-{num_threads}", marks=marks)


def engines() -> list[Any]:
    return [
        pytest.param(None, id="default"),
        *(engine(kernels, count) for kernels in ("numpy", "numba", "torch") for count in (1, 2)),
        engine("torch", 1, "cuda"),
    ]


@pytest.fixture(scope="module", params=engines())
def chosen(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The arguments that choose an engine; none for the one that is chosen without being asked."""
    if request.param is None:
        return {}
    kernels, num_threads, device = request.param
    placed = {"device": device} if device == "cuda" else {}
    made = sftlens.weights.Engine(kernels=kernels, num_threads=num_threads, **placed)
    return {"engine": made}


def rounded(dtype: torch.dtype, scale: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Noise at which about half of the entries of this storage type stay as they are."""

    def noise(before: torch.Tensor) -> torch.Tensor:
        moved = before + torch.randn(before.shape) * scale * (torch.rand(before.shape) < 0.6)
        return moved.to(dtype)

    return noise


def bases(dtype: torch.dtype, size: float = 0.02) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda like: (torch.randn(like.shape) * size).to(dtype)


def away_from_zero(like: torch.Tensor) -> torch.Tensor:
    """bf16 bases that no relative change is wild over, so that figures vary little by chance."""
    values = torch.randn(like.shape) * 0.02
    return (values + values.sign() * 5e-3).bfloat16()


def grid(step: float, count: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Few distinct values, zeros of both signs among them: nearly everything is a tie."""

    def values(like: torch.Tensor) -> torch.Tensor:
        drawn = torch.randint(-count, count + 1, like.shape) * step
        drawn[torch.rand(like.shape) < 0.1] = -0.0
        return drawn.bfloat16()

    return values


def subnormal(like: torch.Tensor) -> torch.Tensor:
    """float32 values from the smallest there are to large ones."""
    powers = torch.randint(-149, 20, like.shape)
    values = torch.ldexp(torch.randn(like.shape).double(), powers).float()
    values[torch.rand(like.shape) < 0.2] = torch.tensor([0.0, -0.0])[torch.randint(2, (1,))]
    return values


DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


def mixed(like: torch.Tensor) -> torch.Tensor:
    dtype = DTYPES[int(torch.randint(len(DTYPES), (1,)))]
    return (torch.randn(like.shape) * 0.02).bfloat16().to(dtype)


def mixed_noise(before: torch.Tensor) -> torch.Tensor:
    return mixed(before) if torch.rand(1) < 0.2 else mixed(before) * 0.01 + before


def any_type(like: torch.Tensor) -> torch.Tensor:
    """Values of all digits that a type has; some so large or small that others cannot hold them."""
    values = torch.randn(like.shape, dtype=torch.float64) * 0.02
    values[torch.rand(like.shape) < 0.05] *= 1e-6
    return values.to(DTYPES[int(torch.randint(len(DTYPES), (1,)))])


def cast_and_moved(before: torch.Tensor) -> torch.Tensor:
    """Half of the entries are only cast, from any type to any other."""
    dtype = DTYPES[int(torch.randint(len(DTYPES), (1,)))]
    cast = before.to(dtype)
    moved = (before.float() * (1 + 0.05 * torch.randn(before.shape))).to(dtype)
    return torch.where(torch.rand(before.shape) < 0.5, cast, moved)


class Recipe(NamedTuple):
    base: Callable[[torch.Tensor], torch.Tensor]
    tuned: Callable[[torch.Tensor], torch.Tensor]
    shards: tuple[int, int]  # of the base, of the tuned model
    num_layers: int = 3


RECIPES = {
    "bf16": Recipe(bases(torch.bfloat16), rounded(torch.bfloat16, 1e-4), (1, 3)),
    "f16": Recipe(bases(torch.float16), rounded(torch.float16, 1e-5), (2, 1)),
    "f32": Recipe(subnormal, subnormal, (1, 1)),
    "mixed": Recipe(mixed, mixed_noise, (3, 2)),
    "cast": Recipe(any_type, cast_and_moved, (1, 2)),
    "grid": Recipe(grid(2**-7, 4), grid(2**-7, 4), (2, 5), num_layers=11),
}


@pytest.fixture(scope="module", autouse=True)
def _tensors_that_no_llama_has() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_pair, "require_fit", lambda *_, **__: None)
        yield


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Llamas of odd sizes by their number of blocks; names of eleven do not sort as numbers."""
    folder = tmp_path_factory.mktemp("odd")
    return {
        num_layers: save_model(
            folder / str(num_layers),
            "llama",
            hidden_size=9,
            num_attention_heads=3,
            num_key_value_heads=1,
            head_dim=1,
            num_hidden_layers=num_layers,
            intermediate_size=7,
            vocab_size=13,
        )
        for num_layers in (3, 11)
    }


def made(recipe: Recipe, shapes: Path, folder: Path, seed: int) -> Case:
    def base(tensors: Tensors) -> Tensors:
        torch.manual_seed(seed)
        # Stored below no module of the skeleton, as parameters are that transformers renames.
        small = {
            "model.layers.0.mlp.extra.weight": torch.empty(0, 5),
            "model.layers.0.self_attn.extra.weight": torch.empty(1),
        }
        return {name: recipe.base(tensor) for name, tensor in (tensors | small).items()}

    def tuned(tensors: Tensors) -> Tensors:
        torch.manual_seed(seed + 1)
        return {name: recipe.tuned(tensor) for name, tensor in tensors.items()}

    first = write_copy(shapes, folder / "base", base, num_shards=recipe.shards[0])
    second = write_copy(first, folder / "tuned", tuned, num_shards=recipe.shards[1])
    if recipe.shards[1] == 1:
        (second / "model.safetensors.index.json").unlink(missing_ok=True)
    return Case(open_pair(first, second), read_tensors(first), read_tensors(second))


@pytest.fixture(scope="module")
def cases(shapes: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    return {
        name: made(recipe, shapes[recipe.num_layers], tmp_path_factory.mktemp(name), seed)
        for seed, (name, recipe) in enumerate(RECIPES.items())
    }


@pytest.fixture(scope="module", params=RECIPES)
def case(request: pytest.FixtureRequest, cases: dict[str, Case]) -> Case:
    return cases[request.param]


@pytest.fixture(scope="module")
def ranked(case: Case) -> Callable[..., naive.Ranked]:
    """The naive order of the case, each sorted once for all engines."""
    done: dict[tuple[str, ...], naive.Ranked] = {}

    def rank(region: str, ranking: str, order: str) -> naive.Ranked:
        what = region, ranking, order
        if what not in done:
            done[what] = naive.rank(case.base, case.tuned, *what, seed=SEED)
        return done[what]

    return rank


def require(region: str) -> None:
    if region.partition(":")[0] not in REGIONS or (":" in region and "mlp" not in REGIONS):
        pytest.skip(f"this version has no region {region!r}")


def masks(pair: CheckpointPair, selection: Selection) -> dict[str, np.ndarray]:
    return {
        name: np.concatenate(
            [np.zeros(0, bool), *(np.asarray(mask) for _, mask in selection.masks(pair, name))]
        )
        for name in selection.tensors
    }


def require_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(found) == list(expected)
    for name, mask in expected.items():
        np.testing.assert_array_equal(found[name], mask, err_msg=name)


def test_the_pairs_are_as_awkward_as_they_are_meant(cases: dict[str, Case]) -> None:
    def num_changed(name: str) -> tuple[int, int]:
        case = cases[name]
        changes = [naive.absolute(case.base[n], case.tuned[n]) for n in case.tuned]
        return sum(map(np.count_nonzero, changes)), sum(map(len, changes))

    for name in ("bf16", "f16", "cast"):
        changed, count = num_changed(name)
        assert 0.35 < changed / count < 0.65
    for name in ("bf16", "grid"):
        order = naive.rank(cases[name].base, cases[name].tuned, "all", "relative")
        assert min(order.share(share).num_ties for share in (57.9, 100)) > 1
    sizes = {tensor.numel() for tensor in cases["bf16"].tuned.values()}
    assert {0, 1} < sizes
    floats = [naive.flat32(tensor) for tensor in cases["f32"].base.values()]
    assert any(((values != 0) & (np.abs(values) < 1e-38)).any() for values in floats)
    assert any((np.signbit(values) & (values == 0)).any() for values in floats)
    assert len({tensor.dtype for tensor in cases["mixed"].tuned.values()}) == 4
    both = [(cases["cast"].base[n].dtype, t.dtype) for n, t in cases["cast"].tuned.items()]
    assert len(set(both)) > 8


@pytest.mark.parametrize("ranking", RANKINGS)
def test_selections_of_every_engine(
    case: Case, ranked: Callable[..., naive.Ranked], chosen: dict[str, Any], ranking: str
) -> None:
    require_selections(case, ranked, ranking, "all", **chosen)


@pytest.mark.parametrize("region", REGION_NAMES)
@pytest.mark.parametrize("ranking", ["relative", "random"])
def test_selections_of_every_region(
    case: Case, ranked: Callable[..., naive.Ranked], ranking: str, region: str
) -> None:
    require(region)
    require_selections(case, ranked, ranking, region)


def require_selections(
    case: Case, ranked: Callable[..., naive.Ranked], ranking: str, region: str, **chosen: Any
) -> None:
    for order in ORDERS:
        expected_order = ranked(region, ranking, order)
        changes = expected_order.by_name(expected_order.changes)
        selections = select_(
            case.pair,
            shares=SHARES,
            ranking=ranking,
            order=order,
            region=region,
            seed=SEED,
            **chosen,
        )
        for share, selection in zip(SHARES, selections, strict=True):
            expected = expected_order.share(share)
            num_changed = np.count_nonzero(expected_order.changes)
            assert selection.num_parameters == len(expected_order.keys)
            assert selection.num_changed == num_changed
            assert selection.num_restored == naive.num_of(share, len(expected_order.keys))
            assert selection.num_restored_changed == expected.num_restored_changed
            assert selection.num_restored_small_base == expected.num_small_base
            assert selection.num_restored_zero_base == expected.num_zero_base
            assert selection.num_ties == expected.num_ties
            assert selection.norm_removed == pytest.approx(expected.norm_removed, rel=1e-9)
            for name, counts in selection.tensors.items():
                assert counts.num_parameters == len(changes[name])
                assert counts.num_changed == np.count_nonzero(changes[name])
                assert counts.num_restored == np.count_nonzero(expected.masks[name])
                assert counts.num_returned == expected.returned[name]
                assert counts.num_top == pytest.approx(expected.tops[name], rel=1e-9)
            if share in (1, 57.9):
                require_same(masks(case.pair, selection), expected.masks)


def test_diffs(case: Case, ranked: Callable[..., naive.Ranked], chosen: dict[str, Any]) -> None:
    found = diff(case.pair, region="all", shares=SHARES, seed=SEED, **chosen)
    for measure in ("relative", "absolute"):
        order = ranked("all", measure, "top")
        expected = {f"{share:g}": naive.held(order.keys, share) for share in SHARES}
        assert found.concentration[measure] == pytest.approx(expected, rel=1e-9)
        sums = {n: part.sum(dtype=np.float64) for n, part in order.by_name(order.keys).items()}
        table = dict(zip(found.tensors["name"], found.tensors[f"sum_{measure}"], strict=True))
        assert table == pytest.approx(sums, rel=1e-9)
        assert found.num_changed == np.count_nonzero(order.keys)
        assert found.num_parameters == len(order.keys)
    order = ranked("all", "relative", "top")
    assert found.num_zero_base == np.count_nonzero(order.bases == 0)
    assert found.num_small_base == np.count_nonzero(order.bases < naive.SMALL)
    large = order.keys[order.bases >= naive.SMALL]
    expected = {f"{share:g}": naive.held(large, share) for share in SHARES}
    assert found.concentration_without_small_base["relative"] == pytest.approx(expected, rel=1e-9)
    for share, selection in zip(SHARES, found.selections, strict=True):
        expected = order.share(share)
        counts = [np.count_nonzero(mask) for mask in expected.masks.values()]
        assert found.tensors[f"num_restored_{share:g}"].to_list() == counts
        tops = found.tensors[f"num_top_{share:g}"].to_list()
        assert tops == pytest.approx([*expected.tops.values()], rel=1e-9)
        assert [count.num_restored for count in selection.tensors.values()] == counts
        assert selection.num_restored_changed == expected.num_restored_changed
        assert selection.num_ties == expected.num_ties
        assert selection.norm_removed == pytest.approx(expected.norm_removed, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "method", "order", "region"),
    [
        ("bf16", "relative", "top", "blocks"),
        ("f16", "absolute", "bottom", "all"),
        ("f32", "relative", "bottom", "all"),
        ("f32", "small-base", "top", "all"),
        ("mixed", "relative", "top", "all"),
        ("mixed", "random", "bottom", "embeddings"),
        ("cast", "relative", "top", "all"),
        ("grid", "relative", "top", "all"),
        ("grid", "absolute", "top", "attention"),
        ("grid", "small-base", "bottom", "mlp"),
        ("grid", "random", "top", "blocks:1-2"),
    ],
)
def test_restored_bytes(
    cases: dict[str, Case], tmp_path: Path, name: str, method: str, order: str, region: str
) -> None:
    require(region)
    case = cases[name]
    outputs = write_restored(
        case.pair.base.folder,
        case.pair.tuned.folder,
        [0.1, 33.3, 57.9, 100],
        tmp_path / "out",
        method=method,
        order=order,
        region=region,
        seed=SEED,
    )
    ranked = naive.rank(case.base, case.tuned, region, method, order, SEED)
    for output in outputs:
        share = ranked.share(output.share)
        expected = naive.restored(case.base, case.tuned, share.masks)
        written = read_tensors(output.path)
        assert set(written) == set(expected)
        wrong = [n for n in expected if not same_bits(written[n], expected[n])]
        assert wrong == []
        assert output.num_restored_changed == share.num_restored_changed
        assert output.num_restored_small_base == share.num_small_base
        assert output.num_restored_zero_base == share.num_zero_base
        assert output.num_ties == share.num_ties


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Tensors of more entries than are worked on at once, and than the null shuffles in one run."""
    folder = tmp_path_factory.mktemp("large")
    shapes = save_model(
        folder / "shapes",
        "llama",
        hidden_size=151,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=2,
        num_hidden_layers=1,
        intermediate_size=3 * naive.NULL_RUN // 151 + 5,
        vocab_size=3,
    )
    recipe = Recipe(away_from_zero, rounded(torch.bfloat16, 1e-4), (1, 2))
    case = made(recipe, shapes, folder, 0)
    assert case.tuned["model.layers.0.mlp.up_proj.weight"].numel() > 3 * naive.NULL_RUN
    return case


@pytest.fixture(scope="module")
def large_order(large: Case) -> naive.Ranked:
    return naive.rank(large.base, large.tuned, "blocks", "relative")


def test_selections_in_large_tensors(
    large: Case, large_order: naive.Ranked, chosen: dict[str, Any]
) -> None:
    selections = select_(large.pair, shares=[5, 33.3], **chosen)
    for selection in selections:
        expected = large_order.share(selection.share)
        assert expected.num_ties > 1
        assert selection.num_restored_changed == expected.num_restored_changed
        assert selection.num_ties == expected.num_ties
        assert selection.norm_removed == pytest.approx(expected.norm_removed, rel=1e-9)
        require_same(masks(large.pair, selection), expected.masks)


def test_the_null_of_large_tensors(large: Case, chosen: dict[str, Any]) -> None:
    change = diff(large.pair, shares=[1, 20], seed=SEED, **chosen)
    found = change.concentration
    null = naive.null(large.base, large.tuned, "blocks", SEED)
    for share in (1, 20):
        # Another permutation of a million entries gives nearly the same figure.
        assert found["null"][f"{share}"] == pytest.approx(naive.held(null, share), abs=2e-3)
        assert found["null"][f"{share}"] > found["relative"][f"{share}"] + 1e-2
    # No base is small here.
    assert change.concentration_without_small_base == {m: found[m] for m in ("relative", "null")}


def test_the_null_of_a_part_of_the_runs(
    large: Case, chosen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    num_parameters = large.pair.num_parameters("blocks")
    monkeypatch.setattr("sftlens.weights._diff.NULL_ENTRIES", num_parameters // 3)
    values = []
    for name in (tensor.name for tensor in large.pair.region("blocks")):
        before, after = (side[name].float().flatten().numpy() for side in (large.base, large.tuned))
        for start in range(0, len(before), 3 * naive.NULL_RUN):
            run = slice(start, start + naive.NULL_RUN)
            change = np.abs(after[run] - before[run])
            order = np.random.default_rng(SEED).permutation(len(change))
            values.append(change[order] / (np.abs(before[run]) + np.float32(1e-8)))
    null = np.concatenate(values)
    assert num_parameters // 4 < len(null) < num_parameters // 2
    found = diff(large.pair, shares=[1, 20], seed=SEED, **chosen).concentration["null"]
    for share in (1, 20):
        expected = np.sort(null.astype(np.float64))[::-1]
        held = expected[: len(null) * share // 100].sum() / expected.sum()
        assert found[f"{share}"] == pytest.approx(held, rel=1e-9)


@pytest.mark.parametrize("name", ["bf16", "f32", "cast"])
def test_the_null_without_small_bases(
    cases: dict[str, Case], chosen: dict[str, Any], name: str
) -> None:
    """Small bases are left out of the null where the shuffled changes land."""
    case = cases[name]
    shuffled, bases = [], []
    for tensor in naive.names_of(case.tuned, "all"):
        sides = case.base[tensor], case.tuned[tensor]
        order = np.random.default_rng(SEED).permutation(sides[0].numel())
        bases.append(naive.size_of_base(*sides))
        shuffled.append(naive.absolute(*sides)[order] / (bases[-1] + naive.EPSILON))
    large = np.concatenate(bases) >= naive.SMALL
    assert 0 < np.count_nonzero(~large) < len(large)
    found = diff(case.pair, region="all", shares=SHARES, seed=SEED, **chosen)
    expected = {f"{s:g}": naive.held(np.concatenate(shuffled)[large], s) for s in SHARES}
    assert found.concentration_without_small_base["null"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shuffled", ["within", "across"])
def test_the_null_shuffles_within_runs(
    large: Case, tmp_path: Path, chosen: dict[str, Any], shuffled: str
) -> None:
    """Where abs(b) is one value throughout each run, a shuffle within runs changes no figure.

    A run of another length than 2^15, or one that did not begin anew in each tensor, would mix
    the two sizes; the second case, with runs set off by half, shows that this would be seen.
    """
    offset = 0 if shuffled == "within" else naive.NULL_RUN // 2

    def stepped(tensors: Tensors) -> Tensors:
        return {name: steps(tensor.shape) for name, tensor in sorted(tensors.items())}

    def steps(shape: torch.Size) -> torch.Tensor:
        places = torch.arange(shape.numel()) + offset
        return torch.where(places // naive.NULL_RUN % 2 == 0, 1.0, 8.0).view(shape)

    def moved(tensors: Tensors) -> Tensors:
        torch.manual_seed(0)
        result = {}
        for name, tensor in sorted(tensors.items()):
            change = torch.rand(tensor.shape) * tensor  # the larger where the base is
            result[name] = tensor + change
        return result

    folder = large.pair.base.folder
    base = write_copy(folder, tmp_path / "base", stepped)
    pair = open_pair(base, write_copy(base, tmp_path / "tuned", moved))
    found = diff(pair, shares=[1, 10, 40], seed=SEED, **chosen).concentration
    if shuffled == "within":
        assert found["null"] == pytest.approx(found["relative"], rel=1e-9)
    else:
        assert found["null"]["10"] > 1.2 * found["relative"]["10"]


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed")
def test_counts_of_more_entries_than_one_packed_number_holds() -> None:
    from sftlens.weights._compiled import _SPAN, CompiledKernels

    kernels, upper = CompiledKernels(), no_upper()
    size = 2 * _SPAN + 5
    base = torch.zeros(size, dtype=torch.bfloat16)
    tuned = torch.full((size,), 1.5, dtype=torch.bfloat16)
    change = kernels.change(base, tuned)
    kernels.count_upper(kernels.keys(Criterion("relative"), change, "", 0), upper)
    expected = int(np.float32(np.float32(1.5) / np.float32(1e-8)).view(np.int32))
    place = (expected >> 16) + 32768
    assert upper[place].tolist() == [size, size * (expected & 0xFFFF)]
    assert upper.sum() == upper[place].sum()
