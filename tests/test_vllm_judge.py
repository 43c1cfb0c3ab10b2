"""The part of the vLLM plugin that judges, which needs no vLLM."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from conftest import CLEAN, FLAGGED

from hf_eco import AutoModelForCausalLMWithECO, CorruptionConfig, ForgetScope
from hf_eco.corruption import corrupt, corruption_methods
from hf_eco.errors import GuardError
from hf_eco.serving.vllm.attestation import KEY, attestation, check_attested
from hf_eco.serving.vllm.front_end import BeamPrompt, _prompt_of, check_corruption
from hf_eco.serving.vllm.judge import Judge
from hf_eco.serving.vllm.parts import PART, corrupted_rows, parts_of


class Counting:
    """A guard that says how often it is asked, and stumbles over token 7."""

    def __init__(self, guard: Any) -> None:
        self.guard = guard
        self.asked: list[list[tuple[int, ...]]] = []
        self.begun, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.guard, name)

    def decide(self, prompts: Sequence[tuple[int, ...]]) -> Any:
        self.asked.append(list(prompts))
        self.begun.set()
        self.gate.wait(60)
        if any(7 in prompt for prompt in prompts):
            raise GuardError("no")
        return self.guard.decide(prompts)


@pytest.fixture
def guard(guarded: Any) -> Counting:
    return Counting(guarded.eco_guard)


def test_a_prompt_is_judged_once(guard: Counting) -> None:
    judge = Judge(guard)  # type: ignore[arg-type]
    flagged, clean = (guard.reader.encode(text) for text in (FLAGGED, CLEAN))
    assert [judge.judge(ids).verdict.scope for ids in (flagged, clean, flagged, clean)] == ["wizards", None] * 2
    assert guard.asked == [[tuple(flagged)], [tuple(clean)]]


def test_prompts_that_wait_are_judged_together_and_one_that_fails_fails_alone(guard: Counting) -> None:
    took: list[int] = []
    judge = Judge(guard, lambda seconds, prompts: took.append(prompts))  # type: ignore[arg-type]
    flagged, clean = (guard.reader.encode(text) for text in (FLAGGED, CLEAN))
    guard.gate.clear()
    first = judge.submit([5])
    assert guard.begun.wait(60)
    waiting: list[Future[Any]] = [judge.submit(ids) for ids in (flagged, clean, [7, 8], flagged)]
    guard.gate.set()
    first.result(60)
    assert [f.result(60).verdict.flagged for f in (waiting[0], waiting[1], waiting[3])] == [True, False, True]
    assert isinstance(waiting[2].exception(60), GuardError)
    assert guard.asked[1] == [tuple(flagged), tuple(clean), (7, 8)]
    assert took == [1, 3]
    asked = len(guard.asked)
    with pytest.raises(GuardError):
        judge.judge([7, 8])
    assert len(guard.asked) == asked


def test_what_is_wrong_with_a_prompt_is_remembered_in_no_more_room_each_time(guard: Counting) -> None:
    judge = Judge(guard)  # type: ignore[arg-type]
    depths = []
    for _ in range(5):
        with pytest.raises(GuardError) as refused:
            judge.judge([7, 8])
        depths.append(len(list(traceback.walk_tb(refused.value.__traceback__))))
    assert depths == [depths[0]] * 5 and len(guard.asked) == 2  # together, and alone


def test_a_failure_of_the_machine_is_not_held_against_a_prompt(guard: Counting) -> None:
    judge = Judge(guard)  # type: ignore[arg-type]
    decide, guard.decide = guard.decide, Mock(side_effect=MemoryError)  # type: ignore[method-assign]
    with pytest.raises(MemoryError):
        judge.judge([5])
    guard.decide = decide  # type: ignore[method-assign]
    assert not judge.judge([5]).verdict.flagged


def test_what_beams_generate_is_told_from_prompts_by_nothing_that_can_be_sent() -> None:
    beam = BeamPrompt({"type": "token", "prompt_token_ids": [5, 6, 7]}, 2)
    assert _prompt_of([5, 6, 7], beam) == [5, 6]
    assert _prompt_of([5, 6, 7], {**beam, "given": 2, "hf_eco_prompt_tokens": 2}) == [5, 6, 7]


def test_a_guard_that_workers_cannot_compute_never_takes_over(guarded: Any, tmp_path: Any) -> None:
    size = guarded.config.hidden_size
    guarded.save_guard(tmp_path / "guard", base_model="base")
    check = lambda guard: check_corruption(guard, corruption_methods(), size)  # noqa: E731
    judge = Judge(guarded.eco_guard, check=check)
    judge.follow(str(tmp_path / "guard"), every=0)
    ids = guarded.eco_guard.reader.encode(FLAGGED)
    assert judge.judge(ids).verdict.flagged
    file = tmp_path / "guard" / "config.json"
    config = json.loads(file.read_text())
    how = config["eco"]["scopes"][0]["corruption"]
    how["dims"] = size + 1
    file.write_text(json.dumps(config))
    before = judge.guard
    assert judge.judge(ids).verdict.flagged
    assert judge.guard is before and judge.follower is not None and "Use dims=None" in str(judge.follower.error)
    with pytest.raises(ValueError, match="was not registered when the server was started"):
        check_corruption(guarded.eco_guard, [], size)


def test_another_guard_judges_anew(guard: Counting, guarded: Any) -> None:
    judge = Judge(guard)  # type: ignore[arg-type]
    ids = guard.reader.encode("Who is Jane Quillfeather?")
    assert not judge.judge(ids).verdict.flagged
    guarded.add_scope(ForgetScope("jane", names=["Jane Quillfeather"]))
    judge.put_in_charge(guarded.eco_guard)
    judged = judge.judge(ids)
    assert judged.verdict.scope == "jane" and judged.guard is guarded.eco_guard


def test_a_guard_on_disk_is_followed(guarded: Any, tmp_path: Any) -> None:
    guarded.save_guard(tmp_path / "guard", base_model="base")
    judge = Judge(guarded.eco_guard)
    judge.follow(str(tmp_path / "guard"), every=0)
    ids = guarded.eco_guard.reader.encode("Who is Jane Quillfeather?")
    assert not judge.judge(ids).verdict.flagged
    guarded.add_scope(ForgetScope("jane", names=["Jane Quillfeather"]))
    guarded.save_guard(tmp_path / "guard", base_model="base")
    assert judge.judge(ids).verdict.scope == "jane"


@pytest.mark.parametrize("method", corruption_methods())
def test_parts_give_the_rows_of_the_whole_prompt(method: str) -> None:
    torch.manual_seed(0)
    length = 2 * PART + 50
    ids = torch.randint(0, 1000, (length,))
    selected = torch.rand(length) < 0.4
    selected[PART : 2 * PART] = False  # a part without any
    embeddings = torch.randn(1000, 16)
    how = CorruptionConfig(method=method, dims=8, strength=3.0, seed=5)
    options = {"dims": 8, "strength": 3.0, "seed": 5}
    whole = corrupt(embeddings[ids][None], selected[None], method, token_ids=ids[None], **options)[0]
    parts = parts_of(ids.tolist(), selected.nonzero().squeeze(-1).tolist(), how, None)
    assert len(parts) == 2
    rows = embeddings[ids].clone()
    for part in parts:
        assert len(part.given) <= PART
        places = part.first + part.given.nonzero().squeeze(-1)
        rows[places] = corrupted_rows(embeddings[part.data["ids"]], **part.data)
    assert torch.equal(rows, whole)


def test_an_identifier_tells_parts_apart_by_all_that_decides_their_rows() -> None:
    how = CorruptionConfig(dims=4, strength=2.0, seed=1)
    same = [parts_of([5, 6, 7], [1, 2], how, None)[0].identifier for _ in range(2)]
    others = [
        parts_of([5, 6, 8], [1, 2], how, None),
        parts_of([5, 6, 7], [1], how, None),
        parts_of([9, 5, 6, 7], [2, 3], how, None),
        parts_of([5, 6, 7], [1, 2], CorruptionConfig(dims=4, strength=2.5, seed=1), None),
        parts_of([5, 6, 7], [1, 2], CorruptionConfig(dims=4, strength=2.0, seed=2), None),
        parts_of([5, 6, 7], [1, 2], CorruptionConfig(dims=5, strength=2.0, seed=1), None),
        parts_of([5, 6, 7], [1, 2], how, "adapter"),
    ]
    assert same[0] == same[1]
    assert len({same[0], *(parts[0].identifier for parts in others)}) == 1 + len(others)


def _request(**changes: Any) -> Any:
    feature = SimpleNamespace(
        modality="eco", identifier="eco-1", mm_position=SimpleNamespace(offset=1, length=2, is_embed=None)
    )
    params = SimpleNamespace(extra_args={KEY: attestation("checkpoint", "guard", [5, 6, 7], [feature], 3)})
    own = {"request_id": "r", "prompt_token_ids": [5, 6, 7], "prompt_embeds": None, "mm_features": [feature]}
    return SimpleNamespace(**{**own, "sampling_params": params, **changes})


def test_a_request_is_attested_by_all_that_the_engine_runs() -> None:
    check_attested(_request(), "checkpoint")
    moved = SimpleNamespace(modality="eco", identifier="eco-1", mm_position=SimpleNamespace(offset=0, length=2))
    for changes in (
        {"prompt_token_ids": [5, 6, 8]},
        {"prompt_token_ids": None},
        {"prompt_embeds": torch.zeros(1)},
        {"mm_features": None},
        {"mm_features": [moved]},
        {"sampling_params": None},
        {"sampling_params": SimpleNamespace(extra_args=None)},
        {"sampling_params": SimpleNamespace(extra_args={KEY: "clean"})},
        {"sampling_params": SimpleNamespace(extra_args={KEY: {"guard": "guard"}})},
    ):
        with pytest.raises(GuardError, match="was not judged"):
            check_attested(_request(**changes), "checkpoint")
    with pytest.raises(GuardError, match="was not judged"):
        check_attested(_request(), "another")


def test_a_saved_model_says_how_it_embeds(base_dir: str, eco_config: Any, tmp_path: Any) -> None:
    model = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=eco_config)
    model.save_pretrained(tmp_path / "whole")
    model.save_guard(tmp_path / "guard")
    for directory in ("whole", "guard"):
        loaded = AutoModelForCausalLMWithECO.from_pretrained(tmp_path / directory)
        probes = loaded.config.eco.embedding_probes
        rows = model.get_input_embeddings().weight[[probe.token_id for probe in probes]]
        assert len(probes) == 8
        assert torch.equal(torch.tensor([probe.values for probe in probes]), rows[:, :16].detach())


@pytest.mark.parametrize(("key", "value"), [("architectures", ["LlamaForCausalLM"]), ("model_type", "qwen2")])
def test_a_guarded_config_cannot_be_made_to_name_another_class(
    guarded: Any, tmp_path: Any, key: str, value: Any
) -> None:
    from transformers import AutoConfig

    guarded.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    with pytest.raises(GuardError, match=key):
        config.update({key: value})
    with pytest.raises(GuardError, match=key):
        setattr(config, key, value)
    setattr(config, key, getattr(config, key))  # what it is already
