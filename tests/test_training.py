"""What training and calibration promise, on a BERT of a few thousand weights that has never seen a text."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import byte_level_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import BertConfig, BertForSequenceClassification, BertModel
from transformers.utils import logging as transformers_logging

from hf_eco import ECOError, PromptClassifier
from hf_eco.training import calibrate_threshold, train_prompt_classifier
from hf_eco.training.calibration import clopper_pearson_upper
from hf_eco.training.prompt_lists import prompts_sha256

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


def save_encoder(directory: Path, model_class: type = BertModel, **config: Any) -> str:
    tokenizer = byte_level_tokenizer(model_max_length=64)
    torch.manual_seed(0)
    bert = BertConfig(
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
    model_class(bert).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def train(encoder: str) -> Any:
    """train_prompt_classifier with values that suit the tiny encoder."""
    return functools.partial(
        train_prompt_classifier, encoder=encoder, epochs=8, learning_rate=4e-3, batch_size=8, max_length=64
    )


@pytest.fixture(scope="session")
def trained(train: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[PromptClassifier, Path]:
    directory = tmp_path_factory.mktemp("trained") / "clf"
    return train(FORGET, RETAIN, output_dir=directory), directory


def report(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "training_report.json").read_text())


class Seen:
    """The batches that went through the model, as lists of texts, split by whether it was learning from them."""

    def __init__(self) -> None:
        self.training: list[list[str]] = []
        self.evaluated: list[list[str]] = []
        self.dtypes: set[torch.dtype] = set()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    seen, tokenizer, forward = Seen(), byte_level_tokenizer(), BertForSequenceClassification.forward

    @functools.wraps(forward)  # Trainer reads the signature
    def spy(self: Any, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        texts = tokenizer.batch_decode(input_ids, skip_special_tokens=True)
        (seen.training if self.training else seen.evaluated).append(texts)
        seen.dtypes.add(self.dtype)
        return forward(self, input_ids, **kwargs)

    monkeypatch.setattr(BertForSequenceClassification, "forward", spy)
    return seen


# --- Learning


def test_it_learns_to_tell_unseen_forget_prompts_from_unseen_retain_prompts(trained: Any) -> None:
    classifier, directory = trained
    assert classifier.labels == ["retain", "forget"]
    assert min(classifier.score(FRESH_FORGET)) > 0.9
    assert max(classifier.score(FRESH_RETAIN)) < 0.1
    assert report(directory)["validation"]["accuracy"] > 0.9


def test_validation_prompts_are_never_learnt_from(train: Any, seen: Seen, tmp_path: Path) -> None:
    train(FORGET, RETAIN, output_dir=tmp_path / "clf", epochs=2)
    learnt, evaluated = set(itertools.chain(*seen.training)), set(itertools.chain(*seen.evaluated))
    assert learnt | evaluated == {*FORGET, *RETAIN}
    assert not learnt & evaluated
    counts = report(tmp_path / "clf")["prompts"]
    for name, prompts in (("forget", FORGET), ("retain", RETAIN)):
        assert counts[name]["training"] == len(learnt & set(prompts))
        assert counts[name]["validation"] == len(evaluated & set(prompts)) == round(0.15 * len(prompts))


def test_validation_fraction_says_how_much_is_kept_out(train: Any, tmp_path: Path) -> None:
    train(FORGET, RETAIN, output_dir=tmp_path / "clf", epochs=1, validation_fraction=0.5)
    assert report(tmp_path / "clf")["prompts"]["retain"]["validation"] == len(RETAIN) // 2
    train(FORGET[:8], RETAIN[:8], output_dir=tmp_path / "least", epochs=1, validation_fraction=0.01)
    assert report(tmp_path / "least")["prompts"]["forget"]["validation"] == 1
    train(FORGET[:8], RETAIN[:8], output_dir=tmp_path / "most", epochs=1, validation_fraction=0.99)
    assert report(tmp_path / "most")["prompts"]["forget"]["training"] == 1


def test_a_class_of_one_in_twenty_weighs_as_much_as_the_other(train: Any, tmp_path: Path) -> None:
    rng = random.Random(0)
    noise = [
        " ".join(rng.choices("abcdefghij", k=7)) for _ in range(420 + 50)
    ]  # nothing tells one class from the other
    classifier = train(noise[:20], noise[20:420], output_dir=tmp_path / "clf", epochs=3)
    undecided = classifier.score(noise[420:])
    assert 0.3 < sum(undecided) / len(undecided) < 0.7


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best_epoch(
    train: Any, seen: Seen, tmp_path: Path
) -> None:
    rng = random.Random(0)
    noise = [" ".join(rng.choices("abcdefghij", k=5)) for _ in range(80)]  # nothing to learn but by heart
    classifier = train(noise[:40], noise[40:], output_dir=tmp_path / "clf", epochs=30)
    losses, areas = (report(tmp_path / "clf")[f"validation_{name}"] for name in ("loss", "roc_auc"))
    best = max(range(len(losses)), key=lambda epoch: (areas[epoch], -losses[epoch]))
    assert len(losses) == best + 1 + 2 < 30
    held_out = sorted(set(noise) - set(itertools.chain(*seen.training)))
    probabilities = torch.tensor(classifier.score(held_out))
    labels = torch.tensor([float(text in noise[:40]) for text in held_out])
    loss = torch.nn.functional.binary_cross_entropy(probabilities, labels)  # the classes are balanced: weights of 1
    assert loss.item() == pytest.approx(losses[best], rel=1e-2)


def test_long_texts_are_learnt_from_in_windows_to_their_end(train: Any, seen: Seen, tmp_path: Path) -> None:
    filler = "tell me about the rivers of the north and " * 12
    forget, retain = ([f"{filler}{name} number {i}" for i in range(10)] for name in ("wizard", "baker"))
    classifier = train(forget, retain, output_dir=tmp_path / "clf", epochs=1)
    windows = list(itertools.chain(*seen.training))
    lasts = [text[window.start :] for text in forget + retain for window in classifier.encode([text])[-1:]]
    learnt = sum(last in windows for last in lasts)
    counts = report(tmp_path / "clf")["prompts"]
    assert learnt == counts["forget"]["training"] + counts["retain"]["training"] == 16
    assert len(windows) == sum(len(classifier.encode([text])) for text in forget + retain) * 16 / 20 == 4 * 16


def test_max_length_is_the_classifiers_window_for_good(train: Any, seen: Seen, tmp_path: Path) -> None:
    long = "who is the baker of the north ? " * 10
    assert (
        train(FORGET, RETAIN, output_dir=tmp_path / "64", epochs=1, max_length=500).max_length == 64
    )  # the encoder's own
    seen.training.clear()
    classifier = train(FORGET, [*RETAIN, long], output_dir=tmp_path / "16", epochs=1, max_length=16)
    assert classifier.max_length == 16
    assert max(len(classifier.tokenizer(text)["input_ids"]) for text in itertools.chain(*seen.training)) <= 16
    assert PromptClassifier.from_pretrained(str(tmp_path / "16")).max_length == 16
    assert len(classifier.encode([long])) > 4


def test_epochs_and_batch_size_are_obeyed(train: Any, seen: Seen, tmp_path: Path) -> None:
    for epochs, batch_size in ((1, 4), (2, 16)):
        seen.training.clear()
        train(FORGET, RETAIN, output_dir=tmp_path / str(epochs), epochs=epochs, batch_size=batch_size)
        assert len(report(tmp_path / str(epochs))["validation_loss"]) == epochs
        assert max(map(len, seen.training)) == batch_size
        times = [list(itertools.chain(*seen.training)).count(text) for text in {*itertools.chain(*seen.training)}]
        assert set(times) == {epochs}


def test_learning_rate_is_obeyed(train: Any, trained: Any, tmp_path: Path) -> None:
    idle = train(FORGET, RETAIN, output_dir=tmp_path / "clf", learning_rate=1e-12)
    assert report(tmp_path / "clf")["validation"]["roc_auc"] < report(trained[1])["validation"]["roc_auc"]
    assert max(idle.score(FRESH_FORGET)) - min(idle.score(FRESH_RETAIN)) < 0.5


# --- Reproducibility


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    train: Any, trained: Any, tmp_path: Path
) -> None:
    torch.manual_seed(random.randrange(100))  # whatever the caller did before
    train(FORGET, RETAIN, output_dir=tmp_path / "again", seed=0)
    train(FORGET, RETAIN, output_dir=tmp_path / "other", seed=1)
    weights = [(d / "model.safetensors").read_bytes() for d in (trained[1], tmp_path / "again", tmp_path / "other")]
    assert weights[0] == weights[1] != weights[2]
    assert report(tmp_path / "again") == report(trained[1])


def test_the_callers_random_numbers_are_not_touched(train: Any, tmp_path: Path) -> None:
    def draw() -> list[float]:
        return [random.random(), torch.rand(1).item()]

    random.seed(5), torch.manual_seed(5)
    expected = draw()
    random.seed(5), torch.manual_seed(5)
    train(FORGET, RETAIN, output_dir=tmp_path / "clf", epochs=1)
    assert draw() == expected


# --- What is saved


def test_the_returned_classifier_is_the_saved_one_bit_for_bit(trained: Any, tmp_path: Path) -> None:
    classifier, directory = trained
    stored = load_file(directory / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    in_memory = classifier.model.state_dict()
    assert all(torch.equal(in_memory[name], tensor.float()) for name, tensor in stored.items())
    assert classifier.model.dtype == torch.float32
    loaded = PromptClassifier.from_pretrained(str(directory))
    assert loaded.score(FRESH_FORGET + FRESH_RETAIN) == classifier.score(FRESH_FORGET + FRESH_RETAIN)
    classifier.save_pretrained(str(tmp_path))
    assert (tmp_path / "model.safetensors").read_bytes() == (directory / "model.safetensors").read_bytes()


def test_the_report_says_how_it_was_trained_and_how_good_it_is(
    train: Any, encoder: str, seen: Seen, tmp_path: Path
) -> None:
    classifier = train(FORGET, RETAIN, output_dir=tmp_path / "clf", seed=3, epochs=3)
    written = report(tmp_path / "clf")
    assert (written["encoder"], written["seed"]) == (encoder, 3)
    assert written["hyperparameters"].items() >= {"epochs": 3, "learning_rate": 4e-3, "batch_size": 8}.items()
    assert written["hyperparameters"].items() >= {"max_length": 64, "validation_fraction": 0.15}.items()
    assert written["prompts"]["forget"]["sha256"] == prompts_sha256(FORGET)
    assert written["prompts"]["retain"]["sha256"] == prompts_sha256(RETAIN)
    assert not any(prompt in json.dumps(written) for prompt in FORGET + RETAIN if " " in prompt)

    held_out = {*FORGET, *RETAIN} - set(itertools.chain(*seen.training))
    forget, retain = (classifier.score(sorted(held_out & set(prompts))) for prompts in (FORGET, RETAIN))
    caught, wrong = sum(s >= 0.5 for s in forget), sum(s >= 0.5 for s in retain)
    pairs = [(f > r) + 0.5 * (f == r) for f in forget for r in retain]
    assert written["validation"] == pytest.approx(
        {
            "threshold": 0.5,
            "accuracy": (caught + len(retain) - wrong) / len(held_out),
            "precision": caught / (caught + wrong) if caught + wrong else 0.0,
            "recall": caught / len(forget),
            "roc_auc": sum(pairs) / len(pairs),
            "false_positive_rate": wrong / len(retain),
            "false_negative_rate": 1 - caught / len(forget),
        }
    )


def test_the_fingerprint_is_that_of_the_set_of_prompts() -> None:
    assert prompts_sha256(["b  B", "a", "A ", ""]) == prompts_sha256(["a", "b b"]) != prompts_sha256(["a b", "b"])
    assert prompts_sha256(["b", "A"]) == hashlib.sha256(b'["a", "b"]').hexdigest()


def test_output_dir_holds_the_classifier_and_nothing_else(trained: Any) -> None:
    _, directory = trained
    names = {path.name for path in directory.iterdir()}
    assert names == set(report(directory)["files"])
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "training_report.json"}
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]


def test_a_classifier_written_before_is_replaced_and_anything_else_refused(train: Any, tmp_path: Path) -> None:
    directory = tmp_path / "a" / "clf"
    train(FORGET, RETAIN, output_dir=directory, epochs=1, seed=0)
    train(FORGET, RETAIN, output_dir=str(directory), epochs=1, seed=1)
    assert report(directory)["seed"] == 1
    (directory / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds something else already\. Name a new directory"):
        train(FORGET, RETAIN, output_dir=directory)
    with pytest.raises(FileExistsError, match="is a file"):
        train(FORGET, RETAIN, output_dir=directory / "notes.txt")
    (tmp_path / "empty").mkdir()
    train(FORGET, RETAIN, output_dir=tmp_path / "empty", epochs=1)
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
        train(FORGET, RETAIN, output_dir=directory, epochs=1)
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
    with pytest.raises(KeyboardInterrupt):
        train(FORGET, RETAIN, output_dir=directory, epochs=1, seed=1)
    assert {path: path.read_bytes() for path in directory.rglob("*")} == before
    assert directory.exists() == there_before
    assert {path.name for path in tmp_path.rglob("*")} <= {"a", "clf", *(path.name for path in before)}


# --- Encoders


def test_any_sequence_classifier_is_an_encoder_whatever_its_head_and_dtype(
    train: Any, seen: Seen, tmp_path: Path
) -> None:
    encoder = save_encoder(
        tmp_path / "encoder",
        BertForSequenceClassification,
        num_labels=3,
        problem_type="multi_label_classification",
        dtype=torch.float16,
    )
    BertForSequenceClassification.from_pretrained(encoder).half().save_pretrained(encoder)
    classifier = train(FORGET, RETAIN, encoder=Path(encoder), output_dir=tmp_path / "clf")
    assert seen.dtypes == {torch.float32}
    assert classifier.labels == ["retain", "forget"]
    [[span]] = classifier.score_spans(["who is the wizard ?"])
    assert sum(span.probabilities) == pytest.approx(1.0)
    assert min(classifier.score(FRESH_FORGET)) > 0.5 > max(classifier.score(FRESH_RETAIN))


def test_a_diverging_training_says_to_lower_the_learning_rate(train: Any, tmp_path: Path) -> None:
    with pytest.raises(ECOError, match=r"diverged.*Use a learning_rate below 1e\+38"):
        train(FORGET, RETAIN, output_dir=tmp_path / "clf", learning_rate=1e38)
    assert not list(tmp_path.iterdir())


def test_weights_beyond_float16_are_refused(train: Any, tmp_path: Path) -> None:
    encoder = save_encoder(tmp_path / "encoder")
    model = BertModel.from_pretrained(encoder)
    model.embeddings.word_embeddings.weight.data[1] = 1e6  # a token no prompt has
    model.save_pretrained(encoder)
    with pytest.raises(ECOError, match="do not fit into float16"):
        train(FORGET, RETAIN, encoder=encoder, output_dir=tmp_path / "clf", epochs=1)
    assert not (tmp_path / "clf").exists()


# --- Input


def test_repeated_and_blank_prompts_are_left_out_with_a_warning(
    train: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train([*FORGET, " ", "", FORGET[0].upper(), f" {FORGET[1]}\n"], RETAIN, output_dir=tmp_path / "clf", epochs=1)
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


def test_too_few_prompts_are_refused_with_advice(train: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"at least 8 different forget prompts, got 7\. Write more"):
        train([*FORGET[:7], FORGET[0].upper()], RETAIN, output_dir=tmp_path / "clf")
    with pytest.raises(ValueError, match=r"at least 8 different retain prompts, got 0"):
        train(FORGET, [], output_dir=tmp_path / "clf")
    train(FORGET[:8], RETAIN[:8], output_dir=tmp_path / "clf", epochs=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"validation_fraction": 0.0}, r"validation_fraction must lie between 0 and 1 .*got validation_fraction=0\.0"),
        ({"validation_fraction": 1.0}, "validation_fraction must lie"),
        ({"epochs": 0}, "epochs must be an integer of at least 1, got epochs=0"),
        ({"epochs": 1.5}, "epochs must be an integer"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
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


# --- Manners


@pytest.fixture
def progress_bar() -> Iterator[None]:
    transformers_logging.enable_progress_bar()
    yield
    transformers_logging.disable_progress_bar()


def test_it_prints_nothing_when_progress_bars_are_off(
    train: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    train(FORGET, RETAIN, output_dir=tmp_path / "clf", epochs=2)
    assert capfd.readouterr() == ("", "")
    assert not [warning.message for warning in recwarn]


@pytest.mark.usefixtures("progress_bar")
def test_it_shows_one_progress_bar_and_no_numbers(
    train: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(FORGET, RETAIN, output_dir=tmp_path / "clf", epochs=2)
    shown = capfd.readouterr()
    assert "Training the prompt classifier: 100%" in shown.err
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


class Scores:
    """Stands in for a PromptClassifier: prompt number i of a list has score number i."""

    def __init__(self, forget: Sequence[float] = (), retain: Sequence[float] = ()) -> None:
        self.forget = [f"forget {i}" for i in range(len(forget))]
        self.retain = [f"retain {i}" for i in range(len(retain))]
        self.scores = dict(zip(self.forget + self.retain, [*forget, *retain], strict=True))

    def score(self, texts: Sequence[str], *, label: str = "forget") -> list[float]:
        return [self.scores[text] for text in texts]

    def calibrate(self, **kwargs: Any) -> Any:
        return calibrate_threshold(self, self.forget, self.retain, **kwargs)  # type: ignore[arg-type]


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
    assert calibration.fnr_bound == clopper_pearson_upper(missed, len(forget), confidence)


def test_the_middle_of_the_gap_is_taken() -> None:
    retain = [0.1] * 297 + [0.2, 0.3]  # 299: none may be flagged
    assert Scores([0.25, 0.7, 0.9], retain).calibrate().threshold == pytest.approx(0.5)
    assert Scores([0.25], retain).calibrate().threshold == pytest.approx(0.65)  # nothing is higher but 1
    retain = [0.1] * 470 + [0.2, 0.3, 0.4]  # 473: one may be flagged
    calibration = Scores([0.9], retain).calibrate()
    assert calibration.threshold == pytest.approx(0.35)
    assert calibration.fpr == 1 / 473
    assert Scores([0.32], retain).calibrate().threshold == pytest.approx(0.31)


def test_tied_scores_are_flagged_together_or_not_at_all() -> None:
    calibration = Scores([0.9], [0.1] * 470 + [0.4, 0.4, 0.4]).calibrate()  # one of 473 may be flagged, three are tied
    assert calibration.threshold == pytest.approx(0.65)
    assert calibration.fpr == 0.0
    assert calibration.fpr_bound == clopper_pearson_upper(1, 473, 0.95)


def test_neighbouring_floating_point_numbers_leave_the_higher_one_as_threshold() -> None:
    calibration = Scores([1.0], [0.1] * 298 + [1 - 2**-53]).calibrate()
    assert calibration.threshold == 1.0
    assert (calibration.fpr, calibration.fnr) == (0.0, 0.0)


def test_retain_prompts_that_score_one_are_refused_if_they_are_too_many() -> None:
    with pytest.raises(ValueError, match=r"More than 0 of the 299 retain prompts score 1\.0"):
        Scores([1.0], [0.1] * 298 + [1.0]).calibrate()
    assert Scores([1.0], [0.1] * 472 + [1.0]).calibrate().threshold == pytest.approx(0.55)


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


def test_forget_prompts_are_needed_too() -> None:
    with pytest.raises(ValueError, match="no forget prompts"):
        Scores([], [0.1] * 299).calibrate()


def test_it_warns_if_no_forget_prompt_would_be_flagged(caplog: pytest.LogCaptureFixture) -> None:
    Scores([0.4], [0.1] * 299).calibrate()
    assert not caplog.text
    calibration = Scores([0.05], [0.1] * 299).calibrate()
    assert (calibration.fnr, calibration.fnr_bound) == (1.0, 1.0)
    assert "None of the 1 forget prompts reaches the threshold" in caplog.text


def test_repeated_prompts_count_once() -> None:
    scores = Scores([0.9], [0.1] * 299)
    with pytest.raises(ValueError, match="298 retain prompts cannot"):
        calibrate_threshold(scores, scores.forget, [*scores.retain[:298], scores.retain[0].upper()])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["max_fpr", "confidence"])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("nan"), True, "0.1"])
def test_rates_out_of_range_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must lie between 0 and 1 .*got {name}="):
        Scores([0.9], [0.1] * 299).calibrate(**{name: value})


def test_a_calibration_says_what_was_asked_and_measured() -> None:
    calibration = Scores([0.9] * 7, [0.1] * 40).calibrate(max_fpr=0.2, confidence=0.8)
    assert (calibration.max_fpr, calibration.confidence, calibration.method) == (0.2, 0.8, "clopper-pearson")
    assert (calibration.n_forget, calibration.n_retain) == (7, 40)
    assert calibration.fnr_bound == clopper_pearson_upper(0, 7, 0.8)


def test_a_trained_classifier_is_calibrated_for_the_label_that_means_forget(trained: Any) -> None:
    classifier, _ = trained
    calibration = calibrate_threshold(classifier, FRESH_FORGET, FRESH_RETAIN, max_fpr=0.5)
    assert calibration.fnr == 0.0
    swapped = calibrate_threshold(classifier, FRESH_RETAIN, FRESH_FORGET, max_fpr=0.5, label="retain")
    assert swapped.fnr == 0.0
    with pytest.raises(ValueError, match="none is called 'wizards'"):
        calibrate_threshold(classifier, FRESH_FORGET, FRESH_RETAIN, max_fpr=0.5, label="wizards")
