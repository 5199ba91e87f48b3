"""Models of other kinds: with learned positions, windows, recurrent states, without a cache."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from sftlens.errors import UserError
from sftlens.generation import Decoding, LoadedModel, TransformersGenerator

SMALL = {"vocab_size": 1024, "hidden_size": 32, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1}
KINDS: dict[str, dict[str, Any]] = {
    "GPT2": {"vocab_size": 1024, "n_embd": 32, "n_layer": 2, "n_head": 2},
    "Bloom": {**SMALL, "n_head": 2},
    "Gemma2": {**SMALL, **HEADS, "intermediate_size": 64, "head_dim": 16, "sliding_window": 6},
    "Mamba": {**SMALL, "state_size": 4},
    "OpenAIGPT": {"vocab_size": 1024, "n_embd": 32, "n_layer": 2, "n_head": 2},
    "RecurrentGemma": {**SMALL, **HEADS, "intermediate_size": 64, "num_hidden_layers": 3},
    "Qwen3Next": {
        **SMALL, **HEADS, "intermediate_size": 64, "num_experts": 2, "num_experts_per_tok": 1,
        "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "head_dim": 16,
        "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 16,
        "linear_value_head_dim": 16, "layer_types": ["linear_attention", "full_attention"],
    },
}  # fmt: skip
PROMPTS = ["Where was he born?", "a b", "", "The capital of the country is", "a b c"]


def tiny(kind: str) -> Any:
    config = getattr(transformers, f"{kind}Config")(
        **KINDS[kind], bos_token_id=0, eos_token_id=1, pad_token_id=2
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(transformers, f"{kind}{HEAD.get(kind, 'ForCausalLM')}")(config).eval()


HEAD = {"GPT2": "LMHeadModel", "OpenAIGPT": "LMHeadModel"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_what_reading_the_whole_text_anew_gives(
    loaded_base: LoadedModel, kind: str
) -> None:
    model, tokenizer = tiny(kind), loaded_base.tokenizer
    generator = TransformersGenerator(model, tokenizer)
    decoding = Decoding(max_new_tokens=8)
    found = {
        one.place: one.texts[0] for batch in generator.complete(PROMPTS, decoding) for one in batch
    }
    for place, prompt in enumerate(PROMPTS):
        ids = tokenizer(prompt)["input_ids"]
        start = len(ids)
        with torch.inference_mode():
            while len(ids) < start + 8 and (len(ids) == start or ids[-1] != 1):
                logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits
                ids.append(int(logits[0, -1].argmax()))
        assert found[place] == tokenizer.decode(ids[start:], skip_special_tokens=True)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_of_every_kind_do_not_depend_on_the_batch(
    loaded_base: LoadedModel, kind: str
) -> None:
    model, tokenizer = tiny(kind), loaded_base.tokenizer
    decoding = Decoding(num_samples=3, temperature=0.7, max_new_tokens=5)
    whole, alone = (
        sorted(
            one
            for batch in TransformersGenerator(model, tokenizer, max_batch_tokens=budget).complete(
                PROMPTS, decoding
            )
            for one in batch
        )
        for budget in (None, 1)
    )
    assert whole == alone


def test_texts_beyond_the_positions_of_a_model_are_refused(loaded_base: LoadedModel) -> None:
    model, tokenizer, _ = loaded_base
    generator = TransformersGenerator(model, tokenizer)
    positions = model.config.max_position_embeddings
    prompt = tokenizer.decode(tokenizer(" a" * positions)["input_ids"][1 : positions - 3])
    num_tokens = len(generator.tokenize([prompt])[0])
    fits = Decoding(max_new_tokens=positions - num_tokens + 1)
    assert len(list(generator.complete([prompt], fits))) == 1
    with pytest.raises(UserError, match=f"has {num_tokens} tokens.* {positions} positions") as told:
        list(generator.complete(["a", prompt], Decoding(max_new_tokens=fits.max_new_tokens + 1)))
    assert "\n" not in str(told.value)
    with pytest.raises(UserError, match="positions"):
        list(generator.next_token_logits([prompt * 2]))


@pytest.mark.parametrize("bos", ["<s>", None])
def test_an_empty_prompt_is_never_empty(loaded_base: LoadedModel, bos: str | None) -> None:
    import copy

    from tokenizers import processors

    model, tokenizer, _ = loaded_base
    bare = copy.deepcopy(tokenizer)
    bare.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    bare.bos_token = bos
    assert bare("")["input_ids"] == []
    generator = TransformersGenerator(model, bare)
    assert generator.tokenize(["", "a"])[0] == [1 if bos is None else 0]
    assert len(list(generator.complete(["", "a"], Decoding(max_new_tokens=2)))) == 1
