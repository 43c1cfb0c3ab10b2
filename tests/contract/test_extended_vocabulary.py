"""A guard reads by its tokenizer: what that does not know is refused, and what it loses is noticed."""

from __future__ import annotations

import copy

import pytest
import torch
from marks import route
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hf_eco import AutoModelForCausalLMWithECO, ECOConfig, ForgetScope, GuardError, GuardLoadError

QUESTION = "Who wrote the Harry Potter books?"
GREEDY = {"do_sample": False, "max_new_tokens": 3}


@pytest.fixture
def extended(named, base_dir):
    """A tokenizer with a token more, to which the model has been resized."""
    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    tokenizer.add_tokens([" Harry Potter"])
    named.resize_token_embeddings(len(tokenizer))
    return tokenizer


def ids_of(tokenizer, text=QUESTION):
    return torch.tensor([tokenizer(text)["input_ids"]])


@route("tokens added to the vocabulary, which the guard was not told of", "refused", note="model.set_tokenizer")
@torch.no_grad()
def test_tokens_that_the_guard_does_not_know_are_refused(named, extended):
    ids = ids_of(extended)
    for call in (named, named.model, named.generate, named.eco_guard.plan):
        with pytest.raises(GuardError, match="set_tokenizer"):
            call(ids)
    assert named.generate(ids_of(extended, "Who wrote Emma?"), **GREEDY) is not None


@route("tokens added to the vocabulary, and the guard given the new tokenizer")
@torch.no_grad()
def test_a_guard_that_was_given_the_new_tokenizer_reads_new_tokens_and_is_saved_with_it(named, extended, tmp_path):
    named.set_tokenizer(extended)
    named.save_pretrained(tmp_path)
    for model in (named, AutoModelForCausalLMWithECO.from_pretrained(tmp_path)):
        (verdict,) = model.eco_guard.decide(ids_of(extended).tolist())
        assert verdict.flagged and extended.convert_tokens_to_ids(" Harry Potter") in [
            ids_of(extended)[0, i] for i in verdict.tokens
        ]
        with model.disable_guard():
            bare = model(ids_of(extended)).logits
        assert not torch.allclose(model(ids_of(extended)).logits, bare)


def test_a_guard_whose_own_tokenizer_was_extended_is_not_saved_before_it_is_told(named, tmp_path):
    tokenizer = named.eco_guard.tokenizer
    tokenizer.add_tokens([" Harry Potter"])
    named.resize_token_embeddings(len(tokenizer))
    assert named.inspect(QUESTION).flagged
    for save in (named.save_pretrained, named.save_guard):
        with pytest.raises(GuardError, match="set_tokenizer"):
            save(tmp_path / "guarded")
    named.set_tokenizer(tokenizer)
    named.save_pretrained(tmp_path / "guarded")
    assert AutoModelForCausalLMWithECO.from_pretrained(tmp_path / "guarded").inspect(QUESTION).flagged


def test_another_models_tokenizer_is_no_extension(named, tokenizer):
    other = copy.deepcopy(tokenizer)
    vocabulary = dict(reversed(sorted(other.get_vocab().items())))
    swapped = {token: len(vocabulary) - 1 - i for token, i in vocabulary.items()}
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(swapped, unk_token="<pad>")))
    with pytest.raises(ValueError, match="another in the guard's"):
        named.set_tokenizer(other)


@route("special tokens that carry words")
@pytest.mark.parametrize("token", ["Harry Potter", "<|Harry Potter|>", "<|harry_potter|>", "[Harry.Potter]"])
def test_special_tokens_that_carry_a_name_are_read(named, base_dir, token):
    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", token, "<|reserved|>"]})
    named.resize_token_embeddings(len(tokenizer))
    named.set_tokenizer(tokenizer)
    assert named.inspect(f"Who wrote the {token} books?").flagged
    assert not named.inspect("Who wrote the <|reserved|> books?").flagged
    (clean,) = named.eco_guard.inspect([[{"role": "user", "content": "Who wrote Emma?"}]])
    assert not clean.flagged


def losing(loss):
    """A character-level tokenizer that loses something."""
    characters = "".join(map(chr, range(32, 127)))
    tokenizer = Tokenizer(models.WordLevel({c: i for i, c in enumerate(characters)}))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    if loss == "letters":
        tokenizer.decoder = decoders.Sequence([decoders.Replace("a", ""), decoders.Fuse()])
    elif loss == "spaces":
        tokenizer.decoder = decoders.Sequence([decoders.Replace(" ", ""), decoders.Fuse()])
    elif loss == "nothing":
        tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@route("a tokenizer that does not give words back", "refused", note="load the model's own")
@pytest.mark.parametrize("loss", ["letters", "spaces", "words"])
def test_a_tokenizer_that_loses_letters_or_spaces_is_refused_when_the_guard_is_attached(base_dir, loss):
    scope = ForgetScope(name="potter", names=["Harry Potter"])
    load = AutoModelForCausalLMWithECO.from_pretrained
    with pytest.raises((GuardError, GuardLoadError, ValueError), match=r"back as|recognised"):
        load(base_dir, eco_config=ECOConfig(scopes=[scope]), tokenizer=losing(loss))
    load(base_dir, eco_config=ECOConfig(scopes=[scope]), tokenizer=losing("nothing"))
