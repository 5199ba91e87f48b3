"""Every remedy in a refusal of an adapter is followed here, and leads to the tuned model.

Equal means equal logits up to the rounding of another order of sums, 1e-5 of logits of order 1.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import peft
import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from safetensors.torch import load_file
from tiny_adapters import change_config
from tiny_models import save_model, save_tokenizer
from transformers import AutoModelForCausalLM

from remedies import run_python
from sftlens.errors import UserError
from sftlens.weights import Sweep, open_pair
from sftlens.weights._adapter_config import _NOT_WEIGHTS

TOKENS = torch.arange(5, 25)[None]


class Trained(NamedTuple):
    """An adapter that was trained for three steps."""

    base: Path
    folder: Path
    logits: torch.Tensor
    model: Any


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder)


def train(
    base: Path,
    folder: Path,
    config: Any = None,
    before: Callable[[Any], None] | None = None,
    loaded: Any = None,
    **settings: Any,
) -> Trained:
    torch.manual_seed(1)
    settings = {"r": 4, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", **settings}
    model = peft.get_peft_model(loaded or load(base), config or peft.LoraConfig(**settings))
    if before is not None:
        before(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(3):
        model(input_ids=TOKENS, labels=TOKENS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(folder)
    with torch.no_grad():
        return Trained(base, folder, model(input_ids=TOKENS).logits, model)


def off(logits: torch.Tensor, base: Path, tuned: Path) -> float:
    """By how much the logits of the tuned side are off, as the product sees it."""
    model = load(base)
    if (tuned / "adapter_config.json").exists():
        Sweep(model, open_pair(base, tuned))
    else:
        open_pair(base, tuned)
        model = load(tuned)
    with torch.no_grad():
        return float((model(input_ids=TOKENS).logits - logits).abs().max())


def refusal(trained: Trained) -> str:
    with pytest.raises(UserError) as caught:
        open_pair(trained.base, trained.folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def run(message: str, folder: Path) -> Path:
    """Run the Python command at the end of a message, with a folder in the place of FOLDER."""
    run_python(message, folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_model(tmp_path_factory.mktemp("base") / "llama", "llama")
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_model(tmp_path_factory.mktemp("tied") / "qwen3", "qwen3")
    save_tokenizer(folder)
    return folder


STARTS = ("pissa_niter_4", "lora_ga", "corda")


@pytest.mark.parametrize("start", STARTS)
def test_starts_that_peft_cannot_repeat(base: Path, tmp_path: Path, start: str) -> None:
    trained = train(base, tmp_path / "adapter")
    message = refusal(
        trained._replace(folder=change_config(trained.folder, init_lora_weights=start))
    )
    assert "from_pretrained" not in message
    assert "merge it in the process that trained it" in message


def test_both_ways_within_the_training(base: Path, tmp_path: Path) -> None:
    start = tmp_path / "start"

    def keep(model: Any) -> None:
        # As peft's own documents have it: the start is saved as one that changes no base.
        model.peft_config["default"].init_lora_weights = True
        model.save_pretrained(start)
        model.peft_config["default"].init_lora_weights = "pissa_niter_4"

    trained = train(base, tmp_path / "adapter", before=keep, init_lora_weights="pissa_niter_4")
    message = refusal(trained)
    assert "path_initial_model_for_weight_conversion=START" in message
    trained.model.save_pretrained(
        tmp_path / "plain", path_initial_model_for_weight_conversion=str(start)
    )
    assert off(trained.logits, base, tmp_path / "plain") < 1e-5
    trained.model.merge_and_unload().save_pretrained(tmp_path / "merged")
    assert off(trained.logits, base, tmp_path / "merged") < 1e-5


@pytest.mark.parametrize(
    "settings",
    [
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "mica"},
        {"config": peft.IA3Config(target_modules=["v_proj"], feedforward_modules=[])},
        {"config": peft.LoKrConfig(r=4, target_modules=["q_proj"])},
        {"config": peft.OFTConfig(r=2, oft_block_size=0, target_modules=["q_proj"])},
        {"config": peft.VeraConfig(r=4, target_modules=["q_proj"])},
    ],
    ids=["pissa", "olora", "mica", "ia3", "lokr", "oft", "vera"],
)
def test_the_merge_that_is_named(base: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    trained = train(base, tmp_path / "adapter", **settings)
    merged = run(refusal(trained), tmp_path / "merged")
    assert off(trained.logits, base, merged) < 1e-5
    assert off(trained.logits, base, base) > 3e-5
    assert (merged / "tokenizer_config.json").is_file()


def test_methods_without_weights_are_those_that_peft_does_not_merge() -> None:
    merges = {
        kind.value: hasattr(tuner, "merge_and_unload")
        for kind, tuner in PEFT_TYPE_TO_TUNER_MAPPING.items()
    }
    never = {"XLORA", "POLY"}  # mixed anew for each token or task
    assert {kind for kind, mergeable in merges.items() if not mergeable} | never >= _NOT_WEIGHTS
    assert {kind for kind, mergeable in merges.items() if not mergeable} <= _NOT_WEIGHTS


@pytest.mark.parametrize(
    "settings",
    [
        {"modules_to_save": ["embed_tokens"]},
        {"modules_to_save": ["embed_tokens", "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"trainable_token_indices": {"embed_tokens": [5, 7], "lm_head": [6]}},
    ],
)
def test_tied_embeddings_that_are_not_changed_alike(
    tied: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    trained = train(tied, tmp_path / "adapter", **settings)
    message = refusal(trained)
    assert "does not change alike" in message
    assert off(trained.logits, run(message, tmp_path / "untied"), trained.folder) < 1e-5


@pytest.mark.parametrize(
    "settings",
    [
        {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
        {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True},
        {"trainable_token_indices": [5, 7]},
        {"trainable_token_indices": {"embed_tokens": [5, 7], "lm_head": [5, 7]}},
    ],
)
def test_tied_embeddings_that_are_changed_alike(
    tied: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    trained = train(tied, tmp_path / "adapter", **settings)
    assert off(trained.logits, tied, trained.folder) < 1e-5
    assert off(trained.logits, tied, tied) > 1e-4


@pytest.mark.parametrize("rows", [[5, 7], {"lm_head": [6], "embed_tokens": [5, 7]}])
def test_tokens_of_an_untied_base(base: Path, tmp_path: Path, rows: Any) -> None:
    trained = train(base, tmp_path / "adapter", trainable_token_indices=rows)
    assert off(trained.logits, base, trained.folder) < 1e-5
    assert "rows replaced" in open_pair(base, trained.folder).notes[0]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("kind", ["base", "tied"])
def test_a_vocabulary_that_was_resized(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, whole: bool
) -> None:
    """The rows that resizing adds are random, and those that were trained come in their place."""
    base: Path = request.getfixturevalue(kind)
    resized = load(base)
    resized.resize_token_embeddings(66)
    settings: dict[str, Any] = {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}
    if kind == "base":
        settings = {"modules_to_save": ["embed_tokens", "lm_head"]}
    if not whole:
        settings = {"trainable_token_indices": {"embed_tokens": [64, 65], "lm_head": [64, 65]}}
    trained = train(base, tmp_path / "adapter", loaded=resized, **settings)
    message = refusal(trained)
    larger = run(message, tmp_path / "larger")
    assert off(trained.logits, larger, trained.folder) < 1e-5


def test_a_bias_that_the_base_has_no_place_for(base: Path, tmp_path: Path) -> None:
    trained = train(base, tmp_path / "adapter", lora_bias=True)
    with pytest.raises(RuntimeError, match="no bias"):
        trained.model.merge_and_unload()
    assert refusal(trained).endswith("train the adapter without lora_bias")
    again = train(base, tmp_path / "again", lora_bias=False)
    assert off(again.logits, base, again.folder) < 1e-5


@pytest.mark.parametrize(
    "fields", [{"alora_invocation_tokens": [7]}, {"layer_replication": [[0, 2], [1, 2]]}]
)
def test_what_no_merge_can_hold(base: Path, tmp_path: Path, fields: dict[str, Any]) -> None:
    trained = train(base, tmp_path / "adapter", **fields)
    assert refusal(trained).endswith("train an adapter of plain LoRA to compare it")
    with pytest.raises((NotImplementedError, RuntimeError)):
        trained.model.merge_and_unload().save_pretrained(tmp_path / "merged")


def test_an_expression_that_is_not_supported(base: Path, tmp_path: Path) -> None:
    trained = train(base, tmp_path / "adapter", alpha_pattern={r"(?!k).*q_proj": 16})
    assert "write the modules' names in its place" in refusal(trained)
    change_config(trained.folder, alpha_pattern={"q_proj": 16})
    assert off(trained.logits, base, trained.folder) < 1e-5


def test_another_base(base: Path, tied: Path, tmp_path: Path) -> None:
    trained = train(tied, tmp_path / "adapter", target_modules=["k_proj"])  # of fewer heads
    message = refusal(trained._replace(base=base))
    assert "give the base that the adapter was trained on" in message
    assert off(trained.logits, tied, trained.folder) < 1e-5


def test_saving_again_leaves_out_what_does_not_belong(base: Path, tmp_path: Path) -> None:
    trained = train(base, tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    assert "holds no tensors; save the adapter again (model.save_pretrained)" in refusal(trained)
    trained.model.save_pretrained(trained.folder)
    assert load_file(trained.folder / "adapter_model.safetensors")
    assert off(trained.logits, base, trained.folder) < 1e-5


def test_one_of_several_adapters(base: Path, tmp_path: Path) -> None:
    trained = train(base, tmp_path / "adapter")
    trained.model.save_pretrained(tmp_path / "one", selected_adapters=["default"])
    assert off(trained.logits, base, tmp_path / "one") < 1e-5


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe"])
def test_mixed_layouts_of_experts(tmp_path: Path, name: str) -> None:
    parts = save_model(tmp_path / "parts", name)
    save_tokenizer(parts)
    packed = tmp_path / "packed"
    load(parts).save_pretrained(packed, save_original_format=False)
    with pytest.raises(UserError, match="in other pieces") as caught:
        open_pair(packed, parts)
    run(str(caught.value), tmp_path / "again")
    assert open_pair(packed, tmp_path / "again").tensors
