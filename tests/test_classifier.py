"""p(forget) of any text, of any length, however it is asked for."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
import random
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from conftest import CLEAN, FLAGGED, FORGET, RETAIN, byte_level_tokenizer, in_threads
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ByT5Tokenizer,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from hf_eco import PromptClassifier

FILLER = "tell me about the rivers of the north "
LONG = FILLER * 40  # many windows of 32 tokens
TEXTS = [*FORGET, *RETAIN, LONG, FILLER * 9, LONG + FLAGGED, "a", "🧙 né"]


def word_tokenizer(**kwargs) -> PreTrainedTokenizerFast:
    """Whole lower-case words between [CLS] and [SEP]; spaces have no token."""
    words = sorted({word for text in [*FORGET, *RETAIN] for word in text.split()})
    vocab = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special, **kwargs)


def tiny_bert(tokenizer, labels=("retain", "forget"), **kwargs) -> BertForSequenceClassification:
    """Random, but of decided opinions."""
    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(
        vocab_size=len(tokenizer),
        **sizes,
        max_position_embeddings=64,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        pad_token_id=0,
        initializer_range=1.0,
        **kwargs,
    )
    return BertForSequenceClassification(config)


def classifier_of_words(
    labels=("retain", "forget"), batch_size=32, padding_side="right", **kwargs
) -> PromptClassifier:
    tokenizer = word_tokenizer(model_max_length=32, padding_side=padding_side)
    return PromptClassifier(tiny_bert(tokenizer, labels, **kwargs), tokenizer, batch_size=batch_size)


def count_forward_passes(classifier: PromptClassifier, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of windows of each forward pass."""
    passes, forward = [], classifier.model.forward

    def counted(input_ids, **kwargs):
        passes.append(len(input_ids))
        return forward(input_ids, **kwargs)

    monkeypatch.setattr(classifier.model, "forward", counted)
    return passes


@torch.no_grad()
def logits_by_hand(classifier: PromptClassifier, text: str) -> torch.Tensor:
    return classifier.model(classifier.tokenizer(text, return_tensors="pt")["input_ids"]).logits[0]


@pytest.mark.parametrize("padding_side", ["left", "right"])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_scores_come_in_the_order_of_the_texts_whatever_their_lengths(batch_size, padding_side):
    # Fails for "left": a tokenizer saved with padding_side="left" (as most decoders' are) shifts the positions of
    # all but the longest window of a batch, so that a score depends on the other texts.
    alone = {text: classifier_of_words().score([text])[0] for text in TEXTS}
    assert len({round(p, 3) for p in alone.values()}) > len(TEXTS) // 2  # there is an order to get wrong
    texts = random.Random(0).sample(TEXTS + TEXTS, 2 * len(TEXTS))
    classifier = classifier_of_words(batch_size=batch_size, padding_side=padding_side)
    assert classifier.score(texts) == pytest.approx([alone[text] for text in texts], abs=1e-5)


@pytest.mark.parametrize(
    ("labels", "problem_type", "probabilities"),
    [
        (("retain", "forget"), None, lambda z: z.softmax(-1)),
        (("a", "b", "forget"), "single_label_classification", lambda z: z.softmax(-1)),
        (("forget",), None, torch.sigmoid),
        (("a", "forget", "c"), "multi_label_classification", torch.sigmoid),
    ],
    ids=["two", "three", "one", "multi-label"],
)
def test_scores_are_the_models_own_probabilities(labels, problem_type, probabilities):
    classifier = classifier_of_words(labels, problem_type=problem_type)
    expected = torch.stack([probabilities(logits_by_hand(classifier, text)) for text in FORGET])
    for label, column in zip(labels, expected.T.tolist(), strict=True):
        assert classifier.score(FORGET, label=label) == pytest.approx(column, abs=1e-6)


def test_a_label_is_found_by_name_whatever_its_case():
    classifier = classifier_of_words(("FORGET", "Other", "retain"))
    assert classifier.labels == ["FORGET", "Other", "retain"]
    assert [classifier.label_index(label) for label in ("forget", "oTHER", "Retain")] == [0, 1, 2]
    assert classifier.score([FLAGGED]) == classifier.score([FLAGGED], label="Forget")
    for ask in (lambda: classifier.label_index("LABEL_1"), lambda: classifier.score([FLAGGED], label="LABEL_1")):
        with pytest.raises(ValueError, match=r"\['FORGET', 'Other', 'retain'\].*'LABEL_1'"):
            ask()


def test_one_string_is_not_taken_for_a_list_of_letters(classifier):
    with pytest.raises(TypeError, match="list"):
        classifier.score(FLAGGED)


def test_a_blank_text_scores_zero_without_a_forward_pass(classifier, monkeypatch):
    passes = count_forward_passes(classifier, monkeypatch)
    assert classifier.score([]) == []
    assert classifier.score(["", "  ", "\n\t", "\u2003"]) == [0.0] * 4
    assert passes == []
    expected = classifier.score([FLAGGED, CLEAN])
    assert classifier.score(["", FLAGGED, " ", CLEAN]) == [0.0, expected[0], 0.0, expected[1]]
    assert passes == [2, 2]  # nor do they take a place in a batch


@pytest.mark.parametrize("place", [0, 1, 19, 20, 38, 39, 40])
def test_a_forget_word_is_found_anywhere_in_a_long_text(classifier, place):
    text = FILLER * place + "who is the wizard ? " + FILLER * (40 - place)
    windows = [text[w.start : w.end] for w in classifier.encode([text])]
    assert len(windows) > 20
    by_window = {window: classifier.score([window])[0] for window in windows}
    assert classifier.score([text])[0] == pytest.approx(max(by_window.values()), abs=1e-4)
    assert max(p for window, p in by_window.items() if "wizard" in window) > 0.5
    assert classifier.score([text])[0] > 0.5 > classifier.score([LONG])[0]


def test_spans_say_which_windows_are_guilty(classifier):
    text = FILLER * 20 + "who is the wizard ? " + FILLER * 20
    (spans,) = classifier.score_spans([text])
    assert [(s.start, s.end) for s in spans] == [(w.start, w.end) for w in classifier.encode([text])]
    guilty = [text[s.start : s.end] for s in spans if s.probabilities[1] >= 0.5]
    assert guilty and all("wizard" in stretch for stretch in guilty)
    assert classifier.score_spans(["", " "]) == [[], []]


MAX_LENGTH = 9


@lru_cache
def windowed(kind: str, truncation_side: str) -> PromptClassifier:
    make = {"bytes": byte_level_tokenizer, "words": word_tokenizer}[kind]
    tokenizer = make(model_max_length=MAX_LENGTH, truncation_side=truncation_side)
    return PromptClassifier(tiny_bert(tokenizer), tokenizer)


UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
WORDS = st.lists(st.sampled_from(["wizard", "north", "unheard-of", "é🧙", "\n", "  "]), max_size=40).map(" ".join)


@pytest.mark.parametrize("truncation_side", ["left", "right"])
@pytest.mark.parametrize("kind", ["bytes", "words"])
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(UNICODE | WORDS, min_size=1, max_size=3))
def test_windows_cover_every_character_and_overlap_by_half(kind, truncation_side, texts):
    classifier = windowed(kind, truncation_side)
    room = MAX_LENGTH - classifier.tokenizer.num_special_tokens_to_add()
    windows = classifier.encode(texts)
    assert all(len(window) <= MAX_LENGTH for window in windows)
    for i, text in enumerate(texts):
        own = [w for w in windows if w.text_index == i]
        covered = {c for w in own for c in range(w.start, w.end)}
        assert covered >= {c for c, character in enumerate(text) if not character.isspace()}
        # Laid on top of one another by half, the windows are the text: any stretch of half a window is whole in one.
        ids = classifier.tokenizer(text, add_special_tokens=False)["input_ids"]
        stretches = [[x for x, (a, b) in zip(w.encoding["input_ids"], w.offsets, strict=True) if b > a] for w in own]
        if truncation_side == "left":  # read from the end
            ids, stretches = ids[::-1], [stretch[::-1] for stretch in stretches]
        overlaps = [0] + [room // 2] * (len(own) - 1)
        assert [x for stretch, n in zip(stretches, overlaps, strict=True) for x in stretch[n:]] == ids
        assert all(a[-(room // 2) :] == b[: room // 2] for a, b in itertools.pairwise(stretches))


def test_roberta_is_run_within_its_positions():
    tokenizer = byte_level_tokenizer()
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=34,
        pad_token_id=1,
        id2label={0: "retain", 1: "forget"},
    )
    classifier = PromptClassifier(RobertaForSequenceClassification(config), tokenizer)
    assert 0.0 < classifier.score([LONG])[0] < 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_saved_classifier_comes_back_to_the_bit(classifier_dir, tmp_path, dtype):
    first = PromptClassifier.from_pretrained(classifier_dir)
    first.model.to(dtype).save_pretrained(tmp_path / "first")
    first.tokenizer.save_pretrained(tmp_path / "first")
    loaded = PromptClassifier.from_pretrained(str(tmp_path / "first"))
    assert all(p.dtype == torch.float32 for p in loaded.model.parameters())
    loaded.save_pretrained(str(tmp_path / "second"))
    assert all(p.dtype == torch.float32 for p in loaded.model.parameters())  # saving leaves it as it was
    again = PromptClassifier.from_pretrained(str(tmp_path / "second"))
    assert again.score(TEXTS) == loaded.score(TEXTS)
    files = [load_file(tmp_path / name / "model.safetensors") for name in ("first", "second")]
    assert files[0].keys() == files[1].keys()
    assert all(torch.equal(files[0][key], files[1][key]) and files[1][key].dtype == dtype for key in files[0])
    assert not list(tmp_path.glob("second/*.bin"))


def test_pickled_weights_are_refused(classifier, tmp_path):
    classifier.save_pretrained(str(tmp_path))
    Path(tmp_path, "model.safetensors").unlink()
    torch.save(classifier.model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        PromptClassifier.from_pretrained(str(tmp_path))


def test_a_tokenizer_without_offsets_is_refused(classifier):
    with pytest.raises(ValueError, match=r"ByT5Tokenizer.*fast tokenizer"):
        PromptClassifier(classifier.model, ByT5Tokenizer())


def test_a_batch_of_no_windows_is_refused(classifier):
    with pytest.raises(ValueError, match="batch_size=0"):
        PromptClassifier(classifier.model, classifier.tokenizer, batch_size=0)


def test_threads_get_the_scores_of_their_own_texts(classifier):
    groups = [TEXTS[i::4] for i in range(4)]
    expected, wrong = [classifier.score(group) for group in groups], []

    def work(i):
        for _ in range(5):
            if classifier.score(groups[i]) != pytest.approx(expected[i], abs=1e-6):
                wrong.append(i)

    in_threads(work)
    assert not wrong


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))], ids=["deepcopy", "pickle"]
)
def test_a_copy_scores_alike_and_stands_alone(classifier_dir, copied):
    original = PromptClassifier.from_pretrained(classifier_dir)
    expected = original.score(TEXTS)
    other = copied(original)
    with torch.no_grad():
        original.model.classifier.weight.zero_()
    assert other.score(TEXTS) == expected != original.score(TEXTS)


def test_autocast_and_gradients_around_it_change_nothing(classifier):
    expected = classifier.score(TEXTS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert classifier.score(TEXTS) == expected
        assert torch.is_autocast_enabled("cpu")
    with torch.enable_grad():
        assert classifier.score(TEXTS) == expected
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_a_model_in_training_mode_is_scored_without_its_dropout():
    classifier = classifier_of_words(hidden_dropout_prob=0.5)  # a new model is in training mode
    assert classifier.score(FORGET) == classifier.score(FORGET)
    assert all(math.isfinite(p) for p in classifier.score(FORGET))
