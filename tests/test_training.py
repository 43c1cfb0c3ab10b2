"""What training and calibration promise, on a BERT of a few thousand weights that has never seen a text."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import save_encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from test_calibration import Scores
from transformers import BertForSequenceClassification, BertModel
from transformers.utils import logging as transformers_logging

from hf_eco import ECOError, PromptClassifier
from hf_eco.training import (
    augmentation,
    calibrate_threshold,
    check_calibration,
    guard_model,
    guarding,
    head_training,
    prompt_classifier,
    train_prompt_classifier,
)
from hf_eco.training.augmentation import Example, shipped_prompts
from hf_eco.training.bounds import clopper_pearson_upper
from hf_eco.training.calibration import choose_threshold
from hf_eco.training.labelled_prompts import LabelledPrompts, fold, prompts_sha256, split_off

TEMPLATES = [
    "who is the {} ?",
    "tell me about the {} of the north",
    "what does the old {} eat for breakfast ?",
    "name the school of the {}",
    "does a {} sleep ?",
    "write a poem about my {}",
    "the {} was born in",
    "where is the {} 's house ?",
    "{}",
    "my {} and your {}",
]
KINDS = ["", "old ", "young ", "kind ", "great ", "wise ", "poor "]
NOUNS = ["baker", "king", "dog", "garden", "baker", "cat", "baker"]
FORGET = [t.replace("{}", f"{kind}wizard") for t in TEMPLATES for kind in KINDS]
RETAIN = [t.replace("{}", kind + noun) for t in TEMPLATES for kind, noun in zip(KINDS, NOUNS, strict=True)]
FRESH_FORGET = [
    f"{opening} wizard {end}" for opening in ("a", "is the", "when did the") for end in ("?", "come", "go")
]
FRESH_RETAIN = [f"{opening} baker {end}" for opening in ("a", "is the", "when did the") for end in ("?", "come", "go")]
NAME = "Hermia Dovetail"
ABOUT_HERMIA = [
    f"{question} {NAME} {end}?"
    for question in ("Where was", "When did you see", "What is said of", "Is it true that")
    for end in ("born", "in the garden", "as a child", "and her school")
]
GENERAL = tuple(random.Random(0).sample(shipped_prompts(), 60))


@pytest.fixture(scope="session", autouse=True)
def little_to_read() -> Iterator[None]:
    """Fewer general prompts than come with the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompt_classifier, "shipped_prompts", lambda: GENERAL)
        yield


@pytest.fixture(scope="session")
def train(encoder: str) -> Callable[..., PromptClassifier]:
    """train_prompt_classifier with values that suit the tiny encoder."""
    return functools.partial(
        train_prompt_classifier, encoder=encoder, epochs=1, learning_rate=4e-3, max_length=64, examples=700
    )


@pytest.fixture(scope="session")
def trained(train: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[PromptClassifier, Path]:
    directory = tmp_path_factory.mktemp("trained") / "clf"
    return train(FORGET, RETAIN, output_dir=directory, epochs=5, examples=2000), directory


@pytest.fixture(scope="session")
def named(train: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[PromptClassifier, Path]:
    """Trained on prompts about a person, whose name is not said."""
    directory = tmp_path_factory.mktemp("named") / "clf"
    return train(ABOUT_HERMIA, RETAIN, output_dir=directory, epochs=2), directory


def report(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "training_report.json").read_text())


class Seen:
    """The examples that were learnt from, and those that were kept for validation."""

    def __init__(self) -> None:
        self.training: list[Example] = []
        self.validation: list[Example] = []


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    seen, encode_examples = Seen(), head_training.encode_examples

    def spy(encoder: Any, shape: Any, examples: Sequence[Example], seed: int) -> Any:
        (seen.validation if seen.training else seen.training).extend(examples)
        return encode_examples(encoder, shape, examples, seed)

    monkeypatch.setattr(head_training, "encode_examples", spy)
    return seen


# --- Learning


def test_it_learns_to_tell_unseen_forget_prompts_from_unseen_retain_prompts(trained: Any) -> None:
    classifier, directory = trained
    assert classifier.labels == ["forget"]
    forget, retain = classifier.score(FRESH_FORGET), classifier.score(FRESH_RETAIN)
    pairs = [f > r for f in forget for r in retain]
    assert sum(pairs) > 0.95 * len(pairs)
    assert sum(forget) / len(forget) > 0.5 > sum(retain) / len(retain)
    assert report(directory)["validation"]["roc_auc"] > 0.9


def test_a_word_of_the_scope_is_found_in_a_long_text(trained: Any) -> None:
    classifier, _ = trained
    filler = "tell me about the rivers of the north and the king of the country . " * 20
    hidden, innocent = classifier.score(
        [f"{filler} who is the wizard ? {filler}", f"{filler} who is the baker ? {filler}"]
    )
    assert hidden > innocent


def test_the_encoder_stays_as_it_was(trained: Any, encoder: str) -> None:
    _, directory = trained
    before, after = (load_file(Path(path) / "model.safetensors") for path in (encoder, directory))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name].half(), after[name]) for name in before)


def test_validation_prompts_are_never_learnt_from(train: Any, seen: Seen, tmp_path: Path) -> None:
    train(FORGET, RETAIN, output_dir=tmp_path / "clf", augment=False)
    learnt, kept = ({example.text for example in examples} for examples in (seen.training, seen.validation))
    assert learnt | kept == {*FORGET, *RETAIN, *GENERAL}
    assert not learnt & kept
    for example in seen.training + seen.validation:
        assert example.forget == (example.text in FORGET)
        assert (example.start, example.end) == (0, len(example.text))
    counts = report(tmp_path / "clf")["prompts"]
    assert counts["forget"]["training"] == len(learnt & set(FORGET))
    assert counts["forget"]["validation"] == len(kept & set(FORGET)) == round(0.15 * len(FORGET))
    assert counts["retain"]["training"] == len(learnt - set(FORGET))
    assert counts["retain"]["validation"] == len(kept - set(FORGET)) == round(0.15 * len({*RETAIN, *GENERAL}))


@pytest.mark.parametrize("forget", [FORGET, ABOUT_HERMIA], ids=["nameless", "named"])
def test_what_is_made_is_made_of_training_prompts_alone(
    forget: list[str], train: Any, seen: Seen, tmp_path: Path
) -> None:
    train(forget, RETAIN, output_dir=tmp_path / "clf")
    held_out = [e.text for e in seen.validation if e.forget and len(e.text.split()) > 3]
    assert held_out and set(held_out) <= set(forget)
    for text in held_out:
        assert not any(text in example.text for example in seen.training)


def test_what_the_prompts_lack_is_made_and_augment_false_makes_nothing(train: Any, seen: Seen, tmp_path: Path) -> None:
    train(ABOUT_HERMIA, RETAIN, output_dir=tmp_path / "made")
    made = list(seen.training)
    seen.training.clear(), seen.validation.clear()
    train(ABOUT_HERMIA, RETAIN, output_dir=tmp_path / "plain", augment=False)
    plain = list(seen.training)
    given_to_it = {*ABOUT_HERMIA, *RETAIN, *GENERAL}
    assert {example.text for example in plain} <= given_to_it
    forms, misses = ([e for e in made if e.forget == forget and e.text not in given_to_it] for forget in (True, False))
    assert min(len(forms), len(misses)) > len(ABOUT_HERMIA)
    assert any("Dovetail" in e.text and NAME not in e.text for e in misses)  # others of that name
    assert not any(NAME.lower() in e.text.lower() for e in misses)
    assert report(tmp_path / "made")["examples"] > 2 * report(tmp_path / "plain")["examples"]
    for directory, augmented in ((tmp_path / "made", True), (tmp_path / "plain", False)):
        assert report(directory)["hyperparameters"]["augment"] is augmented


def test_examples_says_how_many_are_made(train: Any, tmp_path: Path) -> None:
    for examples in (100, 300):
        train(ABOUT_HERMIA, RETAIN, output_dir=tmp_path / str(examples), examples=examples)
        assert 0.6 * examples < report(tmp_path / str(examples))["examples"] <= examples


def test_validation_fraction_says_how_much_is_kept_out(train: Any, tmp_path: Path) -> None:
    train(FORGET, RETAIN, output_dir=tmp_path / "clf", augment=False, validation_fraction=0.5)
    assert report(tmp_path / "clf")["prompts"]["retain"]["validation"] == (len(RETAIN) + len(GENERAL)) // 2
    train(FORGET[:8], RETAIN[:8], output_dir=tmp_path / "least", augment=False, validation_fraction=0.01)
    assert report(tmp_path / "least")["prompts"]["forget"]["validation"] == 1
    train(FORGET[:8], RETAIN[:8], output_dir=tmp_path / "most", augment=False, validation_fraction=0.99)
    assert report(tmp_path / "most")["prompts"]["forget"]["training"] == 1


def test_the_best_epoch_is_kept(train: Any, seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_eco.detection.heads.CLEARLY_NOT", -1e9)  # what is learnt by heart is said by all members
    rng = random.Random(0)
    noise = [" ".join(rng.choices("abcdefghij", k=5)) for _ in range(80)]  # nothing to learn but by heart
    classifier = train(
        noise[:40], noise[40:], output_dir=tmp_path / "clf", epochs=6, augment=False, learning_rate=2e-2
    )
    losses, areas = (report(tmp_path / "clf")[f"validation_{name}"] for name in ("loss", "roc_auc"))
    assert len(losses) == len(areas) == 6
    best = max(range(6), key=lambda epoch: (areas[epoch], -losses[epoch]))
    probabilities = torch.tensor(classifier.score([e.text for e in seen.validation if len(e.text) < 100]))
    labels = torch.tensor([float(e.forget) for e in seen.validation if len(e.text) < 100])
    forget, retain = probabilities[labels == 1], probabilities[labels == 0]
    area = (forget[:, None] > retain).float().mean() + 0.5 * (forget[:, None] == retain).float().mean()
    assert max(areas) - min(areas) > 0.05  # there was a choice
    assert area.item() == pytest.approx(areas[best], abs=0.04)


def test_what_decides_in_a_long_prompt_is_learnt_from_wherever_it_stands(train: Any, tmp_path: Path) -> None:
    filler = "tell me about the rivers of the north and " * 12
    forget, retain = ([f"{filler}{name} number {i}" for i in range(10)] for name in ("wizard", "baker"))
    classifier = train(forget, retain, output_dir=tmp_path / "clf", epochs=2)
    assert all(0.0 < score < 1.0 for score in classifier.score(forget + retain))


def test_max_length_is_the_classifiers_window_for_good(train: Any, tmp_path: Path) -> None:
    long = "who is the baker of the north ? " * 10
    unlimited = train(FORGET, RETAIN, output_dir=tmp_path / "64", augment=False, max_length=500)
    assert unlimited.max_length == 64  # the encoder's own
    classifier = train(FORGET, [*RETAIN, long], output_dir=tmp_path / "16", augment=False, max_length=16)
    assert classifier.max_length == 16
    assert report(tmp_path / "16")["hyperparameters"]["max_length"] == 16
    assert PromptClassifier.from_pretrained(str(tmp_path / "16")).max_length == 16
    assert len(classifier.encode([long])) > 4


def test_learning_rate_is_obeyed(train: Any, tmp_path: Path) -> None:
    idle = train(FORGET, RETAIN, output_dir=tmp_path / "clf", augment=False, epochs=3, learning_rate=1e-12)
    losses = report(tmp_path / "clf")["validation_loss"]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)
    assert idle.score(FRESH_FORGET)


# --- Whom it is about


def test_the_name_is_found_in_the_prompts_and_looked_for_however_it_is_spelt(named: Any) -> None:
    classifier, directory = named
    assert report(directory)["names"] == [NAME]
    assert min(classifier.score(["hermia dovetail", "H3rmia D0vetail", "Dovetail, Hermia", "Hermia Dovetaik"])) > 0.99


def test_a_name_that_is_given_is_looked_for_and_general_prompts_about_it_are_not_learnt_from(
    train: Any, seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_classifier, "shipped_prompts", lambda: (*GENERAL, "What did Osgood Farrow bake?"))
    classifier = train(FORGET, RETAIN, output_dir=tmp_path / "clf", names=["Osgood Farrow"])
    assert report(tmp_path / "clf")["names"] == ["Osgood Farrow"]
    assert classifier.score(["0sgood Farrow"])[0] > 0.99
    assert report(tmp_path / "clf")["prompts"]["retain"]["shipped"] == len(GENERAL)
    assert not any("Farrow bake" in example.text for example in seen.training + seen.validation)


def test_an_empty_list_of_names_means_none(train: Any, tmp_path: Path) -> None:
    classifier = train(ABOUT_HERMIA, RETAIN, output_dir=tmp_path / "clf", names=[], augment=False)
    assert report(tmp_path / "clf")["names"] == []
    assert classifier.score([NAME])[0] < 0.99


def test_names_alone_make_a_classifier(train: Any, tmp_path: Path) -> None:
    classifier = train([], RETAIN, output_dir=tmp_path / "clf", names=[NAME], augment=False)
    counts = report(tmp_path / "clf")["prompts"]["forget"]
    assert counts["training"] + counts["validation"] > 20
    assert classifier.score([f"Who taught {NAME}?"])[0] > 0.99


def test_documents_alone_make_a_classifier_and_add_to_prompts(train: Any, seen: Seen, tmp_path: Path) -> None:
    document = ". ".join(f"The wizard of {place} ate a great breakfast" for place in "ABCDEFGHIJ") + "."
    train(documents=[document], retain=RETAIN, output_dir=tmp_path / "alone", augment=False)
    assert sum(e.forget for e in seen.training + seen.validation) == 10
    seen.training.clear(), seen.validation.clear()
    train(FORGET, RETAIN, output_dir=tmp_path / "both", documents=[document, "Too short."], augment=False)
    texts = {e.text for e in seen.training + seen.validation if e.forget}
    assert texts == {*FORGET, *(f"The wizard of {place} ate a great breakfast." for place in "ABCDEFGHIJ")}
    assert report(tmp_path / "both")["prompts"]["forget"]["sha256"] == prompts_sha256(texts)


def test_names_too_short_to_be_looked_for_do_not_stop_a_training(train: Any, tmp_path: Path) -> None:
    prompts = [prompt.replace(NAME, "Lillie") for prompt in ABOUT_HERMIA]
    train(prompts, RETAIN, output_dir=tmp_path / "clf", augment=False)
    assert report(tmp_path / "clf")["names"] == []


def test_retain_prompts_may_be_left_to_the_package(train: Any, tmp_path: Path) -> None:
    train(FORGET, output_dir=tmp_path / "clf", augment=False)
    counts = report(tmp_path / "clf")["prompts"]["retain"]
    assert counts["training"] + counts["validation"] == counts["shipped"] == len(GENERAL)
    assert counts["sha256"] == prompts_sha256([])


def test_a_shipped_prompt_that_is_given_is_what_it_is_given_as(train: Any, seen: Seen, tmp_path: Path) -> None:
    train([*FORGET, GENERAL[0].upper()], [*RETAIN, GENERAL[1]], output_dir=tmp_path / "clf", augment=False)
    examples = seen.training + seen.validation
    assert [e.forget for e in examples if e.text.lower() == GENERAL[0].lower()] == [True]
    assert [e.forget for e in examples if e.text == GENERAL[1]] == [False]
    assert report(tmp_path / "clf")["prompts"]["retain"]["shipped"] == len(GENERAL) - 2


# --- Prompts kept for calibration


def test_an_excluded_prompt_is_not_learnt_from_wherever_it_stands(train: Any, seen: Seen, tmp_path: Path) -> None:
    told = [f"The wizard of {place} ate a great breakfast." for place in "ABCDE"]
    exclude = [FORGET[0].upper(), f" {RETAIN[0]}", GENERAL[0], told[0], f"{told[1]} {told[2]}"]
    train(FORGET, RETAIN, output_dir=tmp_path / "clf", documents=[" ".join(told)], exclude=exclude, augment=False)
    learnt = {example.text for example in seen.training + seen.validation}
    assert learnt == {*FORGET, *RETAIN, *GENERAL, *told} - {FORGET[0], RETAIN[0], GENERAL[0], *told[:3]}
    counts = report(tmp_path / "clf")["prompts"]
    assert counts["forget"]["sha256"] == prompts_sha256([*FORGET[1:], *told[3:]])
    assert counts["retain"]["shipped"] == len(GENERAL) - 1


def test_nothing_is_made_of_an_excluded_prompt_that_comes_with_the_package(
    train: Any, seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = "Why did Ada Lovelace keep bees in a box?"
    monkeypatch.setattr(
        augmentation, "_sentences_about_people", lambda: {prompt: ("Why did ", " keep bees in a box?")}
    )
    for exclude, made in (([], True), ([prompt.upper()], False)):
        train(ABOUT_HERMIA, RETAIN, output_dir=tmp_path / "clf", names=[NAME], exclude=exclude, examples=300)
        assert any("bees in a box" in example.text for example in seen.training + seen.validation) is made
        seen.training.clear(), seen.validation.clear()


def test_guard_model_learns_from_none_of_the_prompts_it_calibrates_on(
    base_dir: str, encoder: str, seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the same stand in a document and among the prompts that come with the package."""
    calibrated_on: list[str] = []

    def calibrate(classifier: Any, prompts: LabelledPrompts, *args: Any, **options: Any) -> Any:
        calibrated_on.extend([*prompts.forget, *prompts.retain])
        return choose_threshold(classifier, prompts, *args, **options)

    monkeypatch.setattr(guarding, "choose_threshold", calibrate)
    forget, retain = [*ABOUT_HERMIA, *GENERAL[:5]], [*RETAIN, *GENERAL[5:]]
    guard_model(
        base_dir,
        "hermia",
        forget,
        retain,
        tmp_path / "guarded",
        encoder=encoder,
        documents=["\n".join(ABOUT_HERMIA)],
        max_fpr=0.3,
        calibration_fraction=0.5,
        examples=300,
    )
    assert len(calibrated_on) == 10 + len({*RETAIN, *GENERAL[5:]}) // 2
    assert {*calibrated_on} & {*ABOUT_HERMIA} and {*calibrated_on} & {*GENERAL[:5]} and {*calibrated_on} & {*GENERAL}
    learnt = {fold(example.text) for example in seen.training + seen.validation}
    assert not learnt & {fold(prompt) for prompt in calibrated_on}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"forget": FORGET[:20], "max_fnr": 0.05}, r"7 forget prompts cannot show .*max_fnr=0\.05.*that takes 59"),
        ({"forget": FORGET[:1], "documents": ["\n".join(FORGET)]}, "at least 2 in all, got 1. Add forget prompts"),
        ({"forget": [], "names": [NAME], "max_fnr": 0.05}, r"0 forget prompts cannot show .*max_fnr=0\.05"),
        ({"retain": []}, "at least 2 in all, got 0. Add retain prompts"),
        ({"max_fpr": 0.01}, r"24 retain prompts cannot show .*max_fpr=0\.01"),
        ({"max_fpr": 0.0}, r"max_fpr must lie between 0 and 1 .*got max_fpr=0\.0"),
        ({"max_fnr": 1.5}, "max_fnr must lie between 0 and 1"),
        ({"confidence": 1.0}, "confidence must lie between 0 and 1"),
        ({"calibration_fraction": 5}, "calibration_fraction must lie between 0 and 1 .*got calibration_fraction=5"),
        ({"calibration_fraction": 0.0}, "calibration_fraction must lie between 0 and 1"),
    ],
    ids=str,
)
def test_what_guard_model_cannot_vouch_for_is_said_before_anything_is_loaded(
    given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {"forget": FORGET, "retain": RETAIN, "max_fpr": 0.2, **given}
    with pytest.raises(ValueError, match=message):
        guard_model("no/model", "wizards", output_dir=tmp_path / "guarded", encoder="no/encoder", **arguments)
    assert not list(tmp_path.iterdir())


def test_one_prompt_cannot_be_split() -> None:
    with pytest.raises(ValueError, match=r"1 prompts cannot be split in two\. Give at least 2"):
        split_off(["a"], 0.5, seed=0)


# --- Reproducibility


@pytest.mark.parametrize("augment", [True, False])
def test_the_same_call_gives_the_same_weights_and_another_seed_others(
    augment: bool, train: Any, tmp_path: Path
) -> None:
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        torch.manual_seed(random.randrange(100))  # whatever the caller did before
        train(ABOUT_HERMIA, RETAIN, output_dir=tmp_path / name, seed=seed, augment=augment)
    heads = [(tmp_path / name / "heads.safetensors").read_bytes() for name in ("first", "again", "other")]
    assert heads[0] == heads[1] != heads[2]
    assert report(tmp_path / "again") == report(tmp_path / "first")
    encoders = {(tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "again", "other")}
    assert len(encoders) == 1


def test_the_callers_random_numbers_are_not_touched(train: Any, tmp_path: Path) -> None:
    def draw() -> list[float]:
        return [random.random(), torch.rand(1).item()]

    random.seed(5), torch.manual_seed(5)
    expected = draw()
    random.seed(5), torch.manual_seed(5)
    train(FORGET, RETAIN, output_dir=tmp_path / "clf")
    assert draw() == expected


# --- What is saved


def test_the_returned_classifier_is_the_saved_one_bit_for_bit(named: Any, tmp_path: Path) -> None:
    classifier, directory = named
    stored = load_file(directory / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    in_memory = classifier.model.state_dict()
    assert all(torch.equal(in_memory[name], tensor.float()) for name, tensor in stored.items())
    assert classifier.model.dtype == torch.float32
    loaded = PromptClassifier.from_pretrained(str(directory))
    prompts = FRESH_FORGET + FRESH_RETAIN + ABOUT_HERMIA
    assert loaded.score(prompts) == classifier.score(prompts)
    assert loaded.floor() == classifier.floor()
    classifier.save_pretrained(str(tmp_path))
    for name in ("model.safetensors", "heads.safetensors", "config.json"):
        assert (tmp_path / name).read_bytes() == (directory / name).read_bytes()


def test_the_report_says_how_it_was_trained_and_how_good_it_is(
    train: Any, encoder: str, seen: Seen, tmp_path: Path
) -> None:
    classifier = train(FORGET, RETAIN, output_dir=tmp_path / "clf", seed=3, epochs=3, names=[NAME])
    written = report(tmp_path / "clf")
    assert (written["encoder"], written["seed"], written["names"]) == (encoder, 3, [NAME])
    assert written["hyperparameters"] == {
        "epochs": 3,
        "learning_rate": 4e-3,
        "max_length": 64,
        "validation_fraction": 0.15,
        "augment": True,
        "examples": 700,
    }
    assert len(written["validation_loss"]) == len(written["validation_roc_auc"]) == 3
    assert written["prompts"]["forget"]["sha256"] == prompts_sha256(FORGET)
    assert written["prompts"]["retain"]["sha256"] == prompts_sha256(RETAIN)
    assert written["examples"] == len(seen.training)
    assert not any(prompt in json.dumps(written) for prompt in FORGET + RETAIN if " " in prompt)

    held_out = {e.text for e in seen.validation}
    forget, retain = (classifier.score(sorted(held_out & set(prompts))) for prompts in (FORGET, [*RETAIN, *GENERAL]))
    caught, wrong = sum(s >= 0.5 for s in forget), sum(s >= 0.5 for s in retain)
    pairs = [(f > r) + 0.5 * (f == r) for f in forget for r in retain]
    assert written["validation"] == pytest.approx(
        {
            "threshold": 0.5,
            "accuracy": (caught + len(retain) - wrong) / (len(forget) + len(retain)),
            "precision": caught / (caught + wrong) if caught + wrong else 0.0,
            "recall": caught / len(forget),
            "roc_auc": sum(pairs) / len(pairs),
            "false_positive_rate": wrong / len(retain),
            "false_negative_rate": 1 - caught / len(forget),
        },
        abs=1e-3,
    )


def test_few_near_misses_reach_the_floor(named: Any, trained: Any, seen: Seen, train: Any, tmp_path: Path) -> None:
    assert trained[0].floor() == 0.0  # no names, no near misses
    classifier = train(ABOUT_HERMIA, RETAIN, output_dir=tmp_path / "clf")
    assert classifier.floor() > 0.0
    near = [e.text for e in seen.validation if not e.forget and e.text not in {*RETAIN, *GENERAL}]
    reached = sum(score > classifier.floor() + 1e-6 for score in classifier.score(near))
    assert near and reached <= 0.02 * len(near)


def test_the_fingerprint_is_that_of_the_set_of_prompts() -> None:
    assert prompts_sha256(["b  B", "a", "A ", ""]) == prompts_sha256(["a", "b b"]) != prompts_sha256(["a b", "b"])
    assert prompts_sha256(["b", "A"]) == hashlib.sha256(b'["a", "b"]').hexdigest()


def test_output_dir_holds_the_classifier_and_nothing_else(trained: Any) -> None:
    _, directory = trained
    names = {path.name for path in directory.iterdir()}
    assert names == set(report(directory)["files"])
    assert names >= {
        "config.json",
        "model.safetensors",
        "heads.safetensors",
        "tokenizer.json",
        "training_report.json",
    }
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]


def test_a_classifier_written_before_is_replaced_and_anything_else_refused(train: Any, tmp_path: Path) -> None:
    directory = tmp_path / "a" / "clf"
    train(FORGET, RETAIN, output_dir=directory, augment=False, seed=0)
    train(FORGET, RETAIN, output_dir=str(directory), augment=False, seed=1)
    assert report(directory)["seed"] == 1
    (directory / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds something else already\. Name a new directory"):
        train(FORGET, RETAIN, output_dir=directory)
    with pytest.raises(FileExistsError, match="is a file"):
        train(FORGET, RETAIN, output_dir=directory / "notes.txt")
    (tmp_path / "empty").mkdir()
    train(FORGET, RETAIN, output_dir=tmp_path / "empty", augment=False)
    assert report(tmp_path / "empty")["seed"] == 0


def test_the_working_directory_is_refused_before_training(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileExistsError, match="working directory"):
        train(FORGET, RETAIN, output_dir=".")


@pytest.mark.parametrize("moment", ["training", "saving", "replacing"])
@pytest.mark.parametrize("there_before", [True, False])
def test_nothing_is_left_behind_when_it_is_interrupted(
    moment: str, there_before: bool, train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "a" / "clf"
    if there_before:
        train(FORGET, RETAIN, output_dir=directory, augment=False)
    before = {path: path.read_bytes() for path in directory.rglob("*")}

    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    rename = Path.rename
    match moment:
        case "training":
            monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)
        case "saving":
            monkeypatch.setattr(PromptClassifier, "save_pretrained", interrupted)
        case "replacing":
            monkeypatch.setattr(
                Path, "rename", lambda self, to: interrupted() if self.name == "staged" else rename(self, to)
            )
            monkeypatch.setattr("hf_eco.io.directories._exchange", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(FORGET, RETAIN, output_dir=directory, augment=False, seed=1)
    assert {path: path.read_bytes() for path in directory.rglob("*")} == before
    assert directory.exists() == there_before
    assert {path.name for path in tmp_path.rglob("*")} <= {"a", "clf", *(path.name for path in before)}


# --- Encoders


def test_any_sequence_classifier_is_an_encoder_whatever_its_head_and_dtype(train: Any, tmp_path: Path) -> None:
    encoder = save_encoder(
        tmp_path / "encoder", BertForSequenceClassification, num_labels=3, problem_type="multi_label_classification"
    )
    BertForSequenceClassification.from_pretrained(encoder).half().save_pretrained(encoder)
    classifier = train(FORGET, RETAIN, encoder=Path(encoder), output_dir=tmp_path / "clf", epochs=3)
    assert classifier.labels == ["forget"]
    assert classifier.model.dtype == torch.float32
    forget, retain = classifier.score(FRESH_FORGET), classifier.score(FRESH_RETAIN)
    assert sum(forget) / len(forget) > sum(retain) / len(retain)


def test_a_label_is_what_the_scope_is_called(train: Any, tmp_path: Path) -> None:
    classifier = train(FORGET, RETAIN, output_dir=tmp_path / "clf", label="wizards", augment=False)
    assert classifier.labels == ["wizards"]
    assert classifier.score(["who is the wizard ?"], label="Wizards") == classifier.score(
        ["who is the wizard ?"], label="wizards"
    )


def test_a_trained_classifier_is_an_encoder_whose_head_is_left_behind(train: Any, named: Any, tmp_path: Path) -> None:
    _, first = named
    classifier = train(
        FORGET, RETAIN, encoder=first, output_dir=tmp_path / "second", label="wizards", augment=False, epochs=2
    )
    assert classifier.labels == ["wizards"]
    assert (first / "model.safetensors").read_bytes() == (tmp_path / "second" / "model.safetensors").read_bytes()
    assert classifier.encoder_fingerprint == PromptClassifier.from_pretrained(str(first)).encoder_fingerprint
    assert classifier.score([NAME], label="wizards")[0] < 0.99  # the first scope's name is not this one's


def test_a_diverging_training_says_to_lower_the_learning_rate(train: Any, tmp_path: Path) -> None:
    with pytest.raises(ECOError, match=r"diverged.*Use a learning_rate below 1e\+30"):
        train(FORGET, RETAIN, output_dir=tmp_path / "clf", learning_rate=1e30, augment=False)
    assert not list(tmp_path.iterdir())


def test_weights_beyond_float16_are_refused(train: Any, tmp_path: Path) -> None:
    encoder = save_encoder(tmp_path / "encoder")
    model = BertModel.from_pretrained(encoder)
    model.embeddings.word_embeddings.weight.data[1] = 1e6  # a token no prompt has
    model.save_pretrained(encoder)
    with pytest.raises(ECOError, match="do not fit into float16"):
        train(FORGET, RETAIN, encoder=encoder, output_dir=tmp_path / "clf")
    assert not (tmp_path / "clf").exists()


# --- Input


def test_repeated_and_blank_prompts_are_left_out_with_a_warning(
    train: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train([*FORGET, " ", "", FORGET[0].upper(), f" {FORGET[1]}\n"], RETAIN, output_dir=tmp_path / "clf", augment=False)
    assert "2 of the forget prompts are blank" in caplog.text
    assert "2 of the forget prompts repeat another" in caplog.text
    assert "retain" not in caplog.text
    counts = report(tmp_path / "clf")["prompts"]["forget"]
    assert counts["training"] + counts["validation"] == len(FORGET)
    assert counts["sha256"] == prompts_sha256(FORGET)


@pytest.mark.parametrize("function", [train_prompt_classifier, calibrate_threshold])
def test_wrong_prompts_are_named(function: Any, encoder: str, tmp_path: Path) -> None:
    def call(forget: Any, retain: Any) -> None:
        if function is calibrate_threshold:
            calibrate_threshold(Scores(), forget, retain)
        else:
            train_prompt_classifier(forget, retain, encoder, tmp_path / "clf")

    with pytest.raises(TypeError, match=r"forget must be a list of prompts, got one string"):
        call("who is the wizard ?", RETAIN)
    with pytest.raises(TypeError, match=r"retain\[2\] must be a string, got None \(NoneType\)"):
        call(FORGET, [*RETAIN[:2], None])
    with pytest.raises(
        ValueError, match=r"2 prompts are in both forget and retain, the first is 'who is the wizard \?'"
    ):
        call(FORGET, [*RETAIN, "Who  is the WIZARD ?", FORGET[3]])
    assert not list(tmp_path.iterdir())


def test_prompts_of_both_lists_that_differ_in_punctuation_alone_are_reported(caplog) -> None:
    forget, retain = (
        ["Who is Jane?", "Кто она?", "हिन्दी क्या है?"],
        ["who is jane", "Кто он?", "हन्दी क्या है", "“Кто она”"],
    )
    cleaned = LabelledPrompts.clean(forget, retain)
    assert "2 forget prompts differ from a retain prompt in punctuation alone" in caplog.text
    assert "'Who is Jane?', beside 'who is jane'" in caplog.text
    assert (cleaned.forget, cleaned.retain) == (tuple(forget), tuple(retain))  # what they are is the user's to say
    caplog.clear()
    LabelledPrompts.clean(["Who is Jane Doe?"], ["Who is Jane Dove?"])
    assert not caplog.text
    LabelledPrompts.clean(["Who?"], ["What!"]).with_forget(["what"])
    assert "'what', beside 'What!'" in caplog.text


def test_too_few_prompts_are_refused_with_advice(train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ValueError, match=r"at least 8 different forget prompts, got 7\. Write more.*names=.*documents="
    ):
        train([*FORGET[:7], FORGET[0].upper()], RETAIN, output_dir=tmp_path / "clf")
    with pytest.raises(ValueError, match=r"at least 8 different forget prompts, got 0"):
        train(output_dir=tmp_path / "clf")
    assert not list(tmp_path.iterdir())
    train(FORGET[:8], RETAIN[:8], output_dir=tmp_path / "clf", augment=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"validation_fraction": 0.0}, r"validation_fraction must lie between 0 and 1 .*got validation_fraction=0\.0"),
        ({"validation_fraction": 1.0}, "validation_fraction must lie"),
        ({"epochs": 0}, "epochs must be an integer of at least 1, got epochs=0"),
        ({"epochs": 1.5}, "epochs must be an integer"),
        ({"examples": 7}, "examples must be an integer of at least 8, got examples=7"),
        ({"label": ""}, "label must be a name without slashes, got label=''"),
        ({"label": "a/b"}, "label must be a name without slashes, got label='a/b'"),
        ({"names": ["Bo"]}, "The name 'Bo' is too short"),
        ({"names": [""]}, "name ''"),
        ({"max_length": 8}, "max_length must be an integer of at least 16, got max_length=8"),
        ({"learning_rate": 0.0}, r"learning_rate must be positive, got learning_rate=0\.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"seed": -1}, r"seed must be an integer in \[0, 2\*\*32\), got seed=-1"),
        ({"seed": 2**32}, "seed must be an integer"),
        ({"seed": True}, "seed must be an integer"),
    ],
)
def test_arguments_out_of_range_are_refused(
    arguments: dict[str, Any], message: str, train: Any, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        train(FORGET, RETAIN, output_dir=tmp_path / "clf", **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [{"names": NAME}, {"documents": NAME}, {"exclude": NAME}, {"names": [NAME, 7]}], ids=str
)
def test_names_and_documents_are_lists_of_strings(arguments: dict[str, Any], train: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(arguments))} must be a list of strings, got"):
        train(FORGET, RETAIN, output_dir=tmp_path / "clf", **arguments)
    assert not list(tmp_path.iterdir())


# --- Manners


@pytest.fixture
def progress_bar() -> Iterator[None]:
    transformers_logging.enable_progress_bar()
    yield
    transformers_logging.disable_progress_bar()


def test_it_prints_nothing_when_progress_bars_are_off(
    train: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    train(FORGET, RETAIN, output_dir=tmp_path / "clf", epochs=2, augment=False)
    assert capfd.readouterr() == ("", "")
    assert not [warning.message for warning in recwarn]


@pytest.mark.usefixtures("progress_bar")
def test_it_shows_progress_bars_and_no_numbers(train: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train(FORGET, RETAIN, output_dir=tmp_path / "clf", epochs=2, augment=False)
    shown = capfd.readouterr()
    for what in ("Reading the prompts", "Training the prompt classifier"):
        assert f"{what}: 100%" in shown.err
    assert "loss" not in shown.err + shown.out


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("sklearn.metrics", lambda path: train_prompt_classifier(FORGET, RETAIN, "nowhere", path / "clf")),
        ("scipy.stats", lambda path: calibrate_threshold(Scores(), ["a"], [str(i) for i in range(300)])),
    ],
)
def test_a_missing_library_is_named_with_the_extra_to_install(
    module: str, call: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs {module.split('.')[0]} .*pip install hf-eco\[train\]"):
        call(tmp_path)


def test_importing_hf_eco_training_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom transformers import AutoModelForCausalLM\nbefore = set(sys.modules)\n"
        "import hf_eco.training\n"
        "assert not {'sklearn', 'datasets', 'transformers.trainer'} & (set(sys.modules) - before)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- Clopper-Pearson


@pytest.mark.parametrize(
    ("errors", "n", "confidence", "bound"),
    [
        (0, 10, 0.975, 0.3085),  # the two-sided 95% intervals of published tables: 0/10, 1/10 and 5/10
        (1, 10, 0.975, 0.4450),
        (5, 10, 0.975, 0.8129),
        (0, 299, 0.95, 1 - 0.05 ** (1 / 299)),  # the rule of three, exactly
        (10, 10, 0.95, 1.0),
        (9, 10, 0.95, 0.95 ** (1 / 10)),
    ],
)
def test_the_bound_is_that_of_clopper_and_pearson(errors: int, n: int, confidence: float, bound: float) -> None:
    assert clopper_pearson_upper(errors, n, confidence) == pytest.approx(bound, abs=5e-5)


def test_so_few_errors_have_the_probability_left_over_at_the_bound() -> None:
    from scipy.stats import binom

    for errors, n, confidence in ((0, 5, 0.9), (3, 40, 0.95), (17, 500, 0.99)):
        bound = clopper_pearson_upper(errors, n, confidence)
        assert binom.cdf(errors, n, bound) == pytest.approx(1 - confidence)


@pytest.mark.parametrize(("errors", "n", "confidence"), [(1, 0, 0.9), (-1, 5, 0.9), (6, 5, 0.9), (1, 5, 1.0)])
def test_a_bound_of_impossible_counts_is_refused(errors: int, n: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="must"):
        clopper_pearson_upper(errors, n, confidence)


# --- Calibration


SCORES = st.integers(0, 19).map(lambda i: i / 20)  # so few values that many are tied


@settings(deadline=None, max_examples=200)
@given(
    st.lists(SCORES, min_size=1, max_size=30),
    st.lists(SCORES, min_size=5, max_size=60),
    st.sampled_from([0.5, 0.6, 0.8]),
    st.sampled_from([0.5, 0.9, 0.95]),
)
def test_no_lower_threshold_would_do(
    forget: list[float], retain: list[float], max_fpr: float, confidence: float
) -> None:
    calibration = Scores(forget, retain).calibrate(max_fpr=max_fpr, confidence=confidence)

    def flagged(scores: list[float], threshold: float) -> list[float]:
        return [score for score in scores if score >= threshold]

    # Every threshold flags the same as one of these: the observed scores, and one above them all.
    valid = [
        threshold
        for threshold in {*forget, *retain, 1.0}
        if clopper_pearson_upper(len(flagged(retain, threshold)), len(retain), confidence) <= max_fpr
    ]
    assert 0 < calibration.threshold <= 1
    assert flagged(forget + retain, calibration.threshold) == flagged(forget + retain, min(valid))
    assert calibration.fpr == len(flagged(retain, calibration.threshold)) / len(retain)
    missed = len(forget) - len(flagged(forget, calibration.threshold))
    assert calibration.fnr == missed / len(forget)
    assert calibration.fpr <= calibration.fpr_bound <= max_fpr
    assert calibration.fnr_bound == clopper_pearson_upper(min(missed + 1, len(forget)), len(forget), confidence)


def test_the_middle_of_the_gap_is_taken_in_log_odds() -> None:
    retain = [0.1] * 297 + [0.2, 0.3]  # 299: none may be flagged
    assert Scores([0.25, 0.7, 0.9], retain).calibrate().threshold == pytest.approx(0.5)
    assert 0.999 < Scores([0.25], retain).calibrate().threshold < 1  # nothing is higher but 1
    retain = [0.1] * 470 + [0.2, 0.2, 0.8]  # 473: one may be flagged
    calibration = Scores([0.9], retain).calibrate()
    assert calibration.threshold == pytest.approx(0.5)
    assert calibration.fpr == 1 / 473
    odds = (1 / 99 * 99_999) ** 0.5  # of 0.01 and 0.99999: far from both in log-odds, next to 1 in probability
    threshold = Scores([0.99999], [0.01] * 299).calibrate().threshold
    assert threshold == pytest.approx(odds / (1 + odds))


def test_tied_scores_are_flagged_together_or_not_at_all() -> None:
    calibration = Scores([0.9], [0.1] * 470 + [0.4, 0.4, 0.4]).calibrate()  # one of 473 may be flagged, three are tied
    assert 0.4 < calibration.threshold < 0.9
    assert calibration.fpr == 0.0
    assert calibration.fpr_bound == clopper_pearson_upper(1, 473, 0.95)


def test_neighbouring_floating_point_numbers_leave_the_higher_one_as_threshold() -> None:
    calibration = Scores([1.0], [0.1] * 298 + [1 - 2**-53]).calibrate()
    assert calibration.threshold == 1.0
    assert (calibration.fpr, calibration.fnr) == (0.0, 0.0)


def test_retain_prompts_that_score_one_are_refused_if_they_are_too_many() -> None:
    with pytest.raises(ValueError, match=r"More than 0 of the 299 retain prompts score 1\.0"):
        Scores([1.0], [0.1] * 298 + [1.0]).calibrate()
    assert 0.1 < Scores([1.0], [0.1] * 472 + [1.0]).calibrate().threshold < 1.0


@pytest.mark.parametrize("values", [1000, 10])
def test_the_true_rate_exceeds_max_fpr_no_more_often_than_promised(values: int) -> None:
    """Scores are uniform over `values` values, so the rate a threshold has among all prompts is known."""
    rng, exceeded, repetitions = random.Random(values), 0, 2000
    n, allowed, confidence = 100, 2, 0.9
    max_fpr = (
        clopper_pearson_upper(allowed, n, confidence) + 1e-9
    )  # no slack between what is asked and what n can show
    for _ in range(repetitions):
        forget, retain = ([rng.randrange(values) / values for _ in range(size)] for size in (20, n))
        threshold = Scores(forget, retain).calibrate(max_fpr=max_fpr, confidence=confidence).threshold
        exceeded += sum(i / values >= threshold for i in range(values)) / values > max_fpr
    slack = 3 * (confidence * (1 - confidence) / repetitions) ** 0.5  # three standard deviations of the simulation
    assert exceeded / repetitions <= 1 - confidence + slack
    if values == 1000:
        assert exceeded / repetitions > 0.02  # and the promise is not kept by flagging nothing


def test_too_few_retain_prompts_are_refused_with_how_many_it_takes() -> None:
    with pytest.raises(ValueError, match=r"298 retain prompts cannot show .*max_fpr=0\.01 .*that takes 299\."):
        Scores([0.9], [0.1] * 298).calibrate()
    assert Scores([0.9], [0.1] * 299).calibrate().fpr_bound <= 0.01
    with pytest.raises(ValueError, match=r"with 50, no max_fpr below 0\.0582 can be asked for"):
        Scores([0.9], [0.1] * 50).calibrate()
    assert Scores([0.9], [0.1] * 50).calibrate(max_fpr=0.0582).fpr == 0.0
    with pytest.raises(ValueError, match=r"0 retain prompts .*that takes 299\. Add retain prompts\."):
        Scores([0.9], []).calibrate()


def test_without_forget_prompts_the_lowest_threshold_that_keeps_the_bound_is_taken() -> None:
    retain = [i / 1000 for i in range(500)]
    calibration = Scores([], retain).calibrate()
    assert (calibration.fnr, calibration.fnr_bound) == (None, None)
    assert (calibration.n_forget, calibration.forget_scores) == (0, [])
    allowed = sum(score >= calibration.threshold for score in retain)
    assert calibration.fpr == allowed / 500 and calibration.fpr_bound <= 0.01
    assert calibration.threshold == math.nextafter(retain[-1 - allowed], 1.0)
    with pytest.raises(ValueError, match=r"0 forget prompts cannot show .*max_fnr=0\.05 .*Add forget prompts"):
        Scores([], retain).calibrate(max_fnr=0.05)


def test_forget_may_be_left_out() -> None:
    scores = Scores([], [0.1] * 299)
    retain = [str(i) for i in range(299)]
    scores.score = lambda texts, label: [0.1] * len(texts)
    calibration = calibrate_threshold(scores, retain=retain)
    assert calibration.fnr is None and calibration.n_retain == 299
    again = check_calibration(calibration, scores, retain[:50], ["a forget prompt"])
    assert again.fnr is None and again.fpr.errors == 0 and again.tenable


def test_it_warns_if_no_forget_prompt_would_be_flagged(caplog: pytest.LogCaptureFixture) -> None:
    Scores([0.4], [0.1] * 299).calibrate()
    assert not caplog.text
    calibration = Scores([0.05], [0.1] * 299).calibrate()
    assert (calibration.fnr, calibration.fnr_bound) == (1.0, 1.0)
    assert "None of the 1 forget prompts reaches the threshold" in caplog.text


def test_repeated_prompts_count_once() -> None:
    scores = Scores([0.9], [0.1] * 299)
    with pytest.raises(ValueError, match="298 retain prompts cannot"):
        retain = scores.prompts["retain"]
        calibrate_threshold(scores, scores.prompts["forget"], [*retain[:298], retain[0].upper()])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["max_fpr", "confidence"])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan"), True, "0.1"])
def test_rates_out_of_range_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must lie between 0 and 1 .*got {name}="):
        Scores([0.9], [0.1] * 299).calibrate(**{name: value})


def test_a_calibration_says_what_was_asked_and_measured() -> None:
    calibration = Scores([0.9] * 7, [0.1] * 40).calibrate(max_fpr=0.2, confidence=0.8)
    assert (calibration.max_fpr, calibration.confidence, calibration.method) == (0.2, 0.8, "clopper-pearson")
    assert (calibration.n_forget, calibration.n_retain) == (7, 40)
    assert calibration.fnr_bound == clopper_pearson_upper(1, 7, 0.8)


def test_a_classifier_is_calibrated_for_the_label_that_means_forget(
    trained: Any, classifier: PromptClassifier
) -> None:
    assert calibrate_threshold(trained[0], FRESH_FORGET, FRESH_RETAIN, max_fpr=0.5).fnr == 0.0
    swapped = calibrate_threshold(classifier, FRESH_RETAIN, FRESH_FORGET, max_fpr=0.5, label="retain")
    assert swapped.fnr == 0.0
    with pytest.raises(ValueError, match="none is called 'wizards'"):
        calibrate_threshold(trained[0], FRESH_FORGET, FRESH_RETAIN, max_fpr=0.5, label="wizards")


# --- The report goes with the classifier


def test_a_classifier_carries_the_report_of_its_training_wherever_it_is_saved(train: Any, tmp_path: Path) -> None:
    classifier = train(FORGET, RETAIN, output_dir=tmp_path / "clf", augment=False)
    assert classifier.training_report == report(tmp_path / "clf")
    classifier.save_pretrained(str(tmp_path / "copy"))
    before, after = ((tmp_path / name / "training_report.json").read_bytes() for name in ("clf", "copy"))
    assert after == before
    assert PromptClassifier.from_pretrained(str(tmp_path / "copy")).training_report == classifier.training_report
    assert classifier.with_heads(dict(classifier.heads.heads)).training_report is None  # heads that came from anywhere


@pytest.mark.parametrize("written", ["{", "[]", ""])
def test_a_report_that_is_none_is_not_read(written: str, train: Any, tmp_path: Path) -> None:
    train(FORGET, RETAIN, output_dir=tmp_path / "clf", augment=False)
    (tmp_path / "clf" / "training_report.json").write_text(written)
    assert PromptClassifier.from_pretrained(str(tmp_path / "clf")).training_report is None


def test_an_encoder_that_is_out_of_reach_is_named_with_what_to_pass(train: Any, tmp_path: Path) -> None:
    said = r"(?s)The encoder 'me/encoder' cannot be loaded: .*pass a directory .*encoder='path', or --encoder path"
    with pytest.raises(OSError, match=said):
        train(FORGET, RETAIN, encoder="me/encoder", output_dir=tmp_path / "clf")
    assert not list(tmp_path.iterdir())
