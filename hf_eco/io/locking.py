"""Locks on open files and directories, which processes and threads of one machine wait for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["fcntl", "locked"]

if sys.platform == "win32":  # has no such locks
    fcntl = None
else:
    import fcntl


@contextmanager
def locked(path: str | os.PathLike[str], flags: int, mode: int = 0o777) -> Iterator[int]:
    """Opens `path` by `os.open`; inside, nobody else who asks for the same has it open. Yields the descriptor.
    (Windows has no such lock.)"""
    descriptor = os.open(path, flags, mode)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
