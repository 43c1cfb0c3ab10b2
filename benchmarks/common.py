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
from transformers import AutoModelForCausalLM

from hf_eco import AutoModelForCausalLMWithECO

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BFLOAT16 = DEVICE == "cuda" and torch.cuda.is_bf16_supported()


def load_pair(directory: str) -> tuple[Any, Any]:
    """(bare, guarded): the guarded checkpoint in `directory`, and its base model."""
    guarded = AutoModelForCausalLMWithECO.from_pretrained(directory).to(DEVICE)
    return AutoModelForCausalLM.from_pretrained(guarded.config.eco.base_model_name_or_path).to(DEVICE), guarded


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
