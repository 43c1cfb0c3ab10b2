"""A verdict reaches the embeddings, whichever way the model is called."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from contextlib import contextmanager

import pytest
import torch
from conftest import CLEAN, FLAGGED, in_threads, lookup_by_hand
from torch.nn.functional import pad
from transformers import DynamicCache, LlamaModel, StaticCache, TextIteratorStreamer

from hf_eco import GuardError
from hf_eco.inference.caches import cache_argument

GREEDY = {"do_sample": False, "max_new_tokens": 8}


def option(name, options):
    return pytest.param(options, id=str(options), marks=pytest.mark.route(name, "guarded"))


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


@pytest.mark.route("generate, greedy", "guarded")
def test_a_flagged_prompt_answers_as_from_embeddings_corrupted_by_hand(guarded, base, prompts):
    flagged, _, _ = prompts
    embeddings = lookup_by_hand(guarded, base, flagged["input_ids"])
    expected = base.generate(inputs_embeds=embeddings, attention_mask=flagged["attention_mask"], **GREEDY)
    answer = guarded.generate(**flagged, **GREEDY)[:, flagged["input_ids"].shape[1] :]
    assert torch.equal(answer, expected)
    assert not torch.equal(answer, base.generate(**flagged, **GREEDY)[:, flagged["input_ids"].shape[1] :])


@pytest.mark.route("forward, no cache given", "guarded")
def test_a_clean_prompt_has_the_base_models_logits_to_the_bit(guarded, base, prompts):
    _, clean, _ = prompts
    assert torch.equal(guarded(**clean).logits, base(**clean).logits)
    assert torch.equal(guarded.generate(**clean, **GREEDY), base.generate(**clean, **GREEDY))


@pytest.mark.parametrize(
    "options",
    [
        option("generate, a mixed batch, left-padded", {}),
        option("generate(use_cache=False)", {"use_cache": False}),
        option("generate, beam search", {"num_beams": 3}),
        option("generate, beam search without a cache", {"num_beams": 3, "use_cache": False}),
        option("generate, static cache", {"cache_implementation": "static"}),
        option("generate, prompt lookup", {"prompt_lookup_num_tokens": 2}),
        option("generate(prefill_chunk_size=...)", {"prefill_chunk_size": 4}),
    ],
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


@pytest.mark.route("generate, sampling with num_return_sequences", "guarded")
def test_sampled_sequences_are_those_of_hand_corrupted_embeddings(guarded, base, prompts):
    flagged, _, _ = prompts
    options = {"do_sample": True, "num_return_sequences": 3, "max_new_tokens": 8}
    torch.manual_seed(5)
    answers = guarded.generate(**flagged, **options)[:, flagged["input_ids"].shape[1] :]
    torch.manual_seed(5)
    mask = flagged["attention_mask"]
    expected = base.generate(
        inputs_embeds=lookup_by_hand(guarded, base, flagged["input_ids"]), attention_mask=mask, **options
    )
    assert torch.equal(answers, expected)


@pytest.mark.route("model.model(...), the decoder alone", "guarded")
def test_the_decoder_called_directly_is_guarded(guarded, base, prompts):
    flagged, clean, _ = prompts
    hidden = base.model(inputs_embeds=lookup_by_hand(guarded, base, flagged["input_ids"])).last_hidden_state
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


@pytest.mark.route("forward with labels, and in prompt_lengths", "guarded")
def test_labels_bound_the_corruption_to_the_prompt(guarded, base, prompts):
    flagged, _, _ = prompts
    answer = guarded.eco_guard.tokenizer(" the old king", return_tensors="pt")["input_ids"]
    ids = torch.cat([flagged["input_ids"], answer], 1)
    labels = torch.cat([torch.full_like(flagged["input_ids"], -100), answer], 1)
    embeddings = torch.cat(
        [lookup_by_hand(guarded, base, flagged["input_ids"]), base.get_input_embeddings()(answer)], 1
    )
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


@pytest.mark.route("manual decode loop: prefill, then single tokens", "guarded")
def test_a_decoding_loop_by_hand_gives_the_tokens_of_generate(guarded, base, prompts):
    flagged, clean, _ = prompts
    answer = guarded.generate(**flagged, **GREEDY, min_new_tokens=8)[:, flagged["input_ids"].shape[1] :]
    assert torch.equal(decode_by_hand(guarded, flagged["input_ids"], DynamicCache(config=guarded.config)), answer)
    assert torch.equal(decode_by_hand(guarded, flagged["input_ids"]), answer)
    with guarded.prompt_lengths([clean["input_ids"].shape[1]]):
        assert torch.equal(decode_by_hand(guarded, clean["input_ids"]), decode_by_hand(base, clean["input_ids"]))


@pytest.mark.route("a whole prompt fed token by token", "refused", note="pass it in one piece")
def test_a_prompt_fed_token_by_token_does_not_evade(guarded, tokenizer):
    cache = DynamicCache(config=guarded.config)
    with pytest.raises(GuardError, match="token by token"):
        for token in tokenizer(FLAGGED, return_tensors="pt")["input_ids"][0]:
            guarded(token[None, None], past_key_values=cache)


@pytest.mark.route("a cache that was filled without the guard", "refused", note="pass the conversation without it")
def test_a_cache_that_the_guard_did_not_fill_is_refused(guarded, base, prompts):
    flagged, _, _ = prompts
    cache = DynamicCache(config=base.config)
    base(flagged["input_ids"][:, :-2], past_key_values=cache)
    with pytest.raises(GuardError, match="not filled under this guard"):
        guarded(flagged["input_ids"][:, -2:], past_key_values=cache)
    with pytest.raises(GuardError, match="not filled under this guard"):
        guarded.generate(flagged["input_ids"], past_key_values=cache)


TURNS = {
    "clean, clean": (CLEAN, "tell me about the garden"),
    "clean, then the scope": (CLEAN, FLAGGED),
    "the scope, then a follow-up that names nothing": (FLAGGED, "and what does it eat for breakfast ?"),
    "the scope twice": (FLAGGED, "does a wizard sleep ?"),
}


@pytest.mark.parametrize("given", ["whole", "new"])
@pytest.mark.parametrize("cache_class", [DynamicCache, StaticCache])
@pytest.mark.parametrize("turns", TURNS.values(), ids=TURNS)
@pytest.mark.route("chat of several turns on one cache, given to generate", "guarded")
def test_a_conversation_on_its_cache_answers_as_the_whole_conversation_without(
    guarded, base, tokenizer, turns, cache_class, given
):
    options = {"max_cache_len": 256} if cache_class is StaticCache else {}
    cache, ids = cache_class(config=guarded.config, **options), torch.zeros(1, 0, dtype=torch.long)
    for turn in (*turns, "who is older ?"):
        message = tokenizer(f"<|im_start|>user\n{turn}<|im_end|>\n<|im_start|>assistant\n", return_tensors="pt")
        held = int(cache.get_seq_length())
        ids = torch.cat([ids, message["input_ids"]], 1)
        fed = ids if given == "whole" else ids[:, held:]
        answer = guarded.generate(fed, attention_mask=torch.ones_like(ids), past_key_values=cache, **GREEDY)
        expected = guarded.generate(ids, **GREEDY)
        assert torch.equal(answer, expected if given == "whole" else expected[:, held:])
        if FLAGGED not in turns:
            assert torch.equal(expected, base.generate(ids, **GREEDY))
        ids = expected


@pytest.mark.route("follow-up in a manual loop, several new tokens behind a cache", "guarded")
@pytest.mark.parametrize("turns", TURNS.values(), ids=TURNS)
@torch.no_grad()
def test_new_tokens_behind_a_cache_have_the_logits_of_the_whole_conversation(guarded, tokenizer, turns):
    first, second = (tokenizer(turn, return_tensors="pt")["input_ids"] for turn in turns)
    cache = DynamicCache(config=guarded.config)
    guarded(first, past_key_values=cache)
    found = guarded(second, past_key_values=cache).logits
    whole = guarded(torch.cat([first, second], 1)).logits[:, first.shape[1] :]
    torch.testing.assert_close(found, whole)


@pytest.mark.route("copy of a cache that holds a common prefix", "guarded")
@pytest.mark.parametrize("turn", [CLEAN, FLAGGED])
@torch.no_grad()
def test_a_copied_prefix_cache_serves_flagged_and_clean_prompts(guarded, tokenizer, turn):
    prefix = tokenizer("<|im_start|>system\nyou are the old king<|im_end|>\n", return_tensors="pt")["input_ids"]
    cache = DynamicCache(config=guarded.config)
    guarded(prefix, past_key_values=cache)
    ids = torch.cat([prefix, tokenizer(turn, return_tensors="pt")["input_ids"]], 1)
    for _ in range(2):
        answer = guarded.generate(ids, past_key_values=copy.deepcopy(cache), **GREEDY)
        assert torch.equal(answer, guarded.generate(ids, **GREEDY))


@pytest.mark.route("classifier-free guidance (guidance_scale)", "guarded")
@pytest.mark.parametrize("options", [{}, {"use_cache": False}, {"num_beams": 2}], ids=str)
@pytest.mark.parametrize("negative", [None, CLEAN, FLAGGED], ids=["last token", "clean", "flagged"])
def test_guidance_leads_away_from_the_guarded_negative_prompt(guarded, base, tokenizer, prompts, negative, options):
    flagged, clean, _ = prompts
    options = {**options, **GREEDY, "guidance_scale": 2.0}
    if negative is not None:
        ids = tokenizer(negative, return_tensors="pt")["input_ids"]
        options["negative_prompt_ids"] = ids.repeat(options.get("num_beams", 1), 1)
    if negative != FLAGGED:
        assert torch.equal(guarded.generate(**clean, **options), base.generate(**clean, **options))
    answer = guarded.generate(**flagged, **options)
    # the same, with the base's forward given corrupted embeddings for whatever begins like a flagged prompt
    corrupted = [flagged["input_ids"], *([ids] if negative == FLAGGED else [])]
    with corrupting(base, [(row, lookup_by_hand(guarded, base, row)) for row in corrupted]):
        assert torch.equal(answer, base.generate(**flagged, **options))


@contextmanager
def corrupting(base, prompts):
    """The base model with its embedding layer's output replaced where it looks up one of the `prompts`."""

    def replace(module, args, output):
        for ids, embeddings in prompts:
            length = ids.shape[1]
            if args[0].shape[1] >= length and bool((args[0][:, :length] == ids).all()):
                output = torch.cat([embeddings.expand(output.shape[0], -1, -1), output[:, length:]], 1)
        return output

    handle = base.get_input_embeddings().register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.route("inputs_embeds", "refused", note="pass input_ids")
@pytest.mark.parametrize("call", ["forward", "decoder", "generate"])
def test_embeddings_without_ids_are_refused(guarded, base, prompts, call):
    embeddings = base.get_input_embeddings()(prompts[1]["input_ids"])
    function = {"forward": guarded, "decoder": guarded.model, "generate": guarded.generate}[call]
    with pytest.raises(GuardError, match="input_ids"):
        function(inputs_embeds=embeddings)


PACKED = (FLAGGED, CLEAN, "does a wizard sleep ?", "tell me about the garden", "name the capital of the country")


@pytest.fixture
def packed(tokenizer):
    """(each prompt's ids, all in one row, position_ids, labels of the last two tokens of each)."""
    rows = [tokenizer(text, return_tensors="pt")["input_ids"] for text in PACKED]
    positions = torch.cat([torch.arange(row.shape[1])[None] for row in rows], 1)
    labels = torch.cat([torch.cat([torch.full_like(row[:, :-2], -100), row[:, -2:]], 1) for row in rows], 1)
    return rows, torch.cat(rows, 1), positions, labels


@pytest.mark.route("packed rows (position_ids that start again, cu_seq_lens_q, seq_idx)", "guarded")
@torch.no_grad()
def test_each_sequence_of_a_packed_row_is_guarded_by_itself(guarded, packed):
    rows, ids, positions, labels = packed
    alone = torch.cat([guarded(row).logits for row in rows], 1)
    torch.testing.assert_close(guarded(ids, position_ids=positions, use_cache=False).logits, alone)
    ends = torch.tensor([row.shape[1] for row in rows]).cumsum(0)
    index = torch.bucketize(torch.arange(ids.shape[1]), ends, right=True)[None]
    for how in ({"cu_seq_lens_q": pad(ends, (1, 0))}, {"seq_idx": index}):
        assert torch.equal(
            guarded.model(ids, position_ids=positions, use_cache=False, **how).last_hidden_state,
            guarded.model(ids, position_ids=positions, use_cache=False).last_hidden_state,
        )
    own = torch.cat(
        [guarded(row, labels=pad(row[:, -2:], (row.shape[1] - 2, 0), value=-100)).logits for row in rows], 1
    )
    torch.testing.assert_close(guarded(ids, position_ids=positions, labels=labels, use_cache=False).logits, own)
    with guarded.prompt_lengths([row.shape[1] - 2 for row in rows]):
        torch.testing.assert_close(guarded(ids, position_ids=positions, use_cache=False).logits, own)
    assert not torch.allclose(alone, own)


@torch.no_grad()
def test_clean_packed_rows_have_the_base_models_logits_to_the_bit(guarded, base, packed):
    rows, _, _, _ = packed
    ids = torch.cat([rows[1], rows[3]], 1)
    positions = torch.cat([torch.arange(rows[i].shape[1])[None] for i in (1, 3)], 1)
    call = {"input_ids": ids, "position_ids": positions, "use_cache": False}
    assert torch.equal(guarded(**call).logits, base(**call).logits)


@pytest.mark.route("one prompt disguised as packed rows", "refused", note="pass one prompt per row")
def test_a_prompt_cut_into_sequences_that_are_clean_by_themselves_is_refused(guarded, tokenizer, monkeypatch):
    ids = tokenizer(FLAGGED, return_tensors="pt")["input_ids"]
    positions = torch.zeros_like(ids)  # every token a sequence
    verdicts = guarded.eco_guard.decide([[token] for token in ids[0].tolist()])
    if any(verdict.flagged for verdict in verdicts):
        monkeypatch.setattr(guarded.config.eco.scopes[0], "threshold", max(v.probability for v in verdicts) + 1e-6)
    assert guarded.inspect(FLAGGED).flagged
    with pytest.raises(GuardError, match="one prompt per row"):
        guarded(ids, position_ids=positions)


@pytest.mark.route("packed rows behind a filled cache", "refused", note="pass them without a cache")
def test_packed_rows_behind_a_cache_are_refused(guarded, tokenizer):
    cache = DynamicCache(config=guarded.config)
    guarded(torch.tensor([[5, 6, 7, 8]]), past_key_values=cache)
    with pytest.raises(GuardError, match="without a cache"):
        guarded(torch.tensor([[5, 6, 7, 8]]), position_ids=torch.tensor([[0, 1, 0, 1]]), past_key_values=cache)


def test_a_plan_that_is_not_applied_raises(guarded, prompts, monkeypatch):
    embedding = guarded.get_input_embeddings()
    monkeypatch.setattr(guarded._eco, "install", lambda: None)
    embedding._forward_hooks = OrderedDict()
    with pytest.raises(GuardError, match="pass unchanged"):
        guarded(**prompts[0])


def test_replaced_embedding_layers_are_guarded(guarded, base, prompts):
    flagged, clean, _ = prompts
    expected = guarded(**flagged).logits
    old = guarded.get_input_embeddings()
    guarded.set_input_embeddings(torch.nn.Embedding.from_pretrained(old.weight.detach().clone()))
    assert torch.equal(guarded(**flagged).logits, expected)
    assert torch.equal(guarded(**clean).logits, base(**clean).logits)


@pytest.mark.route("disable_guard(), the owner's comparison", "guarded", note="unguarded inside, in that thread only")
def test_the_guard_is_off_in_disable_guard_in_this_thread_only(guarded, base, prompts):
    flagged, _, _ = prompts
    on, off, elsewhere = guarded(**flagged).logits, base(**flagged).logits, []
    with guarded.disable_guard():
        assert torch.equal(guarded(**flagged).logits, off)
        thread = threading.Thread(target=lambda: elsewhere.append(guarded(**flagged).logits))
        thread.start()
        thread.join()
    assert torch.equal(elsewhere[0], on) and torch.equal(guarded(**flagged).logits, on)


@pytest.mark.route("threads on one model", "guarded")
def test_threads_do_not_see_one_anothers_prompts(guarded, base, prompts):
    flagged, clean, _ = prompts
    expected = [guarded.generate(**flagged, **GREEDY), base.generate(**clean, **GREEDY)]
    wrong = []

    def work(i):
        for _ in range(4):
            if not torch.equal(guarded.generate(**(flagged, clean)[i % 2], **GREEDY), expected[i % 2]):
                wrong.append(i)

    in_threads(work)
    assert not wrong


@pytest.mark.route("TextIteratorStreamer in a thread", "guarded")
def test_a_streamed_answer_is_the_guarded_one(guarded, tokenizer, prompts):
    flagged, _, _ = prompts
    expected = tokenizer.decode(guarded.generate(**flagged, **GREEDY)[0, flagged["input_ids"].shape[1] :])
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True)
    thread = threading.Thread(target=guarded.generate, kwargs={**flagged, **GREEDY, "streamer": streamer})
    thread.start()
    assert "".join(streamer) == expected
    thread.join()


@pytest.mark.route("get_input_embeddings()(ids)", "refused", note="call the model")
def test_looking_embeddings_up_outside_of_a_forward_pass_is_refused(guarded, prompts):
    flagged, _, _ = prompts
    with pytest.raises(GuardError, match="outside of a forward pass"):
        guarded.get_input_embeddings()(flagged["input_ids"])
    with guarded.disable_guard():
        guarded.get_input_embeddings()(flagged["input_ids"])


@pytest.mark.route("torch.jit.trace", "refused", note="it would hold one prompt's verdict for ever")
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
    [({"past_key_values": ((1, 2),)}, "as a cache")],
    ids=["tuple"],
)
def test_what_is_not_guarded_yet_is_refused(guarded, prompts, options, message):
    with pytest.raises(GuardError, match=message):
        guarded.generate(**prompts[1], **GREEDY, **options)


def test_a_negative_prompt_length_is_refused(guarded, prompts):
    with pytest.raises(ValueError, match="not negative"), guarded.prompt_lengths([-3]):
        guarded(**prompts[1])


@pytest.mark.parametrize("name", sorted({"past_key_values", str(cache_argument(LlamaModel))}))
def test_a_cache_filled_while_the_guard_was_off_is_refused(guarded, prompts, name):
    flagged, clean, _ = prompts
    cache = {name: DynamicCache(config=guarded.config)}
    guarded(clean["input_ids"], **cache)
    with guarded.disable_guard():
        guarded(flagged["input_ids"], **cache)
    with pytest.raises(GuardError, match="not filled under this guard"):
        guarded(clean["input_ids"], **cache)


def test_two_caches_are_refused(guarded, prompts):
    """Which of them the model would take depends on its version."""
    caches = {name: DynamicCache(config=guarded.config) for name in ("past_key_values", "cache")}
    with pytest.raises(GuardError, match="two caches"):
        guarded.model(prompts[1]["input_ids"], **caches)
