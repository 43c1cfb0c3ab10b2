"""The scopes by names alone of a stored guard: thousands in one file beside config.json, one a line.

config.json says under `eco.scopes_file` which file belongs to it:

| key | what it says |
|---|---|
| `name` | `eco_scopes-<first 12 digits of its SHA-256>.jsonl` |
| `sha256` | of the file |
| `scopes` | how many lines it has |
| `common` | fields that hold for every scope of the file whose line says nothing else |
| `positions` | where the scopes that stand in config.json itself come among all, counted from 0 |

A guard is one version or the next at any moment: a new version is written under its own name, then config.json, which
names it, is replaced in one step, and the old file is deleted last. Who has read the old config.json and finds its
file gone reads config.json again. A file that is missing, cut short or changed is refused: the scopes that are left
must never pass for the guard.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ..configuration import FORMAT_VERSION, SCOPES_FILE, ECOConfig, ForgetScope
from ..errors import GuardLoadError
from ..io.directories import replace_text
from .format import CONFIG_NAME

_NAME = re.compile(r"eco_scopes-[0-9a-f]{12}\.jsonl")
OF_EACH = ("name", "names", "hashed_names", "facts_sha256", "probes")  # each scope's own
_JSON = json.JSONEncoder(ensure_ascii=False, default=vars)
_REMEDY = "Download the guard again, with all of its files. To change what it forgets: hf-eco scopes add, remove"


def is_scopes_file(name: str) -> bool:
    """Whether a file of a guard's directory or repository holds scopes, by its name."""
    return _NAME.fullmatch(name) is not None


def scopes_file_of(stored: dict[str, Any]) -> str | None:
    """The file that holds more of a guard's scopes; None if there is none, or if a newer version of hf-eco wrote it.

    Args:
        stored: the `eco` of config.json.

    Raises:
        GuardLoadError: the file is described in a way that no guard of this version is.
    """
    version = stored.get("version", FORMAT_VERSION)
    if SCOPES_FILE not in stored or (isinstance(version, int) and version > FORMAT_VERSION):
        return None
    described = stored[SCOPES_FILE]
    known = {"name": str, "sha256": str, "scopes": int, "common": dict, "positions": list}
    well_formed = isinstance(described, dict) and all(isinstance(described.get(k), t) for k, t in known.items())
    if not well_formed or described["name"] != _name_for(described["sha256"]) or not is_scopes_file(described["name"]):
        raise GuardLoadError(f"{CONFIG_NAME} does not say which file holds its scopes: {described!r}. {_REMEDY}")
    return str(described["name"])


def part_scopes(eco: ECOConfig) -> tuple[dict[str, Any], bytes | None]:
    """A guard as it is stored: the `eco` of config.json, and what the file of its scopes holds; None without such
    scopes."""
    filed = [scope for scope in eco.scopes if scope.untrained]
    own = [(place, scope) for place, scope in enumerate(eco.scopes) if not scope.untrained]
    rest = copy.copy(eco)
    vars(rest)["scopes"] = [scope for _, scope in own]
    stored = rest.to_dict()
    if not filed:
        return stored, None
    common = common_of(filed[0])
    described, content = describe([line_of(scope, common) for scope in filed], common, [place for place, _ in own])
    return {**stored, SCOPES_FILE: described}, content


def common_of(scope: ForgetScope) -> dict[str, Any]:
    """What may hold for other scopes than this one, too. What is a list (names, known answers) is each scope's own."""
    shared = {k: v for k, v in vars(scope).items() if k != "name" and not isinstance(v, (list, tuple))}
    return {k: "" if k in OF_EACH else v for k, v in shared.items()}


def line_of(scope: ForgetScope, common: dict[str, Any]) -> str:
    """A scope's line: what `common` does not say of it."""
    own = {k: v for k, v in vars(scope).items() if (v != common[k] if k in common else v not in ((), []))}
    return _JSON.encode(own)


def describe(lines: Collection[str], common: dict[str, Any], positions: Sequence[int]) -> tuple[dict[str, Any], bytes]:
    """What config.json says of a file of scopes, and what the file holds.

    Args:
        lines: of the scopes.
        common: what they leave out.
        positions: where the scopes that stand in config.json come among all.
    """
    content = "".join(f"{line}\n" for line in lines).encode()
    digest = hashlib.sha256(content).hexdigest()
    described = {
        "name": _name_for(digest),
        "sha256": digest,
        "scopes": len(lines),
        "common": json.loads(_JSON.encode(common)),
        "positions": list(positions),
    }
    return described, content


def lines_of(stored: dict[str, Any], content: bytes | None) -> list[str]:
    """The lines of a file of scopes.

    Args:
        stored: the `eco` of config.json, which names a file.
        content: of that file; None if it is not there.

    Raises:
        GuardLoadError: it is not there, or not the one that belongs to config.json.
    """
    described = stored[SCOPES_FILE]
    where = f"{described['scopes']:,} scopes of this guard lie in {described['name']} beside its {CONFIG_NAME}"
    if content is None:
        raise GuardLoadError(f"{where}, and that file is not there. Without it they would not be forgotten. {_REMEDY}")
    lines = content.count(b"\n")
    if hashlib.sha256(content).hexdigest() != described["sha256"] or lines != described["scopes"]:
        raise GuardLoadError(
            f"{where}, and that file was changed or cut short: it has {lines:,} lines, and its SHA-256 is not the one "
            f"that {CONFIG_NAME} names. {_REMEDY}"
        )
    own, positions, total = stored["scopes"], described["positions"], len(stored["scopes"]) + lines
    if len(positions) != len(own) or len(set(positions) & set(range(total))) != len(own):
        raise GuardLoadError(f"{CONFIG_NAME} places its {len(own)} scopes at {positions!r} of {total}. {_REMEDY}")
    return content.decode().split("\n")[:-1]


def join_scopes(stored: dict[str, Any], content: bytes | None) -> dict[str, Any]:
    """The whole of a guard as [`ECOConfig.from_dict`][hf_eco.ECOConfig.from_dict] reads it; arguments and errors as of
    `lines_of`."""
    lines, described = lines_of(stored, content), stored[SCOPES_FILE]
    filed = [{**described["common"], **json.loads(line)} for line in lines]
    own, positions, total = stored["scopes"], described["positions"], len(stored["scopes"]) + len(lines)
    placed, rest = dict(zip(positions, own, strict=True)), iter(filed)
    scopes = [placed[place] if place in placed else next(rest) for place in range(total)]
    return {**{key: value for key, value in stored.items() if key != SCOPES_FILE}, "scopes": scopes}


def write_config(path: str | os.PathLike[str], config: dict[str, Any], content: bytes | None) -> None:
    """Writes config.json, and beside it the file of scopes that its `eco` names; see above for the order.

    Args:
        path: of config.json; one that is there is replaced.
        config: what it is to hold.
        content: of the file of scopes; None if it names none.
    """
    path, name = Path(path), scopes_file_of(config["eco"])
    if name is not None and content is not None:
        replace_text(path.with_name(name), content.decode())
    replace_text(path, json.dumps(config, indent=2, sort_keys=True) + "\n")
    if path.name == CONFIG_NAME:
        for other in path.parent.iterdir():
            if is_scopes_file(other.name) and other.name != name:
                other.unlink()


def _name_for(digest: str) -> str:
    return f"eco_scopes-{digest[:12]}.jsonl"
