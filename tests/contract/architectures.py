"""Tiny random configs of every causal language model transformers knows, and what hf-eco is to make of each.

`python tests/contract/architectures.py` writes docs/architectures.md from the expectations below.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCAB = 440  # more than the test tokenizer's; what is beyond it stands for images and the like
TRANSFORMERS = "5.24.0"  # what the tables below were written for
DOCUMENT = Path(__file__).parents[2] / "docs" / "architectures.md"
MODEL_TYPES = sorted({*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *AutoModelForCausalLM._model_mapping._model_mapping})

LAYERS = re.compile(r"(num_)?(hidden_|encoder_|decoder_)?layers|n_layers?|num_blocks|depth|.*_hidden_layers")
# The first pattern that matches a number's whole name gives its value, unless it is smaller already.
SIZES = {
    re.compile(pattern): size
    for size, patterns in [
        (100, [r"(shape|pronunciation)_vocab_size"]),
        (64, [r"ngram_vocab_size_base|encoder_hash_byte_group_vocab|.*ngram_parts|make_ngram_.*"]),
        (VOCAB, [r".*vocab_size(_per_layer_input)?|vocab_offset"]),
        (
            512,
            [r".*max_position_embeddings|n_positions|n_ctx|max_seq_len|max_.*_positions|.*_max_length|context_length"],
        ),
        (16, [r"sliding_window(_size)?|.*window_size|.*_window_len|(mamba_|attention_)?chunk_size|index_topk"]),
        (2, [LAYERS.pattern]),
        (1, [r"first_k_dense_replace|num_dense_layers|n_group|num_expert_group|topk_group|o_groups|num_hash_layers"]),
        (2, [r".*(key_value|kv|kv_n)_heads|.*query_groups|kv_n_heads|index_n_heads|(mamba_)?n(um)?_?groups"]),
        (4, [r".*heads|n_head|heads_per_ngram|.*heads_per_layer"]),
        (4, [r"(moe_)?(num_|n_)(local_|routed_)?experts|num_centroids|num_codebooks|codebook_size"]),
        (2, [r"(num_)?experts_per_tok(en)?|moe_top_?k|moe_k|centroid_.*_top_k|zero_expert_num"]),
        (
            8,
            [
                r".*state_size|mamba_d_state|.*_rank|hc_lowrank|qk_rope_head_dim|rotary_dim|.*per_layer_input|ple_.*_dim"
            ],
        ),
        (24, [r"qk_head_dim"]),
        (16, [r".*head_?dim|.*head_size|d_head|d_kv|dim_head|kv_channels|mamba_d_head"]),
        (
            64,
            [
                r".*(intermediate|ffn|expert|mlp|router|moe).*_(size|dim)|intermediate_size_mlp|.*_ffn_.*|feed_forward_size"
            ],
        ),
        (64, [r"d_ff|dff|dim_ff|n_inner|d_model|n_embd|dim|emb_dim|embed_dim|.*embed_proj_dim|lru_width|d_inner"]),
        (64, [r".*(hidden|embedding)_(size|dim)|input_size"]),
    ]
    for pattern in patterns
}
INITIAL = re.compile(r"initializer_range|initializer_factor|init_std|embed_init_std|init_method_std")
# What shrinking by name cannot do. A dotted name belongs to a nested config.
FULL_AND_SLIDING = ["sliding_attention", "full_attention"]
ASSISTANT = {"vocab_size": VOCAB, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16}
DOTS3 = {
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 4,
    "swa_q_lora_rank": 8,
    "swa_kv_lora_rank": 8,
    "swa_head_dim": 24,
    "swa_qk_nope_head_dim": 16,
    "swa_v_head_dim": 16,
}
DOTS3_ADAPTERS = {
    "audio_config.adapter_input_size": 64,
    "audio_config.adapter_out_dim": 64,
    "vision_config.adapter_in_dim": 64,
    "vision_config.adapter_out_dim": 64,
}
MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
QWEN4 = {
    "ple_layer_ids": [1],
    "ple_embed_dim": 64,
    "ngram_vocab_size_base": 64,
    "split_ngram_parts": 4,
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 16,
    "indexer_budget": 16,
    "indexer_compress_ratio": 4,
}
OVERRIDES: dict[str, dict[str, Any]] = {
    "bamba": {"mamba_d_head": 32, "num_hidden_layers": 2, "attn_layer_indices": [1]},
    "cohere_compass_text": {"rope_parameters": {"full_attention": MROPE}},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8},
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dory": {
        "num_hidden_layers": 4,
        "n_input_layers": 1,
        "n_recurrent_layers": 2,
        "n_output_layers": 1,
        "layer_types": FULL_AND_SLIDING * 2,
    },
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "dots3_note": {f"text_config.{name}": value for name, value in DOTS3.items()} | DOTS3_ADAPTERS,
    "dots3_note_text": DOTS3,
    "gemma3n_text": {
        "num_hidden_layers": 4,
        "layer_types": FULL_AND_SLIDING * 2,
        "num_kv_shared_layers": 2,
        "intermediate_size": 64,
        "activation_sparsity_pattern": [0.0] * 4,
    },
    "gemma4": {"text_config.global_head_dim": 16},
    "gemma4_assistant": {
        "text_config": ASSISTANT | {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0}
    },
    "gemma4_text": {"global_head_dim": 16},
    "gemma4_unified": {"text_config.global_head_dim": 16},
    "gemma4_unified_assistant": {"text_config": ASSISTANT},
    "gemma4_unified_text": {"global_head_dim": 16},
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {
        "mamba_d_head": 32,
        "layer_types": ["linear_attention", "full_attention"],
        "num_hidden_layers": 2,
    },
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "longcat_flash": {"head_dim": 8},
    "mamba2": {"head_dim": 32},
    "nemotron": {"num_key_value_heads": 2},
    "phi4_multimodal": {"audio_config.nemo_conv_channels": 64},
    "qwen4_exp": {f"text_config.{name}": value for name, value in QWEN4.items()},
    "qwen4_exp_text": QWEN4,
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {"axial_pos_embds_dim": (32, 32), "axial_pos_shape": (16, 32)},
    "xlm": {"causal": True},
    "xlstm": {"num_hidden_layers": 2, "num_heads": 4, "qk_dim_factor": 1.0},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["linear_attention", "hybrid", "hybrid"], "num_hidden_layers": 3},
}
# Other configs of a type, where they make a difference.
VARIANTS: dict[str, dict[str, Any]] = {
    "bert/encoder": {"is_decoder": False},
    "deepseek_v4/no hash experts": {"mlp_layer_types": ["moe"] * 3},
    "gemma4_text/no per-layer embeddings": {"hidden_size_per_layer_input": 0},
    "qwen4_exp_text/no n-grams": {"ple_layer_ids": []},
}

_SECOND = "a second embedding layer of token ids: "
DRAFTERS = dict.fromkeys(
    ("gemma4_assistant", "gemma4_unified_assistant"), "drafts for another model, whose cache it reads"
)
REFUSED: dict[str, str] = {
    "blt": _SECOND + "hashes of byte groups",
    "cpmant": "puts prompt tokens of its own before the ids",
    "deepseek_v4": "token ids choose the experts of some layers",
    "gemma3n_text": _SECOND + "per layer",
    "gemma4": _SECOND + "per layer",
    "gemma4_text": _SECOND + "per layer",
    "prophetnet": _SECOND + "its encoder's",
    "qwen4_exp": _SECOND + "hashes of n-grams",
    "qwen4_exp_text": _SECOND + "hashes of n-grams",
    "reformer": "recurrent cache, past_buckets_states",
    "rwkv": "recurrent cache, state",
    "xlnet": "recurrent cache, mems",
    "xlstm": "recurrent cache, an xLSTMCache",
    **DRAFTERS,
}
# transformers hands them the whole prompt behind its cache.
WITHOUT_CACHE: dict[str, str] = {"xlm": "pass use_cache=False, or generate is refused"}
# The exception, then why.
_AUDIO = "AttributeError: speaks in audio codes; AutoModelForCausalLM hands its decoder the wrong config"
NOT_BUILDABLE: dict[str, str] = {
    "gemma3n": "ImportError: its vision tower needs timm and pillow",
    "musicgen": _AUDIO,
    "musicgen_melody": _AUDIO,
}


def tiny_config(name: str) -> PreTrainedConfig:
    """A config of the model type or variant small enough to build in a moment, with a layer of each kind at least."""
    model_type = name.partition("/")[0]
    return _shrunk(CONFIG_MAPPING[model_type], OVERRIDES.get(model_type, {}) | VARIANTS.get(name, {}))


def _shrunk(config_class: type[PreTrainedConfig], overrides: dict[str, Any]) -> Any:
    own = {name: value for name, value in overrides.items() if "." not in name}
    default = config_class(**(own if "text_config" in own else {}))
    declared = {field.name: field.default for field in dataclasses.fields(config_class)}
    values: dict[str, Any] = {}
    for name in declared:
        value = _value(default, name, declared[name])
        if isinstance(value, PreTrainedConfig):
            nested = {key.split(".", 1)[1]: v for key, v in overrides.items() if key.startswith(name + ".")}
            values[name] = _shrunk(type(value), nested)
        elif name.endswith(("_token_id", "_token_index")):
            values[name] = _token_id(name, value)
        elif declared[name] is not None and (new := _smaller(name, value)) != value:
            values[name] = new
    layers = [name for name in declared if LAYERS.fullmatch(name)]
    lists = {n: v for n in declared if isinstance(v := _value(default, n, None), (list, tuple))}
    for name in layers:
        count = _value(default, name, None)
        if per_layer := {n: v for n, v in lists.items() if len(v) == count and count > 2}:
            per_layer = {n: v for n, v in per_layer.items() if len({str(kind) for kind in v}) < count}
            kinds = list(zip(*map(list, per_layer.values()), strict=True))
            kept = sorted({str(kind): kinds.index(kind) for kind in kinds}.values())
            kept = kept if len(kept) > 1 else [0, 1]
            values |= {n: [_smaller(n, v[i]) for i in kept] for n, v in per_layer.items()} | {name: len(kept)}
    heads = _value(default, "num_attention_heads", None)
    for name in ("num_key_value_heads", "num_kv_heads"):
        if name in values and _value(default, name, None) == heads:
            values[name] = values["num_attention_heads"]
    if "head_dim" in declared and _value(default, "head_dim", 0) is None:
        values["head_dim"] = 16
    if "is_decoder" in declared:
        values["is_decoder"] = True  # or else some are encoders
    return config_class(**values | own)


def _value(config: PreTrainedConfig, name: str, default: Any) -> Any:
    try:
        return getattr(config, name, default)
    except Exception:  # varies by layer
        return default


def _smaller(name: str, value: Any) -> Any:
    if isinstance(value, float) and INITIAL.fullmatch(name):
        return 0.2
    if type(value) is not int:
        return value
    return next((min(value, size) for pattern, size in SIZES.items() if pattern.fullmatch(name)), value)


def _token_id(name: str, value: Any) -> Any:
    common = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    if name in common:
        return common[name]
    return VOCAB - 1 - value % 16 if isinstance(value, int) else value


def build(config: PreTrainedConfig) -> PreTrainedModel:
    """The causal language model of `config` with random weights, ready to answer."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("tid2eid"):  # the experts of each token, as checkpoints have them; zeros otherwise
            buffer.random_(4)
    return model


def routes_tokens(config: PreTrainedConfig) -> bool:
    """Whether a model sends tokens to experts, which take those of all rows together: a row's numbers then go by what
    stands beside it, in the last digits."""
    experts = re.compile(r"(moe_)?(num_|n_)(local_|routed_)?experts")
    own = {name: value for name, value in vars(config).items()}
    numbers = [value for name, value in own.items() if experts.fullmatch(name)]
    parts = [value for value in own.values() if isinstance(value, PreTrainedConfig)]
    return any(isinstance(n, int) and n > 1 for n in numbers) or any(map(routes_tokens, parts))


def verdict(name: str) -> str:
    """What the table says of a model type or variant."""
    for said, table in (("not buildable here", NOT_BUILDABLE), ("refused", REFUSED)):
        if name in table:
            return f"{said}: {table[name]}"
    if name in WITHOUT_CACHE:
        return f"guarded without a cache: {WITHOUT_CACHE[name]}"
    return "guarded, rows beside flagged ones to rounding" if routes_tokens(tiny_config(name)) else "guarded"


def render() -> str:
    """docs/architectures.md."""
    names = [*MODEL_TYPES, *VARIANTS]
    verdicts = [verdict(model_type) for model_type in MODEL_TYPES]
    counts = {said: sum(v.startswith(said) for v in verdicts) for said in ("guarded", "refused", "not")}
    lines = [
        "# Architectures",
        "",
        f"The {len(MODEL_TYPES)} model types of causal language models in transformers {TRANSFORMERS}: "
        f"{counts['guarded']} guarded, {counts['refused']} refused, {counts['not']} not buildable here. "
        "Variants of a config, in rows of their own, are not counted.",
        "",
        "**Guarded**: a tiny random model of that type answers a clean prompt to the bit as without a guard, and a "
        "flagged one as from embeddings corrupted by hand: with and without a cache, in a padded batch, with beams, "
        "saved and loaded again; native classes refuse the saved checkpoint. **Refused**: loading it with a guard "
        "raises a `GuardError` that says why. **Not buildable here**: not tried. Models with eyes or ears are tried "
        "on text. **Rows beside flagged ones to rounding**: tokens of all rows go through experts together, so that "
        "the last digits of a row depend on what stands beside it, as in the model without a guard. All others answer "
        "a clean prompt beside a flagged one to the bit; these, where it is alone or beside clean ones.",
        "",
        "`python tests/contract/architectures.py` writes this page, `tests/contract/test_architectures.py` checks it.",
        "",
        "| model type | class | verdict |",
        "|---|---|---|",
    ]
    for name in sorted(names):
        model_class = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[name.partition("/")[0]]
        model_class = model_class if isinstance(model_class, str) else model_class[0]
        lines.append(f"| {name.replace('/', ', ')} | {model_class} | {verdict(name)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(render(), encoding="utf-8")
