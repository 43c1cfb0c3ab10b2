"""How well the default recipe tells the prompts of a forget scope from all others: trained, calibrated and measured.

    python benchmarks/detection.py rwku --general general.jsonl --json detection.json --markdown detection.md
    python benchmarks/detection.py rwku --general general.jsonl --output-dir kept --leave-out-people
    python benchmarks/detection.py rwku --general general.jsonl --output-dir kept --leave-out-attacks
    python benchmarks/detection.py rwku --general general.jsonl --output-dir kept --no-attacks --cost
    python benchmarks/detection.py rwku --general general.jsonl --encoder intfloat/e5-base-v2 --seed 1
    python benchmarks/detection.py --tofu tofu
    python benchmarks/detection.py rwku --general general.jsonl --quick     # a few prompts, to see that all works

The directory holds `probes.jsonl` and `train_questions.jsonl`, or `names.jsonl` (rows of {person}) where there are no
questions; `neighbors.jsonl` and `passages.jsonl` if there are any. Their rows are {person, kind, attack, query}. The
file of general prompts has rows of {query}. Nothing of what is measured is seen in training or calibration. Files are
written again after every table, so a run that breaks off keeps what it has measured; with --output-dir the trained
classifiers are kept, and used again by a run with the same prompts, encoder and seed. After a change of the recipe
itself, take another directory.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import inspect
import json
import random
import re
import shlex
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from attacks import Attack, Attacked, as_text, attacks, families
from common import DEVICE, seconds, write
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, logging

import hf_eco
from hf_eco import ECOConfig, ForgetScope, Guard, PromptClassifier
from hf_eco.configuration import Calibration
from hf_eco.demo.packaged_models import MINILM, SMOLLM2, resolve
from hf_eco.detection.disguises import views
from hf_eco.training import calibrate_threshold, train_prompt_classifier
from hf_eco.training.bounds import clopper_pearson_upper
from hf_eco.training.labelled_prompts import fold

CONFIDENCE = 0.95
CALIBRATION_SHARE = 0.2  # of the forget prompts given
LONG_WORDS = 250  # an attacked prompt of more words than this counts as long
COST_TOKENS, COST_ROUNDS, COST_REPEATS = 50, 5, 15
# What is asked where there are names alone; the false negative rate is that of these questions.
NAME_QUESTIONS = ("Who is {}?", "I would like to know more about {}.", "Why have people heard of {}?")
_WORD = re.compile(r"[^\W\d_]+")
_SUFFIXES = ("jr", "sr", "ii", "iii", "iv")  # words at a name's end that are no last name

Row = dict[str, Any]
Section = tuple[str, str, list[Row]]  # title, what it shows, rows


@dataclass(frozen=True)
class Sizes:
    """How many prompts go where."""

    questions: int = 100  # of each person, for training and calibration together
    general: int = 1500  # for training, and as many for calibration; the rest is test
    max_fpr: float = 0.005
    probes: int | None = None  # under each attack; None for all
    general_per_attack: int = 60
    long: int = 40  # prompts of each kind under an attack that makes them long, and in the ablation
    attacks_per_family: int | None = None


QUICK = Sizes(questions=20, general=100, max_fpr=0.05, probes=10, general_per_attack=10, long=4, attacks_per_family=2)


class Split(NamedTuple):
    """Prompts that do not overlap."""

    training: list[str]
    calibration: list[str]
    test: list[str]


# --- Prompts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probes:
    """The probe files of a directory; a list is empty where there is no such file."""

    probes: list[Row]
    neighbours: list[Row]
    questions: list[Row]
    passages: list[Row]
    people: list[str]

    @classmethod
    def read(cls, directory: Path) -> Probes:
        rows = {name: read_rows(directory / f"{name}.jsonl") for name in ("probes", "train_questions", "names")}
        if not rows["probes"] or not (rows["train_questions"] or rows["names"]):
            raise SystemExit(f"{directory} must hold probes.jsonl, and train_questions.jsonl or names.jsonl.")
        people = dict.fromkeys(row["person"] for row in (*rows["names"], *rows["train_questions"]))
        neighbours, passages = (read_rows(directory / f"{name}.jsonl") for name in ("neighbors", "passages"))
        return cls(rows["probes"], neighbours, rows["train_questions"], passages, sorted(people))

    def of(self, people: Sequence[str]) -> Probes:
        """What is about some of the people."""

        def about(rows: list[Row]) -> list[Row]:
            return [row for row in rows if row["person"] in people]

        lists = about(self.probes), about(self.neighbours), about(self.questions), about(self.passages)
        return Probes(*lists, sorted(people))


def read_rows(path: Path) -> list[Row]:
    """The rows of a file; none if it is missing."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as lines:  # not splitlines(), which takes more than a newline for a line's end
        return [json.loads(line) for line in lines if line.strip()]


def shuffled(prompts: Iterable[str], seed: str, without: Iterable[str] = ()) -> list[str]:
    """The prompts in random order, each once, without those that stand among others."""
    unique = {fold(prompt): prompt for prompt in prompts}
    for prompt in without:
        unique.pop(fold(prompt), None)
    return random.Random(seed).sample(list(unique.values()), len(unique))


def split_general(path: Path, sizes: Sizes, seed: int, without: Iterable[str]) -> Split:
    prompts = shuffled((row["query"] for row in read_rows(path)), f"{seed}/general", without)
    n = sizes.general
    if len(prompts) <= 2 * n:
        raise SystemExit(f"{path} holds {len(prompts)} different prompts; the protocol takes more than {2 * n}.")
    return Split(prompts[:n], prompts[n : 2 * n], prompts[2 * n :])


def split_questions(probes: Probes, sizes: Sizes, seed: int) -> Split:
    """The train questions of each person in two parts, without those that are among the probes or neighbours."""
    seen = [row["query"] for row in (*probes.probes, *probes.neighbours)]
    training, calibration = [], []
    for person in probes.people:
        own = (row["query"] for row in probes.questions if row["person"] == person)
        chosen = shuffled(own, f"{seed}/{person}", seen)[: sizes.questions]
        held_out = round(CALIBRATION_SHARE * len(chosen))
        training += chosen[held_out:]
        calibration += chosen[:held_out]
    if not calibration:
        calibration = [question.format(person) for person in probes.people for question in NAME_QUESTIONS]
    return Split(training, calibration, [])


def is_named(person: str, query: str) -> bool:
    """Whether a word of the name with at least four letters, or the last name, stands in the query."""
    words, before_comma = (_WORD.findall(part) for part in (person, person.split(",")[0]))
    last = [word for word in before_comma if word.lower() not in _SUFFIXES][-1:]
    telling = {word.casefold() for word in (*(word for word in words if len(word) >= 4), *last)}
    return not telling.isdisjoint(_WORD.findall(query.casefold()))


def beside_questions(probes: Probes, documents: bool) -> dict[str, list[str]]:
    """What the training is given beside questions: the names where there are none, and the passages if asked for."""
    given = {} if probes.questions else {"names": probes.people}
    if documents:
        given["documents"] = [row["query"] for row in probes.passages]
    return given


def level(row: Row) -> str:
    return str(row["kind"]).removeprefix("forget_")


# --- The detector ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Detector:
    """A trained classifier with its threshold."""

    classifier: PromptClassifier
    calibration: Calibration
    guard: Guard
    training_seconds: float

    def flags(self, prompts: Sequence[Attacked]) -> list[bool]:
        """Whether each text or chat is flagged. A text's verdict is its score's, a chat's the guard's."""
        texts = list(dict.fromkeys(prompt for prompt in prompts if isinstance(prompt, str)))
        scores = dict(zip(texts, self.classifier.score(texts), strict=True)) if texts else {}
        verdicts = iter(self.guard.inspect([prompt for prompt in prompts if not isinstance(prompt, str)]))
        return [
            scores[prompt] >= self.calibration.threshold if isinstance(prompt, str) else next(verdicts).flagged
            for prompt in prompts
        ]

    def rate(self, prompts: Sequence[Attacked]) -> Row | None:
        return rate(self.flags(prompts))


@dataclass(frozen=True)
class Workshop:
    """Trains detectors, and keeps them in `directory`."""

    directory: Path
    encoder: str
    tokenizer: PreTrainedTokenizerBase
    max_fpr: float
    seed: int

    def detector(self, name: str, forget: Split, retain: Split, **options: Any) -> Detector:
        """A detector trained on the training parts and calibrated on the calibration parts.

        Args:
            name: of its folder.
            forget: prompts in the scope.
            retain: prompts outside of it.
            options: of `train_prompt_classifier`, beside what each training is given.
        """
        given = {"forget": forget.training, "retain": retain.training, "seed": self.seed, **options}
        classifier, training_seconds = self._trained(name, given)
        return self.calibrated(classifier, forget, retain, training_seconds)

    def calibrated(
        self, classifier: PromptClassifier, forget: Split, retain: Split, training_seconds: float
    ) -> Detector:
        """The classifier with the threshold that the calibration parts call for."""
        calibration = calibrate_threshold(
            classifier, forget=forget.calibration, retain=retain.calibration, max_fpr=self.max_fpr
        )
        config = ECOConfig(scopes=[ForgetScope(name="scope", threshold=calibration.threshold)])
        guard = Guard(config, {"scope": classifier}, self.tokenizer)
        return Detector(classifier, calibration, guard, training_seconds)

    def _trained(self, name: str, given: dict[str, Any]) -> tuple[PromptClassifier, float]:
        folder, record = self.directory / name, self.directory / f"{name}.json"
        described = json.dumps({**given, "encoder": self.encoder, "hf_eco": hf_eco.__version__}, sort_keys=True)
        fingerprint = hashlib.sha256(described.encode()).hexdigest()
        if record.exists():
            known = json.loads(record.read_text())
            if known["fingerprint"] == fingerprint:
                return PromptClassifier.from_pretrained(str(folder)), known["seconds"]
        record.unlink(missing_ok=True)  # it stands beside a finished classifier only
        made: list[PromptClassifier] = []
        elapsed = seconds(
            lambda: made.append(train_prompt_classifier(**given, encoder=resolve(self.encoder), output_dir=folder))
        )
        record.write_text(json.dumps({"fingerprint": fingerprint, "seconds": elapsed}) + "\n")
        return made[0], elapsed


def rate(flags: Sequence[bool]) -> Row | None:
    """The share that is flagged with its two-sided Clopper-Pearson interval; None of nothing."""
    if not flags:
        return None
    k, n, tail = sum(flags), len(flags), (1 + CONFIDENCE) / 2
    low, high = 1 - clopper_pearson_upper(n - k, n, tail), clopper_pearson_upper(k, n, tail)
    return {"rate": round(k / n, 4), "low": round(low, 4), "high": round(high, 4), "n": n}


# --- What is measured ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flagged:
    """What a detector says of probes as they stand."""

    rows: list[Row]
    flags: list[bool]

    @classmethod
    def by(cls, detector: Detector, rows: list[Row]) -> Flagged:
        return cls(rows, detector.flags([row["query"] for row in rows]))

    def share(self, kind: str | None = None, person: str | None = None, named: bool | None = None) -> Row | None:
        """The share flagged of a level, of a person, of those that name their person or do not; None for any."""
        return rate(
            [
                flag
                for row, flag in zip(self.rows, self.flags, strict=True)
                if kind in (None, level(row))
                and person in (None, row["person"])
                and named in (None, is_named(row["person"], row["query"]))
            ]
        )

    def levels(self, person: str | None = None) -> Row:
        """Recall by level, that of level3 by whether the person is named."""
        rates: Row = {}
        for kind in sorted({level(row) for row in self.rows}):
            if kind == "level3":
                rates[f"{kind}, named"] = self.share(kind, person, True)
                rates[f"{kind}, not named"] = self.share(kind, person, False)
            else:
                rates[kind] = self.share(kind, person)
        return rates


def setup(detector: Detector, forget: Split, general: Split) -> Section:
    calibration = detector.calibration
    values: Row = {
        **{
            f"{kind} prompts, {part}": len(prompts)
            for kind, split in (("forget", forget), ("general", general))
            for part, prompts in split._asdict().items()
            if prompts
        },
        "training, seconds": round(detector.training_seconds, 1),
        **{
            f"calibration, {name}": float(f"{getattr(calibration, name):.4g}")
            for name in ("max_fpr", "threshold", "fpr", "fpr_bound", "fnr", "fnr_bound")
        },
    }
    rows = [{"what": what, "value": value} for what, value in values.items()]
    return "Set-up", "What the recipe was given and what it chose.", rows


def main_sections(
    detector: Detector, probes: Probes, general: Sequence[str], trained_on_passages: bool
) -> Iterator[Section]:
    found, near = Flagged.by(detector, probes.probes), Flagged.by(detector, probes.neighbours)
    rows = [{"prompts": name, "flagged": value, "should be": "flagged"} for name, value in found.levels().items()]
    if not trained_on_passages:
        passages = detector.rate([row["query"] for row in probes.passages])
        rows.append({"prompts": "passages", "flagged": passages, "should be": "flagged"})
    rows.append({"prompts": "neighbours", "flagged": rate(near.flags), "should be": "passed"})
    rows.append({"prompts": "general", "flagged": detector.rate(general), "should be": "passed"})
    note = "Named: a word of the person's name of at least four letters, or the last name, stands in the prompt."
    yield "Main", note, [row for row in rows if row["flagged"]]

    kinds = dict.fromkeys((row["kind"], row.get("attack") or "") for row in (*probes.probes, *probes.neighbours))
    rows = []
    for kind, attack in sorted(kinds):
        of_kind = [
            r for r in (*probes.probes, *probes.neighbours) if (r["kind"], r.get("attack") or "") == (kind, attack)
        ]
        flagged = Flagged.by(detector, of_kind)
        rows.append(
            {
                "kind": kind,
                "attack": attack,
                "flagged": rate(flagged.flags),
                "named": flagged.share(named=True),
                "not named": flagged.share(named=False),
            }
        )
    yield "By kind and attack of the probe files", "", rows

    rows = []
    for person in sorted({row["person"] for row in probes.probes}):
        rows.append({"person": person, **found.levels(person), "neighbours": near.share(person=person)})
    yield "By person", "The recipe was made without regard to any of them.", rows


@dataclass(frozen=True)
class Attacking:
    """The attacks, and the prompts they are tried on."""

    probes: list[str]
    general: list[str]
    sizes: Sizes
    seed: int

    def members(self, family: str) -> list[Attack]:
        own = [member for member in attacks().values() if member.family == family]
        return own[: self.sizes.attacks_per_family]

    def apply(self, member: Attack, prompts: Sequence[str], most: int | None) -> list[Attacked]:
        """Up to `most` of the prompts under the attack, drawn anew for each attack; none that it leaves as it is."""
        if len(as_text(member(self.probes[0])).split()) > LONG_WORDS:
            most = min(self.sizes.long, most or self.sizes.long)
        attacked: list[Attacked] = []
        for prompt in random.Random(f"{self.seed}/{member.name}").sample(list(prompts), len(prompts)):
            if len(attacked) == most:
                break
            if (changed := member(prompt)) != prompt:
                attacked.append(changed)
        return attacked


def attack_sections(detector: Detector, attacking: Attacking) -> Iterator[Section]:
    sizes = attacking.sizes
    by_family: list[Row] = []
    by_attack: list[Row] = []
    every: tuple[list[bool], list[bool]] = ([], [])
    for family in tqdm(families(), desc="attacks", disable=None, leave=False):
        answerable: tuple[list[bool], list[bool]] = ([], [])
        for member in tqdm(attacking.members(family), desc=family, disable=None, leave=False):
            recall = detector.flags(attacking.apply(member, attacking.probes, sizes.probes))
            false = detector.flags(attacking.apply(member, attacking.general, sizes.general_per_attack))
            row = {"attack": member.name, "answerable": "yes" if member.answerable else "no"}
            by_attack.append({**row, "recall": rate(recall), "false positives": rate(false)})
            if member.answerable:
                for part, total, flags in zip(answerable, every, (recall, false), strict=True):
                    part.extend(flags)
                    total.extend(flags)
        by_family.append({"family": family, "recall": rate(answerable[0]), "false positives": rate(answerable[1])})
    by_family.append({"family": "all", "recall": rate(every[0]), "false positives": rate(every[1])})
    note = (
        f"{sizes.probes or 'All'} level2 probes and {sizes.general_per_attack} general prompts under each answerable "
        f"attack; {sizes.long} "
        f"of each where it makes them longer than {LONG_WORDS} words. Prompts that an attack leaves as they are do "
        "not count. The intervals take the prompts of a family as independent, although most of them stand in it "
        "several times."
    )
    yield "By attack family", note, by_family
    yield "By attack", "", by_attack


def halves_section(workshop: Workshop, probes: Probes, general: Split, sizes: Sizes, documents: bool) -> Section:
    people = shuffled(probes.people, f"{workshop.seed}/halves")
    halves = people[: len(people) // 2], people[len(people) // 2 :]
    rows = []
    for name, own, other in (("A", *halves), ("B", *halves[::-1])):
        mine, theirs = probes.of(own), probes.of(other)
        forget = split_questions(mine, sizes, workshop.seed)
        detector = workshop.detector(f"people-{name}", forget, general, **beside_questions(mine, documents))
        rows.append(
            {
                "trained on": f"{name}: {', '.join(own)}",
                **Flagged.by(detector, mine.probes).levels(),
                "the other half's probes": detector.rate([row["query"] for row in theirs.probes]),
                "neighbours": detector.rate([row["query"] for row in mine.neighbours]),
                "general": detector.rate(general.test),
            }
        )
    note = "Trained on half of the people. The other half's probes are outside the scope and should pass."
    return "Half of the people", note, rows


def ablation_sections(
    workshop: Workshop,
    detector: Detector,
    forget: Split,
    general: Split,
    probes: Probes,
    attacking: Attacking,
    **options: Any,
) -> Iterator[Section]:
    """The recipe without its readings of disguised text, without its augmentation, and without both."""
    detectors = {"default": detector}
    if "augment" in inspect.signature(train_prompt_classifier).parameters:
        trained = workshop.detector("no-augmentation", forget, general, augment=False, **options)
        detectors["no augmentation"] = trained
    variants = [(name, made, seen) for seen in (True, False) for name, made in detectors.items()]
    rows: list[Row] = []
    by_family: dict[str, Row] = {family: {"family": family} for family in families()}
    for name, made, with_views in tqdm(variants, desc="variants", disable=None, leave=False):
        title = name if with_views else f"{name}, no views"
        with nullcontext() if with_views else without_views():
            tried = workshop.calibrated(made.classifier, forget, general, made.training_seconds)
            rows.append(
                {
                    "variant": title,
                    **Flagged.by(tried, probes.probes).levels(),
                    "neighbours": tried.rate([row["query"] for row in probes.neighbours]),
                    "general": tried.rate(general.test),
                }
            )
            for family, row in by_family.items():
                members = [member for member in attacking.members(family) if member.answerable]
                row[title] = tried.rate(
                    [p for m in members for p in attacking.apply(m, attacking.probes, attacking.sizes.long)]
                )
    missing = "" if len(detectors) > 1 else " This hf_eco cannot train without its augmentation, so that is left out."
    yield (
        "Without parts of the recipe",
        "Views are readings of a text without its disguise. Each variant is calibrated anew." + missing,
        rows,
    )
    note = f"Recall on {attacking.sizes.long} level2 probes under each answerable attack."
    yield "Without parts of the recipe, by attack family", note, list(by_family.values())


def without_views() -> AbstractContextManager[Any]:
    """Prompts are scored as they stand and in no other reading."""
    return patch("hf_eco.detection.classifier.views", lambda text: views(text)[:1])


def tofu_section(workshop: Workshop, directory: Path, quick: bool) -> tuple[Section, PromptClassifier]:
    """Each forget set of TOFU (Maini et al. 2024) against the authors that are in none of them."""
    read = {
        name: [row["question"] for row in read_rows(directory / f"{name}.jsonl")]
        for name in ("forget01", "forget05", "forget10", "retain90", "real_authors", "world_facts")
    }
    if missing := [name for name, questions in read.items() if not questions]:
        raise SystemExit(f"{directory} lacks {', '.join(f'{name}.jsonl' for name in missing)}.")
    rows = []
    for name in ("forget01", "forget05", "forget10")[: 1 if quick else 3]:
        questions = list(dict.fromkeys(read[name]))
        train = shuffled(questions[::2], f"{workshop.seed}/{name}", questions[1::2])
        held_out = round(CALIBRATION_SHARE * len(train))
        forget = Split(train[held_out:], train[:held_out], questions[1::2])
        others = shuffled(read["retain90"], f"{workshop.seed}/retain90", questions)
        half, rest = len(others) // 2, 3 * len(others) // 4
        retain = Split(others[:half], others[half:rest], others[rest:])
        detector = workshop.detector(name, forget, retain)
        rows.append(
            {
                "forget set": name,
                "recall": detector.rate(forget.test),
                **{f"{other} flagged": detector.rate(read[other]) for other in ("real_authors", "world_facts")},
                "retain90 flagged": detector.rate(retain.test),
                "training seconds": round(detector.training_seconds, 1),
                "threshold": float(f"{detector.calibration.threshold:.4g}"),
            }
        )
    note = (
        "Trained on every other question about the forget authors (a fifth of them for calibration) and half of "
        "retain90's, calibrated on a quarter of retain90's, tested on the rest."
    )
    return ("TOFU", note, rows), detector.classifier


# --- What it costs ---------------------------------------------------------------------------------------------------


def cost_section(detector: Detector, model_name: str) -> Section:
    """The time of one verdict, as a share of the model's prefill of the same prompt."""
    tokenizer: Any = detector.guard.tokenizer
    model: Any = AutoModelForCausalLM.from_pretrained(model_name, dtype=torch.float32)
    model.to(DEVICE).eval()
    detector.guard.to(DEVICE)

    def cut(text: str) -> str:
        return tokenizer.decode(tokenizer(text).input_ids[:COST_TOKENS])

    plain = cut(COST_TEXT)
    # of all disguises the one with most to read
    disguised = [
        (member.name, cut(attacked))
        for member in attacks().values()
        if member.family != "padding" and isinstance(attacked := member(COST_TEXT), str)
    ]
    worst = max(disguised, key=lambda pair: sum(len(view.text) for view in views(pair[1])))
    rows = []
    for count, guard in guards(detector):
        for name, text in (("plain", plain), worst):
            ids = torch.tensor([tokenizer(text).input_ids[:COST_TOKENS]], device=DEVICE)
            rows.append({"scopes": count, "prompt": name, "views": len(views(text)), **cost(model, guard, text, ids)})
    note = (
        f"One prompt of {COST_TOKENS} tokens: `guard.inspect` against one forward pass of {model_name} over it, in "
        f"turn, {torch.get_num_threads()} threads, {DEVICE}. Ratio of the medians of {COST_REPEATS} in each of "
        f"{COST_ROUNDS} rounds: the median, minimum and maximum of the rounds."
    )
    return "Cost of a verdict", note, rows


COST_TEXT = (
    "The bakery on the corner opens at half past five, when the street is still dark. Could you tell me why rye "
    "loaves take longer to cool than wheat rolls, how a baker plans the oven for a morning, and which of the two "
    "keeps better over a long weekend in a warm kitchen without a bread box?"
)


def guards(detector: Detector) -> Iterator[tuple[int, Guard]]:
    """Guards with 1, 10 and 100 scopes on the classifier's encoder; with one where it has no heads."""
    classifier = detector.classifier
    yield 1, detector.guard
    if classifier.heads is None:
        return
    head = next(iter(classifier.heads.heads.values()))
    for count in (10, 100):
        heads = type(classifier.heads)(
            classifier.heads.shape, {f"scope-{i}": copy.deepcopy(head) for i in range(count)}
        )
        shared = PromptClassifier(classifier.model, classifier.tokenizer, heads=heads)
        threshold = detector.calibration.threshold
        scopes = [ForgetScope(name=label, label=label, threshold=threshold) for label in heads.heads]
        yield (
            count,
            Guard(ECOConfig(scopes=scopes), {label: shared for label in heads.heads}, detector.guard.tokenizer),
        )


@torch.no_grad()
def cost(model: Any, guard: Guard, text: str, ids: torch.Tensor) -> Row:
    def verdict() -> object:
        return guard.inspect([text])

    def prefill() -> object:
        return model(input_ids=ids, use_cache=True)

    for _ in range(3):
        verdict(), prefill()  # warm-up
    ratios, verdicts, prefills = [], [], []
    for _ in range(COST_ROUNDS):
        pairs = [(seconds(verdict), seconds(prefill)) for _ in range(COST_REPEATS)]
        verdicts.append(statistics.median(pair[0] for pair in pairs))
        prefills.append(statistics.median(pair[1] for pair in pairs))
        ratios.append(verdicts[-1] / prefills[-1])
    return {
        "ratio": round(statistics.median(ratios), 3),
        "ratio min": round(min(ratios), 3),
        "ratio max": round(max(ratios), 3),
        "verdict ms": round(1000 * statistics.median(verdicts), 2),
        "prefill ms": round(1000 * statistics.median(prefills), 2),
    }


# --- The report ------------------------------------------------------------------------------------------------------


@dataclass
class Report:
    """The tables so far, printed and written as they come."""

    command: str
    protocol: str
    json_file: Path | None
    markdown_file: Path | None
    sections: list[Section] = field(default_factory=list)

    def add(self, section: Section, classifier: PromptClassifier) -> None:
        self.sections.append(section)
        tqdm.write(markdown_of(section))
        if self.json_file:
            rows = [{"table": title, **row} for title, _, rows in self.sections for row in rows]
            write(self.json_file, self.command, classifier.model, rows)
        if self.markdown_file:
            self.markdown_file.parent.mkdir(parents=True, exist_ok=True)
            self.markdown_file.write_text(self.markdown(), encoding="utf-8")

    def markdown(self) -> str:
        head = f"# Detection\n\n    {self.command}\n\n{self.protocol}\n"
        return "\n".join([head, *map(markdown_of, self.sections)])


def markdown_of(section: Section) -> str:
    title, note, rows = section
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(cell(row.get(column)) for column in columns) for row in rows]
    return "\n".join([f"## {title}", "", *([note, ""] if note else []), *(f"| {line} |" for line in lines), ""])


def cell(value: object) -> str:
    if isinstance(value, dict):
        return f"{value['rate']:.3f} [{value['low']:.3f}, {value['high']:.3f}] of {value['n']}"
    return "–" if value is None else str(value).replace("|", "\\|")


def protocol_of(sizes: Sizes, arguments: argparse.Namespace) -> str:
    people = (
        f"Up to {sizes.questions} questions per person, {CALIBRATION_SHARE:.0%} of them for calibration; "
        f"{sizes.general} general prompts for training, {sizes.general} for calibration, the rest for the test. "
        "Probes, neighbours and the general prompts of the test are seen in neither. "
    )
    return (
        f"Encoder {arguments.encoder}, seed {arguments.seed}. {people if arguments.directory else ''}The threshold is "
        f"calibrated at max_fpr={sizes.max_fpr}. A cell is the share flagged, [its {CONFIDENCE:.0%} Clopper-Pearson "
        "interval], and of how many."
    )


def arguments_of(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path, help="the probe files")
    parser.add_argument("--general", type=Path, help="general prompts, rows of {query}; needed with a directory")
    parser.add_argument("--documents", action="store_true", help="train on passages.jsonl as well")
    parser.add_argument("--no-attacks", action="store_true", help="leave out the attacks, which take longest")
    parser.add_argument("--probes-per-attack", type=int, help="probes under each attack; all if not given")
    parser.add_argument("--general-per-attack", type=int, default=60, help="general prompts under each attack")
    parser.add_argument("--long", type=int, default=40, help="prompts under an attack that makes them long")
    parser.add_argument("--leave-out-people", action="store_true", help="train on each half of the people as well")
    parser.add_argument("--leave-out-attacks", action="store_true", help="show what parts of the recipe do")
    parser.add_argument("--cost", action="store_true", help="time verdicts against the model's prefill")
    parser.add_argument("--tofu", type=Path, help="a directory with TOFU's forget, retain90 and general files")
    parser.add_argument("--encoder", default=MINILM, help="text encoder, a path or Hub id")
    parser.add_argument(
        "--model", default=SMOLLM2, help="the model whose tokenizer reads chats and whose prefill counts"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the splits and the training")
    parser.add_argument("--quick", action="store_true", help="few prompts and attacks: shows that all works, no more")
    parser.add_argument("--output-dir", type=Path, help="keep the trained classifiers here, and use those that are")
    parser.add_argument("--json", type=Path, help="write the tables here as well")
    parser.add_argument("--markdown", type=Path, help="and here")
    arguments = parser.parse_args(argv)
    if arguments.directory is None and arguments.tofu is None:
        parser.error("give a directory of probe files, or --tofu")
    if arguments.directory is not None and arguments.general is None:
        parser.error("a directory of probe files takes --general")
    if arguments.cost and arguments.directory is None:
        parser.error("--cost takes a directory of probe files")
    return arguments


def measure(arguments: argparse.Namespace, sizes: Sizes, workshop: Workshop, report: Report) -> None:
    """All tables of a directory of probe files."""
    probes = Probes.read(arguments.directory)
    forget = split_questions(probes, sizes, workshop.seed)
    ours = [row["query"] for row in (*probes.probes, *probes.neighbours, *probes.questions)]
    general = split_general(arguments.general, sizes, workshop.seed, ours)
    options = beside_questions(probes, arguments.documents)
    detector = workshop.detector("default", forget, general, **options)
    report.add(setup(detector, forget, general), detector.classifier)
    for section in main_sections(detector, probes, general.test, arguments.documents):
        report.add(section, detector.classifier)
    level2 = [row["query"] for row in probes.probes if level(row) == "level2"]
    attacking = Attacking(level2 or [row["query"] for row in probes.probes], general.test, sizes, workshop.seed)
    if not arguments.no_attacks:
        for section in attack_sections(detector, attacking):
            report.add(section, detector.classifier)
    if arguments.leave_out_people:
        halves = halves_section(workshop, probes, general, sizes, arguments.documents)
        report.add(halves, detector.classifier)
    if arguments.leave_out_attacks:
        for section in ablation_sections(workshop, detector, forget, general, probes, attacking, **options):
            report.add(section, detector.classifier)
    if arguments.cost:
        report.add(cost_section(detector, resolve(arguments.model)), detector.classifier)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = arguments_of(argv)
    given = sys.argv[1:] if argv is None else argv
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    sizes = (
        QUICK
        if arguments.quick
        else Sizes(
            probes=arguments.probes_per_attack, general_per_attack=arguments.general_per_attack, long=arguments.long
        )
    )
    protocol = protocol_of(sizes, arguments)
    command = f"python benchmarks/detection.py {shlex.join(given)}"
    report = Report(command, protocol, arguments.json, arguments.markdown)
    print(protocol, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        directory = arguments.output_dir or Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        tokenizer = AutoTokenizer.from_pretrained(resolve(arguments.model))
        workshop = Workshop(directory, arguments.encoder, tokenizer, sizes.max_fpr, arguments.seed)
        if arguments.directory:
            measure(arguments, sizes, workshop, report)
        if arguments.tofu:
            report.add(*tofu_section(workshop, arguments.tofu, arguments.quick))


if __name__ == "__main__":
    main()
