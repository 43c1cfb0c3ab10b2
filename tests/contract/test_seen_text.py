"""The guard reads the text that the model sees, whatever masks, positions and packing make of the ids."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from marks import route
from transformers import DynamicCache

from hf_eco import GuardError

WHOLE = "Who is Prince Harry, and what does a clay Potter do at his wheel?"
HIDDEN = ("Prince", ", and what does a clay", " do at his wheel")
SEEN = "Who is  Harry Potter?"
GREEDY = {"do_sample": False, "max_new_tokens": 6}


@pytest.fixture
def holes(named):
    """(ids of a text that is clean as a whole, the mask that leaves a question about the scope of it)."""
    encode = named.eco_guard.reader.encode
    pieces, rest = [], WHOLE
    for hidden in HIDDEN:
        shown, _, rest = rest.partition(hidden)
        pieces += [(shown, 1), (hidden, 0)]
    pieces.append((rest, 1))
    ids = [token for text, _ in pieces for token in encode(text)]
    mask = [shown for text, shown in pieces for _ in encode(text)]
    assert named.eco_guard.reader.read(ids).text == WHOLE and not named.inspect(WHOLE).flagged
    assert named.inspect(SEEN).flagged
    return torch.tensor([ids]), torch.tensor([mask])


def four_dimensional(mask, dtype=torch.bool):
    columns = mask.shape[1]
    seen = mask.bool()[:, None, None] & torch.ones(columns, columns, dtype=torch.bool).tril()
    return seen if dtype == torch.bool else torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(dtype).min)


@route("an attention_mask with holes: what the model sees is judged, and the whole")
@torch.no_grad()
@pytest.mark.parametrize("form", ["2-D", "4-D bool", "4-D float"])
def test_what_a_mask_leaves_of_a_text_is_judged_by_itself(named, base, holes, form):
    ids, mask = holes
    given = {"2-D": mask, "4-D bool": four_dimensional(mask), "4-D float": four_dimensional(mask, torch.float32)}[form]
    assert torch.equal(named(ids).logits, base(ids).logits)
    last = named(ids, attention_mask=given).logits[:, -1]
    assert not torch.allclose(last, base(ids, attention_mask=given).logits[:, -1])
    if form == "2-D":
        plan = named.eco_guard.plan(ids, mask)
        assert plan.scopes == ("potter",) and not plan.selected[~mask.bool()].any()


@torch.no_grad()
def test_holes_are_judged_in_generate_and_behind_a_cache(named, base, holes):
    ids, mask = holes
    options = {**GREEDY, "return_dict_in_generate": True, "output_logits": True, "attention_mask": mask}
    found, bare = (model.generate(ids, **options).logits[0] for model in (named, base))
    assert not torch.allclose(found, bare)
    caches = [DynamicCache(config=model.config) for model in (named, base)]
    part = ids.shape[1] - 3
    for model, cache in zip((named, base), caches, strict=True):
        model(ids[:, :part], cache=cache)
    found, bare = (
        model(ids[:, part:], attention_mask=mask, cache=cache).logits
        for model, cache in zip((named, base), caches, strict=True)
    )
    assert not torch.allclose(found, bare)


@torch.no_grad()
def test_a_loop_of_the_users_shows_the_model_nothing_that_was_not_judged(named, base, holes):
    ids, mask = holes
    seen = {}

    def recipe(model, input_ids, **_):
        seen["logits"] = model(input_ids, attention_mask=mask).logits
        return input_ids

    named.generate(ids, custom_generate=recipe, max_new_tokens=2)
    assert not torch.allclose(seen["logits"], base(ids, attention_mask=mask).logits)


@route("a mask that shows tokens of one row different texts", "refused", note="pass a (batch, sequence) mask")
@pytest.mark.parametrize("form", ["block diagonal", "bias", "short", "dictionary"])
def test_a_mask_that_the_guard_cannot_follow_is_refused(named, holes, form):
    ids, mask = holes
    whole = four_dimensional(torch.ones_like(mask))
    block = whole.clone()
    block[..., 5:, :5] = False
    given = {
        "block diagonal": block,
        "bias": torch.full(whole.shape, -3.0),
        "short": mask[:, :3],
        "dictionary": {"full_attention": whole},
    }[form]
    with pytest.raises(GuardError, match="attention_mask"):
        named(ids, attention_mask=given)


def shuffled(ids, text, order):
    """The ids of `text`'s words in another order, and the positions that put them back."""
    words = [ids(word) for word in text]
    starts = torch.tensor([len(word) for word in words]).cumsum(0).tolist()
    positions = [list(range(end - len(word), end)) for word, end in zip(words, starts, strict=True)]
    moved = [(words[i], positions[i]) for i in order]
    return tuple(torch.tensor([list(chain(*parts))]) for parts in zip(*moved, strict=True))


@route("position_ids that reorder a row's tokens, or leave gaps", "refused", note="leave them out")
@pytest.mark.parametrize("masked", [True, False], ids=["with a mask", "without"])
def test_positions_that_make_another_text_are_refused(named, masked):
    ids, positions = shuffled(named.eco_guard.reader.encode, ["Who is", " Harry", " Potter", "?"], [2, 0, 1, 3])
    assert not named.inspect(named.eco_guard.reader.read(ids[0].tolist()).text).flagged
    options = {"attention_mask": torch.ones_like(ids)} if masked else {}
    with pytest.raises(GuardError, match="position_ids"):
        named(ids, position_ids=positions, **options)
    with pytest.raises(GuardError, match="position_ids"):
        named.generate(ids, position_ids=positions, **options, **GREEDY)
    gaps = torch.arange(ids.shape[1])[None] * 7
    with pytest.raises(GuardError, match=r"position_ids|one prompt per row"):
        named(ids, position_ids=gaps, attention_mask=torch.ones_like(ids))


@torch.no_grad()
def test_positions_behind_a_cache_go_on_from_it(named, base):
    encode = named.eco_guard.reader.encode
    first, then = (torch.tensor([encode(text)]) for text in (" Potter?", "Who is Harry"))
    cache = DynamicCache(config=named.config)
    named(first, position_ids=torch.arange(first.shape[1])[None] + 20, cache=cache)
    with pytest.raises(GuardError, match="position_ids"):
        named(then, position_ids=torch.arange(then.shape[1])[None], cache=cache)


@route("packed rows whose arguments contradict one another", "refused", note="pass one of them")
@pytest.mark.parametrize("case", ["order", "keys", "index", "mask", "generate"])
def test_packed_rows_that_are_told_in_two_ways_are_refused(named, case):
    encode = named.eco_guard.reader.encode
    parts = [encode(" Potter?"), encode("Who is Harry")]
    ids = torch.tensor([list(chain(*parts))])
    ends = torch.tensor([0, len(parts[0]), ids.shape[1]])
    first = torch.arange(len(parts[0])) + len(parts[1])
    call = {
        "order": {"position_ids": torch.cat([first, torch.arange(len(parts[1]))])[None]},
        "keys": {"cu_seq_lens_k": torch.tensor([0, ids.shape[1]])},
        "index": {"seq_idx": torch.zeros_like(ids)},
        "mask": {"attention_mask": torch.ones_like(ids).index_fill(1, torch.tensor([3]), 0)},
        "generate": {},
    }[case]
    with pytest.raises(GuardError, match=r"sequence|differently|attention_mask|per row"):
        if case == "generate":
            named.generate(ids, cu_seq_lens_q=ends, **GREEDY)
        else:
            named.model(ids, cu_seq_lens_q=ends, use_cache=False, **call)
