"""How a contract test says which route it tries."""

from __future__ import annotations

from typing import Any

import pytest


def route(name: str, verdict: str = "guarded", **keywords: Any) -> pytest.MarkDecorator:
    """Marks a test with a row of docs/routes.md."""
    return pytest.mark.route(name, verdict, **keywords)
