"""To the Hub: push."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..application import SHARE, Misuse, app, for_example
from ..arguments import AsJson
from ..printing import print_json, say


@app.command(
    rich_help_panel=SHARE,
    epilog=for_example(
        "hf-eco push guarded me/my-guarded-model --private",
        "hf-eco push guarded me/my-guard --guard-only --base-model HuggingFaceTB/SmolLM2-135M-Instruct",
        "hf-eco push guarded them/their-model --create-pr --message 'Forget Jane Doe'",
    ),
)
def push(
    directory: Annotated[str, typer.Argument(help="Directory of a guarded checkpoint or a guard.")],
    repo_id: Annotated[str, typer.Argument(help="Repository on the Hub, created if need be: name or owner/name.")],
    guard_only: Annotated[bool, typer.Option(help="Upload the guard of a checkpoint without its weights.")] = False,
    base_model: Annotated[
        str | None, typer.Option(help="With --guard-only: Hub id of the base model the guard names.")
    ] = None,
    private: Annotated[bool | None, typer.Option("--private/--public", help="Of a new repository.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch to commit to, or refs/pr/1.")] = None,
    create_pr: Annotated[bool, typer.Option(help="Open a pull request instead of committing.")] = False,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Of the commit.")] = None,
    as_json: AsJson = False,
) -> None:
    """Upload a guarded checkpoint, or a guard, in one commit. Log in first: hf auth login"""
    if base_model is not None and not guard_only:
        raise Misuse("--base-model says which base a guard without weights is for. Pass --guard-only with it.")

    from ...auto import AutoModelForCausalLMWithECO
    from ...checkpoint.hub_upload import upload

    options: dict[str, Any] = {"private": private, "revision": revision, "create_pr": create_pr}
    options["commit_message"] = message
    if guard_only:
        guarded = AutoModelForCausalLMWithECO.from_pretrained(directory, device_map="meta")
        done = guarded.push_guard_to_hub(repo_id, base_model=base_model, **options)
    else:
        done = upload(directory, repo_id, **options)
    if as_json:
        print_json({"commit": done.oid, "commit_url": done.commit_url, "pull_request_url": done.pr_url})
        return
    say(f"Uploaded {directory}: {done.pr_url or done.commit_url}")
