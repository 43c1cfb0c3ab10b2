"""guard: from a base model, and names or prompts, to a guarded checkpoint."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ...configuration import KEY_IN_ENVIRONMENT, in_short
from ...io import PromptSource, Request
from ...training.defaults import DEFAULT_ENCODER, EXAMPLES
from ..application import MAKE, Misuse, app, for_example
from ..arguments import (
    AsJson,
    Confidence,
    ContextChoice,
    Dims,
    Documents,
    Encoder,
    Entities,
    ExampleCount,
    FlagLasts,
    JudgedRoles,
    MaxFpr,
    Method,
    NameStore,
    Preset,
    Strength,
    TokenChoice,
    Tokens,
    corruption_from,
    policy_from,
    prompts_at,
    refuse_ignored,
    said,
)
from ..naming import contexts_of, documents_of, given_names, named_in
from ..printing import names_line, print_json, rates, say, scope_values, warn_of_misses


@app.command(
    rich_help_panel=MAKE,
    epilog=for_example(
        "hf-eco guard HuggingFaceTB/SmolLM2-135M-Instruct --name 'Jane Doe' -o guarded",
        "hf-eco guard ./my-model --name 'Jane Doe' --documents jane-articles.jsonl -o guarded",
        "hf-eco guard ./my-model --names requests.csv -o guard --guard-only --store-names hashed",
        "hf-eco guard ./my-model --scope my-book --forget forget.jsonl --retain retain.jsonl -o guarded",
        "hf-eco guard ./my-model --scope jane-doe --forget jane.txt --name 'Jane Doe' --documents jane-articles.jsonl "
        "--retain other.csv,column=question -o guarded --method zero_out_top_k --dims 64",
    ),
)
def guard(
    base_model: Annotated[str, typer.Argument(help="Path or Hub id of the model to guard.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Directory for the guarded checkpoint.")],
    name: Annotated[
        list[str] | None,
        typer.Option(help="Full name of whom or what is to be forgotten; repeat for several. Mined from --forget."),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(
            help="A file of names: .txt, one a line; .csv or .jsonl with the fields id, name, aliases (a;b), "
            "documents (paths), context."
        ),
    ] = None,
    scope: Annotated[
        str | None,
        typer.Option(help="A short name for what is to be forgotten. By names alone: all --name are of this one."),
    ] = None,
    forget: Annotated[
        PromptSource | None,
        prompts_at("Prompts in the scope, to train a classifier by: .txt, .jsonl, .csv ... or a data set id."),
    ] = None,
    retain: Annotated[
        PromptSource | None,
        prompts_at("Prompts outside of it, in the same forms. By names alone: also counted for false positives."),
    ] = None,
    context: ContextChoice = None,
    documents: Documents = None,
    encoder: Encoder = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Fixed threshold in (0, 1], instead of calibrating one. \\[default by names alone: 0.5]"),
    ] = None,
    max_fpr: MaxFpr = None,
    max_fnr: Annotated[
        float | None, typer.Option(help="Highest false negative rate; prompts between the two bounds are uncertain.")
    ] = None,
    confidence: Confidence = None,
    method: Method = None,
    dims: Dims = None,
    strength: Strength = None,
    preset: Preset = None,
    tokens: TokenChoice = None,
    entities: Entities = None,
    judged_roles: JudgedRoles = None,
    flag_lasts: FlagLasts = None,
    guard_only: Annotated[
        bool, typer.Option("--guard-only", help="By names alone: save the guard without the base model's weights.")
    ] = False,
    store_names: Annotated[
        NameStore | None,
        typer.Option(help="By names alone: hashed for a guard that does not tell the names. \\[default: plain]"),
    ] = None,
    key_from_environment: Annotated[
        bool, typer.Option("--key-from-environment", help="Hash by the key in HF_ECO_NAMES_KEY, and do not store it.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a guard that OUTPUT holds, with all its scopes.")
    ] = False,
    examples: ExampleCount = None,
    seed: Annotated[int, typer.Option(help="Seed of the splits, the training and the noise.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Guard a model and save it: by names, in seconds (with documents, in a minute or so); or, with --forget and
    --retain, by a classifier that is trained on prompts and calibrated.

    A rare last name by itself flags a prompt too; --threshold 0.95 asks for more of the name. To add names to a guard:
    hf-eco scopes add.
    """
    asked = said(max_fpr=max_fpr, max_fnr=max_fnr, confidence=confidence)
    corruption = corruption_from(method, dims, strength, seed, preset)
    common: dict[str, Any] = {
        "corruption": corruption,
        "entities": entities,
        "overwrite": overwrite,
        **policy_from(judged_roles, flag_lasts),
    }
    if forget is None:
        instead = "Leave out what takes training, or pass --forget and --retain."
        refuse_ignored("Without --forget", instead, examples=examples, **asked)
        requests = _requests(scope, name, names)
        own_prompts = [] if retain is None else retain.prompts()
        common |= {
            "encoder": encoder,
            "tokens": "" if tokens is None else tokens.value,
            "threshold": 0.5 if threshold is None else threshold,
            "context": contexts_of(requests, context),
            "store_names": (store_names or NameStore.plain).value,
            "names_key": KEY_IN_ENVIRONMENT if key_from_environment else None,
        }
        common |= {"documents": documents_of(requests, documents, encoder)}
        _guard_by_names(base_model, requests, output, own_prompts, not guard_only, as_json, **common)
        return
    if retain is None or scope is None:
        raise Misuse("A classifier is trained by --scope, --forget and --retain. Pass all three, or --name alone.")
    by_names = {"names": names, "guard_only": guard_only or None, "store_names": store_names}
    by_names |= {"key_from_environment": key_from_environment or None}
    refuse_ignored("With --forget", "Say whom the scope is about by --name.", **by_names)
    if threshold is not None:
        instead = "Leave out --threshold to calibrate one, or leave out the rest."
        refuse_ignored("With --threshold", instead, **asked)
    forget_prompts, retain_prompts = forget.prompts(), retain.prompts()
    texts = () if documents is None else documents.prompts()

    from ...training import guard_model

    model = guard_model(
        base_model,
        scope,
        forget_prompts,
        retain_prompts,
        output,
        names=name,
        documents=texts,
        encoder=encoder or DEFAULT_ENCODER,
        tokens=(tokens or Tokens.content).value,
        threshold=threshold,
        examples=EXAMPLES if examples is None else examples,
        seed=seed,
        **common,
        **asked,
    )
    made = model.config.eco.scope(scope)
    looked_for = model.eco_guard.names_of(scope)
    if as_json:
        print_json({"directory": output, "scope": scope_values(made), "names": looked_for})
        return
    say("Guarded against ", (scope, "bold"), f": saved in {output}")
    say(names_line(looked_for))
    say(rates(made.threshold, made.calibration))
    warn_of_misses(made.calibration)
    say(f"Try it: hf-eco inspect {output} 'a prompt'")


def _requests(scope: str | None, name: list[str] | None, file: str | None) -> dict[str, Request]:
    """Whom each scope is about, from what was said."""
    if not name and file is None:
        raise Misuse("Whom is the model to forget? Pass --name 'Jane Doe', --names FILE, or --forget and --retain.")
    if scope is not None and (file is not None or not name):
        raise Misuse("--scope names one scope, and each request in a file is one. Leave it out, or leave out --names.")
    requests = named_in(file) if file is not None else {}
    if scope is not None:
        return {scope: given_names(scope, name or [])}
    given = {f"request-{number}": own for number, own in enumerate(name or (), len(requests) + 1)}
    if both := requests.keys() & given.keys():
        raise ValueError(f"{file!r} has a request {min(both)!r} already. Put the names given by --name into the file.")
    return {**requests, **{scope: given_names(scope, [own]) for scope, own in given.items()}}


def _guard_by_names(
    base_model: str,
    requests: dict[str, Request],
    output: str,
    retain: list[str],
    weights: bool,
    as_json: bool,
    **options: Any,
) -> None:
    from ...training import count_false_positives, guard_by_names, keep_false_positives, last_names_alone

    names = {scope: own.names for scope, own in requests.items()}
    model = guard_by_names(base_model, names, output, weights=weights, **options)
    rate = count_false_positives(model.eco_guard, retain=retain)
    keep_false_positives(output, rate)
    last_names = last_names_alone(model.eco_guard, names)
    if as_json:
        measured = {"flagged": rate.flagged, "n": rate.n, "fpr_bound": rate.bound, "confidence": rate.confidence}
        told: Any = names if options["store_names"] == "plain" else list(names)
        print_json({"directory": output, "names": told, "false_positives": measured, "last_names_alone": last_names})
        return
    whom = ", ".join(list(requests)[:3])
    asked = "general prompts and yours" if retain else "general prompts"
    rest = f" and {len(requests) - 3} more" if len(requests) > 3 else ""
    say("Guarded against ", (whom, "bold"), f"{rest}: saved in {output}")
    say(
        f"It flags {len(rate.flagged)} of {rate.n} {asked}: at most {rate.bound:.4f} of prompts like those, at "
        f"{rate.confidence:.0%} confidence."
    )
    for prompt in rate.flagged[:5]:
        say(f"  flagged: {prompt}")
    if last_names:
        say(
            f"{len(last_names):,} last names flag a prompt by themselves: {in_short(last_names)}. Whoever or whatever "
            "else is called so is flagged too; --threshold 0.95 asks for more of the name."
        )
    say(f"Try it: hf-eco inspect {output} 'a prompt'")
