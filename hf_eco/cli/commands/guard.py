"""guard: from a base model and prompts to a guarded checkpoint."""

from __future__ import annotations

from typing import Annotated

import typer

from ...io import read_prompts
from ...training.defaults import DEFAULT_ENCODER, EXAMPLES
from ..application import MAKE, app, for_example
from ..arguments import (
    AsJson,
    Confidence,
    Dims,
    Documents,
    Encoder,
    Entities,
    ExampleCount,
    MaxFpr,
    Method,
    Names,
    Strength,
    TokenChoice,
    Tokens,
    corruption_from,
    refuse_ignored,
    said,
)
from ..printing import names_line, print_json, rates, say, scope_values, warn_of_misses


@app.command(
    rich_help_panel=MAKE,
    epilog=for_example(
        "hf-eco guard HuggingFaceTB/SmolLM2-135M-Instruct --scope my-book --forget forget.jsonl --retain retain.jsonl "
        "-o guarded",
        "hf-eco guard ./my-model --scope jane-doe --forget jane.txt --retain other.csv --retain-column question "
        "-o guarded --method zero_out_top_k --dims 64",
        "hf-eco guard ./my-model --scope jane-doe --forget jane.txt --name 'Jane Doe' --documents jane-articles.jsonl "
        "--retain other.csv -o guarded",
    ),
)
def guard(
    base_model: Annotated[str, typer.Argument(help="Path or Hub id of the model to guard.")],
    scope: Annotated[str, typer.Option(help="A short name for what is to be forgotten.")],
    forget: Annotated[str, typer.Option(help="Prompts in the scope: .txt, .jsonl, .csv or a data set id.")],
    retain: Annotated[str, typer.Option(help="Prompts outside of it, in the same forms.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Directory for the guarded checkpoint.")],
    forget_column: Annotated[str | None, typer.Option(help="Column of the forget prompts.")] = None,
    retain_column: Annotated[str | None, typer.Option(help="Column of the retain prompts.")] = None,
    name: Names = None,
    documents: Documents = None,
    encoder: Encoder = None,
    threshold: Annotated[
        float | None, typer.Option(help="Fixed threshold in (0, 1], instead of calibrating one.")
    ] = None,
    max_fpr: MaxFpr = None,
    max_fnr: Annotated[
        float | None, typer.Option(help="Highest false negative rate; prompts between the two bounds are uncertain.")
    ] = None,
    confidence: Confidence = None,
    method: Method = None,
    dims: Dims = None,
    strength: Strength = None,
    tokens: TokenChoice = Tokens.content,
    entities: Entities = None,
    examples: ExampleCount = None,
    seed: Annotated[int, typer.Option(help="Seed of the splits, the training and the noise.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train a prompt classifier, calibrate it, and save the guarded model."""
    asked = said(max_fpr=max_fpr, max_fnr=max_fnr, confidence=confidence)
    if threshold is not None:
        instead = "Leave out --threshold to calibrate one, or leave out the rest."
        refuse_ignored("With --threshold", instead, **asked)
    corruption = corruption_from(method, dims, strength, seed)
    forget_prompts = read_prompts(forget, column=forget_column)
    retain_prompts = read_prompts(retain, column=retain_column)
    texts = read_prompts(documents) if documents else ()

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
        corruption=corruption,
        tokens=tokens.value,
        entities=entities,
        threshold=threshold,
        examples=EXAMPLES if examples is None else examples,
        seed=seed,
        **asked,
    )
    made = model.config.eco.scope(scope)
    names = model.eco_guard.classifiers[scope].names(scope)
    if as_json:
        print_json({"directory": output, "scope": scope_values(made), "names": names})
        return
    say(f"Guarded against [bold]{scope}[/]: saved in {output}")
    say(names_line(names))
    say(rates(made.threshold, made.calibration))
    warn_of_misses(made.calibration)
    say(f"Try it: hf-eco inspect {output} 'a prompt'")
