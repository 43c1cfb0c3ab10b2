"""What a guard costs a server on vLLM: throughput, time to first token, and how long running answers are held up.

    python benchmarks/vllm_speed.py --rounds 5 --json benchmarks/results/vllm-speed.json

Two engines live in this process, of the base model and of the guarded one, and take turns; all figures are ratios
guarded / bare of one run. `throughput`: seconds for 64 distinct clean prompts of some 20 tokens and 32 tokens of
answer each, all at once. `first token`: seconds to the first token of a prompt alone, median. No prompt comes twice,
so each is judged. `stall`: the longest time between two tokens of a running answer while 200 prompts of some 300
tokens arrive. The guard has 1,000 scopes by name (--scopes), or a trained head beside (--head; its weights are
random, which costs the same).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")

from hf_eco import AutoModelForCausalLMWithECO, ECOConfig, ForgetScope
from hf_eco.checkpoint.loading import read_guard
from hf_eco.data import shipped_names, shipped_rows
from hf_eco.demo.packaged_models import SMOLLM2, resolve

AT_ONCE, ANSWER, ARRIVALS = 64, 32, 200


def names(count: int) -> list[str]:
    """Made-up people."""
    shipped = shipped_names()
    first, last = shipped["first"], shipped["last"]
    return [f"{first[i % len(first)]} {last[(i * 7 + i // len(first)) % len(last)]}" for i in range(count)]


def save_guarded(directory: str, base: str, scopes: int, head: bool) -> None:
    own = [ForgetScope(f"person-{i}", names=[name]) for i, name in enumerate(names(scopes))]
    classifiers = {}
    if head:
        from heads import first_classifier

        classifiers["subject"] = first_classifier(None)
        own.append(ForgetScope("subject", label="forget", threshold=0.999))
    config = ECOConfig(own)
    AutoModelForCausalLMWithECO.from_pretrained(base, eco_config=config, classifiers=classifiers).save_pretrained(
        directory
    )


def engine_args(model: str) -> dict[str, Any]:
    sizes = {"max_model_len": 512, "max_num_batched_tokens": 512, "max_num_seqs": AT_ONCE, "block_size": 32}
    return {"model": model, "dtype": "float32", "enforce_eager": True, "enable_prefix_caching": False, **sizes}


def params(tokens: int) -> Any:
    from vllm import SamplingParams

    return SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True)


def taken(llm: Any, prompts: Sequence[str], tokens: int) -> float:
    begun = time.perf_counter()
    llm.generate(list(prompts), params(tokens), use_tqdm=False)
    return time.perf_counter() - begun


def throughput_and_first_token(base: str, guarded: str, rounds: int) -> dict[str, Any]:
    from vllm import LLM

    engines = {"bare": LLM(**engine_args(base)), "guarded": LLM(**engine_args(guarded))}
    guard = read_guard(guarded)
    texts = [row["prompt"] for row in shipped_rows("general/prompts")]
    texts = [text for text, v in zip(texts, guard.inspect(texts), strict=True) if not v.flagged]
    fresh = iter([f"{text} Please answer in one or two sentences, number {i}." for i in range(4) for text in texts])
    found: dict[str, dict[str, list[float]]] = {"throughput": {}, "first token": {}}
    for llm in engines.values():
        taken(llm, [next(fresh) for _ in range(8)], 4)
    for round_ in range(rounds):
        together, alone = [next(fresh) for _ in range(AT_ONCE)], [next(fresh) for _ in range(24)]
        for name in list(engines)[:: 1 if round_ % 2 else -1]:
            found["throughput"].setdefault(name, []).append(taken(engines[name], together, ANSWER))
            firsts = [taken(engines[name], [text], 1) for text in alone]
            found["first token"].setdefault(name, []).append(statistics.median(firsts))
    for llm in engines.values():
        llm.llm_engine.engine_core.shutdown()
    return {
        measure: {
            "ratio": statistics.median(g / b for g, b in zip(of["guarded"], of["bare"], strict=True)),
            "seconds_bare": statistics.median(of["bare"]),
            "ratios": [round(g / b, 4) for g, b in zip(of["guarded"], of["bare"], strict=True)],
        }
        for measure, of in found.items()
    }


async def longest_stall(model: str, arrivals: Sequence[str]) -> float:
    """Seconds between two tokens of a running answer, at the longest, while prompts arrive."""
    from vllm import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**engine_args(model)))
    gaps: list[float] = []
    arrived = asyncio.Event()

    async def stream() -> None:
        last = None
        async for _ in llm.generate("Tell me a long story about a garden.", params(400), "stream"):
            now = time.perf_counter()
            if last is not None and arrived.is_set():
                gaps.append(now - last)
            last = now

    async def arrive(number: int, text: str) -> None:
        async for _ in llm.generate(text, params(1), f"arrival-{number}"):
            pass

    async for _ in llm.generate("Hello.", params(4), "warm"):
        pass
    running = asyncio.create_task(stream())
    await asyncio.sleep(1)
    arrived.set()
    await asyncio.gather(*(arrive(i, text) for i, text in enumerate(arrivals)))
    running.cancel()
    llm.shutdown()
    return max(gaps)


def stalls(base: str, guarded: str, rounds: int) -> dict[str, Any]:
    paragraphs = [row["prompt"] for row in shipped_rows("general/prompts") if row["prompt"].isascii()]
    found: dict[str, list[float]] = {"bare": [], "guarded": []}
    for round_ in range(rounds):
        arrivals = [
            f"Note {round_}.{i}. " + " ".join(paragraphs[(i * 20 + k) % len(paragraphs)] for k in range(18))
            for i in range(ARRIVALS)
        ]
        arrivals = [text[:800] for text in arrivals]
        for name, model in (("bare", base), ("guarded", guarded)):
            found[name].append(asyncio.run(longest_stall(model, arrivals)))
    ratios = [g / b for g, b in zip(found["guarded"], found["bare"], strict=True)]
    return {"ratio": statistics.median(ratios), "ratios": ratios, "seconds_bare": statistics.median(found["bare"])}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stall-rounds", type=int, default=1)
    parser.add_argument("--scopes", type=int, default=1000)
    parser.add_argument("--head", action="store_true", help="A trained head beside the names.")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args(arguments)
    base = resolve(SMOLLM2)
    with tempfile.TemporaryDirectory() as guarded:
        save_guarded(guarded, base, options.scopes, options.head)
        rows = throughput_and_first_token(base, guarded, options.rounds) if options.rounds else {}
        print(json.dumps(rows), flush=True)
        if options.stall_rounds:
            rows["stall"] = stalls(base, guarded, options.stall_rounds)
    command = " ".join(["python", "benchmarks/vllm_speed.py", *(arguments or sys.argv[1:])])
    result = {"command": command, "scopes": options.scopes, "head": options.head, **rows}
    print(json.dumps(result, indent=1))
    options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
