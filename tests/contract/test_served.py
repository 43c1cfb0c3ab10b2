"""Pipelines, servers and whatever else stands between a user and `generate` give the guarded answer."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import transformers
from conftest import CLEAN, FLAGGED, byte_level_tokenizer, in_threads
from marks import route
from packaging import version
from transformers import (
    AsyncTextIteratorStreamer,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LogitsProcessorList,
    TextIteratorStreamer,
    TextStreamer,
    WatermarkingConfig,
    pipeline,
)
from transformers.generation.configuration_utils import ALL_CACHE_IMPLEMENTATIONS

from hf_eco import AutoModelForCausalLMWithECO, CorruptionConfig, ECOConfig, ForgetScope
from hf_eco.corruption import corrupt

GREEDY = {"do_sample": False, "max_new_tokens": 8}
FOLLOW_UP = "tell me about the garden of the king"


def chat(*texts: str) -> list[dict]:
    """A conversation of user, assistant, user ..."""
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def param(*values, name: str, verdict: str = "guarded", marks=(), note: str | None = None):
    """One parameter of a test, named as its route."""
    keywords = {} if note is None else {"note": note}
    return pytest.param(*values, marks=[route(name, verdict, **keywords), *marks], id=name.replace(" ", "-"))


@pytest.fixture
def tokenizer(guarded):
    return guarded.eco_guard.tokenizer


@pytest.fixture
def encode(tokenizer):
    """encode(prompt, or several): ids and mask of texts or chats, left-padded."""

    def encode(*prompts, **options):
        if isinstance(prompts[0], str):
            return tokenizer(list(prompts), return_tensors="pt", padding=True, **options)
        options = {"add_generation_prompt": True, "return_dict": True, "padding": True, **options}
        return tokenizer.apply_chat_template(list(prompts), return_tensors="pt", **options)

    return encode


@pytest.fixture
def answer(tokenizer, guarded, base, encode):
    """answer(prompt): the text of `guarded.generate`, once it is known to be right: not the base's if the prompt is
    flagged, the base's if it is clean."""

    def answer(prompt, **options):
        options = {**GREEDY, **options}
        inputs = encode(prompt)
        texts = [
            tokenizer.decode(m.generate(**inputs, **options)[0, inputs["input_ids"].shape[1] :].tolist(), True)
            for m in (guarded, base)
        ]
        assert (texts[0] != texts[1]) == guarded.inspect(prompt).flagged
        return texts[0]

    return answer


@pytest.fixture
def by_hand(guarded, base, tokenizer):
    """by_hand(inputs): the base model's output, the embeddings of a flagged prompt's tokens corrupted by hand."""

    def by_hand(inputs, **how_to_generate):
        ids = inputs["input_ids"]
        verdict = guarded.eco_guard.decide(ids.tolist())[0]
        assert verdict.flagged == ("wizard" in tokenizer.decode(ids[0].tolist()))
        mask = torch.zeros_like(ids, dtype=torch.bool)
        mask[0, list(verdict.tokens)] = True
        how = guarded.config.eco.scopes[0].corruption
        embeddings = base.get_input_embeddings()(ids).detach()
        options = {"dims": how.dims, "strength": how.strength, "seed": how.seed}
        corrupted = corrupt(embeddings, mask, how.method, token_ids=ids, **options)

        def replace(module, args, output):
            whole = output.shape[1] >= ids.shape[1]  # the prompt, or without a cache what was generated as well
            return (
                torch.cat([corrupted.expand(output.shape[0], -1, -1), output[:, ids.shape[1] :]], 1) if whole else None
            )

        handle = base.get_input_embeddings().register_forward_hook(replace)
        try:
            output = base.generate(**inputs, **how_to_generate)
        finally:
            handle.remove()
        return output

    return by_hand


# -- pipelines


@pytest.fixture
def pipe(guarded, tokenizer):
    return pipeline("text-generation", model=guarded, tokenizer=tokenizer)


def text_of(record) -> str:
    """The answer in what a pipeline returns for one prompt."""
    generated = record[0]["generated_text"] if isinstance(record, list) else record["generated_text"]
    return generated if isinstance(generated, str) else generated[-1]["content"]


@pytest.mark.parametrize(
    "how",
    [
        param("directory", name="pipeline, a guarded directory after import hf_eco"),
        param("directory and tokenizer", name="pipeline, a guarded directory and a tokenizer"),
        param("model and tokenizer", name="pipeline, a guarded model and a tokenizer"),
        param("guard", name="pipeline, a guard-only directory"),
        param("device_map", name="pipeline, a guarded directory with device_map"),
    ],
)
def test_a_pipeline_answers_as_the_guarded_model(guarded, tokenizer, answer, tmp_path, how):
    if how == "guard":
        guarded.save_guard(tmp_path)
    else:
        guarded.save_pretrained(tmp_path)
    model = guarded if how == "model and tokenizer" else str(tmp_path)
    options = {"tokenizer": tokenizer} if "tokenizer" in how else {}
    options |= {"device_map": "cpu"} if how == "device_map" else {"device": "cpu"}
    pipe = pipeline("text-generation", model=model, **options)
    for prompt in (FLAGGED, CLEAN, chat(FLAGGED), chat(CLEAN)):
        assert text_of(pipe(prompt, return_full_text=False, **GREEDY)) == answer(prompt)


PROCESS = """
import json, sys
from transformers import pipeline
directory, prompts, options = json.loads(sys.argv[1])
pipe = pipeline("text-generation", model=directory, trust_remote_code=True)
print(json.dumps([pipe(prompt, return_full_text=False, **options)[0]["generated_text"] for prompt in prompts]))
"""


def environment(home: Path) -> dict[str, str]:
    """For a process that knows this checkout's hf_eco, and no network."""
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    own = {"HF_HOME": str(home), "HF_MODULES_CACHE": str(home / "modules"), "PYTHONPATH": os.pathsep.join(paths)}
    return os.environ | own | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}


@route("pipeline, trust_remote_code=True in a fresh process")
def test_a_pipeline_that_trusts_remote_code_answers_as_the_guarded_model(guarded, answer, tmp_path):
    guarded.save_pretrained(tmp_path / "guarded")
    prompts = [FLAGGED, CLEAN]
    request = json.dumps([str(tmp_path / "guarded"), prompts, GREEDY])
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, request],
        env=environment(tmp_path / "home"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [answer(prompt) for prompt in prompts]


def as_generator(prompts):
    yield from prompts


def as_dataset(prompts):
    datasets = pytest.importorskip("datasets", reason="a KeyDataset wraps one of datasets")
    from transformers.pipelines.pt_utils import KeyDataset

    return KeyDataset(datasets.Dataset.from_dict({"text": prompts}), "text")


@pytest.mark.parametrize("batch_size", [None, 2, 3], ids=lambda size: f"batch_size={size}")
@pytest.mark.parametrize(
    ("wrap", "prompts"),
    [
        param(list, [FLAGGED, CLEAN, FOLLOW_UP], name="pipeline, a list of texts"),
        param(list, [chat(FLAGGED), chat(CLEAN), chat(FOLLOW_UP)], name="pipeline, a list of chats"),
        param(as_generator, [FLAGGED, CLEAN, FOLLOW_UP], name="pipeline, a generator"),
        param(as_dataset, [FLAGGED, CLEAN, FOLLOW_UP], name="pipeline, a dataset"),
    ],
)
def test_a_pipeline_answers_many_prompts_as_each_alone(pipe, answer, wrap, prompts, batch_size):
    given = wrap(prompts)
    assert [text_of(r) for r in pipe(given, batch_size=batch_size, return_full_text=False, **GREEDY)] == [
        answer(prompt) for prompt in prompts
    ]


@route("pipeline, what it returns")
@pytest.mark.parametrize("prompt", [FLAGGED, CLEAN])
def test_what_a_pipeline_is_told_to_return_is_the_guarded_answer(guarded, pipe, encode, answer, prompt):
    text = answer(prompt)
    records = [
        pipe(prompt, **GREEDY, **options)[0]
        for options in ({}, {"return_full_text": True}, {"return_full_text": False})
    ]
    assert [record["generated_text"] for record in records] == [prompt + text, prompt + text, text]
    ids = guarded.generate(**encode(prompt), **GREEDY)[0].tolist()
    assert pipe(prompt, return_tensors=True, **GREEDY)[0]["generated_token_ids"] == ids


@pytest.mark.parametrize(
    ("prompt", "options", "seen"),
    [
        param(CLEAN, {"prefix": "the wizard and "}, "the wizard and " + CLEAN, name="pipeline, prefix="),
        param(CLEAN, {"prefix": "hello "}, "hello " + CLEAN, name="pipeline, a clean prefix="),
        param(FLAGGED + CLEAN, {"tokenizer_encode_kwargs": {"truncation": True, "max_length": 7}}, None,
              name="pipeline, tokenizer_encode_kwargs="),
        param(FLAGGED, {"stop_sequence": "e"}, FLAGGED, name="pipeline, stop_sequence="),
    ],
)  # fmt: skip
def test_what_a_pipeline_does_to_a_prompt_is_judged(guarded, base, pipe, tokenizer, encode, prompt, options, seen):
    inputs = encode(prompt, truncation=True, max_length=7) if seen is None else encode(seen)
    stop = {"stop_strings": options["stop_sequence"], "tokenizer": tokenizer} if "stop_sequence" in options else {}
    expected = guarded.generate(**inputs, **GREEDY, **stop)[0].tolist()
    flagged = guarded.eco_guard.decide(inputs["input_ids"].tolist())[0].flagged
    assert flagged == ("wizard" in tokenizer.decode(inputs["input_ids"][0].tolist()))
    assert (expected != base.generate(**inputs, **GREEDY, **stop)[0].tolist()) == flagged
    assert pipe(prompt, return_tensors=True, **options, **GREEDY)[0]["generated_token_ids"] == expected


@pytest.mark.parametrize("kept", [True, False], ids=["the-scope-kept", "the-scope-cut-off"])
@route("pipeline, handle_long_generation='hole'")
def test_a_prompt_cut_to_fit_is_judged_as_the_model_sees_it(guarded, base, pipe, tokenizer, encode, kept):
    prompt = (CLEAN + " " + FLAGGED) if kept else (FLAGGED + " " + CLEAN)
    ids = encode(prompt)["input_ids"]
    tokenizer.model_max_length = ids.shape[1] // 2 + GREEDY["max_new_tokens"]
    seen = ids[:, -(ids.shape[1] // 2) :]
    expected = guarded.generate(seen, **GREEDY)[0].tolist()
    assert (expected != base.generate(seen, **GREEDY)[0].tolist()) == kept
    answered = pipe(prompt, handle_long_generation="hole", return_tensors=True, **GREEDY)
    assert answered[0]["generated_token_ids"] == expected


@route("pipeline, a chat whose last message is continued")
@pytest.mark.parametrize("question", [FLAGGED, CLEAN])
def test_a_continued_message_is_answered_guarded(guarded, base, pipe, tokenizer, encode, question):
    prompt = chat(question, "the king")
    inputs = encode(prompt, add_generation_prompt=False, continue_final_message=True)
    start = inputs["input_ids"].shape[1]
    answers = [tokenizer.decode(m.generate(**inputs, **GREEDY)[0, start:].tolist(), True) for m in (guarded, base)]
    assert (answers[0] != answers[1]) == (question is FLAGGED)
    for options in ({}, {"continue_final_message": True}):
        assert pipe(prompt, **options, **GREEDY)[0]["generated_text"][-1]["content"] == "the king" + answers[0]


@pytest.mark.parametrize(
    "options",
    [
        param({"num_beams": 3, "num_return_sequences": 3}, name="pipeline, beams and num_return_sequences"),
        param(
            {"do_sample": True, "temperature": 2.0, "num_return_sequences": 3},
            name="pipeline, sampling and num_return_sequences",
        ),
    ],
)
@pytest.mark.parametrize("prompt", [FLAGGED, CLEAN])
def test_several_answers_of_a_pipeline_are_guarded(guarded, base, pipe, encode, prompt, options):
    options = {**GREEDY, **options}
    torch.manual_seed(0)
    answered = [record["generated_token_ids"] for record in pipe(prompt, return_tensors=True, **options)]
    expected = []
    for model in (guarded, base):
        torch.manual_seed(0)
        expected.append(model.generate(**encode(prompt), **options).tolist())
    assert answered == expected[0] and (expected[0] != expected[1]) == (prompt is FLAGGED)


@route("pipeline, several turns of one chat")
@pytest.mark.parametrize("first", [FLAGGED, CLEAN])
def test_a_conversation_that_was_flagged_stays_flagged_when_it_names_nothing(base, tokenizer, pipe, answer, first):
    conversation = chat(first)
    for _ in range(2):
        expected = answer(conversation)  # for a clean one that of the base
        conversation = pipe(conversation, **GREEDY)[0]["generated_text"]
        assert conversation[-1] == {"role": "assistant", "content": expected}
        conversation.append({"role": "user", "content": FOLLOW_UP})
    assert pipe.model.inspect(conversation).flagged == (first is FLAGGED)


@route("pipeline, assistant_model=")
@pytest.mark.parametrize("prompt", [FLAGGED, CLEAN])
def test_a_pipeline_with_an_assistant_is_guarded(guarded, base, tokenizer, answer, prompt):
    pipe = pipeline("text-generation", model=guarded, tokenizer=tokenizer, assistant_model=base)
    assert text_of(pipe(prompt, return_full_text=False, **GREEDY)) == answer(prompt)


QUESTIONS = {"q": {"type": "choice", "instructions": "does a cat sleep ?", "criteria": {"cat": "a", "dog": "b"}}}


@route("pipeline('decision'), probabilities of options")
@pytest.mark.parametrize("state", [FLAGGED, CLEAN])
def test_a_decision_pipeline_reads_guarded_logits(guarded, base, tokenizer, state):
    decision = pytest.importorskip("transformers.decision", reason="older transformers have no decisions")
    config = decision.DecisionConfig()
    request = {"state": state, "questions": QUESTIONS}
    pipes = [pipeline("decision", model=m, tokenizer=tokenizer, decision_config=config) for m in (guarded, base)]
    answers = [pipe(request)["q"] for pipe in pipes]
    assert (answers[0] != answers[1]) == (state is FLAGGED)


@route("pipeline('feature-extraction'), hidden states")
@pytest.mark.parametrize("prompt", [FLAGGED, CLEAN])
def test_extracted_features_are_guarded(guarded, base, tokenizer, encode, prompt):
    features = [pipeline("feature-extraction", model=m, tokenizer=tokenizer)(prompt) for m in (guarded, base)]
    assert features[0][0] == guarded(**encode(prompt)).logits.tolist()[0]
    assert (features[0] != features[1]) == (prompt is FLAGGED)


# -- streamers


class Collecting(TextStreamer):
    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.text = getattr(self, "text", "") + text


def stream_at_once(generate, tokenizer):
    streamer = Collecting(tokenizer, skip_prompt=True)
    generate(streamer)
    return streamer.text


def stream_from_a_thread(generate, tokenizer):
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=60)
    thread = threading.Thread(target=generate, args=(streamer,))
    thread.start()
    text = "".join(streamer)
    thread.join()
    return text


def stream_to_a_loop(generate, tokenizer):
    async def collect():
        streamer = AsyncTextIteratorStreamer(tokenizer, skip_prompt=True, timeout=60)
        thread = threading.Thread(target=generate, args=(streamer,))
        thread.start()
        text = "".join([part async for part in streamer])
        thread.join()
        return text

    return asyncio.run(collect())


@pytest.mark.parametrize("through", ["generate", "pipeline"])
@pytest.mark.parametrize(
    "stream",
    [
        param(stream_at_once, name="TextStreamer"),
        param(stream_from_a_thread, name="TextIteratorStreamer in a thread"),
        param(stream_to_a_loop, name="AsyncTextIteratorStreamer"),
    ],
)
@pytest.mark.parametrize("prompt", [FLAGGED, CLEAN])
def test_a_streamed_answer_is_the_guarded_one(guarded, base, pipe, tokenizer, encode, stream, through, prompt):
    inputs = encode(prompt)
    texts = [
        tokenizer.decode(m.generate(**inputs, **GREEDY)[0, inputs["input_ids"].shape[1] :]) for m in (guarded, base)
    ]
    assert (texts[0] != texts[1]) == (prompt is FLAGGED)
    if through == "generate":
        streamed = stream(lambda streamer: guarded.generate(**inputs, streamer=streamer, **GREEDY), tokenizer)
    else:
        streamed = stream(lambda streamer: pipe(prompt, streamer=streamer, **GREEDY), tokenizer)
    assert streamed == texts[0]


# -- custom decoding


def decode_growing_ids(model, input_ids, logits_processor, stopping_criteria, generation_config, **model_kwargs):
    while True:
        logits = model(input_ids, attention_mask=torch.ones_like(input_ids), use_cache=False).logits[:, -1]
        input_ids = torch.cat([input_ids, logits.argmax(-1, keepdim=True)], 1)
        if stopping_criteria(input_ids, None).all():
            return input_ids


def decode_with_a_cache(model, input_ids, logits_processor, stopping_criteria, generation_config, **model_kwargs):
    cache, fed = None, input_ids
    while True:
        output = model(fed, past_key_values=cache, use_cache=True)
        cache, fed = output.past_key_values, output.logits[:, -1:].argmax(-1)
        input_ids = torch.cat([input_ids, fed], 1)
        if stopping_criteria(input_ids, None).all():
            return input_ids


def call_sample(model, input_ids, logits_processor, stopping_criteria, generation_config, **model_kwargs):
    return model._sample(input_ids, logits_processor, stopping_criteria, generation_config, **model_kwargs)


@pytest.mark.parametrize(
    "decode",
    [
        param(decode_growing_ids, name="custom_generate, a callable that runs growing ids without a cache"),
        param(decode_with_a_cache, name="custom_generate, a callable with a decoding loop on a cache"),
        param(call_sample, name="custom_generate, a callable that calls model._sample"),
    ],
)
@pytest.mark.parametrize("prompt", [FLAGGED, chat(CLEAN)], ids=["flagged", "clean"])
def test_a_custom_decoding_function_is_guarded(guarded, encode, by_hand, decode, prompt):
    inputs = encode(prompt)
    assert torch.equal(guarded.generate(**inputs, custom_generate=decode, **GREEDY), by_hand(inputs, **GREEDY))


GENERATE = {
    "growing ids": """
import torch

def generate(model, input_ids=None, max_new_tokens=8, **kwargs):
    for _ in range(max_new_tokens):
        logits = model(input_ids, use_cache=False).logits[:, -1]
        input_ids = torch.cat([input_ids, logits.argmax(-1, keepdim=True)], 1)
        if int(input_ids[0, -1]) == model.generation_config.eos_token_id:
            break
    return input_ids
""",
    "super": """
def generate(model, custom_generate=None, **kwargs):
    kwargs = {name: value for name, value in kwargs.items() if value is not None}
    return super(type(model), model).generate(**kwargs)
""",
    "sample": """
from transformers import GenerationConfig

def generate(model, input_ids=None, attention_mask=None, max_new_tokens=8, do_sample=False, **kwargs):
    def decode(model, input_ids, logits_processor, stopping_criteria, generation_config, **model_kwargs):
        return model._sample(input_ids, logits_processor, stopping_criteria, generation_config, **model_kwargs)

    options = {"max_new_tokens": max_new_tokens, "do_sample": do_sample, "custom_generate": decode}
    return model.generate(input_ids, attention_mask=attention_mask, **options)
""",
}


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """recipe(kind, directory): writes custom_generate/generate.py into the directory."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))

    def recipe(kind, directory):
        (directory / "custom_generate").mkdir(parents=True)
        (directory / "custom_generate" / "generate.py").write_text(GENERATE[kind])
        return str(directory)

    return recipe


@pytest.mark.parametrize(
    "kind",
    [
        param("growing ids", name="custom_generate, a folder whose recipe runs growing ids"),
        param("super", name="custom_generate, a folder whose recipe calls super().generate"),
        param("sample", name="custom_generate, a folder whose recipe calls model._sample"),
    ],
)
@pytest.mark.parametrize("prompt", [FLAGGED, chat(CLEAN)], ids=["flagged", "clean"])
def test_a_recipe_from_a_folder_is_guarded(guarded, encode, by_hand, recipe, tmp_path, kind, prompt):
    inputs, folder = encode(prompt), recipe(kind, tmp_path / f"recipe-{kind[:5]}")
    answered = guarded.generate(**inputs, custom_generate=folder, trust_remote_code=True, **GREEDY)
    assert torch.equal(answered, by_hand(inputs, **GREEDY))


@pytest.mark.parametrize(
    "kind",
    [
        param(
            "growing ids",
            name="a guarded checkpoint with a custom_generate of its own that runs growing ids",
            note="what has been generated is corrupted as well",
        ),
        param("super", name="a guarded checkpoint with a custom_generate of its own that calls super().generate"),
    ],
)
@pytest.mark.parametrize("prompt", [FLAGGED, chat(CLEAN)], ids=["flagged", "clean"])
def test_a_checkpoint_that_brings_its_own_generate_is_guarded(
    request, guarded, encode, by_hand, recipe, tmp_path, kind, prompt
):
    guarded.save_pretrained(directory := tmp_path / f"checkpoint-{kind[:5]}")
    recipe(kind, directory)
    model = AutoModelForCausalLM.from_pretrained(directory, trust_remote_code=True)
    assert "_own_generate" in vars(model)
    inputs = encode(prompt)
    assert torch.equal(model.generate(**inputs, **GREEDY), by_hand(inputs, **GREEDY))


# -- assisted decoding


@pytest.fixture
def other(base_dir):
    """Another small Llama with the same tokenizer: an assistant that is often wrong."""
    torch.manual_seed(1)
    return LlamaForCausalLM(LlamaConfig.from_pretrained(base_dir, num_hidden_layers=1)).eval()


@pytest.fixture
def guarded_other(other, eco_config, tokenizer, tmp_path):
    other.save_pretrained(tmp_path / "other")
    return AutoModelForCausalLMWithECO.from_pretrained(tmp_path / "other", eco_config=eco_config, tokenizer=tokenizer)


ASSISTED = pytest.mark.parametrize("length", [8, 24])
PROMPTS = pytest.mark.parametrize(
    "prompt", [chat(FLAGGED), FLAGGED, chat(CLEAN)], ids=["flagged", "flagged-text", "clean"]
)


@pytest.mark.parametrize(
    "assistant",
    [
        param("base", name="assisted decoding, the base as assistant"),
        param("other", name="assisted decoding, another plain assistant"),
        param("guarded", name="assisted decoding, a guarded model assists itself"),
        param("guarded_other", name="assisted decoding, another guarded assistant"),
    ],
)
@PROMPTS
@ASSISTED
def test_assisted_decoding_gives_the_guarded_answer(request, guarded, encode, by_hand, assistant, prompt, length):
    inputs, options = encode(prompt), {**GREEDY, "max_new_tokens": length}
    assistant = request.getfixturevalue(assistant)
    answered = guarded.generate(**inputs, assistant_model=assistant, **options)
    assert torch.equal(answered, by_hand(inputs, **options))


@route("assisted decoding, a plain target with a guarded assistant", note="the target was never guarded")
@PROMPTS
@ASSISTED
def test_a_guarded_assistant_leaves_a_plain_targets_answer_as_it_is(base, guarded_other, encode, prompt, length):
    inputs, options = encode(prompt), {**GREEDY, "max_new_tokens": length}
    assert torch.equal(
        base.generate(**inputs, assistant_model=guarded_other, **options), base.generate(**inputs, **options)
    )


@pytest.fixture
def foreign(tmp_path):
    """(model, tokenizer): a small Llama with a tokenizer of its own."""
    tokenizer = byte_level_tokenizer(eos_token="<|im_end|>")
    tokenizer.add_tokens(["baker", "king", "wizard"])
    torch.manual_seed(2)
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes, **ids)).eval(), tokenizer


@route("universal assisted decoding, another tokenizer")
@PROMPTS
@ASSISTED
def test_universal_assisted_decoding_gives_the_guarded_answer(
    guarded, tokenizer, encode, by_hand, foreign, prompt, length
):
    inputs, options = encode(prompt), {**GREEDY, "max_new_tokens": length}
    tokenizers = {"tokenizer": tokenizer, "assistant_tokenizer": foreign[1]}
    answered = guarded.generate(**inputs, assistant_model=foreign[0], **tokenizers, **options)
    assert torch.equal(answered, by_hand(inputs, **options))


@route("universal speculative decoding, sampled with another tokenizer")
def test_universal_speculative_decoding_reads_guarded_logits(guarded, base, tokenizer, encode, foreign):
    inputs = encode(chat(FLAGGED))
    options = {"do_sample": True, "temperature": 1e-3, "max_new_tokens": 8, "assistant_model": foreign[0]}
    torch.manual_seed(0)
    answered = guarded.generate(**inputs, tokenizer=tokenizer, assistant_tokenizer=foreign[1], **options)
    assert torch.equal(answered, guarded.generate(**inputs, **GREEDY))  # so cold that it is greedy
    assert not torch.equal(answered, base.generate(**inputs, **GREEDY))


@pytest.mark.parametrize(
    "options",
    [
        param({"prompt_lookup_num_tokens": 2}, name="prompt lookup"),
        param({"assistant_early_exit": 1}, name="early exit (assistant_early_exit)"),
    ],
)
@PROMPTS
@ASSISTED
def test_speculation_without_another_model_gives_the_guarded_answer(guarded, encode, by_hand, options, prompt, length):
    inputs, common = encode(prompt), {**GREEDY, "max_new_tokens": length}
    assert torch.equal(guarded.generate(**inputs, **common, **options), by_hand(inputs, **common))


# -- options of generate

NEEDS_MORE = {
    "quantized": "needs optimum-quanto or hqq",
    "offloaded": "needs an accelerator",
}


def rows_are(answers, expected) -> bool:
    """True if each row of a padded batch is what was expected of its prompt alone, and padding from there on."""
    return all(
        torch.equal(row[: len(wanted)], wanted) and not row[len(wanted) :].any()
        for row, wanted in zip(answers, expected, strict=True)
    )


def new(sequences, inputs):
    return sequences[:, inputs["input_ids"].shape[1] :]


@pytest.fixture
def mixed(encode):
    """(inputs of a flagged chat, of a longer clean one, of both in one left-padded batch)."""
    chats = chat(FLAGGED), chat(CLEAN + " " + FOLLOW_UP)
    return encode(chats[0]), encode(chats[1]), encode(*chats)


@pytest.mark.parametrize(
    "implementation",
    [
        param(name, name=f"cache_implementation={name!r}")
        for name in ALL_CACHE_IMPLEMENTATIONS
        if name != "quantized"  # rounds, so that its answers are others: see test_wrapped.py
    ],
)
def test_every_kind_of_cache_gives_the_guarded_answer(guarded, base, by_hand, mixed, implementation):
    options = {**GREEDY, "cache_implementation": implementation}
    try:
        base.generate(**mixed[1], **options)
    except (ImportError, RuntimeError, AssertionError) as error:
        pytest.skip(f"transformers cannot run it here: {error}")
    expected = [new(by_hand(inputs, **GREEDY), inputs)[0] for inputs in mixed[:2]]
    assert not torch.equal(expected[0], new(base.generate(**mixed[0], **GREEDY), mixed[0])[0])
    assert rows_are(new(guarded.generate(**mixed[2], **options), mixed[2]), expected)


class OnlyEven:
    def __call__(self, input_ids, scores):
        return scores.masked_fill(torch.arange(scores.shape[-1]) % 2 == 1, -torch.inf)


@pytest.mark.parametrize(
    "options",
    [
        param({"stop_strings": ["e", "th"]}, name="stop_strings"),
        param({"watermarking_config": WatermarkingConfig(bias=5.0)}, name="watermarking_config"),
        param({"forced_bos_token_id": 40}, name="forced_bos_token_id"),
        param({"forced_eos_token_id": 2}, name="forced_eos_token_id"),
        param({"sequence_bias": [[[40], 3.0], [[41], 3.0]]}, name="sequence_bias"),
        param({"bad_words_ids": [[i] for i in range(100, 200)]}, name="bad_words_ids"),
        param({"suppress_tokens": list(range(50, 150))}, name="suppress_tokens"),
        param({"begin_suppress_tokens": list(range(50, 300))}, name="begin_suppress_tokens"),
        param({"no_repeat_ngram_size": 2}, name="no_repeat_ngram_size"),
        param({"repetition_penalty": 1.5}, name="repetition_penalty"),
        param({"min_new_tokens": 8}, name="min_new_tokens"),
        param({"exponential_decay_length_penalty": (2, 1.5)}, name="exponential_decay_length_penalty"),
        param({"prefix_allowed_tokens_fn": lambda row, ids: list(range(30, 130))}, name="prefix_allowed_tokens_fn"),
        param({"logits_processor": LogitsProcessorList([OnlyEven()])}, name="logits_processor"),
        param({"num_beams": 3, "early_stopping": True, "length_penalty": 0.5}, name="beam search"),
        param({"renormalize_logits": True, "remove_invalid_values": True}, name="renormalize_logits"),
        param({"max_time": 600.0}, name="max_time"),
        param({"use_cache": False}, name="use_cache=False"),
        param({"prefill_chunk_size": 7}, name="prefill_chunk_size"),
    ],
)  # fmt: skip
def test_options_of_generate_act_on_guarded_logits(guarded, base, tokenizer, by_hand, mixed, options):
    given = {**GREEDY, **options, **({"tokenizer": tokenizer} if "stop_strings" in options else {})}
    reference = {name: value for name, value in given.items() if name != "prefill_chunk_size"}
    expected = [new(by_hand(inputs, **reference), inputs)[0] for inputs in mixed[:2]]
    assert not torch.equal(expected[0], new(base.generate(**mixed[0], **reference), mixed[0])[0])
    assert rows_are(new(guarded.generate(**mixed[2], **given), mixed[2]), expected)


@route("max_length")
def test_a_maximal_length_in_place_of_new_tokens_gives_the_guarded_answer(guarded, by_hand, mixed):
    expected = [new(by_hand(inputs, **GREEDY), inputs)[0] for inputs in mixed[:2]]
    for inputs, wanted in ((mixed[0], expected[:1]), (mixed[1], expected[1:]), (mixed[2], expected)):
        length = inputs["input_ids"].shape[1] + GREEDY["max_new_tokens"]
        assert rows_are(new(guarded.generate(**inputs, do_sample=False, max_length=length), inputs), wanted)


@route("scores, logits, hidden states and attentions of generate")
@pytest.mark.parametrize("row", [0, 1], ids=["flagged", "clean"])
def test_what_generate_returns_beside_tokens_is_guarded(guarded, base, by_hand, mixed, row):
    names = ("scores", "logits", "hidden_states", "attentions")
    options = {**GREEDY, "return_dict_in_generate": True, **{f"output_{name}": True for name in names}}
    for model in (guarded, base):
        model.set_attn_implementation("eager")
    answered, expected, bare = (
        function(mixed[row]) for function in (
            lambda inputs: guarded.generate(**inputs, **options),
            lambda inputs: by_hand(inputs, **options),
            lambda inputs: base.generate(**inputs, **options),
        )
    )  # fmt: skip
    for name in names:
        pairs = zip(flat(answered[name]), flat(expected[name]), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs), name
        assert torch.equal(flat(answered[name])[0], flat(bare[name])[0]) == (row == 1), name


def flat(outputs):
    return [outputs] if isinstance(outputs, torch.Tensor) else [tensor for part in outputs for tensor in flat(part)]


@pytest.fixture
def healer(tokenizer):
    tokenizer.bos_token = "<|im_start|>"  # transformers heals by it
    return {"token_healing": True, "tokenizer": tokenizer}


@route("token_healing")
@pytest.mark.parametrize(
    "prompt",
    [FLAGGED + " ;w", CLEAN + " (w", "the ;w"],
    ids=["flagged", "clean", "healed-into-the-scope"],
)
def test_a_healed_prompt_is_guarded(guarded, base, healer, encode, by_hand, tokenizer, prompt):
    inputs = encode(prompt)
    assert not guarded.inspect("the ;").flagged and guarded.inspect("the ;wizard").flagged
    start = inputs["input_ids"].shape[1]
    healed = guarded.generate(**inputs, **healer, **GREEDY)
    seen = {"input_ids": healed[:, :start], "attention_mask": torch.ones_like(healed[:, :start])}
    assert not torch.equal(seen["input_ids"], inputs["input_ids"])
    assert torch.equal(healed, by_hand(seen, **GREEDY))
    if not guarded.inspect(tokenizer.decode(seen["input_ids"][0].tolist())).flagged:
        assert torch.equal(healed, base.generate(**inputs, **healer, **GREEDY))


@route("token_healing, an answer that names the scope")
def test_what_a_healed_clean_prompt_is_answered_flags_nothing(guarded, base, healer, encode, tokenizer):
    options, inputs = {**healer, **GREEDY}, encode(CLEAN + " (w")
    said = torch.zeros(guarded.config.vocab_size).index_fill(0, torch.tensor(tokenizer(" wizard")["input_ids"]), 50.0)
    for model in (guarded, base):  # the model itself has it on the tip of its tongue
        model.lm_head.register_forward_hook(lambda module, args, logits: logits + said)
    answer = guarded.generate(**inputs, **options)
    assert torch.equal(answer, base.generate(**inputs, **options))
    assert "wizard" in tokenizer.decode(new(answer, inputs)[0])


@route("token_healing of a batch")
def test_healed_prompts_of_a_batch_are_guarded(guarded, encode, healer, by_hand):
    texts, expected = [FLAGGED + " ;w", "hello " + CLEAN + " (w"], []
    for text in texts:
        seen = guarded.generate(**encode(text), **healer, **GREEDY)[:, : encode(text)["input_ids"].shape[1]]
        seen = {"input_ids": seen, "attention_mask": torch.ones_like(seen)}
        expected.append(new(by_hand(seen, **GREEDY), seen)[0])
    assert rows_are(new(guarded.generate(**encode(*texts), **healer, **GREEDY), encode(*texts)), expected)


# -- transformers serve and transformers chat

MAIN = "from transformers.cli.transformers import main; main()"


@contextmanager
def serving(directory: str, home: Path, *flags: str, before: str = ""):
    """The address of a `transformers serve` of the directory; `before` is run first in its process.

    Raises RuntimeError with the server's log if it does not start."""
    for name in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(name, reason="transformers serve needs transformers[serving]")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    home.mkdir(parents=True, exist_ok=True)
    arguments = ["serve", directory, "--device", "cpu", "--port", str(port), *flags]
    with open(home / "log", "w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", before + MAIN, *arguments], cwd=home, env=environment(home), stdout=log, stderr=log
        )
        try:
            while process.poll() is None:
                try:
                    urllib.request.urlopen(f"http://localhost:{port}/health", timeout=60).close()
                    break
                except urllib.error.URLError:
                    time.sleep(0.2)
            if process.poll() is not None:
                raise RuntimeError(f"transformers serve has ended:\n{(home / 'log').read_text()}")
            yield f"http://localhost:{port}"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def post(address: str, body: dict) -> str:
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as response:
        return response.read().decode()


def events(text: str) -> list[dict]:
    """What a server has streamed."""
    lines = (line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: "))
    return [json.loads(line) for line in lines if line != "[DONE]"]


def ask_chat(url, model, prompt, stream=False, **options):
    body = {"model": model, "messages": prompt, "temperature": 0, "max_tokens": 8, "stream": stream, **options}
    text = post(url + "/v1/chat/completions", body)
    if not stream:
        return json.loads(text)["choices"][0]["message"]["content"]
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events(text))


def ask_completions(url, model, prompt, stream=False):
    body = {"model": model, "prompt": prompt, "temperature": 0, "max_tokens": 8, "stream": stream}
    text = post(url + "/v1/completions", body)
    return "".join(event["choices"][0]["text"] for event in (events(text) if stream else [json.loads(text)]))


def ask_responses(url, model, prompt, stream=False):
    body = {"model": model, "input": prompt, "temperature": 0, "max_output_tokens": 8, "stream": stream}
    text = post(url + "/v1/responses", body)
    if not stream:
        return json.loads(text)["output"][0]["content"][0]["text"]
    return "".join(event["delta"] for event in events(text) if event["type"] == "response.output_text.delta")


@pytest.fixture(scope="module")
def served(base_dir, classifier_dir, tmp_path_factory) -> str:
    """A guarded directory; the guard is that of `guarded`."""
    corruption = CorruptionConfig(method="rand_noise_first_n", dims=8, strength=10.0, seed=3)
    config = ECOConfig(scopes=[ForgetScope(name="wizards", classifier=classifier_dir, corruption=corruption)])
    model = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=config)
    model.save_pretrained(directory := tmp_path_factory.mktemp("served"))
    return str(directory)


@pytest.fixture(scope="module")
def server(served, tmp_path_factory):
    with serving(served, tmp_path_factory.mktemp("server"), "--trust-remote-code") as url:
        yield url


@pytest.fixture(scope="module")
def batching_server(served, tmp_path_factory):
    if version.parse(transformers.__version__) < version.parse("5.17"):
        pytest.skip("its server takes most of the machine's memory for the cache, whatever it is told")
    home = tmp_path_factory.mktemp("batching")
    flags = ["--trust-remote-code", "--continuous-batching", "--cb-num-blocks", "64", "--cb-block-size", "32"]
    with serving(served, home, *flags) as url:
        yield url


@pytest.fixture
def streamed(guarded, tokenizer, encode):
    """streamed(prompt): the guarded answer as servers decode it, token by token; an unfinished character stays out."""
    from tokenizers.decoders import DecodeStream

    def streamed(prompt):
        decoder = DecodeStream([], skip_special_tokens=True)
        ids = new(guarded.generate(**encode(prompt), **GREEDY), encode(prompt))[0].tolist()
        return "".join(decoder.step(tokenizer._tokenizer, i) or "" for i in ids)

    return streamed


ENDPOINTS = pytest.mark.parametrize(
    ("ask", "prompts"),
    [
        param(ask_chat, [chat(FLAGGED), chat(CLEAN)], name="transformers serve, /v1/chat/completions"),
        param(ask_completions, [FLAGGED, CLEAN], name="transformers serve, /v1/completions"),
        param(ask_responses, [chat(FLAGGED), chat(CLEAN)], name="transformers serve, /v1/responses"),
    ],
)


@ENDPOINTS
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_server_gives_the_guarded_answer(server, served, answer, streamed, ask, prompts, stream):
    for prompt in prompts:
        expected = answer(prompt)
        assert ask(server, served, prompt, stream) == (streamed(prompt) if stream else expected)


@route("transformers serve, several turns of one chat")
@pytest.mark.parametrize("first", [FLAGGED, CLEAN])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_served_conversation_stays_flagged(guarded, server, served, answer, streamed, first, stream):
    conversation = chat(first)
    for _ in range(3):
        expected = answer(conversation)
        said = ask_chat(server, served, conversation, stream)
        assert said == (streamed(conversation) if stream else expected)
        conversation += [{"role": "assistant", "content": said}, {"role": "user", "content": FOLLOW_UP}]
    assert guarded.inspect(conversation).flagged == (first is FLAGGED)


def ask_at_once(url, model, prompts, streams):
    """The answers to clients that ask in threads of their own."""
    answers = [None] * len(prompts)

    def work(i):
        answers[i] = ask_chat(url, model, prompts[i], streams[i])

    in_threads(work, len(prompts))
    return answers


CLIENTS = [chat(FLAGGED), chat(CLEAN), chat(FOLLOW_UP), chat(FLAGGED + " " + FOLLOW_UP)] * 2


@route("transformers serve, clients at once")
def test_clients_at_once_get_their_own_answers(server, served, answer, streamed):
    streams = [i % 3 == 0 for i in range(len(CLIENTS))]
    expected = [streamed(c) if stream else answer(c) for c, stream in zip(CLIENTS, streams, strict=True)]
    assert ask_at_once(server, served, CLIENTS, streams) == expected


@pytest.mark.parametrize(
    "options",
    [
        param({"num_beams": 3}, name="transformers serve, a client's beams"),
        param({"cache_implementation": "static"}, name="transformers serve, a client's static cache"),
        param({"use_cache": False}, name="transformers serve, a client's use_cache=False"),
        param({"prompt_lookup_num_tokens": 2}, name="transformers serve, a client's prompt lookup"),
    ],
)
@pytest.mark.parametrize("prompt", [chat(FLAGGED), chat(CLEAN)], ids=["flagged", "clean"])
def test_what_a_client_asks_of_generate_does_not_evade(guarded, server, served, answer, prompt, options):
    ends = {"eos_token_id": guarded.generation_config.eos_token_id, "pad_token_id": guarded.config.pad_token_id}
    config = json.dumps({**GREEDY, **ends, **options})
    assert ask_chat(server, served, prompt, generation_config=config) == answer(prompt, **options)


@route("transformers serve, /v1/systemone")
@pytest.mark.parametrize("state", [FLAGGED, CLEAN])
def test_served_decisions_read_guarded_logits(guarded, base, tokenizer, server, served, state):
    decision = pytest.importorskip("transformers.decision", reason="older transformers have no decisions")
    request, config = {"state": state, "questions": QUESTIONS}, decision.DecisionConfig()
    told = json.loads(post(server + "/v1/systemone", {"model": served, **request}))["answers"]
    answers = [
        pipeline("decision", model=m, tokenizer=tokenizer, decision_config=config)(request) for m in (guarded, base)
    ]
    assert json.dumps(told) == json.dumps(answers[0])
    assert (answers[0] != answers[1]) == (state is FLAGGED)


@pytest.mark.parametrize(
    ("ask", "prompts"),
    [
        param(ask_chat, [chat(FLAGGED), chat(CLEAN)], name="transformers serve --continuous-batching, chat"),
        param(ask_completions, [FLAGGED, CLEAN], name="transformers serve --continuous-batching, completions"),
        param(ask_responses, [chat(FLAGGED), chat(CLEAN)], name="transformers serve --continuous-batching, responses"),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_batching_server_gives_the_guarded_answer(batching_server, served, answer, streamed, ask, prompts, stream):
    for prompt in prompts:
        expected = answer(prompt)
        assert ask(batching_server, served, prompt, stream) == (streamed(prompt) if stream else expected)


@route("transformers serve --continuous-batching, clients at once")
def test_clients_of_a_batching_server_get_their_own_answers(batching_server, served, answer, streamed):
    streams = [i % 3 == 0 for i in range(len(CLIENTS))]
    expected = [streamed(c) if stream else answer(c) for c, stream in zip(CLIENTS, streams, strict=True)]
    for _ in range(2):  # the second time what is cached of equal prompts may be shared
        assert ask_at_once(batching_server, served, CLIENTS, streams) == expected


@route("transformers serve, a guarded directory without trust_remote_code", "refused", note="pass --trust-remote-code")
def test_a_server_that_knows_no_hf_eco_does_not_start(served, tmp_path):
    with pytest.raises(RuntimeError, match="trust_remote_code=True"), serving(served, tmp_path / "home"):
        pass


@pytest.mark.parametrize(
    ("flags", "before"),
    [
        param(["--trust-remote-code"], "", name="transformers serve --trust-remote-code"),
        param([], "import hf_eco; ", name="transformers serve in a process that has imported hf_eco"),
    ],
)
def test_a_guarded_directory_is_served_as_any_other(served, tmp_path, answer, flags, before):
    with serving(served, tmp_path / "home", *flags, before=before) as url:
        for prompt in (chat(FLAGGED), chat(CLEAN)):
            assert ask_chat(url, served, prompt) == answer(prompt)


@route("transformers chat, a client of transformers serve")
@pytest.mark.parametrize("first", [FLAGGED, CLEAN])
def test_the_chat_command_shows_the_served_models_answers(guarded, server, served, streamed, encode, tmp_path, first):
    conversation, typed = [], []
    for text in (first, FOLLOW_UP):
        conversation.append({"role": "user", "content": text})
        ended = len(new(guarded.generate(**encode(conversation), **GREEDY), encode(conversation))[0]) < 8
        typed += [text] if ended else [text, "n"]  # asked whether to go on where the answer was cut off
        conversation.append({"role": "assistant", "content": streamed(conversation)})
    flags = ["max_new_tokens=8", "do_sample=False", "eos_token_id=2", "pad_token_id=0"]
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "chat", served, server + "/v1", *flags],
        input="\n".join([*typed, "!save", "!exit", ""]),
        env=environment(tmp_path) | {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": server},  # offline it asks nobody at all
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    saved = sorted(Path(served).glob("chat_*.json"))
    assert done.returncode == 0 and saved, done.stdout + done.stderr
    said = json.loads(saved[-1].read_text())["chat_history"]
    for file in saved:
        file.unlink()
    assert said == conversation
