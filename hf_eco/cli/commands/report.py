"""report: a page about a guard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...io import PromptSource
from ..application import LOOK, app, for_example
from ..arguments import AsJson, Device, Guarded, place, prompts_at
from ..printing import print_json, say

if TYPE_CHECKING:
    from ...evaluation.tasks import Kind


@app.command(
    rich_help_panel=LOOK,
    epilog=for_example(
        "hf-eco report guarded -o report.html",
        "hf-eco report guarded --forget new-forget.txt --retain new-retain.txt --history search/history.jsonl "
        "--comparison results.json -o report.html",
    ),
)
def report(
    model: Guarded,
    output: Annotated[str, typer.Option("--output", "-o", help="The HTML file.")] = "report.html",
    forget: Annotated[
        PromptSource | None, prompts_at("Prompts in the scope, to be answered with and without the guard.")
    ] = None,
    retain: Annotated[PromptSource | None, prompts_at("Prompts outside of it, likewise.")] = None,
    limit: Annotated[int, typer.Option(help="The first so many of each.", min=1)] = 8,
    max_new_tokens: Annotated[int, typer.Option(help="Length of the answers.", min=1)] = 48,
    history: Annotated[
        list[Path] | None, typer.Option(help="history.jsonl of hf-eco tune; repeat for several scopes.")
    ] = None,
    comparison: Annotated[Path | None, typer.Option(help="What hf-eco evaluate --output wrote.")] = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Write one HTML page, readable by itself, about what a guard forgets and how surely. What was not measured, it
    says."""
    sources: dict[Kind, PromptSource | None] = {"forget": forget, "retain": retain}
    prompts = {kind: source.prompts()[:limit] for kind, source in sources.items() if source is not None}

    from ...auto import AutoModelForCausalLMWithECO
    from ...report import Example, ask, write_report

    answered: list[Example] = []
    if prompts:
        guarded = AutoModelForCausalLMWithECO.from_pretrained(model, device_map=place(device))
        for kind, own in prompts.items():
            answered += ask(guarded, own, kind=kind, max_new_tokens=max_new_tokens)
    written = write_report(model, output, examples=answered, histories=history or (), comparison=comparison)
    if as_json:
        print_json({"file": str(written.path), "not_measured": written.not_measured})
        return
    say(f"Written: {written.path}")
    for missing in written.not_measured:
        say(f"Not measured: {missing}")
