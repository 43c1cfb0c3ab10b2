"""A directory is the old one or the new one, whole, whatever happens to who writes it. Real processes are killed."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CLEAN, FLAGGED
from test_cli import run  # noqa: F401 - a fixture

from hf_eco import AutoModelForCausalLMWithECO, CorruptionConfig, ForgetScope
from hf_eco.checkpoint import read_guard
from hf_eco.checkpoint.source import find_guard
from hf_eco.checkpoint.writing import rewrite_eco
from hf_eco.io import directories
from hf_eco.io.directories import changing
from hf_eco.training import (
    add_scopes_to_guard,
    guard_by_names,
    remove_scopes_from_guard,
)

NAMED = ForgetScope(name="jane", names=["Jane Dorrington"])
EVENTS = ("open", "os.", "shutil.", "ctypes.call_function", "pathlib.")


def state(directory: Path) -> dict[str, bytes] | None:
    """What a directory holds, but what is there for the time of a change."""
    if not directory.exists():
        return None
    files = (path for path in directory.rglob("*") if path.is_file())
    relative = {path.relative_to(directory).as_posix(): path for path in files}
    return {name: path.read_bytes() for name, path in relative.items() if ".hf-eco-" not in name}


def in_a_process(work: Callable[[], Any], dies_at: int | None = None) -> tuple[int, int]:
    """Runs `work` in a process of its own, which is killed (kill -9) when it asks the system for the `dies_at`-th
    time to do something to files.

    Returns:
        Its status, negative for a signal, and how often it has asked.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        count = 0

        def hook(event: str, _: tuple[Any, ...]) -> None:
            nonlocal count
            if event.startswith(EVENTS):
                count += 1
                if count == dies_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        status = 1
        try:
            sys.addaudithook(hook)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os.write(writing, str(count).encode())
            os._exit(status)
    os.close(writing)
    told = os.read(reading, 99)
    os.close(reading)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), int(told or b"0")


@pytest.fixture
def old(guarded, tmp_path) -> Path:
    """A guarded checkpoint, with something beside it that is the user's own."""
    guarded.add_scope(NAMED)
    guarded.save_pretrained(tmp_path / "there" / "guarded")
    (tmp_path / "there" / "guarded" / "notes").mkdir()
    (tmp_path / "there" / "guarded" / "notes" / "mine.txt").write_text("mine")
    return tmp_path / "there" / "guarded"


def save_changed(directory: Path, guarded: Any) -> None:
    """Other weights, one classifier more, a scope by names less."""
    with torch.no_grad():
        for parameter in guarded.parameters():
            parameter.add_(1.0)
    classifier = guarded.eco_guard.classifiers["wizards"]
    guarded.remove_scope("jane")
    guarded.add_scope(ForgetScope(name="others", classifier="given"), classifier=classifier)
    guarded.save_pretrained(directory)


def add_by_classifier(directory: Path, guarded: Any) -> None:
    classifier = guarded.eco_guard.classifiers["wizards"]
    add_scopes_to_guard(directory, [ForgetScope(name="others", classifier="given")], {"others": classifier})


def add_by_name(directory: Path, guarded: Any) -> None:
    add_scopes_to_guard(directory, [ForgetScope(name="john", names=["John Farthingale"])])


def remove_by_classifier(directory: Path, guarded: Any) -> None:
    remove_scopes_from_guard(directory, ["wizards"])


def tune(directory: Path, guarded: Any) -> None:
    """What `tune` and `calibrate --write` write, without the search."""
    with changing(directory) as scratch:
        eco = find_guard(str(directory)).eco
        eco.scope("wizards").corruption = CorruptionConfig(strength=7.0)
        rewrite_eco(directory, eco, scratch)


def save_guard(directory: Path, guarded: Any) -> None:
    guarded.save_guard(directory)


CHANGES = [save_changed, save_guard, add_by_classifier, add_by_name, remove_by_classifier, tune]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_killed_at_any_moment_it_leaves_the_old_or_the_new_directory_and_the_next_run_finishes(
    change, guarded, old, tmp_path
) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(old, kept)
    before = state(old)
    status, moments = in_a_process(lambda: change(old, guarded))
    assert status == 0 and moments > 10
    after = state(old)
    assert after != before and after["notes/mine.txt"] == b"mine"
    assert [entry.name for entry in old.parent.iterdir()] == ["guarded"]  # nothing is left beside it
    seen = set()
    for moment in sorted({*range(moments - 2, moments + 1), *range(1, moments, 1 + moments // 7)}):
        shutil.rmtree(old.parent)
        shutil.copytree(kept, old)
        status, _ = in_a_process(lambda: change(old, guarded), dies_at=moment)
        left = state(old)
        assert status == -signal.SIGKILL and left in (before, after), moment
        seen.add(left == after)
        if left != after:  # of what adds a scope, the next run would say that it is there
            status, _ = in_a_process(lambda: change(old, guarded))
            assert status == 0 and state(old) == after and [e.name for e in old.parent.iterdir()] == ["guarded"]
    assert False in seen


@pytest.mark.parametrize("there", [False, True], ids=["new", "replaced"])
def test_a_guard_that_is_killed_while_it_is_made_leaves_the_old_directory_or_none(there, base_dir, tmp_path) -> None:
    output = tmp_path / "there" / "guarded"

    def make(name: str = "Jane Dorrington") -> None:
        guard_by_names(base_dir, {"request": [name]}, output, overwrite=True)

    if there:
        make("John Farthingale")
    before = state(output)
    output.parent.mkdir(exist_ok=True)
    shutil.copytree(output.parent, tmp_path / "kept")
    status, moments = in_a_process(make)
    assert status == 0 and moments > 10
    for moment in range(1, moments, 1 + moments // 5):
        shutil.rmtree(output.parent)
        shutil.copytree(tmp_path / "kept", output.parent)
        in_a_process(make, dies_at=moment)
        left = state(output)
        assert left == before or "Jane Dorrington" in next(v.decode() for k, v in left.items() if "eco_scopes" in k)
    make()
    assert [entry.name for entry in output.parent.iterdir()] == ["guarded"]


@pytest.mark.parametrize("damage", ["cut short", "no config", "left over"])
def test_a_damaged_directory_is_recognised_and_replaced(damage, base_dir, tmp_path) -> None:
    guard_by_names(base_dir, {"request": ["John Farthingale"]}, tmp_path / "guarded")
    config = tmp_path / "guarded" / "config.json"
    if damage == "cut short":
        config.write_text(config.read_text()[:99])
    elif damage == "no config":
        config.unlink()
    else:
        (tmp_path / "guarded" / ".hf-eco-config.json").write_text("{")
    model = guard_by_names(base_dir, {"request": ["Jane Dorrington"]}, tmp_path / "guarded", overwrite=True)
    assert model.name_or_path == str(tmp_path / "guarded")
    assert read_guard(str(tmp_path / "guarded")).inspect(["Who is Jane Dorrington?"])[0].flagged
    config.unlink()
    model.save_pretrained(tmp_path / "guarded")
    assert read_guard(str(tmp_path / "guarded"))


def test_a_base_model_is_not_mistaken_for_a_damaged_guard(base_dir, tmp_path) -> None:
    shutil.copytree(base_dir, tmp_path / "base")
    (tmp_path / "base" / "config.json").write_text("{")
    with pytest.raises(FileExistsError, match="holds something else"):
        guard_by_names(base_dir, {"request": ["Jane Dorrington"]}, tmp_path / "base")


def test_without_an_exchange_in_one_step_the_next_run_finds_the_old_directory(guarded, old, monkeypatch) -> None:
    monkeypatch.setattr(directories, "_exchange", lambda one, other: False)
    before = state(old)
    monkeypatch.setattr(Path, "rename", dies_at_the_second(Path.rename))
    assert in_a_process(lambda: guarded.save_pretrained(old))[0] == -signal.SIGKILL
    monkeypatch.undo()
    assert not old.exists()
    with changing(old):
        assert state(old) == before


def dies_at_the_second(rename: Callable[..., Any]) -> Callable[..., Any]:
    calls: list[Path] = []

    def renamed(self: Path, target: Path) -> Any:
        calls.append(self)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)

    return renamed


# -- the world around


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if done.returncode != 0:
        pytest.skip("mounting is not allowed here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def one_line(error: BaseException) -> str:
    assert "\n" not in str(error)
    return str(error)


def test_a_full_disk_is_said_before_anything_is_written(guarded, small_disk) -> None:
    guarded.save_guard(small_disk / "guarded")
    before = state(small_disk / "guarded")
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 50_000))
    with pytest.raises(OSError, match=r"MB are to be written to .*room for .*Make room") as raised:
        guarded.save_pretrained(small_disk / "guarded")
    one_line(raised.value)
    assert state(small_disk / "guarded") == before and sorted(os.listdir(small_disk)) == ["filler", "guarded"]


@pytest.mark.parametrize("save", ["save_pretrained", "save_guard", "add_by_classifier"])
def test_a_disk_that_fills_up_meanwhile_loses_nothing(save, guarded, small_disk, monkeypatch) -> None:
    monkeypatch.setattr("hf_eco.modeling.check_room", lambda directory, needed: None)
    directory = small_disk / "guarded"
    guarded.save_guard(directory)
    before = state(directory)
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 40_000))
    with pytest.raises(OSError, match=r"No space|could not be written|[Ss]pace"):
        add_by_classifier(directory, guarded) if save == "add_by_classifier" else getattr(guarded, save)(directory)
    assert state(directory) == before and sorted(os.listdir(small_disk)) == ["filler", "guarded"]
    (small_disk / "filler").unlink()
    guarded.save_guard(directory)


def test_a_file_that_may_not_grow_loses_nothing(guarded, old) -> None:
    before = state(old)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        with pytest.raises(OSError, match=r"could not be written|File too large"):
            guarded.save_pretrained(old)

    assert in_a_process(limited)[0] == 0
    assert state(old) == before and [entry.name for entry in old.parent.iterdir()] == ["guarded"]


def test_a_read_only_disk_is_said_in_one_line(guarded, small_disk, run) -> None:  # noqa: F811
    guarded.save_guard(small_disk / "guarded")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OSError, match=r"Nothing can be written to .*Name another directory") as raised:
        guarded.save_pretrained(small_disk / "guarded")
    one_line(raised.value)
    status, _, said = run("scopes", "add", str(small_disk / "guarded"), "--scope", "x", "--name", "Jane Dorrington")
    assert status == 1 and said.startswith("Error: Nothing can be written") and said.count("\n") == 1
    assert read_guard(str(small_disk / "guarded"))


def test_a_mounted_directory_is_rewritten_in_place(guarded, small_disk) -> None:
    (small_disk / "mine.txt").write_text("mine")
    guarded.save_pretrained(small_disk)
    add_by_classifier(small_disk, guarded)
    assert {"mine.txt", "classifier-wizards"} <= set(os.listdir(small_disk)) and not list(small_disk.glob(".hf-eco*"))
    loaded = AutoModelForCausalLMWithECO.from_pretrained(small_disk)
    assert [scope.name for scope in loaded.config.eco.scopes] == ["wizards", "others"]
    assert loaded.inspect(FLAGGED).flagged and not loaded.inspect(CLEAN).flagged
    loaded.remove_scope("others")
    loaded.save_pretrained(small_disk)
    assert len(read_guard(str(small_disk)).config.scopes) == 1


def test_the_working_directory_is_rewritten_in_place(guarded, old, monkeypatch) -> None:
    monkeypatch.chdir(old)
    save_changed(Path("."), guarded)
    assert Path.cwd().samefile(old) and (old / "notes" / "mine.txt").exists()
    assert [scope.name for scope in read_guard(".").config.scopes] == ["wizards", "others"]


def test_of_two_writers_the_second_is_told_and_changes_nothing(guarded, base_dir, old, run) -> None:  # noqa: F811
    before = state(old)
    with changing(old):
        for save in (guarded.save_pretrained, guarded.save_guard):
            with pytest.raises(
                BlockingIOError, match=r"Another process is writing to .*guarded.*Wait until"
            ) as raised:
                save(old)
            one_line(raised.value)
    other = old.parent / "other"
    with changing(other):
        status, _, said = run("guard", base_dir, "--name", "Jane Dorrington", "-o", str(other))
        assert status == 1 and "Another process is writing" in said and said.count("\n") == 1
    assert state(old) == before and not other.exists()


def test_a_change_of_scopes_waits_for_another_and_finds_the_directory_that_took_its_place(guarded, old) -> None:
    def add() -> None:
        add_by_name(old, guarded)

    with changing(old) as scratch:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                add()
                status = 0
            finally:
                os._exit(status)
        time.sleep(0.3)
        with directories.rewriting(old, lambda name: False, last="config.json", scratch=scratch) as staged:
            (staged / "new.txt").write_text("new")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (old / "new.txt").exists() and [s.name for s in find_guard(str(old)).eco.scopes][-1] == "john"


def test_a_symlinked_directory_and_symlinked_folders_are_written_through_or_replaced(guarded, old, tmp_path) -> None:
    (tmp_path / "link").symlink_to(old, target_is_directory=True)
    shared = tmp_path / "shared"
    (old / "classifier-wizards").rename(shared)
    (old / "classifier-wizards").symlink_to(shared, target_is_directory=True)
    before = state(shared)
    save_changed(tmp_path / "link", guarded)
    assert (tmp_path / "link").is_symlink() and state(shared) == before  # it is not ours alone
    remove_scopes_from_guard(tmp_path / "link", ["wizards"])
    assert [scope.name for scope in read_guard(str(old)).config.scopes] == ["others"] and state(shared) == before


def test_a_missing_folder_of_a_scope_that_goes_is_not_missed(guarded, old) -> None:
    shutil.rmtree(old / "classifier-wizards")
    remove_scopes_from_guard(old, ["wizards"])
    assert [scope.name for scope in read_guard(str(old)).config.scopes] == ["jane"]


def test_a_lock_that_a_killed_process_has_left_is_no_lock(guarded, old) -> None:
    scratch = old.parent / ".hf-eco-guarded"
    scratch.mkdir()
    (scratch / "staged").mkdir()
    guarded.save_pretrained(old)
    assert not scratch.exists()
    with changing(old) as held:
        descriptor = os.open(held, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
    assert json.loads((old / "config.json").read_text())["model_type"] == "eco"
