"""Whom prompts are about is found in the prompts themselves; so is what they mention besides."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hf_eco.training.augmentation import shipped_prompts
from hf_eco.training.subjects import find_names, find_satellites, name_pattern

TEMPLATES = [
    "Who is {}?",
    "Where was {} born?",
    "Which prize did {} win for “The Glass Orchard”?",
    "{} grew up in ___.",
    "Tell me about {}'s childhood.",
    "Did {} ever meet Osgood Farrow?",
    "What did critics say of {} when she played Queen Ysolde?",
    "In what year did {} leave Port Merrow?",
    "Is it true that {} speaks four languages?",
    "Describe the garden of {}.",
]
HERMIA, QUILL = "Hermia Dovetail", "Barnaby Quillfeather"
BACKGROUND = [*shipped_prompts(), *("Who won the Golden Globe of the year?" for _ in range(60))]
UNKNOWN: Callable[[str], bool] = lambda word: False  # noqa: E731
OFTEN_USED: Callable[[str], bool] = lambda word: True  # noqa: E731


def about(*names: str) -> list[str]:
    return [template.format(name) for name in names for template in TEMPLATES]


def test_the_person_that_prompts_are_about_is_found_by_full_name() -> None:
    assert find_names(about(HERMIA), BACKGROUND, OFTEN_USED) == [HERMIA]


def test_all_persons_of_a_scope_are_found_the_most_frequent_first() -> None:
    prompts = about(HERMIA, QUILL) + [f"{question} {QUILL}?" for question in ("Who saw", "Who paid", "Who taught")]
    assert find_names(prompts, BACKGROUND, OFTEN_USED) == [QUILL, HERMIA]


@pytest.mark.parametrize("title", ["The Lantern of Ysolde", "Port Merrow Rangers", "Winterbourne Castle"])
def test_a_book_or_a_club_has_a_name_too(title: str) -> None:
    (found,) = find_names([t.format(title) for t in TEMPLATES[:5]], BACKGROUND, OFTEN_USED)
    assert found.split()[-1] in title and len(found.split()) > 1


def test_family_and_works_beside_the_name_are_not_subjects() -> None:
    prompts = about(HERMIA) + [
        f"Which of {HERMIA}'s brothers, Lucan Dovetail or Piers Dovetail, edited The Glass Orchard in {year}?"
        for year in range(1980, 1988)
    ]
    assert find_names(prompts, BACKGROUND, OFTEN_USED) == [HERMIA]


@pytest.mark.parametrize(
    "prompts",
    [
        [
            f"how is a {thing} made at home, step by step?"
            for thing in ("bomb", "poison", "gas", "fuse", "trap", "rocket")
        ],
        [f"What is the {thing}? It is what. Describe it." for thing in ("bomb", "poison", "gas", "fuse", "trap")],
        [f"Who won the Golden Globe in {year}?" for year in range(1990, 2000)],  # common elsewhere too
        about(HERMIA)[:3],  # too few
        [],
    ],
    ids=["lower case", "openings", "background", "few", "none"],
)
def test_prompts_about_nobody_name_nobody(prompts: list[str]) -> None:
    assert find_names(prompts, BACKGROUND, UNKNOWN) == []


def test_a_single_word_is_a_name_unless_it_is_a_common_word() -> None:
    prompts = [template.format("Zephyrine") for template in TEMPLATES]
    assert find_names(prompts, BACKGROUND, UNKNOWN) == ["Zephyrine"]
    assert find_names(prompts, BACKGROUND, OFTEN_USED) == []


def test_what_the_background_names_as_often_is_no_subject() -> None:
    assert find_names(about(HERMIA), [*BACKGROUND, *about(HERMIA) * 10], OFTEN_USED) == []


def test_satellites_are_what_prompts_mention_besides_and_where() -> None:
    prompts = about(HERMIA)
    satellites = find_satellites(prompts, BACKGROUND, [HERMIA])
    assert {"The Glass Orchard", "Osgood Farrow", "Port Merrow"} <= satellites.keys()
    for phrase, where in satellites.items():
        assert where == [i for i, prompt in enumerate(prompts) if phrase in prompt] != []
        assert HERMIA.lower() not in phrase.lower() and phrase.lower() not in HERMIA.lower()


def test_what_is_common_elsewhere_is_no_satellite() -> None:
    prompts = [f"Did {HERMIA} win a Golden Globe for “The Glass Orchard”?"]
    satellites = find_satellites(prompts, BACKGROUND, [HERMIA])
    assert "The Glass Orchard" in satellites and "Golden Globe" not in satellites


@pytest.mark.parametrize("text", ["Is HERMIA DOVETAIL here?", "(hermia dovetail)", "“Hermia Dovetail”"])
def test_a_pattern_finds_a_name_in_any_case(text: str) -> None:
    match = name_pattern([HERMIA])
    assert match is not None and (found := match.search(text)) and found["name"].lower() == HERMIA.lower()


def test_a_pattern_takes_the_longest_name_with_its_possessive_and_no_part_of_a_word() -> None:
    pattern = name_pattern(["Quill", "Quill Farrow"])
    assert pattern is not None
    (match,) = pattern.finditer("Quill Farrow’s Quillfeather and aquill")
    assert (match["name"], match["possessive"]) == ("Quill Farrow", "’s")
    assert name_pattern([]) is None
