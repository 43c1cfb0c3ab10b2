"""A page to try a guarded model on: app."""

from __future__ import annotations

from typing import Annotated

import typer

from ..application import LOOK, Misuse, app, for_example
from ..arguments import Device, Guarded
from ..printing import say


@app.command(
    "app",
    rich_help_panel=LOOK,
    epilog=for_example(
        "hf-eco app guarded", "hf-eco app me/guard --port 8000", "hf-eco app me/guarded --space my-space"
    ),
)
def show(
    model: Guarded,
    share: Annotated[bool, typer.Option("--share", help="Give the page a public address while it runs.")] = False,
    port: Annotated[
        int | None,
        typer.Option(help="Of the page. \\[default: the first free one from 7860 on]", min=1, max=65535),
    ] = None,
    device: Device = None,
    space: Annotated[
        str | None, typer.Option(help="Show nothing; write a folder that deploys as a Space into this directory.")
    ] = None,
) -> None:
    """Chat with a model with its guard and without it, side by side, in a browser."""
    if space is not None and (share or port is not None or device is not None):
        raise Misuse("--space writes a folder and shows nothing. Leave out --share, --port and --device.")

    from ...app import launch, write_space

    if space is None:
        launch(model, share=share, port=port, device=device)
        return
    write_space(space, model)
    say(f"Written to {space}. Try it: python {space}/app.py")
    say(f"Upload it: hf upload me/my-space {space} --repo-type space")
