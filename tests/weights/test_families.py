"""The place of every stored tensor, family by family."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from tiny_models import CONFIGS, save_model, tiny_config
from transformers import AutoModelForCausalLM

from sftlens.checkpoints import open_checkpoint
from sftlens.weights import CheckpointPair, open_pair
from sftlens.weights._reading import FLOAT_DTYPES

Block = dict[str, str]
"""The modules of one decoder block by what they are: attention, mlp, norm, other."""

LLAMA_ATTENTION = "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj"
LLAMA_MLP = "mlp.gate_proj mlp.up_proj mlp.down_proj"
LLAMA_NORMS = "input_layernorm post_attention_layernorm"
QK_NORMS = "self_attn.q_norm self_attn.k_norm"
EXPERTS = "mlp.gate mlp.experts.*.gate_proj mlp.experts.*.up_proj mlp.experts.*.down_proj"
SHARED_EXPERT = (
    "mlp.shared_expert.gate_proj mlp.shared_expert.up_proj mlp.shared_expert.down_proj "
    "mlp.shared_expert_gate"
)


def below(prefix: str, names: str) -> str:
    return " ".join(f"{prefix}.{name}" for name in names.split())


def block(attention: str, mlp: str, norm: str, other: str = "") -> Block:
    return {"attention": attention, "mlp": mlp, "norm": norm, "other": other}


LLAMA = block(LLAMA_ATTENTION, LLAMA_MLP, LLAMA_NORMS)
QWEN3 = block(LLAMA_ATTENTION, LLAMA_MLP, f"{LLAMA_NORMS} {QK_NORMS}")
GEMMA = block(
    LLAMA_ATTENTION,
    LLAMA_MLP,
    f"{LLAMA_NORMS} pre_feedforward_layernorm post_feedforward_layernorm",
)
GEMMA3 = {**GEMMA, "norm": f"{GEMMA['norm']} {QK_NORMS}"}
MIXTRAL_MLP = "mlp.gate mlp.experts.*.w1 mlp.experts.*.w2 mlp.experts.*.w3"
GPT_MLP = "mlp.c_fc mlp.c_proj"
GLU = "gate_proj up_proj down_proj"
MAMBA = "A_log D conv1d dt_proj in_proj out_proj x_proj"
MAMBA2 = "A_log D conv1d dt_bias in_proj out_proj"
DEEPSEEK_ATTENTION = below("self_attn", "q_a_proj q_b_proj kv_a_proj_with_mqa kv_b_proj o_proj")
DEEPSEEK_NORMS = f"{LLAMA_NORMS} self_attn.q_a_layernorm self_attn.kv_a_layernorm"
LFM_NORMS = "operator_norm ffn_norm"
LFM_QK_NORMS = f"{LFM_NORMS} self_attn.q_layernorm self_attn.k_layernorm"
LFM_ATTENTION = "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.out_proj"
HYBRID_NORMS = "input_layernorm pre_ff_layernorm"
GRIFFIN = block("", below("mlp_block", GLU), "temporal_pre_norm channel_pre_norm")
GRIFFIN_RECURRENT = {
    **GRIFFIN,
    "attention": below(
        "temporal_block",
        "conv_1d linear_x linear_y linear_out rg_lru.input_gate_weight rg_lru.input_gate_bias "
        "rg_lru.recurrent_gate_weight rg_lru.recurrent_gate_bias rg_lru.recurrent_param",
    ),
}
ZAMBA_MAMBA = block(below("mamba", MAMBA2), "", "input_layernorm mamba.norm")

BLOCKS: dict[str, list[Block]] = {
    "bart": [
        block(
            below("self_attn", "q_proj k_proj v_proj out_proj")
            + " "
            + below("encoder_attn", "q_proj k_proj v_proj out_proj"),
            "fc1 fc2",
            "self_attn_layer_norm encoder_attn_layer_norm final_layer_norm",
        )
    ]
    * 2,
    "bloom": [
        block(
            "self_attention.query_key_value self_attention.dense",
            "mlp.dense_h_to_4h mlp.dense_4h_to_h",
            LLAMA_NORMS,
        )
    ]
    * 2,
    "deepseek_v3": [
        block(DEEPSEEK_ATTENTION, LLAMA_MLP, DEEPSEEK_NORMS),
        block(
            DEEPSEEK_ATTENTION,
            f"{EXPERTS} {below('mlp.shared_experts', GLU)}",
            DEEPSEEK_NORMS,
            "mlp.gate.e_score_correction_bias",  # a buffer, never trained
        ),
    ],
    "doge": [
        block(
            f"{LLAMA_ATTENTION} self_attn.A self_attn.dt_proj",
            f"{LLAMA_MLP} input_residual post_attention_residual",
            f"{LLAMA_NORMS} {QK_NORMS}",
        )
    ]
    * 2,
    "falcon": [
        block(
            "self_attention.query_key_value self_attention.dense",
            "mlp.dense_h_to_4h mlp.dense_4h_to_h",
            "input_layernorm",
        )
    ]
    * 2,
    "falcon_h1": [
        block(
            f"{LLAMA_ATTENTION} {below('mamba', MAMBA2)}",
            below("feed_forward", GLU),
            HYBRID_NORMS,
        )
    ]
    * 2,
    "gemma2": [GEMMA] * 2,
    "gemma3": [GEMMA3] * 2,
    "gpt2": [block("attn.c_attn attn.c_proj", GPT_MLP, "ln_1 ln_2")] * 2,
    "gpt_neox": [
        block(
            "attention.query_key_value attention.dense",
            "mlp.dense_h_to_4h mlp.dense_4h_to_h",
            LLAMA_NORMS,
        )
    ]
    * 2,
    "gpt_oss": [
        block(
            f"{LLAMA_ATTENTION} self_attn.sinks",
            "mlp.router mlp.experts.gate_up_proj mlp.experts.gate_up_proj_bias "
            "mlp.experts.down_proj mlp.experts.down_proj_bias",
            LLAMA_NORMS,
        )
    ]
    * 2,
    "gptj": [
        block("attn.q_proj attn.k_proj attn.v_proj attn.out_proj", "mlp.fc_in mlp.fc_out", "ln_1")
    ]
    * 2,
    "granite": [LLAMA] * 2,
    "granitemoe": [
        block(
            LLAMA_ATTENTION,
            below("block_sparse_moe", "router experts.gate_up_proj experts.down_proj"),
            LLAMA_NORMS,
        )
    ]
    * 2,
    "jamba": [
        block(
            below("mamba", MAMBA),
            below("feed_forward", GLU),
            f"{HYBRID_NORMS} mamba.dt_layernorm mamba.b_layernorm mamba.c_layernorm",
        ),
        block(
            LLAMA_ATTENTION,
            f"feed_forward.router {below('feed_forward.experts.*', GLU)}",
            HYBRID_NORMS,
        ),
    ],
    "jetmoe": [
        block(
            "self_attention.kv_proj self_attention.experts "
            + below("self_attention.experts", "input_linear output_linear router.layer"),
            "mlp mlp.input_linear mlp.output_linear mlp.router.layer",
            LLAMA_NORMS,
        )
    ]
    * 2,
    "lfm2": [
        block("conv.conv conv.in_proj conv.out_proj", below("feed_forward", "w1 w2 w3"), LFM_NORMS),
        block(LFM_ATTENTION, below("feed_forward", "w1 w2 w3"), LFM_QK_NORMS),
    ],
    "lfm2_moe": [
        block("conv.conv conv.in_proj conv.out_proj", below("feed_forward", "w1 w2 w3"), LFM_NORMS),
        block(
            LFM_ATTENTION,
            f"feed_forward.gate {below('feed_forward.experts.*', 'w1 w2 w3')}",
            LFM_QK_NORMS,
            "feed_forward.expert_bias",
        ),
    ],
    "llama": [LLAMA] * 2,
    "mamba": [block(below("mixer", MAMBA), "", "norm")] * 2,
    "mamba2": [block(below("mixer", MAMBA2), "", "norm mixer.norm")] * 2,
    "minimax": [
        block(
            "self_attn.qkv_proj self_attn.output_gate self_attn.out_proj",
            MIXTRAL_MLP,
            f"{LLAMA_NORMS} self_attn.norm",
            below("self_attn", "slope_rate query_decay key_decay diagonal_decay"),
        ),
        block(LLAMA_ATTENTION, MIXTRAL_MLP, LLAMA_NORMS),
    ],
    "mistral": [LLAMA] * 2,
    "mixtral": [block(LLAMA_ATTENTION, MIXTRAL_MLP, LLAMA_NORMS)] * 2,
    "nemotron_h": [
        block(below("mixer", MAMBA2), "", "norm mixer.norm"),
        block(
            "",
            "mixer.gate mixer.experts.*.up_proj mixer.experts.*.down_proj "
            "mixer.shared_experts.up_proj mixer.shared_experts.down_proj",
            "norm",
            "mixer.gate.e_score_correction_bias",
        ),
        block(below("mixer", "q_proj k_proj v_proj o_proj"), "", "norm"),
        block("", "mixer.up_proj mixer.down_proj", "norm"),
    ],
    "olmo2": [
        block(
            LLAMA_ATTENTION,
            LLAMA_MLP,
            f"post_attention_layernorm post_feedforward_layernorm {QK_NORMS}",
        )
    ]
    * 2,
    "opt": [
        block(
            below("self_attn", "q_proj k_proj v_proj out_proj"),
            "fc1 fc2",
            "self_attn_layer_norm final_layer_norm",
        )
    ]
    * 2,
    "phi3": [
        block("self_attn.qkv_proj self_attn.o_proj", "mlp.gate_up_proj mlp.down_proj", LLAMA_NORMS)
    ]
    * 2,
    "qwen2": [LLAMA] * 2,
    "qwen2_moe": [block(LLAMA_ATTENTION, f"{EXPERTS} {SHARED_EXPERT}", LLAMA_NORMS)] * 2,
    "qwen3": [QWEN3] * 2,
    "qwen3_moe": [{**QWEN3, "mlp": EXPERTS}] * 2,
    "qwen3_next": [
        block(
            below("linear_attn", "A_log conv1d dt_bias in_proj_ba in_proj_qkvz out_proj"),
            f"{EXPERTS} {SHARED_EXPERT}",
            f"{LLAMA_NORMS} linear_attn.norm",
        ),
        {**QWEN3, "mlp": f"{EXPERTS} {SHARED_EXPERT}"},
    ],
    "recurrent_gemma": [
        GRIFFIN_RECURRENT,
        GRIFFIN_RECURRENT,
        {**GRIFFIN, "attention": below("temporal_block", "q_proj k_proj v_proj o_proj")},
    ],
    "rwkv": [
        block(
            below(
                "attention",
                "key value receptance output time_decay time_first time_mix_key time_mix_value "
                "time_mix_receptance",
            ),
            below("feed_forward", "key value receptance time_mix_key time_mix_receptance"),
            norms,
        )
        for norms in ("pre_ln ln1 ln2", "ln1 ln2")
    ],
    "xlstm": [
        block(
            below("mlstm_layer", "q k v ogate_preact igate_preact fgate_preact out_proj"),
            below("ffn", "proj_up proj_up_gate proj_down"),
            "norm_mlstm norm_ffn mlstm_layer.multihead_norm",
        )
    ]
    * 2,
    "zamba2": [
        ZAMBA_MAMBA,
        block(
            below("mamba_decoder.mamba", MAMBA2)
            + " "
            + below(
                "shared_transformer.self_attn",
                "q_proj k_proj v_proj o_proj linear_q_adapter_list.0.0 linear_q_adapter_list.0.1 "
                "linear_k_adapter_list.0.0 linear_k_adapter_list.0.1 linear_v_adapter_list.0.0 "
                "linear_v_adapter_list.0.1",
            ),
            "linear "
            + below(
                "shared_transformer.feed_forward",
                "gate_up_proj down_proj gate_up_proj_adapter_list.0.0 "
                "gate_up_proj_adapter_list.0.1",
            ),
            "mamba_decoder.input_layernorm mamba_decoder.mamba.norm "
            "shared_transformer.input_layernorm shared_transformer.pre_ff_layernorm",
        ),
        ZAMBA_MAMBA,
    ],
}

NUMBER = re.compile(r"(?<!vision_tower\.encoder)\.(?:layers|h|blocks)\.(\d+)\.")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CheckpointPair]:
    root = tmp_path_factory.mktemp("families")
    folders = {name: save_model(root / name, name) for name in CONFIGS}
    return {name: open_pair(folder, folder) for name, folder in folders.items()}


def modules(pair: CheckpointPair, layer: int, regions: Iterable[str]) -> Block:
    roles = [tensor.role for tensor in pair.tensors.values() if tensor.role.layer == layer]
    return {
        region: " ".join(sorted({r.module for r in roles if (r.part or r.kind) == region}))
        for region in regions
    }


def in_order(block: Block) -> Block:
    return {region: " ".join(sorted(names.split())) for region, names in block.items()}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_tensor_of_a_block_has_its_place(name: str, pairs: dict[str, CheckpointPair]) -> None:
    pair = pairs[name]
    numbers = {tensor.role.layer for tensor in pair.tensors.values()} - {None}
    assert numbers == set(range(len(BLOCKS[name])))
    for layer, expected in enumerate(BLOCKS[name]):
        assert modules(pair, layer, expected) == in_order(expected)
    kinds = {t.role.kind for t in pair.tensors.values() if t.role.layer is not None}
    assert kinds <= {"block", "norm", "other"}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_tensor_has_the_layer_of_its_name(
    name: str, pairs: dict[str, CheckpointPair]
) -> None:
    for tensor in pairs[name].tensors.values():
        found = NUMBER.search(tensor.name)
        assert tensor.role.layer == (int(found[1]) if found else None), tensor.name


@pytest.mark.parametrize("name", CONFIGS)
def test_regions_divide_what_is_stored(name: str, pairs: dict[str, CheckpointPair]) -> None:
    pair = pairs[name]
    stored = open_checkpoint(pair.tuned.folder).tensors
    floats = sum(info.num_entries for info in stored.values() if info.dtype in FLOAT_DTYPES)
    assert pair.num_parameters("all") == floats

    def size(kind: str) -> int:
        return sum(t.num_parameters for t in pair.tensors.values() if t.role.kind == kind)

    kinds = ("norm", "embedding", "head", "other")
    assert pair.num_parameters("blocks") + sum(map(size, kinds)) == floats
    assert pair.num_parameters("embeddings") == size("embedding") + size("head")
    parts = {
        part: {t.name for t in pair.tensors.values() if t.role.part == part}
        for part in ("attention", "mlp")
    }
    assert parts["attention"].isdisjoint(parts["mlp"])
    assert parts["attention"] | parts["mlp"] == {t.name for t in pair.region("blocks")}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_of_the_model_is_found(name: str, pairs: dict[str, CheckpointPair]) -> None:
    model = AutoModelForCausalLM.from_config(tiny_config(name))
    parameters = {path for path, _ in model.named_parameters()}
    roles = [tensor.role for tensor in pairs[name].tensors.values()]
    assert parameters <= {role.parameter for role in roles}
    assert all(role.used for role in roles)
    inside = [r for r in roles if r.layer is not None and r.parameter in parameters]
    assert {role.kind for role in inside} <= {"block", "norm"}


@pytest.mark.parametrize("name", CONFIGS)
def test_embeddings_and_head_lie_outside_of_the_blocks(
    name: str, pairs: dict[str, CheckpointPair]
) -> None:
    model = AutoModelForCausalLM.from_config(tiny_config(name))
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    outside = [t.role for t in pairs[name].tensors.values() if t.role.layer is None]
    weights = {r.kind: r.parameter for r in outside if r.kind in ("embedding", "head")}
    assert model.get_parameter(weights.pop("embedding")) is embeddings
    if head is embeddings:
        assert weights == {}
    else:
        module = weights.pop("head").rpartition(".")[0]
        assert model.get_submodule(module).weight is head
    assert {role.kind for role in outside} <= {"embedding", "head", "other"}
