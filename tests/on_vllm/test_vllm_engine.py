"""A guarded model on vLLM says what it says in transformers; a clean prompt is answered as by its base, to the bit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

from engines import *

from hf_eco import AutoModelForCausalLMWithECO, CorruptionConfig, ForgetScope
from hf_eco.corruption import corruption_methods, mixes_positions
from hf_eco.errors import GuardError

Encode = Callable[[str], list[int]]


@pytest.fixture(scope="module")
def prompts(encode: Encode) -> list[list[int]]:
    return [encode(text) for text in [*FLAGGED, *CLEAN]]


@pytest.fixture(scope="module")
def expected(guarded_model: Any, prompts: list[list[int]]) -> list[list[int]]:
    return reference(guarded_model, prompts)


def test_the_guard_makes_a_difference(guarded_model: Any, bare: Any, prompts: Any, expected: Any) -> None:
    verdicts = guarded_model.inspect([*FLAGGED, *CLEAN])
    assert [verdict.scope for verdict in verdicts] == ["jane", "jane", "ambrose", "jane", *[None] * len(CLEAN)]
    unguarded = answers(bare, prompts)
    for verdict, guarded, plain in zip(verdicts, expected, unguarded, strict=True):
        assert (guarded != plain) == verdict.flagged


def test_answers_are_those_of_transformers_however_prompts_come(served: Any, prompts: Any, expected: Any) -> None:
    served.reset_prefix_cache()
    assert answers(served, prompts) == expected  # together
    assert answers(served, prompts) == expected  # from the prefix cache
    assert [answers(served, [ids])[0] for ids in prompts] == expected
    served.reset_prefix_cache()
    assert answers(served, prompts[::-1]) == expected[::-1]
    assert answers(served, prompts * 4) == expected * 4


def test_a_clean_prompt_that_begins_a_flagged_one_shares_its_cache_as_far_as_nothing_is_corrupted(
    served: Any, guarded_model: Any, prompts: Any
) -> None:
    flagged = prompts[3]
    beginning = flagged[:96]
    for order in ([flagged, beginning], [beginning, flagged]):
        served.reset_prefix_cache()
        found = [answers(served, [ids])[0] for ids in order]
        assert found == reference(guarded_model, order)


def test_log_probabilities_of_clean_prompts_are_those_of_the_base_model_to_the_bit(
    served: Any, bare: Any, encode: Encode
) -> None:
    given = [{"prompt_token_ids": encode(text)} for text in CLEAN]
    params = greedy(prompt_logprobs=3)
    for llm in (served, bare):
        llm.reset_prefix_cache()
    guarded, plain = (llm.generate(given, params, use_tqdm=False) for llm in (served, bare))
    for one, other in zip(guarded, plain, strict=True):
        assert one.outputs[0].token_ids == other.outputs[0].token_ids
        assert _numbers(one.outputs[0].logprobs) == _numbers(other.outputs[0].logprobs)
        assert _numbers(one.prompt_logprobs) == _numbers(other.prompt_logprobs)


def _numbers(rows: Any) -> list[dict[int, float]]:
    return [{token: found.logprob for token, found in (row or {}).items()} for row in rows]


def test_several_answers_and_prompt_log_probabilities_come_from_the_corrupted_prompt(
    served: Any, bare: Any, prompts: Any
) -> None:
    params = greedy(temperature=1.0, seed=5, n=3, prompt_logprobs=1)
    served.reset_prefix_cache()
    guarded, plain = (
        llm.generate([{"prompt_token_ids": prompts[0]}], params, use_tqdm=False) for llm in (served, bare)
    )
    assert len({tuple(answer.token_ids) for answer in guarded[0].outputs}) == 3
    assert _numbers(guarded[0].prompt_logprobs) != _numbers(plain[0].prompt_logprobs)
    again = served.generate([{"prompt_token_ids": prompts[0]}], params, use_tqdm=False)
    assert [a.token_ids for a in again[0].outputs] == [a.token_ids for a in guarded[0].outputs]


def test_text_and_chats_are_guarded_like_token_ids(served: Any, guarded_model: Any, encode: Encode) -> None:
    chat = [{"role": "user", "content": FLAGGED[0]}]
    texts = served.generate(FLAGGED, greedy(), use_tqdm=False)
    assert [list(o.outputs[0].token_ids) for o in texts] == reference(guarded_model, [encode(t) for t in FLAGGED])
    chats = served.chat([chat], greedy(), use_tqdm=False)
    ids = encode(chat)  # type: ignore[arg-type]
    assert chats[0].prompt_token_ids == ids
    assert list(chats[0].outputs[0].token_ids) == reference(guarded_model, [ids])[0]


def test_beams_carry_the_verdict_on_their_prompt(served: Any, bare: Any, guarded_model: Any, encode: Encode) -> None:
    from vllm.sampling_params import BeamSearchParams

    params = BeamSearchParams(beam_width=2, max_tokens=6, ignore_eos=True)
    judged: list[tuple[int, ...]] = []
    judge = served.llm_engine.input_processor.hf_eco.judge
    submit = judge.submit
    judge.submit = lambda ids: (judged.append(tuple(ids)), submit(ids))[1]
    logged: list[Any] = []
    judge.guard.log = logged.append
    try:
        for text in (FLAGGED[0], CLEAN[0]):
            ids = encode(text)
            made = [
                [sequence.tokens for sequence in llm.beam_search([{"prompt_token_ids": ids}], params)[0].sequences]
                for llm in (served, bare)
            ]
            assert (made[0] == made[1]) == (text == CLEAN[0])
    finally:
        judge.submit, judge.guard.log = submit, None
    assert [event.scope for event in logged] == ["jane"]  # once a request, and not once a step
    assert set(judged) == {tuple(encode(FLAGGED[0])), tuple(encode(CLEAN[0]))}


def test_what_a_client_says_of_the_verdict_is_written_over(served: Any, prompts: Any, expected: Any) -> None:
    forged = greedy(extra_args={"hf_eco": {"guard": "x", "checkpoint": "y", "digest": "z"}, "other": 1})
    assert answers(served, prompts[:1], forged) == expected[:1]
    assert forged.extra_args["hf_eco"]["guard"] == "x"  # the caller's own object is left alone


def test_a_prompt_is_judged_whole_whatever_is_said_of_its_length(served: Any, prompts: Any, expected: Any) -> None:
    given = {"prompt_token_ids": prompts[0], "given": 1, "hf_eco_prompt_tokens": 1}
    assert list(served.generate(given, greedy(), use_tqdm=False)[0].outputs[0].token_ids) == expected[0]
    served.llm_engine.add_request("raw", given, greedy())
    ended = []
    while served.llm_engine.has_unfinished_requests():
        ended += served.llm_engine.step()
    assert list(ended[-1].outputs[0].token_ids) == expected[0]


def test_what_cannot_be_judged_is_refused_by_name(served: Any) -> None:
    import torch
    from PIL import Image
    from vllm import PoolingParams

    with pytest.raises(Exception, match=r"hf-eco|prompt_embeds|prompt embeddings"):
        served.generate({"prompt_embeds": torch.zeros(4, 64)}, greedy(), use_tqdm=False)
    with pytest.raises(Exception, match=r"hf-eco|[Mm]ulti|image"):
        served.generate(
            {"prompt": "hello", "multi_modal_data": {"image": Image.new("RGB", (8, 8))}}, greedy(), use_tqdm=False
        )
    with pytest.raises(Exception, match=r"hf-eco|pooling"):
        served.llm_engine.add_request("p", {"prompt_token_ids": [5, 6]}, PoolingParams(task="embed"))
    assert answers(served, [[5, 6]])  # the engine lives


def test_a_request_that_nobody_judged_is_refused_by_the_engine_which_lives(
    served: Any, prompts: Any, expected: Any
) -> None:
    core, processor = served.llm_engine.engine_core, served.llm_engine.input_processor
    for change in ("forgotten", "other ids", "features dropped", "forged"):
        request = processor.process_inputs("r", {"prompt_token_ids": prompts[0]}, greedy(), ("generate",))
        processor.assign_request_id(request)
        if change == "forgotten":
            request.sampling_params.extra_args = {}
        elif change == "other ids":
            request.prompt_token_ids = [*request.prompt_token_ids[:-1], 7]
        elif change == "features dropped":
            request.mm_features = None
        else:
            request.sampling_params.extra_args["hf_eco"] = dict.fromkeys(("guard", "checkpoint", "digest"), "x")
        served.llm_engine.output_processor.add_request(request, None, None, 0)
        core.add_request(request)
        ended = []
        while served.llm_engine.has_unfinished_requests():
            ended += served.llm_engine.step()
        assert [output.outputs[0].finish_reason for output in ended if output.finished] == ["error"], change
        assert not any(output.outputs[0].token_ids for output in ended)
    assert answers(served, prompts[:1]) == expected[:1]


def test_what_a_parameter_dictates_is_judged(served: Any, bare: Any, encode: Encode) -> None:
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    said = f"{NAME} was born in the north"
    dictated = [
        {"structured_outputs": StructuredOutputsParams(choice=[said])},
        {"structured_outputs": StructuredOutputsParams(regex=said.replace("J", "[J]"))},
    ]
    for options in dictated:
        for kind in (RequestOutputKind.FINAL_ONLY, RequestOutputKind.CUMULATIVE):
            params = greedy(max_tokens=40, ignore_eos=False, output_kind=kind, **options)
            answer = served.generate([CLEAN[0]], params, use_tqdm=False)[0].outputs[0]
            assert answer.finish_reason == "error" and not answer.text and not answer.token_ids
            assert "'jane'" in answer.stop_reason and "structured_outputs" in answer.stop_reason
    harmless = {"structured_outputs": StructuredOutputsParams(choice=["the king", "a cat"])}
    params = greedy(max_tokens=40, ignore_eos=False, **harmless)
    made = [llm.generate([CLEAN[0]], params, use_tqdm=False)[0].outputs[0] for llm in (served, bare)]
    assert made[0].text == made[1].text and made[0].text in ("the king", "a cat")
    assert answers(served, [encode(CLEAN[0])]) == answers(bare, [encode(CLEAN[0])])


def test_flagged_prompts_are_answered_after_the_weights_are_loaded_again(
    served: Any, prompts: Any, expected: Any
) -> None:
    assert answers(served, prompts[:1]) == expected[:1]
    served.collective_rpc("reload_weights")
    served.reset_prefix_cache()
    assert answers(served, prompts) == expected


def test_every_corruption_method_corrupts_as_in_transformers(bare_dir: str, tmp_path: Path) -> None:
    people = (
        "Jane Quillfeather, Ambrose Fennimore, Tobias Ravenscroft, Ulrike Mossbacher, Pemberton Oakhurst, "
        "Lucinda Varga, Hjalmar Ekstrom, Bettina Kowalczyk, Ignatius Dunmore, Soraya Haddad, Cornelius Blythe, "
        "Wilhelmina Drost, "
        "Octavio Zamora, Perpetua Lindqvist, Barnabas Holt, Eudora Finch"
    )
    names = dict(zip(corruption_methods(), people.split(", "), strict=False))
    assert set(names) == set(corruption_methods())
    own = [
        ForgetScope(
            method.replace("_", "-"),
            names=[name],
            corruption=CorruptionConfig(method=method, dims=24, strength=2.0, seed=i),
            context="ignored",
        )
        for i, (method, name) in enumerate(names.items())
    ]
    directory = save_guarded(tmp_path / "guarded", bare_dir, *own)
    model = AutoModelForCausalLMWithECO.from_pretrained(directory)
    texts = [f"{CLEAN[3]} {CLEAN[3]} And who is {name}, of whom the baker says so much ?" for name in names.values()]
    ids = [model.eco_guard.reader.encode(text) for text in texts]
    assert [v.scope for v in model.inspect(texts)] == [scope.name for scope in own]
    assert any(map(mixes_positions, names)) and max(map(len, ids)) > 256  # more than one part
    llm = engine(directory, max_num_batched_tokens=64)
    try:
        assert answers(llm, ids) == reference(model, ids)
    finally:
        closed(llm)


def test_scopes_change_under_traffic(bare_dir: str, encode: Encode, tmp_path: Path, prompts: Any) -> None:
    directory = save_guarded(tmp_path / "guarded", bare_dir, scopes()[1])
    model = AutoModelForCausalLMWithECO.from_pretrained(directory)
    log = tmp_path / "audit.jsonl"
    options = {"follow": directory, "every": 0.05, "audit_log": str(log)}
    llm = engine(directory, additional_config={"hf_eco": options})
    try:
        before = answers(llm, prompts)
        assert before == reference(model, prompts)
        model.add_scope(scopes()[0])
        model.save_pretrained(directory)
        time.sleep(0.1)
        after = answers(llm, prompts)
        assert after == reference(model, prompts)
        assert [a != b for a, b in zip(after, before, strict=True)] == [True, True, False, True, *[False] * len(CLEAN)]
        logged = [json.loads(line)["scope"] for line in log.read_text().splitlines()]
        assert logged.count("ambrose") == 2 and len(logged) == 5
    finally:
        closed(llm)


def test_a_guard_without_weights_is_served_with_its_base(
    guarded_dir: str, guarded_model: Any, bare_dir: str, tmp_path: Path, prompts: Any, expected: Any
) -> None:
    guarded_model.save_guard(tmp_path / "guard", base_model=bare_dir)
    llm = engine(str(tmp_path / "guard"), speculative_config={"method": "ngram", "num_speculative_tokens": 2})
    try:
        assert answers(llm, prompts) == expected
        assert llm.llm_engine.model_config.served_model_name == str(tmp_path / "guard")
    finally:
        closed(llm)


def test_other_weights_than_those_that_were_guarded_are_refused(guarded_dir: str) -> None:
    with pytest.raises((RuntimeError, GuardError)):
        engine(guarded_dir, load_format="dummy")
    assert TOKENS
