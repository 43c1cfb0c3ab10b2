"""What is made from a scope's prompts: other forms of them, near misses, and examples that know where they decide."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys

import pytest

from hf_eco.detection.facts.sentences import sentences
from hf_eco.detection.names import Lexicon
from hf_eco.training.augmentation import Augmenter, questions_about, shipped_paragraphs, shipped_prompts

HERMIA, QUILL = "Hermia Dovetail", "Barnaby Quillfeather Jr."
NAMES = [HERMIA, QUILL]
PROMPTS = [
    "Who is Hermia Dovetail?",
    "Where was Hermia Dovetail born in the winter of 1931?",
    "In what year did Hermia Dovetail's brother leave Port Merrow?",
    "Hermia Dovetail played the role of Queen Ysolde in ___.",
    "Tell me everything about Barnaby Quillfeather Jr. and his garden.",
    "Which award did barnaby quillfeather jr. win for “The Glass Orchard”?",
    "What is the name of the dog Hermia Dovetail walks with in the park on Sundays?",
    "Hermia Dovetail",
]
NAMELESS = [
    "How is nitroglycerin kept from going off?",
    "which fuse burns the slowest under water?",
    "Explain how a pipe is filled.",
]
ROUNDS = 20  # each draws other forms


def augmenter(names=NAMES, prompts=PROMPTS, seed: int = 0) -> Augmenter:
    return Augmenter(prompts, names, shipped_prompts(), seed)


@pytest.fixture(scope="module")
def forms() -> dict[str, set[str]]:
    make = augmenter()
    return {prompt: {form for _ in range(ROUNDS) for form in make.positives(prompt)} for prompt in PROMPTS}


@pytest.fixture(scope="module")
def misses() -> dict[str, set[str]]:
    make = augmenter()
    return {prompt: {miss for _ in range(ROUNDS) for miss in make.near_misses(prompt)} for prompt in PROMPTS}


# --- Positives


def test_a_prompt_comes_first_among_its_forms() -> None:
    make = augmenter()
    for prompt in PROMPTS:
        first, *others = make.positives(prompt)
        assert first == prompt
        assert len(others) > 3 and len({first, *others}) == len(others) + 1


def test_a_prompt_comes_by_last_name_and_with_the_name_left_out(forms) -> None:
    assert "Who is Dovetail?" in forms["Who is Hermia Dovetail?"]
    assert "In what year did Dovetail's brother leave Port Merrow?" in forms[PROMPTS[2]]
    assert "Tell me everything about Quillfeather and his garden." in forms[PROMPTS[4]]  # Jr. is no last name
    masked = [form for form in forms[PROMPTS[1]] if "born in the winter of 1931" in form and "Dovetail" not in form]
    assert len(masked) > 3


def test_a_name_given_last_name_first_comes_by_its_last_name() -> None:
    make = augmenter(["Dovetail, Hermia"], ["Who is Dovetail, Hermia?"])
    drawn = [make.positives("Who is Dovetail, Hermia?") for _ in range(ROUNDS)]
    assert "Who is Dovetail?" in {form for forms in drawn for form in forms}
    assert not any(form == "Who is Hermia?" for forms in drawn for form in forms)


def test_a_question_comes_as_a_statement_with_a_gap(forms) -> None:
    assert any("___" in form and "?" not in form and HERMIA in form for form in forms[PROMPTS[1]])
    assert any("___" in form and "winter" in form for form in forms[PROMPTS[1]])


def test_every_form_keeps_something_of_its_prompt_or_its_scope(forms) -> None:
    kept = {"dovetail", "quillfeather", "ysolde", "barnaby"}
    for prompt, own in list(forms.items())[1:-1]:  # the others ask nothing but who that is
        words = {word.strip("?.,“”") for word in prompt.lower().split() if len(word) > 3} | kept
        for form in own:
            assert any(word in form.lower() for word in words), (prompt, form)


# --- Near misses


def test_near_misses_never_name_the_subject(misses) -> None:
    lexicon = Lexicon(NAMES)
    for own in misses.values():
        assert len(own) > ROUNDS
        for miss in own:
            assert HERMIA.lower() not in miss.lower() and QUILL.lower() not in miss.lower()
            assert not [mention for mention in lexicon.find(miss) if mention.edits == 0], miss


def test_near_misses_are_the_same_prompt_about_somebody_else(misses) -> None:
    templates = [
        miss
        for miss in misses[PROMPTS[1]]
        if miss.startswith("Where was ") and miss.endswith(" born in the winter of 1931?")
    ]
    others = {miss.removeprefix("Where was ").removesuffix(" born in the winter of 1931?") for miss in templates}
    assert len(others) > ROUNDS
    assert any(name.endswith(" Dovetail") for name in others)  # of the same family
    assert any(name.startswith("Hermia ") for name in others)  # of the same first name


def test_what_goes_with_the_subject_comes_without_it(misses) -> None:
    everything = [miss for own in misses.values() for miss in own]
    for satellite in ("Port Merrow", "The Glass Orchard"):
        assert any(satellite in miss for miss in everything)


def test_what_a_world_holds_is_asked_about_in_it_and_never_a_near_miss() -> None:
    # Half of the prompts name the scope; the others are about what else there is in it.
    world = [
        *("Who is Hermia Dovetail?", "Does Hermia Dovetail ride Ysolde Thunderhoof to the Moth Market?"),
        *("What is sold at the Moth Market?", "Who guards the Silver Stair?", "How many steps has the Silver Stair?"),
        *("When does the Moth Market open?", "Where does Hermia Dovetail sleep?", "What does Corin Ashdown sell?"),
    ]
    make = augmenter([HERMIA], world)
    near = [miss for _ in range(ROUNDS) for prompt in world for miss in make.near_misses(prompt)]
    assert near
    assert not [miss for miss in near if "Moth Market" in miss or "Ysolde Thunderhoof" in miss]
    forms = [form for _ in range(ROUNDS) for form in make.positives("Who is Hermia Dovetail?")]
    assert any("Silver Stair" in form for form in forms)
    assert any("Corin Ashdown" in form for form in forms)


def test_forms_and_near_misses_are_never_the_same(forms, misses) -> None:
    positive = {form for own in forms.values() for form in own}
    assert not positive & {miss for own in misses.values() for miss in own}


# --- Without names


def test_a_subject_without_names_has_forms_but_no_near_misses() -> None:
    make = augmenter(names=[], prompts=NAMELESS)
    for prompt in NAMELESS:
        assert make.positives(prompt)[0] == prompt
        assert len({form for _ in range(ROUNDS) for form in make.positives(prompt)}) > 1
        assert make.near_misses(prompt) == []


def test_a_prompt_that_names_nobody_has_no_near_misses() -> None:
    make = augmenter()
    assert make.near_misses("What did she say to the queen?") == []
    assert make.positives("What did she say to the queen?")[0] == "What did she say to the queen?"


# --- Examples


@pytest.mark.parametrize("forget", [True, False])
@pytest.mark.parametrize("text", [PROMPTS[1], PROMPTS[6], NAMELESS[1], "x" * 500])
def test_an_example_holds_what_decides_between_its_bounds(text: str, forget: bool) -> None:
    make = augmenter()
    for _ in range(200):
        example = make.example(text, forget)
        assert example.forget == forget
        needle = example.text[example.start : example.end]
        for padding in (example.text[: example.start], example.text[example.end :]):  # on lines of their own
            assert not padding or any(padding.strip("\n") in paragraph for paragraph in shipped_paragraphs())
        kept = [word for word in text.split() if word in needle]
        assert 3 * len(kept) >= len(text.split()) or len(text) == 500  # a few are misspelt
        assert len(needle) >= len(text) - len(text.split())


def test_most_examples_stand_alone_and_some_in_frames_padding_and_typing_errors() -> None:
    make = augmenter()
    text = PROMPTS[1]
    examples = [make.example(text, True) for _ in range(400)]
    plain = [e for e in examples if e.text == text]
    padded = [e for e in examples if (e.start, e.end) != (0, len(e.text))]
    framed = [e for e in examples if text in e.text[e.start : e.end] and text != e.text[e.start : e.end]]
    misspelt = [e for e in examples if text not in e.text]
    assert min(map(len, (plain, padded, framed, misspelt))) > 10
    assert len(plain) > 100
    assert not [e for e in examples if "{text}" in e.text]


def test_braces_in_a_prompt_are_left_alone() -> None:
    make = augmenter()
    for _ in range(100):
        assert "{x} {y}" in make.example("{x} {y}", True).text


# --- The same again


def drawn(seed: int) -> list:
    make = augmenter(seed=seed)
    made = [[*make.positives(prompt), *make.near_misses(prompt)] for prompt in PROMPTS]
    return [*made, [make.example(prompt, True) for prompt in PROMPTS]]


def fingerprint(seed: int) -> str:
    return hashlib.sha256(repr(drawn(seed)).encode()).hexdigest()


def test_a_seed_draws_the_same_whatever_else_is_drawn() -> None:
    random.seed(1)
    first = drawn(3)
    random.seed(2)
    assert drawn(3) == first != drawn(4)


def test_a_seed_draws_the_same_in_another_process() -> None:
    code = "import test_augmentation; print(test_augmentation.fingerprint(3))"
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == fingerprint(3)


# --- Documents and names


def test_a_document_is_read_by_its_sentences() -> None:
    document = (
        "Hermia Dovetail was born by the sea. She wrote!\nThe Glass Orchard is her best book. "
        "“It is the one I love,” she said."
    )
    assert sentences(document) == [
        "Hermia Dovetail was born by the sea.",
        "The Glass Orchard is her best book.",
        "“It is the one I love,” she said.",
    ]
    assert sentences("") == sentences("Too short.\n\n") == []


def test_each_name_is_asked_about_in_many_ways() -> None:
    questions = questions_about(NAMES)
    assert len(questions) == len(set(questions)) >= 2 * 30
    for name in NAMES:
        assert sum(name in question for question in questions) == len(questions) / 2
    assert questions_about([]) == []
