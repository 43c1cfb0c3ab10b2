"""tune: how strongly a scope's prompts are corrupted, learnt."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...io.directories import check_directory
from ..application import MAKE, Misuse, app, for_example
from ..arguments import (
    AsJson,
    Device,
    Guarded,
    ProtocolChoice,
    ScopeChoice,
    choose_scope,
    load_model,
    place,
    scopes_of,
)
from ..printing import print_json, say

if TYPE_CHECKING:
    from ...configuration import CorruptionConfig
    from ...training.corruption_search import CorruptionSearch


@app.command(
    rich_help_panel=MAKE,
    epilog=for_example(
        "hf-eco tune guarded --prompts forget-with-answers.jsonl --search-dir search",
        "hf-eco tune guarded --prompts forget.txt --score refusal_similarity --surrogate refusals --dry-run",
        "hf-eco tune guarded --scope chemistry --prompts questions.jsonl --score accuracy --surrogate 0.25",
        "hf-eco tune guarded --prompts forget-with-answers.jsonl --score rouge_l_recall "
        "--look-alikes never-seen-with-answers.jsonl",
    ),
)
def tune(
    model: Guarded,
    prompts: Annotated[
        str, typer.Option(help="Prompts of the scope, with answers where the score needs them: .jsonl, .csv or .txt.")
    ],
    scope: ScopeChoice = None,
    prompt_column: Annotated[str | None, typer.Option(help="Column of the prompts.")] = None,
    answer_column: Annotated[str, typer.Option(help="Column of the right answers, where there is one.")] = "answer",
    wrong_column: Annotated[
        str, typer.Option(help="Column of the lists of wrong answers, where there is one.")
    ] = "perturbed_answer",
    score: Annotated[
        str,
        typer.Option(help="answer_probability, rouge_l_recall, log_truth_ratio, accuracy or refusal_similarity."),
    ] = "answer_probability",
    surrogate: Annotated[
        str | None,
        typer.Option(
            help="What the score should be: counterfactual, refusals, or a number. \\[default: counterfactual]"
        ),
    ] = None,
    look_alikes: Annotated[
        str | None,
        typer.Option(
            help="Questions of the same kind that the model never saw, as the surrogate; columns as --prompts."
        ),
    ] = None,
    retain_model: Annotated[
        str | None, typer.Option(help="Path or Hub id of a model that never learnt the scope, as the surrogate.")
    ] = None,
    protocol: Annotated[
        ProtocolChoice, typer.Option(help="How answers to flagged prompts are scored.")
    ] = ProtocolChoice.strict,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            help="What is learnt: strength or dims, repeat for both; strengths, one for each dimension. "
            "\\[default: strength if it matters]"
        ),
    ] = None,
    bounds: Annotated[tuple[float, float], typer.Option(help="Lowest and highest strength.")] = (1e-2, 1e4),
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="A gap that is small enough to stop at. \\[default: a hundredth of the gap without the guard]"
        ),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Length of answers that are generated.", min=1)] = 128,
    max_trials: Annotated[int, typer.Option(help="Corruptions to try at most.")] = 24,
    batch_size: Annotated[int, typer.Option(help="Rows of a forward pass.", min=1)] = 16,
    search_dir: Annotated[
        str | None,
        typer.Option(help="Directory for history.jsonl; an interrupted search goes on from there."),
    ] = None,
    device: Device = None,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    write: Annotated[
        bool, typer.Option("--write/--dry-run", help="Put what was learnt into the checkpoint, or only show it.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Learn how strongly a scope's prompts are corrupted, so that the model answers as if it had never learnt it."""
    if sum(given is not None for given in (surrogate, look_alikes, retain_model)) > 1:
        raise Misuse("Name one surrogate: --surrogate, --look-alikes or --retain-model.")
    if write:
        check_directory(model)
    of = choose_scope(scopes_of(model), scope)

    from ...training import LookAlikes, tune_guard
    from ...training.corruption_search.objective import score_called

    columns = {"answers": answer_column, "wrong_answers": wrong_column}
    wanted = {name: columns[name] for name in score_called(score).needs}
    questions = _read_questions(prompts, prompt_column, wanted, score)
    aim: Any = _number_or_name(surrogate or "counterfactual")
    if look_alikes is not None:
        aim = LookAlikes(**_read_questions(look_alikes, prompt_column, wanted, score))
    if retain_model is not None:
        aim = load_model(retain_model, device)
    found, before = tune_guard(
        model,
        **questions,
        scope=of.name,
        device=place(device),
        write=write,
        score=score,
        surrogate=aim,
        protocol=protocol.value,
        parameters=parameter,
        bounds=bounds,
        tolerance=tolerance,
        max_trials=max_trials,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        seed=seed,
        output_dir=search_dir,
    )
    if not found.helps:
        raise ValueError(
            f"Nothing was written to {model}: with the corruption that was learnt, {found.score} is no nearer to what "
            "it should be than without the guard. Use another --score or --surrogate, or more prompts."
        )
    if as_json:
        print_json(_values(found, before, protocol.value, write))
    else:
        _print(model, found, before, protocol.value, write)


def _values(found: CorruptionSearch, before: CorruptionConfig, protocol: str, written: bool) -> dict[str, Any]:
    return {
        "scope": found.scope,
        "before": dataclasses.asdict(before),
        "corruption": dataclasses.asdict(found.corruption),
        "score": found.score,
        "protocol": protocol,
        "value": found.value,
        "standard_error": found.standard_error,
        "surrogate": dataclasses.asdict(found.surrogate),
        "unguarded": found.unguarded,
        "n": found.n,
        "trials": [{"strength": t.strength, "dims": t.dims, "score": t.score} for t in found.history],
        "written": written,
    }


def _print(model: str, found: CorruptionSearch, before: CorruptionConfig, protocol: str, written: bool) -> None:
    say(f"Scope [bold]{found.scope}[/]: {found.corruption.in_words} (before: {before.in_words})")
    say(
        f"{found.score}, {protocol} protocol: {found.value:.4g} ± {found.standard_error:.2g} with the guard, "
        f"{found.unguarded:.4g} without; should be {found.surrogate.value:.4g} ({found.surrogate.kind}). "
        f"{found.n} prompts, {len(found.history)} corruptions tried."
    )
    say(f"Written to {model}." if written else "Nothing was written: --dry-run.")


def _read_questions(source: str, prompt_column: str | None, columns: dict[str, str], score: str) -> dict[str, Any]:
    """Prompts, and the answers and wrong answers in `columns` beside them, as `optimize_corruption` takes them."""
    from ...evaluation.task_rows import read_rows
    from ...io.prompt_files import PROMPT_COLUMNS, read_prompts

    if not columns:
        return {"prompts": read_prompts(source, column=prompt_column)}
    rows = [] if source.endswith(".txt") else read_rows(source, split="train")
    known = [name for name in rows[0] if all(name in row for row in rows)] if rows else []
    asked = prompt_column or next((name for name in PROMPT_COLUMNS if name in known), "")
    if rows and asked not in known:
        wanted = repr(asked) if asked else " or ".join(map(repr, PROMPT_COLUMNS))
        raise ValueError(f"{source!r} has no column {wanted} in all rows, only {known}. Pass --prompt-column.")
    for lacking, column in columns.items():
        if column not in known:
            option = {"answers": "--answer-column", "wrong_answers": "--wrong-column"}[lacking]
            raise ValueError(
                f"--score {score} compares with {lacking.replace('_', ' ')}, and {source!r} has none: no column "
                f"{column!r} in all rows of a .jsonl or .csv. Name one with {option}, or use another --score."
            )
    return {
        "prompts": [row[asked] for row in rows],
        **{name: [row[column] for row in rows] for name, column in columns.items()},
    }


def _number_or_name(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
