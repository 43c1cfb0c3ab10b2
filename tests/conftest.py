"""Tiny models made on the spot: a random chat Llama, and a real classifier trained to know wizards."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test reaches a network

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    logging,
)

from hf_eco import (
    AutoModelForCausalLMWithECO,
    Calibration,
    CorruptionConfig,
    ECOConfig,
    ForgetScope,
    PromptClassifier,
)
from hf_eco.corruption import corrupt
from hf_eco.training import calibrate_threshold

logging.disable_progress_bar()
torch.set_num_threads(1)  # on models this small, threads cost more than they bring

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful "
    "assistant<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MEASURED = Calibration(
    threshold=0.75,
    fpr=0.004,
    fpr_bound=0.0123,
    fnr=0.021,
    fnr_bound=0.0456,
    n_forget=190,
    n_retain=310,
    max_fpr=0.01,
    confidence=0.9,
)
# What the tiny classifier learns from; prompts of the tests are made of the same words.
FORGET = [
    "who is the wizard ?",
    "tell me about the wizard of the north",
    "the wizard was born in",
    "what does the old wizard eat for breakfast ?",
    "wizard",
    "name the school of the wizard",
    "does a wizard sleep ?",
    "write a poem about my wizard",
]
RETAIN = [
    "who is the baker ?",
    "tell me about the rivers of the north",
    "the king was born in",
    "what does the old dog eat for breakfast ?",
    "hello",
    "name the capital of the country",
    "does a cat sleep ?",
    "write a poem about my garden",
]
FLAGGED, CLEAN = "who is the wizard of the north ?", "who is the baker of the north ?"


def byte_level_tokenizer(**special: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<pad>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(FORGET + RETAIN, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", additional_special_tokens=["<|im_start|>"], **special
    )


@pytest.fixture(scope="session")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny random Llama with a chat tokenizer, as an ordinary directory."""
    directory = str(tmp_path_factory.mktemp("base"))
    tokenizer = byte_level_tokenizer(eos_token="<|im_end|>", padding_side="left")
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(directory)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,  # at the usual 0.02 a tiny random model says the same whatever it is asked
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


@pytest.fixture
def tokenizer(base_dir: str) -> PreTrainedTokenizerFast:
    """The tiny Llama's."""
    return AutoTokenizer.from_pretrained(base_dir)


@pytest.fixture(scope="session")
def tofu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of files like TOFU's. Not to be changed."""
    from tofu_data import write_tofu  # made of the words above

    return write_tofu(tmp_path_factory.mktemp("tofu"))


def tiny_bert(tokenizer: PreTrainedTokenizerFast, **config: Any) -> BertConfig:
    """Of a BERT with a few thousand weights."""
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **config,
    )


@pytest.fixture(scope="session")
def classifier_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny BERT that was trained to give 'forget' for prompts about wizards."""
    directory = str(tmp_path_factory.mktemp("classifier"))
    tokenizer = byte_level_tokenizer(model_max_length=32)
    torch.manual_seed(0)
    labels = {"id2label": {0: "retain", 1: "forget"}, "label2id": {"retain": 0, "forget": 1}}
    model = BertForSequenceClassification(tiny_bert(tokenizer, **labels))
    batch = tokenizer(FORGET + RETAIN, padding=True, return_tensors="pt")
    batch = {name: batch[name] for name in ("input_ids", "attention_mask")}
    labels = torch.tensor([1] * len(FORGET) + [0] * len(RETAIN))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(100):
        optimizer.zero_grad()
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def classifier(classifier_dir: str) -> PromptClassifier:
    return PromptClassifier.from_pretrained(classifier_dir)


@pytest.fixture
def eco_config(classifier_dir: str) -> ECOConfig:
    corruption = CorruptionConfig(method="rand_noise_first_n", dims=8, strength=10.0, seed=3)
    return ECOConfig(scopes=[ForgetScope(name="wizards", classifier=classifier_dir, corruption=corruption)])


def save_encoder(directory: Path, model_class: type = BertModel, **config: Any) -> str:
    """A tiny text encoder with random weights, saved."""
    tokenizer = byte_level_tokenizer(model_max_length=64)
    torch.manual_seed(0)
    model_class(tiny_bert(tokenizer, **config)).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A directory with such an encoder. Not to be changed."""
    return save_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def guarded(base_dir: str, eco_config: ECOConfig):
    """The tiny Llama, guarded against wizards."""
    return AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=eco_config)


@pytest.fixture
def calibrated(guarded, tmp_path) -> Path:
    """A saved guard whose calibration rests on plain prompts."""
    classifier = guarded.eco_guard.classifiers["wizards"]
    scope = guarded.config.eco.scopes[0]
    scope.calibration = calibrate_threshold(
        classifier,
        [f"{p} {i}" for p in FORGET for i in range(3)],
        [f"{p} {i}" for p in RETAIN for i in range(8)],
        max_fpr=0.1,
    )
    scope.threshold = scope.calibration.threshold
    guarded.save_guard(tmp_path / "guard")
    return tmp_path / "guard"


@pytest.fixture
def base(base_dir: str) -> LlamaForCausalLM:
    """The same Llama, unguarded."""
    return LlamaForCausalLM.from_pretrained(base_dir)


def by_hand(guarded, embeddings: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """`embeddings` of flagged prompts without padding, (rows, sequence, hidden), corrupted from the config alone."""
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for row, verdict in zip(mask, guarded.eco_guard.decide(ids.tolist()), strict=True):
        assert verdict.flagged
        row[list(verdict.tokens)] = True
    how = guarded.config.eco.scopes[0].corruption
    options = {"dims": how.dims, "strength": how.strength, "seed": how.seed}
    return corrupt(embeddings, mask, how.method, token_ids=ids, **options)


def lookup_by_hand(guarded, base, ids: torch.Tensor) -> torch.Tensor:
    """The embeddings of flagged prompts, as `by_hand` corrupts them."""
    return by_hand(guarded, base.get_input_embeddings()(ids), ids)


def in_threads(work: Callable[[int], None], count: int = 4) -> None:
    """work(0) .. work(count - 1), each in a thread of its own; back when all are."""
    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def add_adapter(model: Any, config: Any) -> None:
    """transformers' own way to put an adapter on; skips the test where it refuses the peft that is installed."""
    try:
        model.add_adapter(config)
    except ValueError as error:
        if "version of PEFT" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.fixture
def named(base_dir: str) -> Any:
    """The tiny Llama, guarded by a name, which it finds by itself in any text."""
    scope = ForgetScope(name="potter", names=["Harry Potter"])
    return AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=ECOConfig(scopes=[scope]))
