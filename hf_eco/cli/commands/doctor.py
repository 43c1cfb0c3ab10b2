"""Is everything as it must be? doctor."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from ..application import SHARE, app, for_example
from ..arguments import AsJson
from ..checks import Check, check_checkpoint, check_environment
from ..printing import print_json, say

_SIGNS = {"ok": ("ok   ", "green"), "note": ("note ", "yellow"), "wrong": ("WRONG", "bold red")}


@app.command(
    rich_help_panel=SHARE, epilog=for_example("hf-eco doctor", "hf-eco doctor guarded", "hf-eco doctor me/guard")
)
def doctor(
    model: Annotated[str | None, typer.Argument(help="Path or Hub id of a guarded checkpoint or a guard.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check this environment, and a checkpoint. The exit status is 1 if something is wrong."""
    found = [*check_environment(), *(check_checkpoint(model) if model is not None else [])]
    if as_json:
        print_json([dataclasses.asdict(check) for check in found])
    else:
        for check in found:
            _print(check)
    if any(check.status == "wrong" for check in found):
        raise typer.Exit(1)


def _print(check: Check) -> None:
    say(_SIGNS[check.status], f" {check.what}: {check.finding}")
