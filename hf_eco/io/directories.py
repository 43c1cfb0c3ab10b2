"""Directories: replaced whole, so that nothing half-written is left; changed by one process at a time.

What is to become a directory is written beside it, into `.hf-eco-<its name>`, and takes its place in one step. That
folder is also the lock: who holds it writes, and it is gone when the work is done. A process that was killed leaves it
behind, without the lock; the next one clears it away.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .locking import fcntl

SCRATCH = ".hf-eco-"  # how the names of all begin that is not there to stay


@contextmanager
def replacing(
    output_dir: str | os.PathLike[str], may_replace: Callable[[Path], bool], *, wait: bool = False
) -> Iterator[Path]:
    """A new directory that takes the place of `output_dir` when the block ends, and vanishes if the block fails.

    Its parent is a temporary directory on the same disk, for whatever else the block needs to write.

    Args:
        output_dir: a directory that does not exist, is empty, or satisfies `may_replace`.
        may_replace: says of an existing, filled directory whether it may be replaced.
        wait: for another process that writes to it, instead of refusing.

    Raises:
        FileExistsError: `output_dir` is not one to be replaced.
        OSError: nothing can be written there, or another process is writing to it.
    """
    target = Path(os.path.realpath(output_dir))
    _check(target, may_replace)
    with changing(target, wait=wait) as scratch, _staged(target, scratch) as staged:
        yield staged
        _check(target, may_replace)  # something may have been put there in the meantime


def _check(directory: Path, may_replace: Callable[[Path], bool]) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise FileExistsError(f"{str(directory)!r} is a file. Name a directory.")
    if _is_held(directory):
        raise FileExistsError(
            f"{str(directory)!r} is the working directory or a mounted one and cannot be replaced. Name a directory "
            "in it."
        )
    if any(directory.iterdir()) and not may_replace(directory):
        raise FileExistsError(
            f"{str(directory)!r} holds something else already. Name a new directory, or empty it first."
        )


@contextmanager
def rewriting(
    directory: str | os.PathLike[str],
    goes: Callable[[str], bool],
    *,
    last: str,
    scratch: Path | None = None,
) -> Iterator[Path]:
    """A new version of a directory, which may hold other things too, is written to the path that this gives, and takes
    the place of the old one in one step when the block ends; if the block fails, the old one stays. What the old one
    holds and the new one does not is kept, unless `goes`.

    A mounted directory, or the working directory, cannot be exchanged. There, the files are put in place one by one
    when all are written; meanwhile the file `last` is missing, so that nobody takes the directory for a whole one.

    Args:
        directory: created if need be.
        goes: says of the name of a file or folder in the old version whether it belonged to that alone.
        last: name of the file that the others are nothing without.
        scratch: of `changing(directory)`, if that is in force.

    Raises:
        OSError: nothing can be written there, or another process is writing to it.
    """
    target = resolved(directory)
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"{str(target)!r} is a file. Name a directory.")
    if scratch is None:
        with changing(target, wait=False) as scratch, _staged(target, scratch, goes, last) as staged:
            yield staged
    else:
        with _staged(target, scratch, goes, last) as staged:
            yield staged


@contextmanager
def changing(directory: str | os.PathLike[str], *, wait: bool = True) -> Iterator[Path]:
    """Inside, no other process that asks for the same may change `directory`: one waits for the other, so that of two
    changes neither is lost. (Windows cannot lock a directory; there, make one change after the other.)

    Args:
        directory: need not exist.
        wait: False to refuse instead.

    Yields:
        An empty directory on the same disk, which is gone afterwards.

    Raises:
        OSError: nothing can be written there, or, without `wait`, another process is writing to it.
    """
    target = resolved(directory)
    scratch = _scratch_of(target)
    descriptor = _locked(scratch, target, wait)
    try:
        previous = scratch / "previous"
        if previous.exists() and not target.exists():  # a process was killed between two steps
            previous.rename(target)
        _clear(scratch)
        if target.is_dir():
            for left in target.glob(f"{SCRATCH}*"):
                if left != scratch:
                    _remove(left)
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if fcntl is not None and descriptor is not None:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a process that was forked meanwhile holds it too
            os.close(descriptor)


def resolved(directory: str | os.PathLike[str]) -> Path:
    """The path of a directory, without links.

    Raises:
        FileNotFoundError: it has no name, as where a variable is not set. That is not the working directory.
    """
    if not os.fspath(directory):
        raise FileNotFoundError("The directory's name is empty. Name one, or '.' for the working directory.")
    return Path(os.path.realpath(directory))


def _scratch_of(target: Path) -> Path:
    """Beside the directory; within it where nothing can be put beside it or moved from there."""
    ancestor = next(parent for parent in target.parents if parent.is_dir())
    if target.is_dir() and (os.path.ismount(target) or not os.access(ancestor, os.W_OK)):
        return target / f"{SCRATCH}staged"
    return ancestor / f"{SCRATCH}{target.name}"


def _locked(scratch: Path, target: Path, wait: bool) -> int | None:
    """The descriptor that locks `scratch`, which is made if need be; None where directories cannot be locked."""
    while True:
        try:
            scratch.mkdir(exist_ok=True)
            if not os.access(scratch, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise type(error)(
                f"Nothing can be written to {str(target)!r} ({error.strerror}: {str(scratch.parent)!r}). Name another "
                "directory, or have this one made writable."
            ) from error
        if fcntl is None:
            return None
        try:
            descriptor = os.open(scratch, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(scratch)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise BlockingIOError(
                f"Another process is writing to {str(target)!r}, and nothing was changed. Wait until it has finished, "
                "or name another directory."
            ) from None
        except FileNotFoundError:
            pass
        os.close(descriptor)  # it was another one's, who has finished


@contextmanager
def _staged(
    target: Path, scratch: Path, goes: Callable[[str], bool] = lambda name: True, last: str = ""
) -> Iterator[Path]:
    staged = scratch / "staged"
    staged.mkdir()
    yield staged
    if not can_be_exchanged(target):
        _move_into(target, staged, goes, last)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        staged.rename(target)
        return
    carry_over(target, staged, goes)
    shutil.copymode(target, staged)
    if not _exchange(staged, target):
        previous = scratch / "previous"
        target.rename(previous)
        try:
            staged.rename(target)
        except BaseException:
            previous.rename(target)
            raise
        previous.rename(staged)
    carry_over(staged, target, goes)  # what somebody has put there in the meantime


def carry_over(old: Path, new: Path, goes: Callable[[str], bool]) -> None:
    """Puts what `old` holds into `new`, but what is there already and what `goes`: files are not copied where the disk
    can give them a second name."""
    for entry in list(old.iterdir()):
        if not goes(entry.name) and not entry.name.startswith(SCRATCH) and not os.path.lexists(new / entry.name):
            if entry.is_dir() and not entry.is_symlink():
                shutil.copytree(entry, new / entry.name, symlinks=True, copy_function=_link)
            else:
                _link(entry, new / entry.name)


def _link(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # some file systems know no second names
        shutil.copy2(source, target, follow_symlinks=False)


def _move_into(target: Path, staged: Path, goes: Callable[[str], bool], last: str) -> None:
    """Puts what `staged` holds in place, one by one."""
    (target / last).unlink(missing_ok=True)
    for entry in list(target.iterdir()):
        replaced = entry.is_dir() and (staged / entry.name).exists()
        if (replaced or goes(entry.name)) and entry.name != last and not entry.name.startswith(SCRATCH):
            _remove(entry)
    for entry in sorted(staged.iterdir(), key=lambda entry: entry.name == last):
        os.replace(entry, target / entry.name)


def can_be_exchanged(directory: str | os.PathLike[str]) -> bool:
    """Whether a directory can be exchanged for another in one step: not if it is mounted, if this process works in it,
    or if nothing can be put beside it. One that does not exist can."""
    target = Path(os.path.realpath(directory))
    return not target.is_dir() or (not _is_held(target) and target not in _scratch_of(target).parents)


def _is_held(directory: Path) -> bool:
    return os.path.ismount(directory) or directory == Path.cwd() or directory in Path.cwd().parents


def _exchange(one: Path, other: Path) -> bool:
    """Gives each of two directories the other's name, in one step; False where the system cannot."""
    if sys.platform == "win32":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of <fcntl.h> and <linux/fs.h>
        return bool(library.renameat2(here, names[0], here, names[1], exchange) == 0)
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        return bool(library.renamex_np(*names, 2) == 0)  # RENAME_SWAP of <sys/stdio.h>
    return False


def _clear(directory: Path) -> None:
    for entry in directory.iterdir():
        _remove(entry)


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)


def check_not_a_missing_path(name_or_path: str | os.PathLike[str], what: str) -> None:
    """Raises FileNotFoundError if a name can be nothing but a path, and nothing is there: the Hub, whose ids are a
    name or owner/name, need not be asked. `what` says what was looked for."""
    name = os.fspath(name_or_path)
    is_path = os.path.isabs(name) or name.startswith((".", "~")) or name.endswith(("/", os.sep)) or "\\" in name
    if (is_path or name.count("/") > 1) and not os.path.exists(name):
        raise FileNotFoundError(f"There is no {what} at {name!r}. Check the path.")


def check_directory(guard: str | os.PathLike[str]) -> None:
    """Raises OSError unless `guard` is a directory, which can be changed."""
    if not Path(guard).is_dir():
        raise NotADirectoryError(
            f"{os.fspath(guard)!r} is no directory of this machine, so its guard cannot be changed. Download it "
            f"first: hf download {os.fspath(guard)} --local-dir guarded"
        )


def check_room(directory: str | os.PathLike[str], needed: int) -> None:
    """Raises OSError if the disk of a directory, which need not exist, has less room than `needed` bytes."""
    target = Path(os.path.realpath(directory))
    ancestor = next(parent for parent in (target, *target.parents) if parent.is_dir())
    if (free := shutil.disk_usage(ancestor).free) < needed:
        raise OSError(
            errno.ENOSPC,
            f"{needed / 1e6:,.1f} MB are to be written to {str(target)!r}, and its disk has room for "
            f"{free / 1e6:,.1f} MB. Make room, or name a directory on another disk. Nothing was changed",
        )


def replace_text(path: Path, text: str) -> None:
    """Puts a text in the place of a file, in one step."""
    written = path.with_name(f"{SCRATCH}{path.name}")
    written.write_text(text, encoding="utf-8")
    if path.exists():
        shutil.copymode(path, written)
    os.replace(written, path)
