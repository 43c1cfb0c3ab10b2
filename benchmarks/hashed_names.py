"""Names that are kept as hashes against the same names in clear: whom they find, whom they flag, what they cost.

    python benchmarks/hashed_names.py --probes probes.jsonl --names names.txt --prompts general.jsonl --json out.json

"recall" is, of the probes (.jsonl with the fields person, kind, query) of each kind, the share flagged for their
person; "ratio" is how many of those that the names in clear find are found by their hashes. "flagged" are the prompts,
which name nobody, that are flagged with all `--names` in one guard, by threshold. "one_letter" is the share of
the names in `--names` that are found with one letter left out, added, replaced or swapped with the next, each in a
question. Times are milliseconds of one thread for each prompt; "of_one" is the ratio to those with a single name.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_eco.detection.detector import Detector
from hf_eco.detection.names.detector import NamesDetector
from hf_eco.detection.names.hashed import HashedNamesDetector, hash_names
from hf_eco.detection.names.words import read
from hf_eco.io import read_prompts, read_requests

KEY = bytes(range(16))
THRESHOLDS = (0.5, 0.95, 0.99)
QUESTION = "Where did {} grow up, and what is known about the family?"


def detectors(names: Mapping[str, Sequence[str]]) -> dict[str, Detector]:
    """The same names in clear and hashed."""
    records = {scope: hash_names(scope, own, KEY) for scope, own in names.items()}
    return {"plain": NamesDetector(names), "hashed": HashedNamesDetector(records, KEY)}


def scores(detector: Detector, prompts: Sequence[str], scopes: Sequence[str] | None = None) -> list[float]:
    """p(forget) of each prompt: of its own scope, or the highest of all."""
    found = detector.detect(list(prompts))
    wanted = [None] * len(found) if scopes is None else scopes
    return [
        max((d.probability for d in own if scope in (None, d.scope) and not d.weak), default=0.0)
        for own, scope in zip(found, wanted, strict=True)
    ]


def recall(file: str) -> dict[str, dict[str, float]]:
    probes = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    scopes = {person: f"scope-{number}" for number, person in enumerate(sorted({row["person"] for row in probes}))}
    made = detectors({scope: [person] for person, scope in scopes.items()})
    queries, own = [row["query"] for row in probes], [scopes[row["person"]] for row in probes]
    flagged = {kind: [p >= 0.5 for p in scores(detector, queries, own)] for kind, detector in made.items()}
    counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(("n", "plain", "hashed", "both"), 0))
    for row, plain, hashed in zip(probes, flagged["plain"], flagged["hashed"], strict=True):
        for name, value in (("n", True), ("plain", plain), ("hashed", hashed), ("both", plain and hashed)):
            counts[row["kind"]][name] += value
    return {
        kind: {
            "n": c["n"],
            **{name: c[name] / c["n"] for name in ("plain", "hashed")},
            "ratio": c["both"] / c["plain"],
        }
        for kind, c in counts.items()
    }


def misspelt(name: str, draw: random.Random) -> str:
    """`name` with one letter wrong."""
    places = [i for i in range(len(name) - 1) if name[i : i + 2].isalpha()]
    if not places:
        return name
    at, other = draw.choice(places), draw.choice("abcdefghijklmnopqrstuvwxyz")
    return draw.choice(
        (
            name[:at] + name[at + 1 :],
            name[:at] + other + name[at:],
            name[:at] + other + name[at + 1 :],
            name[:at] + name[at + 1] + name[at] + name[at + 2 :],
        )
    )


def milliseconds(detector: Detector, prompts: list[str]) -> float:
    read.cache_clear()
    start = time.thread_time()
    detector.detect(prompts)
    return (time.thread_time() - start) * 1000 / len(prompts)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probes")
    parser.add_argument("--names")
    parser.add_argument("--prompts")
    parser.add_argument("--every", type=int, default=1, help="Take every n-th of the prompts.")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    measured: dict[str, Any] = {"command": "benchmarks/hashed_names.py", "every": options.every}
    if options.probes:
        measured["recall"] = recall(options.probes)
    if options.names and options.prompts:
        names = {f"scope-{n}": r.names for n, r in enumerate(read_requests(options.names).values())}
        prompts = read_prompts(options.prompts)[:: options.every]
        draw = random.Random(0)
        chosen = draw.sample(sorted(names), min(500, len(names)))
        slips = [QUESTION.format(misspelt(names[scope][0], draw)) for scope in chosen]
        one = detectors({"scope-0": names["scope-0"]})
        measured |= {"names": len(names), "prompts": len(prompts)}
        for kind, detector in detectors(names).items():
            all_scores = scores(detector, prompts)
            few = prompts[:300]
            times = [(milliseconds(detector, few), milliseconds(one[kind], few)) for _ in range(3)]
            measured[kind] = {
                "flagged": {str(t): sum(p >= t for p in all_scores) for t in THRESHOLDS},
                "one_letter": sum(p >= 0.5 for p in scores(detector, slips, chosen)) / len(slips),
                "verdict_ms": min(own for own, _ in times),
                "of_one": sorted(own / single for own, single in times)[1],
            }
    print(json.dumps(measured, indent=2))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    main()
