"""Ways to start vLLM on a guarded checkpoint: each serves it guarded, or refuses and says what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

from engines import *

from hf_eco.errors import GuardError

NATIVE = ["LlamaForCausalLM"]


def configured(model: str, **options: Any) -> Any:
    """vLLM's config of a server, before anything is loaded."""
    from vllm import EngineArgs

    return EngineArgs(model=model, dtype="float32", max_model_len=256, **options).create_engine_config()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"trust_remote_code": True},
        {"model_impl": "vllm"},
        {"hf_overrides": {"model_type": "llama"}, "trust_remote_code": True},
        {"hf_overrides": {"eco": None}},
        {"enable_lora": True},
        {"enable_prefix_caching": False},
        {"served_model_name": "another"},
        {"speculative_config": {"method": "ngram", "num_speculative_tokens": 2}},
    ],
    ids=str,
)
def test_a_guarded_checkpoint_is_served_guarded(guarded_dir: str, options: dict[str, Any]) -> None:
    config = configured(guarded_dir, **options).model_config
    assert config.architecture == "LlamaForCausalLMWithECO"
    assert config.hf_eco.repository == guarded_dir and config.hf_eco.embedding_probes


def _native(config: Any) -> Any:
    config.architectures = NATIVE
    return config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hf_overrides": {"architectures": NATIVE}}, "leave out 'architectures'"),
        ({"hf_overrides": {"architectures": NATIVE}, "trust_remote_code": True}, "leave out 'architectures'"),
        ({"hf_overrides": {"architectures": NATIVE, "model_type": "llama"}}, "leave out 'architectures'"),
        ({"hf_overrides": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}}, "about to become"),
        ({"hf_overrides": _native}, "leave out 'architectures'"),
        ({"model_impl": "transformers"}, "--model-impl transformers"),
        ({"model_impl": "transformers", "trust_remote_code": True}, "--model-impl transformers"),
        ({"language_model_only": True}, "--language-model-only"),
        ({"limit_mm_per_prompt": {"eco": 0}}, "--limit-mm-per-prompt"),
        ({"enable_prompt_embeds": True}, "--enable-prompt-embeds"),
        ({"enable_mm_embeds": True}, "--enable-mm-embeds"),
        (
            {
                "model_class_overrides": {
                    "LlamaForCausalLMWithECO": "vllm.model_executor.models.llama:LlamaForCausalLM"
                }
            },
            "--model-class-overrides",
        ),
        ({"tokenizer_mode": "slow"}, "--tokenizer-mode"),
        ({"runner": "pooling"}, "--runner pooling"),
        ({"runner": "pooling", "convert": "embed"}, "--runner pooling"),
    ],
    ids=str,
)
def test_what_would_go_around_the_guard_is_refused(guarded_dir: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(GuardError, match=message) as refused:
        configured(guarded_dir, **options)
    assert "guarded" in str(refused.value)


def test_another_config_than_the_checkpoints_own_is_refused(guarded_dir: str, bare_dir: str) -> None:
    from transformers import LlamaConfig

    with pytest.raises(GuardError, match="--hf-config-path"):
        configured(guarded_dir, hf_config_path=bare_dir)
    with pytest.raises(GuardError, match="--hf-overrides"):
        configured(guarded_dir, hf_overrides=lambda config: LlamaConfig.from_pretrained(bare_dir))


def test_a_draft_model_is_refused(guarded_dir: str, bare_dir: str) -> None:
    with pytest.raises(GuardError, match="speculative decoding"):
        configured(guarded_dir, speculative_config={"model": bare_dir, "num_speculative_tokens": 2})
    with pytest.raises(GuardError, match="draft"):
        configured(bare_dir, speculative_config={"model": guarded_dir, "num_speculative_tokens": 2})


@pytest.mark.parametrize(
    "options",
    [{"every": -1}, {"every": float("nan")}, {"every": "1"}, {"follow": 5}, {"audit_log": ["a"]}],
    ids=str,
)
def test_an_option_of_the_wrong_kind_is_refused(guarded_dir: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"of hf-eco takes a .* as {next(iter(options))}, got"):
        configured(guarded_dir, additional_config={"hf_eco": options})


def test_options_for_a_guard_are_refused_of_a_model_that_has_none(guarded_dir: str, bare_dir: str) -> None:
    with pytest.raises(GuardError, match="has no guard"):
        configured(bare_dir, additional_config={"hf_eco": {"follow": guarded_dir}})


@pytest.mark.parametrize("kind", ["bare", "guarded"])
def test_a_model_in_an_object_store_is_looked_at_where_vllm_puts_it(
    guarded_dir: str, bare_dir: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm.config import ModelConfig

    def pull(config: Any, model: str, tokenizer: str) -> None:
        config.model = config.tokenizer = guarded_dir if kind == "guarded" else bare_dir

    monkeypatch.setattr(ModelConfig, "maybe_pull_model_tokenizer_for_runai", pull)
    config = ModelConfig(model="s3://bucket/model", dtype="float32", max_model_len=256)
    assert hasattr(config, "hf_eco") == (kind == "guarded")
    assert config.architecture.endswith("WithECO") == (kind == "guarded")


def test_an_unknown_option_is_refused(guarded_dir: str) -> None:
    with pytest.raises(ValueError, match=r"takes audit_log, every, follow, got \{'folow'"):
        configured(guarded_dir, additional_config={"hf_eco": {"folow": "guard"}})


def test_a_checkpoint_that_does_not_say_how_it_embeds_is_refused(guarded_dir: str, tmp_path: Any) -> None:
    import shutil

    shutil.copytree(guarded_dir, tmp_path / "old")
    file = tmp_path / "old" / "config.json"
    config = json.loads(file.read_text())
    config["eco"].pop("embedding_probes")
    file.write_text(json.dumps(config))
    with pytest.raises(GuardError, match="save it again"):
        configured(str(tmp_path / "old"))


def test_bare_models_are_served_as_ever(bare_dir: str) -> None:
    config = configured(bare_dir)
    assert config.model_config.architecture == "LlamaForCausalLM"
    assert not hasattr(config.model_config, "hf_eco") and not config.model_config.is_multimodal_model


_START = """
import sys
if sys.argv[1] == "absent":
    sys.modules["hf_eco"] = None
import json
from vllm import EngineArgs
config = EngineArgs(dtype="float32", max_model_len=256, **json.loads(sys.argv[2])).create_engine_config()
print("SERVED", config.model_config.architecture)
"""


@pytest.mark.parametrize("state", ["absent", "left out of VLLM_PLUGINS"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hf_overrides": {"architectures": NATIVE}},
        {"model_impl": "transformers"},
        {"hf_overrides": {"model_type": "llama"}},
    ],
    ids=str,
)
def test_without_the_plugin_nothing_is_served(guarded_dir: str, state: str, options: dict[str, Any]) -> None:
    given = {"model": guarded_dir, "trust_remote_code": True, **options}
    command = [sys.executable, "-c", _START, state, json.dumps(given)]
    ended = subprocess.run(
        command, env={**os.environ, "VLLM_PLUGINS": ""}, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert ended.returncode != 0 and "SERVED" not in ended.stdout
    assert "pip install hf-eco" in ended.stderr or "hf-eco" in ended.stderr.splitlines()[-1]
