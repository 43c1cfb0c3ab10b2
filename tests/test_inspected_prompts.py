"""What `inspect` takes for a prompt, and what of it reaches a terminal."""

from __future__ import annotations

import collections
import json

import pytest
import torch
from conftest import CLEAN, FLAGGED

from hf_eco import GuardError
from hf_eco.cli.application import main
from hf_eco.io.terminal import printable

MESSAGE = {"role": "user", "content": FLAGGED}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (MESSAGE, True),
        (collections.UserDict(MESSAGE), True),
        ([MESSAGE], True),
        ([[MESSAGE]], [True]),
        ([[MESSAGE], [MESSAGE | {"content": CLEAN}], CLEAN], [True, False, False]),
        ((MESSAGE,), True),
    ],
    ids=str,
)
def test_messages_are_read_as_conversations_however_they_are_nested(guarded, given, expected):
    found = guarded.inspect(given)
    assert ([verdict.flagged for verdict in found] if isinstance(found, list) else found.flagged) == expected


@pytest.mark.parametrize(
    "given",
    [{"content": FLAGGED}, {}, [{"content": FLAGGED}], [FLAGGED, MESSAGE], [[FLAGGED]], {FLAGGED}, 3, None, b"who"],
    ids=str,
)
def test_what_is_no_prompt_is_a_type_error(guarded, given):
    with pytest.raises(TypeError, match="A prompt is a string"):
        guarded.inspect(given)
    with pytest.raises(TypeError):
        guarded.eco_guard.inspect(given)


@pytest.mark.parametrize(
    "given", ["who \ud800", MESSAGE | {"content": "\udc00"}, [[MESSAGE | {"content": ["\ud800"]}]]]
)
def test_half_a_surrogate_pair_is_a_value_error(guarded, given):
    with pytest.raises(ValueError, match="surrogate"):
        guarded.inspect(given)


@pytest.mark.parametrize("token", [10**400, -(10**400), float("nan"), 3.5, "5", None])
def test_what_is_no_token_id_is_a_value_error(guarded, token):
    with pytest.raises(ValueError, match="token id"):
        guarded.eco_guard.decide([[5, token]])


@pytest.mark.parametrize("token", [-1, 10**9, 2**40])
def test_ids_without_a_token_are_refused(guarded, token):
    with pytest.raises(GuardError, match="has no token of id"):
        guarded.eco_guard.decide([[5, token]])


@pytest.mark.parametrize(
    "ids",
    [torch.zeros(0, 4, dtype=torch.long), torch.tensor([[1.0, torch.nan]]), torch.tensor([1, 2])],
    ids=["no rows", "not a number", "one dimension"],
)
def test_ids_that_are_no_batch_are_a_value_error(guarded, ids):
    with pytest.raises(ValueError, match="Token ids are"):
        guarded.eco_guard.plan(ids)


# -- terminals

ESCAPES = "\x1b[2J\x1b]0;gone\x07 \x9b31m\u202e"


def test_what_a_terminal_would_obey_is_written_out():
    assert printable(f"a\tb\n{ESCAPES}é魔") == "a\tb\n\\x1b[2J\\x1b]0;gone\\x07 \\x9b31m\\u202eé魔"


@pytest.mark.parametrize("options", [[], ["--json"], ["--raw"]], ids=str)
def test_a_prompt_does_not_command_the_terminal_it_is_shown_on(guarded, tmp_path, monkeypatch, capsys, options):
    guarded.save_guard(tmp_path)
    monkeypatch.setattr("sys.argv", ["hf-eco", "inspect", str(tmp_path), FLAGGED + ESCAPES, *options])
    with pytest.raises(SystemExit) as status:
        main()
    shown = capsys.readouterr()
    assert status.value.code == 0 and not set(ESCAPES) & {*"\x1b\x07\x9b\u202e"} & set(shown.out + shown.err)
    if options == ["--json"]:
        assert json.loads(shown.out)[0]["prompt"] == FLAGGED + ESCAPES


def test_an_error_does_not_command_the_terminal_it_is_shown_on(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["hf-eco", "inspect", "nowhere" + ESCAPES, "who"])
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr()
    assert "nowhere" in shown.err and not {*"\x1b\x07\x9b\u202e"} & set(shown.out + shown.err)


def test_what_is_printed_of_a_verdict_commands_nothing(guarded):
    verdict = guarded.inspect(FLAGGED + ESCAPES)
    shown = repr(verdict) + str(verdict) + verdict.reason
    assert not {*"\x1b\x07\x9b\u202e"} & set(shown)
