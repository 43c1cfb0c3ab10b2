"""tune: how strongly a scope's prompts are corrupted, learnt."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...io import PromptSource
from ...io.directories import check_directory
from ..application import MAKE, Misuse, app, for_example
from ..arguments import (
    QUESTIONS,
    AsJson,
    Device,
    Guarded,
    ProtocolChoice,
    ScopeChoice,
    choose_scope,
    load_model,
    place,
    question_source,
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
        PromptSource,
        typer.Option(
            help="Prompts of the scope, with answers and lists of wrong ones where the score needs them: .jsonl, .csv "
            "..., a data set id, or .txt.",
            parser=question_source,
            metavar=QUESTIONS,
        ),
    ],
    scope: ScopeChoice = None,
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
        PromptSource | None,
        typer.Option(
            help="Questions of the same kind that the model never saw, as the surrogate, in the same forms.",
            parser=question_source,
            metavar=QUESTIONS,
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

    needs = score_called(score).needs
    questions = _read_questions(prompts, needs, score)
    aim: Any = _number_or_name(surrogate or "counterfactual")
    if look_alikes is not None:
        aim = LookAlikes(**_read_questions(look_alikes, needs, score))
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
    say("Scope ", (found.scope, "bold"), f": {found.corruption.in_words} (before: {before.in_words})")
    say(
        f"{found.score}, {protocol} protocol: {found.value:.4g} ± {found.standard_error:.2g} with the guard, "
        f"{found.unguarded:.4g} without; should be {found.surrogate.value:.4g} ({found.surrogate.kind}). "
        f"{found.n} prompts, {len(found.history)} corruptions tried."
    )
    say(f"Written to {model}." if written else "Nothing was written: --dry-run.")


def _read_questions(source: PromptSource, needs: tuple[str, ...], score: str) -> dict[str, Any]:
    """Prompts, and the answers and wrong answers that a score needs, as `optimize_corruption` takes them."""
    if not needs:
        source.check_not_said("answer", "wrong")
        return {"prompts": source.prompts()}
    try:
        questions = source.questions(needs_wrong="wrong_answers" in needs)
    except ValueError as error:
        raise ValueError(f"--score {score} compares with {' and '.join(needs).replace('_', ' ')}: {error}") from error
    given = {"answers": [own.answer for own in questions], "wrong_answers": [list(own.wrong) for own in questions]}
    return {"prompts": [own.prompt for own in questions], **{name: given[name] for name in needs}}


def _number_or_name(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
