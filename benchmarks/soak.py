"""A guarded model under load: are all answers right while scopes come and go, and does the memory stay flat?

    python benchmarks/soak.py --requests 2000 --threads 16 --scopes 1000 --json soak.json

Requests of four kinds (`generate` alone, `generate` in a batch, a forward pass, `inspect`) come from many threads:
about nobody, about somebody who is guarded all the time, and about somebody whose scope another thread adds and
removes over and over. The model is tiny and random: right is what the same call gave before, alone, on the bare model
or on the guarded one; about the scope that comes and goes, either. "wrong" counts all other answers. The memory is
that of the process after each tenth of the requests; its growth is that of the second half.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from common import tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_eco import AutoModelForCausalLMWithECO, ECOConfig, ForgetScope
from hf_eco.data import shipped_names

COMES_AND_GOES = ForgetScope(name="comes-and-goes", names=["Cosima Feldspar"])
PROMPTS = {
    "nobody": ("How long does rye bread take?", "Name three rivers of France.", "What is 7 times 8?"),
    "guarded": ("Who is {name}?", "Where was {name} born?", "Tell me about {name}."),
    "changing": ("Who is Cosima Feldspar?", "Where does Cosima Feldspar live?"),
}
TOKENS = 8


def padded(tokenizer: Any, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    rows = [tokenizer(text).input_ids for text in texts]
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}


def calls(tokenizer: Any, names: list[str]) -> dict[tuple[str, str], Callable[[Any], Any]]:
    """Each request by its kind and what it is about; called with the model, it gives what can be compared."""
    about = {
        subject: [text.format(name=names[i % len(names)]) for i, text in enumerate(texts)]
        for subject, texts in PROMPTS.items()
    }

    def generated(model: Any, inputs: dict[str, torch.Tensor]) -> Any:
        options = {"max_new_tokens": TOKENS, "do_sample": False, "pad_token_id": 0}
        given = model.generate(**inputs, **options, return_dict_in_generate=True, output_logits=True)
        return given.sequences.tolist(), torch.stack(given.logits).sum(-1).tolist()

    made: dict[tuple[str, str], Callable[[Any], Any]] = {}
    for subject, texts in about.items():
        one, batch = padded(tokenizer, texts[:1]), padded(tokenizer, [texts[1], *about["nobody"][:2]])
        made["generate", subject] = lambda model, one=one: generated(model, one)
        made["batch", subject] = lambda model, batch=batch: generated(model, batch)
        made["forward", subject] = lambda model, one=one: model(**one).logits.sum(-1).tolist()
        made["inspect", subject] = lambda model, text=texts[-1]: (
            model.inspect(text).scope if hasattr(model, "inspect") else None
        )
    return made


def memory_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def soak(model: Any, bare: Any, tokenizer: Any, names: list[str], options: argparse.Namespace) -> dict[str, Any]:
    asked = calls(tokenizer, names)
    with torch.inference_mode():
        right = {key: [call(model)] for key, call in asked.items()}
        model.add_scope(COMES_AND_GOES)
        for key, call in asked.items():
            right[key].append(call(model))
        model.remove_scope(COMES_AND_GOES.name)
        unguarded = {key: call(bare) for key, call in asked.items()}
    for (kind, subject), (without, with_scope) in right.items():
        if subject != "changing" and without != with_scope:
            raise SystemExit(f"{kind} about {subject} depends on another scope.")
        if (unguarded[kind, subject] == without) != (subject != "guarded"):
            raise SystemExit(f"{kind} about {subject}: the guard does not do what it should before the load begins.")
    stop, changes, wrong, memory = threading.Event(), Counter[str](), Counter[str](), []

    def change() -> None:
        while not stop.is_set():
            model.add_scope(COMES_AND_GOES)
            model.remove_scope(COMES_AND_GOES.name)
            changes["added and removed"] += 1

    def ask(key: tuple[str, str]) -> None:
        try:
            with torch.inference_mode():
                given = asked[key](model)
        except Exception as error:
            wrong[f"{' '.join(key)}: {type(error).__name__}: {error}"] += 1
            return
        if given not in right[key]:
            wrong[" ".join(key)] += 1

    draw, start = random.Random(options.seed), time.perf_counter()
    changer = threading.Thread(target=change)
    changer.start()
    try:
        with ThreadPoolExecutor(options.threads) as pool:
            for _ in range(10):
                list(pool.map(ask, draw.choices(list(asked), k=options.requests // 10)))
                memory.append(round(memory_mib(), 1))
    finally:
        stop.set()
        changer.join()
    return {
        "requests": options.requests,
        "threads": options.threads,
        "scopes": len(names) + 1,
        "changes": changes["added and removed"],
        "wrong": sum(wrong.values()),
        "which": dict(wrong.most_common(10)),
        "memory_mib": memory,
        "growth_in_second_half": round(memory[-1] / memory[4] - 1, 4),
        "seconds": round(time.perf_counter() - start, 1),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--scopes", type=int, default=1000, help="Guarded names beside the one that comes and goes.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    made = shipped_names()
    names = list(dict.fromkeys(f"{first} {last}" for last in made["last"] for first in made["first"]))
    names = random.Random(options.seed).sample(names, options.scopes)
    scopes = [
        ForgetScope(name=f"scope-{number}", names=[name], context="ignored") for number, name in enumerate(names)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        base = tiny_model(Path(scratch))
        model = AutoModelForCausalLMWithECO.from_pretrained(base, eco_config=ECOConfig(scopes=scopes))
        bare = AutoModelForCausalLM.from_pretrained(base)
        result = soak(model, bare, AutoTokenizer.from_pretrained(base), names, options)
    result = {"command": "benchmarks/soak.py", **result}
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
