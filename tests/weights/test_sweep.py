"""A loaded model that steps through restorations is each time the one that would be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_adapters import save_adapter
from tiny_models import moved, read_tensors, same_bits, save_model, write_copy, write_restored
from transformers import AutoModelForCausalLM

from sftlens.errors import UserError
from sftlens.weights import Interpolation, Request, Sweep, open_pair, plan

REQUESTS = (
    Request(shares=(5, 40)),
    Request(method="interpolation", shares=(20,)),
    Request(method="dare", shares=(30,)),
    Request(method="lines", shares=(80,), region="all"),
    Request(method="fapm", shares=(50,), region="mlp"),
    Request(method="half-reset", shares=(50,), region="attention"),
)


def load(folder: Path, dtype: str = "auto") -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


def same(model: torch.nn.Module, other: torch.nn.Module) -> bool:
    first, second = model.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(
        same_bits(first[name], second[name]) for name in first
    )


@pytest.fixture(scope="module", params=["llama", "gpt2", "qwen3", "mixtral", "qwen2_moe"])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp(request.param)
    base = save_model(folder / "base", request.param, dtype=torch.bfloat16, max_shard_size="8KB")
    return [base, write_copy(base, folder / "tuned", moved(share=0.7), num_shards=2)]


def test_each_step_is_what_would_be_loaded(models: list[Path], tmp_path: Path) -> None:
    base, tuned = models
    pair = open_pair(base, tuned)
    model, untouched = load(tuned), load(tuned)
    with Sweep(model, pair) as sweep:
        for number, request in enumerate(REQUESTS):
            words = request._asdict()
            shares, out = words.pop("shares"), tmp_path / f"{number}"
            outputs = write_restored(base, tuned, shares, out, **words)
            for planned, output in zip(plan(pair, request), outputs, strict=True):
                sweep.step(planned.restoration)
                assert same(model, load(output.path)), request
        assert not same(model, untouched)
    assert same(model, untouched)


def test_the_model_is_tuned_again_after_an_error(models: list[Path]) -> None:
    base, tuned = models
    model = load(tuned)

    def interrupted() -> None:
        with Sweep(model, open_pair(base, tuned)) as sweep:
            sweep.step(Interpolation(alpha=0, region="all"))
            assert same(model, load(base))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert same(model, load(tuned))


def test_a_model_in_another_type(base16: Path, tuned16: Path, tmp_path: Path) -> None:
    [output] = write_restored(base16, tuned16, [20], tmp_path / "out")
    pair = open_pair(base16, tuned16)
    [planned] = plan(pair, Request(shares=(20,)))
    model = load(tuned16, "float32")
    with Sweep(model, pair) as sweep:
        sweep.step(planned.restoration)
        assert same(model, load(output.path, "float32"))
    assert same(model, load(tuned16, "float32"))


def test_the_base_of_an_adapter_becomes_the_merged_model(base16: Path, tmp_path: Path) -> None:
    adapter = save_adapter(base16, tmp_path / "adapter", target_modules=["q_proj", "down_proj"])
    merged, half = (
        write_restored(base16, adapter, [share], tmp_path / f"{share}")[0].path for share in (0, 50)
    )
    pair = open_pair(base16, adapter)
    model = load(base16)
    with Sweep(model, pair) as sweep:
        assert same(model, load(merged))
        [planned] = plan(pair, Request(shares=(50,)))
        sweep.step(planned.restoration)
        assert same(model, load(half))
    assert same(model, load(merged))


def test_another_model_is_refused(base: Path, tuned: Path, tmp_path: Path) -> None:
    other = load(save_model(tmp_path / "other", "gpt2"))
    with pytest.raises(UserError, match="has no parameter for"):
        Sweep(other, open_pair(base, tuned))


def test_inputs_stay_as_they_are(models: list[Path]) -> None:
    base, tuned = models
    before = read_tensors(base), read_tensors(tuned)
    with Sweep(load(tuned), open_pair(base, tuned)) as sweep:
        sweep.step(Interpolation(alpha=0.5, region="all"))
    after = read_tensors(base), read_tensors(tuned)
    for side, again in zip(before, after, strict=True):
        assert all(same_bits(side[name], again[name]) for name in side)
