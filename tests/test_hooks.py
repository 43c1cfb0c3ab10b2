"""A verdict reaches the embeddings, whichever way the model is called."""

from __future__ import annotations

import threading

import pytest
import torch
from conftest import CLEAN, FLAGGED
from transformers import DynamicCache, TextIteratorStreamer

from hf_eco import GuardError
from hf_eco.corruption import corrupt

GREEDY = {"do_sample": False, "max_new_tokens": 8}


@pytest.fixture
def tokenizer(guarded):
    return guarded.eco_guard.tokenizer


@pytest.fixture
def prompts(tokenizer):
    """(flagged, clean, both left-padded)."""
    chats = [
        [{"role": "user", "content": text}] for text in (FLAGGED, CLEAN + " tell me about the garden of the king")
    ]
    options = {"add_generation_prompt": True, "return_dict": True, "return_tensors": "pt", "padding": True}
    return [tokenizer.apply_chat_template(chat, **options) for chat in (chats[0], chats[1], chats)]


def by_hand(guarded, base, inputs):
    """The flagged prompt's embeddings, corrupted from the config alone."""
    verdict = guarded.eco_guard.decide(inputs["input_ids"].tolist())[0]
    assert verdict.flagged
    mask = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
    mask[0, list(verdict.tokens)] = True
    how = guarded.config.eco.scopes[0].corruption
    embeddings = base.get_input_embeddings()(inputs["input_ids"])
    return corrupt(embeddings, mask, how.method, dims=how.dims, strength=how.strength, seed=how.seed)


def test_a_flagged_prompt_answers_as_from_embeddings_corrupted_by_hand(guarded, base, prompts):
    flagged, _, _ = prompts
    embeddings = by_hand(guarded, base, flagged)
    expected = base.generate(inputs_embeds=embeddings, attention_mask=flagged["attention_mask"], **GREEDY)
    answer = guarded.generate(**flagged, **GREEDY)[:, flagged["input_ids"].shape[1] :]
    assert torch.equal(answer, expected)
    assert not torch.equal(answer, base.generate(**flagged, **GREEDY)[:, flagged["input_ids"].shape[1] :])


def test_a_clean_prompt_has_the_base_models_logits_to_the_bit(guarded, base, prompts):
    _, clean, _ = prompts
    assert torch.equal(guarded(**clean).logits, base(**clean).logits)
    assert torch.equal(guarded.generate(**clean, **GREEDY), base.generate(**clean, **GREEDY))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_cache": False},
        {"num_beams": 3},
        {"num_beams": 3, "use_cache": False},
        {"cache_implementation": "static"},
        {"prompt_lookup_num_tokens": 2},
        {"prefill_chunk_size": 4},
    ],
    ids=str,
)
def test_a_mixed_batch_answers_row_by_row_as_each_prompt_alone(guarded, base, prompts, options):
    flagged, clean, both = prompts
    length = both["input_ids"].shape[1]
    if options.get("num_beams", 1) == 1:
        expected = [guarded.generate(**flagged, **GREEDY), base.generate(**clean, **GREEDY)]
    else:
        expected = [guarded.generate(**flagged, num_beams=3, **GREEDY), base.generate(**clean, num_beams=3, **GREEDY)]
    expected = [row[0, inputs["input_ids"].shape[1] :] for row, inputs in zip(expected, (flagged, clean), strict=True)]
    inputs = [both] if "prompt_lookup_num_tokens" not in options else [flagged, clean]  # not for batches
    answers = [row[x["input_ids"].shape[1] :] for x in inputs for row in guarded.generate(**x, **GREEDY, **options)]
    for answer, wanted in zip(answers, expected, strict=True):
        pad = answer.shape[0] - wanted.shape[0]
        assert torch.equal(answer, torch.nn.functional.pad(wanted, (0, pad), value=0)), length


def test_sampled_sequences_are_those_of_hand_corrupted_embeddings(guarded, base, prompts):
    flagged, _, _ = prompts
    options = {"do_sample": True, "num_return_sequences": 3, "max_new_tokens": 8}
    torch.manual_seed(5)
    answers = guarded.generate(**flagged, **options)[:, flagged["input_ids"].shape[1] :]
    torch.manual_seed(5)
    mask = flagged["attention_mask"]
    expected = base.generate(inputs_embeds=by_hand(guarded, base, flagged), attention_mask=mask, **options)
    assert torch.equal(answers, expected)


def test_the_decoder_called_directly_is_guarded(guarded, base, prompts):
    flagged, clean, _ = prompts
    hidden = base.model(inputs_embeds=by_hand(guarded, base, flagged)).last_hidden_state
    assert torch.equal(guarded.model(flagged["input_ids"]).last_hidden_state, hidden)
    assert torch.equal(guarded.model(**clean).last_hidden_state, base.model(**clean).last_hidden_state)


def test_padding_on_either_side_changes_nothing(guarded, prompts):
    flagged, _, _ = prompts
    ids, alone = flagged["input_ids"], guarded(**flagged).logits[0, -1]
    pad = torch.zeros(1, 5, dtype=torch.long)
    ones = torch.ones_like(ids)
    right = guarded(torch.cat([ids, pad], 1), attention_mask=torch.cat([ones, pad], 1)).logits[0, ids.shape[1] - 1]
    torch.testing.assert_close(right, alone)
    positions = torch.cat([pad, torch.arange(ids.shape[1])[None]], 1)
    left = guarded(torch.cat([pad, ids], 1), attention_mask=torch.cat([pad, ones], 1), position_ids=positions).logits[
        0, -1
    ]
    torch.testing.assert_close(left, alone)


def test_padding_is_inferred_as_generate_infers_it(guarded, prompts):
    _, _, both = prompts
    assert torch.equal(guarded.generate(both["input_ids"], **GREEDY), guarded.generate(**both, **GREEDY))


def test_a_chat_of_several_turns_is_judged_as_a_whole(guarded, tokenizer):
    chat = [
        {"role": "user", "content": FLAGGED},
        {"role": "assistant", "content": "the king"},
        {"role": "user", "content": CLEAN},
    ]
    assert guarded.inspect(chat).flagged
    assert not guarded.inspect(chat[1:]).flagged


def test_labels_bound_the_corruption_to_the_prompt(guarded, base, prompts):
    flagged, _, _ = prompts
    answer = guarded.eco_guard.tokenizer(" the old king", return_tensors="pt")["input_ids"]
    ids = torch.cat([flagged["input_ids"], answer], 1)
    labels = torch.cat([torch.full_like(flagged["input_ids"], -100), answer], 1)
    embeddings = torch.cat([by_hand(guarded, base, flagged), base.get_input_embeddings()(answer)], 1)
    expected = base(inputs_embeds=embeddings, labels=labels)
    bounded = guarded(ids, labels=labels)
    assert torch.equal(bounded.logits, expected.logits) and torch.equal(bounded.loss, expected.loss)
    with guarded.prompt_lengths([flagged["input_ids"].shape[1]]):
        assert torch.equal(guarded(ids).logits, expected.logits)
    assert not torch.equal(guarded(ids).logits, expected.logits)  # without bounds the whole row is prompt


def test_an_answer_about_the_scope_does_not_flag_a_clean_prompt(guarded, base, prompts):
    _, clean, _ = prompts
    answer = guarded.eco_guard.tokenizer(" the wizard of the north", return_tensors="pt")["input_ids"]
    ids = torch.cat([clean["input_ids"], answer], 1)
    with guarded.prompt_lengths([clean["input_ids"].shape[1]]):
        assert torch.equal(guarded(ids).logits, base(ids).logits)


@torch.no_grad()
def decode_by_hand(model, ids, cache=None):
    output, tokens = model(ids, past_key_values=cache, use_cache=True), []
    for _ in range(8):
        tokens.append(output.logits[:, -1].argmax(-1, keepdim=True))
        output = model(tokens[-1], past_key_values=output.past_key_values, use_cache=True)
    return torch.cat(tokens, 1)


def test_a_decoding_loop_by_hand_gives_the_tokens_of_generate(guarded, base, prompts):
    flagged, clean, _ = prompts
    answer = guarded.generate(**flagged, **GREEDY, min_new_tokens=8)[:, flagged["input_ids"].shape[1] :]
    assert torch.equal(decode_by_hand(guarded, flagged["input_ids"], DynamicCache(config=guarded.config)), answer)
    assert torch.equal(decode_by_hand(guarded, flagged["input_ids"]), answer)
    with guarded.prompt_lengths([clean["input_ids"].shape[1]]):
        assert torch.equal(decode_by_hand(guarded, clean["input_ids"]), decode_by_hand(base, clean["input_ids"]))


def test_a_prompt_fed_token_by_token_does_not_evade(guarded, tokenizer):
    cache = DynamicCache(config=guarded.config)
    with pytest.raises(GuardError, match="without the cache"):
        for token in tokenizer(FLAGGED, return_tensors="pt")["input_ids"][0]:
            guarded(token[None, None], past_key_values=cache)


def test_a_cache_that_the_guard_did_not_fill_is_refused(guarded, base, prompts):
    flagged, _, _ = prompts
    cache = DynamicCache(config=base.config)
    base(flagged["input_ids"][:, :-2], past_key_values=cache)
    with pytest.raises(GuardError, match="not filled under this guard"):
        guarded(flagged["input_ids"][:, -2:], past_key_values=cache)
    with pytest.raises(GuardError, match="not filled under this guard"):
        guarded.generate(flagged["input_ids"], past_key_values=cache)


def test_a_clean_conversation_goes_on_from_its_cache_and_turns_to_the_scope_only_without_it(guarded, base, tokenizer):
    def ids(text):
        return tokenizer(text, return_tensors="pt")["input_ids"]

    caches = [DynamicCache(config=model.config) for model in (guarded, base)]
    first = [m.generate(ids(CLEAN), past_key_values=c, **GREEDY) for m, c in zip((guarded, base), caches, strict=True)]
    assert torch.equal(*first)
    second = torch.cat([first[0], ids(" tell me about the garden")], 1)
    answers = [m.generate(second, past_key_values=c, **GREEDY) for m, c in zip((guarded, base), caches, strict=True)]
    assert torch.equal(*answers)
    third = torch.cat([answers[0], ids(" " + FLAGGED)], 1)
    with pytest.raises(GuardError, match="without the cache"):
        guarded.generate(third, past_key_values=caches[0], **GREEDY)
    assert not torch.equal(guarded.generate(third, **GREEDY), base.generate(third, **GREEDY))


@pytest.mark.parametrize("call", ["forward", "decoder", "generate"])
def test_embeddings_without_ids_are_refused(guarded, base, prompts, call):
    embeddings = base.get_input_embeddings()(prompts[1]["input_ids"])
    function = {"forward": guarded, "decoder": guarded.model, "generate": guarded.generate}[call]
    with pytest.raises(GuardError, match="input_ids"):
        function(inputs_embeds=embeddings)


def test_packed_rows_are_refused(guarded):
    with pytest.raises(GuardError, match="one prompt per row"):
        guarded(torch.tensor([[5, 6, 7, 8]]), position_ids=torch.tensor([[0, 1, 0, 1]]))
    with pytest.raises(GuardError, match="generate_batch"):
        guarded.generate_batch([[5, 6, 7]])
    with pytest.raises(GuardError, match="generate_batch"):
        guarded.generate(torch.tensor([[5, 6, 7]]), cache_implementation="paged")


def test_a_plan_that_is_not_applied_raises(guarded, prompts, monkeypatch):
    embedding = guarded.get_input_embeddings()
    monkeypatch.setattr(guarded._eco, "install", lambda: None)
    embedding._forward_hooks.clear()
    with pytest.raises(GuardError, match="pass unchanged"):
        guarded(**prompts[0])


def test_replaced_embedding_layers_are_guarded(guarded, base, prompts):
    flagged, clean, _ = prompts
    expected = guarded(**flagged).logits
    old = guarded.get_input_embeddings()
    guarded.set_input_embeddings(torch.nn.Embedding.from_pretrained(old.weight.detach().clone()))
    assert torch.equal(guarded(**flagged).logits, expected)
    assert torch.equal(guarded(**clean).logits, base(**clean).logits)


def test_the_guard_is_off_in_disable_guard_in_this_thread_only(guarded, base, prompts):
    flagged, _, _ = prompts
    on, off, elsewhere = guarded(**flagged).logits, base(**flagged).logits, []
    with guarded.disable_guard():
        assert torch.equal(guarded(**flagged).logits, off)
        thread = threading.Thread(target=lambda: elsewhere.append(guarded(**flagged).logits))
        thread.start()
        thread.join()
    assert torch.equal(elsewhere[0], on) and torch.equal(guarded(**flagged).logits, on)


def test_threads_do_not_see_one_anothers_prompts(guarded, base, prompts):
    flagged, clean, _ = prompts
    expected = [guarded.generate(**flagged, **GREEDY), base.generate(**clean, **GREEDY)]
    wrong = []

    def work(i):
        for _ in range(4):
            if not torch.equal(guarded.generate(**(flagged, clean)[i % 2], **GREEDY), expected[i % 2]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_streamed_answer_is_the_guarded_one(guarded, tokenizer, prompts):
    flagged, _, _ = prompts
    expected = tokenizer.decode(guarded.generate(**flagged, **GREEDY)[0, flagged["input_ids"].shape[1] :])
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True)
    thread = threading.Thread(target=guarded.generate, kwargs={**flagged, **GREEDY, "streamer": streamer})
    thread.start()
    assert "".join(streamer) == expected
    thread.join()


def test_looking_embeddings_up_outside_of_a_forward_pass_is_refused(guarded, prompts):
    flagged, _, _ = prompts
    with pytest.raises(GuardError, match="outside of a forward pass"):
        guarded.get_input_embeddings()(flagged["input_ids"])
    with guarded.disable_guard():
        guarded.get_input_embeddings()(flagged["input_ids"])


def test_a_trace_is_refused(guarded, prompts):
    _, clean, _ = prompts

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = guarded

        def forward(self, ids):
            return self.model(ids, use_cache=False).logits

    with pytest.raises(GuardError, match="one prompt's verdict"):
        torch.jit.trace(Logits(), (clean["input_ids"],), check_trace=False)


def test_labels_that_only_leave_padding_out_bound_nothing(guarded, base, tokenizer, prompts):
    """As the usual collator makes them where the pad token is the end-of-sequence token."""
    _, _, both = prompts
    special = torch.isin(both["input_ids"], torch.tensor(sorted(guarded.eco_guard.reader.special_ids)))
    labels = both["input_ids"].masked_fill(special, -100)
    assert torch.equal(guarded(**both, labels=labels).logits, guarded(**both).logits)
    assert not torch.equal(guarded(**both, labels=labels).logits, base(**both).logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"guidance_scale": 2.0}, "guidance_scale"), ({"past_key_values": ((1, 2),)}, "as a cache")],
    ids=["guidance", "tuple"],
)
def test_what_is_not_guarded_yet_is_refused(guarded, prompts, options, message):
    with pytest.raises(GuardError, match=message):
        guarded.generate(**prompts[1], **GREEDY, **options)


def test_a_negative_prompt_length_is_refused(guarded, prompts):
    with pytest.raises(ValueError, match="not negative"), guarded.prompt_lengths([-3]):
        guarded(**prompts[1])


def test_a_cache_filled_while_the_guard_was_off_is_refused(guarded, prompts):
    flagged, clean, _ = prompts
    cache = DynamicCache(config=guarded.config)
    guarded(clean["input_ids"], past_key_values=cache)
    with guarded.disable_guard():
        guarded(flagged["input_ids"], past_key_values=cache)
    with pytest.raises(GuardError, match="not filled under this guard"):
        guarded(clean["input_ids"], past_key_values=cache)


def test_a_flagged_conversation_goes_on_without_its_cache_only(guarded, prompts):
    flagged, clean, _ = prompts
    cache = DynamicCache(config=guarded.config)
    first = guarded.generate(**flagged, past_key_values=cache, **GREEDY)
    second = torch.cat([first, clean["input_ids"]], 1)
    with pytest.raises(GuardError, match="without the cache"):
        guarded.generate(second, past_key_values=cache, **GREEDY)
    guarded.generate(second, **GREEDY)
