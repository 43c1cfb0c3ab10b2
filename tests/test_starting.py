"""What needs no model is answered without torch and transformers: help, lists, and every wrong command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GUARD = str(Path(__file__).parent / "fixtures" / "format-v1" / "guard-only")
GUARD_IT = ["guard", "b", "--scope", "s", "--forget", "no.txt", "--retain", "r.txt", "-o", "o"]
CODE = """
import sys
sys.argv = ["hf-eco", *sys.argv[1:]]
from hf_eco.cli import main
try:
    main()
except SystemExit as ended:
    print("STATUS", ended.code or 0, *sorted({"torch", "transformers"} & set(sys.modules)), file=sys.stderr)
"""


def run_apart(*arguments: str, cwd: Path | None = None) -> tuple[list[str], str]:
    """(the exit status and which of the two libraries were imported, all that was printed)."""
    done = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, cwd=cwd)
    lines = done.stderr.splitlines()
    assert lines and lines[-1].startswith("STATUS "), done.stderr
    return lines[-1].split()[1:], done.stdout + "\n".join(lines[:-1])


COMMANDS = (
    "guard",
    "aliases",
    "train",
    "calibrate",
    "tune",
    "inspect",
    "demo",
    "app",
    "evaluate",
    "report",
    "push",
    "doctor",
)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["scopes", "--help"], *([command, "--help"] for command in COMMANDS)],
    ids=" ".join,
)
def test_help_is_given_without_torch(arguments: list[str]) -> None:
    status, said = run_apart(*arguments)
    assert status == ["0"] and said.strip()


def test_scopes_are_listed_without_torch() -> None:
    for form in ([], ["--json"]):
        status, said = run_apart("scopes", "list", GUARD, *form)
        assert status == ["0"] and "wizards" in said and "poisons" in said


def test_the_environment_is_looked_at_without_torch() -> None:
    status, said = run_apart("doctor")
    assert status == ["0"] and "transformers" in said and "device" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "No such command"),
        (["guard", "base"], "Missing option"),
        ([*GUARD_IT, "--dims", "x"], "--dims"),
        (
            [*GUARD_IT, "--threshold", "0.5", "--max-fpr", "0.1"],
            "would be ignored",
        ),
        (
            GUARD_IT,
            "There is no file",
        ),
        (["train", "-o", "clf"], "nothing to learn the scope from"),
        (["calibrate", GUARD, "--retain", "r.txt", "--scope", "wizards", "--max-fnr", "0.1"], "Pass --forget"),
        (["calibrate", GUARD, "--retain", "r.txt", "--scope", "nobody"], "No scope is called"),
        (["calibrate", GUARD, "--retain", "r.txt", "--scope", "wizards"], "There is no file"),
        (["tune", GUARD, "--prompts", "p.txt"], "Which scope is meant"),
        (["tune", GUARD, "--prompts", "p", "--surrogate", "refusals", "--look-alikes", "l"], "Name one surrogate"),
        (["scopes", "add", GUARD, "--scope", "s", "--classifier", "c"], "A scope needs a threshold"),
        (["scopes", "remove", GUARD, "nobody"], "No scope is called"),
        (["scopes", "list", "/no/such/guard"], "There is no model or guard"),
        (["evaluate", GUARD, "--task", "nonsense"], "Unknown task"),
        (["evaluate", GUARD, "--task", "prompts.txt"], "in the scope or not"),
        (["report", GUARD, "--forget", "no.txt"], "There is no file"),
        (["push", GUARD, "me/guard", "--base-model", "b"], "Pass --guard-only"),
        (["app", GUARD, "--space", "s", "--share"], "shows nothing"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_a_wrong_command_line_is_answered_without_torch(arguments: list[str], said: str, tmp_path: Path) -> None:
    status, printed = run_apart(*arguments, cwd=tmp_path)
    assert status in (["1"], ["2"]), printed
    assert said in " ".join(printed.split())
    assert not list(tmp_path.iterdir())
