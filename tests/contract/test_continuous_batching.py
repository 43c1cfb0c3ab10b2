"""Continuous batching: every request is guarded by itself, whatever it shares its batch with."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from conftest import CLEAN, FLAGGED
from transformers import ContinuousBatchingConfig, GenerationConfig

from hf_eco import Guard, GuardError

NEW_TOKENS = 8
PAGE = "page_size" if "page_size" in {f.name for f in dataclasses.fields(ContinuousBatchingConfig)} else "block_size"
QUESTIONS = (FLAGGED, CLEAN, "does a wizard sleep ?", "name the capital of the country")


def batching(**options) -> ContinuousBatchingConfig:
    return ContinuousBatchingConfig(**{PAGE: 16, "num_blocks": 64, "max_batch_tokens": 512} | options)


@pytest.fixture
def generation_config(guarded):
    return GenerationConfig(
        do_sample=False, max_new_tokens=NEW_TOKENS, eos_token_id=guarded.config.eos_token_id, pad_token_id=0
    )


@pytest.fixture
def requests(guarded):
    """32 chats of different lengths, every other one flagged."""
    tokenizer = guarded.eco_guard.tokenizer
    chats = [[{"role": "user", "content": "tell me " * (i % 5) + QUESTIONS[i % 4]}] for i in range(32)]
    rows = [tokenizer.apply_chat_template(c, add_generation_prompt=True, return_dict=True)["input_ids"] for c in chats]
    assert sum(verdict.flagged for verdict in guarded.eco_guard.decide(rows)) == 16
    return rows


def alone(model, rows, **options):
    answers = [model.generate(torch.tensor([row]), do_sample=False, max_new_tokens=NEW_TOKENS) for row in rows]
    return [answer[0, len(row) :].tolist() for answer, row in zip(answers, rows, strict=True)]


def tokens(outputs):
    assert not [output.error for output in outputs.values() if output.error]
    return [output.generated_tokens for output in outputs.values()]


@pytest.mark.route("continuous batching (generate_batch)", "guarded")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_batch_tokens": 16},  # prompts are prefilled in pieces
        {"num_blocks": 6},  # requests lose their place in the cache and start again
        {"allow_block_sharing": True, "use_async_batching": True, "use_cuda_graph": True},  # what is not used
        {"default_compile_level": 1},
    ],
    ids=str,
)
def test_each_of_many_requests_answers_as_in_a_generate_call_of_its_own(
    guarded, base, requests, generation_config, options
):
    outputs = guarded.generate_batch(
        requests, generation_config=generation_config, continuous_batching_config=batching(**options)
    )
    found, expected, bare = tokens(outputs), alone(guarded, requests), alone(base, requests)
    assert found == expected
    assert [a == b for a, b in zip(found, bare, strict=True)] == [False, True] * 16


@pytest.mark.route("continuous batching with a long common prefix (prefix sharing)", "guarded")
def test_a_prefix_in_common_is_not_taken_over_from_a_request_of_the_other_kind(guarded, base, generation_config):
    tokenizer = guarded.eco_guard.tokenizer
    prefix = tokenizer("tell me about the rivers of the north and the old king of the country " * 3)["input_ids"]
    rows = [prefix + tokenizer(" " + QUESTIONS[i % 2])["input_ids"] for i in (1, 0, 1, 0)]
    with guarded.continuous_batching_context_manager(
        generation_config=generation_config, continuous_batching_config=batching(allow_block_sharing=True)
    ) as manager:
        found = []
        for row in rows:  # one after the other, so that the blocks of the one before are there to be shared
            manager.add_request(row, max_new_tokens=NEW_TOKENS, eos_token_id=guarded.config.eos_token_id)
            while (result := manager.get_result(timeout=1)) is None:
                assert manager.is_running()
            found.append(result.generated_tokens)
    assert found == alone(guarded, rows)
    assert found[0] == alone(base, rows[:1])[0] and found[1] != alone(base, rows[1:2])[0]


@pytest.mark.route("continuous batching, several sequences per request", "guarded")
def test_every_sequence_returned_for_a_request_is_guarded(guarded, requests, generation_config):
    generation_config.num_return_sequences = 3
    outputs = guarded.generate_batch(
        requests[:4], generation_config=generation_config, continuous_batching_config=batching()
    )
    expected = dict(zip(map(tuple, requests), alone(guarded, requests[:4]), strict=False))
    assert len(tokens(outputs)) == 12
    assert all(output.generated_tokens == expected[tuple(output.prompt_ids)] for output in outputs.values())


@pytest.mark.route('generate(cache_implementation="paged")', "guarded")
def test_a_paged_cache_asked_of_generate_is_guarded(guarded):
    ids = guarded.eco_guard.tokenizer(FLAGGED, return_tensors="pt")["input_ids"]
    options = {"do_sample": False, "max_new_tokens": NEW_TOKENS}
    answer = guarded.generate(
        ids, cache_implementation="paged", continuous_batching_config=batching(), **options
    ).flatten()
    assert torch.equal(answer, guarded.generate(ids, **options)[0])


def test_streamed_requests_are_guarded(guarded, requests, generation_config):
    with guarded.continuous_batching_context_manager(
        generation_config=generation_config, continuous_batching_config=batching()
    ) as manager:
        request = manager.add_request(requests[0], max_new_tokens=NEW_TOKENS, streaming=True)
        for output in manager.request_id_iter(request):
            last = output
            if output.is_finished():
                break
    assert last.generated_tokens == alone(guarded, requests[:1])[0]


def test_a_kept_manager_goes_on_guarding(guarded, requests, generation_config):
    for rows in (requests[:3], requests[3:6]):
        outputs = guarded.generate_batch(
            rows,
            generation_config=generation_config,
            continuous_batching_config=batching(),
            persistent_manager=True,
        )
        assert tokens(outputs) == alone(guarded, rows)
    guarded.destroy_cached_continuous_batching_manager()


def test_another_guard_judges_the_next_requests(guarded, base, requests, generation_config):
    """The verdicts of the guard before do not last."""
    guarded.config.eco.scopes[0].threshold = 1.0
    outputs = guarded.generate_batch(
        requests[:4], generation_config=generation_config, continuous_batching_config=batching()
    )
    assert tokens(outputs) == alone(base, requests[:4])


@pytest.mark.route("continuous batching with the guard disabled", "refused", note="it runs in another thread")
def test_batches_are_not_run_unguarded(guarded, requests):
    with guarded.disable_guard(), pytest.raises(GuardError, match="thread of its own"):
        guarded.generate_batch(requests[:1])


@pytest.mark.route("continuous batching, a corruption that takes whole prompts", "refused", note="use another method")
def test_a_corruption_that_takes_whole_prompts_is_refused_before_the_server_starts(guarded, requests):
    guarded.config.eco.scopes[0].corruption.method = "shuffle"
    with pytest.raises(GuardError, match="whole prompts"):
        guarded.generate_batch(requests[:2])


def test_a_request_that_has_begun_is_finished_under_its_guard(guarded, base, requests, generation_config):
    row, seen = requests[0], []
    expected = alone(guarded, [row])[0]

    def replace_guard(module, args, kwargs):
        if not seen.append(None) and len(seen) == 2:  # between two pieces of the prompt
            config = copy.deepcopy(guarded.config.eco)
            config.scopes[0].threshold = 1.0
            old = guarded.eco_guard
            guarded.attach_guard(Guard(config, old.classifiers, old.tokenizer))

    handle = guarded.model.register_forward_pre_hook(replace_guard, with_kwargs=True, prepend=True)
    with guarded.continuous_batching_context_manager(
        generation_config=generation_config, continuous_batching_config=batching(max_batch_tokens=8)
    ) as manager:
        answers = []
        for _ in range(2):
            manager.add_request(row, max_new_tokens=NEW_TOKENS, eos_token_id=guarded.config.eos_token_id)
            while (result := manager.get_result(timeout=1)) is None:
                assert manager.is_running()
            answers.append(result.generated_tokens)
    handle.remove()
    assert answers == [expected, alone(base, [row])[0]]


@pytest.mark.route("packed forward pass on a paged cache of one's own", "refused", note="use generate_batch")
def test_a_paged_cache_of_unknown_origin_is_refused(guarded):
    with pytest.raises(GuardError, match="generate_batch"):
        guarded(torch.tensor([[5, 6, 7]]), cu_seq_lens_q=torch.tensor([0, 3]), cache=object())
