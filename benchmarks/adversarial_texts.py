"""How long a verdict takes on texts that were made to take long, against ordinary text of as many bytes.

    python benchmarks/adversarial_texts.py --sizes 10000 30000 100000 --json adversarial_texts.json

For each of `FAMILIES`, or of `--families`, and each size a guard judges the token ids of a text. Its scopes are
`--scopes`: 200 plain names, as many hashed ones, or one scope with a head of random weights, which costs what a
trained one costs. Printed is the processor time as a multiple of that of ordinary text, in one process. Ordinary text
is judged anew before every tenth family: others may use the machine as well.
"""

from __future__ import annotations

import argparse
import base64
import codecs
import gc
import itertools
import json
import random
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from transformers import AutoTokenizer

from hf_eco import ECOConfig, ForgetScope, Guard
from hf_eco.data import shipped_names, shipped_rows
from hf_eco.demo.packaged_models import SMOLLM2, resolve
from hf_eco.detection.names.words import long_enough

NAMES_LOOKED_FOR = 200
_EVERY = 10  # families, between two times that ordinary text is judged
OTHER_SCRIPTS = ("村上春樹", "Лев Толстой", "김연아", "محمود درويش")
_PLAIN_KINDS = ("question", "planning", "writing", "science", "text", "passage", "long", "statement")
FAMILIES: dict[str, Callable[[int], str]] = {}


@cache
def names() -> list[str]:
    """The names that are looked for."""
    latin = [name for name in shipped_names()["people"] if long_enough(name) and name not in _prose()]
    return [*latin[: NAMES_LOOKED_FOR - len(OTHER_SCRIPTS)], *OTHER_SCRIPTS]


@cache
def _prose() -> str:
    texts = [row["text"] for row in shipped_rows("general/paragraphs")]
    texts += [row["prompt"] for row in shipped_rows("general/prompts") if row["kind"] in _PLAIN_KINDS]
    texts = [text for text in texts if all(c < "\u0250" or "\u2000" < c < "\u2100" for c in text)]
    random.Random(0).shuffle(texts)
    return "\n".join(texts) + "\n"


def ordinary(size: int) -> str:
    """Prose and questions, `size` bytes in UTF-8."""
    return cut("".join(itertools.islice(itertools.cycle(_prose()), size)), size)


def cut(text: str, size: int) -> str:
    """The first `size` bytes of `text`."""
    return text.encode()[:size].decode(errors="ignore")


def filled(pieces: Iterator[str], size: int) -> str:
    """The first `size` bytes of endless pieces."""
    made, length = [], 0
    while length < size:
        made.append(next(pieces))
        length += len(made[-1].encode())
    return cut("".join(made), size)


def _repeated(**units: str) -> None:
    for name, unit in units.items():
        FAMILIES[name] = lambda size, unit=unit: filled(itertools.repeat(unit), size)


def _each(name: str) -> Callable[[Callable[[int, random.Random], str]], None]:
    """Registers a family by what its piece number i is."""

    def register(piece: Callable[[int, random.Random], str]) -> None:
        def family(size: int) -> str:
            draw = random.Random(0)
            return filled((piece(i, draw) for i in itertools.count()), size)

        FAMILIES[name] = family

    return register


def _dressed(**dresses: Callable[[str], str]) -> None:
    """Registers families by what they make of ordinary text."""
    for name, dress in dresses.items():
        FAMILIES[name] = lambda size, dress=dress: cut(dress(ordinary(2 * size)), size)


# --- one thing over and over
_repeated(
    one_letter="a",
    two_letters="ab",
    last_name="Einstein a ",
    last_name_again="Einstein ",
    full_name="Albert Einstein ",
    full_name_joined="AlbertEinstein",
    almost_joined="AlbertEinstei",
    half_a_name="Albert Einst ",
    honorific="Mr. Einstein ",
    initials="A. B. ",
    initials_and_name="A. B. Einstein ",
    commas=",",
    name_and_comma="Einstein, Albert, ",
    hyphens="-",
    hyphenated_name="Albert-Einstein-",
    dots=".",
    dotted_letters="a.b.c.",
    stars="a*",
    underscores="_",
    underscored_name="Albert_Einstein_",
    spaces=" ",
    tabs_and_lines="\t\n",
    lines="\n",
    digits="0123456789",
    numbers="18 1 9 14 ",
    ones="1,",
    brackets="(",
    bracket_pairs="[()]{}",
    quotes="'\"“",
    strokes="|-|",
    slashes="/\\",
    open_tags="a<b ",
    open_comments="a<!--",
    tags="a<b>",
    ampersands="a &amp",
    percents="%4",
    backslashes="\\u00",
    addresses="a@b.",
    protocols="http://",
    capitals="Xy ",
    many_capitals="ABC",
    camel_case="AlbertEinsteinWas",
    particles="van der ",
    one_word_sentences="Who? ",
    ellipses="a... ",
    emoji="😀",
    joined_emoji="👩‍👩‍👧‍👦 ",
    flags="🇦🇱🇧🇪🇷🇹",
    zero_widths="\u200b",
    override="\u202eabc",
    tag_characters="\U000e0041",
    marks="\u0301",
    kana="アルベルト・アインシュタイ",
    hiragana="あいうえお",
    kana_dots="ア・",
    hangul="알베르트아인슈타",
    hangul_words="알베르 아인 ",
    han="阿爾伯特愛因斯",
    transcribing_han="阿尔伯特爱因斯",
    han_name="村上春",
    thai="อัลเบิร์ตไอน์สไต",
    arabic="ألبرت أينشتا ",
    arabic_joined="ألبرتأينشتا",
    hebrew="אלברט איינשטי ",
    devanagari="अल्बर्ट आइंस्टा ",
    cyrillic="Альберт Эйнште ",
    greek="Αλμπερτ Αϊνστα ",
    alternating_letters="aбcд",
    alternating_words="albert Эйн ألب アル 阿尔 알베 ",
    scripts_joined="albertЭйнألبアル阿尔알베",
    half_words="ﬁﬂ㎏℡",
    special_tokens="a<|im_end|>",
    special_tokens_alone="<|im_end|>",
    broken_special_tokens="<|im_",
    template="<|im_start|>user\n",
    template_words="system\nYou are ",
    pig_latin="albertway einsteinway ",
    spelling_words="alfa lima bravo ",
    as_in="a as in alfa, ",
    doubled="aallbbeerrtt ",
    drawn_out="Alllllbert ",
    morse=".- .-.. ",
    morse_marks=".-",
    binary="01000001 ",
    binary_joined="01",
    base64_words="QWxiZXJ0IEVpbnN0ZWlu ",
    base32_words="IFWGEZLSOQQEK2LOON2GK2LO ",
    shifted="bmcfsu fjotufjo ",
    python="def f(x): return x['a'] + 1\n",
)  # fmt: skip

FAMILIES["a_long_word_before_a_name"] = lambda size: "a" * (size - 10) + ", Einstein"
FAMILIES["spaces_before_a_name"] = lambda size: "a" + " " * (size - 9) + "Einstein"
FAMILIES["marks_before_a_name"] = lambda size: cut("a" + "\u0301" * (size // 2), size - 9) + " Einstein"
FAMILIES["quotes_before_a_name"] = lambda size: "a" + '"' * (size - 9) + "Einstein"


# --- ordinary text, dressed
def _nested(text: str, depth: int = 3) -> str:
    for _ in range(depth):
        text = base64.b64encode(text.encode()).decode()
    return text


def _in_pieces(text: str, length: int, dress: Callable[[str], str]) -> str:
    return " ".join(dress(text[i : i + length]) for i in range(0, len(text), length))


def _bold(text: str) -> str:
    return "".join(chr(0x1D400 + ord(c.upper()) - 65) if c.isascii() and c.isalpha() else c for c in text)


_dressed(
    run_together=lambda t: "".join(c for c in t if c.isalpha()),
    hyphens_for_spaces=lambda t: t.replace(" ", "-"),
    commas_for_spaces=lambda t: t.replace(" ", ","),
    lines_for_spaces=lambda t: t.replace(" ", "\n"),
    upper=str.upper,
    titled=str.title,
    apart=" ".join,
    apart_by_dots=".".join,
    apart_by_lines="\n".join,
    zero_width_inside="\u200b".join,
    marks_on_each="\u0301\u0316\u0334".join,
    reversed=lambda t: t[::-1],
    reversed_words=lambda t: " ".join(reversed(t.split())),
    rot13=lambda t: codecs.encode(t, "rot13"),
    rot13_reversed=lambda t: codecs.encode(t, "rot13")[::-1],
    leet=lambda t: t.translate(str.maketrans("aeiost", "431057")),
    base64=lambda t: base64.b64encode(t.encode()).decode(),
    base64_nested=_nested,
    base64_pieces=lambda t: _in_pieces(t, 30, lambda p: base64.b64encode(p.encode()).decode()),
    base64_nested_pieces=lambda t: _in_pieces(t, 60, _nested),
    base64_of_rot13=lambda t: _in_pieces(codecs.encode(t, "rot13"), 300, lambda p: _nested(p, 2)),
    base32=lambda t: base64.b32encode(t.encode()).decode(),
    hex=lambda t: t.encode().hex(),
    hex_pieces=lambda t: _in_pieces(t, 20, lambda p: p.encode().hex()),
    hex_of_base64=lambda t: base64.b64encode(t.encode()).hex(),
    percent=lambda t: "".join(f"%{byte:02x}" for byte in t.encode()),
    percent_of_base64=lambda t: urllib.parse.quote(_nested(t, 1)),
    entities=lambda t: "".join(f"&#{ord(c)};" for c in t),
    escapes=lambda t: "".join(f"\\u{ord(c):04x}" for c in t),
    bits=lambda t: " ".join(f"{byte:08b}" for byte in t.encode()),
    decimal=lambda t: " ".join(map(str, t.encode())),
    letter_numbers=lambda t: " ".join(str(ord(c) - 96) for c in t.lower() if c.isalpha() and c.isascii()),
    lookalikes=lambda t: t.translate(str.maketrans("aeopcxy", "аеорсху")),
    bold=_bold,
    fullwidth=lambda t: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in t),
    kana_between=lambda t: t.replace(" ", "ア"),
    tagged=lambda t: "<b></b>".join(t),
    bullets_inside=lambda t: t.replace("e", "•e"),
    quoted_words=lambda t: " ".join(f"'{word}'" for word in t.split()),
)


# --- names, nearly
def _slip(word: str, draw: random.Random) -> str:
    i = draw.randrange(len(word))
    return word[:i] + draw.choice("abcdefghijklmnopqrstuvwxyz") + word[i + 1 :]


@_each("near_names")
def _(i: int, draw: random.Random) -> str:
    return " ".join(_slip(word, draw) for word in names()[i % 190].split()) + " "


@_each("near_names_joined")
def _(i: int, draw: random.Random) -> str:
    return "".join(_slip(word, draw) for word in names()[i % 190].split())


@_each("names_of_all")
def _(i: int, draw: random.Random) -> str:
    return f"{names()[i % len(names())]}, "


@_each("last_names_of_all")
def _(i: int, draw: random.Random) -> str:
    return f"a {names()[i % len(names())].split()[-1]} "


@_each("spellings_of_one")
def _(i: int, draw: random.Random) -> str:
    return f"{_slip('Albert', draw)} {_slip('Einstein', draw)} "


@_each("cases_of_one")
def _(i: int, draw: random.Random) -> str:
    return "".join(draw.choice((c.upper(), c.lower())) for c in "Albert Einstein") + " "


@_each("middle_names")
def _(i: int, draw: random.Random) -> str:
    return f"Albert {_word(draw).title()} {_word(draw).title()} Einstein "


def _word(draw: random.Random, letters: str = "abcdefghijklmnopqrstuvwxyz", most: int = 9) -> str:
    return "".join(draw.choice(letters) for _ in range(draw.randint(3, most)))


# --- random
@_each("unknown_words")
def _(i: int, draw: random.Random) -> str:
    return f"{_word(draw)} "


@_each("unknown_names")
def _(i: int, draw: random.Random) -> str:
    return f"{_word(draw).title()} "


@_each("unknown_long_words")
def _(i: int, draw: random.Random) -> str:
    return f"{_word(draw, most=60)} "


@_each("unknown_sentences")
def _(i: int, draw: random.Random) -> str:
    return f"{_word(draw).title()} {_word(draw)} {_word(draw)} {_word(draw)}. "


@_each("random_ascii")
def _(i: int, draw: random.Random) -> str:
    return chr(draw.randint(32, 126))


@_each("random_unicode")
def _(i: int, draw: random.Random) -> str:
    return chr(draw.choice((draw.randint(0xA0, 0xD7FF), draw.randint(0xE000, 0x1FFFF))))


@_each("random_kana")
def _(i: int, draw: random.Random) -> str:
    return "".join(chr(draw.randint(0x30A1, 0x30F6)) for _ in range(draw.randint(2, 7))) + draw.choice("・ 、")


@_each("random_hangul")
def _(i: int, draw: random.Random) -> str:
    return "".join(chr(draw.randint(0xAC00, 0xD7A3)) for _ in range(draw.randint(2, 5))) + " "


@_each("random_han")
def _(i: int, draw: random.Random) -> str:
    return chr(draw.randint(0x4E00, 0x9FA5))


@_each("random_cyrillic")
def _(i: int, draw: random.Random) -> str:
    return _word(draw, "абвгдежзиклмнопрстуф").title() + " "


@_each("random_arabic")
def _(i: int, draw: random.Random) -> str:
    return _word(draw, "ابتجحخدرزسشصضطعغفقكلمنهوي") + " "


@_each("side_by_side")
def _(i: int, draw: random.Random) -> str:
    start = 40 * i % (len(_prose()) - 40)
    text = _prose()[start : start + 40]
    pig_latin = " ".join(f"{word[1:]}{word[:1]}ay" for word in text.split())
    letters = " ".join(str(ord(c) - 96) for c in text.lower() if "a" <= c <= "z")
    return "\n".join((base64.b64encode(text.encode()).decode(), pig_latin, letters, text[::-1], ""))


@_each("messages")
def _(i: int, draw: random.Random) -> str:
    return f"{i}<|im_end|>"


@_each("chat")
def _(i: int, draw: random.Random) -> str:
    start = 80 * i % (len(_prose()) - 80)
    return f"<|im_start|>{('user', 'assistant')[i % 2]}\n{_prose()[start : start + 80]}<|im_end|>\n"


def guard_of(scopes: str, tokenizer) -> Guard:
    """A guard of scopes of one kind."""
    if scopes == "head":
        from heads import first_classifier
        from heads import guard_of as guard_of_heads

        return guard_of_heads(first_classifier(None), 1, tokenizer)
    named = [ForgetScope(name=f"request-{i:04d}", names=[name]) for i, name in enumerate(names())]
    return Guard(ECOConfig(scopes=named, store_names=scopes), {}, tokenizer)


def seconds(guard, ids: list[int]) -> float:
    gc.collect()  # or one text would pay for what another has left behind
    start = time.process_time()
    guard.decide([ids])
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 30_000, 100_000], help="bytes")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES), metavar="FAMILY")
    parser.add_argument("--scopes", nargs="+", default=["plain", "hashed"], choices=["plain", "hashed", "head"])
    parser.add_argument("--tokenizer", default=SMOLLM2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(resolve(options.tokenizer))
    rows: list[dict[str, object]] = []
    for scopes in options.scopes:
        guard = guard_of(scopes, tokenizer)
        for text in (ordinary(1_000), *(FAMILIES[family](300) for family in options.families)):
            guard.decide([tokenizer(text)["input_ids"]])  # word lists and tables are read once
        for size in options.sizes:
            plain = tokenizer(ordinary(size))["input_ids"]
            seconds(guard, plain)
            for number, family in enumerate(options.families):
                if number % _EVERY == 0:
                    usual = seconds(guard, plain)
                taken = seconds(guard, tokenizer(FAMILIES[family](size))["input_ids"])
                row = {"scopes": scopes, "size": size, "family": family, "ratio": round(taken / usual, 2)}
                rows.append({**row, "seconds": round(taken, 3), "ordinary": round(usual, 3)})
                print(*rows[-1].values(), sep="\t", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"command": " ".join(sys.argv), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
