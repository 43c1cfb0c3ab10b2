"""inspect: what a guard decides about prompts."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ...configuration import in_short
from ..application import LOOK, app, for_example
from ..arguments import AsJson, Guarded
from ..printing import console, print_json, say

if TYPE_CHECKING:
    from ...guard.guard import Guard
    from ...guard.verdict import Verdict


@app.command(
    rich_help_panel=LOOK,
    epilog=for_example(
        "hf-eco inspect guarded 'Who is Harry Potter?' 'Who is Prince Harry?'",
        "hf-eco inspect me/guard 'Who is Harry Potter?' --json",
    ),
)
def inspect(
    model: Guarded,
    prompts: Annotated[list[str], typer.Argument(help="Prompts to judge.")],
    raw: Annotated[bool, typer.Option(help="Take the prompt as it is, not as a chat message.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a guard decides about prompts, and which of their tokens it would corrupt."""
    from ...checkpoint.loading import read_guard
    from ...guard.verdict import stretches

    reader = read_guard(model)
    chat = reader.tokenizer.chat_template is not None and not raw
    verdicts = reader.inspect([[{"role": "user", "content": p}] if chat else p for p in prompts])
    if as_json:
        found = zip(prompts, verdicts, strict=True)
        print_json([{"prompt": prompt, **dataclasses.asdict(verdict)} for prompt, verdict in found])
        return
    if reader.config.has_own_policy:
        say(f"The guard {reader.config.policy_in_words}.")
    coloured = console.color_system is not None
    for verdict in verdicts:
        text = Text()
        for piece, (corrupted,) in stretches(verdict.text, verdict.corrupted):
            text.append(piece if coloured or not corrupted else f"[{piece}]", "bold white on red" if corrupted else "")
        style = "red" if verdict.flagged else "yellow" if verdict.uncertain else "green"
        say((verdict.reason, style), *_why(verdict, reader))
        text.rstrip()
        console.print(text, end="\n\n", soft_wrap=True)


def _why(verdict: Verdict, guard: Guard) -> list[str]:
    """Who spoke for a scope; of an uncertain prompt also for which, and why that is too little."""
    told = [] if verdict.channel is None else [f"; found by {verdict.channel}"]
    if verdict.uncertain_scope is None:
        return told
    scope = guard.config.scope(verdict.uncertain_scope)
    known = f" ({in_short(scope.names, 3)})" if scope.names else ""
    told.insert(0, f"; it may be of {scope.name!r}{known}")
    if scope.abstain_threshold is not None and verdict.probability >= scope.abstain_threshold:
        told.append(", below the threshold, in the band of uncertain prompts")
    elif scope.context == "required":
        told.append(", and its context is required: something else in the prompt must speak for the scope")
    else:
        told.append(
            ", which is too little: many bear the name, or the last name. Something else in the prompt, of which "
            "documents or a classifier know, must speak for the scope; --context ignored does without"
        )
    return told
