"""aliases: a person's other names, proposed from texts, for somebody to look at before a guard is made."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...io import Request, read_requests, write_requests
from ...io.name_files import check_one_name
from ..application import MAKE, Misuse, app, for_example
from ..arguments import AsJson
from ..printing import print_json, say

if TYPE_CHECKING:
    from ...training import FoundAliases


@app.command(
    rich_help_panel=MAKE,
    epilog=for_example(
        "hf-eco aliases --name 'Jane Doe' --documents jane-articles.jsonl",
        "hf-eco aliases --names requests.csv -o requests-with-aliases.csv",
    ),
)
def aliases(
    name: Annotated[str | None, typer.Option(help="Full name of the person.")] = None,
    documents: Annotated[
        list[str] | None,
        typer.Option(help="Texts about the person: .txt (one text), .jsonl, .csv (one a row); repeat for several."),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(
            help="A file of names: .csv or .jsonl with the fields id, name, aliases (a;b), documents (paths)."
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="A new file of names, with what was found among the aliases.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find other names of a person in texts about the person: birth, stage and pen names, titles, nicknames.

    Look at what it proposes: a guard touches every prompt in which one of the names stands.
    """
    from ...training import find_aliases

    requests = _requests(name, documents, names)
    found = {request.id: find_aliases(request.names, request.texts()) for request in requests}
    if output is not None:
        write_requests(
            output,
            [
                dataclasses.replace(
                    request, names=(*request.names, *(alias.name for alias in found[request.id].aliases))
                )
                for request in requests
            ],
        )
    if as_json:
        print_json({"output": output, "requests": {key: dataclasses.asdict(own) for key, own in found.items()}})
        return
    for request in requests:
        _print(request, found[request.id])
    if output is not None:
        say(f"Saved in {output}. Strike out what is wrong, then:")
        say(f"  hf-eco guard BASE --names {output} -o guarded")


def _requests(name: str | None, documents: list[str] | None, names: str | None) -> list[Request]:
    if (name is None) == (names is None):
        raise Misuse("Whose names are to be found? Pass --name 'Jane Doe' and --documents, or --names FILE.")
    if names is not None:
        if documents:
            raise Misuse("With --names, --documents would be ignored. Put the paths into the file's field documents.")
        requests = list(read_requests(names).values())
        if not any(request.documents for request in requests):
            raise ValueError(
                f"{names!r} names no documents to find aliases in. Put their paths into a field documents."
            )
        return requests
    if not documents:
        raise Misuse("Aliases are found in texts about the person. Pass them with --documents FILE.")
    check_one_name(name or "", "--name")
    return [Request("request-1", (name or "",), tuple(Path(path) for path in documents))]


def _print(request: Request, found: FoundAliases) -> None:
    say((request.id, "bold"), f" {', '.join(request.names)}")
    for alias in found.aliases:
        say(f"  + {alias.name} ({alias.count}; {alias.why}): {alias.evidence}")
    for alias in found.doubtful:
        say(f"  ? {alias.name} ({alias.count}; left out: {alias.why}): {alias.evidence}")
    if not found.aliases and not found.doubtful:
        say("  no other name found" if request.documents else "  no documents to find other names in")
