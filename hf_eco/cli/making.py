"""Making a guard: train and guard."""

from __future__ import annotations

from typing import Annotated

import typer

from .arguments import (
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
from .frame import MAKE, Misuse, app, for_example
from .printing import names_line, print_json, rates, say, scope_values, warn_of_misses


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
    from ..io.prompt_files import read_prompts
    from ..training import guard_model
    from ..training.defaults import DEFAULT_ENCODER, EXAMPLES

    asked = said(max_fpr=max_fpr, max_fnr=max_fnr, confidence=confidence)
    if threshold is not None:
        instead = "Leave out --threshold to calibrate one, or leave out the rest."
        refuse_ignored("With --threshold", instead, **asked)
    corruption = corruption_from(method, dims, strength, seed)
    model = guard_model(
        base_model,
        scope,
        read_prompts(forget, column=forget_column),
        read_prompts(retain, column=retain_column),
        output,
        names=name,
        documents=read_prompts(documents) if documents else (),
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


@app.command(
    rich_help_panel=MAKE,
    epilog=for_example(
        "hf-eco train --forget jane.txt --retain other.csv --label jane-doe -o jane-classifier "
        "--exclude held-out-forget.txt --exclude held-out-retain.txt",
        "hf-eco train --name 'Jane Doe' --documents jane-articles.jsonl --encoder guarded/classifier-my-book "
        "--label jane-doe -o jane-classifier",
    ),
)
def train(
    output: Annotated[str, typer.Option("--output", "-o", help="Directory for the classifier.")],
    forget: Annotated[
        str | None, typer.Option(help="Prompts in the scope: .txt, .jsonl, .csv or a data set id.")
    ] = None,
    retain: Annotated[str | None, typer.Option(help="Prompts outside of it, in the same forms.")] = None,
    forget_column: Annotated[str | None, typer.Option(help="Column of the forget prompts.")] = None,
    retain_column: Annotated[str | None, typer.Option(help="Column of the retain prompts.")] = None,
    name: Names = None,
    documents: Documents = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Prompts kept for calibration, not to be trained on; repeat for several files."),
    ] = None,
    exclude_column: Annotated[str | None, typer.Option(help="Column of the prompts kept for calibration.")] = None,
    encoder: Encoder = None,
    label: Annotated[
        str, typer.Option(help="What the scope is called among those that share the encoder; best the scope's name.")
    ] = "forget",
    examples: ExampleCount = None,
    seed: Annotated[int, typer.Option(help="Seed of the split and the training.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train a prompt classifier alone, for `hf-eco scopes add`."""
    from ..io.prompt_files import read_prompts
    from ..training import train_prompt_classifier
    from ..training.defaults import DEFAULT_ENCODER, EXAMPLES

    if not (forget or name or documents):
        raise Misuse("There is nothing to learn the scope from. Pass --forget, --name or --documents.")
    for option, value, column in (
        ("forget", forget, forget_column),
        ("retain", retain, retain_column),
        ("exclude", exclude, exclude_column),
    ):
        if not value:
            refuse_ignored(f"Without --{option}", f"Pass --{option}, or leave it out.", **{f"{option}_column": column})
    trained = train_prompt_classifier(
        read_prompts(forget, column=forget_column) if forget else (),
        read_prompts(retain, column=retain_column) if retain else (),
        encoder or DEFAULT_ENCODER,
        output,
        seed,
        names=name,
        documents=read_prompts(documents) if documents else (),
        exclude=[prompt for file in exclude or () for prompt in read_prompts(file, column=exclude_column)],
        label=label,
        examples=EXAMPLES if examples is None else examples,
    )
    report = trained.training_report or {}
    if as_json:
        print_json({"directory": output, "label": label, "report": report})
        return
    found = report["validation"]
    say(f"Trained [bold]{label}[/]: saved in {output}")
    say(names_line(report["names"]))
    say(
        f"On the prompts kept out of training, at threshold {found['threshold']:g}: false positive rate "
        f"{found['false_positive_rate']:.4f}, false negative rate {found['false_negative_rate']:.4f}, area under the "
        f"ROC curve {found['roc_auc']:.4f}. A bound takes a calibration."
    )
    say(f"Put it in a guard: hf-eco scopes add guarded --scope {label} --classifier {output} --label {label} ...")
