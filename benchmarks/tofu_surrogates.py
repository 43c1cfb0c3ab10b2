"""How far a strength that is learnt without a retain model is from the one that is learnt with it, and what that costs
in forget quality, over several seeds of the noise and the search.

    python benchmarks/tofu_surrogates.py tofu --full full-adapter --retain retain-adapter --seeds 0 1 2 \\
        --variants noise-every-dim-content --markdown surrogates.md

Everything else is as in tofu_lite.py, whose --work-dir serves here too: what was learnt or scored for its table is not
computed again.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from tofu_lite import add_models, two_adapters
from tofu_options import add_options, check_options, recipes
from tofu_table import SCOPE, Benchmark, learnt, markdown, trained_classifier
from transformers import AutoTokenizer

from hf_eco import ForgetScope
from hf_eco.evaluation import ResultCache, Scorer, as_chat
from hf_eco.evaluation.metrics import forget_quality, truth_ratio
from hf_eco.evaluation.scoring import Protocol

KEPT = ("variant", "protocol", "score", "seed", "surrogate", "surrogate score", "value", "dims", "strength", "trials")


def main(arguments: Sequence[str] | None = None) -> None:
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_models(parser)
    add_options(parser, work_dir="tofu-lite")
    parser.set_defaults(
        variants=["noise-every-dim-content"], protocols=["paper"], surrogates=["retain", "counterfactual"]
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args(given)
    check_options(parser, args)
    command = f"python benchmarks/tofu_surrogates.py {shlex.join(given)}"
    compare_surrogates(two_adapters("TOFU-lite: surrogates", command, args), args)


def compare_surrogates(benchmark: Benchmark, options: argparse.Namespace) -> None:
    """Learns each corruption by each surrogate with each seed, and prints and writes what there is of the table."""
    tokenizer = AutoTokenizer.from_pretrained(benchmark.full)
    classifier, threshold = trained_classifier(benchmark)
    scope = ForgetScope(name=SCOPE, threshold=threshold, label=SCOPE)
    never = benchmark.load(benchmark.retain)
    cache = ResultCache.open(benchmark.directory / "results")
    rows: list[dict[str, Any]] = []

    def ratios(model: Any, protocol: Protocol) -> np.ndarray:
        scorer = Scorer(model, tokenizer, protocol=protocol, batch_size=benchmark.batch_size, cache=cache)
        return truth_ratios(scorer, benchmark)

    for seed in options.seeds:
        for recipe in recipes(options):
            options.seed = seed
            model, about = learnt(benchmark, tokenizer, classifier, scope, never, recipe, options)
            quality = forget_quality(ratios(model, recipe.protocol), ratios(never, recipe.protocol))
            rows.append({**{name: about[name] for name in KEPT}, "forget quality p": quality.p_value})
            write(benchmark, rows, options)
            del model  # before the next one is loaded


def truth_ratios(scorer: Scorer, benchmark: Benchmark) -> np.ndarray:
    """Of each question of the forget set: (n,)."""
    asked = [
        (as_chat(row["question"], scorer.tokenizer), (row["paraphrased_answer"], *row["perturbed_answer"]))
        for row in benchmark.rows(f"{benchmark.forget_set}_perturbed")
    ]
    flat = iter(scorer.losses(*zip(*((prompt, text) for prompt, own in asked for text in own), strict=True)))
    losses = [[next(flat) for _ in own] for _, own in asked]
    return np.concatenate([truth_ratio([right], [wrong]) for right, *wrong in losses])


def differences(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each seed, by how much the strength that is learnt without the retain model differs from the one that is
    learnt with it: |sigma - sigma_b|, as the quotient of the two, and in forget quality."""
    by = {(row["variant"], row["protocol"], row["score"], row["seed"], row["surrogate"]): row for row in rows}
    found = []
    for (*how, surrogate), row in by.items():
        best = by.get((*how, "retain"))
        if surrogate == "retain" or best is None or row["strength"] is None:
            continue
        own, other = row["strength"], best["strength"]
        found.append(
            {
                **dict(zip(("variant", "protocol", "score", "seed"), how, strict=True)),
                "surrogate": surrogate,
                "|strength - that by retain|": abs(own - other),
                "quotient": math.exp(abs(math.log(own / other))),
                "p": row["forget quality p"],
                "p by retain": best["forget quality p"],
            }
        )
    return found


def write(benchmark: Benchmark, rows: Sequence[dict[str, Any]], options: argparse.Namespace) -> None:
    tables = {"Learnt": rows, "Differences": differences(rows)}
    if options.json:
        values = {title.lower(): table for title, table in tables.items()}
        options.json.write_text(json.dumps({"command": benchmark.command, **values}, indent=1) + "\n")
    text = markdown(benchmark, tables)
    if options.markdown:
        options.markdown.write_text(text)
    print(text, flush=True)


if __name__ == "__main__":
    main()
