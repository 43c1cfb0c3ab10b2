"""What the guard costs at each decoded token: guarded against bare, in turn, in one process.

    hf-eco demo                                  # makes demo-output
    python benchmarks/decode.py demo-output --json benchmarks/results/decode.json

The time of a token is that of a long answer less that of an answer of one token, by the tokens between. "eager" is the
dynamic cache, "compiled" the static cache with the decode steps compiled, as generate does it by itself on a GPU.
`graph_breaks` and `graphs` are torch.compile's own counts, of the guarded model and of the bare one.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import torch
from common import load_pair, seconds, write
from torch._dynamo.utils import counters
from transformers import CompileConfig


def options_of(kind: str) -> dict[str, object]:
    if kind == "eager":
        return {}
    config = CompileConfig(mode="default")
    config._compile_all_devices = True
    return {"cache_implementation": "static", "compile_config": config}


def measure(bare, guarded, kind: str, text: str, new_tokens: int, count: int) -> dict[str, object]:
    tokenizer = guarded.eco_guard.tokenizer
    chat = [{"role": "user", "content": text}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    inputs = inputs.to(guarded.device)
    # one size of the static cache for short and long answers, so that both run the same compiled code
    options = {"do_sample": False, "max_length": inputs["input_ids"].shape[1] + new_tokens + 1, **options_of(kind)}
    end = guarded.generation_config.eos_token_id
    compiled = []

    def answer(model, tokens: int):
        def stop(ids, scores, **_):
            return torch.full(
                (ids.shape[0],), ids.shape[1] >= inputs["input_ids"].shape[1] + tokens, device=ids.device
            )

        return model.generate(**inputs, **options, suppress_tokens=[end], stopping_criteria=[stop])

    for model in (guarded, bare):
        torch._dynamo.reset()
        counters.clear()
        answer(model, 4)
        compiled.append((sum(counters["graph_break"].values()), counters["stats"]["unique_graphs"]))
    for model in (guarded, bare):
        answer(model, new_tokens), answer(model, 1)  # one of them has been reset
    pairs = []
    for _ in range(count):
        pairs.append(
            [
                (seconds(lambda m=m: answer(m, new_tokens)) - seconds(lambda m=m: answer(m, 1))) / (new_tokens - 1)
                for m in (bare, guarded)
            ]
        )
    ratios = sorted(with_guard / without for without, with_guard in pairs)
    return {
        "kind": kind,
        "flagged": guarded.inspect(chat).flagged,
        "ratio_median": round(statistics.median(ratios), 4),
        "ratio_min": round(ratios[0], 4),
        "ratio_max": round(ratios[-1], 4),
        "bare_ms_per_token": round(1000 * statistics.median(pair[0] for pair in pairs), 3),
        "graph_breaks": {"guarded": compiled[0][0], "bare": compiled[1][0]},
        "graphs": {"guarded": compiled[0][1], "bare": compiled[1][1]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("guarded", help="a guarded checkpoint, e.g. demo-output")
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the table here as well")
    arguments = parser.parse_args()

    bare, guarded = load_pair(arguments.guarded)
    rows = []
    for kind in ("eager", "compiled"):
        for text in ("What is the largest planet?", "Who is Harry Potter?"):
            rows.append(measure(bare, guarded, kind, text, arguments.new_tokens, arguments.pairs))
            print(json.dumps(rows[-1]), flush=True)
    if arguments.json:
        command = f"python benchmarks/decode.py {arguments.guarded} --new-tokens {arguments.new_tokens}"
        write(arguments.json, f"{command} --pairs {arguments.pairs}", bare, rows)


if __name__ == "__main__":
    main()
