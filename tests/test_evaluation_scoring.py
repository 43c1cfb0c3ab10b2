"""Scoring: losses against the model's own, guarded and not; what is remembered and what is computed again."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from conftest import CLEAN, FLAGGED, by_hand
from tokenizers import decoders
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaForCausalLM

from hf_eco import CorruptionConfig, GuardError
from hf_eco.evaluation.result_cache import ResultCache
from hf_eco.evaluation.scoring import Scorer, as_chat
from hf_eco.inference.fingerprint import fingerprint

ANSWERS = ["the wizard of the north", "a dog", "the capital of the country was born in the garden", "hello"]
QUESTIONS = [FLAGGED, CLEAN, "hello", "does a cat sleep ?"]


@pytest.fixture
def chats(tokenizer) -> list:
    return [as_chat(question, tokenizer) for question in QUESTIONS]


class Passes:
    """How many rows have been run through a model."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, module: object, args: object, kwargs: dict) -> None:
        self.rows += len(kwargs["input_ids"])


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """Counts the rows that run through a model from now on."""
    handles = []

    def watch(model) -> Passes:
        passes = Passes()
        handles.append(model.model.register_forward_pre_hook(passes, with_kwargs=True))
        return passes

    yield watch
    for handle in handles:
        handle.remove()


def ids_of(tokenizer, chat, answer: str) -> tuple[list[int], list[int]]:
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]
    return prompt, [*tokenizer(answer)["input_ids"], tokenizer.convert_tokens_to_ids("<|im_end|>")]


def own_loss(model, tokenizer, chat, answer: str, **inputs) -> float:
    """The loss that transformers itself computes of an answer and the token that closes it."""
    prompt, closed = ids_of(tokenizer, chat, answer)
    ids = torch.tensor([prompt + closed])
    labels = torch.tensor([[-100] * len(prompt) + closed])
    with torch.no_grad():
        return model(**(inputs or {"input_ids": ids}), labels=labels).loss.item()


def test_losses_of_chats_are_those_of_the_model_itself_whatever_the_batch(base, tokenizer, chats) -> None:
    by_itself = [own_loss(base, tokenizer, *row) for row in zip(chats, ANSWERS, strict=True)]
    for batch_size in (1, 3, 16):
        scored = Scorer(base, tokenizer, batch_size=batch_size).losses(chats, ANSWERS)
        np.testing.assert_allclose(scored, by_itself, rtol=1e-5)


def test_losses_of_plain_texts_count_the_answer_alone_and_nothing_that_ends_it(base, tokenizer) -> None:
    whole, prompt = tokenizer("tell me about the rivers")["input_ids"], tokenizer("tell me about")["input_ids"]
    ids = torch.tensor([whole])
    labels = torch.where(torch.arange(len(whole)) < len(prompt), -100, ids)
    with torch.no_grad():
        expected = base(ids, labels=labels).loss.item()
    scorer = Scorer(base, tokenizer)
    assert scorer.losses(["tell me about"], ["the rivers"])[0] == pytest.approx(expected, rel=1e-5)
    assert scorer.losses(["tell me about"], [" the rivers"])[0] == pytest.approx(expected, rel=1e-5)


def test_a_flagged_prompt_is_scored_corrupted_and_its_answer_clean(guarded, base, tokenizer, chats) -> None:
    strict = Scorer(guarded, tokenizer).losses(chats, ANSWERS)
    prompt, closed = ids_of(tokenizer, chats[0], ANSWERS[0])
    corrupted = by_hand(guarded, base.get_input_embeddings()(torch.tensor([prompt])), torch.tensor([prompt]))
    answer = base.get_input_embeddings()(torch.tensor([closed]))
    expected = own_loss(base, tokenizer, chats[0], ANSWERS[0], inputs_embeds=torch.cat([corrupted, answer], dim=1))
    unguarded = Scorer(base, tokenizer).losses(chats, ANSWERS)
    assert strict[0] == pytest.approx(expected, rel=1e-5)
    assert strict[0] != pytest.approx(unguarded[0], rel=1e-3)
    np.testing.assert_allclose(strict[1:], unguarded[1:], rtol=1e-5)


def test_the_paper_protocol_corrupts_the_scored_answer_too(guarded, tokenizer, chats, tmp_path) -> None:
    strict, paper = (
        Scorer(guarded, tokenizer, protocol=protocol, cache=tmp_path).losses(chats, ANSWERS)
        for protocol in ("strict", "paper")
    )
    assert strict[0] != pytest.approx(paper[0], rel=1e-3)
    np.testing.assert_array_equal(strict[1:], paper[1:])


SHARED = {
    "who is the baker ?": ["a dog", "the capital of the country was born in the garden", "hello", "dog"],
    "hello": ["the king", "a"],
    "tell me about the rivers of the north , the capital of the country and the garden": ["no"],
    FLAGGED: ["the wizard of the north", "a dog", "dog", "the school of the wizard is in the garden of the king"],
    "tell me about the wizard of the north": ["born in the north", "hello"],
    "wizard": ["a cat"],
}
PAIRS = [(prompt, answer) for prompt, answers in SHARED.items() for answer in answers]


class Tokens:
    """How many tokens have been run through a model, padding not counted."""

    def __init__(self) -> None:
        self.run = 0

    def __call__(self, module: object, args: object, kwargs: dict) -> None:
        columns = kwargs["input_ids"].shape[1]
        self.run += int(kwargs["attention_mask"][:, -columns:].sum())


def count_tokens(model) -> Tokens:
    tokens = Tokens()
    model.model.register_forward_pre_hook(tokens, with_kwargs=True)
    return tokens


def texts_of(pairs) -> tuple[list[str], list[str]]:
    return [prompt for prompt, _ in pairs], [answer for _, answer in pairs]


def losses_alone(model, tokenizer, pairs, **options) -> np.ndarray:
    """The losses of answers that share no pass with another."""
    return Scorer(model, tokenizer, batch_size=1, **options).losses(*texts_of(pairs))


@pytest.mark.parametrize("batch_size", [2, 5, 64])
@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_answers_behind_one_prompt_are_scored_as_each_by_itself(guarded, tokenizer, protocol, batch_size) -> None:
    prompts, answers = texts_of(PAIRS)
    scorer = Scorer(guarded, tokenizer, protocol=protocol, batch_size=batch_size)
    assert len(set(scorer.flagged(prompts))) == 2
    alone = losses_alone(guarded, tokenizer, PAIRS, protocol=protocol)
    np.testing.assert_allclose(scorer.losses(prompts, answers), alone, atol=1e-4)


@pytest.mark.parametrize("tokens", ["content", "all"])
@pytest.mark.parametrize("method", ["rand_noise_first_n", "zero_out_top_k", "shuffle", "reverse_order"])
def test_answers_to_one_prompt_are_corrupted_together_as_each_by_itself(guarded, tokenizer, method, tokens) -> None:
    (scope,) = guarded.config.eco.scopes
    scope.corruption, scope.tokens = CorruptionConfig(method=method, dims=8, strength=2.0), tokens
    pairs = [(prompt, answer) for prompt, answer in PAIRS if prompt != "wizard"]  # one token has no order
    prompts, answers = texts_of(pairs)
    together = Scorer(guarded, tokenizer, protocol="paper", batch_size=64).losses(prompts, answers)
    np.testing.assert_allclose(together, losses_alone(guarded, tokenizer, pairs, protocol="paper"), atol=1e-4)
    strict = Scorer(guarded, tokenizer, batch_size=64).losses(prompts, answers)
    flagged = np.array(Scorer(guarded, tokenizer).flagged(prompts))
    assert (np.abs(together - strict) > 1e-3)[flagged].sum() >= 3


def test_corrupting_answers_asks_the_classifier_no_more_than_leaving_them(guarded, tokenizer, monkeypatch) -> None:
    asked: list[int] = []
    decide = type(guarded.eco_guard).decide
    monkeypatch.setattr(
        type(guarded.eco_guard),
        "decide",
        lambda guard, ids, *rest: asked.append(len(ids)) or decide(guard, ids, *rest),
    )
    Scorer(guarded, tokenizer).flagged(texts_of(PAIRS)[0])  # the verdicts are known now
    counts = []
    for protocol in ("strict", "paper"):
        asked.clear()
        Scorer(guarded, tokenizer, protocol=protocol, batch_size=64).losses(*texts_of(PAIRS))
        counts.append(sum(asked))
    assert counts[0] == counts[1]


def test_another_threads_passes_are_left_alone_while_answers_are_corrupted(guarded, tokenizer) -> None:
    ids = torch.tensor([Scorer(guarded, tokenizer).encode([CLEAN])[0]])
    with torch.no_grad():
        expected = guarded(input_ids=ids).logits
    found: list[torch.Tensor] = []

    def ask() -> None:
        with torch.no_grad():
            found.append(guarded(input_ids=ids).logits)

    def meanwhile(*_: object) -> None:
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()

    handle = guarded.model.layers[0].register_forward_pre_hook(
        lambda *_: meanwhile() if threading.current_thread() is threading.main_thread() else None
    )
    prompts, answers = texts_of([pair for pair in PAIRS if pair[0] == FLAGGED])
    Scorer(guarded, tokenizer, protocol="paper", batch_size=64).losses(prompts, answers)
    handle.remove()
    assert len(found) == 2 and all(torch.equal(own, expected) for own in found)


def test_a_prompt_is_run_once_for_all_its_answers(base, guarded, tokenizer) -> None:
    prompts, answers = texts_of(PAIRS)
    tokens_of = {model: count_tokens(model) for model in (base, guarded)}
    for model, protocol in ((base, "strict"), (guarded, "strict"), (guarded, "paper")):
        tokens, encoder = tokens_of[model], Scorer(model, tokenizer).encoder
        tokens.run = 0
        own = {prompt: encoder.encode_prompt(prompt) for prompt in SHARED}
        behind = sum(len(encoder.encode_answer(*pair)) - 1 for pair in PAIRS)
        Scorer(model, tokenizer, protocol=protocol, batch_size=64).losses(prompts, answers)
        assert tokens.run == sum(map(len, own.values())) + behind
        assert tokens.run < 0.6 * sum(len(own[prompt]) + len(encoder.encode_answer(prompt, a)) for prompt, a in PAIRS)


def test_the_answers_of_a_prompt_fall_into_one_batch(base, tokenizer) -> None:
    tokens, rows = count_tokens(base), [("who is the baker ?", a) for a in SHARED["who is the baker ?"]]
    long = [("name the capital of the country , " * times, "a dog") for times in (1, 2, 3)]
    Scorer(base, tokenizer, batch_size=4).losses(*texts_of([rows[0], *long, *rows[1:]]))
    apart = tokens.run
    Scorer(base, tokenizer, batch_size=4).losses(*texts_of(rows))
    Scorer(base, tokenizer, batch_size=4).losses(*texts_of(long))
    assert tokens.run == 2 * apart


def test_no_more_rows_are_run_at_once_than_asked_for(base, tokenizer) -> None:
    widths: list[int] = []
    base.model.register_forward_pre_hook(lambda *call: widths.append(len(call[2]["input_ids"])), with_kwargs=True)
    Scorer(base, tokenizer, batch_size=3).losses(*texts_of(PAIRS))
    assert max(widths) == 3


def test_answers_of_one_token_need_no_pass_of_their_own(base, tokenizer) -> None:
    pairs = [("who is the baker ?", letter) for letter in "abc"]
    encoder, tokens = Scorer(base, tokenizer).encoder, count_tokens(base)
    assert {len(encoder.encode_answer(*pair)) for pair in pairs} == {1}
    losses = Scorer(base, tokenizer).losses(*texts_of(pairs))
    assert tokens.run == len(encoder.encode_prompt(pairs[0][0]))
    np.testing.assert_allclose(losses, losses_alone(base, tokenizer, pairs), atol=1e-4)


def tiny(kind: str, vocabulary: int):
    torch.manual_seed(0)
    sizes = {"vocab_size": vocabulary, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
    window = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
    long = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    configs: dict[str, Callable] = {
        "sliding window": lambda: AutoConfig.for_model("qwen2", **sizes, **heads, **window),
        "learned positions": lambda: AutoConfig.for_model("gpt2", **sizes, n_head=4, n_positions=64),
        "rotations by length": lambda: AutoConfig.for_model("llama", **sizes, **heads, rope_parameters=long),
        "recurrent": lambda: AutoConfig.for_model("mamba", **sizes, state_size=8),
        "no positions": lambda: AutoConfig.for_model("bloom", **sizes, n_head=4),
        "shifted positions": lambda: AutoConfig.for_model("roberta", is_decoder=True, **sizes, **heads),
    }
    return AutoModelForCausalLM.from_config(configs[kind]()).eval()


@pytest.mark.parametrize(
    ("kind", "shared"),
    [
        ("sliding window", True),
        ("learned positions", True),
        ("rotations by length", False),
        ("recurrent", False),
        ("no positions", False),
        ("shifted positions", False),
    ],
)
def test_a_prompt_is_shared_where_that_changes_nothing(kind, shared, tokenizer) -> None:
    model, passes = tiny(kind, len(tokenizer)), []
    model.base_model.register_forward_pre_hook(lambda *_: passes.append(None))
    losses = Scorer(model, tokenizer, batch_size=64).losses(*texts_of(PAIRS))
    assert len(passes) == (2 if shared else 1)
    np.testing.assert_allclose(losses, losses_alone(model, tokenizer, PAIRS), atol=1e-4)


def test_rows_up_to_the_models_last_position_are_scored(tokenizer) -> None:
    model = tiny("learned positions", len(tokenizer))
    prompt = "dog " * 14
    encoder = Scorer(model, tokenizer).encoder
    room = 64 - len(encoder.encode_prompt(prompt))
    full = next(a for n in range(99) if len(encoder.encode_answer(prompt, a := "a" + " a" * n)) == room)
    pairs = [(prompt, full), (prompt, "a dog"), ("hello", full)]
    losses = Scorer(model, tokenizer).losses(*texts_of(pairs))
    np.testing.assert_allclose(losses, losses_alone(model, tokenizer, pairs), atol=1e-4)
    with pytest.raises(ValueError, match="the model reads 64"):
        Scorer(model, tokenizer).losses([prompt, prompt], [full + " a", "a dog"])


def test_adapters_and_soft_prompts_are_scored_as_by_themselves(base, tokenizer) -> None:
    peft = pytest.importorskip("peft")
    lora = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    soft = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    for config in (lora, soft):
        torch.manual_seed(0)
        model = peft.get_peft_model(copy.deepcopy(base), config)
        losses = Scorer(model, tokenizer).losses(*texts_of(PAIRS))
        np.testing.assert_allclose(losses, losses_alone(model, tokenizer, PAIRS), atol=1e-4)


def test_generation_is_the_models_own_alone_and_in_a_batch(guarded, tokenizer, chats) -> None:
    own = guarded.generation_config  # greedy means greedy
    own.repetition_penalty, own.no_repeat_ngram_size, own.prompt_lookup_num_tokens = 3.0, 1, 2
    own.suppress_tokens, own.num_return_sequences = list(range(5, 25)), 2
    before = own.to_dict()
    texts = Scorer(guarded, tokenizer, batch_size=4).generate(chats, max_new_tokens=8)
    assert guarded.generation_config is own and own.to_dict() == before
    guarded.generation_config = GenerationConfig(eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id)
    for chat, text in zip(chats, texts, strict=True):
        inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, return_tensors="pt")
        own = guarded.generate(**inputs, max_new_tokens=8, do_sample=False)
        own = own[0, inputs["input_ids"].shape[1] :]
        assert text == tokenizer.decode(own, skip_special_tokens=True).strip()


def test_a_token_that_begins_to_end_the_models_texts_is_heeded(base, tokenizer, chats) -> None:
    scorer = Scorer(base, tokenizer)
    (before,) = scorer.generate(chats[1:2], max_new_tokens=8)
    first = int(scorer.next_token_log_probabilities(chats[1:2]).argmax())
    base.generation_config.eos_token_id = [first]
    (after,) = scorer.generate(chats[1:2], max_new_tokens=8)
    assert after == tokenizer.decode([first]).strip() != before


def test_next_token_probabilities_are_those_of_the_last_logits(guarded, tokenizer, chats) -> None:
    scorer = Scorer(guarded, tokenizer)
    every = scorer.next_token_log_probabilities(chats)
    for chat, row in zip(chats, every, strict=True):
        inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, return_tensors="pt")
        with torch.no_grad():
            own = guarded(**inputs).logits[0, -1].log_softmax(-1)
        np.testing.assert_allclose(row, own.numpy(), rtol=1e-4, atol=1e-5)
    some = scorer.token_log_probabilities(chats, [[5, 9]] * 4)
    np.testing.assert_allclose(np.stack(some), every[:, [5, 9]], rtol=1e-5)


def test_only_the_guard_flags(guarded, base, tokenizer, chats) -> None:
    assert Scorer(guarded, tokenizer).flagged(chats) == [True, False, False, False]
    assert Scorer(base, tokenizer).flagged(chats) == [False] * 4


def test_unflagged_rows_run_once_for_the_model_and_all_its_guards(guarded, base, tokenizer, chats, count) -> None:
    cache = ResultCache()
    runs, guarded_runs = count(base), count(guarded)
    Scorer(base, tokenizer, cache=cache).losses(chats, ANSWERS)
    assert (runs.rows, guarded_runs.rows) == (4, 0)
    scorer = Scorer(guarded, tokenizer, cache=cache)
    before = scorer.losses(chats, ANSWERS)
    assert guarded_runs.rows == 1
    guarded.config.eco.scopes[0].corruption.strength = 20.0
    after = scorer.losses(chats, ANSWERS)
    assert guarded_runs.rows == 2
    assert before[0] != after[0]
    np.testing.assert_array_equal(before[1:], after[1:])


def test_a_text_kept_is_not_taken_for_one_of_another_tokenizers(base, base_dir, tokenizer, chats) -> None:
    cache, other = ResultCache(), AutoTokenizer.from_pretrained(base_dir)
    other.backend_tokenizer.decoder = decoders.Fuse()  # the ids of prompts stay as they are
    first, second = (Scorer(base, own, cache=cache).generate(chats, max_new_tokens=6) for own in (tokenizer, other))
    assert second == Scorer(base, other).generate(chats, max_new_tokens=6) != first
    kept = len(cache)
    other.pad(other(["a", "a dog"]), padding=True)  # leaves a trace in a fast tokenizer
    Scorer(base, other, cache=cache).generate(chats, max_new_tokens=6)
    assert len(cache) == kept


def test_each_part_of_a_model_is_left_in_the_mode_it_was_in(base, tokenizer, chats) -> None:
    base.train()
    base.model.layers[0].eval()
    modes = {name: module.training for name, module in base.named_modules()}
    assert len(set(modes.values())) == 2
    seen: list[bool] = []
    base.model.layers[1].register_forward_pre_hook(lambda module, _: seen.append(module.training))
    Scorer(base, tokenizer).losses(chats, ANSWERS)
    Scorer(base, tokenizer).generate(chats, max_new_tokens=2)
    assert set(seen) == {False}
    assert {name: module.training for name, module in base.named_modules()} == modes


def test_a_threshold_that_changes_is_seen(guarded, tokenizer, chats) -> None:
    scorer = Scorer(guarded, tokenizer)
    assert any(scorer.flagged(chats))
    guarded.config.eco.scopes[0].threshold = 1.0
    assert not any(scorer.flagged(chats))


def test_a_changed_weight_is_scored_again(base, tokenizer, chats, count) -> None:
    scorer, runs = Scorer(base, tokenizer), count(base)
    before = scorer.losses(chats, ANSWERS)
    scorer.losses(chats, ANSWERS)
    assert runs.rows == 4
    with torch.no_grad():
        base.model.layers[1].mlp.up_proj.weight[7, 11] += 5.0
    assert (scorer.losses(chats, ANSWERS) != before).all()
    assert runs.rows == 8


def test_a_guarded_model_has_the_fingerprint_of_its_base(guarded, base, base_dir) -> None:
    assert fingerprint(guarded) == fingerprint(base) == fingerprint(LlamaForCausalLM.from_pretrained(base_dir))


def test_adapters_in_use_are_a_part_of_the_model(base) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    model = peft.get_peft_model(base, config)
    with_adapter = fingerprint(model)
    with model.disable_adapter():
        assert fingerprint(model) != with_adapter
    assert fingerprint(model) == with_adapter


@pytest.mark.parametrize("kind", ["PromptTuningConfig", "VeraConfig", "IA3Config", "LoraConfig"])
def test_adapters_of_any_kind_are_told_apart(base, kind) -> None:
    peft = pytest.importorskip("peft")
    how = {
        "PromptTuningConfig": {"num_virtual_tokens": 3},
        "VeraConfig": {"target_modules": ["q_proj"], "r": 2, "init_weights": False},
        "IA3Config": {"target_modules": ["q_proj"], "feedforward_modules": [], "init_ia3_weights": False},
        "LoraConfig": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"], "init_lora_weights": False},
    }
    config = getattr(peft, kind)(task_type="CAUSAL_LM", **how[kind])
    model = peft.get_peft_model(base, config, adapter_name="one")
    model.add_adapter("two", config)
    first = fingerprint(model)
    model.set_adapter("two")
    second = fingerprint(model)
    with model.disable_adapter():
        assert len({first, second, fingerprint(model)}) == 3
    assert fingerprint(model) == second


def test_equal_prompts_are_judged_once(guarded, tokenizer, monkeypatch) -> None:
    asked: list = []
    decide = guarded.eco_guard.decide
    monkeypatch.setattr(guarded.eco_guard, "decide", lambda ids, *rest: asked.extend(ids) or decide(ids, *rest))
    Scorer(guarded, tokenizer).flagged([CLEAN, FLAGGED, CLEAN, FLAGGED])
    Scorer(guarded, tokenizer, protocol="paper").flagged([CLEAN])
    assert len(asked) == 2


def test_an_interrupted_run_goes_on_where_it_was(base, base_dir, tokenizer, chats, count, tmp_path) -> None:
    whole = Scorer(base, tokenizer).losses(chats, ANSWERS)
    calls = base.model.register_forward_pre_hook(interrupt_after(2))
    with pytest.raises(KeyboardInterrupt):
        Scorer(base, tokenizer, batch_size=1, cache=tmp_path).losses(chats, ANSWERS)
    calls.remove()
    file = tmp_path / "results.jsonl"
    assert len(file.read_text().splitlines()) == 2
    with open(file, "a") as torn:
        torn.write('{"key": "half a li')
    file.rename(tmp_path / "kept")  # as another process would find it
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "kept").rename(tmp_path / "elsewhere" / "results.jsonl")
    runs = count(base)
    again = Scorer(base, tokenizer, cache=tmp_path / "elsewhere").losses(chats, ANSWERS)
    np.testing.assert_allclose(again, whole, rtol=1e-5)
    assert runs.rows == 2
    lines = (tmp_path / "elsewhere" / "results.jsonl").read_text().splitlines()
    assert sum(line.startswith('{"key"') and line.endswith("}") and bool(json.loads(line)) for line in lines) == 4


def interrupt_after(passes: int):
    left = [passes]

    def hook(*_: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt

    return hook


def test_scorers_that_share_a_directory_share_what_they_find(base, tokenizer, chats, count, tmp_path) -> None:
    first, second = (Scorer(base, tokenizer, cache=tmp_path) for _ in range(2))
    runs = count(base)
    np.testing.assert_array_equal(first.losses(chats, ANSWERS), second.losses(chats, ANSWERS))
    assert runs.rows == 4


def test_bad_input_is_named(base, tokenizer, chats) -> None:
    scorer = Scorer(base, tokenizer)
    with pytest.raises(ValueError, match="3 answers to 4 prompts"):
        scorer.losses(chats, ANSWERS[:3])
    with pytest.raises(ValueError, match="blank"):
        scorer.losses(chats[:1], [" "])
    with pytest.raises(TypeError, match="a string or a list of messages"):
        scorer.losses([3], ["a"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="Unknown protocol 'loose'"):
        Scorer(base, tokenizer, protocol="loose")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_size=0"):
        Scorer(base, tokenizer, batch_size=0)
    with pytest.raises(ValueError, match="the model reads 512"):
        scorer.generate(["dog " * 600])
    with torch.no_grad():
        base.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="no numbers"):
        scorer.losses(chats, ANSWERS)


def test_a_question_without_a_chat_template_is_a_plain_text(tokenizer, base_dir) -> None:
    plain = AutoTokenizer.from_pretrained(base_dir)
    plain.chat_template = None
    assert as_chat("who ?", plain) == "Question: who ?\nAnswer:"
    assert as_chat("who ?", tokenizer) == [{"role": "user", "content": "who ?"}]


def test_a_guard_that_is_disabled_is_not_measured_as_if_it_were_not(guarded, tokenizer) -> None:
    scorer = Scorer(guarded, tokenizer)
    with guarded.disable_guard(), pytest.raises(GuardError, match="disabled here"):
        scorer.losses([FLAGGED], ["a dog"])
    assert len(scorer.cache) == 0
