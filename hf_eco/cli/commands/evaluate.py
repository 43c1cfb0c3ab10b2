"""evaluate: what a model still knows of the scope, and of the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...evaluation.tasks.choice_data import KNOWN
from ..application import LOOK, Misuse, app, for_example
from ..arguments import AsJson, Device, ProtocolChoice, load_model
from ..printing import console, print_json, say

if TYPE_CHECKING:
    from ...evaluation import ComparisonReport, Task
    from ...evaluation.tasks import Kind

_FILES = (".txt", ".jsonl", ".csv")


@app.command(
    rich_help_panel=LOOK,
    epilog=for_example(
        "hf-eco evaluate guarded --task tofu:forget05 --task tofu:retain --limit 100 -o results.json",
        "hf-eco evaluate guarded --task forget:forget.jsonl --task retain:everyday.txt --task wmdp-bio --json",
        "hf-eco evaluate guarded --task tofu:forget05 --original ./base --retain ./never-saw-it --protocol paper "
        "-o results.json",
    ),
)
def evaluate(
    model: Annotated[str, typer.Argument(help="Path or Hub id of a guarded checkpoint, or of any other model.")],
    task: Annotated[
        list[str],
        typer.Option(
            help="What it is measured at; repeat for several: tofu:SPLIT, a multiple-choice set by name "
            "(wmdp-bio, mmlu, arc-challenge ...), forget:FILE or retain:FILE of prompts, forget-answers:FILE or "
            "retain-answers:FILE of questions with answers, recite:FILE of passages (column text)."
        ),
    ],
    tofu: Annotated[str, typer.Option(help="Where TOFU's files are: a directory, or a Hub id.")] = "locuslab/TOFU",
    original: Annotated[
        str | None, typer.Option(help="Path or Hub id of the unguarded model, to compare with.")
    ] = None,
    retain: Annotated[
        str | None,
        typer.Option(help="Path or Hub id of a model that never learnt the scope; forget quality needs it."),
    ] = None,
    protocol: Annotated[
        list[ProtocolChoice] | None,
        typer.Option(help="How answers to flagged prompts are scored; repeat for both. \\[default: strict]"),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="The first so many rows of each task.", min=1)] = None,
    batch_size: Annotated[int, typer.Option(help="Rows of a forward pass.", min=1)] = 16,
    cache: Annotated[
        str | None,
        typer.Option(help="Directory that keeps every row's results; an interrupted run goes on from there."),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="JSON file for all rows; hf-eco report reads it.")
    ] = None,
    device: Device = None,
    seed: Annotated[int, typer.Option(help="Seed of the intervals.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Measure what a model still knows of the scope, and of the rest, alone or beside others."""
    for name in task:
        _check_task(name)

    from ...checkpoint.loading import load_tokenizer
    from ...evaluation import compare

    tasks = [_task(name, tofu, limit) for name in task]
    given = {"original": original, "retain": retain, _label(model): model}
    paths = {label: path for label, path in given.items() if path}
    tokenizer = load_tokenizer(paths[_label(model)])
    models = {label: load_model(path, device) for label, path in paths.items()}
    found = compare(
        models,
        tokenizer,
        tasks,
        protocols=[own.value for own in protocol or [ProtocolChoice.strict]],
        batch_size=batch_size,
        cache_dir=cache,
        seed=seed,
    )
    if output is not None:
        found.to_json(output)
    if as_json:
        print_json(_comparison_values(found))
        return
    console.print(found.to_markdown(), markup=False, highlight=False, soft_wrap=True)
    if output is not None:
        say(f"All rows are in {output}. Draw them: hf-eco report {model} --comparison {output}")


_WITH_FILE = ("forget", "retain", "forget-answers", "retain-answers", "recite", "tofu")


def _check_task(name: str) -> None:
    """Raises Misuse if a name on the command line stands for no task."""
    what, _, rest = name.partition(":")
    if (what in _WITH_FILE and rest) or name in KNOWN:
        return
    if name.endswith(_FILES):
        raise Misuse(f"Are the prompts of {name!r} in the scope or not? Write forget:{name} or retain:{name}.")
    raise Misuse(
        f"Unknown task {name!r}. Use tofu:SPLIT, forget:FILE, retain:FILE, forget-answers:FILE, retain-answers:FILE, "
        f"recite:FILE or {', '.join(KNOWN)}."
    )


def _task(name: str, tofu: str, limit: int | None) -> Task:
    """The task that a name on the command line stands for."""
    from ...evaluation import ContinuationTask, MultipleChoiceTask, PromptsTask, TofuTask

    what, _, rest = name.partition(":")
    kind: Kind = "forget" if what.startswith(("forget", "wmdp")) else "retain"
    if name in KNOWN:
        return MultipleChoiceTask(name, kind=kind, limit=limit)
    if what == "tofu":
        return TofuTask(rest, tofu, limit=limit)
    if what == "recite":
        return ContinuationTask(rest, limit=limit, name=f"continuation/{Path(rest).stem}")
    if what.endswith("-answers"):
        return TofuTask(what, rest, kind=kind, limit=limit, name=f"answers/{kind}/{Path(rest).stem}")
    return PromptsTask(rest, kind=kind, limit=limit, name=f"prompts/{kind}/{Path(rest).stem}")


def _label(model: str) -> str:
    """What a model is called in the table."""
    name = Path(model).name
    return f"{name} (evaluated)" if name in ("original", "retain", "") else name


def _comparison_values(found: ComparisonReport) -> list[dict[str, Any]]:
    """The measures without their rows."""
    return [
        {
            "model": row.label,
            "protocol": row.report.protocol,
            "model_utility": row.report.model_utility,
            "relative_utility": found.relative_utility(row),
            "forget_quality": {task: quality.p_value for task, quality in found.forget_quality(row).items()},
            "tasks": [
                {
                    "name": result.name,
                    "kind": result.kind,
                    "n": len(result.rows),
                    "measures": {name: vars(estimate) for name, estimate in result.measures.items()},
                }
                for result in row.report.results
            ],
        }
        for row in found.rows
    ]
