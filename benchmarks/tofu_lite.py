"""Forgetting, proved where the truth is known: TOFU on a small model that was trained on everything, against one that
never saw the forget set.

    python benchmarks/tofu_lite.py tofu --full full-adapter --retain retain-adapter --json tofu.json --markdown tofu.md
    python benchmarks/tofu_lite.py tofu --full full-adapter --retain retain-adapter --variants noise-content --limit 20
    python benchmarks/tofu_lite.py tofu --full full-adapter --retain retain-adapter --statements tagger \\
        --variants noise-every-dim-statements --protocols paper --surrogates look-alikes

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
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tofu_models import check_work_dir, merged
from tofu_options import add_options, check_options
from tofu_table import Benchmark, make_table, tasks

from hf_eco.demo.packaged_models import SMOLLM2, resolve
from hf_eco.evaluation.task_rows import read_rows

FORGET_SET, RETAIN_SET = "forget05", "retain95"
RETAIN_FOR_TRAINING = slice(1000, 3000)  # of the classifier; the first 1,000 are what the models were trained on
LOOK_ALIKES = "forget10_perturbed"  # its other half is about authors of the last of retain95's rows
ROWS_AT_ONCE = 48  # in a forward pass


def main(arguments: Sequence[str] | None = None) -> None:
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_models(parser)
    add_options(parser, work_dir="tofu-lite")
    args = parser.parse_args(given)
    check_options(parser, args)
    command = f"python benchmarks/tofu_lite.py {shlex.join(given)}"
    make_table(two_adapters("TOFU-lite", command, args, args.limit), args)


def add_models(parser: argparse.ArgumentParser) -> None:
    """The two adapters, what they stand on, and the questions."""
    parser.add_argument("data", type=Path, help="directory with TOFU's .jsonl files")
    parser.add_argument("--full", type=Path, required=True, help="adapter of the model trained on everything")
    parser.add_argument("--retain", type=Path, required=True, help="adapter of the one that never saw the forget set")
    parser.add_argument("--model", default=SMOLLM2, help="what the adapters stand on")


def two_adapters(title: str, command: str, args: argparse.Namespace, limit: int | None = None) -> Benchmark:
    """What is measured, of the models that `args` name, which are made into checkpoints; at most `limit` rows of a
    set."""
    base, encoder = resolve(args.model), resolve(args.encoder)
    made_of = {name: str(getattr(args, name).resolve()) for name in ("data", "full", "retain")}
    check_work_dir(args.work_dir, {**made_of, "model": base, "encoder": encoder})
    full, retain = (merged(base, getattr(args, name), args.work_dir / name) for name in ("full", "retain"))
    others = read_rows(args.data, config=RETAIN_SET)[RETAIN_FOR_TRAINING]
    return Benchmark(
        title=title,
        command=command,
        source=str(args.data),
        forget_set=FORGET_SET,
        full=full,
        retain=retain,
        base=base,
        encoder=encoder,
        tasks=tasks(str(args.data), FORGET_SET, limit),
        others=[row["question"] for row in others],
        directory=args.work_dir,
        look_alikes=LOOK_ALIKES,
        dtype=getattr(torch, args.dtype),
        batch_size=ROWS_AT_ONCE,
    )


if __name__ == "__main__":
    main()
