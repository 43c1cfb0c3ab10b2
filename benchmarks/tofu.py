"""Forgetting, proved where the truth is known, at full size: a model is fine-tuned on all of TOFU, and on all but the
forget set; then the first is guarded, and measured against the second. The table is that of tofu_lite.py.

    accelerate launch --num_processes 4 --use_fsdp --fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP \\
        --fsdp_cpu_ram_efficient_loading true --fsdp_state_dict_type FULL_STATE_DICT \\
        benchmarks/tofu.py --model meta-llama/Llama-2-7b-chat-hf --json tofu.json --markdown tofu.md
    python benchmarks/tofu.py --model microsoft/phi-1_5 --learning-rate 2e-5 --forget-set forget10
    python benchmarks/tofu.py --model meta-llama/Llama-2-7b-chat-hf --lora 32 --batch-size 4
    python benchmarks/tofu.py --model HuggingFaceTB/SmolLM2-135M-Instruct --data tofu --quick

It is fine-tuned as TOFU's authors did (Maini et al. 2024, arXiv 2401.06121): 5 epochs of AdamW with weight decay 0.01,
32 rows a step, a learning rate of 1e-5 (theirs for Llama-2-7B; 2e-5 for Phi-1.5) that rises over the first epoch, and
a loss on the answers alone; in the model's chat template, where it has one. All weights are trained, in float32 (under
bf16 on a GPU that can do it): some 16 bytes for each on the GPUs together, and on the disk up to 24 until it is done.
--lora trains an adapter instead, which takes a fraction of that.

Then, on the first GPU alone: a prompt classifier is trained on the even rows' questions of the forget set and on those
of the retain set that are not in the evaluation, and calibrated; each corruption's strength is learnt on the even
rows, with no retain model in sight; every model answers the same questions under both protocols. The column "unseen"
is forget quality on the odd rows alone, whose questions neither the classifier nor the corruption was learnt from (its
threshold was calibrated on them).

All is kept in --work-dir and not made twice; a run that breaks off goes on where it was, a fine-tuning at the end of
its last whole epoch. Other forget sets find the fully trained model there. What was made otherwise is refused.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import PartialState
from tofu_models import Tuning, check_work_dir, fine_tuned, version_of
from tofu_options import add_options, check_options, taggers
from tofu_table import Benchmark, make_table, needs_wrong, tasks
from transformers import AutoConfig

from hf_eco.auto import check_guardable
from hf_eco.demo.packaged_models import resolve
from hf_eco.evaluation.result_cache import key_of
from hf_eco.evaluation.task_rows import read_rows
from hf_eco.io.optional import import_extra

RETAIN_SETS = {"forget01": "retain99", "forget05": "retain95", "forget10": "retain90"}
LEARNING_RATE, LORA_LEARNING_RATE = 1e-5, 1e-4
# A rehearsal shows that all parts run on this machine, on so little that the figures mean nothing.
QUICK_ROWS = 64  # that each model is fine-tuned on, in one epoch
QUICK_LIMIT = 8  # rows of each set that are asked
QUICK_TOKENS = 8  # of an answer
QUICK: dict[str, Any] = {"examples": 500, "max_trials": 3}  # of a Benchmark


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", required=True, help="causal language model to fine-tune: path or Hub id")
    parser.add_argument("--data", default="locuslab/TOFU", help="Hub id, or directory with TOFU's .jsonl files")
    parser.add_argument("--forget-set", default="forget05", choices=RETAIN_SETS, help="what is to be forgotten")
    parser.add_argument(
        "--learning-rate", type=float, help=f"{LEARNING_RATE:g}, or {LORA_LEARNING_RATE:g} with --lora, if not given"
    )
    parser.add_argument("--lora", type=int, metavar="RANK", help="train an adapter of this rank, not the weights")
    parser.add_argument(
        "--batch-size", type=int, default=8, help="rows that go through a model at once on each device (default: 8)"
    )
    parser.add_argument("--quick", action="store_true", help="a rehearsal, on so little that the figures mean nothing")
    add_options(parser, work_dir="tofu")
    options = parser.parse_args(arguments)
    if options.quick:
        options.variants = options.variants or ["noise-content"]
        options.limit = options.limit or QUICK_LIMIT
    check_options(parser, options)
    if "look-alikes" in options.surrogates and (scores := list(filter(needs_wrong, options.scores))):
        parser.error(f"argument --surrogates: the holdout sets have no wrong answers. Use another with {scores[0]}")
    for name in ("learning_rate", "lora", "batch_size", "limit"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            parser.error(f"argument --{name.replace('_', '-')}: must be positive, got {value}.")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(given)
    base, encoder = resolve(options.model), resolve(options.encoder)
    check_means(base, [encoder, *taggers(options).values()], options.lora)
    retain_set = RETAIN_SETS[options.forget_set]
    # all data are read before anything is made of them
    asked = tasks(options.data, options.forget_set, options.limit, QUICK_TOKENS if options.quick else 128)
    rows = {name: read_rows(options.data, config=name, split="train") for name in sets_read(options)}
    tuning = Tuning(
        learning_rate=options.learning_rate or (LORA_LEARNING_RATE if options.lora else LEARNING_RATE),
        epochs=1 if options.quick else Tuning.epochs,
        lora=options.lora,
        seed=options.seed,
    )
    full, retain = (
        fine_tuned(
            base,
            rows[name][-QUICK_ROWS:] if options.quick else rows[name],
            options.work_dir / name,
            tuning,
            options.batch_size,
            name,
        )
        for name in ("full", retain_set)
    )
    if not alone():
        return
    measured = {row["question"] for row in rows["retain_perturbed"]}
    others = [row["question"] for row in rows[retain_set] if row["question"] not in measured]
    directory = options.work_dir / options.forget_set
    about: dict[str, Any] = QUICK if options.quick else {}
    questions = key_of([row["question"] for row in rows[options.forget_set]], others)
    check_work_dir(directory, {"encoder": encoder, "version": version_of(encoder), "questions": questions, **about})
    benchmark = Benchmark(
        title=f"TOFU, {options.forget_set}, {options.model}",
        command=f"python benchmarks/tofu.py {shlex.join(given)}",
        source=options.data,
        forget_set=options.forget_set,
        full=full,
        retain=retain,
        base=base,
        encoder=encoder,
        tasks=asked,
        others=others,
        directory=directory,
        dtype=getattr(torch, options.dtype),
        batch_size=options.batch_size,
        **about,
    )
    make_table(benchmark, options)


def sets_read(options: argparse.Namespace) -> list[str]:
    """TOFU's sets that are needed, the holdout set included where the strength is learnt by it."""
    names = ["full", RETAIN_SETS[options.forget_set], options.forget_set, "retain_perturbed"]
    return [*names, options.forget_set.replace("forget", "holdout")] if "look-alikes" in options.surrogates else names


def check_means(base: str, encoders: Sequence[str], lora: int | None) -> None:
    """Raises what would otherwise be raised after hours: a library is missing, a model cannot be had or guarded."""
    for name in ("rouge_score", "scipy"):
        import_extra(name, "eval")
    import_extra("sklearn", "train")
    if lora:
        import_extra("peft", "dev")
    check_guardable(base)
    for encoder in encoders:
        AutoConfig.from_pretrained(encoder)


def alone() -> bool:
    """Ends the work in common of the processes that `accelerate launch` has started. Whether this one goes on."""
    state = PartialState()
    state.wait_for_everyone()
    goes_on = state.is_main_process
    state.destroy_process_group()
    return goes_on


if __name__ == "__main__":
    main()
