"""The scopes of a guard on disk: scopes add, remove and list."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ...configuration import ForgetScope, in_short
from ...io import PromptSource, Request
from ...io.directories import check_directory
from ..application import MAKE, Misuse, app, for_example
from ..arguments import (
    AsJson,
    Confidence,
    ContextChoice,
    Dims,
    Documents,
    Encoder,
    Entities,
    Guarded,
    GuardedDirectory,
    MaxFpr,
    Method,
    Preset,
    Strength,
    TokenChoice,
    choose_scope,
    corruption_from,
    prompts_at,
    refuse_ignored,
    said,
    scopes_of,
)
from ..naming import contexts_of, documents_of, given_names, named_in
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
        "hf-eco scopes add guarded --names more.csv",
        "hf-eco scopes add guarded --scope jane-doe --classifier jane-classifier --label jane-doe "
        "--forget held-out-forget.txt --retain held-out-retain.txt",
        "hf-eco scopes add guarded --scope jane-doe --classifier jane-classifier --label jane-doe --threshold 0.9",
    )
)
def add(
    model: GuardedDirectory,
    scope: Annotated[str | None, typer.Option(help="A short name for what is to be forgotten.")] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Full name of whom or what it is about; repeat for aliases.")
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(
            help="A file of names, each a scope: .csv or .jsonl with the fields id, name, aliases (a;b), "
            "documents (paths), context; .txt."
        ),
    ] = None,
    documents: Documents = None,
    encoder: Encoder = None,
    classifier: Annotated[
        str | None, typer.Option(help="Path or Hub id of its classifier, see hf-eco train. None: without training.")
    ] = None,
    context: ContextChoice = None,
    label: Annotated[str, typer.Option(help="The classifier's label that means 'forget'.")] = "forget",
    threshold: Annotated[
        float | None, typer.Option(help="Fixed threshold in (0, 1], instead of calibrating one.")
    ] = None,
    forget: Annotated[
        PromptSource | None,
        prompts_at("Prompts in the scope that the classifier was not trained on, to calibrate by."),
    ] = None,
    retain: Annotated[PromptSource | None, prompts_at("Likewise, prompts outside of the scope.")] = None,
    max_fpr: MaxFpr = None,
    confidence: Confidence = None,
    method: Method = None,
    dims: Dims = None,
    strength: Strength = None,
    preset: Preset = None,
    tokens: TokenChoice = None,
    entities: Entities = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Guard more scopes: of a file of names all, or none. The others' verdicts stay as they are, and the base model's
    weights are not touched."""
    asked = said(max_fpr=max_fpr, confidence=confidence)
    if threshold is not None:
        instead = "Leave out --threshold to calibrate one, or leave out the rest."
        refuse_ignored("With --threshold", instead, forget=forget, retain=retain, **asked)
    elif classifier is None:
        instead = "Leave them out, or pass --classifier."
        refuse_ignored("Without --classifier", instead, forget=forget, retain=retain, **asked)
    elif forget is None or retain is None:
        raise Misuse("A scope needs a threshold. Pass --threshold, or --forget and --retain to calibrate one by.")
    requests = _requests(scope, name, names, documents, classifier)
    check_directory(model)
    texts = documents_of(requests, documents, encoder, guard=model)
    common: dict[str, Any] = {
        "corruption": corruption_from(method, dims, strength, seed, preset),
        "entities": entities,
    }
    common |= {"threshold": 0.5 if threshold is None else threshold, "label": label}
    common |= {"tokens": "" if tokens is None else tokens.value}
    contexts = contexts_of(requests, context)
    new = [
        ForgetScope(
            own,
            names=of.names,
            documents=texts.get(own, []),
            encoder=encoder if own in texts else None,
            context=contexts[own],
            **common,
        )
        for own, of in requests.items()
    ]
    prompts = [source.prompts() for source in (forget, retain) if source is not None]

    from ...detection.classifier import PromptClassifier
    from ...training import add_scopes_to_guard, calibrate_threshold
    from ...training.calibration import check_reached

    trained = {} if classifier is None else {new[0].name: PromptClassifier.from_pretrained(classifier)}
    if trained and prompts:
        own = trained[new[0].name]
        measured = calibrate_threshold(own, *prompts, label=label, **asked)
        check_reached(measured, own, prompts[1], label=label)
        new = [new[0].calibrated(measured)]
    add_scopes_to_guard(model, new, trained)
    if as_json:
        print_json({"directory": model, "scopes": [scope_values(own) for own in new]})
        return
    say("Added ", (in_short([own.name for own in new]), "bold"), f" to {model}.")
    if trained:
        say(rates(new[0].threshold, new[0].calibration))
        warn_of_misses(new[0].calibration)


def _requests(
    scope: str | None, name: list[str] | None, file: str | None, documents: PromptSource | None, classifier: str | None
) -> dict[str, Request]:
    """Whom each new scope is about, from what was said."""
    if file is not None:
        instead = "Each request in the file is a scope, with names and documents of its own."
        refuse_ignored("With --names", instead, scope=scope, name=name or None, documents=documents)
        refuse_ignored("With --names", "Add a scope with a classifier by itself.", classifier=classifier)
        return named_in(file)
    if scope is None:
        raise Misuse("What is the scope called? Pass --scope, or --names FILE for many.")
    if classifier is None and not name and documents is None:
        raise Misuse("Who recognises the scope? Pass --name 'Jane Doe', --documents or --classifier.")
    return {scope: given_names(scope, name or [])}


@scopes.command(epilog=for_example("hf-eco scopes remove guarded jane-doe", "hf-eco scopes remove guarded r-17 r-18"))
def remove(
    model: GuardedDirectory,
    names: Annotated[list[str], typer.Argument(metavar="SCOPE...", help="Names of the scopes.")],
    as_json: AsJson = False,
) -> None:
    """Stop guarding scopes, all that are named or none, and delete their classifiers. The last one stays."""
    check_directory(model)
    eco = scopes_of(model)
    for name in names:
        choose_scope(eco, name)

    from ...training import remove_scopes_from_guard

    left = remove_scopes_from_guard(model, names)
    if as_json:
        print_json({"directory": model, "removed": names, "scopes": left})
        return
    say("Removed ", (in_short(names), "bold"), f" from {model}, which still forgets {in_short(left)}.")


@scopes.command(
    "list",
    epilog=for_example(
        "hf-eco scopes list guarded",
        "hf-eco scopes list guarded --match 2026- --page 2",
        "hf-eco scopes list me/guard --json",
    ),
)
def list_scopes(
    model: Guarded,
    match: Annotated[
        str | None,
        typer.Option(help="Only scopes in whose name, or in a name they look for, this text stands, in any case."),
    ] = None,
    page: Annotated[int | None, typer.Option(min=1, help="Which page. \\[default: 1]")] = None,
    per_page: Annotated[int | None, typer.Option(min=1, help="Scopes on a page. \\[default: 50]")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a guard forgets, by which names, how surely, and how it corrupts. Nothing is loaded but its config."""
    if as_json:
        refuse_ignored("With --json", "It prints all.", page=page, per_page=per_page)
    page, per_page = page or 1, per_page or 50
    eco = scopes_of(model)
    found = [s for s in eco.scopes if match is None or _matches(s, match.casefold())]
    if as_json:
        print_json([scope_values(scope) for scope in found])
        return
    pages = max(1, -(-len(found) // per_page))
    if page > pages:
        raise ValueError(f"There is no page {page}: {len(found):,} scopes fill {pages:,}. Pass --page {pages}.")
    shown = found[(page - 1) * per_page : page * per_page]
    widths = {"scope": min(24, max((len(scope.name) for scope in shown), default=0))}
    widths |= dict.fromkeys(("false positives", "false negatives"), len(NOT_MEASURED))
    table = Table()
    for name in ("scope", "recognised by", "threshold", "false positives", "false negatives", "corruption"):
        table.add_column(
            name, overflow="fold", min_width=widths.get(name)
        )  # a name in full, however narrow the window
    for scope in shown:
        c = scope.calibration_in_force
        errors = [NOT_MEASURED] * 2 if c is None else [bounded(c.fpr, c.fpr_bound), bounded(c.fnr, c.fnr_bound)]
        how = f"{scope.corruption.in_words}, on {scope.tokens}"
        table.add_row(*map(Text, (scope.name, _recognised_by(scope), f"{scope.threshold:.4f}", *errors, how)))
    console.print(table)
    if eco.has_own_policy:
        say(f"The guard {eco.policy_in_words}.")
    if pages > 1:
        say(f"Page {page:,} of {pages:,}: {len(found):,} scopes.")


def _matches(scope: ForgetScope, text: str) -> bool:
    return any(text in name.casefold() for name in (scope.name, *scope.names))


def _recognised_by(scope: ForgetScope) -> str:
    """Who recognises a scope: its names, documents, a classifier, detectors; and whether a name is enough."""
    told = ["; ".join(scope.names)] if scope.names else ["hashed names"] if scope.hashed_names else []
    told += ["documents"] if scope.by_facts else []
    told += ["a classifier"] if scope.classifier is not None else []
    told += scope.detectors
    told += [f"context {scope.context}"] if scope.context != "auto" else []
    return ", ".join(told)
