"""demo: a small model forgets the Harry Potter books."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ...errors import ECOError
from ..application import LOOK, app, for_example
from ..arguments import AsJson
from ..printing import calibration_values, console, print_json, rates, say

if TYPE_CHECKING:
    from ...demo import DemoResult


@app.command(
    rich_help_panel=LOOK, epilog=for_example("hf-eco demo", "hf-eco demo --model Qwen/Qwen2.5-0.5B-Instruct -o qwen")
)
def demo(
    model: Annotated[
        str | None, typer.Option(help="Instruct model to guard. \\[default: SmolLM2-135M-Instruct]")
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="Directory for the guarded checkpoint.")
    ] = "demo-output",
    max_new_tokens: Annotated[int, typer.Option(help="Length of the answers.", min=1)] = 24,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Make a small model forget the Harry Potter books, and show it before and after."""
    from ...demo.packaged_models import SMOLLM2
    from ...demo.run import run_demo

    result = run_demo(
        model or SMOLLM2,
        output,
        max_new_tokens=max_new_tokens,
        seed=seed,
        say=(lambda line: None) if as_json else say,
    )
    if as_json:
        print_json(_values(result))
    else:
        _print(result)
    if any(a.original != a.guarded for a in result.answers if not a.flagged):
        raise ECOError("An answer changed although its prompt was not flagged. Please report this.")


def _values(result: DemoResult) -> dict[str, Any]:
    measured = calibration_values(result.calibration)
    answers = [dataclasses.asdict(answer) for answer in result.answers]
    return {"directory": result.directory, "calibration": measured, "answers": answers}


def _print(result: DemoResult) -> None:
    inside = [a for a in result.answers if a.in_scope]
    outside = [a for a in result.answers if not a.in_scope]
    say(rates(result.calibration.threshold, result.calibration))
    for title, answered in (("In the forget scope", inside), ("Out of scope", outside)):
        table = Table("prompt", "p(forget)", "original answer", "guarded answer", title=title, show_lines=True)
        for a in answered:
            same = Text("identical", style="dim") if a.guarded == a.original else Text(a.guarded)
            color = "red" if a.flagged else "green"
            table.add_row(Text(a.prompt), Text(f"{a.probability:.4f}", style=color), Text(a.original), same)
        console.print(table)
    identical = sum(a.original == a.guarded for a in outside)
    say(f"Flagged in scope: {sum(a.flagged for a in inside)} of {len(inside)}, none of them trained on.")
    say(
        "(The false negative rate above is of other prompts, hard on purpose: statements with a gap, descriptions "
        "that name nothing, four languages.)"
    )
    say(f"Out of scope, identical to the unguarded model's answer: {identical} of {len(outside)}.")
    mistaken = sum(a.flagged for a in outside)
    if mistaken:
        say(f"Out of scope but flagged, a false positive: {mistaken}.")
