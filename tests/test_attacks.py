"""What an attack promises: another text that still holds the question, the same everywhere, whatever the prompt."""

from __future__ import annotations

import ast
import base64
import codecs
import csv
import html
import json
import os
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable
from difflib import SequenceMatcher
from urllib.parse import unquote

import pytest
from attacks import as_messages, as_text, attack, attacks, families
from hypothesis import example, given, settings
from hypothesis import strategies as st

FAMILIES = [
    "case", "typos", "homoglyphs", "zero-width", "spacing", "leet", "punctuation", "encodings", "jailbreak", "padding",
    "multi-turn", "role-play", "formats", "languages",
]  # fmt: skip
PROMPT = "Which old song did Ada Quill's sister write in Port Maren, and who sang it first?"
FRAMED = ("jailbreak", "padding", "role-play", "languages")  # the prompt is in there, letter by letter
NAMES = ("Ada Quill", "Port Maren")


def of_family(family: str) -> list[str]:
    return [name for name, member in attacks().items() if member.family == family]


def letters(text: str) -> str:
    """What is left of a text without spaces."""
    return "".join(text.split())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_members_that_can_be_answered(family: str) -> None:
    members = of_family(family)
    assert len([name for name in members if attacks()[name].answerable]) >= 3
    assert all(name.startswith(f"{family}-") for name in members)


def test_families_come_in_a_fixed_order_and_every_attack_says_what_it_does() -> None:
    assert families() == FAMILIES
    for name, member in attacks().items():
        assert name == member.name
        assert member.description[0].isupper() or member.description[0].isdigit()
        assert member.description.endswith(".")
    assert max(Counter(member.description for member in attacks().values()).values()) == 1


def test_an_attack_is_the_same_in_every_process() -> None:
    code = (
        "import json, sys; from attacks import attacks; "
        "json.dump({name: a(sys.argv[1], seed=3) for name, a in attacks().items()}, sys.stdout)"
    )
    here = {name: member(PROMPT, seed=3) for name, member in attacks().items()}
    run = subprocess.run(
        [sys.executable, "-c", code, PROMPT],
        env=os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(run.stdout) == here


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("typos-swapped", "Who aws hte fisrt to cross the froezn lake?"),
        ("leet-random", "Wh0 wa5 the f1rs+ +o cros$ the frozen lak€?"),
        ("spacing-odd-splits", "Who was the f irst to c ross the f rozen lak e?"),
        ("encodings-unknown-key", "Owq ilx lwg rtwvl vn nwrkh stp ijdbdz qdct?"),
    ],
)
def test_an_attack_that_rolls_dice_is_the_same_on_every_machine(name: str, expected: str) -> None:
    assert attack("Who was the first to cross the frozen lake?", name) == expected


def test_another_seed_rolls_the_dice_anew() -> None:
    for name in ("typos-mixed", "homoglyphs-mixed", "zero-width-mixed", "spacing-exotic", "padding-both-300"):
        assert len({as_text(attack(PROMPT, name, seed)) for seed in range(5)}) == 5
    assert attack(PROMPT, "typos-mixed", 4) == attacks()["typos-mixed"](PROMPT, seed=4)


@given(prompt=st.text(max_size=80), seed=st.integers())
@example(prompt="", seed=0)
@example(prompt=" \n", seed=0)
@example(prompt="?", seed=0)
@example(prompt="a", seed=0)
@example(prompt="{prompt} \\1 \\g<0>", seed=0)
@example(prompt="one lone surrogate: \ud800", seed=0)
@settings(max_examples=40, deadline=None)
def test_any_text_can_be_attacked_and_chats_alternate(prompt: str, seed: int) -> None:
    for member in attacks().values():
        messages = as_messages(member(prompt, seed=seed))
        assert [message["role"] for message in messages] == (["user", "assistant"] * len(messages))[: len(messages)]
        assert messages[-1]["role"] == "user"
        assert all(set(message) == {"role", "content"} for message in messages)


@pytest.mark.parametrize("prompt", [PROMPT, "Who is Alba Itori?", "The tower of Maren was built by ___ in 1901."])
def test_an_attacked_prompt_differs_from_the_prompt_and_from_other_attacks(prompt: str) -> None:
    seen: dict[str, str] = {}
    for name, member in attacks().items():
        text = json.dumps(member(prompt))
        assert member(prompt) != prompt, name
        assert text not in seen, (name, seen[text])
        seen[text] = name


@pytest.mark.parametrize("family", FRAMED)
def test_a_frame_holds_the_prompt_letter_by_letter(family: str) -> None:
    rewritten = {"languages-cyrillic-script"}
    for name in of_family(family):
        assert (PROMPT in as_text(attack(PROMPT, name))) == (name not in rewritten), name


@pytest.mark.parametrize("words", [50, 300, 1500])
def test_padding_has_the_words_it_says_where_it_says(words: int) -> None:
    before, after, both, inline = (
        as_text(attack(PROMPT, f"padding-{where}-{words}")) for where in ("before", "after", "both", "inline")
    )
    for text in (before, after, both, inline):
        assert words <= len(text.replace(PROMPT, "").split()) <= words + 50
    assert before.endswith(f"\n\n{PROMPT}")
    assert after.startswith(f"{PROMPT}\n\n")
    assert 0.3 < both.index(PROMPT) / (len(both) - len(PROMPT)) < 0.7
    assert f" {PROMPT} " in f" {inline} "


def test_no_paragraph_of_the_padding_comes_twice() -> None:
    for where in ("before", "after", "both"):
        paragraphs = as_text(attack(PROMPT, f"padding-{where}-1500")).split("\n\n")
        assert len(set(paragraphs)) == len(paragraphs) > 20


def payload(text: str) -> str:
    """The last line, below a request."""
    return text.rpartition("\n")[2]


def from_numbers(text: str) -> str:
    return "".join(chr(int(number)) for number in text.split())


DECODERS: dict[str, Callable[[str], str]] = {
    "encodings-base64": lambda text: base64.b64decode(text).decode(),
    "encodings-base64-request": lambda text: base64.b64decode(payload(text)).decode(),
    "encodings-base64-twice": lambda text: base64.b64decode(base64.b64decode(text)).decode(),
    "encodings-base32": lambda text: base64.b32decode(text).decode(),
    "encodings-base85": lambda text: base64.b85decode(text).decode(),
    "encodings-hex": lambda text: bytes.fromhex(text).decode(),
    "encodings-hex-spaced": lambda text: bytes.fromhex(text).decode(),
    "encodings-hex-request": lambda text: bytes.fromhex(payload(text)).decode(),
    "encodings-binary": lambda text: bytes(int(byte, 2) for byte in text.split()).decode(),
    "encodings-decimal": from_numbers,
    "encodings-percent": unquote,
    "encodings-html-entities": html.unescape,
    "encodings-unicode-escapes": lambda text: ast.literal_eval(f'"{text}"'),
    "encodings-rot13": lambda text: codecs.decode(text, "rot13"),
    "encodings-rot13-request": lambda text: codecs.decode(payload(text), "rot13"),
    "encodings-atbash": lambda text: as_text(attack(text, "encodings-atbash")),
    "encodings-reversed": lambda text: text[::-1],
    "encodings-reversed-request": lambda text: payload(text)[::-1],
    "encodings-order-reversed": lambda text: " ".join(text.split()[::-1]),
    "encodings-words-reversed": lambda text: " ".join(word[::-1] for word in text.split()),
    "zero-width-override": lambda text: text.strip("\u202e\u202c")[::-1],
}
# One line in words of any script, with single spaces: what the decoders above give back exactly.
lines = st.lists(
    st.text(st.characters(categories=["L", "Nd", "Po"]), min_size=1, max_size=9), min_size=1, max_size=8
).map(" ".join)


@pytest.mark.parametrize("name", sorted(DECODERS))
@given(prompt=lines)
@settings(max_examples=30, deadline=None)
def test_an_encoded_prompt_can_be_decoded(name: str, prompt: str) -> None:
    assert DECODERS[name](as_text(attack(prompt, name))) == prompt


def test_ciphers_of_letters_are_what_their_names_say() -> None:
    assert attack("Xyz, Zoo!", "encodings-caesar-3") == "Abc, Crr!"
    assert attack("Abc, Zoo!", "encodings-atbash") == "Zyx, All!"
    assert attack("SOS é 1", "encodings-morse") == "... --- ... / . / .----"
    assert attack("ab Z", "encodings-spelling-alphabet") == "Alfa Bravo / Zulu"
    assert attack("Ab z", "encodings-letter-numbers") == "1-2 26"
    assert attack("The quiet school asks why.", "encodings-pig-latin") == "Ethay ietquay oolschay asksway ywhay."


def test_only_what_no_model_can_read_is_marked_so() -> None:
    unreadable = [name for name, member in attacks().items() if not member.answerable]
    assert unreadable == ["encodings-base85", "encodings-unknown-key", "encodings-letters-sorted"]


@pytest.mark.parametrize("name", of_family("zero-width"))
def test_without_its_invisible_characters_a_prompt_is_itself(name: str) -> None:
    text = as_text(attack(PROMPT, name))
    if name == "zero-width-smuggled":
        text = "".join(chr(ord(character) - 0xE0000) for character in text if ord(character) > 0xE0000)
    if name == "zero-width-override":
        text = text[::-1]
    # Cf: format characters; Mn: variation selectors and the grapheme joiner, as the prompt has no accents
    assert "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Mn")) == PROMPT


@pytest.mark.parametrize("name", of_family("spacing"))
def test_other_spaces_leave_the_letters_as_they_are(name: str) -> None:
    text = as_text(attack(PROMPT, name))
    assert letters(text) == letters(PROMPT)


def test_marks_between_letters_can_be_taken_out_again() -> None:
    for name in of_family("punctuation"):
        text = as_text(attack(PROMPT, name)).replace("<!-- -->", "")
        assert re.sub(r"[\W_]", "", text) == re.sub(r"\W", "", PROMPT), name


def test_lookalikes_keep_the_shape_of_the_text() -> None:
    folded = ("fullwidth", "mathematical", "script", "fraktur", "monospace", "circled")
    for member in folded:
        assert unicodedata.normalize("NFKC", as_text(attack(PROMPT, f"homoglyphs-{member}"))) == PROMPT
    for member in ("accents", "combining"):
        decomposed = unicodedata.normalize("NFD", as_text(attack(PROMPT, f"homoglyphs-{member}")))
        bare = "".join(c for c in decomposed if not unicodedata.combining(c))
        strokes = str.maketrans("đĐħĦłŁ", "dDhHlL")
        assert bare.translate(strokes) == PROMPT
    for member in ("cyrillic", "greek", "small-capitals", "mixed"):
        text = as_text(attack(PROMPT, f"homoglyphs-{member}"))
        assert len(text) == len(PROMPT)
        assert [c.isspace() for c in text] == [c.isspace() for c in PROMPT]
        assert not set(text) <= set(PROMPT)


def test_lookalikes_of_a_script_are_letters_of_that_script() -> None:
    for script in ("cyrillic", "greek"):
        text = as_text(attack("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", f"homoglyphs-{script}"))
        foreign = [c for c in text if not c.isascii()]
        assert len(foreign) > 25
        assert all(script.upper() in unicodedata.name(c) for c in foreign)


@pytest.mark.parametrize("name", of_family("case"))
def test_case_attacks_change_nothing_but_the_case(name: str) -> None:
    assert as_text(attack(PROMPT, name)).lower() == PROMPT.lower()


@pytest.mark.parametrize("slip", ["swapped", "dropped", "doubled", "keyboard", "mixed"])
@pytest.mark.parametrize("seed", range(5))
def test_typos_hit_every_other_word_and_leave_it_readable(slip: str, seed: int) -> None:
    words, attacked = PROMPT.split(), as_text(attack(PROMPT, f"typos-{slip}", seed)).split()
    assert len(attacked) == len(words)
    changed = [(old, new) for old, new in zip(words, attacked, strict=True) if old != new]
    assert len(changed) == 7  # of 14 words of three letters or more
    assert all(SequenceMatcher(None, old, new).ratio() > 0.6 for old, new in changed)


@pytest.mark.parametrize(
    "name", [name for name in attacks() if name.endswith("-names") and not name.startswith("encodings")]
)
def test_an_attack_on_names_leaves_the_other_words_alone(name: str) -> None:
    text = as_text(attack(PROMPT, name))
    first, second = NAMES
    before, between, after = re.split(f"{first}|{second}", PROMPT)
    assert text.startswith(before) and between in text and text.endswith(after)
    assert first not in text and second not in text


def test_names_are_hidden_in_base64_and_the_question_around_them_is_not() -> None:
    hidden = [base64.b64encode(name.encode()).decode() for name in NAMES]
    question = payload(as_text(attack(PROMPT, "encodings-base64-names")))
    for name, code in zip(NAMES, hidden, strict=True):
        question = question.replace(code, name)
    assert question == PROMPT


@pytest.mark.parametrize("name", of_family("multi-turn"))
def test_a_chat_holds_all_words_of_the_prompt(name: str) -> None:
    messages = attack(PROMPT, name)
    assert isinstance(messages, list) and len(messages) > 2
    text = as_text(messages)
    if name == "multi-turn-name-spelt":
        text += " Ada Quill" if "A, d, a, Q, u, i, l, l" in text else ""
    missing = set(re.findall(r"\w{2,}", PROMPT)) - set(re.findall(r"\w{2,}", text))
    assert not missing


@pytest.mark.parametrize("name", ["halves", "name-halves", "topic-first", "names-as-numbers", "name-spelt"])
def test_no_message_of_a_split_chat_holds_the_whole_question(name: str) -> None:
    for message in as_messages(attack(PROMPT, f"multi-turn-{name}")):
        assert not ("Ada Quill" in message["content"] and "sang it first" in message["content"])


def test_the_variables_joined_are_the_prompt() -> None:
    contents = [message["content"] for message in as_messages(attack(PROMPT, "multi-turn-variables"))]
    halves = [match[1] for text in contents if (match := re.search(r'[XY] = "(.*)"', text))]
    assert "".join(halves) == PROMPT


def test_formats_quote_the_prompt_by_their_own_rules() -> None:
    hard = 'Is "A & B" < 50% of |C|\\D_1?'
    as_json = as_text(attack(hard, "formats-json"))
    assert json.loads(as_json[as_json.index("{") :])["question"] == hard
    python = as_text(attack(hard, "formats-python"))
    assert ast.literal_eval(re.search(r"^question = (.*)$", python, re.MULTILINE)[1]) == hard
    rows = as_text(attack(hard, "formats-csv")).partition("\n\n")[2]
    assert list(csv.reader(rows.splitlines()))[2][1] == hard
    for name in ("formats-xml", "formats-html"):
        assert hard in html.unescape(as_text(attack(hard, name)))
    assert 'Is "A \\& B" < 50\\% of |C|\\D\\_1?' in as_text(attack(hard, "formats-latex"))
    assert "\n-- one\n-- two\n" in as_text(attack("one\ntwo", "formats-sql"))
    assert "\n> one\n> two\n" in as_text(attack("one\ntwo", "formats-email"))


@pytest.mark.parametrize("name", of_family("formats"))
def test_formats_hold_the_prompt(name: str) -> None:
    assert PROMPT in as_text(attack(PROMPT, name))


def test_an_unknown_attack_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'leet-fancy'.*leet-light"):
        attack(PROMPT, "leet-fancy")


def test_changing_the_returned_attacks_changes_no_attack() -> None:
    attacks().clear()
    assert attacks()


def test_a_text_is_one_message_and_a_chat_is_one_text() -> None:
    chat = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    assert as_messages("one") == [{"role": "user", "content": "one"}]
    assert as_messages(chat) == chat
    assert as_text("one") == "one"
    assert as_text(chat) == "one\ntwo"


def test_the_example_of_the_documentation_is_true() -> None:
    assert attack("Who is Harry Potter?", "leet-light") == "Wh0 15 H4rry P0773r?"
