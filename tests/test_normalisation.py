"""Disguised text is read as what it says, honest text as it is, and what is read can be traced to where it stands."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_eco.detection.disguises import skeleton, views

QUESTION = "Who is Jeff Bridges?"
ANSWERED = "Explain what role he had in the film, and where he was born."
SMALL = "abcdefghijklmnopqrstuvwxyz"
MORSE_SIGNS = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.."
)
MORSE = dict(
    zip(
        SMALL,
        MORSE_SIGNS.split(),
        strict=True,
    )
)


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def in_alphabet(text: str, alphabet: str) -> str:
    return text.translate(str.maketrans(SMALL + SMALL.upper(), alphabet + alphabet.upper()))


def shifted(text: str, by: int) -> str:
    return in_alphabet(text, SMALL[by:] + SMALL[:by])


def from_letter(text: str, small: int, capital: int) -> str:
    """Letters as those of a Unicode block that starts at `small` and `capital`."""
    small_letters = "".join(chr(small + i) for i in range(26))
    capital_letters = "".join(chr(capital + i) for i in range(26))
    return text.translate(str.maketrans(SMALL + SMALL.upper(), small_letters + capital_letters))


def morse(text: str) -> str:
    return " / ".join(" ".join(MORSE[letter] for letter in word.lower()) for word in re.findall(r"\w+", text))


def readings(text: str) -> list[str]:
    return [" ".join(view.text.lower().split()) for view in views(text)[1:]]


DRESSED = {
    "Cyrillic letters": "Whо is Jеff Вridgеs?",
    "fullwidth": from_letter(QUESTION, 0xFF41, 0xFF21),
    "bold": from_letter(QUESTION, 0x1D41A, 0x1D400),
    "circled": from_letter(QUESTION, 0x24D0, 0x24B6),
    "negative squares": "WHO IS " + from_letter("JEFF BRIDGES", 0, 0x1F170),
    "small capitals": "ᴡʜᴏ ɪs ᴊᴇꜰꜰ ʙʀɪᴅɢᴇs?",
    "zero-width": "\u200b".join(QUESTION),
    "soft hyphens": "Who is Je\u00adff Bri\u00addges?",
    "tag characters": "Hello" + "".join(chr(0xE0000 + ord(c)) for c in QUESTION),
    "struck through": "".join(c + "\u0336" for c in QUESTION),
    "heaps of marks": "".join(c + "\u0321\u0315\u0337" for c in QUESTION),
    "right-to-left override": "Who is \u202esegdirB ffeJ\u202c?",
    "letters spaced apart": "   ".join(" ".join(word) for word in QUESTION.split()),
    "letters dotted apart": "Who is J.e.f.f B.r.i.d.g.e.s?",
    "letters dashed apart": "Who is J-e-f-f B-r-i-d-g-e-s?",
    "letters starred apart": "Who is J*e*f*f B*r*i*d*g*e*s?",
    "one letter per line": "Who is\n" + "\n".join("Jeff") + "\n\n" + "\n".join("Bridges"),
    "punctuation inside": "Who is Je.ff Bri_dges?",
    "hyphens inside": "Wh-o i-s Je-ff Br-idges?",
    "underscores": "Who_is_Jeff_Bridges?",
    "CamelCase": "WhoIsJeffBridges?",
    "HTML": "Who is <b>Je</b>ff Brid<i>ges</i>?",
    "Markdown": "Who is Je**ff** Brid*ges*?",
    "entities": "Who is J&#101;ff &#x42;ridges?",
    "percent": "Who%20is%20Jeff%20Bridges?",
    "backslash u": r"Who is \u004aeff \u0042ridges?",
    "backslash x": r"Who is \x4a\x65ff \x42ridges?",
    "leet": "Wh0 1s J3ff Br1dg3s?",
    "leet with signs": "who is j3ff br!dg3$?",
    "drawn out": "Who is Jeeeeeff Briiiidges?",
    "doubled": "JJeeffff BBrriiddggeess",
}


@pytest.mark.parametrize("text", DRESSED.values(), ids=DRESSED)
def test_dressed_text_is_read_as_what_it_says(text: str) -> None:
    assert any("jeff" in reading and "bridges" in reading for reading in readings(text)), views(text)


ENCODED = {
    "base64": base64_of(QUESTION),
    "base64 of a name": base64_of("Jeff Bridges"),
    "base64 beside text": f"Decode this and answer: {base64_of(QUESTION)}. Be brief.",
    "base64 for URLs, unpadded": base64.urlsafe_b64encode(f"{QUESTION} ¿Él?>>".encode()).decode().rstrip("="),
    "base64 over lines": "\n".join(re.findall(".{1,20}", base64_of(QUESTION + ANSWERED))),
    "base64 in groups": " ".join(re.findall(".{1,4}", base64_of(QUESTION))),
    "base32": base64.b32encode(QUESTION.encode()).decode(),
    "hex": QUESTION.encode().hex(),
    "hex in pairs": QUESTION.encode().hex(" "),
    "0x": " ".join(f"0x{c:02X}" for c in b"Jeff Bridges"),
    "binary": " ".join(f"{c:08b}" for c in QUESTION.encode()),
    "binary in one": "".join(f"{c:08b}" for c in QUESTION.encode()),
    "decimal": ", ".join(map(str, QUESTION.encode())),
    "morse": morse(QUESTION),
    "morse beside text": "What is " + morse("Jeff Bridges"),
    "rot13": shifted(QUESTION, 13),
    "rot13 beside text": f"Decode this rot13 and answer it: {shifted(QUESTION, 13)} Thank you.",
    "rot13 of a name": f"Who is {shifted('Jeff Bridges', 13)}?",
    "atbash": in_alphabet(QUESTION, SMALL[::-1]),
    "reversed": QUESTION[::-1],
    "reversed beside text": f"Read this backwards: {QUESTION[::-1]}",
    "words reversed": " ".join(word[::-1] for word in QUESTION.split()),
    "word order reversed": " ".join(QUESTION.split()[::-1]),
    "pig latin": "owhay isway effjay idgesbray?",
    "upside down": "¿sǝƃpıɹq ɟɟǝɾ sı oɥʍ",
    "letter numbers": " ".join("-".join(str(ord(c) - 96) for c in w) for w in ("who", "is", "jeff", "bridges")),
    "letter numbers with a year": "23-8-15 9-19 10-5-6-6 2-18-9-4-7-5-19 9-14 2-0-2-1-?",
    "letter numbers dotted": " / ".join(".".join(str(ord(c) - 96) for c in w) for w in ("is", "jeff", "bridges")),
    "letter numbers from 0": "  ".join(" ".join(f"{ord(c) - 97:02}" for c in w) for w in ("tall", "jeff", "bridges")),
    "spelling alphabet": "Juliett Echo Foxtrot Foxtrot / Bravo Romeo India Delta Golf Echo Sierra",
    "spelling alphabet with commas": "juliet, echo, foxtrot, foxtrot; bravo, romeo, india, delta, golf, echo, sierra",
    "strokes": r"\/\/|-|0 !5 _|3|=|= |3|2!|)635?",
    "strokes in the possessive": r"\/\/|-|0 !5 _|3|=|= |3|2!|)635'5 50|\|?",
    "Cyrillic script": "Вхо ис Jефф Бридгес?".replace("J", "Дж"),
    "all in entities": "".join(f"&#{ord(c)};" for c in QUESTION),
    "base64 twice": base64_of(base64_of(QUESTION)),
    "base64 three times": base64_of(base64_of(base64_of(QUESTION))),
    "rot13 in base64": base64_of(shifted(QUESTION, 13)),
    "base64 in hex": base64_of(QUESTION).encode().hex(),
    "leet in base64": base64_of("Wh0 1s J3ff Br1dg3s?"),
    "base64 with zero-width marks": "\u200b".join(base64_of(QUESTION)),
}


@pytest.mark.parametrize("text", ENCODED.values(), ids=ENCODED)
def test_a_payload_is_decoded(text: str) -> None:
    assert any("jeff" in reading and "bridges" in reading for reading in readings(text)), views(text)


@pytest.mark.parametrize("by", range(1, 26))
def test_every_caesar_shift_is_undone(by: int) -> None:
    assert f"{QUESTION} {ANSWERED}".lower() in readings(shifted(f"{QUESTION} {ANSWERED}", by))


def test_text_beside_a_payload_stays_in_the_view() -> None:
    (view,) = views(f"Decode this and answer: {base64_of(QUESTION)}")[1:]
    assert (view.name, view.text) == ("base64", f"Decode this and answer: {QUESTION}")


def test_nested_payloads_are_named_from_the_outside_in() -> None:
    assert views(base64_of(shifted(QUESTION, 13)))[-1].name == "base64+rot13"


HONEST = [
    "The winning numbers were 7, 12, 19, 23, 24 and 26; the code is 12-5-19-20, the score 6-3, 4-6, 7-5.",
    "Alpha and Bravo teams met at Hotel India in November; Charlie and Oscar were there, Romeo and Juliet too.",
    "a || b && (c | d) \\/ e; |x| < 3, {x | x > 0}, <a|b>, |ψ⟩ = α|0⟩ + β|1⟩, ¯\\_(ツ)_/¯",
    "Call f(x), g(y1), print(s[0]) and sum(a2) (see note (a) and section (3b).",
    "Где родился Гарри Поттер и о чём эта книга? Кто её автор и как её зовут?",
    "What is the capital of France?",
    "naïve café, résumé, façade, Ærøskøbing and Łódź",
    "Solve x² + 3x - 4 = 0; then integrate ∫₀^1 e^{-x²} dx. Is a*b*c = c*b*a? And x/y, 2x+3y-z, F=ma, E = mc^2?",
    "Let f: ℝ → ℝ with f(x) = αx + β, Δx = 0.1, μ = 3.5; prove that ∑ᵢ aᵢ ≤ 10.",
    "Options: A, B, C, D. Which one? a) red b) green c) blue d) none",
    "J. R. R. Tolkien met C. S. Lewis in the U.S.A. at 10 p.m., e.g. with a Ph.D., i.e. a student; the F.B.I. knew.",
    "In 1990, 24 people bought B2B 3D printers, mp3 players, C3PO, H2O, code 90210, GPT-4, i18n, k8s, utf-8, sha256.",
    "It costs $100, €50 or £20; 50% off! Call 555-1234 or +44 20 7946 0958 on 2024-05-06 at 10:30.",
    "My 1st and 2nd try in the 80s took 5kg and 10x the 4K, 100mg, 20km, 2pm.",
    'def add(a, b):\n    return a + b\n\nfor i in range(10):\n    print(np.array([i]), self.value, os.path.join("a"))',
    "Why does `my_function(x_train, y_train)` raise a TypeError in Python 3.11 with numpy.linalg.solve?",
    "SELECT user_id, COUNT(*) FROM orders WHERE created_at >= '2024-01-01' GROUP BY user_id;",
    "const getElementById = (id) => document.querySelector(`#${id}`); if (a != b && c !== d) { return null; }",
    '{"name": "Anna", "age": 24, "tags": ["a", "b"], "createdAt": "2024-01-01T10:00:00Z"}',
    "| Name | Age |\n| --- | --- |\n| Anna | 24 |\n| Bob | 31 |",
    "# Title\n\n- **bold** item\n- *italic* item\n1. `code`\n> quote\n\n[link](https://example.com/a_b/c-d?x=1&y=2)",
    '<p>Hello <b>world</b>, this is <a href="https://example.com">a link</a> &amp; more.</p>',
    "See https://www.example.com/wiki/Some_Page?utm_source=a%20b&id=42#top and mail john.doe@example.com.",
    "Visit docs.python.org, github.com/user/repo and open README.md, main.py, Node.js.",
    "Кто написал роман «Война и мир» и когда он вышел?",
    "Ποιος έγραψε την Οδύσσεια και πότε;",
    "谁写了《红楼梦》？请用中文回答。",
    "「吾輩は猫である」は誰が書きましたか。TシャツとPCとIT企業。",
    "누가 이 소설을 썼습니까? 서울의 인구는?",
    "من كتب ألف ليلة وليلة؟",
    "מי כתב את התנ״ך?",
    "रामायण किसने लिखी? हिंदी में बताइए।",
    "Ai là người viết Truyện Kiều? Nguyễn Du sinh năm nào?",
    "Wer hat „Die Verwandlung“ geschrieben, und wann wurde Franz Kafka geboren?",
    "¿Quién escribió «Cien años de soledad» y dónde nació el autor?",
    "Qui a écrit « Les Misérables » ? Où est né l'auteur d'aujourd'hui ?",
    "Kto napisał „Pana Tadeusza” i gdzie się urodził?",
    "Bu kitabı kim yazdı? Işık ve ılık su İstanbul'da.",
    "I love it 😀👍🏽 ❤️ 👨‍👩‍👧‍👦 🇬🇧 5️⃣ ✈️ great!",
    "hello!! sooo cool... hmmm, www, what?? yes!!! no???",
    "\"Don't\" isn't well-known, it's rock'n'roll and mother-in-law's and/or he/she.",
    "Louis XIV, Henry VIII, World War III, Chapter XXVIII.",
    "MacDonald, McCartney, O'Brien, DiCaprio, JavaScript and YouTube, iPhone, eBay.",
    "INTERNATIONALIZATION AND LOCALIZATION ARE HARD. WHY?",
    "The hash is d41d8cd98f00b204e9800998ecf8427e, the id 550e8400-e29b-41d4-a716-446655440000.",
    "The numbers are 1, 2, 3, 4, 5 and 10, 20, 30, 40, 65, 70, 75, 80; sort [100, 101, 102, 103].",
    "Convert 101010 from binary to decimal. What is 0xFF in hex? IBAN DE89 3704 0044 0532 0130 00.",
    "Arnold Schwarzenegger, Zbigniew Brzezinski, Wolfgang Amadeus Mozart, Kwame Nkrumah, Xi Jinping",
    "Say hello today, anyway you may play away on Friday or Monday.",
    "You know who? It is what it is. The capital is what?",
    "He pronounced it /ˈhæri ˈpɒtə/ or [dʒɛf].",
    "C6H12O6, CH3COOH, NaCl, Fe2O3, COVID-19, F-16, A4, PS5, 5G, Wi-Fi 6E",
    "",
    " \n\t",
]


@pytest.mark.parametrize("text", HONEST)
def test_honest_text_has_no_view_but_itself(text: str) -> None:
    assert [view.name for view in views(text)] == ["raw"]


def test_a_span_of_a_view_is_found_in_the_original() -> None:
    text = f"Well: J-e-f-f B-r-i-d-g-e-s; and {base64_of('Harry Potter')}, too."
    plain, decoded = (next(view for view in views(text) if word in view.text) for word in ("Jeff", "Harry"))
    start = plain.text.index("Bridges")
    assert text[slice(*plain.to_original(start, start + 7))] == "B-r-i-d-g-e-s"
    start = decoded.text.index("Harry")
    assert text[slice(*decoded.to_original(start, start + 5))] == base64_of("Harry Potter")
    assert views(text)[0].to_original(3, 7) == (3, 7)


def test_the_span_of_reversed_text_is_where_it_stands() -> None:
    text = f"Read this backwards: {QUESTION[::-1]}"
    view = views(text)[1]
    start = view.text.index("Jeff")
    assert text[slice(*view.to_original(start, start + 4))] == "ffeJ"


def test_a_view_of_a_long_text_shows_what_was_disguised_and_its_surroundings() -> None:
    padding = "The weather was fine and the river ran slowly through the town. " * 200
    text = f"{padding}{base64_of(QUESTION)} {padding}"
    (view,) = views(text)[1:]
    assert QUESTION in view.text
    assert len(view.text) < 500
    start = view.text.index(QUESTION)
    assert text[slice(*view.to_original(start, start + len(QUESTION)))] == base64_of(QUESTION)


SIDE_BY_SIDE = {
    "letter numbers": " ".join("-".join(str(ord(c) - 96) for c in word) for word in ("tell", "me", "about", "film")),
    "spelling alphabet": "Tango Echo Lima Lima, Mike Echo, Alfa Bravo Oscar Uniform Tango",
    "pig latin": "ellTay emay aboutway ethay ilmfay andway ethay actorway",
    "upside down": "ɯlᴉɟ ǝɥʇ ʇnoqɐ ǝɯ llǝʇ",
    "base64": base64_of("Tell me about the film and the actor"),
    "reversed": "Who is Jeff Bridges and what did he write about?"[::-1],
}


@pytest.mark.parametrize("last", SIDE_BY_SIDE)
@pytest.mark.parametrize("times", [1, 60])
def test_no_disguise_hides_behind_others(last: str, times: int) -> None:
    """Neither how many there are, nor how long they are, lets one of them pass."""
    paragraphs = [text for name, text in SIDE_BY_SIDE.items() if name != last for _ in range(times)]
    alone = views(SIDE_BY_SIDE[last])[-1].text.lower()
    text = "\n\n".join(["The river ran slowly through the town.", *paragraphs, SIDE_BY_SIDE[last]])
    assert any(alone in view.text.lower() for view in views(text)[1:])


PIECES = st.sampled_from([text[i : i + 9] for text in (*DRESSED.values(), *ENCODED.values()) for i in (0, 7, 14)])
BROKEN = st.sampled_from(
    [r"\u{110000}", "&#1114112;", "&#55296;", "%ff", r"\U00110000", r"\ud800", "\udc00", "\u202e"]
)
TEXTS = st.one_of(
    st.text(st.characters()),
    st.lists(st.one_of(PIECES, BROKEN, st.text(st.characters(), max_size=3))).map("".join),
    st.text("01 ;-.aAeEJf\\xu&#%<>/b=@$!|_\n"),
)


def test_a_long_text_is_shown_again_only_where_it_reads_anew() -> None:
    lines = [f"T3ll m3 m0r3 4b0ut th3 w34th3r 1n r0w {number}, pl34s3, and h0w 1t ch4ng3s." for number in range(200)]
    hidden = base64.b64encode(b"Wh0 is 4lb3rt E1nst31n r3ally, and wh3r3 was h3 b0rn?").decode()
    raw, plain, decoded, both = views("\n".join([*lines[:100], hidden, *lines[100:]]))
    assert [view.name for view in (plain, decoded, both)] == ["plain", "base64", "base64+plain"]
    assert len(plain.text) == len(raw.text)
    assert "Who is albert Einstein" in both.text and len(both.text) < 1_000


@settings(deadline=None)
@given(TEXTS)
def test_views_of_any_text_are_few_and_traced(text: str) -> None:
    raw, *others = views(text)
    assert (raw.name, raw.text, raw.to_original(0, len(text))) == ("raw", text, (0, len(text)))
    assert len(others) <= 26  # three layers of each of eight kinds, each end in plain
    for view in others:
        assert len(view.starts) == len(view.ends) == len(view.text)
        assert all(0 <= start <= end <= len(text) for start, end in zip(view.starts, view.ends, strict=True))
    seen = [" ".join(view.text.split()).casefold() for view in (raw, *others)]
    assert len(set(seen)) == len(seen)


@settings(deadline=None)
@given(TEXTS)
def test_each_character_of_a_skeleton_is_traced(text: str) -> None:
    letters, indices = skeleton(text)
    assert len(letters) == len(indices)
    assert indices == sorted(indices)
    assert all(0 <= i < len(text) for i in indices)
    assert not any(first == second for first, second in pairwise(letters))


@pytest.mark.parametrize(
    "disguised",
    [
        "JEFF BRIDGES",
        "Jéff Brïdgés",
        "J3ff Br1dg35",
        "Jeff_Bridges",
        "J e f f-B r i d g e s",
        "Jеff Вridgеs",
        "Jefff Brrridges",
        "𝐉𝐞𝐟𝐟 𝐁𝐫𝐢𝐝𝐠𝐞𝐬",
        "J\u200beff Br!dges",
        "jeffbridges",
        "ᴊᴇꜰꜰ ʙʀɪᴅɢᴇs",
        "Jeff\nBr|dge$s",
    ],
)
def test_a_name_has_one_skeleton_whatever_its_dress(disguised: str) -> None:
    assert skeleton(disguised)[0] == skeleton("Jeff Bridges")[0]


def test_a_skeleton_keeps_apart_what_is_different_and_keeps_other_scripts() -> None:
    assert skeleton("Jeff Bridges")[0] != skeleton("Jane Bridges")[0]
    assert skeleton("红楼梦")[0] == skeleton("紅樓夢")[0] != skeleton("三国演义")[0]
    assert skeleton("Stop! $ (?)")[0] == skeleton("stop")[0]


def test_a_name_found_in_a_skeleton_is_found_in_the_text() -> None:
    text = "So, who is J.3.f.f  Brïdgez, then?"
    letters, indices = skeleton(text)
    name = skeleton("Jeff")[0]
    start = letters.index(name)
    assert text[indices[start] : indices[start + len(name) - 1] + 1].startswith("J.3.f")


def test_neither_torch_nor_transformers_is_needed() -> None:
    code = (
        "import sys; from hf_eco.detection.disguises import views; views('Jеff');"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
