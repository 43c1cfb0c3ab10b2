"""A guarded model that flags nothing is its base model, to the bit: transformers' own promises about a causal LM."""

from __future__ import annotations

import copy
import filecmp
import inspect
import json
import os

import pytest
import torch
from conftest import CLEAN, FLAGGED, lookup_by_hand
from torch import Tensor
from transformers import (
    AutoTokenizer,
    Cache,
    DynamicCache,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LogitsProcessor,
    LogitsProcessorList,
    StaticCache,
    StoppingCriteria,
    StoppingCriteriaList,
    Trainer,
    TrainingArguments,
    WatermarkingConfig,
    pipeline,
)

from hf_eco import (
    AutoModelForCausalLMWithECO,
    CorruptionConfig,
    ECOConfig,
    ForgetScope,
    GuardError,
)
from hf_eco.modeling import guarded_model_class

RECORDED = {
    "return_dict_in_generate": True,
    "output_scores": True,
    "output_logits": True,
    "output_attentions": True,
    "output_hidden_states": True,
}


def bare(name: str):
    return pytest.mark.route(name, "guarded", note="unflagged prompts come out as from the bare model, to the bit")


def same(found, expected) -> bool:
    """Whether two outputs are of the same type, shape, dtype and values, to the bit (NaN equals NaN)."""
    if isinstance(expected, Tensor):
        alike = isinstance(found, Tensor) and found.dtype == expected.dtype and found.shape == expected.shape
        return alike and bool(((found == expected) | ((found != found) & (expected != expected))).all())
    if isinstance(expected, Cache):
        layers = [[(x.keys, x.values) for x in cache.layers if x.is_initialized] for cache in (found, expected)]
        return type(found) is type(expected) and same(*layers)
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[key], value) for key, value in expected.items())
    if isinstance(expected, (list, tuple)):
        alike = type(found) is type(expected) and len(found) == len(expected)
        return alike and all(same(*pair) for pair in zip(found, expected, strict=True))
    return found == expected


def guard_for(classifier_dir: str) -> ECOConfig:
    corruption = CorruptionConfig(method="rand_noise_first_n", dims=8, strength=10.0, seed=3)
    return ECOConfig(scopes=[ForgetScope(name="wizards", classifier=classifier_dir, corruption=corruption)])


@pytest.fixture(scope="module")
def load(classifier_dir):
    """Loads a directory twice: guarded, and bare."""

    def load(directory, **options):
        guarded = AutoModelForCausalLMWithECO.from_pretrained(
            directory, eco_config=guard_for(classifier_dir), **copy.deepcopy(options)
        )
        return guarded, LlamaForCausalLM.from_pretrained(directory, **options)

    return load


@pytest.fixture(scope="module")
def shared(load, base_dir):
    """A guarded and a bare model that no test changes."""
    return load(base_dir, attn_implementation="eager")


@pytest.fixture
def pair(load, base_dir):
    """A guarded and a bare model of the test's own."""
    return load(base_dir, attn_implementation="eager")


@pytest.fixture(scope="module")
def tied_dir(base_dir, tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("tied"))
    AutoTokenizer.from_pretrained(base_dir).save_pretrained(directory)
    torch.manual_seed(1)
    config = LlamaConfig.from_pretrained(base_dir)
    config.tie_word_embeddings = True
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def tokenizer(base_dir):
    return AutoTokenizer.from_pretrained(base_dir)


@pytest.fixture(scope="module")
def prompts(shared, tokenizer):
    """Inputs that are not flagged: one clean text, a padded batch of two, and ids that are no text at all."""
    guard, draw = shared[0].eco_guard, torch.Generator().manual_seed(0)
    while True:
        ids = torch.randint(3, len(tokenizer), (2, 7), generator=draw)
        if not any(verdict.flagged for verdict in guard.decide(ids.tolist())):
            break
    texts = [CLEAN, "tell me about the old garden of the king"]
    assert not any(verdict.flagged for verdict in shared[0].inspect(texts))
    return {
        "text": dict(tokenizer(CLEAN, return_tensors="pt")),
        "batch": dict(tokenizer(texts, return_tensors="pt", padding=True)),
        "random": {"input_ids": ids},
    }


@pytest.fixture(scope="module")
def ids(prompts):
    return prompts["text"]["input_ids"]


def both(pair, call, seed=0):
    """`call(model)` of the guarded and of the bare model, with the same random numbers."""
    results = []
    for model in pair:
        torch.manual_seed(seed)
        results.append(call(model))
    return results


def assert_bare(pair, call, seed=0) -> None:
    assert same(*both(pair, call, seed))


# -- generate


class FavourThirteen(LogitsProcessor):
    def __call__(self, input_ids, scores):
        return scores + 3.0 * torch.nn.functional.one_hot(torch.tensor(13), scores.shape[-1])


class StopAfterThree(StoppingCriteria):
    def __init__(self, prompt):
        self.stop = prompt + 3

    def __call__(self, input_ids, scores, **kwargs):
        return torch.full((input_ids.shape[0],), input_ids.shape[1] >= self.stop)


def case(name, *, prompts=("text", "batch", "random"), route=None, **options):
    marks = [bare(route)] if route else []
    return [pytest.param(prompt, options, id=f"{name}-{prompt}", marks=marks) for prompt in prompts]


GENERATE = [
    *case("greedy", route="generate: greedy"),
    *case("sample", do_sample=True, top_k=20, top_p=0.9, temperature=1.3, route="generate: sampling"),
    *case("sequences", do_sample=True, num_return_sequences=3, route="generate: several sampled sequences"),
    *case("beam", num_beams=3, route="generate: beam search"),
    *case("beams", num_beams=3, num_return_sequences=2, length_penalty=0.5, early_stopping=True),
    *case("beam-sample", num_beams=3, do_sample=True, route="generate: beam sampling"),
    *case("no-cache", use_cache=False, route="generate: without a cache"),
    *case("beam-no-cache", num_beams=2, use_cache=False),
    *case("static", cache_implementation="static", route="generate: static cache"),
    *case("beam-static", num_beams=2, cache_implementation="static"),
    *case("chunked", prefill_chunk_size=3, route="generate: chunked prefill"),
    *case("lookup", prompts=["text"], prompt_lookup_num_tokens=2, route="generate: prompt lookup"),
    *case("max-length", max_new_tokens=None, max_length=16),
    *case("min-new", min_new_tokens=6, eos_token_id=[2, 40, 41, 42]),
    *case("min-length", min_length=14, eos_token_id=[2, 40, 41, 42]),
    *case("penalties", repetition_penalty=1.3, no_repeat_ngram_size=2, encoder_repetition_penalty=1.1),
    *case("words", bad_words_ids=[[5], [7, 8]], sequence_bias=[[[12], 4.0]], suppress_tokens=[9]),
    *case("forced", forced_eos_token_id=2, exponential_decay_length_penalty=(2, 1.5), renormalize_logits=True),
    *case("warpers", do_sample=True, min_p=0.02, typical_p=0.9, epsilon_cutoff=1e-3, eta_cutoff=1e-3, top_h=0.5),
    *case("watermark", do_sample=True, watermarking_config=WatermarkingConfig(bias=2.5, seeding_scheme="selfhash")),
    *case("config", max_new_tokens=None, generation_config=GenerationConfig(max_new_tokens=4, num_beams=2)),
    *case("allowed", prefix_allowed_tokens_fn=lambda row, ids: [5, 6, 7 + row, int(ids[-1]) % 90 + 3]),
    *case("processors", logits_processor=LogitsProcessorList([FavourThirteen()]), route="generate: logits processors"),
    *case("hole", prompts=["random"], attention_mask=torch.ones(2, 7).index_fill(1, torch.tensor([2]), 0).long()),
    *case("positions", prompts=["random"], position_ids=torch.arange(3, 10)[None]),
    *case("early-exit", prompts=["text"], assistant_early_exit=1),
    *case("max-time", max_time=1000.0, remove_invalid_values=True),
]


@pytest.mark.parametrize(("prompt", "options"), GENERATE)
def test_generate_gives_the_bare_models_tokens_scores_and_states(shared, prompts, prompt, options):
    options = {"max_new_tokens": 6} | RECORDED | options

    def run(model):
        return model.generate(**prompts[prompt], **copy.deepcopy(options))

    guarded, expected = both(shared, run, seed=4)
    assert type(guarded) is type(expected) and guarded.scores and guarded.attentions and guarded.hidden_states
    assert same(dict(guarded), dict(expected))


@bare("generate: stop strings")
def test_stop_strings_and_stopping_criteria_stop_where_they_stop_the_bare_model(shared, tokenizer, ids):
    words, start = tokenizer(" king garden cat").input_ids, ids.shape[1]

    def in_turn(row, ids):
        return [words[(ids.shape[0] - start) % len(words)]]

    stop = tokenizer.decode(words[2]).strip()
    criteria = StoppingCriteriaList([StopAfterThree(start)])
    for options in ({"stop_strings": [stop], "tokenizer": tokenizer}, {"stopping_criteria": criteria}):
        guarded, expected = both(
            shared, lambda m, o=options: m.generate(ids, max_new_tokens=8, prefix_allowed_tokens_fn=in_turn, **o)
        )
        assert torch.equal(guarded, expected) and expected.shape[1] == start + 3


@bare("generate: positional arguments")
def test_generate_takes_its_arguments_by_position(shared, ids):
    config = GenerationConfig(max_new_tokens=4, do_sample=True, eos_token_id=2, pad_token_id=0)
    processors, criteria = (
        LogitsProcessorList([FavourThirteen()]),
        StoppingCriteriaList([StopAfterThree(ids.shape[1])]),
    )
    assert_bare(shared, lambda m: m.generate(ids, config, processors, criteria))
    assert_bare(shared, lambda m: m.generate(inputs=ids, generation_config=config))


@bare("generate: without a prompt")
def test_generate_without_a_prompt_starts_from_the_bos_token(shared):
    assert_bare(shared, lambda m: m.generate(bos_token_id=1, max_new_tokens=4))
    for model in shared:
        with pytest.raises(ValueError, match="bos_token_id"):
            model.generate(max_new_tokens=4)


@bare("generate: assisted by a draft model")
@pytest.mark.parametrize("do_sample", [False, True])
def test_assisted_decoding_gives_the_bare_models_tokens(shared, base, ids, do_sample):
    base.generation_config.num_assistant_tokens = 2
    options = {"assistant_model": base, "do_sample": do_sample, "max_new_tokens": 6} | RECORDED
    guarded, expected = both(shared, lambda m: m.generate(ids, **options))
    assert same(dict(guarded), dict(expected))


def test_a_guarded_draft_model_drafts_as_the_bare_one(shared, base, ids):
    answers = [base.generate(ids, assistant_model=draft, max_new_tokens=6) for draft in shared]
    assert torch.equal(*answers)


@bare("generate: custom_generate")
def test_a_decoding_loop_of_ones_own_runs_as_on_the_bare_model(shared, prompts):
    def last_words(model, input_ids, generation_config, **kwargs):
        for _ in range(3):
            logits = model(input_ids, attention_mask=None).logits[:, -1]
            input_ids = torch.cat([input_ids, logits.argmin(-1, keepdim=True)], 1)
        return input_ids

    assert_bare(shared, lambda m: m.generate(**prompts["text"], custom_generate=last_words))


@pytest.mark.parametrize("eos_is_pad", [False, True])
def test_padding_without_a_mask_is_inferred_as_for_the_bare_model(shared, prompts, eos_is_pad):
    options = {"eos_token_id": [0, 2]} if eos_is_pad else {}
    assert (prompts["batch"]["input_ids"] == 0).any()
    assert_bare(shared, lambda m: m.generate(prompts["batch"]["input_ids"], max_new_tokens=5, **options))


def test_generation_defaults_are_read_from_the_models_generation_config(pair, ids):
    for model in pair:
        model.generation_config.update(max_new_tokens=3, do_sample=True, num_beams=2, return_dict_in_generate=True)
    guarded, expected = both(pair, lambda m: m.generate(ids))
    assert same(dict(guarded), dict(expected)) and expected.sequences.shape[1] <= ids.shape[1] + 3
    assert pair[0].generation_config.to_dict() == pair[1].generation_config.to_dict()


# -- caches


def caches(kind, config):
    return StaticCache(config=config, max_cache_len=48) if kind == "static" else DynamicCache(config=config)


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_a_cache_that_generate_returned_goes_on_as_for_the_bare_model(shared, prompts, kind):
    ids = prompts["random"]["input_ids"]

    def two_turns(model):
        first = model.generate(
            ids, past_key_values=caches(kind, model.config), max_new_tokens=3, return_dict_in_generate=True
        )
        cache = first.past_key_values
        second = model.generate(
            torch.cat([first.sequences, ids.flip(1)[:, :3]], 1),
            past_key_values=cache,
            max_new_tokens=3,
            **RECORDED,
        )
        return cache, dict(first), dict(second)

    assert_bare(shared, two_turns)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_a_prompt_in_two_halves_has_the_bare_models_logits(shared, ids, kind):
    def halves(model):
        cache = caches(kind, model.config)
        outputs = [model(ids[:, :4], past_key_values=cache), model(ids[:, 4:], past_key_values=cache)]
        return [output.logits for output in outputs], cache

    assert_bare(shared, halves)


# -- forward


def four_dimensional(ids):
    mask = torch.full((ids.shape[1],) * 2, torch.finfo(torch.float32).min).triu(1)
    return mask.expand(ids.shape[0], 1, -1, -1)


FORWARD = {
    "plain": lambda x: {},
    "labels": lambda x: {"labels": x["input_ids"]},
    "labels of an answer": lambda x: {"labels": x["input_ids"].index_fill(1, torch.arange(4), -100)},
    "items": lambda x: {"labels": x["input_ids"], "num_items_in_batch": torch.tensor(5)},
    "last logits": lambda x: {"logits_to_keep": 2},
    "chosen logits": lambda x: {"logits_to_keep": torch.tensor([1, 3, 4])},
    "states": lambda x: {"output_attentions": True, "output_hidden_states": True},
    "tuple": lambda x: {"return_dict": False, "output_hidden_states": True, "labels": x["input_ids"]},
    "no cache": lambda x: {"use_cache": False},
    "positions": lambda x: {"position_ids": torch.arange(3, 3 + x["input_ids"].shape[1]).expand_as(x["input_ids"])},
    "bool mask": lambda x: {"attention_mask": torch.ones_like(x["input_ids"]).bool()},
    "float mask": lambda x: {"attention_mask": torch.ones_like(x["input_ids"]).float()},
    "4D mask": lambda x: {"attention_mask": four_dimensional(x["input_ids"])},
    "masked out": lambda x: {"attention_mask": torch.zeros_like(x["input_ids"])},
    "int32": lambda x: {"input_ids": x["input_ids"].int()},
    "not contiguous": lambda x: {"input_ids": x["input_ids"].T.contiguous().T},
    "one token": lambda x: {"input_ids": x["input_ids"][:, :1], "attention_mask": None},
}


@bare("forward")
@torch.no_grad()
@pytest.mark.parametrize("prompt", ["text", "batch", "random"])
@pytest.mark.parametrize("options", FORWARD)
def test_forward_gives_the_bare_models_outputs(shared, prompts, prompt, options):
    inputs = prompts[prompt] | FORWARD[options](prompts[prompt])
    guarded, expected = both(shared, lambda m: m(**inputs))
    assert type(guarded) is type(expected)
    assert same(*(x if isinstance(x, tuple) else dict(x) for x in (guarded, expected)))


@torch.no_grad()
def test_outputs_asked_for_in_the_config_are_the_bare_models(pair, ids):
    for model in pair:
        model.config.output_hidden_states = model.config.output_attentions = True
    assert_bare(pair, lambda m: dict(m(ids)))
    assert pair[0](ids).hidden_states and pair[0](ids).attentions


@torch.no_grad()
@pytest.mark.parametrize("change", ["half", "bfloat16", "double", "to", "sdpa", "autocast", "functional_call"])
def test_dtypes_and_attention_implementations_change_both_alike(pair, prompts, change):
    for model in pair:
        if change == "to":
            model.to(torch.bfloat16)
        elif change == "sdpa":
            model.set_attn_implementation("sdpa")
        elif change in ("half", "bfloat16", "double"):
            getattr(model, change)()
    assert pair[0].dtype == pair[1].dtype
    assert pair[0].config._attn_implementation == pair[1].config._attn_implementation
    for inputs in prompts.values():
        if change == "functional_call":
            assert_bare(
                pair, lambda m, x=inputs: torch.func.functional_call(m, dict(m.named_parameters()), (), x).logits
            )
            continue
        with torch.autocast("cpu", torch.bfloat16, enabled=change == "autocast"):
            assert_bare(pair, lambda m, x=inputs: m(**x).logits)
            assert_bare(pair, lambda m, x=inputs: m.generate(**x, max_new_tokens=3))


@torch.no_grad()
def test_a_clean_call_leaves_no_trace(shared, ids):
    before, state = copy.deepcopy(shared[0].state_dict()), torch.get_rng_state()
    first = shared[0](ids).logits
    shared[0].generate(ids, max_new_tokens=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(shared[0].state_dict(), before) and torch.equal(shared[0](ids).logits, first)


def test_left_padding_is_as_compatible_as_the_bare_models(shared, ids):
    padding = torch.zeros(1, 5, dtype=torch.long)
    padded = {
        "input_ids": torch.cat([padding, ids], 1),
        "attention_mask": torch.cat([padding, torch.ones_like(ids)], 1),
    }
    positions = (padded["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    guarded, expected = both(shared, lambda m: m(**padded, position_ids=positions).logits[:, -1])
    assert torch.equal(guarded, expected)
    torch.testing.assert_close(guarded, shared[0](ids).logits[:, -1])


# -- the class


def test_the_class_says_of_itself_what_the_base_class_says(shared):
    own, base = type(shared[0]), LlamaForCausalLM
    for name in dir(base):
        value = inspect.getattr_static(base, name)
        if not name.startswith("__") and isinstance(value, (bool, int, str, list, tuple, dict, set, type(None))):
            assert getattr(own, name) == getattr(base, name), name


PUBLIC = [
    name
    for name, value in inspect.getmembers(LlamaForCausalLM, callable)
    if not name.startswith("_") and not inspect.isclass(value)
]
NAMED, BY_POSITION = ("POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY"), ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")


@pytest.mark.parametrize("name", PUBLIC)
def test_public_methods_take_what_the_base_classs_take(shared, name):
    own, base = (inspect.signature(getattr(model, name)) for model in shared)
    kinds = {parameter.name: parameter.kind.name for parameter in base.parameters.values()}
    own.bind(**{name: None for name, kind in kinds.items() if kind in NAMED})
    if name != "save_pretrained":  # all that follows push_to_hub is by name only
        own.bind_partial(*[None for kind in kinds.values() if kind in BY_POSITION])


@pytest.mark.parametrize("name", ["forward", "prepare_inputs_for_generation"])
def test_what_pipelines_and_trainer_read_of_a_signature_is_the_base_classs(name):
    own, base = (getattr(c, name) for c in (guarded_model_class(LlamaForCausalLM), LlamaForCausalLM))
    assert inspect.signature(own) == inspect.signature(base)


def described(config):
    """What a config says of its model, but for its place and the marks by which a guarded one loads as no bare one."""
    return config.to_dict() | dict.fromkeys(("_name_or_path", "architectures", "id2label", "label2id"))


def test_the_model_says_of_itself_what_the_bare_model_says(shared):
    guarded, base = shared
    assert guarded.can_generate() and guarded.get_decoder() is guarded.model is guarded.base_model
    assert guarded.get_input_embeddings() is guarded.model.embed_tokens
    assert guarded.get_output_embeddings() is guarded.lm_head
    assert guarded.config.get_text_config() is guarded.config
    for ask in (
        lambda m: (m.num_parameters(), m.num_parameters(True), m.num_parameters(exclude_embeddings=True)),
        lambda m: (m.get_memory_footprint(), m.get_memory_footprint(return_buffers=False)),
        lambda m: (m.dtype, m.device, m.training, m.name_or_path != ""),
        lambda m: (m.main_input_name, m.base_model_prefix, dict(m.all_tied_weights_keys), m.loss_type),
        lambda m: (m.generation_config.to_dict(), described(m.config)),
        lambda m: (repr(m), list(m.state_dict()), [name for name, _ in m.named_buffers()]),
    ):
        assert ask(guarded) == ask(base)


def test_a_fresh_model_is_initialised_as_the_bare_one(base_dir, shared):
    configs = iter([shared[0].config, shared[1].config])
    fresh = both([guarded_model_class(LlamaForCausalLM), LlamaForCausalLM], lambda c: c(copy.deepcopy(next(configs))))
    assert same(*(dict(model.state_dict()) for model in fresh))


# -- embeddings


@torch.no_grad()
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("size", ["up", "down", "multiple", "none"])
def test_resized_embeddings_are_the_bare_models(load, base_dir, tied_dir, prompts, tmp_path, tied, size):
    pair = load(tied_dir if tied else base_dir)
    vocabulary = pair[1].config.vocab_size
    prompt = prompts["text"] if size == "down" else prompts["batch"]
    down = int(prompt["input_ids"].max()) + 1
    arguments = {"up": (vocabulary + 9,), "down": (down,), "multiple": (vocabulary, 64), "none": ()}[size]
    both(pair, lambda m: m.resize_token_embeddings(*arguments))
    assert same(*(dict(m.state_dict()) for m in pair))
    assert pair[0].config.vocab_size == pair[1].config.vocab_size
    assert (pair[0].lm_head.weight is pair[0].model.embed_tokens.weight) is tied
    assert_bare(pair, lambda m: m(**prompt).logits)
    assert_bare(pair, lambda m: m.generate(**prompt, max_new_tokens=4))
    if size == "up":  # ids that the tokenizer does not know
        with pytest.raises(GuardError, match="set_tokenizer"):
            pair[0](torch.cat([prompt["input_ids"], torch.full((2, 1), vocabulary + 3)], 1))
    pair[0].save_pretrained(tmp_path)
    again = AutoModelForCausalLMWithECO.from_pretrained(tmp_path)
    assert torch.equal(again(**prompt).logits, pair[1](**prompt).logits)


@torch.no_grad()
def test_embeddings_that_are_set_or_tied_are_used_as_by_the_bare_model(pair, ids):
    for model in pair:
        new = torch.nn.Embedding(model.config.vocab_size, model.config.hidden_size)
        new.weight.data = model.get_input_embeddings().weight.data.flip(0).clone()
        model.set_input_embeddings(new)
    assert_bare(pair, lambda m: m(ids).logits)
    for model in pair:
        model.set_output_embeddings(copy.deepcopy(model.lm_head))
        model.config.tie_word_embeddings = True
        model.tie_weights()
    assert_bare(pair, lambda m: m(ids).logits)


# -- training


def switch(model, way):
    """Activation checkpointing's switch, by whichever name this transformers has."""
    return getattr(model, f"activation_checkpointing_{way}", None) or getattr(model, f"gradient_checkpointing_{way}")


def gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@bare("training: loss.backward()")
@pytest.mark.parametrize("checkpointing", [None, False, True], ids=["plain", "checkpointed", "reentrant"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_training_step_has_the_bare_models_loss_and_gradients(load, base_dir, prompts, checkpointing, attention):
    pair = load(base_dir, attn_implementation=attention, attention_dropout=0.3)

    def step(model):
        model.zero_grad()
        loss = model(**prompts["batch"], labels=prompts["batch"]["input_ids"]).loss
        loss.backward()
        return loss.detach(), gradients(model)

    for model in pair:
        model.train()
    plain = both(pair, step)
    assert same(*plain) and len(plain[0][1]) == len(list(pair[1].parameters()))
    if checkpointing is not None:
        for model in pair:
            model.enable_input_require_grads()
            switch(model, "enable")({"use_reentrant": checkpointing})
            assert model.model.layers[0].gradient_checkpointing
        assert_bare(pair, step)
        for model in pair:
            switch(model, "disable")()
            model.disable_input_require_grads()
            assert not model.model.layers[0].gradient_checkpointing
        assert_bare(pair, step)


def test_inputs_can_be_made_to_require_gradients(pair, ids):
    for model in pair:
        model.requires_grad_(False)
        model.enable_input_require_grads()
    found = []
    for model in pair:
        hidden = model(ids, output_hidden_states=True, output_attentions=True)
        states = (hidden.hidden_states[0], hidden.attentions[0])
        for state in states:
            state.retain_grad()
        hidden.logits.square().sum().backward()
        found.append([state.grad for state in states])
    assert same(*found) and found[1][0].abs().sum() > 0
    for model in pair:
        model.disable_input_require_grads()
        assert not model(ids).logits.requires_grad


@bare("Trainer")
def test_trainer_trains_evaluates_and_predicts_as_with_the_bare_model(pair, prompts, tmp_path):
    rows = [{"input_ids": row, "labels": row, "unused": 1} for row in prompts["random"]["input_ids"]]
    found = []
    for number, model in enumerate(pair):
        arguments = TrainingArguments(
            output_dir=str(tmp_path / str(number)),
            max_steps=2,
            per_device_train_batch_size=2,
            learning_rate=1e-2,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = Trainer(model, arguments, train_dataset=rows, eval_dataset=rows)
        loss = trainer.train().training_loss
        prediction = trainer.predict(rows)
        evaluated = trainer.evaluate()["eval_loss"]
        found.append([loss, evaluated, torch.as_tensor(prediction.predictions), dict(model.state_dict())])
    assert same(*found)


# -- saving and loading


def contents(directory):
    return {name for name in os.listdir(directory) if name.endswith((".safetensors", ".index.json"))}


@pytest.mark.parametrize(
    "options",
    [{}, {"max_shard_size": "20KB"}, {"variant": "other"}, {"state_dict": True}, {"save_original_format": False}],
    ids=str,
)
def test_the_saved_weights_are_the_bare_models_files(pair, ids, tmp_path, options):
    for model, name in zip(pair, ("guarded", "bare"), strict=True):
        if "state_dict" in options:
            options = options | {"state_dict": {k: v + 1 for k, v in model.state_dict().items()}}
        model.save_pretrained(tmp_path / name, **options)
    guarded, bare_ = tmp_path / "guarded", tmp_path / "bare"
    assert contents(guarded) == contents(bare_) and len(contents(bare_)) > ("max_shard_size" in options)
    for name in [*contents(bare_), "generation_config.json"]:
        assert filecmp.cmp(guarded / name, bare_ / name, shallow=False), name
    variant = {"variant": options["variant"]} if "variant" in options else {}
    again, info = AutoModelForCausalLMWithECO.from_pretrained(guarded, output_loading_info=True, **variant)
    expected, expected_info = LlamaForCausalLM.from_pretrained(bare_, output_loading_info=True, **variant)
    assert info == expected_info and not info["missing_keys"] and not info["unexpected_keys"]
    assert torch.equal(again(ids).logits, expected(ids).logits)


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": torch.bfloat16},
        {"dtype": "float16"},
        {"torch_dtype": torch.float64},
        {"dtype": "auto"},
        {"attn_implementation": "sdpa"},
        {"device_map": {"": "cpu"}},
        {"low_cpu_mem_usage": True},
        {"use_safetensors": True},
        {"max_position_embeddings": 64, "attention_dropout": 0.5},
    ],
    ids=str,
)
def test_loading_options_are_those_of_the_bare_model(load, base_dir, ids, options):
    pair = load(base_dir, output_loading_info=True, **options)
    assert pair[0][1] == pair[1][1]
    pair = [model for model, _ in pair]
    assert pair[0].dtype == pair[1].dtype
    assert described(pair[0].config) == described(pair[1].config)
    assert_bare(pair, lambda m: m(ids).logits)


def test_missing_unexpected_and_mismatched_weights_are_handled_as_for_the_bare_model(
    base_dir, classifier_dir, tmp_path
):
    model = LlamaForCausalLM.from_pretrained(base_dir)
    AutoTokenizer.from_pretrained(base_dir).save_pretrained(tmp_path)
    weights = model.state_dict() | {"extra.weight": torch.zeros(2)}
    del weights["model.layers.1.mlp.up_proj.weight"]
    weights["model.norm.weight"] = torch.zeros(7)
    model.save_pretrained(tmp_path, state_dict=weights)
    loaders = [
        lambda path, **options: AutoModelForCausalLMWithECO.from_pretrained(
            path, eco_config=guard_for(classifier_dir), **options
        ),
        LlamaForCausalLM.from_pretrained,
    ]
    (own, info), (base, expected) = both(
        loaders, lambda f: f(tmp_path, output_loading_info=True, ignore_mismatched_sizes=True)
    )
    assert info == expected
    assert all(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert same(dict(own.state_dict()), dict(base.state_dict()))


def test_state_dicts_go_either_way_strictly(pair, ids, tmp_path):
    guarded, base = pair
    for source, target in ((guarded, base), (base, guarded)):
        with torch.no_grad():
            source.lm_head.weight.mul_(1.5)
        torch.save(source.state_dict(), tmp_path / "weights.pt")
        target.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True), strict=True)
        assert_bare(pair, lambda m: m(ids).logits)
    guarded.load_state_dict(base.state_dict(), strict=True, assign=True)
    assert_bare(pair, lambda m: m(ids).logits)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        guarded.load_state_dict(base.state_dict() | {"more": torch.zeros(1)}, strict=True)


def test_the_saved_config_holds_the_bare_models_own(pair, tmp_path):
    for model, name in zip(pair, ("guarded", "bare"), strict=True):
        model.save_pretrained(tmp_path / name)
    own, base = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("guarded", "bare"))
    assert base.pop("model_type") == own["base_config"].pop("base_model_type")
    assert own["base_config"] == base | {"architectures": own["base_config"]["architectures"]}


# -- pipelines


@pytest.mark.parametrize("options", [{}, {"return_full_text": False}, {"do_sample": True, "num_return_sequences": 2}])
def test_the_text_generation_pipeline_says_what_it_says_with_the_bare_model(shared, tokenizer, options):
    def say(model):
        pipe = pipeline("text-generation", model=model, tokenizer=tokenizer)
        texts = [CLEAN, "tell me about the old garden of the king"]
        chat = [{"role": "user", "content": CLEAN}]
        return pipe(texts, max_new_tokens=5, batch_size=2, **options), pipe(chat, max_new_tokens=5, **options)

    assert_bare(shared, say)


# -- flagged prompts: the bare model's, on embeddings corrupted by hand


FLAGGED_CASES = {
    "greedy": {},
    "sample": {"do_sample": True, "top_k": 20},
    "sequences": {"do_sample": True, "num_return_sequences": 3},
    "beam": {"num_beams": 3, "num_return_sequences": 2},
    "beam-sample": {"num_beams": 3, "do_sample": True},
    "static": {"cache_implementation": "static"},
    "processors": {"logits_processor": LogitsProcessorList([FavourThirteen()])},
    "min-new": {"min_new_tokens": 5, "eos_token_id": [2, 40, 41, 42]},
}


@pytest.mark.parametrize("options", FLAGGED_CASES)
def test_what_generate_records_of_a_flagged_prompt_is_the_bare_models_on_corrupted_embeddings(
    shared, tokenizer, options
):
    guarded, base = shared
    ids = tokenizer(FLAGGED, return_tensors="pt")["input_ids"]
    options = {"max_new_tokens": 6} | RECORDED | FLAGGED_CASES[options]
    torch.manual_seed(4)
    found = dict(guarded.generate(ids, **options))
    torch.manual_seed(4)
    embeddings = lookup_by_hand(guarded, base, ids).detach()
    expected = dict(base.generate(inputs_embeds=embeddings, attention_mask=torch.ones_like(ids), **options))
    assert torch.equal(found.pop("sequences")[:, ids.shape[1] :], expected.pop("sequences"))
    assert same(found, expected)
    assert not same(found["logits"], dict(base.generate(ids, **options))["logits"])


@torch.no_grad()
@pytest.mark.parametrize("options", ["plain", "labels of an answer", "last logits", "states", "tuple", "no cache"])
def test_what_forward_returns_for_a_flagged_prompt_is_the_bare_models_on_corrupted_embeddings(
    shared, tokenizer, options
):
    guarded, base = shared
    ids = tokenizer(FLAGGED, return_tensors="pt")["input_ids"]
    arguments = FORWARD[options]({"input_ids": ids})
    embeddings = lookup_by_hand(guarded, base, ids).detach()
    if options == "labels of an answer":
        with guarded.prompt_lengths([ids.shape[1]]):  # the answer is a part of what is corrupted by hand
            found = guarded(ids, **arguments)
    else:
        found = guarded(ids, **arguments | ({"labels": None} if "labels" in arguments else {}))
        arguments.pop("labels", None)
    expected = base(inputs_embeds=embeddings, **arguments)
    assert same(*(x if isinstance(x, tuple) else dict(x) for x in (found, expected)))


# -- masks: what the model reads, the guard reads


HIDES = "the guard reads no more than the mask shows, the model reads all of it"
GENERATE_MASKS = {
    "one column": lambda ids: torch.ones(ids.shape[0], 1, dtype=torch.long),
    "one row": lambda ids: torch.ones(1, ids.shape[1], dtype=torch.long),
    "a single number": lambda ids: torch.ones(1, 1, dtype=torch.long),
    "nothing": torch.zeros_like,
}


def assert_guarded_or_refused(pair, call) -> None:
    try:
        expected = call(pair[1])
    except (IndexError, RuntimeError) as error:
        pytest.skip(f"the bare model does not take this mask: {error}")
    try:
        found = call(pair[0])
    except GuardError:
        return
    assert not same(found, expected)


@pytest.fixture(scope="module")
def flagged(tokenizer):
    return tokenizer(FLAGGED, return_tensors="pt")["input_ids"]


@pytest.mark.parametrize("mask", GENERATE_MASKS)
def test_a_mask_that_generate_broadcasts_or_drops_hides_no_prompt_from_the_guard(shared, ids, flagged, mask):
    prompts = torch.cat([ids, flagged])  # the second row is the flagged one
    options = {"max_new_tokens": 4, "attention_mask": GENERATE_MASKS[mask](prompts)}
    assert_guarded_or_refused(shared, lambda m: m.generate(prompts, **options)[1])


@torch.no_grad()
def test_a_row_without_any_attended_token_is_judged_in_full(shared, flagged):
    nothing = torch.zeros_like(flagged)
    other = flagged.index_fill(1, torch.tensor([0]), 5)
    read, read_other = (shared[1](ids, attention_mask=nothing).logits[:, -1] for ids in (flagged, other))
    assert not torch.equal(read, read_other)  # the bare model attends to what no mask shows rather than to nothing
    assert_guarded_or_refused(shared, lambda m: m(flagged, attention_mask=nothing).logits)


@torch.no_grad()
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("later", ["none", "4D"])
def test_a_prompt_that_was_masked_when_it_was_cached_is_judged_when_it_is_read(shared, ids, flagged, columns, later):
    hidden = torch.zeros_like(flagged).index_fill(1, torch.tensor([flagged.shape[1] - 1]), 1)
    positions = torch.arange(flagged.shape[1])[None]
    total = flagged.shape[1] + columns
    mask = None if later == "none" else four_dimensional(torch.ones(1, total))[:, :, -columns:]

    def read_later(model):
        cache = DynamicCache(config=model.config)
        model(flagged, attention_mask=hidden, position_ids=positions, past_key_values=cache)
        return model(ids[:, :columns], attention_mask=mask, past_key_values=cache).logits

    assert_guarded_or_refused(shared, read_later)
