"""The names of a scope are found however they are spelt, and nobody else's are."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hf_eco.lexicon import MIN_NAME, Lexicon

PEOPLE = Lexicon(["Hermia Dovetail", "Osgood Farrow Jr.", "Ian Trelawn", "Quentin"])


def found(lexicon: Lexicon, text: str) -> list[str]:
    """The stretches of `text` that are taken for names."""
    return [text[mention.start : mention.end] for mention in lexicon.find(text)]


@pytest.mark.parametrize(
    "name",
    [
        "Hermia Dovetail",
        "hermia dovetail",
        "HERMIA DOVETAIL",
        "HermiaDovetail",
        "Hermia  Dovetail",
        "Hermia\nDovetail",
        "Dovetail, Hermia",
        "dovetail hermia",
        "H e r m i a  D o v e t a i l",
        "H.e.r.m.i.a D-o-v-e-t-a-i-l",
        "H3rm1a D0v3ta1l",
        "Herm!a Dovet@il",
        "Неrmіа Dоvеtаіl",  # letters of them are Cyrillic
        "Ｈｅｒｍｉａ Ｄｏｖｅｔａｉｌ",
        "𝐇𝐞𝐫𝐦𝐢𝐚 𝐃𝐨𝐯𝐞𝐭𝐚𝐢𝐥",
        "Hérmïa Dövetåil",
        "Her\u200bmia Dove\u200dtail",
        "Hermiaa Doveetail",
    ],
)
@pytest.mark.parametrize("around", ["{}", "Where was {} born?", "({})", "“{}”", "{}'s house", "cats/{}; dogs"])
def test_a_name_is_found_however_it_is_dressed(name: str, around: str) -> None:
    (mention,) = PEOPLE.find(around.format(name))
    assert around.format(name)[mention.start : mention.end] == name
    assert mention.edits == 0


@pytest.mark.parametrize(
    "name",
    [
        "Hermia Dovetall",  # looks the same: no letter of it counts as wrong
        "Hermia Dovetaik",
        "Hermia Dovetil",
        "Hermai Dovetail",
        "Hermiya Dovetail",
        "Germia Dovetail",
        "Ermia Dovetail",
        "Hermia Dovetai",
    ],
)
@pytest.mark.parametrize("around", ["{}", "Where was {} born?", "{} was born in", "Tell me of {}"])
def test_a_misspelt_name_is_found_anywhere_in_a_sentence(name: str, around: str) -> None:
    assert found(PEOPLE, around.format(name)) == [name]


def test_a_mention_says_less_the_more_letters_are_wrong() -> None:
    odds = [
        Lexicon(["Bartholomew Sandcastle"]).find(f"Is {name} at home?")[0].log_odds
        for name in ("Bartholomew Sandcastle", "Barthalomew Sandcastle", "Barthalomew Sandcaztle")
    ]
    assert odds[0] > odds[1] > odds[2] > 0
    assert not Lexicon(["Bartholomew Sandcastle"]).find("Is Bertram Sandford at home?")


@pytest.mark.parametrize(
    "name", ["Hermia Rose Dovetail", "Hermia R. J. Dovetail", "Hermia O'Neil Dovetail", "Hermiana Dovetail"]
)
def test_middle_names_and_longer_first_names_do_not_hide_anybody(name: str) -> None:
    assert found(PEOPLE, f"When did {name} write it?") == [name]


@pytest.mark.parametrize("text", ["Osgood Farrow Jr.", "Osgood Farrow", "OSGOOD FARROW, JR", "Farrow, Osgood"])
def test_junior_may_be_left_out(text: str) -> None:
    assert found(PEOPLE, f"It is {text}")


@pytest.mark.parametrize(
    "text",
    [
        "Peter Dovetail wrote it.",  # somebody else of that family
        "The Dovetails live here, Hermia does not.",
        "Hermia met Lysander, and Ann Dovetail came too.",
        "Hermia Nightingale",
        "a dovetail joint",
        "Susan Farrow Jr.",
        "Brian Trelawn",  # ends in the name
        "Ian Trelawney",  # begins with it
        "Quentinian verse",
        "SanQuentin",
        "",
        "Who baked the bread?",
    ],
)
def test_others_are_not_taken_for_the_subject(text: str) -> None:
    assert found(PEOPLE, text) == []


@pytest.mark.parametrize("name", ["Sting", "Dune", "Sade", "Misery"])
@pytest.mark.parametrize(
    "text", ["Who is {}?", "and {} it was", "the name {}", "Is {} good?", "{} everywhere", "me: {}"]
)
def test_a_short_name_is_found_though_a_neighbour_shares_its_letter(name: str, text: str) -> None:
    assert found(Lexicon([name]), text.format(name)) == [name]


@pytest.mark.parametrize("name", ["Beckham", "Alan Moss", "Jane Hall", "Hobbit"])
def test_a_name_is_found_whose_last_letter_is_written_as_two(name: str) -> None:
    for spelt in (name, name + name[-1], name.replace("m", "rn"), name.replace("a", "4").replace("o", "0")):
        (mention,) = Lexicon([name]).find(f"Tell me about {spelt} again")
        assert (mention.start, mention.end, mention.edits) == (14, 14 + len(spelt), 0)


@pytest.mark.parametrize("decoy", ["Dunedin", "sand dunes", "reDune"])
def test_a_word_that_holds_the_name_does_not_hide_the_name_after_it(decoy: str) -> None:
    assert found(Lexicon(["Dune"]), f"{decoy}, or Dune?") == ["Dune"]
    assert found(Lexicon(["Dune"]), decoy) == []


def test_a_long_name_is_found_where_all_spaces_are_left_out() -> None:
    assert found(PEOPLE, "whoisiantrelawnandwhere") == ["iantrelawn"]


def test_each_name_is_found_for_itself() -> None:
    assert sorted(found(PEOPLE, "Did Ian Trelawn meet Hermia Dovetail or Quentin?")) == [
        "Hermia Dovetail",
        "Ian Trelawn",
        "Quentin",
    ]


@pytest.mark.parametrize("name", ["Bo", "Al", "Jr.", "A. B.", "?!", " ", ""])
def test_a_name_too_short_to_be_told_from_words_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=repr(name).replace("?", r"\?").replace(".", r"\.")):
        Lexicon(["Hermia Dovetail", name])


def test_no_names_find_nothing() -> None:
    assert Lexicon([]).find("Hermia Dovetail") == Lexicon([]).find_last_names("Hermia Dovetail") == []


@pytest.mark.parametrize(
    "text", ["Who is Dovetail?", "Dovetail's house", "When did Dovetail die", "the late Dovetail"]
)
def test_a_last_name_by_itself_is_noticed(text: str) -> None:
    assert [text[start:end] for start, end in PEOPLE.find_last_names(text)] == ["Dovetail"]


@pytest.mark.parametrize(
    "text", ["Peter Dovetail", "___ Dovetail", "Dovetail Nightingale", "a dovetail joint", "Dovetails", "Non-Dovetail"]
)
def test_a_last_name_that_is_somebody_elses_or_a_word_is_not(text: str) -> None:
    assert PEOPLE.find_last_names(text) == []


WORDS = st.text(st.sampled_from("abcdefghkoprtuxyz"), min_size=MIN_NAME, max_size=9)


@settings(deadline=None, max_examples=200)
@given(st.lists(WORDS, min_size=1, max_size=3), WORDS, WORDS)
@example(["tuna"], "at", "at")
@example(["aaaa", "bbbb"], "xxxx", "yyyy")
def test_any_name_is_found_between_any_words(words: list[str], before: str, after: str) -> None:
    name = " ".join(words).title()
    try:
        lexicon = Lexicon([name])
    except ValueError:  # too few different letters
        return
    assert lexicon.find(f"{before} {name} {after}")


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=80))
def test_every_mention_lies_in_the_text_whatever_it_is(text: str) -> None:
    for mention in PEOPLE.find(text + "Hermia Dovetail" + text):
        assert 0 <= mention.start < mention.end <= 2 * len(text) + 15
