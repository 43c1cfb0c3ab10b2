"""What an option of generate makes a model say is judged as if it stood in the prompt."""

from __future__ import annotations

import inspect
import itertools

import pytest
import torch
from conftest import CLEAN, FLAGGED
from marks import route
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    TextStreamer,
    WatermarkingConfig,
)

from hf_eco import GuardError
from hf_eco.inference import generate_options

QUESTION = " who is the wizard of the north ?"
GREEDY = {"do_sample": False, "max_new_tokens": 40}


@pytest.fixture
def words(tokenizer):
    return tokenizer(QUESTION)["input_ids"]


@pytest.fixture
def prompt(tokenizer):
    return tokenizer("hello", return_tensors="pt")["input_ids"]


class Say:
    """Has the model say `words` after `start` tokens, and then what it likes."""

    def __init__(self, words, start):
        self.words, self.start = words, start

    def allowed(self, row, ids):
        said = ids.shape[0] - self.start
        return [self.words[said]] if said < len(self.words) else list(range(3, 300))

    def __call__(self, input_ids, scores):
        allowed = torch.tensor(self.allowed(0, input_ids[0]))
        return torch.full_like(scores, -torch.inf).index_copy(1, allowed, scores[:, allowed])


def biases(words, start):
    """`sequence_bias` that leads from each word to the next."""
    return [[words[: n + 1], 500.0 + 100.0 * n] for n in range(len(words))]


def bans(base, prompt, words):
    """Of each word, behind the ones before, whatever the model would rather say."""
    ids = torch.cat([prompt, torch.tensor([words])], dim=1)
    scores, start = base(ids).logits[0], prompt.shape[1]
    said = ids[0].tolist()
    return [
        [*said[:place], better]
        for place in range(start, len(said))
        for better in (scores[place - 1] > scores[place - 1, said[place]]).nonzero().squeeze(-1).tolist()
    ]


DICTATED = {
    "sequence_bias": lambda words, start: {"sequence_bias": biases(words, start)},
    "prefix_allowed_tokens_fn": lambda words, start: {"prefix_allowed_tokens_fn": Say(words, start).allowed},
    "logits_processor": lambda words, start: {"logits_processor": LogitsProcessorList([Say(words, start)])},
    "generation_config": lambda words, start: {
        "generation_config": GenerationConfig(sequence_bias=biases(words, start), **GREEDY)
    },
}


@pytest.mark.parametrize(
    "how", [pytest.param(how, marks=route(f"a question that {how} dictates", "refused")) for how in DICTATED]
)
@pytest.mark.parametrize("beside", [{}, {"num_beams": 2}, {"use_cache": False}], ids=str)
def test_a_question_that_an_option_dictates_is_not_answered(guarded, base, prompt, words, tokenizer, how, beside):
    options = {**GREEDY, **DICTATED[how](words, prompt.shape[1]), **beside}
    if how == "generation_config":
        options = {name: value for name, value in options.items() if name not in GREEDY}
    said = tokenizer.decode(base.generate(prompt, **options)[0])
    assert "wizard" in said
    with pytest.raises(GuardError, match=r"forget scope 'wizards'.*(bias|processor|allowed)"):
        guarded.generate(prompt, **options)


@route("a sequence_bias in the repository's generation_config.json that dictates a question", "refused")
def test_what_a_repository_has_its_model_say_is_judged(guarded, prompt, words, tmp_path):
    guarded.save_pretrained(tmp_path)
    GenerationConfig(sequence_bias=biases(words, 0), max_new_tokens=40).save_pretrained(tmp_path)
    with pytest.raises(GuardError, match="sequence_bias"):
        AutoModelForCausalLM.from_pretrained(tmp_path).generate(prompt)


@route("a question that bad_words_ids, or a sequence_bias, leave over", "refused")
@pytest.mark.parametrize("option", ["bad_words_ids", "sequence_bias"])
def test_a_question_that_bans_leave_over_is_not_answered(guarded, base, prompt, words, tokenizer, option):
    banned = bans(base, prompt, words)
    options = {option: banned if option == "bad_words_ids" else [[ban, -1e4] for ban in banned], **GREEDY}
    assert tokenizer.decode(base.generate(prompt, **options)[0]).startswith(f"hello{QUESTION}")
    with pytest.raises(GuardError, match=f"forget scope 'wizards'.*{option}"):
        guarded.generate(prompt, **options)


@route("a word that a minimal length and all other eos_token_id leave over", "refused")
def test_a_word_that_nearly_every_token_ends_an_answer_for_is_not_continued(guarded, base, prompt, tokenizer):
    word = tokenizer(" wizard")["input_ids"]
    assert len(word) == 1
    ends = [token for token in range(base.config.vocab_size) if token != word[0]]
    options = {"min_new_tokens": 1, "max_new_tokens": 2, "eos_token_id": ends}
    assert " wizard" in tokenizer.decode(base.generate(prompt, **options)[0])
    with pytest.raises(GuardError, match=r"forget scope 'wizards'.*eos_token_id"):
        guarded.generate(prompt, **options)


def test_a_flagged_conversation_has_no_second_question_dictated(guarded, tokenizer, words):
    ids = tokenizer(FLAGGED, return_tensors="pt")["input_ids"]
    with pytest.raises(GuardError, match="prefix_allowed"):
        guarded.generate(ids, prefix_allowed_tokens_fn=Say(words, ids.shape[1]).allowed, **GREEDY)


def test_little_of_a_dictated_question_is_streamed(guarded, prompt, words, tokenizer):
    heard = []

    class Streamer(TextStreamer):
        def put(self, value):
            heard.extend(value.flatten().tolist())

    options = {"prefix_allowed_tokens_fn": Say(words, prompt.shape[1]).allowed, **GREEDY}
    with pytest.raises(GuardError):
        guarded.generate(prompt, streamer=Streamer(tokenizer), **options)
    assert len(heard) <= prompt.shape[1] + len(words)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.7, "do_sample": True, "top_p": 0.9, "top_k": 20},
        {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3},
        {"bad_words_ids": [[5], [7, 8]], "suppress_tokens": [9]},
        {"sequence_bias": [[[5], -3.0]]},
        {"forced_eos_token_id": 2, "stop_strings": None},
    ],
    ids=str,
)
def test_harmless_options_are_not_watched(guarded, prompt, options, monkeypatch):
    monkeypatch.setattr("hf_eco.modeling.AnswerWatch", None)
    guarded.generate(prompt, max_new_tokens=4, **options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"watermarking_config": WatermarkingConfig(bias=5.0)}, ("watermarking_config",)),
        ({"suppress_tokens": list(range(17))}, ("suppress_tokens",)),
        ({"bad_words_ids": [[5, word] for word in range(17)]}, ("bad_words_ids",)),
        ({"sequence_bias": {(5,): 1.0}}, ("sequence_bias",)),
        ({"sequence_bias": {(word,): -1.0 for word in range(17)}}, ("sequence_bias",)),
        ({"eos_token_id": list(range(17))}, ("eos_token_id",)),
        ({"eos_token_id": [1, 2, 3], "suppress_tokens": list(range(16))}, ()),
        ({"repetition_penalty": 0.5}, ("repetition_penalty",)),
        ({"encoder_repetition_penalty": 1.5}, ("encoder_repetition_penalty",)),
        ({"repetition_penalty": 1.2, "encoder_repetition_penalty": 0.8}, ()),
        ({"assistant_ensemble_weight": 0.5}, ("assistant_ensemble_weight",)),
        ({"force_words_ids": [[1]]}, ("force_words_ids",)),
        ({"logits_processor": LogitsProcessorList()}, ()),
    ],
    ids=str,
)
def test_options_that_may_dictate_are_watched(options, expected):
    assert generate_options.watched_options(options.get) == expected


def test_every_option_of_generate_is_known():
    """A new one of transformers is looked at before it is passed on: see hf_eco/inference/generate_options.py."""
    public = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    assert public - generate_options.OF_CONFIG.keys() == set()
    arguments = set(inspect.signature(GenerationMixin.generate).parameters) - {"self"}
    assert arguments - generate_options.OF_CALL.keys() == set()


def test_an_option_that_is_not_known_is_refused(guarded, prompt, monkeypatch):
    left = {name: option for name, option in generate_options.OF_CONFIG.items() if name != "min_p"}
    monkeypatch.setattr(generate_options, "OF_CONFIG", left)
    guarded.generate(prompt, max_new_tokens=1)
    with pytest.raises(GuardError, match="'min_p'"):
        guarded.generate(prompt, max_new_tokens=1, min_p=0.1)


@route("continuous batching with an option that dictates", "refused", note="use generate")
def test_batches_are_not_dictated(guarded, words):
    config = GenerationConfig(sequence_bias=biases(words, 0), max_new_tokens=4)
    with pytest.raises(GuardError, match="sequence_bias"):
        guarded.init_continuous_batching(config)


# -- loops of the user's own


def feeding(words, cached):
    """A recipe that feeds the model `words`, one by one, and returns nothing of it."""

    def recipe(model, input_ids, **_):
        cache = DynamicCache(config=model.config)
        model(input_ids, cache=cache, use_cache=True)
        for n in range(len(words)):
            grown = torch.cat([input_ids, torch.tensor([words[: n + 1]])], 1)
            if cached:
                model(grown[:, -1:], cache=cache)
            else:
                model(grown, use_cache=False)
        return input_ids

    return recipe


@route("custom_generate that feeds a question token by token", "refused", note="pass it in the prompt")
@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("text", [FLAGGED, CLEAN])
@torch.no_grad()
def test_a_recipe_that_feeds_a_question_as_if_it_were_generated_is_refused(guarded, tokenizer, words, cached, text):
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with pytest.raises(GuardError):
        guarded.generate(ids, custom_generate=feeding(words, cached), max_new_tokens=3)


@route("a second question, fed token by token behind a flagged one", "refused", note="pass it in one piece")
@torch.no_grad()
def test_a_question_behind_a_flagged_one_does_not_pass_for_generated(guarded, tokenizer, words):
    ids = tokenizer(FLAGGED, return_tensors="pt")["input_ids"]
    cache = DynamicCache(config=guarded.config)
    guarded(ids, cache=cache)
    with pytest.raises(GuardError, match="token by token"):
        for word in words:
            guarded(torch.tensor([[word]]), cache=cache)


def test_arguments_by_position_are_read(guarded, prompt, words):
    by_position = itertools.chain([None] * 3, [Say(words, prompt.shape[1]).allowed])
    with pytest.raises(GuardError, match="prefix_allowed"):
        guarded.generate(prompt, *by_position, **GREEDY)
