"""What the benchmarks have in common."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hf_eco import AutoModelForCausalLMWithECO

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BFLOAT16 = DEVICE == "cuda" and torch.cuda.is_bf16_supported()


def load_pair(directory: str) -> tuple[Any, Any]:
    """(bare, guarded): the guarded checkpoint in `directory`, and its base model."""
    guarded = AutoModelForCausalLMWithECO.from_pretrained(directory).to(DEVICE)
    return AutoModelForCausalLM.from_pretrained(guarded.config.eco.base_model_name_or_path).to(DEVICE), guarded


def tiny_model(directory: Path) -> str:
    """A tiny random model, and a tokenizer of bytes, in `directory`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({byte: number for number, byte in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(directory)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(alphabet), **sizes)).save_pretrained(directory)
    return str(directory)


def seconds(function: Callable[[], object]) -> float:
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def write(path: Path, command: str, model: Any, rows: list[dict[str, object]]) -> None:
    """The table with all that is needed to make it again."""
    about = {
        "command": command,
        "model": f"{type(model).__name__}, {model.num_parameters():,} parameters, {model.dtype}",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {DEVICE}",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n")
