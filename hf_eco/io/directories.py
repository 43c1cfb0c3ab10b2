"""Directories: replaced whole, so that nothing half-written is left; changed by one process at a time."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .locking import locked


@contextmanager
def replacing(output_dir: str | os.PathLike[str], may_replace: Callable[[Path], bool]) -> Iterator[Path]:
    """A new directory that takes the place of `output_dir` when the block ends, and vanishes if the block fails.

    Its parent is a temporary directory on the same disk, for whatever else the block needs to write.

    Args:
        output_dir: a directory that does not exist, is empty, or satisfies `may_replace`.
        may_replace: says of an existing, filled directory whether it may be replaced.

    Raises:
        FileExistsError: `output_dir` is not one to be replaced.
    """
    target = Path(os.path.realpath(output_dir))
    _check(target, may_replace)
    ancestor = next(parent for parent in target.parents if parent.is_dir())
    with tempfile.TemporaryDirectory(dir=ancestor, prefix=".hf-eco-") as temporary:
        staged, previous = Path(temporary, "staged"), Path(temporary, "previous")
        staged.mkdir()
        yield staged
        _check(target, may_replace)  # something may have been put there in the meantime
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if target.exists():
                target.rename(previous)
            staged.rename(target)
        except BaseException:
            if previous.exists() and not target.exists():
                previous.rename(target)
            raise


def _check(directory: Path, may_replace: Callable[[Path], bool]) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise FileExistsError(f"{str(directory)!r} is a file. Name a directory.")
    if os.path.ismount(directory) or directory == Path.cwd():
        raise FileExistsError(
            f"{str(directory)!r} is the working directory or a mounted one and cannot be replaced. Name a directory "
            "in it."
        )
    if any(directory.iterdir()) and not may_replace(directory):
        raise FileExistsError(
            f"{str(directory)!r} holds something else already. Name a new directory, or empty it first."
        )


@contextmanager
def changing(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Inside, no other process that asks for the same may change `directory`: one waits for the other, so that of two
    changes neither is lost. (Windows cannot lock a directory; there, make one change after the other.)"""
    if sys.platform == "win32":  # nor open one
        yield
        return
    with locked(directory, os.O_RDONLY):
        yield


def check_directory(guard: str | os.PathLike[str]) -> None:
    """Raises OSError unless `guard` is a directory, which can be changed."""
    if not Path(guard).is_dir():
        raise NotADirectoryError(
            f"{os.fspath(guard)!r} is no directory of this machine, so its guard cannot be changed. Download it "
            f"first: hf download {os.fspath(guard)} --local-dir guarded"
        )
