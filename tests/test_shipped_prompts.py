"""The prompts, paragraphs and names that come with hf_eco can be read, differ from one another and name no scope of
the demo's."""

from __future__ import annotations

import importlib.resources
import json
import re
import unicodedata
from collections import Counter
from typing import Any

import pytest

from hf_eco.io.prompt_files import read_prompts

DATA = importlib.resources.files("hf_eco") / "data"
PROMPTS, PARAGRAPHS, NAMES = "general/prompts.jsonl", "general/paragraphs.jsonl", "names.json"
FILES = [PROMPTS, PARAGRAPHS, NAMES]
# Persian words are written with zero-width non-joiners, code and tables with line breaks.
WANTED_CONTROLS = {"\n", "\u200c"}


def _rows(file: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / file).read_text(encoding="utf-8").splitlines()]


def _names() -> dict[str, list[str]]:
    names: dict[str, Any] = json.loads((DATA / NAMES).read_text(encoding="utf-8"))
    return names


def _texts(file: str) -> list[str]:
    if file == NAMES:
        return [name for names in _names().values() for name in names]
    return [row["prompt" if file == PROMPTS else "text"] for row in _rows(file)]


def _repeated(texts: list[str]) -> list[str]:
    folded = Counter(" ".join(text.casefold().split()) for text in texts)
    return [text for text, count in folded.items() if count > 1]


@pytest.mark.parametrize("file", FILES)
def test_the_files_are_part_of_the_package(file: str) -> None:
    assert (DATA / file).is_file()


@pytest.mark.parametrize(("file", "column"), [(PROMPTS, "prompt"), (PARAGRAPHS, "text")])
def test_every_line_holds_a_text_and_its_kind_and_nothing_else(file: str, column: str) -> None:
    for row in _rows(file):
        assert row.keys() == {column, "kind"}
        assert row[column] == row[column].strip() != ""
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", row["kind"])


@pytest.mark.parametrize("file", [PROMPTS, PARAGRAPHS])
def test_the_files_are_read_like_a_user_s_own(file: str) -> None:
    with importlib.resources.as_file(DATA / file) as path:
        assert read_prompts(path) == _texts(file)


@pytest.mark.parametrize("file", [PROMPTS, PARAGRAPHS])
def test_no_text_is_there_twice(file: str) -> None:
    assert not _repeated(_texts(file))


def test_no_name_is_in_its_list_twice() -> None:
    for names in _names().values():
        assert not _repeated(names)


@pytest.mark.parametrize("file", FILES)
def test_no_text_holds_stray_control_characters(file: str) -> None:
    for text in _texts(file):
        controls = {character for character in text if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co")}
        assert controls <= WANTED_CONTROLS, text


@pytest.mark.parametrize("file", FILES)
def test_the_demo_s_scope_is_no_subject_of_them(file: str) -> None:
    scope = re.compile(r"\bharry\b|\bpotter\b|hogwarts|rowling|voldemort|hermione|dumbledore|quidditch", re.IGNORECASE)
    assert not [text for text in _texts(file) if scope.search(text)]


def test_general_prompts_are_many_and_no_kind_outweighs_the_rest() -> None:
    kinds = Counter(row["kind"] for row in _rows(PROMPTS))
    assert kinds.total() >= 1_400
    assert len(kinds) >= 20
    assert min(kinds.values()) >= 10
    assert max(kinds.values()) <= kinds.total() / 6


def test_general_prompts_range_from_a_word_to_a_page_and_over_many_scripts() -> None:
    prompts = _texts(PROMPTS)
    lengths = [len(prompt.split()) for prompt in prompts]
    assert sum(length <= 3 for length in lengths) >= 50
    assert sum(length >= 60 for length in lengths) >= 40
    assert max(lengths) >= 200
    letters = {unicodedata.name(character, "").split(" ")[0] for prompt in prompts for character in prompt}
    assert letters >= {"LATIN", "GREEK", "CYRILLIC", "CJK", "HIRAGANA", "HANGUL", "ARABIC", "DEVANAGARI"}


def test_paragraphs_are_short_enough_to_pad_a_prompt_with() -> None:
    rows = _rows(PARAGRAPHS)
    assert len(rows) >= 140
    assert len({row["kind"] for row in rows}) >= 30
    assert all(len(row["text"]) <= 1_000 for row in rows)
    words = [len(row["text"].split()) for row in rows if row["text"].isascii()]
    assert len(words) >= 60
    assert min(words) >= 45
    assert max(words) <= 150


def test_names_of_every_sort_are_enough_to_swap_from() -> None:
    least = {"people": 600, "first": 300, "last": 400, "works": 300, "organisations": 100, "places": 200}
    names = _names()
    assert names.keys() == least.keys()
    for sort, count in least.items():
        assert len(names[sort]) >= count, sort
        assert all(name == name.strip() != "" for name in names[sort])
    assert all(" " not in name for name in names["first"] + names["last"])
    # Full names are what a full name is swapped for; a few people go by one.
    assert sum(" " in name for name in names["people"]) >= 0.95 * len(names["people"])
