"""Scopes by name: what they cost and whom they flag, against how many there are.

    python benchmarks/names.py names.txt --prompts prompts.jsonl --json names.json

For each number of scopes, one name each: the time to add them one by one, to add one more, and to look for all of them
in a prompt, the last as a ratio to that of the first number, measured alternately in one run. "flagged" are the
prompts in which a name is found; read them, for some do name somebody. "uncertain" are those in which nothing is found
but a name that many bear. "recall" is the share of the names, each in its own question, that are found, those that
many bear too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path

from hf_eco.detection.names.detector import NamesDetector
from hf_eco.detection.names.words import read
from hf_eco.io import read_prompts, read_requests
from hf_eco.training.augmentation import shipped_prompts

QUESTION = "Where did {} grow up, and what is known about the family?"


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
    more = {**scopes, "one-more": ("Zebulon Quartermain",)}
    before = time.perf_counter()
    NamesDetector(more, detector)
    return detector, {"add_all_s": built - start, "add_one_ms": (time.perf_counter() - before) * 1000}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", help="A file of names: .txt, one a line; .csv or .jsonl with a field name.")
    parser.add_argument("--prompts", help="Prompts that name nobody. [default: the general ones of the package]")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 100, 1000, 10_000])
    parser.add_argument("--rounds", type=int, default=5)
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
        found = detector.detect([QUESTION.format(name) for name in names[:count]])
        recalled = [any(d.scope == f"scope-{number}" for d in own) for number, own in enumerate(found)]
        said = dict(zip(prompts, detector.detect(prompts), strict=True))
        flagged = [prompt for prompt, own in said.items() if any(d.probability >= 0.5 and not d.weak for d in own)]
        uncertain = [prompt for prompt, own in said.items() if own and all(d.weak for d in own)]
        ratios = [own / first for own, first in zip(times[count], times[counts[0]], strict=True)]
        row = {
            "scopes": count,
            **spent,
            "verdict_ms": statistics.median(times[count]),
            "verdict_ratio": statistics.median(ratios),
            "recall": sum(recalled) / count,
            "flagged": len(flagged),
            "uncertain": len(uncertain),
            "prompts": len(prompts),
            "flagged_prompts": flagged,
        }
        rows.append(row)
        print({key: round(v, 4) if isinstance(v, float) else v for key, v in row.items() if key != "flagged_prompts"})
    if options.json:
        options.json.write_text(json.dumps({"command": "benchmarks/names.py", "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
