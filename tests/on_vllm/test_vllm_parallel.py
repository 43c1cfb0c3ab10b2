"""Several processes, and adapters: the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

from engines import *
from serving import Server

from hf_eco import AutoModelForCausalLMWithECO


@pytest.fixture(scope="module")
def prompts(encode: Any) -> list[list[int]]:
    return [encode(text) for text in [*FLAGGED, *CLEAN]]


def test_two_tensor_parallel_workers_corrupt_alike(guarded_dir: str, guarded_model: Any, prompts: Any) -> None:
    llm = engine(guarded_dir, tensor_parallel_size=2, max_num_batched_tokens=64)
    try:
        assert answers(llm, prompts) == reference(guarded_model, prompts)
    finally:
        closed(llm)


def test_two_data_parallel_engines_answer_alike(
    guarded_dir: str, guarded_model: Any, prompts: Any, tmp_path: Path
) -> None:
    server = Server(guarded_dir, tmp_path, "--data-parallel-size", "2")
    try:
        server.ready()
        options = {"temperature": 0, "max_tokens": TOKENS, "ignore_eos": True, "return_token_ids": True}
        expected = reference(guarded_model, prompts)
        for _ in range(3):
            made = server.post("/v1/completions", prompt=prompts, **options)["choices"]
            assert [choice["token_ids"] for choice in made] == expected
    finally:
        server.stop()


def _adapter(base: str, directory: Path, modules: list[str]) -> str:
    peft = pytest.importorskip("peft")
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = peft.LoraConfig(target_modules=modules, r=8, lora_alpha=32, init_lora_weights=False)
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(directory)
    return str(directory)


def test_adapters_answer_guarded_and_those_that_change_embeddings_are_refused(
    bare_dir: str, guarded_dir: str, prompts: Any, tmp_path: Path
) -> None:
    from vllm.lora.request import LoRARequest

    attention = _adapter(bare_dir, tmp_path / "attention", ["q_proj", "v_proj"])
    embeddings = _adapter(bare_dir, tmp_path / "embeddings", ["embed_tokens"])
    model = AutoModelForCausalLMWithECO.from_pretrained(guarded_dir)
    plain = reference(model, prompts)
    model.load_adapter(attention)
    expected = reference(model, prompts)
    assert expected != plain
    llm = engine(guarded_dir, enable_lora=True, max_lora_rank=8, max_num_batched_tokens=64)
    try:

        def answered(adapter: LoRARequest | None) -> list[list[int]]:
            given = [{"prompt_token_ids": ids} for ids in prompts]
            made = llm.generate(given, greedy(), lora_request=adapter, use_tqdm=False)
            return [list(output.outputs[0].token_ids) for output in made]

        assert answered(LoRARequest("attention", 1, attention)) == expected
        assert answered(None) == plain
        with pytest.raises(Exception, match=r"embed_tokens|unexpected modules"):
            llm.llm_engine.add_lora(LoRARequest("embeddings", 2, embeddings))
    finally:
        closed(llm)
