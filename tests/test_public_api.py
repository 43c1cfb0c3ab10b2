"""The public API: the names and signatures of every `__all__`, as written in public_api.txt.

A change of the API is a change of that file, seen in review. To write it anew: `python tests/test_public_api.py`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path
from typing import Any

import hf_eco

SNAPSHOT = Path(__file__).parent / "public_api.txt"


def packages() -> list[str]:
    """The package and its sub-packages that say what is public."""
    found = [hf_eco.__name__, "hf_eco.corruption", "hf_eco.errors"]
    for module in pkgutil.walk_packages(hf_eco.__path__, "hf_eco."):
        if module.ispkg and not module.name.startswith("hf_eco.cli"):
            found.append(module.name)
    return found


def lines_of(package: str) -> list[str]:
    """A line for each public name of a package and each public method of its classes."""
    module = importlib.import_module(package)
    lines = []
    names = getattr(module, "__all__", None)
    if names is None and package in ("hf_eco.corruption", "hf_eco.errors"):
        own = {name for name, value in vars(module).items() if getattr(value, "__module__", None) == package}
        names = [name for name in own if not name.startswith("_")]
    for name in sorted(names or []):
        value = getattr(module, name)
        lines.append(f"{package}.{name}{described(value)}")
        if inspect.isclass(value):
            lines += [f"{package}.{name}.{member}" for member in members(value)]
    return lines


def described(value: Any) -> str:
    if inspect.isclass(value) and not issubclass(value, Exception):
        return f"{signature(value)}: class"
    return signature(value) if inspect.isroutine(value) else f": {type(value).__name__}"


def signature(value: Any) -> str:
    try:
        return re.sub(r" at 0x[0-9a-f]+", "", str(inspect.signature(value)))
    except (TypeError, ValueError):
        return ""


def members(value: type) -> list[str]:
    """Public methods and properties of a class that hf_eco defines."""
    found = []
    for name in sorted(dir(value)):
        owner = next((c for c in value.__mro__ if name in vars(c)), object)
        if name.startswith("_") or not owner.__module__.startswith("hf_eco"):
            continue
        member = inspect.getattr_static(value, name)
        if isinstance(member, (classmethod, staticmethod)):
            found.append(f"{name}{signature(member.__func__)}")
        elif isinstance(member, property):
            found.append(f"{name}: property")
        elif inspect.isfunction(member):
            found.append(f"{name}{signature(member)}")
    return found


def snapshot() -> str:
    return "\n".join(line for package in packages() for line in lines_of(package)) + "\n"


def test_the_public_api_is_the_one_that_is_written_down() -> None:
    written = SNAPSHOT.read_text(encoding="utf-8").splitlines()
    now = snapshot().splitlines()
    gone, new = sorted(set(written) - set(now)), sorted(set(now) - set(written))
    assert (gone, new) == ([], []), "If this is meant: python tests/test_public_api.py"


def test_an_editor_completes_what_inspect_gives() -> None:
    from hf_eco.modeling import ECOMixin

    assert "Verdict" in str(inspect.signature(ECOMixin.inspect).return_annotation)
    assert inspect.signature(hf_eco.AutoModelForCausalLMWithECO.from_pretrained).return_annotation == "ECOMixin"


if __name__ == "__main__":
    SNAPSHOT.write_text(snapshot(), encoding="utf-8")
    sys.stdout.write(f"{SNAPSHOT} written\n")
