"""Does a guarded model say on vLLM what it says in transformers, however it is run?

    python benchmarks/vllm_answers.py reference --json reference.json
    python benchmarks/vllm_answers.py float32 --reference reference.json --json benchmarks/results/vllm-answers.json
    python benchmarks/vllm_answers.py bfloat16 --prompts 40 --json benchmarks/results/vllm-bfloat16.json

`reference` asks the guarded model in transformers 200 questions about ten people in float32, one at a time, 32 tokens
each. `float32` compares vLLM's answers with them, token by token: alone, in batches of 32 among clean prompts, from
the prefix cache, with prompts in pieces of 64 tokens, and with so little room that requests are preempted; and its
answers to clean prompts, and their log-probabilities, with those of the base model on vLLM. `bfloat16` compares log-
probabilities of the first token, of the 20 likeliest: those of the guarded model on vLLM with transformers', and the
base model's likewise. Runs in an environment with vLLM (`make test-vllm` makes one), on the packaged SmolLM2-135M.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")

import torch
from transformers import AutoModelForCausalLM

from hf_eco import AutoModelForCausalLMWithECO, CorruptionConfig, ECOConfig, ForgetScope
from hf_eco.data import shipped_rows
from hf_eco.demo.packaged_models import SMOLLM2, resolve

TOKENS = 32
PEOPLE = (
    *("Marie Curie", "Albert Einstein", "Taylor Swift", "Nelson Mandela", "Stephen King"),
    *("Frida Kahlo", "Ludwig van Beethoven", "Serena Williams", "Charles Darwin", "Amelia Earhart"),
)
QUESTIONS = (
    *("Who is {}?", "Where was {} born?", "What is {} best known for?", "Tell me about {}.", "When did {} live?"),
    *("Write a short biography of {}.", "Did {} win any prizes?", "Name three facts about {}.", "Who influenced {}?"),
    "What would {} say about the weather today?",
)


def save_guarded(directory: str, base: str) -> None:
    """The base model, guarded against the ten people, each by a corruption of its own."""
    scopes = [
        ForgetScope(
            name.replace(" ", "-").lower(),
            names=[name],
            corruption=CorruptionConfig(dims=None, strength=0.16, seed=seed),
            tokens="content" if seed % 2 else "mentions",
            context="ignored",
        )
        for seed, name in enumerate(PEOPLE)
    ]
    AutoModelForCausalLMWithECO.from_pretrained(base, eco_config=ECOConfig(scopes)).save_pretrained(directory)


def questions(reader: Any, count: int) -> list[list[int]]:
    """Token ids of questions about the people, plain and as chats."""
    texts = [question.format(name) for question in QUESTIONS for name in PEOPLE]
    chats = [[{"role": "user", "content": text}] for text in texts]
    return [reader.encode(given) for pair in zip(texts, chats, strict=True) for given in pair][:count]


def clean_prompts(guard: Any, count: int) -> list[list[int]]:
    """Token ids of prompts about nobody whom the guard knows."""
    prompts = [guard.reader.encode(row["prompt"]) for row in shipped_rows("general/prompts")[::10]]
    return [ids for ids, verdict in zip(prompts, guard.decide(prompts), strict=True) if not verdict.flagged][:count]


def greedy(model: Any, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """The tokens that transformers generates after each prompt."""
    model.generation_config.eos_token_id = None  # all answers are of one length
    found = []
    for ids in prompts:
        given = torch.tensor([ids])
        with torch.inference_mode():
            made = model.generate(given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=TOKENS)
        found.append(made[0, len(ids) :].tolist())
    return found


def engine(model: str, dtype: str, **options: Any) -> Any:
    from vllm import LLM

    options = {"max_num_batched_tokens": 2048, "max_num_seqs": 64, **options}
    sizes = {"max_model_len": 512, "block_size": 32}
    return LLM(model=model, dtype=dtype, enforce_eager=True, disable_log_stats=False, **sizes, **options)


def close(llm: Any) -> None:
    llm.llm_engine.engine_core.shutdown()


def asked(llm: Any, prompts: Sequence[Sequence[int]], **params: Any) -> list[Any]:
    from vllm import SamplingParams

    params = {"temperature": 0, "max_tokens": TOKENS, "ignore_eos": True, **params}
    given = [{"prompt_token_ids": list(ids)} for ids in prompts]
    return [output.outputs[0] for output in llm.generate(given, SamplingParams(**params), use_tqdm=False)]


def tokens(answers: Sequence[Any]) -> list[list[int]]:
    return [list(answer.token_ids) for answer in answers]


def logprobs(answers: Sequence[Any]) -> list[list[dict[int, float]]]:
    return [[{k: v.logprob for k, v in row.items()} for row in answer.logprobs] for answer in answers]


def preemptions(llm: Any) -> int:
    found = [m.value for m in llm.get_metrics() if m.name == "vllm:num_preemptions"]
    return int(sum(found))


def compare_float32(guarded: str, base: str, reference: dict[str, Any]) -> list[dict[str, Any]]:
    prompts, right, clean = reference["prompts"], reference["answers"], reference["clean"]
    mixed = [ids for pair in zip(prompts, (clean * (len(prompts) // len(clean) + 1)), strict=False) for ids in pair]

    def row(how: str, given: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]], **more: Any) -> dict[str, Any]:
        equal = sum(list(a) == list(b) for a, b in zip(given, wanted, strict=True))
        made = {"how": how, "prompts": len(wanted), "equal": equal, **more}
        print(json.dumps(made), flush=True)
        return made

    rows = []
    llm = engine(guarded, "float32")
    rows.append(row("flagged, alone", [tokens(asked(llm, [ids]))[0] for ids in prompts], right))
    rows.append(row("flagged, from the prefix cache", tokens(asked(llm, prompts)), right))
    llm.reset_prefix_cache()
    batched = [answer for i in range(0, len(mixed), 32) for answer in tokens(asked(llm, mixed[i : i + 32]))]
    rows.append(row("flagged, in batches of 32 with clean ones", batched[::2], right))
    llm.reset_prefix_cache()
    own = asked(llm, clean, logprobs=20)
    close(llm)
    llm = engine(base, "float32")
    bare = asked(llm, clean, logprobs=20)
    close(llm)
    rows.append(row("clean, against the base model on vLLM: tokens", tokens(own), tokens(bare)))
    rows.append(row("clean, against the base model on vLLM: log-probabilities", logprobs(own), logprobs(bare)))
    llm = engine(guarded, "float32", max_num_batched_tokens=64)
    rows.append(row("flagged, in pieces of 64 tokens", tokens(asked(llm, prompts)), right))
    close(llm)
    llm = engine(guarded, "float32", num_gpu_blocks_override=24)
    given = tokens(asked(llm, prompts))
    rows.append(row("flagged, preempted", given, right, preemptions=preemptions(llm)))
    close(llm)
    return rows


def compare_bfloat16(guarded: str, base: str, prompts: list[list[int]]) -> list[dict[str, Any]]:
    rows = []
    for name, directory in (("guarded", guarded), ("base", base)):
        llm = engine(directory, "bfloat16")
        there = [
            {k: v.logprob for k, v in a.logprobs[0].items()} for a in asked(llm, prompts, max_tokens=1, logprobs=20)
        ]
        close(llm)
        loader = AutoModelForCausalLMWithECO if name == "guarded" else AutoModelForCausalLM
        model = loader.from_pretrained(directory, dtype=torch.bfloat16)
        distances = []
        for ids, found in zip(prompts, there, strict=True):
            with torch.inference_mode():
                here = model(torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)
            distances.append(max(abs(here[token].item() - value) for token, value in found.items()))
        ranked = sorted(distances)
        made = {
            "model": name,
            "prompts": len(prompts),
            "median": statistics.median(ranked),
            "p90": ranked[len(ranked) * 9 // 10],
            "largest": ranked[-1],
        }
        print(json.dumps(made), flush=True)
        rows.append(made)
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["reference", "float32", "bfloat16"])
    parser.add_argument("--model", default=SMOLLM2)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args(arguments)
    base = resolve(options.model)
    with tempfile.TemporaryDirectory() as guarded:
        save_guarded(guarded, base)
        if options.what == "float32":
            if options.reference is None:
                parser.error("float32 takes --reference FILE, which `reference` makes.")
            result: Any = {"rows": compare_float32(guarded, base, json.loads(options.reference.read_text()))}
        else:
            model = AutoModelForCausalLMWithECO.from_pretrained(guarded)
            prompts = questions(model.eco_guard.reader, options.prompts)
            assert all(verdict.flagged for verdict in model.eco_guard.decide(prompts))
            if options.what == "bfloat16":
                result = {"rows": compare_bfloat16(guarded, base, prompts)}
            else:
                clean = clean_prompts(model.eco_guard, 64)
                result = {"prompts": prompts, "answers": greedy(model, prompts), "clean": clean}
    command = " ".join(["python", "benchmarks/vllm_answers.py", *(arguments or sys.argv[1:])])
    options.json.write_text(json.dumps({"command": command, "model": options.model, **result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
