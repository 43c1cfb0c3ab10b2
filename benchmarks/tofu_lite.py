"""Forgetting, proved where the truth is known: TOFU on a small model that was trained on everything, against one that
never saw the forget set.

    python benchmarks/tofu_lite.py tofu --full full-adapter --retain retain-adapter --json tofu.json --markdown tofu.md
    python benchmarks/tofu_lite.py tofu --full full-adapter --retain retain-adapter --variants noise-content --limit 20

`tofu` holds the official .jsonl files (Maini et al. 2024); the two adapters (peft) stand on --model. What is done is
what a user would do: a prompt classifier is trained on the forget set's questions and other questions of the retain
set's authors and calibrated; each corruption's strength is learnt on the forget set's even rows, with no retain model
in sight; then every model answers the same questions under both protocols. The column "unseen" is forget quality on
the odd rows alone, whose questions neither the classifier nor the corruption was learnt from (its threshold was
calibrated on them).

Results are kept in --work-dir and not computed twice; a run that breaks off goes on where it was.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from common import DEVICE
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_eco import AutoModelForCausalLMWithECO, CorruptionConfig, ECOConfig, ForgetScope, PromptClassifier
from hf_eco.evaluation import (
    ComparisonReport,
    ComparisonRow,
    PromptingBaseline,
    RefusalBaseline,
    ResultCache,
    TofuTask,
    compare,
)
from hf_eco.evaluation.metrics import forget_quality
from hf_eco.evaluation.scoring import Protocol
from hf_eco.packaged import MINILM, SMOLLM2, resolve
from hf_eco.training import calibrate_threshold, optimize_corruption, train_prompt_classifier
from hf_eco.training.corruption_search import LookAlikes

SCOPE = "tofu-authors"
RETAIN_FOR_TRAINING = slice(1000, 3000)  # of retain95; its first 1,000 are what the models were trained on
CALIBRATION = 600  # of those, kept for the threshold
SETS = ("retain", "real_authors", "world_facts")


@dataclass(frozen=True)
class Variant:
    """A corruption whose one free value, strength or dims, is to be learnt."""

    method: str
    tokens: str
    dims: int | None = 1
    learns: str = "strength"
    entities: str | None = None


def variants(tagger: str | None) -> dict[str, Variant]:
    """The corruptions that are compared, by name."""
    found = {}
    for tokens in ("content", "all", *(("entities",) if tagger else ())):
        where = tagger if tokens == "entities" else None
        found[f"noise-{tokens}"] = Variant("rand_noise_first_n", tokens, entities=where)
        found[f"noise-every-dim-{tokens}"] = Variant("rand_noise_first_n", tokens, None, entities=where)
        found[f"zero-{tokens}"] = Variant("zero_out_top_k", tokens, learns="dims", entities=where)
        found[f"flip-{tokens}"] = Variant("flip_sign_top_k", tokens, learns="dims", entities=where)
    return found


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def check_work_dir(directory: Path, made_of: dict[str, str]) -> None:
    """Refuses a directory with the checkpoints of another run."""
    record = directory / "made-of.json"
    directory.mkdir(parents=True, exist_ok=True)
    if not record.exists():
        record.write_text(json.dumps(made_of, indent=1) + "\n")
    elif (known := json.loads(record.read_text())) != made_of:
        raise SystemExit(f"{directory} holds what was made of {known}, not of {made_of}. Take another --work-dir.")


def merged(base: str, adapter: Path, directory: Path) -> str:
    """`base` with `adapter` merged into it, as an ordinary checkpoint."""
    if not directory.exists():
        unfinished = directory.with_suffix(".unfinished")
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(unfinished)
        AutoTokenizer.from_pretrained(base).save_pretrained(unfinished)
        unfinished.rename(directory)
    return str(directory)


def trained_classifier(data: Path, directory: Path, encoder: str, seed: int) -> tuple[PromptClassifier, float]:
    """The scope's classifier and its threshold, at a false positive rate of at most 1 %."""
    forget = [row["question"] for row in read(data / "forget05.jsonl")]
    others = [row["question"] for row in read(data / "retain95.jsonl")[RETAIN_FOR_TRAINING]]
    held_out, others = others[:CALIBRATION], others[CALIBRATION:]
    if directory.exists():
        classifier = PromptClassifier.from_pretrained(str(directory))
    else:
        classifier = train_prompt_classifier(forget[::2], others, encoder, directory, seed, label=SCOPE)
    return classifier, calibrate_threshold(classifier, forget[1::2], held_out, max_fpr=0.01, label=SCOPE).threshold


def learnt(
    full: str,
    tokenizer: Any,
    classifier: PromptClassifier,
    scope: ForgetScope,
    variant: Variant,
    protocol: Protocol,
    directory: Path,
    args: argparse.Namespace,
) -> tuple[Any, dict[str, Any]]:
    """The guarded model with `variant`'s free value learnt on the forget set's even rows, and what was learnt."""
    scope = ForgetScope(
        **{
            **vars(scope),
            "corruption": CorruptionConfig(method=variant.method, dims=variant.dims, strength=1.0, seed=args.seed),
            "tokens": variant.tokens,
            "entities": variant.entities,
        }
    )
    model = AutoModelForCausalLMWithECO.from_pretrained(
        full, eco_config=ECOConfig(scopes=[scope]), classifiers={SCOPE: classifier}
    ).to(DEVICE)
    rows = read(args.data / "forget05.jsonl")[::2]
    surrogate: Any = args.surrogate
    if args.surrogate == "look-alikes":
        others = read(args.data / "holdout05.jsonl")
        surrogate = LookAlikes([row["question"] for row in others], [row["answer"] for row in others])
    elif args.surrogate == "retain":
        surrogate = AutoModelForCausalLM.from_pretrained(args.work_dir / "retain", dtype=torch.float32).to(DEVICE)
    started = time.perf_counter()
    search = optimize_corruption(
        model,
        SCOPE,
        [row["question"] for row in rows],
        [row["answer"] for row in rows],
        score=args.score,
        surrogate=surrogate,
        protocol=protocol,
        parameters=(variant.learns,),
        seed=args.seed,
        tokenizer=tokenizer,
        output_dir=directory,
    )
    about = {
        **asdict(search.corruption),
        "score": args.score,
        "protocol": protocol,
        "surrogate kind": args.surrogate,
        "unguarded": search.unguarded,
        "n": search.n,
        "value": search.value,
        "surrogate": search.surrogate.value,
        "trials": len(search.history),
        "seconds": round(time.perf_counter() - started, 1),
    }
    return model, about


def unseen(report: ComparisonReport, row: ComparisonRow) -> float:
    """Forget quality on the odd rows of the forget set, from which nothing was learnt."""
    own, never = (
        r.report["tofu/forget05"].column("truth_ratio")[1::2] for r in (row, report.row("retain", row.report.protocol))
    )
    return forget_quality(own, never).p_value


def summary(report: ComparisonReport) -> list[dict[str, Any]]:
    """One line for each model and protocol."""
    lines = []
    for row in report.rows:
        forget = row.report["tofu/forget05"]
        values: dict[str, Any] = {"model": row.label, "protocol": row.report.protocol}
        measures = {name: estimate.value for name, estimate in forget.measures.items()}
        values |= {f"forget {name}": value for name, value in measures.items()}
        quality = report.forget_quality(row)["tofu/forget05"]
        values |= {"forget quality p": quality.p_value, "KS": quality.statistic, "p, unseen": unseen(report, row)}
        for task in row.report.results:
            if task.name != "tofu/forget05":
                values |= {f"{task.name[5:]} {name}": e.value for name, e in task.measures.items()}
        values |= {"model utility": row.report.model_utility, "/ original's": report.relative_utility(row)}
        lines.append(values)
    return lines


def markdown(command: str, lines: Sequence[dict[str, Any]], learning: Sequence[dict[str, Any]]) -> str:
    parts = [f"# TOFU-lite\n\n    {command}\n"]
    for title, rows in (("Models", lines), ("Learnt", learning)):
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="directory with TOFU's .jsonl files")
    parser.add_argument("--full", type=Path, required=True, help="adapter of the model trained on everything")
    parser.add_argument("--retain", type=Path, required=True, help="adapter of the one that never saw the forget set")
    parser.add_argument("--model", default=SMOLLM2, help="what the adapters stand on")
    parser.add_argument("--encoder", default=MINILM, help="text encoder of the prompt classifier")
    parser.add_argument("--tagger", help="a token classifier, for tokens=entities; left out without one")
    parser.add_argument("--variants", nargs="*", help="corruptions to compare; all if not given")
    parser.add_argument("--score", default="answer_probability", help="what the strength is learnt by")
    parser.add_argument(
        "--surrogate",
        default="counterfactual",
        choices=("counterfactual", "look-alikes", "retain"),
        help="what the score should be: by made-up names, by holdout05's questions, or by the retain model itself",
    )
    parser.add_argument(
        "--protocols", nargs="+", default=["strict", "paper"], choices=("strict", "paper"), help="what is learnt under"
    )
    parser.add_argument("--limit", type=int, help="rows of each set; all if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work-dir", type=Path, default=Path("tofu-lite"), help="checkpoints and finished parts")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    command = f"python benchmarks/tofu_lite.py {shlex.join(sys.argv[1:])}"
    base, encoder = resolve(args.model), resolve(args.encoder)
    made_of = {name: str(getattr(args, name).resolve()) for name in ("data", "full", "retain")}
    check_work_dir(args.work_dir, {**made_of, "model": base, "encoder": encoder})
    full, retain = (merged(base, getattr(args, name), args.work_dir / name) for name in ("full", "retain"))
    tokenizer = AutoTokenizer.from_pretrained(full)
    classifier, threshold = trained_classifier(
        args.data, args.work_dir / f"classifier-{args.seed}", encoder, args.seed
    )
    scope = ForgetScope(name=SCOPE, threshold=threshold, label=SCOPE)
    original = AutoModelForCausalLM.from_pretrained(full, dtype=torch.float32).to(DEVICE)
    tasks = [TofuTask("forget05", args.data, limit=args.limit)]
    tasks += [TofuTask(name, args.data, limit=args.limit) for name in SETS]
    options: dict[str, Any] = {"cache_dir": ResultCache.open(args.work_dir / "results"), "seed": args.seed}
    options["reference"] = (AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).to(DEVICE), tokenizer)
    never = AutoModelForCausalLM.from_pretrained(retain, dtype=torch.float32).to(DEVICE)
    rows = compare({"original": original, "retain": never}, tokenizer, tasks, **options).rows
    del never
    learning: list[dict[str, Any]] = []

    def add(models: dict[str, Any]) -> None:
        rows.extend(compare(models, tokenizer, tasks, **options).rows)
        lines = summary(ComparisonReport(rows))
        if args.json:
            args.json.write_text(
                json.dumps({"command": command, "models": lines, "learnt": learning}, indent=1) + "\n"
            )
        if args.markdown:
            args.markdown.write_text(markdown(command, lines, learning))
        print(markdown(command, lines[-2 * len(models) :], learning[-1:]), flush=True)

    baselines = None
    known = variants(args.tagger)
    for name, protocol in itertools.product(args.variants or known, args.protocols):
        directory = args.work_dir / "learnt" / f"{name}-{args.score}-{args.surrogate}-{protocol}-{args.seed}"
        guarded, about = learnt(full, tokenizer, classifier, scope, known[name], protocol, directory, args)
        if baselines is None:
            baselines = {
                "prompting": PromptingBaseline(original, guarded.eco_guard),
                "refusal": RefusalBaseline(original, guarded.eco_guard),
            }
            add(baselines)
        learning.append({"variant": name, **about})
        add({f"eco {name}, learnt {protocol}": guarded})


if __name__ == "__main__":
    main()
