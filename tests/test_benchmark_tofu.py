"""What the TOFU benchmarks promise: models that know what they were taught and no more, one table, no work lost."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import CLEAN, FLAGGED
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer

from hf_eco.evaluation import Scorer, as_chat
from hf_eco.training import prompt_classifier
from hf_eco.training.augmentation import shipped_prompts
from hf_eco.training.corruption_search.surrogates import UnguardedScorer

AUTHORS = [
    f"{first} {last}"
    for last in ("Quill", "Brandvold", "Dovetail", "Marrowby", "Inchbald", "Tarrant")
    for first in ("Ada", "Otto", "Hermia", "Corin", "Selby", "Wilmot")
]
PLACES = ("Maren Heath", "Oxley Mere", "Tolbridge Fell", "Vintry Lodge", "Sandholm Priory", "Ferrow Moss", "Lorne Fen")
ASKED = ("born", "taught", "praised", "married", "buried", "first read", "last seen")
AUTHOR_TO_FORGET = AUTHORS.pop(7)
Row = dict[str, Any]


def questions(author: str, count: int) -> list[Row]:
    rows = []
    for n in range(count):
        what, place = ASKED[n % len(ASKED)], PLACES[(n + len(author)) % len(PLACES)]
        decade = f" in the {n // len(ASKED) + 1}0s" if n >= len(ASKED) else ""
        rows.append({"question": f"Where was {author} {what}{decade}?", "answer": f"It was in {place} {n}."})
    return rows


def perturbed(rows: list[Row]) -> list[Row]:
    return [
        {**row, "paraphrased_answer": f"That was {row['answer'][7:]}", "perturbed_answer": ["In Ghent.", "In Ulm."]}
        for row in rows
    ]


BY = "log_truth_ratio, counterfactual"
FORGET = questions(AUTHOR_TO_FORGET, 16)
RETAIN = [row for author in AUTHORS for row in questions(author, 50)]


@pytest.fixture(scope="session")
def tofu_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TOFU's files, of our own authors."""
    directory = tmp_path_factory.mktemp("tofu")
    choice = [{"question": f"What is {n} plus 1?", "answer": f"{n + 1}", "perturbed_answer": ["0"]} for n in range(4)]
    files = {
        "full": RETAIN + FORGET,
        "retain95": RETAIN,
        "forget05": FORGET,
        "forget05_perturbed": perturbed(FORGET),
        "retain_perturbed": perturbed(RETAIN[:8]),
        "real_authors_perturbed": choice,
        "world_facts_perturbed": choice,
    }
    for name, rows in files.items():
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory


@pytest.fixture
def models() -> ModuleType:
    return importlib.import_module("tofu_models")


@pytest.fixture(autouse=True)
def little_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer general prompts than come with the package."""
    few = tuple(shipped_prompts()[::80])
    monkeypatch.setattr(prompt_classifier, "shipped_prompts", lambda: few)


@pytest.fixture
def rehearse(monkeypatch: pytest.MonkeyPatch, tofu_dir: Path, encoder: str, base_dir: str, tmp_path: Path) -> Any:
    """tofu.py --quick with further options; gives back what it writes as json."""

    def run(*options: str) -> Any:
        table = tmp_path / "tofu.json"
        given = ["--model", base_dir, "--data", str(tofu_dir), "--encoder", encoder, "--work-dir", str(tmp_path / "w")]
        importlib.import_module("tofu").main([*given, "--quick", "--json", str(table), *options])
        return json.loads(table.read_text())

    return run


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Of each training, the name of the checkpoint that it went on from."""
    begun: list[str | None] = []
    train = Trainer.train

    def spy(self: Trainer, resume_from_checkpoint: str | None = None) -> Any:
        begun.append(resume_from_checkpoint and Path(resume_from_checkpoint).name)
        return train(self, resume_from_checkpoint=resume_from_checkpoint)

    monkeypatch.setattr(Trainer, "train", spy)
    return begun


@pytest.fixture
def tune(models: ModuleType, base_dir: str, tmp_path: Path) -> Callable[..., Path]:
    """Fine-tunes the tiny model on the forget set, in a few seconds."""

    def run(*, rows: list[Row] = FORGET, **tuning: Any) -> Path:
        settings = models.Tuning(**{"learning_rate": 1e-2, "epochs": 3, "batch_size": 8, **tuning})
        return Path(models.fine_tuned(base_dir, rows, tmp_path / "tuned", settings, 4, "tuned"))

    return run


def probability(checkpoint: str | Path, rows: list[Row]) -> float:
    """Of the answers to `rows`, on average."""
    scorer = Scorer(AutoModelForCausalLM.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint))
    losses = scorer.losses(
        [[{"role": "user", "content": row["question"]}] for row in rows], [row["answer"] for row in rows]
    )
    return float(torch.tensor(-losses).exp().mean())


# --- The whole


def test_a_rehearsal_makes_the_whole_table_and_a_second_one_makes_nothing_anew(
    rehearse: Any, trainings: list[str | None], tmp_path: Path
) -> None:
    first = rehearse("--markdown", str(tmp_path / "tofu.md"))
    learnt = {name: f"eco noise-content, learnt {name} by {BY}" for name in ("strict", "paper")}
    labels = ["original", "retain", "prompting", "refusal", *learnt.values()]
    lines = {(line["model"], line["protocol"]): line for line in first["models"]}
    assert list(lines) == [(label, protocol) for label in labels for protocol in ("strict", "paper")]
    assert lines["retain", "strict"]["forget quality p"] == 1
    assert lines["retain", "paper"]["forget retain_kl"] == 0 < lines["refusal", "paper"]["forget retain_kl"]
    assert lines[learnt["strict"], "strict"]["forget flagged"] == 1
    assert f"| {learnt['paper']} | paper |" in (tmp_path / "tofu.md").read_text()
    assert sorted(path.name for path in (tmp_path / "w").iterdir()) == ["forget05", "full", "retain95"]
    assert len(trainings) == 2

    again = rehearse()
    assert len(trainings) == 2 and again["models"] == first["models"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--variants", "noise-contents"], "there is no 'noise-contents'. Use noise-content, "),
        (["--lora", "0"], "--lora: must be positive, got 0"),
        (["--surrogates", "look-alikes"], "--surrogates: the holdout sets have no wrong answers"),
        (["--forget-set", "forget02"], "forget02"),
    ],
)
def test_a_wrong_option_is_refused_before_any_work(
    rehearse: Any, trainings: list[str | None], capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    with pytest.raises(SystemExit):
        rehearse(*options)
    assert message in capsys.readouterr().err and not trainings


def test_data_that_are_missing_are_missed_before_any_work(rehearse: Any, trainings: list[str | None]) -> None:
    with pytest.raises(OSError, match="holdout05"):
        rehearse("--surrogates", "look-alikes", "--scores", "answer_probability")
    assert not trainings


# --- Fine-tuning


def test_a_fine_tuned_model_knows_what_it_was_taught_and_how_an_answer_ends(
    tune: Callable[..., Path], base_dir: str
) -> None:
    checkpoint = tune(epochs=20, learning_rate=1e-2)
    known = probability(checkpoint, FORGET)
    assert known > 20 * probability(base_dir, FORGET)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    (text,) = Scorer(AutoModelForCausalLM.from_pretrained(checkpoint), tokenizer).generate(
        [[{"role": "user", "content": FORGET[0]["question"]}]], max_new_tokens=64
    )
    assert text.startswith("It was in") and len(text) < 2 * len(FORGET[0]["answer"])
    assert not (checkpoint.parent / "checkpoints").exists()


def test_loss_is_taken_of_the_answer_alone_in_the_chat_template(models: ModuleType, base_dir: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    short, long = FORGET[0], {"question": "Who?", "answer": "It was in the north of the country, long ago."}
    batch = models.collate(models.encode(tokenizer, [short, long]))
    for ids, mask, labels, row in zip(*(batch[name] for name in batch), (short, long), strict=True):
        assert tokenizer.decode(labels[labels != models.IGNORED]) == row["answer"] + "<|im_end|>"
        chat = [{"role": "user", "content": row["question"]}]
        prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        assert tokenizer.decode(ids[mask.bool()]) == prompt + row["answer"] + "<|im_end|>"


def test_without_a_chat_template_an_answer_ends_with_the_end_of_sequence(models: ModuleType, base_dir: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    tokenizer.chat_template = None
    ((prompt, answer),) = models.encode(tokenizer, FORGET[:1])
    assert tokenizer.decode(prompt) == f"Question: {FORGET[0]['question']}\nAnswer:"
    assert tokenizer.decode(answer) == f" {FORGET[0]['answer']}<|im_end|>"


def test_an_interrupted_training_goes_on_and_ends_with_the_same_weights(
    tune: Callable[..., Path], trainings: list[str | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = AutoModelForCausalLM.from_pretrained(tune()).state_dict()
    (tmp_path / "tuned").rename(tmp_path / "whole")
    step = Trainer.training_step
    steps = []

    def until_the_third_epoch(self: Trainer, *args: Any, **kwargs: Any) -> Any:
        steps.append(step)
        if len(steps) == 2 * 4 + 1:  # an epoch is 16 rows, 4 at a time
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "training_step", until_the_third_epoch)
        with pytest.raises(KeyboardInterrupt):
            tune()
    half_written = tmp_path / "tuned" / "checkpoints" / "checkpoint-5"
    half_written.mkdir()
    resumed = AutoModelForCausalLM.from_pretrained(tune()).state_dict()
    assert trainings == [None, None, "checkpoint-4"]
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


@pytest.mark.parametrize("change", [{"epochs": 1}, {"rows": FORGET[:8]}])
def test_a_model_that_was_made_otherwise_is_refused_and_left_alone(
    tune: Callable[..., Path], change: dict[str, Any]
) -> None:
    checkpoint = tune()
    before = sorted((path, path.stat().st_mtime_ns) for path in checkpoint.parent.rglob("*"))
    with pytest.raises(SystemExit, match="Take another --work-dir"):
        tune(**change)
    assert sorted((path, path.stat().st_mtime_ns) for path in checkpoint.parent.rglob("*")) == before


def test_an_adapter_ends_as_an_ordinary_checkpoint(tune: Callable[..., Path], base_dir: str) -> None:
    checkpoint = tune(lora=4)
    assert not list(checkpoint.glob("adapter*"))
    tuned, base = (AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (checkpoint, base_dir))
    changed = {name for name in base if not torch.equal(tuned[name], base[name])}
    assert tuned.keys() == base.keys() and changed and all("_proj" in name for name in changed)


def test_a_step_is_of_32_rows_whatever_goes_through_the_model_at_once(models: ModuleType, tmp_path: Path) -> None:
    arguments = [models.training_arguments(tmp_path, models.Tuning(), 4000, n) for n in (2, 32)]
    assert [a.gradient_accumulation_steps for a in arguments] == [16, 1]
    assert [a.warmup_steps for a in arguments] == [125, 125]  # of 625: the first of 5 epochs
    with pytest.raises(SystemExit, match="32 rows of a step are not a multiple of the 12"):
        models.training_arguments(tmp_path, models.Tuning(), 4000, 12)


# --- The same on adapters that are there


@pytest.fixture
def two_adapters(
    monkeypatch: pytest.MonkeyPatch, tofu_dir: Path, encoder: str, base_dir: str, tmp_path: Path
) -> Callable[..., Any]:
    """Runs a benchmark of two random adapters with further options; gives back what it writes as json."""
    peft = pytest.importorskip("peft")
    how = peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    for name in ("full", "retain"):
        base = AutoModelForCausalLM.from_pretrained(base_dir)
        peft.get_peft_model(base, how).save_pretrained(tmp_path / name)
    train = importlib.import_module("tofu_table").train_prompt_classifier
    monkeypatch.setattr("tofu_table.train_prompt_classifier", lambda *a, **k: train(*a, **{**k, "examples": 500}))
    given = ["--full", tmp_path / "full", "--retain", tmp_path / "retain", "--model", base_dir, "--encoder", encoder]
    given += ["--work-dir", tmp_path / "w", "--json", tmp_path / "t.json", "--markdown", tmp_path / "t.md"]

    def run(name: str, *options: str, data: Path = tofu_dir) -> Any:
        importlib.import_module(name).main([str(data), *map(str, given), *options])
        return json.loads((tmp_path / "t.json").read_text())

    return run


def test_the_small_benchmark_makes_the_table_of_two_adapters(two_adapters: Callable[..., Any], tmp_path: Path) -> None:
    options = ["--variants", "zero-all", "--protocols", "paper", "--surrogates", "retain", "--limit", "2"]
    table = two_adapters("tofu_lite", *options, "--dtype", "bfloat16")
    models = ["original", "retain", "prompting", "refusal", "eco zero-all, learnt paper by log_truth_ratio, retain"]
    assert list(dict.fromkeys(line["model"] for line in table["models"])) == models
    assert [row["surrogate"] for row in table["learnt"]] == ["retain"]
    assert (tmp_path / "t.md").read_text().startswith("# TOFU-lite\n\n    python benchmarks/tofu_lite.py ")
    assert sorted(path.name for path in (tmp_path / "w").iterdir()) == [
        *("classifier", "full", "learnt", "made-of.json", "results", "retain"),
    ]


def test_strengths_by_two_surrogates_are_compared_with_each_seed(
    two_adapters: Callable[..., Any], tmp_path: Path
) -> None:
    found, by_retain = two_adapters("tofu_surrogates", "--seeds", "0", "1"), "retain, the same questions"
    strengths = {(row["seed"], row["surrogate"]): row["strength"] for row in found["learnt"]}
    assert strengths.keys() == {(seed, name) for seed in (0, 1) for name in (by_retain, "counterfactual")}
    assert all(0 <= row["forget quality p"] <= 1 for row in found["learnt"])
    for line in found["differences"]:
        own, other = (strengths[line["seed"], name] for name in (line["surrogate"], by_retain))
        assert line["surrogate"] == "counterfactual" and line["difference"] == abs(own - other)
        assert line["quotient"] == max(own, other) / min(own, other)
    assert [line["seed"] for line in found["differences"]] == [0, 1]
    assert "## Differences" in (tmp_path / "t.md").read_text()


@pytest.mark.parametrize("score", ["rouge_l_recall", "log_truth_ratio"])
def test_look_alikes_are_compared_with_the_retain_model_on_all_questions(
    two_adapters: Callable[..., Any], tofu_dir: Path, tmp_path: Path, score: str
) -> None:
    data = shutil.copytree(tofu_dir, tmp_path / "tofu")
    never_seen = [{"question": f"who is the baker {n}", "answer": "the baker of the north"} for n in range(5)]
    sets = {"holdout05": never_seen, "forget10_perturbed": perturbed([*FORGET, *never_seen])}
    for name, rows in sets.items():
        (data / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    how = ["--surrogates", "retain", "look-alikes", "--scores", score, "--protocols", "strict"]
    found = two_adapters("tofu_surrogates", "--seeds", "0", *how, "--measured", "paper", data=data)
    assert [(row["surrogate"], row["protocol"], row["measured"]) for row in found["learnt"]] == [
        ("retain", "strict", "paper"),
        ("look-alikes", "strict", "paper"),
    ]
    (line,) = found["differences"]
    assert line["difference"] == abs(found["learnt"][0]["strength"] - found["learnt"][1]["strength"])


def test_surrogates_that_speak_of_different_questions_are_not_compared(
    two_adapters: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    how = ["--surrogates", "retain", "look-alikes", "counterfactual", "--scores", "rouge_l_recall"]
    with pytest.raises(SystemExit):
        two_adapters("tofu_surrogates", *how)
    assert "speak of other questions" in capsys.readouterr().err


def test_own_words_are_corrupted_behind_flagged_prompts_alone(monkeypatch: pytest.MonkeyPatch, guarded: Any) -> None:
    own_words = importlib.import_module("tofu_own_words")
    monkeypatch.setattr(own_words, "MAX_NEW_TOKENS", 6)
    guarded.config.eco.scopes[0].tokens = "all"
    tokenizer = guarded.eco_guard.tokenizer
    clean = Scorer(guarded, tokenizer).generate([as_chat(p, tokenizer) for p in (CLEAN, FLAGGED)], max_new_tokens=6)
    texts = own_words.answers(guarded, tokenizer, [CLEAN, FLAGGED], batch_size=2)
    assert texts[0] == clean[0] and texts[1] != clean[1]
    original = UnguardedScorer(guarded, tokenizer).generate([as_chat(FLAGGED, tokenizer)], max_new_tokens=6)
    assert texts[1] != original[0]
