"""The errors hf_eco raises of its own. Bad arguments raise ValueError or TypeError as anywhere else."""

from __future__ import annotations

from typing import Any

from huggingface_hub.errors import HfHubHTTPError

# What asking the Hub ends in where it is out of reach or refuses: OSError, and the HTTP client's own error, whichever
# client this version of huggingface_hub has.
HUB_ERRORS: tuple[Any, ...] = (OSError, *HfHubHTTPError.__bases__)


class ECOError(RuntimeError):
    """Base class of hf_eco's own errors."""


class GuardError(ECOError):
    """The guard cannot vouch for this call, so the call is refused (nothing was computed)."""


class GuardLoadError(ECOError, OSError):
    """A guard was found but cannot be trusted to be the one that was saved, so nothing is loaded."""
