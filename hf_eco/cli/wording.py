"""What the library says, in the words of a command line."""

from __future__ import annotations

import re
from collections.abc import Mapping

# What a Python program would do, and what somebody at a command line does instead.
PHRASES = {
    "Load it and use model.add_scope(...).": "To add scopes to it: hf-eco scopes add",
    "Load it without eco_config, then use model.add_scope(...).": "To add scopes to it: hf-eco scopes add",
    "Load the guarded model, add the scopes to it (model.add_scope), and save it whole; or name the model that it was "
    "guarded from: save_guard(..., base_model=...).": "Name the model that it was guarded from.",
    "Pass eco_config=ECOConfig(scopes=[...]), or the path or Hub id of a guard.": (
        "Name a guarded checkpoint or a guard, or make one: hf-eco guard"
    ),
    "Pass base_model='its Hub id' for others to find it.": (
        "For others to find it, upload the guard with its Hub id: hf-eco push DIRECTORY REPOSITORY --guard-only "
        "--base-model ID"
    ),
    "Set ForgetScope(names=['Jane Doe']) or ForgetScope(classifier='path or Hub id').": (
        "Pass --name 'Jane Doe' or --classifier."
    ),
    "Set ForgetScope(documents=['...']).": "Pass --documents too.",
    "Use hf_eco.training.calibrate_threshold to choose one.": (
        "Leave it out to have one chosen by --forget and --retain."
    ),
    "Pass e.g. names={'request-1': ['Jane Doe']}.": "Pass --name 'Jane Doe'.",
    "dims=None": "--dims 0",
}
_ARGUMENT = re.compile(r"\b([a-z]\w*)=(None\b|True\b|\.\.\.|\['[^']*'\]|\[\.\.\.\]|'[^']*'|[\w-]+(?:\.\d+)?)?")
# names of arguments of the library that options are called otherwise for
_CALLED = {"output_dir": "output", "names": "name"}


def in_options(message: str, options: Mapping[str, str]) -> str:
    """`message` with options in place of arguments of Python.

    Args:
        message: what the library says: "Pass encoder='path'."
        options: of the command that was run: by what each sets, how it is written; {"encoder": "--encoder"}.
    """

    def option(match: re.Match[str]) -> str:
        name, value = match[1], match[2] or ""
        written = options.get(_CALLED.get(name, name), options.get(name))
        if written is None:
            return match[0]
        if value == "None":
            return f"no {written}"
        if value in ("True", "...", "[...]", ""):
            return written
        return f"{written} {value.removeprefix('[').removesuffix(']')}"

    for phrase, instead in PHRASES.items():
        message = message.replace(phrase, instead)
    message = _ARGUMENT.sub(option, message)
    for name, written in options.items():
        if "_" in name:  # no word of English
            message = re.sub(rf"(?<![\w-]){name}\b", written, message)
    return message


def message_of(error: Exception) -> str:
    """What an error says, as a sentence: of one of the system also which file it is about."""
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename!r}: {error.strerror}."
    return str(error) or type(error).__name__
