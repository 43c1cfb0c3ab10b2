"""evaluate: what a model still knows of the scope, and of the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...evaluation.tasks.choice_data import KNOWN
from ...io import PromptSource
from ...io.rows import ROW_FILES
from ...io.text_files import kind_of
from ..application import LOOK, Misuse, app, for_example
from ..arguments import AsJson, Device, ProtocolChoice, load_model, prompt_source, question_source, said
from ..printing import console, print_json, say

if TYPE_CHECKING:
    from ...evaluation import ComparisonReport, Task
    from ...evaluation.tasks import Kind


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
            "retain-answers:FILE of questions with answers, recite:FILE of passages. FILE is as for prompts "
            "elsewhere: FILE|ID[,column=C][,config=C][,split=S], with answers [,answer=C][,wrong=C] too."
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
    makers = [_task(name, tofu, limit) for name in task]

    from ...checkpoint.loading import load_tokenizer
    from ...evaluation import compare

    tasks = [make() for make in makers]
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


_WITH_FILE = ("forget", "retain", "forget-answers", "retain-answers", "recite")


def _task(name: str, tofu: str, limit: int | None) -> Callable[[], Task]:
    """What makes the task that a name on the command line stands for. Raises Misuse if it stands for none."""
    what, _, rest = name.partition(":")
    kind: Kind = "forget" if what.startswith(("forget", "wmdp")) else "retain"
    if what == "tofu" and rest:
        return lambda: _evaluation().TofuTask(rest, tofu, limit=limit)
    if what in _WITH_FILE and rest:
        source = question_source(rest) if what.endswith("-answers") else prompt_source(rest)
        return lambda: _task_of_file(what, kind, source, limit)
    chosen = question_source(name)
    if chosen.path in KNOWN:
        columns = said(config=chosen.config, split=chosen.split, question=chosen.column, answer=chosen.answer)
        chosen.check_not_said("wrong")
        return lambda: _evaluation().MultipleChoiceTask(chosen.path, kind=kind, limit=limit, name=name, **columns)
    if kind_of(Path(chosen.path)) in (".txt", *ROW_FILES):
        raise Misuse(f"Are the prompts of {name!r} in the scope or not? Write forget:{name} or retain:{name}.")
    raise Misuse(
        f"Unknown task {name!r}. Use tofu:SPLIT, forget:FILE, retain:FILE, forget-answers:FILE, retain-answers:FILE, "
        f"recite:FILE or {', '.join(KNOWN)}."
    )


def _task_of_file(what: str, kind: Kind, source: PromptSource, limit: int | None) -> Task:
    evaluation, stem = _evaluation(), Path(source.path).name.partition(".")[0]
    where: dict[str, Any] = {"config": source.config, "split": source.split, "limit": limit}
    if what == "recite":
        column = source.column or "text"
        return evaluation.ContinuationTask(source.path, column=column, name=f"continuation/{stem}", **where)
    if what.endswith("-answers"):
        columns = {"column": source.column, "answer_column": source.answer, "wrong_column": source.wrong}
        return evaluation.AnswersTask(source.path, kind=kind, name=f"answers/{kind}/{stem}", **columns, **where)
    return evaluation.PromptsTask(source.path, kind=kind, column=source.column, name=f"prompts/{kind}/{stem}", **where)


def _evaluation() -> Any:
    """The tasks; imported when the command line is known to be right."""
    from ... import evaluation

    return evaluation


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
                    "flagged": result.flagged,
                    "measures": {name: vars(estimate) for name, estimate in result.measures.items()},
                }
                for result in row.report.results
            ],
        }
        for row in found.rows
    ]
