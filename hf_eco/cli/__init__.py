"""The hf-eco command. Every command is one call of the Python API; these files read arguments and print results.

| module | commands |
|---|---|
| `making` | train, guard |
| `thresholds` | calibrate |
| `corruption` | tune |
| `scopes` | scopes add, remove, list |
| `looking` | inspect, demo |
| `trying` | app |
| `measuring` | evaluate, report |
| `sharing` | push |
| `health` | doctor |
"""

from __future__ import annotations

import sys

try:
    import rich  # noqa: F401
    import typer  # noqa: F401
except ImportError as error:  # the library works without the command
    sys.exit(f"The hf-eco command needs {error.name}: pip install hf-eco[cli]")

# in the order in which the help lists their commands
from . import making  # noqa: F401, I001
from . import thresholds, corruption, scopes, looking, trying, measuring, sharing, health  # noqa: F401
from .frame import app, main

__all__ = ["app", "main"]
