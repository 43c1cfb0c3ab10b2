"""Every private name of vLLM that the plugin relies on."""

from __future__ import annotations

import inspect

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

from hf_eco.errors import GuardError
from hf_eco.serving.vllm import _vllm
from hf_eco.serving.vllm._vllm import RELIED_ON, missing_names, why_not

NAMES = [(module, name, parameters) for module, names in RELIED_ON.items() for name, parameters in names.items()]


@pytest.mark.parametrize(("module", "name", "parameters"), NAMES, ids=[f"{m}.{n}" for m, n, _ in NAMES])
def test_vllm_has_the_name(module: str, name: str, parameters: tuple[str, ...]) -> None:
    assert why_not(module, name, parameters) is None


def test_what_is_missing_is_said() -> None:
    assert not missing_names()
    assert "is missing" in str(why_not("vllm.config", "NoSuchConfig", ()))
    assert "is missing" in str(why_not("vllm.no_such_module", "x", ()))
    assert "takes no request_names" in str(
        why_not("vllm.v1.engine.input_processor", "InputProcessor.process_inputs", ("request_names",))
    )


def test_a_guarded_checkpoint_is_refused_by_a_vllm_that_lacks_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from hf_eco.serving.vllm import checkpoint

    monkeypatch.setitem(_vllm.RELIED_ON, "vllm.config", {"NoSuchConfig": ()})
    monkeypatch.setattr(checkpoint, "_is_guarded", lambda *_: True)
    config = SimpleNamespace(model="guarded", hf_config_path=None, revision=None, hf_token=None, hf_config=None)
    with pytest.raises(GuardError, match=r"NoSuchConfig is missing.*pip install 'vllm"):
        checkpoint.check_served(config)


def test_requests_pass_by_where_they_are_judged() -> None:
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.engine.core import EngineCore, EngineCoreProc
    from vllm.v1.engine.input_processor import InputProcessor
    from vllm.v1.engine.llm_engine import LLMEngine

    for engine in (LLMEngine.add_request, inspect.unwrap(AsyncLLM.add_request)):
        assert "input_processor.process_inputs" in inspect.getsource(engine)
    assert "self.preprocess_add_request" in inspect.getsource(EngineCoreProc)
    assert "process_inputs" in vars(InputProcessor) and "preprocess_add_request" in vars(EngineCore)
