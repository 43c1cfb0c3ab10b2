"""Scopes by documents: which prompts they flag, and what they cost, against how many scopes there are.

    python benchmarks/facts.py ENCODER --documents passages.jsonl --forget probes.jsonl --near neighbors.jsonl \\
        --general general.jsonl --every 5 --json facts.json
    python benchmarks/facts.py ENCODER ... --classifier kept/default --classifier-threshold 0.848
    python benchmarks/facts.py ENCODER --cost 1 100 10000 --json cost.json

Rows of the files are objects; `--by` names the field that says whose they are, which is a scope, and the scope's name;
`--text` the field of the text; `--kind` a field by which recall is told apart. A scope's forget prompts that name it
(by the rules for names) are set aside. All scopes are in one guard. "recall" and "near" are shares of prompts flagged
for their own scope, "general" of prompts flagged for any, at the threshold 0.5; "recall at near" is the recall at the
threshold that flags .01, .03 or .1 of the near ones. A trained classifier that stands for all scopes (of
benchmarks/detection.py --output-dir) is asked besides if it is given: "with classifier" is flagged by either.

The cost is that of a verdict on `PROMPT`, with scopes of 20 sentences of random vectors, in milliseconds, and as a
ratio to that of the first number of scopes, measured alternately in one run.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from hf_eco import PromptClassifier
from hf_eco.detection.facts import FactsDetector, FactsEncoder
from hf_eco.detection.facts.background import measure
from hf_eco.detection.facts.bank import ScopeFacts, on_grid
from hf_eco.detection.names.detector import NamesDetector
from hf_eco.io.rows import rows_of_file

PROMPT = (
    "I have been reading about the history of the lighthouse in our town, and somebody told me that the keeper later "
    "wrote a novel which won a prize in 1987. Could you tell me who that was, and what else was written by the keeper?"
)
SENTENCES = 20
WORDS = 12  # of a sentence


def rows_of(path: Path, every: int = 1) -> list[dict[str, Any]]:
    return [row for _, row in rows_of_file(path)][::every]


def scores(detector: FactsDetector, rows: list[dict[str, Any]], options: argparse.Namespace) -> list[dict[str, float]]:
    """For each row p(forget) by scope."""
    found = []
    for start in range(0, len(rows), 64):
        for own in detector.detect([row[options.text] for row in rows[start : start + 64]]):
            best: dict[str, float] = defaultdict(float)
            for detection in own:
                best[detection.scope] = max(best[detection.scope], detection.probability)
            found.append(best)
    return found


def either(options: argparse.Namespace, rows: list[dict[str, Any]], by_facts: list[float]) -> list[bool]:
    """Whether each row is flagged by its facts or by the classifier; by its facts where there is none."""
    if options.classifier is None:
        return [p >= 0.5 for p in by_facts]
    classifier = PromptClassifier.from_pretrained(options.classifier)
    by_head = classifier.score([row[options.text] for row in rows])
    return [p >= 0.5 or head >= options.classifier_threshold for p, head in zip(by_facts, by_head, strict=True)]


def quality(detector: FactsDetector, options: argparse.Namespace) -> dict[str, Any]:
    documents: dict[str, list[str]] = defaultdict(list)
    for row in rows_of(options.documents):
        documents[row[options.by]].append(row[options.text])
    start = time.perf_counter()
    read = {scope: detector.read(texts, [scope]) for scope, texts in documents.items()}
    spent = time.perf_counter() - start
    detector = detector.joined_by(read)
    names = NamesDetector({scope: [scope] for scope in documents})
    forget = rows_of(options.forget)
    named = [
        any(d.scope == row[options.by] and d.probability >= 0.5 for d in found)
        for row, found in zip(forget, names.detect([row[options.text] for row in forget]), strict=True)
    ]
    forget = [row for row, is_named in zip(forget, named, strict=True) if not is_named]
    own = [p[row[options.by]] for row, p in zip(forget, scores(detector, forget, options), strict=True)]
    near_rows = rows_of(options.near)
    near = [p[row[options.by]] for row, p in zip(near_rows, scores(detector, near_rows, options), strict=True)]
    kinds = sorted({str(row.get(options.kind)) for row in forget})
    either_of_forget, either_of_near = (either(options, rows, p) for rows, p in ((forget, own), (near_rows, near)))
    at = {share: sorted(near, reverse=True)[int(share * len(near))] for share in (0.01, 0.03, 0.1)}
    result: dict[str, Any] = {"scopes": len(read), "sentences": sum(map(len, read.values())), "read_s": spent}
    for kind in kinds:
        of = [p for row, p in zip(forget, own, strict=True) if str(row.get(options.kind)) == kind]
        result[kind] = {"prompts": len(of), "recall": sum(p >= 0.5 for p in of) / len(of)}
        if options.classifier:
            of_kind = [
                e for row, e in zip(forget, either_of_forget, strict=True) if str(row.get(options.kind)) == kind
            ]
            result[kind]["recall with classifier"] = sum(of_kind) / len(of_kind)
        result[kind] |= {f"recall at near {share}": sum(p > t for p in of) / len(of) for share, t in at.items()}
    result["near"] = {"prompts": len(near), "flagged": sum(p >= 0.5 for p in near) / len(near)}
    if options.classifier:
        result["near"]["flagged with classifier"] = sum(either_of_near) / len(near)
    result["near"] |= {f"threshold for {share}": threshold for share, threshold in at.items()}
    if options.general:
        general = rows_of(options.general, options.every)
        flagged = [max(p.values(), default=0.0) >= 0.5 for p in scores(detector, general, options)]
        result["general"] = {"prompts": len(general), "flagged": sum(flagged) / len(flagged)}
        result["general"]["which"] = [row[options.text][:200] for row, f in zip(general, flagged, strict=True) if f]
    return result


def made_up(hidden: int, count: int) -> dict[str, ScopeFacts]:
    """Facts of scopes that nobody wrote."""
    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((count * SENTENCES, hidden), dtype=np.float32)
    grid = on_grid(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    words = draw.integers(0, 2**32, (count * SENTENCES, WORDS), dtype=np.uint32)
    counts = np.full(SENTENCES, WORDS, dtype=np.int32)
    rows = (slice(i * SENTENCES, (i + 1) * SENTENCES) for i in range(count))
    return {f"scope-{i}": ScopeFacts(grid[own], words[own].ravel(), counts) for i, own in enumerate(rows)}


def cost(detector: FactsDetector, options: argparse.Namespace) -> list[dict[str, float]]:
    facts = made_up(len(detector.background.mean), max(options.cost) + 1)
    names = list(facts)
    made, spent = {}, {}
    for count in options.cost:
        made[count] = detector.joined_by({name: facts[name] for name in names[:count]})
        start = time.perf_counter()
        made[count].joined_by({names[count]: facts[names[count]]})
        spent[count] = (time.perf_counter() - start) * 1000
    times: dict[int, list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        for count in random.Random(0).sample(options.cost, len(options.cost)):
            start = time.perf_counter()
            made[count].detect([PROMPT])
            times[count].append((time.perf_counter() - start) * 1000)
    first = times[options.cost[0]]
    return [
        {
            "scopes": count,
            "add_one_ms": spent[count],
            "verdict_ms": statistics.median(times[count]),
            "verdict_ratio": statistics.median(own / one for own, one in zip(times[count], first, strict=True)),
        }
        for count in options.cost
    ]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", help="Path or Hub id of a text encoder.")
    for name in ("documents", "forget", "near", "general"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--every", type=int, default=1, help="Of the general prompts, every so many.")
    parser.add_argument("--by", default="person")
    parser.add_argument("--text", default="query")
    parser.add_argument("--kind", default="kind")
    parser.add_argument("--classifier", help="Directory or Hub id of a trained classifier.")
    parser.add_argument("--classifier-threshold", type=float, default=0.5)
    parser.add_argument("--cost", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    encoder = FactsEncoder.from_pretrained(options.encoder)
    detector = FactsDetector(encoder, measure(encoder))
    result: dict[str, Any] = {"command": "benchmarks/facts.py"}
    if options.documents:
        result["quality"] = quality(detector, options)
    if options.cost:
        result["cost"] = cost(detector, options)
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
