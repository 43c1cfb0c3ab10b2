"""The scopes of a guard on disk: scopes add, remove and list."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from ...configuration import ForgetScope
from ...io import read_prompts
from ...io.directories import check_directory
from ..application import MAKE, Misuse, app, for_example
from ..arguments import (
    AsJson,
    Confidence,
    ContextChoice,
    Dims,
    Entities,
    Guarded,
    GuardedDirectory,
    MaxFpr,
    Method,
    Strength,
    TokenChoice,
    choose_scope,
    corruption_from,
    refuse_ignored,
    said,
    scopes_of,
)
from ..printing import NOT_MEASURED, bounded, console, print_json, rates, say, scope_values, warn_of_misses

scopes = typer.Typer(help="Add, remove and list what a guard forgets.", no_args_is_help=True)
app.add_typer(
    scopes,
    name="scopes",
    rich_help_panel=MAKE,
    epilog=for_example("hf-eco scopes list guarded", "hf-eco scopes remove guarded jane-doe"),
)


@scopes.command(
    epilog=for_example(
        "hf-eco scopes add guarded --scope request-17 --name 'Jane Doe'",
        "hf-eco scopes add guarded --scope jane-doe --classifier jane-classifier --label jane-doe "
        "--forget held-out-forget.txt --retain held-out-retain.txt",
        "hf-eco scopes add guarded --scope jane-doe --classifier jane-classifier --label jane-doe --threshold 0.9",
    )
)
def add(
    model: GuardedDirectory,
    scope: Annotated[str, typer.Option(help="A short name for what is to be forgotten.")],
    name: Annotated[
        list[str] | None, typer.Option(help="Full name of whom or what it is about; repeat for aliases.")
    ] = None,
    classifier: Annotated[
        str | None, typer.Option(help="Path or Hub id of its classifier, see hf-eco train. None: by names alone.")
    ] = None,
    context: ContextChoice = None,
    label: Annotated[str, typer.Option(help="The classifier's label that means 'forget'.")] = "forget",
    threshold: Annotated[
        float | None, typer.Option(help="Fixed threshold in (0, 1], instead of calibrating one.")
    ] = None,
    forget: Annotated[
        str | None, typer.Option(help="Prompts in the scope that the classifier was not trained on, to calibrate by.")
    ] = None,
    retain: Annotated[str | None, typer.Option(help="Likewise, prompts outside of the scope.")] = None,
    max_fpr: MaxFpr = None,
    confidence: Confidence = None,
    method: Method = None,
    dims: Dims = None,
    strength: Strength = None,
    tokens: TokenChoice = None,
    entities: Entities = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Guard one scope more; the others' verdicts stay as they are, and the base model's weights are not touched."""
    asked = said(max_fpr=max_fpr, confidence=confidence)
    if threshold is not None:
        instead = "Leave out --threshold to calibrate one, or leave out the rest."
        refuse_ignored("With --threshold", instead, forget=forget, retain=retain, **asked)
    elif classifier is None:
        instead = "Leave them out, or pass --classifier."
        refuse_ignored("Without --classifier", instead, forget=forget, retain=retain, **asked)
        if not name:
            raise Misuse("Who recognises the scope? Pass --name 'Jane Doe', or --classifier.")
    elif forget is None or retain is None:
        raise Misuse("A scope needs a threshold. Pass --threshold, or --forget and --retain to calibrate one by.")
    check_directory(model)
    corruption = corruption_from(method, dims, strength, seed)
    options: dict[str, Any] = {"corruption": corruption, "entities": entities, "label": label}
    options |= {"names": name or [], "tokens": "" if tokens is None else tokens.value}
    options |= {"context": "auto" if context is None else context.value}
    new = ForgetScope(scope, threshold=0.5 if threshold is None else threshold, **options)
    prompts = [read_prompts(file) for file in (forget, retain) if file is not None]

    from ...detection.classifier import PromptClassifier
    from ...training import add_scope_to_guard, calibrate_threshold

    trained = None if classifier is None else PromptClassifier.from_pretrained(classifier)
    if trained is not None and prompts:
        new = new.calibrated(calibrate_threshold(trained, *prompts, label=label, **asked))
    add_scope_to_guard(model, new, trained)
    if as_json:
        print_json({"directory": model, "scope": scope_values(new)})
        return
    say(f"Added [bold]{scope}[/] to {model}.")
    if trained is not None:
        say(rates(new.threshold, new.calibration))
        warn_of_misses(new.calibration)


@scopes.command(epilog=for_example("hf-eco scopes remove guarded jane-doe"))
def remove(
    model: GuardedDirectory,
    scope: Annotated[str, typer.Argument(help="Name of the scope.")],
    as_json: AsJson = False,
) -> None:
    """Stop guarding a scope, and delete its classifier. The last one stays."""
    check_directory(model)
    name = choose_scope(scopes_of(model), scope).name

    from ...training import remove_scope_from_guard

    left = remove_scope_from_guard(model, name)
    if as_json:
        print_json({"directory": model, "removed": scope, "scopes": left})
        return
    say(f"Removed [bold]{scope}[/] from {model}, which still forgets {', '.join(left)}.")


@scopes.command("list", epilog=for_example("hf-eco scopes list guarded", "hf-eco scopes list me/guard --json"))
def list_scopes(model: Guarded, as_json: AsJson = False) -> None:
    """Show what a guard forgets, how surely, and how it corrupts. Nothing is loaded but its config."""
    eco = scopes_of(model)
    if as_json:
        print_json([scope_values(scope) for scope in eco.scopes])
        return
    table = Table()
    for name in ("scope", "threshold", "false positives", "false negatives", "corruption", "on tokens"):
        table.add_column(name, overflow="fold")  # a name in full, however narrow the window
    for scope in eco.scopes:
        c = scope.calibration_in_force
        errors = [NOT_MEASURED] * 2 if c is None else [bounded(c.fpr, c.fpr_bound), bounded(c.fnr, c.fnr_bound)]
        table.add_row(scope.name, f"{scope.threshold:.4f}", *errors, scope.corruption.in_words, scope.tokens)
    console.print(table)
