"""train: a prompt classifier alone."""

from __future__ import annotations

from typing import Annotated

import typer

from ...io import PromptSource
from ...training.defaults import DEFAULT_ENCODER, EXAMPLES
from ..application import MAKE, Misuse, app, for_example
from ..arguments import (
    AsJson,
    Documents,
    Encoder,
    ExampleCount,
    Names,
    prompts_at,
)
from ..printing import names_line, print_json, say


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
        PromptSource | None, prompts_at("Prompts in the scope: .txt, .jsonl, .csv ... or a data set id.")
    ] = None,
    retain: Annotated[PromptSource | None, prompts_at("Prompts outside of it, in the same forms.")] = None,
    name: Names = None,
    documents: Documents = None,
    exclude: Annotated[
        list[PromptSource] | None,
        prompts_at("Prompts kept for calibration, not to be trained on; repeat for several files."),
    ] = None,
    encoder: Encoder = None,
    label: Annotated[
        str, typer.Option(help="What the scope is called among those that share the encoder; best the scope's name.")
    ] = "forget",
    examples: ExampleCount = None,
    seed: Annotated[int, typer.Option(help="Seed of the split and the training.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train a prompt classifier alone, for `hf-eco scopes add`."""
    if not (forget or name or documents):
        raise Misuse("There is nothing to learn the scope from. Pass --forget, --name or --documents.")
    forget_prompts, retain_prompts, texts = (
        source.prompts() if source else () for source in (forget, retain, documents)
    )
    excluded = [prompt for source in exclude or () for prompt in source.prompts()]

    from ...training import train_prompt_classifier

    trained = train_prompt_classifier(
        forget_prompts,
        retain_prompts,
        encoder or DEFAULT_ENCODER,
        output,
        seed,
        names=name,
        documents=texts,
        exclude=excluded,
        label=label,
        examples=EXAMPLES if examples is None else examples,
    )
    report = trained.training_report or {}
    if as_json:
        print_json({"directory": output, "label": label, "report": report})
        return
    found = report["validation"]
    say("Trained ", (label, "bold"), f": saved in {output}")
    say(names_line(report["names"]))
    say(
        f"On the prompts kept out of training, at threshold {found['threshold']:g}: false positive rate "
        f"{found['false_positive_rate']:.4f}, false negative rate {found['false_negative_rate']:.4f}, area under the "
        f"ROC curve {found['roc_auc']:.4f}. A bound takes a calibration."
    )
    say(f"Put it in a guard: hf-eco scopes add guarded --scope {label} --classifier {output} --label {label} ...")
