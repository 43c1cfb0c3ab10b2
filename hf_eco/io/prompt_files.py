"""Reading a user's prompts, and questions with their answers, from files and data sets."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cells import (
    ANSWER_COLUMNS,
    CHAT_COLUMNS,
    PROMPT_COLUMNS,
    WRONG_COLUMNS,
    Values,
    column_in,
    has_column,
    is_missing,
    prompt_of,
    text_of,
    texts_of,
)
from .rows import KINDS, ROW_FILES, rows_of
from .text_files import check_unicode, kind_of, read_lines

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PromptSource:
    """Where prompts are, and what they are called there.

    Attributes:
        path: a file, a directory with a data set, or the id of one on the Hub.
        column: of the prompts. None: the first of prompt, question, query, instruction, text, messages and
            conversations that there is.
        answer: the column of the answers. None: the first of answer, labels, gt, response and output.
        wrong: the column of the lists of wrong answers. None: perturbed_answer.
        config: the data set's configuration. None: the only or default one.
        split: its split. None: the only one, or train.
    """

    path: str
    column: str | None = None
    answer: str | None = None
    wrong: str | None = None
    config: str | None = None
    split: str | None = None

    @classmethod
    def parse(cls, text: str) -> PromptSource:
        """What a command line says: `PATH[,column=C][,answer=C][,wrong=C][,config=C][,split=S]`.

        Raises:
            ValueError: something else is said of the path, something twice, or nothing.
        """
        path, *said = re.split(r",(?=\w+=)", text)
        if Path(text).exists():  # commas are a part of its name
            path, said = text, []
        given: dict[str, str] = {}
        for name, _, value in (each.partition("=") for each in said):
            if name not in ("column", "answer", "wrong", "config", "split") or name in given or not value:
                raise ValueError(
                    f"{text!r} says {name}={value}. Use {path}, and each at most once: ,column=... ,answer=... "
                    ",wrong=... ,config=... ,split=..."
                )
            given[name] = value
        if not path:
            raise ValueError(f"{text!r} names no file. Write e.g. prompts.jsonl,column=question.")
        return cls(path, **given)

    def prompts(self) -> list[str]:
        """The prompts, see [`read_prompts`][hf_eco.io.read_prompts]."""
        return read_prompts(self.path, column=self.column, config=self.config, split=self.split)

    def questions(self, *, needs_wrong: bool = False) -> list[Question]:
        """The questions with their answers, see `read_questions`."""
        return read_questions(
            self.path,
            column=self.column,
            answer_column=self.answer,
            wrong_column=self.wrong,
            config=self.config,
            split=self.split,
            needs_wrong=needs_wrong,
        )

    def check_not_said(self, *names: str) -> None:
        """Raises ValueError if something was said that would be ignored."""
        if given := [name for name in names if getattr(self, name) is not None]:
            raise ValueError(f"Of {self.path!r}, {' and '.join(given)} would be ignored. Leave it out.")


@dataclass(frozen=True)
class Question:
    """A question with its answers.

    Attributes:
        prompt: the question.
        answer: the right answer.
        paraphrased: the same in other words; the answer itself where the row has no others.
        wrong: wrong answers.
    """

    prompt: str
    answer: str
    paraphrased: str
    wrong: tuple[str, ...] = ()


def read_prompts(
    source: str | os.PathLike[str], *, column: str | None = None, config: str | None = None, split: str | None = None
) -> list[str]:
    """The prompts in a file or a data set. What holds nothing (an empty line; a cell with None, NaN or white space) is
    no prompt.

    Args:
        source: a .txt file (one prompt per line); a .jsonl or .json file (objects, or strings), a .csv or .tsv file
            with a header, or a .parquet file; all but the last also packed (.gz). Or the id of a data set on the Hub,
            or a directory that holds one.
        column: the field that holds the prompt, a text or a chat of one turn, of which the user's message is taken.
            None: the first of prompt, question, query, instruction, text, messages and conversations.
        config: the data set's configuration. None: the only or default one.
        split: its split. None: the only one, or train.

    Raises:
        OSError: there is no such file or data set.
        ValueError: it is empty, is not text, or lacks the column, the configuration or the split.
        ImportError: datasets is missing, and `source` is a data set; or pyarrow, and it is a .parquet file.
    """
    path = Path(source)
    if path.is_file():
        _refuse_for_file(path, config=config, split=split)
    if path.is_file() and kind_of(path) == ".txt":
        _refuse_for_file(path, column=column)
        prompts = [check_unicode(line, f"{str(path)!r}") for line in read_lines(path) if line.strip()]
    elif path.is_file() and kind_of(path) not in ROW_FILES:
        raise ValueError(f"{str(source)!r} is of no known kind. Use .txt, {KINDS}.")
    else:
        prompts = list(_prompts_in_rows(source, column, config, split))
    if not prompts:
        raise ValueError(f"{str(source)!r} holds no prompts.")
    return prompts


def read_questions(
    source: str | os.PathLike[str],
    *,
    column: str | None = None,
    answer_column: str | None = None,
    wrong_column: str | None = None,
    config: str | None = None,
    split: str | None = None,
    needs_wrong: bool = False,
) -> list[Question]:
    """The questions in a file or a data set, with their answers.

    Args:
        source: as for `read_prompts`; a .txt file has no answers.
        column: as for `question_of`.
        answer_column: as for `question_of`.
        wrong_column: as for `question_of`.
        config: as for `read_prompts`.
        split: as for `read_prompts`.
        needs_wrong: as for `question_of`.

    Raises:
        OSError: there is no such file or data set.
        ValueError: it is empty, is not text, lacks a column, the configuration or the split, or a row lacks its
            answer.
        ImportError: as `read_prompts`.
    """
    if Path(source).is_file():
        _refuse_for_file(Path(source), config=config, split=split)
    if kind_of(Path(source)) == ".txt":
        raise ValueError(f"{str(source)!r} holds prompts alone. Use {KINDS}, with a column of answers.")
    questions = [
        question_of(
            row,
            where,
            column=column,
            answer_column=answer_column,
            wrong_column=wrong_column,
            needs_wrong=needs_wrong,
        )
        for where, row in rows_of(source, config=config, split=split)
    ]
    if not questions:
        raise ValueError(f"{str(source)!r} holds no questions.")
    return questions


def question_of(
    row: Values,
    where: str,
    *,
    column: str | None = None,
    answer_column: str | None = None,
    wrong_column: str | None = None,
    needs_wrong: bool = False,
) -> Question:
    """A row's question with its answers; `where` says in errors which row it is.

    Args:
        row: what a file or a data set holds.
        where: says in the error which row it is.
        column: of the question. None: as in `read_prompts`.
        answer_column: of the right answer. None: the first of answer, labels, gt, response and output.
        wrong_column: of the wrong answers, a list, or a list as text in a .csv file. None: perturbed_answer, if there
            is one.
        needs_wrong: whether there must be some.

    Raises:
        ValueError: a column is missing, or holds something else.
    """
    prompt = prompt_of(row, named := column_in(row, column, (*PROMPT_COLUMNS, *CHAT_COLUMNS), where, "column"), where)
    if prompt is None:
        raise ValueError(f"{where}: column {named!r} holds nothing, where a question is needed. Leave the row out.")
    answer = text_of(row, column_in(row, answer_column, ANSWER_COLUMNS, where, "answer"), where)
    wrong: list[str] = []
    if needs_wrong or wrong_column is not None or any(has_column(row, name) for name in WRONG_COLUMNS):
        wrong = texts_of(row, column_in(row, wrong_column, WRONG_COLUMNS, where, "wrong"), where)
    if needs_wrong and not wrong:
        raise ValueError(f"{where}: there are no wrong answers. Leave the row out.")
    own_words = has_column(row, "paraphrased_answer") and not is_missing(row["paraphrased_answer"])
    return Question(prompt, answer, text_of(row, "paraphrased_answer", where) if own_words else answer, tuple(wrong))


def _prompts_in_rows(
    source: str | os.PathLike[str], column: str | None, config: str | None, split: str | None
) -> Iterator[str]:
    missing = 0
    for where, row in rows_of(source, config=config, split=split):
        prompt = _prompt_in(row, column, where)
        if prompt is not None:
            yield prompt
        missing += prompt is None
    if missing:
        logger.warning(f"{missing} rows of {str(source)!r} hold no prompt and are left out.")


def _prompt_in(row: Any, column: str | None, where: str) -> str | None:
    if isinstance(row, str):
        return check_unicode(row, where) if row.strip() else None
    return prompt_of(row, column_in(row, column, (*PROMPT_COLUMNS, *CHAT_COLUMNS), where, "column"), where)


def _refuse_for_file(path: Path, **options: str | None) -> None:
    """Raises ValueError if something was said that a file does not have."""
    for name, value in options.items():
        if value is not None:
            what = {"config": "configuration", "split": "split"}.get(name, name)
            raise ValueError(f"{str(path)!r} is a {kind_of(path)} file and has no {what} {value!r}. Leave {name} out.")
