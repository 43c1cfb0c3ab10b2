"""The scopes of a stored guard, changed line by line.

Of ten thousand scopes by names alone, one more or less neither makes the others nor writes them anew: their lines stay
as they are, to the byte. They are held against config.json all the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from .._version import __version__
from ..configuration import FORMAT_VERSION, SCOPES_FILE, ECOConfig, ForgetScope
from ..errors import GuardLoadError
from .format import CONFIG_NAME
from .model_card import kept_from, update_card
from .scopes_file import OF_EACH, common_of, describe, line_of, lines_of, write_config
from .source import read_stored


class _Line(NamedTuple):
    """A line of the file, and what it says that others may say too."""

    text: str
    kind: str


@dataclass(frozen=True)
class StoredScopes:
    """The scopes of a guard on disk. It never changes: with a scope more or less it is another.

    Attributes:
        stored: the `eco` of config.json, without what it says of the file.
        common: what holds for every scope of the file whose line says nothing else.
        lines: the scopes of the file by name, in their order.
        positions: where the scopes that stand in config.json come among all.
    """

    stored: dict[str, Any]
    common: dict[str, Any]
    lines: dict[str, _Line]
    positions: tuple[int, ...]

    @classmethod
    def read(cls, directory: str | os.PathLike[str]) -> StoredScopes | None:
        """The scopes of the guard in `directory`; None if there is no file of scopes as this version writes it.

        Raises:
            GuardLoadError: the file is not the one that belongs to config.json, or holds no scopes.
        """
        found = read_stored(os.fspath(directory), {})
        if found is None or found[0].get("version") != FORMAT_VERSION or SCOPES_FILE not in found[0]:
            return None
        stored, content = found
        described = stored[SCOPES_FILE]
        lines = dict(_read(line) for line in lines_of(stored, content))
        if len(lines) != described["scopes"] or any(described["common"].get(key) for key in OF_EACH):
            return None  # who reads the whole guard says what is wrong
        rest = {key: value for key, value in stored.items() if key != SCOPES_FILE}
        return cls(rest, described["common"], lines, tuple(described["positions"]))

    @property
    def names(self) -> list[str]:
        """Those of all scopes, in their order."""
        own, filed = dict(zip(self.positions, self.stored["scopes"], strict=True)), iter(self.lines)
        total = len(own) + len(self.lines)
        return [own[place]["name"] if place in own else next(filed) for place in range(total)]

    def joined_by(self, scopes: Sequence[ForgetScope]) -> StoredScopes:
        """With more scopes by names alone, behind the others."""
        any_scope = {**self.common, "name": "any", "names": ["Any Name"]}
        known = common_of(ECOConfig.from_dict({"scopes": [any_scope]}).scopes[0])
        more = dict(_read(line_of(scope, known)) for scope in scopes)
        return replace(self, lines={**self.lines, **more})

    def without(self, names: Collection[str]) -> StoredScopes:
        """Without some scopes of the file."""
        gone = set(names)
        places = {name: place for place, name in enumerate(name for name in self.names if name not in gone)}
        return replace(
            self,
            lines={name: line for name, line in self.lines.items() if name not in gone},
            positions=tuple(places[scope["name"]] for scope in self.stored["scopes"]),
        )

    def outline(self) -> tuple[ECOConfig, dict[str, list[str]]]:
        """A config of the scopes in config.json, and of one scope for all of the file that differ in names alone; and
        by the name of such a one, the names of all that it stands for."""
        kinds: dict[str, list[str]] = {}
        for name, line in self.lines.items():
            kinds.setdefault(line.kind, []).append(name)
        alike = {names[0]: names for names in kinds.values()}
        known = {scope["name"]: scope for scope in self.stored["scopes"]}
        known |= {name: {**self.common, **json.loads(self.lines[name].text)} for name in alike}
        scopes = [known[name] for name in self.names if name in known]
        return ECOConfig.from_dict({**self.stored, "scopes": scopes}), alike

    def write(self, directory: str | os.PathLike[str]) -> None:
        """Puts them in place of the scopes in `directory`, and renews the model card. The guard is the old one or the
        new one at any time, never half of it."""
        directory = Path(directory)
        path = directory / CONFIG_NAME
        texts = [line.text for line in self.lines.values()]
        described, content = describe(texts, self.common, self.positions)
        eco = {**self.stored, "hf_eco_version": __version__, SCOPES_FILE: described}
        config = json.loads(path.read_text(encoding="utf-8"))
        write_config(path, config | {"eco": eco}, content)
        outline, alike = self.outline()
        update_card(outline, directory, alike=alike, **kept_from(directory))


def _read(line: str) -> tuple[str, _Line]:
    """The name of a line's scope, and the line. Raises GuardLoadError if it is none."""
    said = json.loads(line)
    if not isinstance(said, dict) or not isinstance(said.get("name"), str):
        raise GuardLoadError(f"{line[:80]!r} is no line of a guard's scopes. Download the guard again.")
    own = {key: value for key, value in said.items() if key not in OF_EACH}
    kind = json.dumps([[key in said for key in OF_EACH], own], sort_keys=True) if own else str(said.keys())
    return said["name"], _Line(line, kind)
