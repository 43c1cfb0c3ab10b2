"""Models of different kinds: on vLLM each says what it says in transformers, or is refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

import transformers
from engines import *

from hf_eco import AutoModelForCausalLMWithECO
from hf_eco.errors import GuardError

CONFIGS: dict[str, dict[str, Any]] = {
    "Qwen2Config": {},
    "Qwen3MoeConfig": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64},
    "Gemma2Config": {"sliding_window": 64, "query_pre_attn_scalar": 32},  # scales what is embedded
    "Gemma3TextConfig": {"sliding_window": 64, "query_pre_attn_scalar": 32},  # scales as it embeds
    "GPT2Config": {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 512},
    "OPTConfig": {"ffn_dim": 96, "word_embed_proj_dim": 64},
    "GraniteConfig": {"embedding_multiplier": 12.0},
    "MistralConfig": {"sliding_window": 64},
}


@pytest.mark.parametrize("config", CONFIGS)
def test_answers_are_those_of_transformers(config: str, tmp_path: Path) -> None:
    own = {**sizes(), **CONFIGS[config]}
    base = save_base(tmp_path / "base", getattr(transformers, config)(**own))
    directory = save_guarded(tmp_path / "guarded", base)
    model = AutoModelForCausalLMWithECO.from_pretrained(directory, dtype="float32")
    prompts = [model.eco_guard.reader.encode(text) for text in [*FLAGGED, *CLEAN]]
    with model.disable_guard():
        plain = reference(model, prompts)
    expected = reference(model, prompts)
    assert any(a != b for a, b in zip(expected[: len(FLAGGED)], plain, strict=False))
    assert expected[len(FLAGGED) :] == plain[len(FLAGGED) :]
    llm = engine(directory, max_num_batched_tokens=64)
    try:
        assert answers(llm, prompts) == expected
    finally:
        closed(llm)


def test_a_model_that_vllm_runs_by_transformers_is_refused(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", transformers.PhiConfig(**sizes()))
    with pytest.raises(GuardError, match=r"no model class of its own for .*Phi"):
        engine(save_guarded(tmp_path / "guarded", base))
