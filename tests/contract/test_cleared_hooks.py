"""A guarded model whose hooks somebody clears stays guarded, however it is called then."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict

import pytest
import torch
from conftest import CLEAN, FLAGGED, lookup_by_hand
from marks import route
from torch.nn.utils import parametrize


def clear(model):
    for module in model.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()


def replace(model):
    for module in model.modules():
        module._forward_hooks = OrderedDict()
        module._forward_pre_hooks = OrderedDict()


def replace_those_of_children(model):
    for child in model.children():
        child._forward_hooks = OrderedDict()
        replace_those_of_children(child)


def exchange_embedding(model):
    clear(model)
    layer = torch.nn.Embedding.from_pretrained(model.get_input_embeddings().weight.data, padding_idx=0)
    model.get_decoder().set_input_embeddings(layer)


def parametrized(model):
    clear(model)
    parametrize.register_parametrization(model.get_input_embeddings(), "weight", torch.nn.Identity())


LOSE = {
    "module._forward_hooks.clear() of every module": clear,
    "module._forward_hooks = OrderedDict() of every module": replace,
    "the same of every child": replace_those_of_children,
    "hooks cleared and another embedding layer": exchange_embedding,
    "hooks cleared and the embedding layer parametrized": parametrized,
}
CALL = {
    "model": lambda model, ids: model(ids).logits,
    "forward": lambda model, ids: model.forward(ids).logits,
    "decoder": lambda model, ids: model.lm_head(model.model(ids).last_hidden_state),
    "get_decoder": lambda model, ids: model.lm_head(model.get_decoder()(ids).last_hidden_state),
    "base_model": lambda model, ids: model.lm_head(model.base_model(ids).last_hidden_state),
    "functional_call": lambda model, ids: (
        torch.func.functional_call(model, dict(model.named_parameters()), (ids,)).logits
    ),
    "generate": lambda model, ids: torch.cat(
        model.generate(ids, max_new_tokens=1, output_logits=True, return_dict_in_generate=True).logits
    )[:, None],
}


@pytest.fixture
def expected(guarded, base, tokenizer):
    """expected(text): (its ids, the logits that the guarded model is to give)."""

    @torch.no_grad()
    def expected(text):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        if text == CLEAN:
            return ids, base(ids).logits
        return ids, base(inputs_embeds=lookup_by_hand(guarded, base, ids)).logits

    return expected


@torch.no_grad()
@pytest.mark.parametrize("lose", [pytest.param(lose, id=name, marks=route(name)) for name, lose in LOSE.items()])
def test_a_model_whose_hooks_were_cleared_answers_guarded(guarded, expected, lose):
    wanted = [expected(text) for text in (FLAGGED, CLEAN)]
    for name, call in CALL.items():
        model = copy.deepcopy(guarded)
        lose(model)
        for ids, logits in wanted * 2:
            found = call(model, ids)
            torch.testing.assert_close(found, logits[:, -found.shape[1] :], msg=name)


@torch.no_grad()
@pytest.mark.parametrize("lose", [clear, replace])
@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), copy.copy],
    ids=["deepcopy", "pickle", "copy"],
)
def test_a_copy_whose_hooks_were_cleared_answers_guarded(guarded, expected, lose, duplicate):
    ids, logits = expected(FLAGGED)
    other = duplicate(guarded)
    lose(other)
    for model in (other, guarded):
        torch.testing.assert_close(model(ids).logits, logits)


@torch.no_grad()
def test_a_decoder_taken_out_before_hooks_were_cleared_stays_guarded(guarded, expected):
    ids, logits = expected(FLAGGED)
    decoder = guarded.model
    clear(guarded)
    torch.testing.assert_close(guarded.lm_head(decoder(ids).last_hidden_state), logits)


@torch.no_grad()
def test_a_compiled_model_whose_hooks_were_cleared_answers_guarded(guarded, expected):
    ids, logits = expected(FLAGGED)
    torch._dynamo.reset()
    compiled = torch.compile(guarded, backend="eager")
    torch.testing.assert_close(compiled(ids).logits, logits)
    clear(guarded)
    torch.testing.assert_close(compiled(ids).logits, logits)
    torch._dynamo.reset()


@torch.no_grad()
def test_hooks_of_the_users_are_cleared(guarded, expected):
    ids, _ = expected(CLEAN)
    called = []
    for module in (guarded, guarded.model, guarded.get_input_embeddings(), guarded.lm_head):
        module.register_forward_hook(lambda *_: called.append(True))
    clear(guarded)
    guarded(ids)
    assert not called
