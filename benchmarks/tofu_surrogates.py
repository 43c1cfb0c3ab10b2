"""How far a strength that is learnt without a retain model is from the one that is learnt with it, and what that costs
in forget quality, over several seeds of the noise and the search.

    python benchmarks/tofu_surrogates.py tofu --full full-adapter --retain retain-adapter --seeds 0 1 2 \\
        --variants noise-every-dim-content --markdown surrogates.md
    python benchmarks/tofu_surrogates.py tofu --full full-adapter --retain retain-adapter --statements tagger \\
        --variants noise-every-dim-statements --protocols strict --scores rouge_l_recall \\
        --surrogates retain look-alikes --measured paper

Everything else is as in tofu_lite.py, whose --work-dir serves here too: what was learnt or scored for its table is not
computed again. Beside counterfactuals, the retain model's score is taken on the questions that those speak of, so that
the two differ in nothing but the surrogate. "unseen" is forget quality on the odd rows alone, from which nothing was
learnt: on the even ones the strength by the retain model has been learnt on the very answers it is judged by.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tofu_lite import add_models, two_adapters
from tofu_options import add_learning, check_options, recipes, variants
from tofu_table import PROTOCOLS, Benchmark, learnt, surrogate_for, trained_scope, write_tables
from transformers import AutoTokenizer

from hf_eco.evaluation import ResultCache, Scorer
from hf_eco.evaluation.metrics import forget_quality, truth_ratio
from hf_eco.training import Counterfactuals
from hf_eco.training.corruption_search.surrogates import RetainModel, Setting, SurrogateEstimate

KEPT = ("variant", "protocol", "score", "seed", "surrogate", "surrogate score", "value", "strength", "trials")


def main(arguments: Sequence[str] | None = None) -> None:
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_models(parser)
    add_learning(parser, work_dir="tofu-lite")
    parser.set_defaults(
        variants=["noise-every-dim-content"], protocols=["paper"], surrogates=["retain", "counterfactual"]
    )
    parser.add_argument(
        "--measured", choices=PROTOCOLS, help="protocol of forget quality; that which is learnt under if not given"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the noise and the search")
    args = parser.parse_args(given)
    check_options(parser, args)
    if other := [name for name in args.variants if variants(args)[name].learns != "strength"]:
        parser.error(f"argument --variants: {other[0]!r} has no strength to learn. Take those of noise.")
    if "retain" not in args.surrogates or len(args.surrogates) < 2:
        parser.error("argument --surrogates: name retain, and what is to be compared with it.")
    if {"counterfactual", "look-alikes"} <= set(args.surrogates):
        parser.error(
            "argument --surrogates: counterfactual and look-alikes speak of other questions. Name one of them."
        )
    command = f"python benchmarks/tofu_surrogates.py {shlex.join(given)}"
    compare_surrogates(two_adapters("TOFU-lite: surrogates", command, args), args)


def compare_surrogates(benchmark: Benchmark, options: argparse.Namespace) -> None:
    """Learns each corruption by each surrogate with each seed, and prints and writes what there is of the tables."""
    tokenizer = AutoTokenizer.from_pretrained(benchmark.full)
    scope, classifier = trained_scope(benchmark)
    never = benchmark.load(benchmark.retain)
    how: dict[str, Any] = {
        "batch_size": benchmark.batch_size,
        "cache": ResultCache.open(benchmark.directory / "results"),
    }
    wanted = truth_ratios(benchmark, Scorer(never, tokenizer, **how))
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        for recipe in recipes(options):
            surrogate: Any = surrogate_for(benchmark, recipe, never)
            if surrogate is never and "counterfactual" in options.surrogates:
                surrogate = RetainModelOnTheSame(never)
                recipe = replace(recipe, surrogate=surrogate.kind)
            variant, measured = variants(options)[recipe.variant], options.measured or recipe.protocol
            model, about = learnt(benchmark, tokenizer, classifier, scope, recipe, surrogate, variant, seed)
            ratios = truth_ratios(benchmark, Scorer(model, tokenizer, protocol=measured, **how))
            p: dict[str, Any] = {"measured": measured, "forget quality p": forget_quality(ratios, wanted).p_value}
            p["p, unseen"] = forget_quality(ratios[1::2], wanted[1::2]).p_value
            rows.append({name: about[name] for name in KEPT} | p)
            write_tables(benchmark, {"Learnt": rows, "Differences": differences(rows)}, options)
            del model  # before the next one is loaded


@dataclass(frozen=True)
class RetainModelOnTheSame:
    """The retain model's score on those of the questions that have counterfactuals."""

    model: Any
    kind = "retain, the same questions"

    def estimate(self, setting: Setting) -> SurrogateEstimate:
        """Of each such question."""
        rows = Counterfactuals().rows(setting)
        whole = RetainModel(self.model).estimate(replace(setting, questions=setting.questions.take(rows)))
        return SurrogateEstimate(whole.values, rows)


def truth_ratios(benchmark: Benchmark, scorer: Scorer) -> np.ndarray:
    """Of each question of the forget set: (n,)."""
    task = benchmark.tasks[0]
    asked = zip(task.prompts_for(scorer), task.rows, strict=True)
    pairs = [(prompt, text) for prompt, row in asked for text in (row.paraphrased, *row.wrong)]
    losses = scorer.losses(*zip(*pairs, strict=True)).reshape(len(task.rows), -1)
    return truth_ratio(losses[:, 0], losses[:, 1:])


def differences(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """By how much each strength that was learnt without the retain model differs from the one that was learnt with it
    and the same seed, and their forget qualities."""
    how = ("variant", "protocol", "score", "seed")
    by_retain = {
        tuple(row[name] for name in how): row
        for row in rows
        if row["surrogate"] in ("retain", RetainModelOnTheSame.kind)
    }
    found = []
    for row in rows:
        best = by_retain.get(tuple(row[name] for name in how))
        if best is None or best is row:
            continue
        strengths = row["strength"], best["strength"]
        found.append(
            {name: row[name] for name in (*how, "surrogate")}
            | {"difference": abs(strengths[0] - strengths[1]), "quotient": max(strengths) / min(strengths)}
            | {name: row[name] for name in ("forget quality p", "p, unseen")}
            | {f"{name}, by retain": best[name] for name in ("forget quality p", "p, unseen")}
        )
    return found


if __name__ == "__main__":
    main()
