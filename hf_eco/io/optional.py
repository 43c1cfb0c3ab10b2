"""Libraries that not everybody needs: imported when they are used, named when they are missing."""

from __future__ import annotations

import importlib
import random
from typing import Any


def import_extra(name: str, extra: str = "train") -> Any:
    """The module `name`, of a library in the extra called `extra`.

    Raises:
        ImportError: it is not installed.
    """
    state = random.getstate()  # some libraries draw random numbers when they are first imported
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"This needs {name.split('.')[0]} ({error}). pip install hf-eco[{extra}]") from error
    finally:
        random.setstate(state)
