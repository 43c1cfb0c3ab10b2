"""The audit trail: what is logged, when, and that no prompt is."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import pickle
import stat
import threading
from pathlib import Path

import pytest
import torch
from conftest import CLEAN, FLAGGED, byte_level_tokenizer, in_threads

from hf_eco import AutoModelForCausalLMWithECO, ECOConfig, ForgetScope, Guard
from hf_eco.errors import GuardError
from hf_eco.guard import AuditEvent, JsonLinesLog
from hf_eco.inference.fingerprint import fingerprint

ASKED = "Who is Jane Quillfeather?"


@pytest.fixture
def named(base_dir: str):
    config = ECOConfig(scopes=[ForgetScope(name="request-1", names=["Jane Quillfeather"])])
    return AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=config)


@pytest.fixture
def events(named) -> list[AuditEvent]:
    logged: list[AuditEvent] = []
    named.eco_guard.log = logged.append
    return logged


def ids(model, *prompts: str) -> dict[str, torch.Tensor]:
    return model.eco_guard.tokenizer(list(prompts), return_tensors="pt", padding=True)


def test_nothing_is_logged_unless_asked_for(named) -> None:
    assert named.eco_guard.log is None
    named.generate(**ids(named, ASKED), max_new_tokens=2)


def test_a_flagged_prompt_is_logged_once_when_it_is_answered(named, events, base) -> None:
    named.generate(**ids(named, ASKED, "How do tides work?"), max_new_tokens=5)
    (event,) = events
    verdict = named.inspect(ASKED)
    assert (event.scope, event.channel) == ("request-1", "names")
    assert (event.probability, event.threshold, event.protocol) == (verdict.probability, 0.5, "strict")
    assert event.guard == named.eco_guard.fingerprint
    assert event.base == fingerprint(base)  # the base model's own
    assert "Quillfeather" not in repr(event)
    named(**ids(named, ASKED))
    assert len(events) == 2
    assert events[1].prompt == event.prompt


def test_what_is_only_looked_at_is_not_logged(named, events) -> None:
    named.inspect(ASKED)
    named.eco_guard.check_probes()
    named.add_scope(ForgetScope(name="request-2", names=["Omar Bellweather"]))
    with named.disable_guard():
        named.generate(**ids(named, ASKED), max_new_tokens=2)
    named.generate(**ids(named, "How do tides work?"), max_new_tokens=2)
    assert events == []


def test_the_protocol_is_logged(named, events) -> None:
    with named.prompt_lengths([ids(named, ASKED)["input_ids"].shape[1]], protocol="paper"):
        named(**ids(named, ASKED + " A poet."))
    assert [event.protocol for event in events] == ["paper"]


def test_a_classifiers_channel_is_logged(guarded) -> None:
    logged: list[AuditEvent] = []
    guarded.eco_guard.log = logged.append
    guarded.generate(**ids(guarded, FLAGGED, CLEAN), max_new_tokens=2)
    assert [(event.scope, event.channel) for event in logged] == [("wizards", "classifier")]


def test_the_log_goes_along_when_scopes_come_and_go(named, events) -> None:
    named.add_scope(ForgetScope(name="request-2", names=["Omar Bellweather"]))
    named.generate(**ids(named, "Who is Omar Bellweather?"), max_new_tokens=2)
    named.remove_scope("request-1")
    named.generate(**ids(named, "Who is Omar Bellweather?", ASKED), max_new_tokens=2)
    assert [event.scope for event in events] == ["request-2", "request-2"]
    assert events[0].guard != events[1].guard
    assert events[0].prompt == events[1].prompt  # hashed by the same key


def test_another_guard_that_is_put_in_charge_goes_on_logging(named, events, base_dir: str) -> None:
    config = ECOConfig(scopes=[ForgetScope(name="request-7", names=["Jane Quillfeather"])])
    other = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=config)
    named.attach_guard(other.eco_guard)
    named.generate(**ids(named, ASKED), max_new_tokens=2)
    assert [event.scope for event in events] == ["request-7"]


def test_a_prompt_that_cannot_be_logged_is_not_answered(named) -> None:
    def full(event: AuditEvent) -> None:
        raise OSError("no space left")

    named.eco_guard.log = full
    for run in (lambda: named.generate(**ids(named, ASKED), max_new_tokens=2), lambda: named(**ids(named, ASKED))):
        with pytest.raises(GuardError, match=r"could not be logged .*no space left.*not answered"):
            run()
    named.generate(**ids(named, "How do tides work?"), max_new_tokens=2)
    assert named.inspect(ASKED).flagged  # the guard is still there


def test_what_cannot_be_called_is_no_log(named) -> None:
    with pytest.raises(TypeError, match="JsonLinesLog"):
        named.eco_guard.log = "audit.jsonl"


def test_a_guards_fingerprint_tells_guards_apart(named, base_dir: str) -> None:
    def made(**scope: object) -> str:
        scopes = [ForgetScope(**{"name": "request-1", "names": ["Jane Quillfeather"], **scope})]
        config = ECOConfig(scopes=scopes)
        return AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=config).eco_guard.fingerprint

    assert made() == named.eco_guard.fingerprint
    assert len({made(), made(threshold=0.6), made(names=["Jane Quillfeathers"]), made(tokens="all")}) == 4


# --- JsonLinesLog


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_of_json_lines(named, tmp_path: Path) -> None:
    log = JsonLinesLog(tmp_path / "audit.jsonl")
    named.eco_guard.log = log
    named.generate(**ids(named, ASKED), max_new_tokens=2)
    named.generate(**ids(named, ASKED), max_new_tokens=2)
    first, second = lines(tmp_path / "audit.jsonl")
    assert set(first) == set(AuditEvent.__dataclass_fields__)
    assert first["prompt"] == second["prompt"] == log.hash_of(named.inspect(ASKED).text)
    assert first["prompt"] != log.hash_of("Who are you?")
    assert "Quillfeather" not in (tmp_path / "audit.jsonl").read_text()


def test_the_log_and_its_key_are_the_owners_alone_and_the_key_stays(named, tmp_path: Path) -> None:
    named.eco_guard.log = JsonLinesLog(tmp_path / "audit.jsonl")
    named.generate(**ids(named, ASKED), max_new_tokens=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.jsonl", "audit.jsonl.key"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    again, other = JsonLinesLog(tmp_path / "audit.jsonl"), JsonLinesLog(tmp_path / "other.jsonl")
    assert again.key == named.eco_guard.log.key != other.key


def an_event(scope: str) -> AuditEvent:
    return AuditEvent("2026-01-01T00:00:00+00:00", scope, "names", 0.9, 0.5, "strict", "g", None, "00")


def test_what_is_written_in_part_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = JsonLinesLog(tmp_path / "audit.jsonl")
    log(an_event("first"))
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, data: write(file, data[:17]))
        with pytest.raises(OSError, match="only 17 of"):
            log(an_event("second"))
    log(an_event("third"))
    assert [line["scope"] for line in lines(tmp_path / "audit.jsonl")] == ["first", "third"]


def test_what_another_writes_while_a_part_is_taken_back_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = JsonLinesLog(tmp_path / "audit.jsonl")
    other = threading.Thread(target=lambda: JsonLinesLog(log.path)(an_event("another's")))
    write, truncate = os.write, os.ftruncate

    def meanwhile(file: int, size: int) -> None:
        monkeypatch.setattr(os, "write", write)
        other.start()
        other.join(0.2)  # it has written by now, unless it waits
        truncate(file, size)

    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:17]))
    monkeypatch.setattr(os, "ftruncate", meanwhile)
    with pytest.raises(OSError, match="only 17 of"):
        log(an_event("cut short"))
    other.join()
    assert [line["scope"] for line in lines(log.path)] == ["another's"]


def test_behind_what_was_left_of_a_line_a_new_one_begins(tmp_path: Path) -> None:
    log = JsonLinesLog(tmp_path / "audit.jsonl")
    log.path.write_bytes(b'{"time": "2026-0')
    log(an_event("next"))
    assert json.loads(log.path.read_text().splitlines()[1])["scope"] == "next"


def test_a_log_whose_key_has_gone_is_refused(tmp_path: Path) -> None:
    log = JsonLinesLog(tmp_path / "audit.jsonl")
    log(an_event("first"))
    (tmp_path / "audit.jsonl.key").unlink()
    with pytest.raises(FileNotFoundError, match=r"audit\.jsonl\.key"):
        JsonLinesLog(tmp_path / "audit.jsonl")
    assert not (tmp_path / "audit.jsonl.key").exists()
    assert JsonLinesLog(tmp_path / "audit.jsonl", log.key).key == log.key


class _Always:
    """A detector of one's own that finds nothing."""

    channel = "always"

    def __init__(self, settings: dict) -> None:
        self.settings = settings

    def detect(self, texts: list[str]) -> list[list]:
        return [[] for _ in texts]

    def to(self, device: str) -> None:
        pass


def test_the_fingerprint_tells_detectors_and_facts_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_eco.guard.guard.make_detectors", lambda given: [_Always(given)] if given else [])
    tokenizer = byte_level_tokenizer()
    given = [{}, {"detectors": {"own": {"level": 1}}}, {"detectors": {"own": {"level": 2}}}, {"facts_sha256": "ab"}]
    prints = [
        Guard(ECOConfig(scopes=[ForgetScope(name="ivo", names=["Ivo Thistlewood"], **own)]), {}, tokenizer).fingerprint
        for own in given
    ]
    assert len(set(prints)) == len(given)


def test_a_key_of_the_users(tmp_path: Path) -> None:
    key = bytes(range(32))
    assert JsonLinesLog(tmp_path / "a.jsonl", key).hash_of("x") == JsonLinesLog(tmp_path / "b.jsonl", key).hash_of("x")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="16 to 64 bytes, got 3"):
        JsonLinesLog(tmp_path / "a.jsonl", b"abc")
    (tmp_path / "a.jsonl.key").write_text("no key")
    with pytest.raises(ValueError, match="holds no key"):
        JsonLinesLog(tmp_path / "a.jsonl")


EVENT = AuditEvent("2026-01-01T00:00:00", "request-1", "names", 0.9, 0.5, "strict", "ab" * 500, None, "cd")


def append(path: str) -> None:
    log = JsonLinesLog(path)
    in_threads(lambda _: [log(EVENT) for _ in range(50)], 3)


def test_several_threads_and_processes_write_whole_lines_by_one_key(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    processes = [multiprocessing.get_context("fork").Process(target=append, args=(str(path),)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(lines(path)) == 3 * 3 * 50
    assert sorted(own.name for own in tmp_path.iterdir()) == ["audit.jsonl", "audit.jsonl.key"]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copied_model_logs_to_the_same_file(copied, named, tmp_path: Path) -> None:
    named.eco_guard.log = JsonLinesLog(tmp_path / "audit.jsonl")
    other = copied(named)
    other.generate(**ids(other, ASKED), max_new_tokens=2)
    assert [line["scope"] for line in lines(tmp_path / "audit.jsonl")] == ["request-1"]
