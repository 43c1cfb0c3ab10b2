"""The page as a Space of the Hugging Face Hub."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import SpaceCardData
from huggingface_hub.utils import HFValidationError, validate_repo_id

from .._version import __version__
from ..io.directories import replacing
from ..io.optional import import_extra

_APP = '''"""A guarded model to try, with its guard and without it. Also runs at home: python app.py"""

from hf_eco.app import launch

launch({repo_id!r})
'''
_CARD = """---
{front_matter}
---

# {repo_id}, with its guard and without it

[{repo_id}](https://huggingface.co/{repo_id}) answers each message twice: with its ECO guard on, and with it off. What
the guard saw is marked. The page shows unguarded answers on purpose; it protects nothing.

If the model is private or gated, add a secret called `HF_TOKEN` to this Space's settings, a token that may read it.
Made with [hf-eco](https://pypi.org/project/hf-eco/) {version}.
"""


def write_space(directory: str | os.PathLike[str], repo_id: str) -> None:
    """Writes a folder that shows the page for a model on the Hub: `python app.py` at home, or, uploaded with
    `hf upload me/my-space directory --repo-type space`, as a Space.

    Args:
        directory: created; it may be there already if it is empty.
        repo_id: Hub id of the guarded checkpoint, or of a guard whose base model is on the Hub too.

    Raises:
        ValueError: `repo_id` is no Hub id, owner/name.
        FileExistsError: the directory holds something already.
        ImportError: gradio, whose version the Space must name, is not installed.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"A Space finds its model on the Hub, and {repo_id!r} is no id there: {error}") from error
    if repo_id.count("/") != 1 or os.path.exists(repo_id):
        raise ValueError(
            f"A Space finds its model on the Hub, and {repo_id!r} is not owner/name there. Push the model first: "
            f"hf-eco push {repo_id} owner/name"
        )
    front_matter = SpaceCardData(
        title=f"{repo_id.partition('/')[2]}: guard on, guard off",
        emoji="🫥",
        colorFrom="gray",
        colorTo="red",
        sdk="gradio",
        sdk_version=import_extra("gradio", extra="app").__version__,
        app_file="app.py",
        models=[repo_id],
        tags=["eco", "unlearning"],
    )
    card = _CARD.format(front_matter=front_matter.to_yaml(), repo_id=repo_id, version=__version__)
    with replacing(directory, lambda _: False) as folder:
        (folder / "app.py").write_text(_APP.format(repo_id=repo_id), encoding="utf-8")
        (folder / "requirements.txt").write_text(f"hf-eco[app]>={__version__}\n", encoding="utf-8")
        Path(folder, "README.md").write_text(card, encoding="utf-8")
