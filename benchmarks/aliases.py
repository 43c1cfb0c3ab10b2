"""Aliases found in texts about people: how many more probes a guard by names then recognises.

    python benchmarks/aliases.py rwku --general general.jsonl --encoder ENCODER --json aliases.json

The folder holds probes.jsonl, neighbors.jsonl and passages.jsonl, rows of RWKU (Jin et al. 2024): {person, kind,
attack, query}. All people are looked for at once: with the person's title as the only name; with the aliases found in
the person's passages; and, with an encoder (a path or Hub id), with the passages as documents besides. A prompt that
leaves the guard uncertain is not flagged. A probe is *named* if it holds a word of the title (three letters or more,
no rank), or a whole alias; a relative of the same last name makes a probe named too. "neighbours" are flagged for the
person whose neighbours they are, "general" for anybody. The JSON file holds every named probe that is missed, and
every neighbour and general prompt that is flagged: read them, for some do name the person.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_eco.detection.detector import Detector
from hf_eco.detection.facts import FactsDetector, FactsEncoder
from hf_eco.detection.facts.background import measure as background_of
from hf_eco.detection.names.detector import NamesDetector
from hf_eco.detection.names.words import BEFORE_FIRST_NAMES, OPENING_WORDS
from hf_eco.guard.judging import judge_prompts
from hf_eco.guard.prompt_reader import DecodedPrompt
from hf_eco.io import read_prompts
from hf_eco.training import find_aliases

THRESHOLD = 0.5
LEVELS = ("forget_level1", "forget_level2", "forget_level3")
Row = dict[str, Any]


def rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def is_named(query: str, names: Sequence[str]) -> bool:
    """Whether a query holds a word of the first name, or another name whole."""
    title, *aliases = (name.lower() for name in names)
    words = set(re.findall(r"[^\W_]{3,}", query.lower())) - OPENING_WORDS - BEFORE_FIRST_NAMES - {"duke", "duchess"}
    return not words.isdisjoint(re.findall(r"[^\W_]+", title)) or any(alias in query.lower() for alias in aliases)


def flagged(detectors: Sequence[Detector], texts: Sequence[str]) -> list[set[str]]:
    """For each text the people it is flagged for, by the guard's own rule."""
    prompts = [DecodedPrompt(text, (), ((0, len(text)),)) for text in texts]
    judged = judge_prompts(detectors, lambda _: THRESHOLD, prompts)
    return [{who for who, said in own.items() if said.probability >= THRESHOLD and not said.weak} for own in judged]


def flagged_for(detectors: Sequence[Detector], asked: list[Row]) -> list[bool]:
    found = flagged(detectors, [row["query"] for row in asked])
    return [row["person"] in own for row, own in zip(asked, found, strict=True)]


def measure(
    detectors: Sequence[Detector], named: list[bool], probes: list[Row], neighbours: list[Row], general: list[str]
) -> Row:
    hit = flagged_for(detectors, probes)
    result: Row = {}
    for level in LEVELS:
        own = [(h, n) for h, n, row in zip(hit, named, probes, strict=True) if row["kind"] == level]
        result[level] = sum(h for h, _ in own) / len(own)
        result[f"{level} named"] = sum(h for h, n in own if n) / max(1, sum(n for _, n in own))
        result[f"{level} not named"] = sum(h for h, n in own if not n) / max(1, sum(not n for _, n in own))
    near = [row for row, h in zip(neighbours, flagged_for(detectors, neighbours), strict=True) if h]
    wrong = [query for query, own in zip(general, flagged(detectors, general), strict=True) if own]
    result |= {"neighbours": len(near) / len(neighbours), "general": len(wrong) / max(1, len(general))}
    return result | {
        "named probes missed": [row for row, h, n in zip(probes, hit, named, strict=True) if n and not h],
        "neighbours flagged": near,
        "general prompts flagged": wrong,
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--general", help="Prompts about nobody of these people.")
    parser.add_argument("--encoder", help="Reads the passages as documents.")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    probes, neighbours = rows(options.folder / "probes.jsonl"), rows(options.folder / "neighbors.jsonl")
    general = read_prompts(options.general) if options.general else []
    documents: dict[str, list[str]] = {}
    for row in rows(options.folder / "passages.jsonl"):
        documents.setdefault(row["person"], []).append(row["query"])
    found = {person: find_aliases([person], own) for person, own in documents.items()}
    titles = {person: [person] for person in found}
    aliases = {person: [person, *(alias.name for alias in own.aliases)] for person, own in found.items()}
    named = [is_named(row["query"], aliases[row["person"]]) for row in probes]
    guards: dict[str, list[Detector]] = {
        "titles": [NamesDetector(titles)],
        "with aliases": [NamesDetector(aliases)],
    }
    if options.encoder:
        encoder = FactsEncoder.from_pretrained(options.encoder)
        reader = FactsDetector(encoder, background_of(encoder))
        facts = reader.joined_by({person: reader.read(own, aliases[person]) for person, own in documents.items()})
        guards["with documents"] = [*guards["with aliases"], facts]
    results = {label: measure(own, named, probes, neighbours, general) for label, own in guards.items()}
    for label, result in results.items():
        print(label, {key: round(value, 4) for key, value in result.items() if isinstance(value, float)})
    for person, own in found.items():
        print(
            f"{person}: {', '.join(aliases[person][1:])}; left out: {', '.join(alias.name for alias in own.doubtful)}"
        )
    if options.json:
        values = {"command": "benchmarks/aliases.py", "aliases": aliases, "results": results}
        options.json.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
