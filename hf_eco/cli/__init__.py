"""The hf-eco command. Every command is one call of the Python API; these files read arguments and print results.

| file | what it holds |
|---|---|
| `commands/` | the commands, a file each |
| `application` | what all commands share: their frame, how they end, what they say if something is wrong |
| `arguments` | arguments that several commands take |
| `wording` | what the library says, in the words of a command line |
| `naming` | names and documents: whom each scope is about |
| `printing` | lines for people, or one JSON document |
| `checks` | what `hf-eco doctor` looks at |

Nothing here imports torch or transformers before a command needs them: the help, a list of scopes and a wrong command
line are answered at once.
"""

from __future__ import annotations

import sys

try:
    import rich  # noqa: F401
    import typer  # noqa: F401
except ImportError as error:  # the library works without the command
    sys.exit(f"The hf-eco command needs {error.name}: pip install hf-eco[cli]")

from . import commands  # noqa: F401
from .application import app, main

__all__ = ["app", "main"]
