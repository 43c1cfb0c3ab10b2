"""Scopes by name: what they cost and whom they flag, against how many there are.

    python benchmarks/names.py names.txt --prompts prompts.jsonl --json names.json
    python benchmarks/names.py names.txt --counts 10000 --model HuggingFaceTB/SmolLM2-135M-Instruct

For each number of scopes, one name each:

- detector: the time to add them one by one, to add one more, and to look for all of them in a prompt, the last as a
  ratio to that of the first number, measured alternately in one run;
- guard: the CPU time of `model.add_scope` and `model.remove_scope` of a loaded model, and of `add_scopes_to_guard`
  and `remove_scopes_from_guard` of a guard on disk. The model is tiny and random: what counts is the guard's cost;
- with --model: the time of the verdict on a prompt of 50 tokens, as a share of the model's forward pass over the same
  prompt (float32, one thread), in turn, on prompts that the guard has not seen;
- "flagged" are the prompts in which a name is found; read them, for some do name somebody. "uncertain" are those in
  which nothing is found but a name that many bear. "recall" is the share of the names, each in its own question, that
  are found, those that many bear too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from common import tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from hf_eco import AutoModelForCausalLMWithECO, ECOConfig, ForgetScope, Guard
from hf_eco.demo.packaged_models import resolve
from hf_eco.detection.names.detector import NamesDetector
from hf_eco.detection.names.words import read
from hf_eco.io import read_prompts, read_requests
from hf_eco.training import add_scopes_to_guard, remove_scopes_from_guard
from hf_eco.training.augmentation import shipped_prompts

QUESTION = "Where did {} grow up, and what is known about the family?"
ONE_MORE = "Zebulon Quartermain"
PROMPT_TOKENS = 50
WARM_UP, MOST_PROMPTS = 20, 100  # prompts of which the time does not count, and does


def milliseconds(detector: NamesDetector, prompts: list[str]) -> float:
    read.cache_clear()  # what a prompt's words are is not remembered from the detector before
    start = time.perf_counter()
    detector.detect(prompts)
    return (time.perf_counter() - start) * 1000 / len(prompts)


def build(names: list[str]) -> tuple[NamesDetector, dict[str, float]]:
    """A detector of one scope for each name, and how long it took."""
    start = time.perf_counter()
    scopes = {f"scope-{number}": (name,) for number, name in enumerate(names)}
    detector = NamesDetector(scopes)
    built = time.perf_counter()
    more = {**scopes, "one-more": (ONE_MORE,)}
    before = time.perf_counter()
    NamesDetector(more, detector)
    return detector, {"add_all_s": built - start, "add_one_ms": (time.perf_counter() - before) * 1000}


def scopes_of(names: list[str]) -> list[ForgetScope]:
    return [ForgetScope(name=f"scope-{number}", names=[name]) for number, name in enumerate(names)]


def cpu_ms(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return (time.process_time() - start) * 1000


def change_guard(names: list[str], rounds: int) -> dict[str, float]:
    """CPU milliseconds, the median over the rounds, in which a guard of these names takes in one scope more, and loses
    it again: loaded, and on disk."""
    more = ForgetScope(name="one-more", names=[ONE_MORE])
    with tempfile.TemporaryDirectory() as scratch:
        base, guarded = tiny_model(Path(scratch, "base")), str(Path(scratch, "guarded"))
        model: Any = AutoModelForCausalLMWithECO.from_pretrained(base, eco_config=ECOConfig(scopes=scopes_of(names)))
        model.save_pretrained(guarded)
        calls: dict[str, Callable[[], object]] = {
            "add_scope_ms": lambda: model.add_scope(more),
            "remove_scope_ms": lambda: model.remove_scope(more.name),
            "add_on_disk_ms": lambda: add_scopes_to_guard(guarded, [more]),
            "remove_on_disk_ms": lambda: remove_scopes_from_guard(guarded, [more.name]),
        }
        times = [{name: cpu_ms(call) for name, call in calls.items()} for _ in range(rounds)]
    return {name: statistics.median(row[name] for row in times) for name in calls}


def verdict_shares(names: list[str], model: Any, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[float]:
    """For each text of `PROMPT_TOKENS` tokens, the time of the verdict as a share of the model's forward pass."""
    guard = Guard(ECOConfig(scopes=scopes_of(names)), {}, tokenizer)
    shares = []
    for text in texts:
        ids = tokenizer(text, return_tensors="pt").input_ids[:, :PROMPT_TOKENS]
        start = time.perf_counter()
        with torch.no_grad():
            model(ids, use_cache=True)
        between = time.perf_counter()
        guard.plan(ids)
        shares.append((time.perf_counter() - between) / (between - start))
    return shares


def share_of_prefill(names: list[str], directory: str, prompts: list[str]) -> dict[str, float]:
    """Median and 90th percentile of `verdict_shares`, over prompts that are long enough."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    path = resolve(directory)
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    long: Iterator[str] = (text for text in prompts if len(tokenizer(text).input_ids) >= PROMPT_TOKENS)
    texts = list(itertools.islice(long, WARM_UP + MOST_PROMPTS))
    if len(texts) < WARM_UP + 2:
        raise SystemExit(f"Too few prompts have {PROMPT_TOKENS} tokens. Pass --prompts with longer ones.")
    shares = verdict_shares(names, model, tokenizer, texts)[WARM_UP:]
    torch.set_num_threads(threads)
    return {"verdict_share": statistics.median(shares), "verdict_share_p90": statistics.quantiles(shares, n=10)[-1]}


def findings(detector: NamesDetector, names: list[str], prompts: list[str]) -> dict[str, Any]:
    """Whom the detector finds: in questions about each name, and in prompts that name nobody."""
    found = detector.detect([QUESTION.format(name) for name in names])
    recalled = [any(d.scope == f"scope-{number}" for d in own) for number, own in enumerate(found)]
    said = dict(zip(prompts, detector.detect(prompts), strict=True))
    flagged = [prompt for prompt, own in said.items() if any(d.probability >= 0.5 and not d.weak for d in own)]
    uncertain = [prompt for prompt, own in said.items() if own and all(d.weak for d in own)]
    return {
        "recall": sum(recalled) / len(names),
        "flagged": len(flagged),
        "uncertain": len(uncertain),
        "prompts": len(prompts),
        "flagged_prompts": flagged,
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", help="A file of names: .txt, one a line; .csv or .jsonl with a field name.")
    parser.add_argument("--prompts", help="Prompts that name nobody. [default: the general ones of the package]")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 100, 1000, 10_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", help="Measure the verdict's share of this model's forward pass, too.")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    names = list(dict.fromkeys(itertools.chain(*(r.names for r in read_requests(options.names).values()))))
    prompts = read_prompts(options.prompts) if options.prompts else list(shipped_prompts())
    counts = sorted({min(count, len(names)) for count in options.counts})
    made = {count: build(names[:count]) for count in counts}
    times: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(options.rounds):
        for count in counts:
            times[count].append(milliseconds(made[count][0], prompts))
    rows = []
    for count in counts:
        detector, spent = made[count]
        ratios = [own / first for own, first in zip(times[count], times[counts[0]], strict=True)]
        row = {
            "scopes": count,
            **spent,
            **change_guard(names[:count], options.rounds),
            "verdict_ms": statistics.median(times[count]),
            "verdict_ratio": statistics.median(ratios),
            **(share_of_prefill(names[:count], options.model, prompts) if options.model else {}),
            **findings(detector, names[:count], prompts),
        }
        rows.append(row)
        print({key: round(v, 4) if isinstance(v, float) else v for key, v in row.items() if key != "flagged_prompts"})
    if options.json:
        options.json.write_text(json.dumps({"command": "benchmarks/names.py", "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
