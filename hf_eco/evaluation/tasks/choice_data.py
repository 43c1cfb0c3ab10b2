"""Well-known multiple-choice data sets: where they are on the Hub, and what their columns are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...io.cells import Values, is_missing, texts_of, value_of
from ...io.text_files import check_unicode


@dataclass(frozen=True)
class ChoiceData:
    """How to read a multiple-choice data set. Columns within columns are named with a point: "choices.text".

    Attributes:
        source: path or Hub id.
        config: the configuration on the Hub.
        split: the split on the Hub. None: the only one, or train.
        question: a column, or several in a text: "{passage} {question}".
        choices: a column that holds a list, or a column for each option.
        options: the options themselves, where all questions have the same; `choices` is not read then.
        answer: a column with the right option's number, its letter, its label, or a list of 0 and a single 1.
        labels: a column with the options' labels, where `answer` holds one of them.
        first: the number of the first option, where `answer` holds numbers.
    """

    source: str
    config: str | None = None
    split: str | None = "test"
    question: str = "question"
    choices: str | Sequence[str] = "choices"
    options: Sequence[str] = ()
    answer: str = "answer"
    labels: str | None = None
    first: int = 0


def _labelled(source: str, config: str | None = None, split: str = "test", question: str = "question") -> ChoiceData:
    """A data set whose options have labels beside them."""
    return ChoiceData(source, config, split, question, "choices.text", answer="answerKey", labels="choices.label")


KNOWN: dict[str, ChoiceData] = {
    "wmdp-bio": ChoiceData("cais/wmdp", "wmdp-bio"),
    "wmdp-chem": ChoiceData("cais/wmdp", "wmdp-chem"),
    "wmdp-cyber": ChoiceData("cais/wmdp", "wmdp-cyber"),
    "mmlu": ChoiceData("cais/mmlu", "all"),  # config: one of its 57 subjects
    "arc-easy": _labelled("allenai/ai2_arc", "ARC-Easy"),
    "arc-challenge": _labelled("allenai/ai2_arc", "ARC-Challenge"),
    "openbookqa": _labelled("allenai/openbookqa", "main", question="question_stem"),
    "commonsenseqa": _labelled("tau/commonsense_qa", split="validation"),
    "piqa": ChoiceData("ybisk/piqa", split="validation", question="goal", choices=("sol1", "sol2"), answer="label"),
    "hellaswag": ChoiceData("Rowan/hellaswag", split="validation", question="ctx", choices="endings", answer="label"),
    "winogrande": ChoiceData(
        "allenai/winogrande",
        "winogrande_xl",
        "validation",
        question="What belongs in the gap? {sentence}",
        choices=("option1", "option2"),
        first=1,
    ),
    "truthfulqa": ChoiceData(
        "truthfulqa/truthful_qa",
        "multiple_choice",
        "validation",
        choices="mc1_targets.choices",
        answer="mc1_targets.labels",
    ),
    "boolq": ChoiceData("google/boolq", split="validation", question="{passage}\n{question}?", options=("no", "yes")),
    "socialiqa": ChoiceData(
        "allenai/social_i_qa",
        split="validation",
        question="{context} {question}",
        choices=("answerA", "answerB", "answerC"),
        answer="label",
        first=1,
    ),
}


@dataclass(frozen=True)
class ChoiceRow:
    """A question, its options, and which of them is right, from 0."""

    question: str
    options: tuple[str, ...]
    answer: int


def read_choice(data: ChoiceData, row: Values, where: str) -> ChoiceRow:
    """One row of a data set.

    Raises:
        ValueError: a column is missing, there are fewer than two options, one is blank, or the right one is none of
            them; `where` says in the error which row it is.
    """
    pattern = data.question if "{" in data.question else "{" + data.question + "}"
    question = re.sub(r"\{([^{}]+)\}", lambda match: _shown(row, match[1], where), pattern)
    if data.options:
        options: list[Any] = list(data.options)
    elif isinstance(data.choices, str):
        options = texts_of(row, data.choices, where)
    else:
        options = [value_of(row, column, where) for column in data.choices]
    if len(options) < 2 or not all(isinstance(option, str) and option.strip() for option in options):
        raise ValueError(f"{where}: the options must be two texts at least, got {options!r}.")
    given = value_of(row, data.answer, where)
    labels = texts_of(row, data.labels, where) if data.labels is not None else None
    answer = _index(given, labels, data.first)
    if answer is None or not 0 <= answer < len(options):
        raise ValueError(f"{where}: the right answer {given!r} is none of the {len(options)} options {options!r}.")
    return ChoiceRow(question, tuple(options), answer)


def _shown(row: Values, column: str, where: str) -> str:
    """What stands in a column of a question, a text or a number."""
    value = value_of(row, column, where)
    if is_missing(value):
        raise ValueError(f"{where}: column {column!r} holds nothing, where a part of the question is needed.")
    return check_unicode(str(value), f"{where}: column {column!r}")


def _index(given: Any, labels: list[str] | None, first: int) -> int | None:
    """Which option is meant; None if none is."""
    if labels is not None:
        return labels.index(given) if given in labels else None
    if isinstance(given, (list, tuple)):
        return list(given).index(1) if list(given).count(1) == 1 else None
    if isinstance(given, str):
        text = given.strip()
        if re.fullmatch(r"\d+", text):
            return int(text) - first
        return ord(text.upper()) - ord("A") if re.fullmatch("[A-Za-z]", text) else None
    return int(given) - first if isinstance(given, (bool, int)) else None
