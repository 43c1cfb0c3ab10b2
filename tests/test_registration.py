"""`import hf_eco` is light, and transformers knows guarded checkpoints all the same, whatever is imported first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GUARDED = Path(__file__).parent / "fixtures" / "format-v1" / "whole"
LOAD = f"model = AutoModelForCausalLM.from_pretrained({str(GUARDED)!r}); assert hasattr(model, 'eco_guard')"
PIPE = f"assert hasattr(pipeline('text-generation', model={str(GUARDED)!r}).model, 'eco_guard')"


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        f"import hf_eco; from transformers import AutoModelForCausalLM; {LOAD}",
        f"from transformers import AutoModelForCausalLM; import hf_eco; {LOAD}",
        f"import hf_eco; from transformers.models.auto.modeling_auto import AutoModelForCausalLM; {LOAD}",
        f"import hf_eco; from transformers import pipeline; {PIPE}",
    ],
    ids=["before", "after", "the module itself", "pipeline"],
)
def test_the_auto_classes_know_guarded_checkpoints_after_the_import(code: str) -> None:
    run_python(code)


def test_without_the_import_nothing_is_loaded() -> None:
    code = f"""
from transformers import AutoModelForCausalLM
try:
    AutoModelForCausalLM.from_pretrained({str(GUARDED)!r}, trust_remote_code=False)
except ValueError:
    print("refused")
"""
    assert run_python(code).strip() == "refused"


def test_a_guard_is_read_without_torch_and_without_transformers() -> None:
    code = f"""
import sys
import hf_eco
from hf_eco import ECOConfig, ForgetScope, GuardError
from hf_eco.checkpoint.source import find_guard
assert find_guard({str(GUARDED)!r}).eco.scopes[0].name == "wizards"
assert "AutoModelForCausalLMWithECO" in dir(hf_eco)
print(sorted({{"torch", "transformers"}} & set(sys.modules)))
"""
    assert run_python(code).strip() == "[]"


def test_a_pickled_guarded_model_is_read_in_another_process(tmp_path: Path) -> None:
    path = tmp_path / "model.pickle"
    run_python(
        f"import pickle; from hf_eco import AutoModelForCausalLMWithECO as Auto; "
        f"pickle.dump(Auto.from_pretrained({str(GUARDED)!r}), open({str(path)!r}, 'wb'))"
    )
    code = f"import pickle; print(pickle.load(open({str(path)!r}, 'rb')).inspect('who is the wizard ?').flagged)"
    assert run_python(code).strip() == "True"
