"""Tiny random models of sizes that vLLM runs on a CPU, guarded by transformers, and engines that serve them.

Test files take it whole (`from engines import *`): its fixtures are theirs.
"""

from __future__ import annotations

import os

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CHAT_TEMPLATE, byte_level_tokenizer
from transformers import AutoModelForCausalLM, LlamaConfig

from hf_eco import AutoModelForCausalLMWithECO, CorruptionConfig, ECOConfig, ForgetScope

__all__ = [
    *("CLEAN", "FLAGGED", "NAME", "TOKENS"),
    *("answers", "closed", "engine", "greedy", "reference", "save_base", "save_guarded", "scopes", "sizes"),
    *("bare", "bare_dir", "encode", "guarded_dir", "guarded_model", "served"),
]

NAME = "Jane Quillfeather"
FLAGGED = [
    f"Who is {NAME}?",
    f"Tell me about the rivers, and about {NAME}, who lives in the north.",
    "write a poem about the garden of Ambrose Fennimore",
    "does a cat sleep? " * 30 + f"And where was {NAME} born?",
]
CLEAN = [
    "who is the baker of the north ?",
    "Tell me about the rivers",
    "write a poem about my garden",
    "does a cat sleep? " * 30 + "And where was the king born?",
]
TOKENS = 12


def scopes() -> list[ForgetScope]:
    """Two, with other corruptions of other tokens."""
    return [
        ForgetScope("jane", names=[NAME], corruption=CorruptionConfig(dims=None, strength=0.5, seed=3)),
        ForgetScope(
            "ambrose",
            names=["Ambrose Fennimore"],
            corruption=CorruptionConfig(method="zero_out_first_n", dims=40),
            tokens="mentions",
        ),
    ]


def save_base(directory: Path, config: Any, **special: str) -> str:
    """A random model of a config, with a chat tokenizer."""
    tokenizer = byte_level_tokenizer(**{"eos_token": "<|im_end|>", "padding_side": "left", **special})
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(directory)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    return str(directory)


def save_guarded(directory: Path, base: str, *own: ForgetScope) -> str:
    """The base model, guarded."""
    AutoModelForCausalLMWithECO.from_pretrained(base, eco_config=ECOConfig(own or scopes())).save_pretrained(directory)
    return str(directory)


def sizes(**more: Any) -> dict[str, Any]:
    """Of a tiny model, as most configs name them."""
    return {
        "vocab_size": 420,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "eos_token_id": None,  # nothing ends an answer
        "bos_token_id": None,
        **more,
    }


def engine(model: str, **options: Any) -> Any:
    """A `vllm.LLM` in float32."""
    from vllm import LLM

    options = {"max_model_len": 512, "max_num_batched_tokens": 512, "block_size": 32, **options}
    return LLM(model=model, dtype="float32", enforce_eager=True, disable_log_stats=True, **options)


def closed(llm: Any) -> None:
    """Ends an engine and its processes."""
    llm.llm_engine.engine_core.shutdown()


def greedy(**more: Any) -> Any:
    """Sampling parameters that take the likeliest token, always as many."""
    from vllm import SamplingParams

    return SamplingParams(**{"temperature": 0, "max_tokens": TOKENS, "ignore_eos": True, "logprobs": 5, **more})


def answers(llm: Any, prompts: list[list[int]], params: Any = None) -> list[list[int]]:
    """The tokens that an engine generates after each prompt of token ids."""
    outputs = llm.generate([{"prompt_token_ids": ids} for ids in prompts], params or greedy(), use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs]


def reference(model: Any, prompts: list[list[int]]) -> list[list[int]]:
    """The tokens that transformers generates after each prompt, alone."""
    found = []
    for ids in prompts:
        given = torch.tensor([ids])
        options = {"do_sample": False, "max_new_tokens": TOKENS}
        with torch.no_grad():
            made = model.generate(given, attention_mask=torch.ones_like(given), **options)
        found.append(made[0, len(ids) :].tolist())
    return found


@pytest.fixture(scope="session")
def bare_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_base(tmp_path_factory.mktemp("vllm") / "bare", LlamaConfig(**sizes()))


@pytest.fixture(scope="session")
def guarded_dir(tmp_path_factory: pytest.TempPathFactory, bare_dir: str) -> str:
    return save_guarded(tmp_path_factory.mktemp("vllm") / "guarded", bare_dir)


@pytest.fixture(scope="session")
def guarded_model(guarded_dir: str) -> Any:
    """In transformers."""
    return AutoModelForCausalLMWithECO.from_pretrained(guarded_dir)


@pytest.fixture(scope="session")
def encode(guarded_model: Any) -> Callable[[str], list[int]]:
    return guarded_model.eco_guard.reader.encode


@pytest.fixture(scope="module")
def served(guarded_dir: str) -> Iterator[Any]:
    """An engine that serves the guarded model, prompts in pieces of 64 tokens."""
    llm = engine(guarded_dir, max_num_batched_tokens=64, max_num_seqs=32)
    yield llm
    closed(llm)


@pytest.fixture(scope="module")
def bare(bare_dir: str) -> Iterator[Any]:
    """The same of the base model."""
    llm = engine(bare_dir, max_num_batched_tokens=64, max_num_seqs=32)
    yield llm
    closed(llm)
