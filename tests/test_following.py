"""A running model follows a guard on disk: the old version or the new one, never half, and never in silence."""

from __future__ import annotations

import copy
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import byte_level_tokenizer, in_threads
from transformers import LlamaForCausalLM

from hf_eco import AutoModelForCausalLMWithECO, ECOConfig, ForgetScope, GuardError, PromptClassifier
from hf_eco.checkpoint import following
from hf_eco.training import add_scopes_to_guard, remove_scopes_from_guard

JANE = ForgetScope(name="request-1", names=["Jane Quillfeather"])
OMAR = ForgetScope(name="request-2", names=["Omar Bellweather"])
ABOUT_JANE, ABOUT_OMAR = "Who is Jane Quillfeather?", "Who is Omar Bellweather?"


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(following.logger, "propagate", True)
    monkeypatch.setattr(logging.getLogger("hf_eco"), "propagate", True)
    return caplog


@pytest.fixture
def guard(base_dir: str, tmp_path: Path) -> Path:
    model = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=ECOConfig(scopes=[copy.deepcopy(JANE)]))
    model.save_guard(tmp_path / "guard")
    return tmp_path / "guard"


@pytest.fixture
def model(guard: Path):
    return AutoModelForCausalLMWithECO.from_pretrained(guard)


def errors(logged: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in logged.records if record.levelno >= logging.ERROR]


def test_a_new_version_takes_over_between_requests(model, guard: Path) -> None:
    with model.follow_guard(guard, every=0):
        assert model.inspect(ABOUT_OMAR).scope is None
        add_scopes_to_guard(guard, [OMAR])
        assert model.inspect(ABOUT_OMAR).scope == "request-2"
        remove_scopes_from_guard(guard, ["request-1"])
        ids = model.eco_guard.reader.encode(ABOUT_JANE)
        assert model.inspect(ABOUT_JANE).scope is None
        assert [scope.name for scope in model.config.eco.scopes] == ["request-2"]
        assert model.eco_guard.decide([ids])[0].scope is None


def test_it_is_looked_for_at_most_so_often(model, guard: Path) -> None:
    follower, now = model.follow_guard(guard, every=5.0), [100.0]
    follower._clock = lambda: now[0]
    follower._looked = 100.0
    add_scopes_to_guard(guard, [OMAR])
    now[0] = 104.9
    assert model.inspect(ABOUT_OMAR).scope is None
    now[0] = 105.0
    assert model.inspect(ABOUT_OMAR).scope == "request-2"


def test_it_is_looked_for_when_asked_to_alone(model, guard: Path) -> None:
    follower = model.follow_guard(guard, every=None)
    add_scopes_to_guard(guard, [OMAR])
    assert model.inspect(ABOUT_OMAR).scope is None
    assert follower.refresh()
    assert model.inspect(ABOUT_OMAR).scope == "request-2"


def test_after_the_end_nothing_is_followed(model, guard: Path) -> None:
    with model.follow_guard(guard, every=0) as follower:
        pass
    add_scopes_to_guard(guard, [OMAR])
    assert model.inspect(ABOUT_OMAR).scope is None
    with pytest.raises(GuardError, match="not followed any more"):
        follower.refresh()
    model.add_scope(OMAR)
    assert model.inspect(ABOUT_OMAR).scope == "request-2"


def break_scopes(guard: Path) -> None:
    next(guard.glob("eco_scopes-*")).unlink()


def break_tokenizer(guard: Path) -> None:
    """A guard that was saved with another tokenizer."""
    config = json.loads((guard / "config.json").read_text())
    tokenizer = byte_level_tokenizer(eos_token="<|im_end|>")
    tokenizer.add_tokens(["Bellweather"])
    base, eco = config["eco"]["base_model_name_or_path"], ECOConfig(scopes=[copy.deepcopy(OMAR)])
    AutoModelForCausalLMWithECO.from_pretrained(base, eco_config=eco, tokenizer=tokenizer).save_guard(guard)


def break_base(guard: Path) -> None:
    config = json.loads((guard / "config.json").read_text())
    config["eco"]["base_model_name_or_path"] = "someone/else"
    (guard / "config.json").write_text(json.dumps(config))


def break_config(guard: Path) -> None:
    (guard / "config.json").write_text('{"model_type": "eco"')


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (break_scopes, "not there"),
        (break_tokenizer, "another tokenizer"),
        (break_base, "base model 'someone/else'"),
        (break_config, "damaged"),
        (shutil.rmtree, "No such file"),
    ],
)
def test_a_version_that_cannot_be_trusted_never_takes_over_and_is_reported_each_time(
    damage, said: str, model, guard: Path, logged: pytest.LogCaptureFixture
) -> None:
    follower = model.follow_guard(guard, every=0)
    shutil.copytree(guard, guard.with_name("good"))
    damage(guard)
    if guard.exists() and damage is break_scopes:
        (guard / "config.json").touch()
    before = model.eco_guard
    for times in (2, 3):
        assert model.inspect(ABOUT_JANE).scope == "request-1"
        assert len(errors(logged)) == times  # eco_guard above has looked, too
    assert model.eco_guard is before
    assert said in str(follower.error) and all("stays in charge" in message for message in errors(logged))
    assert not follower.refresh()
    shutil.rmtree(guard, ignore_errors=True)
    shutil.copytree(guard.with_name("good"), guard)
    add_scopes_to_guard(guard, [OMAR])
    assert model.inspect(ABOUT_OMAR).scope == "request-2"
    assert follower.error is None and follower.refresh()


@pytest.mark.parametrize("wrong", ["no guard", "another tokenizer", "nothing"])
def test_what_cannot_be_followed_is_said_at_once_and_changes_nothing(wrong, model, guard: Path, base_dir: str) -> None:
    where = {"no guard": base_dir, "another tokenizer": guard, "nothing": guard / "missing"}[wrong]
    if wrong == "another tokenizer":
        break_tokenizer(guard)
    before = model.eco_guard
    with pytest.raises((OSError, ValueError)):
        model.follow_guard(where)
    assert model.eco_guard is before
    model.add_scope(OMAR)


def test_a_model_that_follows_is_changed_on_disk_alone(model, guard: Path) -> None:
    follower = model.follow_guard(guard)
    for change in (
        lambda: model.add_scope(OMAR),
        lambda: model.remove_scope("request-1"),
        lambda: model.attach_guard(model.eco_guard),
        lambda: model.follow_guard(guard),
    ):
        with pytest.raises(GuardError, match="follows the guard in"):
            change()
    assert model.inspect(ABOUT_JANE).scope == "request-1"
    follower.stop()
    model.attach_guard(model.eco_guard)


def test_classifiers_whose_files_are_the_same_are_not_loaded_again(guarded, tmp_path: Path, monkeypatch) -> None:
    guarded.add_scope(JANE)
    guarded.save_pretrained(tmp_path)
    loads, load = [], PromptClassifier.from_pretrained.__func__

    def counted(cls: Any, name: Any, **options: Any) -> Any:
        loads.append(options["subfolder"])
        return load(cls, name, **options)

    monkeypatch.setattr(PromptClassifier, "from_pretrained", classmethod(counted))
    follower = guarded.follow_guard(tmp_path, every=None)
    assert loads == ["classifier-wizards"]
    add_scopes_to_guard(tmp_path, [OMAR])
    assert follower.refresh() and loads == ["classifier-wizards"]
    assert guarded.inspect(ABOUT_OMAR).scope == "request-2"
    for file in (tmp_path / "classifier-wizards").iterdir():
        shutil.copyfile(file, tmp_path / "copy")
        (tmp_path / "copy").replace(file)
    assert follower.refresh() and loads == ["classifier-wizards"] * 2


def test_a_classifier_that_was_swapped_for_another_is_refused(guarded, tmp_path: Path, classifier_dir: str) -> None:
    guarded.save_pretrained(tmp_path)
    follower = guarded.follow_guard(tmp_path, every=None)
    (tmp_path / "classifier-wizards" / "model.safetensors").unlink()
    assert not follower.refresh()
    shutil.copyfile(Path(classifier_dir) / "model.safetensors", tmp_path / "classifier-wizards" / "model.safetensors")
    assert follower.refresh()


def test_requests_in_threads_see_a_whole_guard(model, guard: Path) -> None:
    model.follow_guard(guard, every=0)
    wrong: list[Any] = []

    def work(number: int) -> None:
        if number == 0:
            for n in range(6):
                add_scopes_to_guard(guard, [ForgetScope(name=f"x-{n}", names=[f"Quorbin Zelphwick{'abcdef'[n] * 3}"])])
            return
        for _ in range(30):
            try:
                verdict = model.inspect(ABOUT_JANE)
                wrong.extend([verdict] if verdict.scope != "request-1" else [])
            except Exception as error:  # shown below
                wrong.append(error)

    in_threads(work)
    assert not wrong
    assert len(model.eco_guard.config.scopes) == 7


def test_a_copy_follows_for_itself(model, guard: Path) -> None:
    model.follow_guard(guard, every=0)
    other = copy.deepcopy(model)
    model._eco.planner.follower.stop()
    add_scopes_to_guard(guard, [OMAR])
    assert other.inspect(ABOUT_OMAR).scope == "request-2"
    assert model.inspect(ABOUT_OMAR).scope is None


def test_what_the_model_says_of_its_base_stays(model, guard: Path, base_dir: str, tmp_path: Path) -> None:
    put_on = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=guard)
    put_on.follow_guard(guard, every=0)
    add_scopes_to_guard(guard, [OMAR])
    put_on.save_pretrained(tmp_path / "whole")
    assert (tmp_path / "whole" / "model.safetensors").exists()
    loaded = AutoModelForCausalLMWithECO.from_pretrained(tmp_path / "whole")
    assert isinstance(loaded, LlamaForCausalLM) and loaded.inspect(ABOUT_OMAR).scope == "request-2"


@pytest.mark.parametrize("every", [-1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(model, guard: Path, every: float) -> None:
    with pytest.raises(ValueError, match=f"every={every}"):
        model.follow_guard(guard, every=every)
