"""What the guard costs: `generate` of the guarded model against the bare one, in turn, in one process.

    hf-eco demo                                  # makes demo-output
    python benchmarks/overhead.py demo-output --json benchmarks/results/overhead.json

For each batch size, and for prompts that are not flagged and prompts that are, both models generate the same number of
tokens from the same prompts, alternately. The ratio is that of the pair; the median over the pairs is what counts,
minimum and maximum say how noisy the machine was. "verdict" is the time of the classifier alone, as a share of the
bare model's.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from common import load_pair, seconds, write

from hf_eco.demo.prompts import demo_prompts


def batch_of(model, flagged: bool, size: int):
    """`size` demo prompts with that verdict, rendered as chats and left-padded."""
    prompts = demo_prompts("examples_forget" if flagged else "examples_retain")
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    chosen = [c for c, verdict in zip(chats, model.inspect(chats), strict=True) if verdict.flagged == flagged][:size]
    if len(chosen) < size:
        raise SystemExit(f"The guard gives only {len(chosen)} demo prompts the verdict flagged={flagged}.")
    tokenizer = model.eco_guard.tokenizer
    tokenizer.padding_side = "left"
    options = {"add_generation_prompt": True, "return_tensors": "pt", "return_dict": True, "padding": True}
    return tokenizer.apply_chat_template(chosen, **options).to(model.device)


def measure(bare, guarded, size: int, flagged: bool, new_tokens: int, count: int) -> dict[str, object]:
    inputs = batch_of(guarded, flagged, size)
    options = {"do_sample": False, "max_new_tokens": new_tokens, "min_new_tokens": new_tokens}
    runs = [lambda model=model: model.generate(**inputs, **options) for model in (bare, guarded)]
    for run in runs:
        run()  # warm-up
    pairs = [[seconds(run) for run in runs] for _ in range(count)]
    verdicts = [seconds(lambda: guarded.eco_guard.plan(inputs["input_ids"], inputs["attention_mask"])) for _ in pairs]
    ratios = sorted(with_guard / without for without, with_guard in pairs)
    bare_seconds = statistics.median(without for without, _ in pairs)
    return {
        "batch": size,
        "flagged": flagged,
        "prompt_tokens": inputs["input_ids"].shape[1],
        "ratio_median": round(statistics.median(ratios), 4),
        "ratio_min": round(ratios[0], 4),
        "ratio_max": round(ratios[-1], 4),
        "verdict_share": round(statistics.median(verdicts) / bare_seconds, 4),
        "bare_seconds": round(bare_seconds, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("guarded", help="a guarded checkpoint, e.g. demo-output")
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--json", type=Path, help="write the table here as well")
    arguments = parser.parse_args()

    bare, guarded = load_pair(arguments.guarded)
    rows = []
    for size in arguments.batches:
        for flagged in (False, True):
            row = measure(bare, guarded, size, flagged, arguments.new_tokens, arguments.pairs)
            rows.append(row)
            print(json.dumps(row), flush=True)
    if arguments.json:
        command = f"python benchmarks/overhead.py {arguments.guarded} --new-tokens {arguments.new_tokens}"
        batches = " ".join(map(str, arguments.batches))
        write(arguments.json, f"{command} --pairs {arguments.pairs} --batches {batches}", bare, rows)


if __name__ == "__main__":
    main()
