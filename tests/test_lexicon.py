"""The names of a scope are found however they are spelt, and nobody else's are."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hf_eco.detection.disguises import views
from hf_eco.detection.names import MIN_NAME, Lexicon, long_enough

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


@pytest.mark.parametrize(
    ("name", "text", "is_found"),
    [
        ("The Office", "I left my keys in the office.", False),
        ("The Office", "Who plays Michael in The Office?", True),
        ("The Office", "WHO IS IN THE OFFICE", False),
        ("Inside Out", "The shirt is inside out", False),
        ("Inside Out", "Have you seen Inside Out?", True),
        ("Apple", "Apple pie without sugar", False),
        ("Apple", "When was Apple founded?", True),
    ],
)
def test_ordinary_words_are_a_name_only_where_they_are_written_as_one(name: str, text: str, is_found: bool) -> None:
    assert bool(found(Lexicon([name]), text)) == is_found


def test_a_name_is_not_put_together_from_two_sentences_in_reverse() -> None:
    hobbit = Lexicon(["The Hobbit"])
    assert found(hobbit, "It was Lewis Hobbit. The interviewer laughed.") == []
    assert found(hobbit, "Hobbit, The (1937)") == ["Hobbit, The"]


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


def test_initials_beside_a_last_name_are_those_of_the_name_or_somebody_elses() -> None:
    text = "H. Dovetail and Dovetail, H. M., but neither K. Dovetail nor Peter H. Dovetail"
    assert [text[start:end] for start, end in PEOPLE.find_last_names(text)] == ["H. Dovetail", "Dovetail, H. M."]


ALFRED = "Alfred Hitchcock"
MISSPELT = [
    "Afelrd Htohccick",  # all inner letters in another order
    "Alfrd Htchcck",
    "Alfr*d H*tchc*ck",
    "Aflred Hitchcokc",
    "Alfred Hitchkok",
    "Alphred Hichcock",
    "Aalfred Hitchcockk",
    "Alfed Hitcock",
    "Hitchcock, Alfred",
    "Alfred Joseph Hitchcock",
    "Al fred Hitch cock",
    "Alfr edHitch cock",
    "A lfre dHitchcoc k",
    "Alfredway Itchcockhay",
    "Алфред Хичкок",
    "Альфред Хичкок",
    "Άλφρεντ Χίτσκοκ",
]


@pytest.mark.parametrize("name", MISSPELT)
def test_a_name_is_found_whatever_happened_to_its_letters(name: str) -> None:
    (mention,) = Lexicon([ALFRED]).find(f"Who was {name} married to?")
    assert mention.log_odds >= 3


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Rob Lowe", "Robin Lowe"),
        ("Rob Lowe", "Ron Howe"),
        ("Tom Hanks", "Tom Hawks"),
        ("Tom Hanks", "Tim Hanks"),
        ("Tom Hanks", "Hanks to"),
        ("Harry Potter", "Larry Potter"),
        ("Harry Potter", "Harry Porter"),
        ("Albert Einstein", "Alfred Einstein"),
        ("Marion Cotillard", "Marlon Cotillard"),
        ("Malcolm X", "Malcolm Marchetti"),
        ("Elizabeth I", "Elizabeth Taylor"),
        ("Brad Pitt", "It was bad. It is good"),
        ("Stephen King", "Stephanie King"),
    ],
)
def test_people_of_similar_names_are_others(name: str, other: str) -> None:
    assert all(mention.log_odds < 3 for mention in Lexicon([name]).find(f"In which year was {other} born?"))


def test_a_slip_counts_for_less_where_other_words_are_misspelt_too() -> None:
    lexicon = Lexicon(["Jane Goodall"])
    (mention,) = lexicon.find("Wat is Jne Godall bst knwn for?")
    assert mention.log_odds >= 3


@pytest.mark.parametrize("text", ["Jeffrey Dovetail", "Jeff Dovetail"])
def test_nicknames_and_full_first_names_are_one(text: str) -> None:
    for name in ("Jeffrey Dovetail", "Jeff Dovetail"):
        assert found(Lexicon([name]), f"Where does {text} live?") == [text]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("李小龙", "请告诉我李小龙是谁，他什么时候出生的？"),
        ("ブルース・リー", "昨日ブルース・リーの映画を見ました"),
        ("이순신", "조선의 장군 이순신은 누구입니까"),
        ("สุนทรภู่", "ใครคือสุนทรภู่และเขาเกิดที่ไหน"),
    ],
)
def test_a_name_is_found_in_writing_without_spaces(name: str, text: str) -> None:
    (mention,) = Lexicon([name]).find(text)
    assert mention.log_odds == 7
    assert text[mention.start : mention.end] in name


def test_a_name_in_another_alphabet_is_found_in_honest_text() -> None:
    assert found(Lexicon(["Stephen King"]), "Какие книги написал Стивен Кинг в 1980 году?") == ["Стивен Кинг"]
    assert found(Lexicon(["Stephen King"]), "Какие книги написал Лев Толстой в 1880 году?") == []


def test_names_long_enough_are_those_that_are_taken() -> None:
    assert [long_enough(name) for name in ("Jane", "Bo", "李小龙", "Jo Jr.")] == [True, False, True, False]


def test_a_disguised_name_is_found_in_one_of_the_views() -> None:
    lexicon = Lexicon([ALFRED])
    numbers = " ".join("-".join(str(ord(c) - 96) for c in word) for word in f"who is {ALFRED.lower()}".split())
    assert any(lexicon.find(view.text) for view in views(numbers))


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
