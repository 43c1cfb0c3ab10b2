"""What might slip past the guard by accident: state that outlives its call, prompts that do not look like prompts."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy

import pytest
import torch
from conftest import CLEAN, FLAGGED
from transformers import DataCollatorWithFlattening, DynamicCache, GenerationConfig

from hf_eco import GuardError

GREEDY = {"do_sample": False, "max_new_tokens": 6}


@pytest.fixture
def encode(guarded):
    return lambda text: guarded.eco_guard.tokenizer(text, return_tensors="pt")["input_ids"]


@pytest.fixture
def flagged(encode):
    return encode(FLAGGED)


@pytest.fixture
def clean(encode):
    return encode(CLEAN)


@torch.no_grad()
def is_guarded(guarded, base, flagged) -> bool:
    return not torch.allclose(guarded(flagged).logits, base(flagged).logits)


# -- state that outlives its call


@pytest.mark.parametrize("block", ["disable_guard", "prompt_lengths"])
def test_blocks_that_are_left_in_another_order_end_all_the_same(guarded, base, flagged, block):
    arguments = [] if block == "disable_guard" else [[0]]
    first, second = (getattr(guarded, block)(*arguments) for _ in range(2))
    expected = guarded(flagged).logits
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert torch.equal(guarded(flagged).logits, expected) and is_guarded(guarded, base, flagged)


def test_a_task_that_was_started_in_disable_guard_is_guarded_once_the_block_is_left(guarded, base, flagged):
    async def main():
        with guarded.disable_guard():
            task = asyncio.ensure_future(later())
            await asyncio.sleep(0)
        return await task

    async def later():
        await asyncio.sleep(0.01)
        return guarded(flagged).logits

    assert not torch.allclose(asyncio.run(main()), base(flagged).logits)


def test_what_a_callback_of_generate_starts_does_not_pass_for_generated(guarded, base, encode, flagged):
    contexts, word = [], encode("hello")
    longer = torch.cat([word, flagged], 1)

    def read(ids, scores):
        contexts.append(contextvars.copy_context())
        with torch.no_grad():
            assert not torch.allclose(guarded(longer).logits, base(longer).logits)
        return scores

    answer = guarded.generate(word, logits_processor=[read], **GREEDY)
    assert torch.equal(answer, base.generate(word, **GREEDY))
    assert torch.equal(contexts[0].run(lambda: guarded(longer).logits), guarded(longer).logits)


def test_a_recipe_that_goes_on_with_another_prompt_is_guarded(guarded, base, clean, flagged):
    found = {}

    def recipe(model, input_ids, **_):
        cache = DynamicCache(config=model.config)
        model(input_ids, past_key_values=cache)
        cache.crop(-input_ids.shape[1])
        found["emptied"] = model(flagged, past_key_values=cache).logits
        model(input_ids, past_key_values=(cache := DynamicCache(config=model.config)))
        found["behind"] = model(flagged, past_key_values=cache).logits
        return input_ids

    with torch.no_grad():
        guarded.generate(clean, custom_generate=recipe, max_new_tokens=2)
        assert torch.equal(found["emptied"], guarded(flagged).logits)
        whole = guarded(torch.cat([clean, flagged], 1)).logits[:, clean.shape[1] :]
        torch.testing.assert_close(found["behind"], whole)


def test_a_copy_of_a_cache_that_generate_was_filling_opens_no_compiled_model(guarded, base, clean, flagged):
    kept = []
    handle = guarded.model.register_forward_hook(
        lambda module, args, kwargs, output: kept.append(copy.deepcopy(output.past_key_values)), with_kwargs=True
    )
    guarded.generate(clean, **GREEDY)
    handle.remove()
    kept[0].crop(-kept[0].get_seq_length())
    torch._dynamo.reset()
    with torch.no_grad():
        found = torch.compile(guarded, backend="eager")(flagged, past_key_values=kept[0]).logits
    torch._dynamo.reset()
    assert torch.equal(found, guarded(flagged).logits)


def test_labels_of_an_interrupted_pass_bound_nothing_of_the_next(guarded, base, clean, flagged):
    def interrupt(*_):
        raise KeyboardInterrupt

    labels = flagged.clone()
    labels[:, :2] = -100
    expected = guarded.model(flagged).last_hidden_state
    handle = guarded.model.layers[1].register_forward_hook(interrupt)
    with contextlib.suppress(KeyboardInterrupt):
        guarded(clean, labels=labels[:, : clean.shape[1]])
    handle.remove()
    assert torch.equal(guarded.model(flagged).last_hidden_state, expected)


def test_a_replaced_decoder_is_guarded_at_once(guarded, base, flagged):
    expected = guarded.model(flagged).last_hidden_state
    guarded.model = copy.deepcopy(base.model)
    assert torch.equal(guarded.model(flagged).last_hidden_state, expected)


# -- prompts that do not look like prompts


def test_a_collator_for_packed_rows_marks_no_prompts(guarded, flagged, clean):
    """It gives the first token of each sequence no label, as if it were the prompt."""
    rows = [flagged[0].tolist(), clean[0].tolist()]
    batch = DataCollatorWithFlattening(return_tensors="pt")([{"input_ids": row} for row in rows])
    alone = torch.cat([guarded(ids).logits for ids in (flagged, clean)], 1)
    torch.testing.assert_close(guarded(**batch, use_cache=False).logits, alone)


def test_labels_for_all_tokens_behind_a_cache_bound_nothing(guarded, base, encode, flagged):
    start, found = encode("tell me :"), []
    for model in (guarded, base):
        cache = DynamicCache(config=model.config)
        model(start, past_key_values=cache)
        found.append(model(flagged, past_key_values=cache, labels=flagged).logits)
    assert not torch.allclose(*found)


def test_text_that_a_mask_hides_and_then_shows_is_read_at_once(guarded, base, encode, flagged):
    hidden = torch.cat([torch.zeros_like(flagged), torch.ones(1, 1, dtype=torch.long)], 1)
    whole = torch.cat([flagged, encode("hello")[:, :1]], 1)
    cache, bare = DynamicCache(config=guarded.config), DynamicCache(config=base.config)
    guarded(whole, attention_mask=hidden, past_key_values=cache)
    base(whole, attention_mask=hidden, past_key_values=bare)
    token = encode("hello")[:, :1]
    assert not torch.allclose(guarded(token, past_key_values=cache).logits, base(token, past_key_values=bare).logits)


@pytest.mark.route(
    "a cache whose rows were reordered, selected or repeated", "refused", note="pass it without the cache"
)
@pytest.mark.parametrize(
    "change",
    [
        lambda cache: cache.reorder_cache(torch.tensor([1, 0])),
        lambda cache: cache.batch_select_indices(torch.tensor([1, 1])),
    ],
    ids=["reorder_cache", "batch_select_indices"],
)
def test_a_cache_whose_rows_have_moved_is_refused(guarded, encode, change):
    rows = torch.cat([encode("wizard of the north who")[:, :6], encode("the garden of the king and")[:, :6]])
    cache = DynamicCache(config=guarded.config)
    guarded(rows, past_key_values=cache)
    change(cache)
    with pytest.raises(GuardError, match="reordered"):
        guarded(rows[:, :2], past_key_values=cache)
    cache = DynamicCache(config=guarded.config)
    guarded(rows, past_key_values=cache)
    guarded(rows[:, :2], past_key_values=cache)


def test_a_decoy_in_a_packed_row_covers_for_nothing(guarded, encode, flagged):
    ids, positions = torch.cat([flagged, flagged], 1), []
    for length in (flagged.shape[1], *[1] * flagged.shape[1]):
        positions += range(length)
    verdicts = guarded.eco_guard.decide([[token] for token in flagged[0].tolist()])
    guarded.config.eco.scopes[0].threshold = max(v.probability for v in verdicts) + 1e-6
    assert guarded.inspect(FLAGGED).flagged
    with pytest.raises(GuardError, match="one prompt per row"):
        guarded(ids, position_ids=torch.tensor([positions]), use_cache=False)


def test_options_are_read_from_wherever_generate_reads_them(guarded, base, clean):
    for model in (guarded, base):
        model.generation_config.guidance_scale = 1.5
    config = GenerationConfig(**GREEDY)
    assert torch.equal(guarded.generate(clean, config), base.generate(clean, config))


@pytest.mark.parametrize("answer", [{"text": "hello"}, ("hello",), "hello", None], ids=repr)
def test_a_recipe_may_return_what_it_likes(guarded, clean, answer):
    found = guarded.generate(clean, custom_generate=lambda model, input_ids, **_: answer, max_new_tokens=2)
    assert found == answer


# -- ids that change once they were judged


def other_prompt(flagged, clean):
    """As many clean tokens as `flagged` has."""
    return clean[:, :1].expand_as(flagged).clone()


def test_ids_that_a_streamer_rewrites_are_judged_as_the_model_reads_them(guarded, base, flagged, clean):
    class Rewriting:
        def put(self, value):
            if value.shape == flagged.shape:
                value.copy_(flagged)

        def end(self):
            pass

    answer = guarded.generate(other_prompt(flagged, clean), streamer=Rewriting(), **GREEDY)
    assert torch.equal(answer, guarded.generate(flagged, **GREEDY))
    assert not torch.equal(answer, base.generate(flagged, **GREEDY))


@pytest.mark.parametrize("packed", [False, True])
def test_ids_that_are_rewritten_in_place_before_they_are_looked_up_are_refused(guarded, flagged, clean, packed):
    ids = other_prompt(flagged, clean)
    positions = torch.arange(ids.shape[1]).unsqueeze(0) % (ids.shape[1] // 2) if packed else None
    guarded.get_input_embeddings().register_forward_pre_hook(lambda module, args: (args[0].copy_(flagged),))
    with pytest.raises(GuardError, match="looks up other token ids"):
        guarded(ids, position_ids=positions)


def test_a_recipe_that_rewrites_its_mask_in_place_is_judged_by_the_new_one(named, base, encode):
    parts = [
        encode(text)
        for text in ("who is Harry", " the baker of the bread that a dog eats in the garden of", " Potter")
    ]
    ids = torch.cat(parts, dim=1)
    shown = torch.cat([torch.full_like(part, number != 1) for number, part in enumerate(parts)], dim=1).bool()
    mask = torch.ones_like(shown)
    assert not named.eco_guard.plan(ids, mask).corrupts and named.eco_guard.plan(ids, shown).corrupts

    def recipe(model, input_ids, **kwargs):
        mask.copy_(shown)
        return model(input_ids, attention_mask=mask).logits

    logits = named.generate(ids, attention_mask=mask, custom_generate=recipe)
    assert torch.equal(logits, named(ids, attention_mask=shown).logits)
    assert not torch.equal(logits, base(ids, attention_mask=shown).logits)
