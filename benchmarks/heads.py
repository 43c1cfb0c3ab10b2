"""Scopes with trained heads on one encoder: what a verdict costs, against how many there are.

    python benchmarks/heads.py --threads 2 --json benchmarks/results/heads.json

A verdict (`guard.inspect`) of a prompt of 50 tokens against one forward pass of the base model over it (`use_cache`,
float32), in turn, in one process. Each scope has a head of its own, a randomly perturbed copy of one, and a name. Give
a trained classifier with --classifier; what a head costs does not depend on its weights. On a busy machine, look at
"ratio_cpu" with one thread: the ratio of the time that the process spent computing.
"""

from __future__ import annotations

import argparse
import copy
import os
import resource
import statistics
import time
from pathlib import Path

import torch
from common import DEVICE, write
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from hf_eco import ECOConfig, ForgetScope, Guard, PromptClassifier
from hf_eco.data import shipped_names
from hf_eco.demo.packaged_models import MINILM, SMOLLM2, resolve
from hf_eco.detection.heads import HeadShape, ScopeHead, ScopeHeads, TokenHead
from hf_eco.detection.names import Lexicon

TOKENS = 50
TEXT = (
    "The bakery on the corner opens at half past five, when the street is still dark. Could you tell me why rye "
    "loaves take longer to cool than wheat rolls, how a baker plans the oven for a morning, and which of the two "
    "keeps better over a long weekend in a warm kitchen without a bread box?"
)


def first_classifier(name_or_path: str | None) -> PromptClassifier:
    """The classifier whose head is copied: a trained one, or one with random weights on the default encoder."""
    if name_or_path is not None:
        return PromptClassifier.from_pretrained(name_or_path)
    encoder = AutoModel.from_pretrained(resolve(MINILM))
    tokenizer = AutoTokenizer.from_pretrained(resolve(MINILM), model_max_length=128)
    layers = encoder.config.num_hidden_layers
    shape = HeadShape(layers=(0, round(2 * layers / 3), layers))
    head = TokenHead(shape, encoder.config.hidden_size).eval().requires_grad_(False)
    return PromptClassifier(encoder, tokenizer, heads=ScopeHeads(shape, {"forget": ScopeHead(head)}))


def guard_of(first: PromptClassifier, count: int, tokenizer) -> Guard:
    """A guard of `count` scopes, each with a perturbed copy of the first head and a name."""
    assert first.heads is not None
    original = next(iter(first.heads.heads.values()))
    names, heads = shipped_names(), {}
    for number in range(count):
        torch.manual_seed(number)
        head = copy.deepcopy(original.head)
        for weight in head.parameters():
            weight.add_(weight.abs().mean() * 0.1 * torch.randn_like(weight))
        name = f"{names['first'][number % 300]} {names['last'][(number * 7 + number // 300) % 440]}"
        heads[f"scope-{number}"] = ScopeHead(head, Lexicon([name]))
    classifier = first.with_heads(heads)
    scopes = [ForgetScope(name=label, label=label, threshold=0.9) for label in heads]
    return Guard(ECOConfig(scopes=scopes), dict.fromkeys(heads, classifier), tokenizer)


def cost(function) -> tuple[float, float]:
    """Seconds that passed, and seconds that the process computed."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


@torch.inference_mode()
def measure(guard: Guard, model, text: str, ids: torch.Tensor, rounds: int) -> dict[str, float]:
    runs = [lambda: guard.inspect([text]), lambda: model(input_ids=ids, use_cache=True)]
    for run in runs * 2:
        run()  # warm-up
    pairs = [[cost(run) for run in runs] for _ in range(rounds)]
    medians = [[statistics.median(pair[run][kind] for pair in pairs) for kind in (0, 1)] for run in (0, 1)]
    return {
        "ratio": round(medians[0][0] / medians[1][0], 3),
        "ratio_min": round(min(verdict[0] / prefill[0] for verdict, prefill in pairs), 3),
        "ratio_max": round(max(verdict[0] / prefill[0] for verdict, prefill in pairs), 3),
        "ratio_cpu": round(medians[0][1] / medians[1][1], 3),
        "verdict_ms": round(1000 * medians[0][0], 1),
        "prefill_ms": round(1000 * medians[1][0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classifier", help="a trained classifier, a directory or Hub id")
    parser.add_argument("--scopes", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the table here as well")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    model = AutoModelForCausalLM.from_pretrained(resolve(SMOLLM2), dtype=torch.float32).eval().to(DEVICE)
    tokenizer = AutoTokenizer.from_pretrained(resolve(SMOLLM2))
    first = first_classifier(arguments.classifier)
    ids = torch.tensor([tokenizer(TEXT).input_ids[:TOKENS]], device=DEVICE)
    text = tokenizer.decode(ids[0])
    rows = []
    for count in arguments.scopes:
        started = time.perf_counter()
        guard = guard_of(first, count, tokenizer)
        guard.to(DEVICE)
        guard.inspect([text])
        row = {"scopes": count, "load": os.getloadavg()[0], "built_s": round(time.perf_counter() - started, 1)}
        row |= measure(guard, model, text, ids, arguments.rounds)
        row["peak_memory_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
        rows.append(row)
        print(row, flush=True)
        del guard
    if arguments.json:
        scopes = " ".join(map(str, arguments.scopes))
        options = f"--scopes {scopes} --threads {arguments.threads} --rounds {arguments.rounds}"
        write(arguments.json, f"python benchmarks/heads.py {options}", model, rows)


if __name__ == "__main__":
    main()
