"""The table of a TOFU benchmark: every model at the same questions, under both protocols.

What is done is what a user would do: a prompt classifier is trained on half of the forget set's questions and other
questions of the retain set's authors, and calibrated; each corruption's strength is learnt on that half's rows, with
no retain model in sight.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import torch
from common import DEVICE
from tofu_options import Recipe, Variant, recipes, variants
from tofu_own_words import with_own_words
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_eco import (
    AutoModelForCausalLMWithECO,
    CorruptionConfig,
    ECOConfig,
    ForgetScope,
    PromptClassifier,
)
from hf_eco.evaluation import (
    ComparisonReport,
    ComparisonRow,
    PromptingBaseline,
    RefusalBaseline,
    ResultCache,
    TofuTask,
    evaluate,
)
from hf_eco.evaluation.metrics import forget_quality
from hf_eco.evaluation.scoring import ScoringProtocol
from hf_eco.evaluation.task_rows import read_rows
from hf_eco.training import calibrate_threshold, optimize_corruption, train_prompt_classifier
from hf_eco.training.corruption_search import LookAlikes
from hf_eco.training.corruption_search.objective import score_called
from hf_eco.training.defaults import EXAMPLES

SCOPE = "tofu-authors"
CALIBRATION = 600  # retain questions kept for the threshold
MAX_FPR = 0.005  # the lowest that so many can vouch for
PROTOCOLS: tuple[ScoringProtocol, ...] = ("strict", "paper")
SETS = ("retain", "real_authors", "world_facts")


@dataclass(frozen=True)
class Benchmark:
    """What is measured.

    Attributes:
        title: the table's.
        command: that makes it.
        source: directory with TOFU's .jsonl files, or its Hub id.
        forget_set: "forget01", "forget05" or "forget10".
        full: checkpoint of the model that was trained on everything.
        retain: checkpoint of the one that never saw the forget set.
        base: the model that both were made of, under which answers' perplexity is measured.
        encoder: text encoder of the prompt classifier.
        tasks: what the models are asked.
        others: questions about other authors, to train the classifier on and to calibrate it.
        directory: for what is learnt, and for finished parts.
        look_alikes: one of TOFU's sets with wrong answers; what it has beyond the forget set, none of the models was
            trained on. None: there is no such set, and look-alikes have no wrong answers.
        dtype: of the models.
        batch_size: rows of a forward pass.
        examples: that the classifier is trained on, about.
        max_trials: of each corruption.
    """

    title: str
    command: str
    source: str
    forget_set: str
    full: str
    retain: str
    base: str
    encoder: str
    tasks: Sequence[TofuTask]
    others: Sequence[str]
    directory: Path
    look_alikes: str | None = None
    dtype: torch.dtype = torch.float32
    batch_size: int = 16
    examples: int = EXAMPLES
    max_trials: int = 24

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Those of one of TOFU's sets."""
        return read_rows(self.source, config=name, split="train")

    def load(self, checkpoint: str) -> Any:
        """A model of the table, without a guard."""
        model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=self.dtype)
        return model.to(DEVICE)


def tasks(source: str, forget_set: str, limit: int | None, max_new_tokens: int = 128) -> list[TofuTask]:
    """What the models are asked: the first `limit` rows of the forget set and of those to be retained."""
    return [TofuTask(name, source, limit=limit, max_new_tokens=max_new_tokens) for name in (forget_set, *SETS)]


def trained_scope(benchmark: Benchmark) -> tuple[ForgetScope, PromptClassifier]:
    """The scope, its threshold at the lowest false positive rate that so many questions can vouch for, and its
    classifier; the same for every seed of the corruptions, which are what is compared."""
    forget = [row["question"] for row in benchmark.rows(benchmark.forget_set)]
    held_out, others = benchmark.others[:CALIBRATION], benchmark.others[CALIBRATION:]
    directory = benchmark.directory / "classifier"
    if directory.exists():
        classifier = PromptClassifier.from_pretrained(str(directory))
    else:
        classifier = train_prompt_classifier(
            forget[::2], others, benchmark.encoder, directory, label=SCOPE, examples=benchmark.examples
        )
    threshold = calibrate_threshold(classifier, forget[1::2], held_out, max_fpr=MAX_FPR, label=SCOPE).threshold
    return ForgetScope(name=SCOPE, threshold=threshold, label=SCOPE), classifier


def questions(benchmark: Benchmark, score: str) -> dict[str, list[Any]]:
    """The forget set's even rows as the search for a corruption takes them."""
    return as_learnt_from(benchmark.rows(benchmark.forget_set + "_perturbed" * needs_wrong(score))[::2], score)


def needs_wrong(score: str) -> bool:
    """Whether it compares with wrong answers."""
    return "wrong_answers" in score_called(score).needs


def as_learnt_from(rows: Sequence[dict[str, Any]], score: str) -> dict[str, list[Any]]:
    """Questions and answers for a score; a truth ratio is of the answer in other words, and of wrong ones."""
    right = "paraphrased_answer" if needs_wrong(score) else "answer"
    found = {"prompts": [row["question"] for row in rows], "answers": [row[right] for row in rows]}
    return found | ({"wrong_answers": [row["perturbed_answer"] for row in rows]} if needs_wrong(score) else {})


def surrogate_for(benchmark: Benchmark, recipe: Recipe, never: Any) -> Any:
    """What the search for a corruption is told the score should be; `never` is the retain model."""
    if recipe.surrogate == "look-alikes":
        return LookAlikes(**as_learnt_from(look_alikes(benchmark, recipe.score), recipe.score))
    return never if recipe.surrogate == "retain" else recipe.surrogate


def look_alikes(benchmark: Benchmark, score: str) -> list[dict[str, Any]]:
    """Rows that no model of the table was trained on."""
    if not needs_wrong(score):
        return benchmark.rows(benchmark.forget_set.replace("forget", "holdout"))
    if benchmark.look_alikes is None:
        raise ValueError(f"There are no look-alikes with wrong answers, which score {score!r} needs.")
    forget = {row["question"] for row in benchmark.rows(benchmark.forget_set)}
    return [row for row in benchmark.rows(benchmark.look_alikes) if row["question"] not in forget]


def learnt(
    benchmark: Benchmark,
    tokenizer: Any,
    classifier: PromptClassifier,
    scope: ForgetScope,
    recipe: Recipe,
    surrogate: Any,
    variant: Variant,
    seed: int,
) -> tuple[Any, dict[str, Any]]:
    """The guarded model with a variant's free value learnt on the forget set's even rows, and what was learnt."""
    scope = ForgetScope(
        **{
            **vars(scope),
            "corruption": CorruptionConfig(method=variant.method, dims=variant.dims, strength=1.0, seed=seed),
            "tokens": variant.tokens,
            "entities": variant.entities,
        }
    )
    model = AutoModelForCausalLMWithECO.from_pretrained(
        benchmark.full,
        eco_config=ECOConfig(scopes=[scope]),
        classifiers={SCOPE: classifier},
        dtype=benchmark.dtype,
    ).to(DEVICE)
    started = time.perf_counter()
    search = optimize_corruption(
        model,
        SCOPE,
        **questions(benchmark, recipe.score),
        score=recipe.score,
        surrogate=surrogate,
        protocol=recipe.protocol,
        parameters=(variant.learns,),
        max_trials=benchmark.max_trials,
        batch_size=benchmark.batch_size,
        seed=seed,
        tokenizer=tokenizer,
        output_dir=benchmark.directory / "learnt" / "-".join([*astuple(recipe), str(seed)]),
    )
    model.config.eco.scope(SCOPE).corruption = search.corruption  # what was found is measured, if it helps or not
    about = {
        **asdict(recipe),
        **asdict(search.corruption),
        "unguarded": search.unguarded,
        "n": search.n,
        "value": search.value,
        "surrogate score": search.surrogate.value,
        "trials": len(search.history),
        "seconds": round(time.perf_counter() - started, 1),
    }
    return model, about


def make_table(benchmark: Benchmark, options: argparse.Namespace) -> None:
    """Measures one model after another, and prints and writes what there is of the table after each."""
    tokenizer = AutoTokenizer.from_pretrained(benchmark.full)
    scope, classifier = trained_scope(benchmark)
    never = benchmark.load(benchmark.retain)
    how: dict[str, Any] = {
        "cache_dir": ResultCache.open(benchmark.directory / "results"),
        "seed": options.seed,
        "batch_size": benchmark.batch_size,
        "reference": (benchmark.load(benchmark.base), tokenizer),
        "retain_model": never,
    }
    rows: list[ComparisonRow] = []
    learning: list[dict[str, Any]] = []
    own_words: list[dict[str, Any]] = []
    forget = f"tofu/{benchmark.forget_set}"

    def measure(models: dict[str, Any]) -> None:
        for label, model in models.items():
            for protocol in PROTOCOLS:
                report = evaluate(model, tokenizer, benchmark.tasks, protocol, name=label, **how)
                rows.append(ComparisonRow(label, report))

    def write() -> None:
        lines = summary(ComparisonReport(rows), forget)
        tables = {"Models": lines, "Learnt": learning, "Own words": own_words}
        write_tables(benchmark, tables, options)

    measure({"original": benchmark.load(benchmark.full)})  # and let go: a GPU need not hold more models than it must
    measure({"retain": never})
    for number, recipe in enumerate(recipes(options)):
        surrogate = surrogate_for(benchmark, recipe, never)
        variant = variants(options)[recipe.variant]
        guarded, about = learnt(benchmark, tokenizer, classifier, scope, recipe, surrogate, variant, options.seed)
        if number == 0:
            guard = guarded.eco_guard  # the baselines go by its verdicts alone
            measure({"prompting": PromptingBaseline(guarded, guard), "refusal": RefusalBaseline(guarded, guard)})
        label = f"eco {recipe}"
        learning.append(about)
        measure({label: guarded})
        if options.own_words:
            report = ComparisonReport(rows)
            clean = {own: report.row(own, "strict").report[forget].rows for own in ("retain", label)}
            own_words += with_own_words(guarded, clean, how["reference"], options.own_words, benchmark.batch_size)
        write()
        del guarded  # before the next one is loaded


def unseen(report: ComparisonReport, row: ComparisonRow, forget: str) -> float:
    """Forget quality on the odd rows of the forget set, from which nothing was learnt."""
    own, never = (
        r.report[forget].column("truth_ratio")[1::2] for r in (row, report.row("retain", row.report.protocol))
    )
    return forget_quality(own, never).p_value


def summary(report: ComparisonReport, forget: str) -> list[dict[str, Any]]:
    """One line for each model and protocol; `forget` is the name of the forget task."""
    lines = []
    for row in report.rows:
        values: dict[str, Any] = {"model": row.label, "protocol": row.report.protocol}
        measures = {name: estimate.value for name, estimate in row.report[forget].measures.items()}
        values |= {f"forget {name}": value for name, value in measures.items()}
        quality = report.forget_quality(row)[forget]
        values |= {"forget quality p": quality.p_value, "KS": quality.statistic}
        values |= {"p, unseen": unseen(report, row, forget)}
        for task in row.report.results:
            if task.name != forget:
                values |= {f"{task.name[5:]} {name}": e.value for name, e in task.measures.items()}
        values |= {"model utility": row.report.model_utility, "/ original's": report.relative_utility(row)}
        lines.append(values)
    return lines


def write_tables(
    benchmark: Benchmark, tables: Mapping[str, Sequence[dict[str, Any]]], options: argparse.Namespace
) -> None:
    """Writes what there is of the tables, and prints their last lines."""
    if options.json:
        values = {title.lower(): table for title, table in tables.items()}
        options.json.write_text(json.dumps({"command": benchmark.command, **values}, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(benchmark, tables))
    print(markdown(benchmark, {title: table[-2:] for title, table in tables.items()}), flush=True)


def markdown(benchmark: Benchmark, tables: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    parts = [f"# {benchmark.title}\n\n    {benchmark.command}\n"]
    for title, rows in tables.items():
        if not rows:
            continue
        columns = list(dict.fromkeys(column for row in rows for column in row))
        parts.append(f"## {title}\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
        parts += [f"| {' | '.join(shown(row.get(column)) for column in columns)} |" for row in rows]
        parts.append("")
    return "\n".join(parts)


def shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) and math.isfinite(value) else str(value)
