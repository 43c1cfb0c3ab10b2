"""What the guarded classes of vLLM's models are called."""

from __future__ import annotations

from ...checkpoint.guarded_config import GUARDED


def class_name(architecture: str) -> str:
    """The attribute of `model` that is the guarded class of one of vLLM's architectures. What vLLM finds out about a
    class it remembers by that name, so the name holds vLLM's version."""
    from vllm.version import __version__

    return f"{architecture}{GUARDED}_{''.join(c if c.isalnum() else '_' for c in __version__)}"
