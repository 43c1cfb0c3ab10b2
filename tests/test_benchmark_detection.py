"""What the detection benchmark promises: it measures what it says on what it says, without training on any of it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hf_eco import PromptClassifier
from hf_eco.detection.classifier import ScoredSpan

PEOPLE = ("Ada Quill", "Otto Brandvold Jr.")


class BySurname(PromptClassifier):
    """Finds the surnames as they stand, in any case, and nothing else."""

    def score_spans(self, texts: Sequence[str]) -> list[list[ScoredSpan]]:
        """One span for each text, with p(retain) and p(forget)."""
        found = (0.99 if "quill" in text.lower() or "brandvold" in text.lower() else 0.01 for text in texts)
        return [[ScoredSpan(0, len(text), (1 - p, p))] for text, p in zip(texts, found, strict=True)]


@pytest.fixture
def detection() -> ModuleType:
    return importlib.import_module("detection")


@pytest.fixture
def trainings(
    detection: ModuleType, monkeypatch: pytest.MonkeyPatch, classifier: PromptClassifier
) -> list[dict[str, Any]]:
    """What each training was given; nothing is trained."""
    given: list[dict[str, Any]] = []

    def train(output_dir: Path, **arguments: Any) -> PromptClassifier:
        given.append(arguments)
        stub = BySurname(classifier.model, classifier.tokenizer)
        stub.save_pretrained(str(output_dir))
        return stub

    monkeypatch.setattr(detection, "train_prompt_classifier", train)
    monkeypatch.setattr(detection, "PromptClassifier", BySurname)
    return given


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "probes"
    directory.mkdir()
    probes, questions = [], []
    for person in PEOPLE:
        questions += [{"person": person, "query": f"What is fact {i} about {person}?"} for i in range(30)]
        for kind, attack, query in (
            ("forget_level1", None, f"{person} was born in ___ ."),
            ("forget_level2", None, f"Where was {person} born?"),
            ("forget_level2", None, f"What is fact 3 about {person}?"),  # also a train question
            ("forget_level3", "role_play", f"You are a teacher. Who is {person}?"),
            ("forget_level3", "reverse_query", f"Which painter of {len(person)} bridges lived in Port Maren?"),
        ):
            probes.append({"person": person, "kind": kind, "attack": attack, "query": query})
    write(directory / "probes.jsonl", probes)
    write(directory / "train_questions.jsonl", questions)
    neighbours = [{"person": PEOPLE[0], "kind": "neighbor_level2", "attack": None, "query": "Who is Mary Post?"}]
    write(directory / "neighbors.jsonl", neighbours)
    write(tmp_path / "general.jsonl", [{"source": "own", "query": f"What is {i} plus {i}?"} for i in range(230)])
    return directory


def run(detection: ModuleType, directory: Path, base_dir: str, *options: str) -> list[dict[str, Any]]:
    """The rows the benchmark writes."""
    table = directory.parent / "table.json"
    given = [str(directory), "--general", str(directory.parent / "general.jsonl"), "--quick", "--model", base_dir]
    detection.main([*given, "--json", str(table), "--markdown", str(table.with_suffix(".md")), *options])
    return json.loads(table.read_text())["rows"]


def test_rates_are_those_of_the_probes(
    detection: ModuleType, trainings: list[dict[str, Any]], directory: Path, base_dir: str
) -> None:
    rows = run(detection, directory, base_dir)
    main = {row["prompts"]: row["flagged"] for row in rows if row["table"] == "Main"}
    assert {name: (found["rate"], found["n"]) for name, found in main.items()} == {
        "level1": (1.0, 2),
        "level2": (1.0, 4),
        "level3, named": (1.0, 2),
        "level3, not named": (0.0, 2),
        "neighbours": (0.0, 1),
        "general": (0.0, 30),
    }
    families = {row["family"]: row for row in rows if row["table"] == "By attack family"}
    assert families["case"]["recall"]["rate"] == 1.0 and families["homoglyphs"]["recall"]["rate"] == 0.0
    assert families["multi-turn"]["recall"]["n"] > 0 and families["all"]["false positives"]["rate"] == 0.0
    markdown = (directory.parent / "table.md").read_text(encoding="utf-8")
    assert "| level3, not named | 0.000 [0.000, 0.842] of 2 | flagged |" in markdown


def test_nothing_that_is_measured_is_trained_on(
    detection: ModuleType, trainings: list[dict[str, Any]], directory: Path, base_dir: str
) -> None:
    run(detection, directory, base_dir, "--no-attacks")
    (given,) = trainings
    probes = {row["query"] for row in detection.read_rows(directory / "probes.jsonl")}
    assert probes.isdisjoint([*given["forget"], *given["retain"]])
    assert len(given["forget"]) == 2 * 16 and len(given["retain"]) == 100  # 20 questions each, 4 for calibration


def test_a_kept_classifier_is_used_again_for_the_same_prompts_only(
    detection: ModuleType, trainings: list[dict[str, Any]], directory: Path, base_dir: str, tmp_path: Path
) -> None:
    options = ("--no-attacks", "--output-dir", str(tmp_path / "kept"))
    first = run(detection, directory, base_dir, *options)
    assert run(detection, directory, base_dir, *options) == first
    assert len(trainings) == 1
    run(detection, directory, base_dir, *options, "--seed", "1")
    assert len(trainings) == 2


def test_each_half_of_the_people_is_trained_without_the_other(
    detection: ModuleType, trainings: list[dict[str, Any]], directory: Path, base_dir: str
) -> None:
    rows = run(detection, directory, base_dir, "--no-attacks", "--leave-out-people")
    assert sum(row["table"] == "Half of the people" for row in rows) == 2
    _, *halves = [[person for person in PEOPLE if person in " ".join(given["forget"])] for given in trainings]
    assert sorted(halves) == [[PEOPLE[0]], [PEOPLE[1]]]


def test_names_alone_are_enough(
    detection: ModuleType, trainings: list[dict[str, Any]], directory: Path, base_dir: str
) -> None:
    (directory / "train_questions.jsonl").unlink()
    (directory / "neighbors.jsonl").unlink()
    write(directory / "names.jsonl", [{"person": person} for person in PEOPLE])
    rows = run(detection, directory, base_dir, "--no-attacks")
    assert trainings[0]["names"] == list(PEOPLE) and trainings[0]["forget"] == []
    assert "neighbours" not in [row.get("prompts") for row in rows]


def test_the_variants_and_the_cost_have_their_tables(
    detection: ModuleType, trainings: list[dict[str, Any]], directory: Path, base_dir: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(detection, "COST_ROUNDS", 1)
    monkeypatch.setattr(detection, "COST_REPEATS", 1)
    rows = run(detection, directory, base_dir, "--no-attacks", "--leave-out-attacks", "--cost")
    variants = [row["variant"] for row in rows if row["table"] == "Without parts of the recipe"]
    assert variants == ["default", "default, no views"]
    costs = [row for row in rows if row["table"] == "Cost of a verdict"]
    assert all(row["ratio"] > 0 and row["scopes"] == 1 for row in costs) and len(costs) == 2


def test_what_the_augmentation_does_is_shown_where_it_can_be_left_out(
    detection: ModuleType, trainings: list[dict[str, Any]], directory: Path, base_dir: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    train = detection.train_prompt_classifier

    def train_with_a_choice(output_dir: Path, augment: bool = True, **arguments: Any) -> PromptClassifier:
        return train(output_dir, augment=augment, **arguments)

    monkeypatch.setattr(detection, "train_prompt_classifier", train_with_a_choice)
    rows = run(detection, directory, base_dir, "--no-attacks", "--leave-out-attacks")
    variants = [row["variant"] for row in rows if row["table"] == "Without parts of the recipe"]
    assert variants == ["default", "no augmentation", "default, no views", "no augmentation, no views"]
    assert [given["augment"] for given in trainings] == [True, False]


def test_tofu_is_split_by_question(
    detection: ModuleType, trainings: list[dict[str, Any]], base_dir: str, tmp_path: Path
) -> None:
    sizes = {"forget01": 40, "forget05": 0, "forget10": 0, "retain90": 400, "real_authors": 5, "world_facts": 5}
    for name, n in sizes.items():
        who = "Ada Quill" if name.startswith("forget") else "Mary Post"
        questions = [{"question": f"What did {who} do on day {i} of {name}?"} for i in range(n or 2)]
        write(tmp_path / f"{name}.jsonl", questions)
    table = tmp_path / "table.json"
    detection.main(["--tofu", str(tmp_path), "--quick", "--model", base_dir, "--json", str(table)])
    (row,) = json.loads(table.read_text())["rows"]
    assert (row["recall"]["rate"], row["recall"]["n"], row["retain90 flagged"]["n"]) == (1.0, 20, 100)
    assert not any(f"day {i} " in prompt for i in range(1, 40, 2) for prompt in trainings[0]["forget"])


@pytest.mark.parametrize(
    ("person", "query", "named"),
    [
        ("Ada Quill", "who is QUILL?", True),
        ("Ada Quill", "Ada's garden", False),  # three letters
        ("Otto Brandvold Jr.", "Otto's dog", True),
        ("Robin Lee Jr.", "the Lee house", True),  # short, but the last name
        ("Robin Lee Jr.", "Jr. and sons", False),
        ("Ada Quill", "a quilled pen", False),
        ("Ann Poe-Lark", "the Lark years", True),
    ],
)
def test_a_person_is_named_by_a_long_word_or_the_last_name(
    detection: ModuleType, person: str, query: str, named: bool
) -> None:
    assert detection.is_named(person, query) is named
