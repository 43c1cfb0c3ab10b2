"""The index of names finds what looking for each name in turn finds, whatever came and went."""

from __future__ import annotations

import random
import threading
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import process
from rapidfuzz.distance import OSA

from hf_eco.data import shipped_names, shipped_rows
from hf_eco.detection.disguises import skeleton
from hf_eco.detection.disguises.spelling import spelling
from hf_eco.detection.names.index import NameIndex
from hf_eco.detection.names.name import Mention, Name
from hf_eco.detection.names.words import Reading, read

FIRST, LAST = shipped_names()["first"], shipped_names()["last"]
NAMES = [
    *(f"{FIRST[i % len(FIRST)]} {LAST[(7 * i) % len(LAST)]}" for i in range(120)),
    *(f"{FIRST[3 * i]} {FIRST[5 * i]} {LAST[11 * i]}" for i in range(1, 20)),
    *("Hermia Dovetail", "Bartholomew Sandcastle", "Wolfgang Amadeus Quillfeather", "Quentin", "The Office"),
    *("Мария Дубровская", "村上春樹", "Osgood O'Farrow Jr.", "Zebulon Montgomery Quartermain-Featherstone"),
]
CYRILLIC = dict(zip("abcdefghijklmnoprstuvyz", "абцдефгхийклмнопрстувыз", strict=True))


def one_by_one(names: list[str], text: str) -> dict[str, Mention]:
    """Each name looked for in turn, by the words that may be its own wherever they stand."""
    folded, places = skeleton(text)
    where, reading, found = [*places, len(text)], read(text), {}
    for given_name in names:
        name = Name(given_name)
        like = {pivot: words_like(name, pivot, reading) for pivot in name.pivots}
        mentions = [
            *name.in_words(text, reading, like),
            *name.in_letters(text, folded, where, reading, range(len(folded))),
            *name.misspelt_in_letters(text, folded, where, reading, range(len(folded))),
        ]
        if mentions:
            found[given_name] = min(mentions, key=lambda mention: mention.edits)
    return found


def spelt(index: NameIndex, text: str) -> dict[str, Mention]:
    """The surest mention of each name, without those that are only found by sound."""
    found: dict[str, Mention] = {}
    for name, mention in index._spelt(text):
        if name not in found or mention.edits < found[name].edits:
            found[name] = mention
    return found


def words_like(name: Name, word: str, reading: Reading) -> list[int]:
    spellings = name.spellings(word)
    numbers = {n for key, own in reading.places() if key in spellings for n in own} | set(reading.foreign)
    once = spelling(word).once
    if len(once) > 2:
        cutoff = 2 if len(once) > 5 else 1
        for other, _, _ in process.extract(
            once, list(reading.odd), scorer=OSA.distance, score_cutoff=cutoff, limit=None
        ):
            numbers.update(reading.odd[other])
    return sorted(numbers)


def disguised(name: str, rng: random.Random) -> str:
    """A name as somebody might write it."""
    letters = list(name)
    i = rng.randrange(1, len(letters))
    kind = rng.randrange(10)
    if kind == 1:
        letters[i - 1], letters[i] = letters[i], letters[i - 1]
    elif kind == 2:
        del letters[i]
    elif kind == 3:
        letters.insert(i, rng.choice("aeiourst"))
    elif kind == 4:
        letters[i] = rng.choice("aeiourst")
    elif kind == 5:
        letters = [c for c in letters if c != " "]
    elif kind == 6:
        letters = [CYRILLIC.get(c.lower(), c) for c in letters]
    elif kind == 7:
        return " ".join(reversed(name.split()))
    elif kind == 8:
        joined = disguised(name, rng).replace(" ", "")
        cut = rng.randrange(len(joined) + 1)
        return f"{joined[:cut]} {joined[cut:]}"
    elif kind == 9:
        return " ".join([name.split()[0], "Rose", *name.split()[1:]])
    return "".join(letters)


@pytest.fixture(scope="module")
def index() -> NameIndex:
    made = NameIndex()
    made.add("all", NAMES)
    return made


@pytest.mark.parametrize("seed", range(6))
def test_it_finds_what_looking_for_each_name_finds(index: NameIndex, seed: int) -> None:
    rng = random.Random(seed)
    prompts = [row["prompt"] for row in shipped_rows("general/prompts")]
    texts = rng.sample(prompts, 12)
    for frame in (
        "Who is {}?",
        "tell me about {} and {} please",
        "WHAT DID {} DO, AND {}?",
        "I met {}. {} was there.",
    ):
        for _ in range(7):
            texts.append(frame.format(*(disguised(rng.choice(NAMES), rng) for _ in range(2))))
    for text in texts:
        assert spelt(index, text) == one_by_one(NAMES, text), text


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.text(alphabet=st.sampled_from("HermiaDovetlQunBw -.'\u0301éя村上春樹1!"), max_size=40))
def test_it_finds_the_same_in_any_text(text: str) -> None:
    names = ["Hermia Dovetail", "Bartholomew Sandcastle", "Quentin", "村上春樹"]
    index = NameIndex()
    index.add("all", names)
    text = unicodedata.normalize("NFC", text)
    assert spelt(index, text) == one_by_one(names, text)


def test_names_come_and_go_one_by_one() -> None:
    text = "Did Hermia Dovetail meet Bartholomew Sandcastle?"
    index = NameIndex()
    index.add("first", ["Hermia Dovetail"])
    index.add("second", ["Hermia Dovetail", "Bartholomew Sandcastle"])
    assert index.find(text).keys() == {"Hermia Dovetail", "Bartholomew Sandcastle"}
    assert index.keys("Hermia Dovetail") == ("first", "second") and len(index) == 2
    index.remove("second", ["Hermia Dovetail", "Bartholomew Sandcastle"])
    assert index.find(text).keys() == {"Hermia Dovetail"}
    index.remove("first", ["Hermia Dovetail"])
    assert index.find(text) == {} and len(index) == 0
    assert vars(index._words) == vars(NameIndex()._words) | {
        "_longest": index._words._longest
    }  # nothing is left behind
    assert not index._letters and not index._beginnings and not index._endings


def test_a_name_that_cannot_be_looked_for_adds_none() -> None:
    index = NameIndex()
    for bad, message in (("", "blank"), ("Al", "too short")):
        with pytest.raises(ValueError, match=message):
            index.add("key", ["Hermia Dovetail", bad])
    assert len(index) == 0


def test_one_thread_looks_while_another_adds_and_removes() -> None:
    index = NameIndex()
    index.add("kept", ["Hermia Dovetail"])
    wrong: list[object] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                if "Hermia Dovetail" not in index.find("Where does Hermia Dovetial live, and Xx?"):
                    wrong.append("missed")
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        for i, name in enumerate(NAMES[:100]):
            index.add(i, [name])
        for i, name in enumerate(NAMES[:100]):
            index.remove(i, [name])
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_very_long_word_takes_no_longer_than_its_length() -> None:
    """Deletions are made of no word that is much longer than any name: their number would be its cube."""
    index = NameIndex()
    index.add("all", NAMES)
    assert index.find("a" * 40_000 + " б" * 10 + "я" * 40_000) == {}
