"""The words of a text in any script, as they sound, and where they stand.

A text is cut into units: a word, or a syllable in a script without spaces. Each says which phonemes it has (see
`sounds`), where it stands, and whether a name may begin or end with it.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from .chinese import TRANSCRIBED, TRANSCRIBING, TRANSCRIBING_WITH_DOTS
from .kanji import korean_syllables
from .sounds import latin_sounds, pinyin_sounds

# Where each block of letters begins, and its script; "" is none that is read by sound.
_BLOCKS = (
    (0, ""), (0x41, "latin"), (0x5B, ""), (0x61, "latin"), (0x7B, ""), (0xC0, "latin"), (0x2B0, ""),
    (0x370, "greek"), (0x400, "cyrillic"), (0x530, ""), (0x590, "hebrew"), (0x600, "arabic"), (0x700, ""),
    (0x750, "arabic"), (0x780, ""), (0x900, "indic"), (0xD80, ""), (0xE00, "thai"), (0xE80, ""),
    (0x1100, "hangul"), (0x1200, ""), (0x1E00, "latin"), (0x1F00, "greek"), (0x2000, ""),
    (0x3041, "hiragana"), (0x30A0, "kana"), (0x3100, ""), (0x3400, "han"), (0xA000, ""), (0xAC00, "hangul"),
    (0xD7B0, ""), (0xF900, "han"), (0xFB00, ""), (0xFB1D, "hebrew"), (0xFB50, "arabic"), (0xFE00, ""),
)  # fmt: skip
_STARTS = [start for start, _ in _BLOCKS]
_BETWEEN = re.compile(r"[ \t\u00a0]*(?:[·・･•‧∙⋅＝=\-‐‑–.'’][ \t\u00a0]*)?")  # what may stand between words of a name
_DOT = re.compile("[·・･•‧∙⋅＝=‐‑\\-]")  # where there are no spaces between words
_HYPHENS = ("-", "‐", "‑")
_INSIDE = "'’׳״‌‍`ʹʼ"  # within a word
_MOST_TOKENS = 2_000


@dataclass(frozen=True, slots=True)
class Unit:
    """A word, or part of one: `text[start:end]`.

    Attributes:
        script: of its letters.
        sounds: its phonemes, in each reading.
        begins, ends: whether a name may begin, or end, with it.
        near: what separates it from the unit before: 0 nothing, 1 a space, a dot or a hyphen, 2 more than that.
        capital: whether it begins with a capital letter, in a script that has them.
    """

    start: int
    end: int
    script: str
    sounds: tuple[str, ...]
    begins: bool = True
    ends: bool = True
    near: int = 2
    capital: bool = False


@lru_cache(maxsize=1 << 14)
def script_of(character: str) -> str:
    """The script whose names are read by sound, or ""."""
    if character == "・":
        return ""
    found = _BLOCKS[bisect_right(_STARTS, ord(character)) - 1][1]
    return found if found and unicodedata.category(character)[0] in "LM" else ""


def scripts_in(text: str) -> frozenset[str]:
    """The scripts of `text` whose names are read by sound."""
    if text.isascii():
        return frozenset(("latin",)) if re.search("[A-Za-z]", text) else frozenset()
    return frozenset(filter(None, map(script_of, set(text))))


def units(text: str, wanted: frozenset[str]) -> list[Unit]:
    """The units of `text` in the scripts `wanted`, in order."""
    found: list[Unit] = []
    end, before = -1, ""
    runs = [*_runs(text)]
    dotted = {run for first, second in pairwise(runs) if _is_dotted(text, first, second) for run in (first, second)}
    for run in runs:
        start, stop, script = run
        near, capital = 2, False
        if script == before and (_DOT if script == "han" else _BETWEEN).fullmatch(text, end, start):
            near = 1
            capital = bool(found) and found[-1].capital and text[end:start] in _HYPHENS  # the "jung" of "Dae-jung"
        end, before = stop, script
        if script not in wanted:
            continue
        reader = _transcribed if run in dotted else _READERS[script]
        for i, unit in enumerate(reader(text[start:stop], start)):
            own = near if i == 0 else 0
            if unit.near != own or unit.capital < capital:
                unit = replace(unit, near=own, capital=unit.capital or capital)
            found.append(unit)
    return found


def _is_dotted(text: str, first: tuple[int, int, str], second: tuple[int, int, str]) -> bool:
    """Whether two runs are words of the name of a foreigner in Chinese."""
    return first[2] == second[2] == "han" and _DOT.fullmatch(text, first[1], second[0]) is not None


def _runs(text: str) -> Iterator[tuple[int, int, str]]:
    """Stretches of letters of one script, with marks and what stands within words."""
    here = 0
    while here < len(text):
        script = script_of(text[here])
        if not script:
            here += 1
            continue
        end = here + 1
        while end < len(text):
            c = text[end]
            own = script_of(c)
            if (
                own == script
                or (unicodedata.category(c)[0] == "M" and script not in ("kana", "han"))
                or (
                    c in _INSIDE
                    and (script == "hebrew" or (end + 1 < len(text) and script_of(text[end + 1]) == script))
                )
            ):
                end += 1
            else:
                break
        yield here, end, script
        here = end


@lru_cache(maxsize=1 << 12)
def _ascii(character: str) -> str:
    from anyascii import anyascii  # tables that texts in Latin letters do not need

    return anyascii(character).lower()


def _substituted(rules: tuple[tuple[re.Pattern[str], str], ...], text: str) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


def _rules(text: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Pairs of a pattern and what stands for it ("-" for nothing), written as text."""
    words = text.split()
    return tuple(
        (re.compile(pattern), "" if to == "-" else to) for pattern, to in zip(words[::2], words[1::2], strict=True)
    )


# --- alphabets: letter by letter
_CYRILLIC = _rules("""
дж J чж J чх C цз z тш C дз z а a б b в v г g ґ g ѓ g д d е e ё o
є e э e ж Z з z и i і i ї i й y ј y к k ќ k л l љ l м m н n њ n
о o п p р r с s т t ћ C у u ў w ф f х x ц c ч C џ J ш S щ S ъ - ы i ь - ю yu я ya ђ J [^a-zA-Z] - ([a-zA-Z])\\1 \\1
""")
_GREEK = _rules("""
γου(?=[αεηιοω]) w ου(?=[αεηιοω]) w μπ b ντ d γκ g γγ g τζ J ντζ J τσ C γι(?=[αεου]) y γ(?=[ειη]) y ου u αι e ει i οι i
αυ(?=[αειουωβγδλμνρζ]) av ευ(?=[αειουωβγδλμνρζ]) ev αυ af ευ ef
α a β v γ g δ d ε e ζ z η i θ T ι i κ k λ l μ m ν n ξ ks ο o π p ρ r σ s ς s τ t υ i φ f χ x ψ ps ω o
[^a-zA-Z] - ([a-zA-Z])\\1 \\1
""")
_HEBREW = _rules("""
ג['׳’] J ז['׳’] Z [צץ]['׳’] C ת['׳’] T ח['׳’] x ד['׳’] d וו w יי y טש C ^א a ^ע a א a ע a
ב b ג g ד d ה h ו w ז z ח x ט t י y [כך] k ל l [מם] m [נן] n ס s [פף] p [צץ] c ק k ר r ש S ת t
[^a-zA-Z] -
""")
_ARABIC = _rules("""
[\u064b-\u065f\u0670ـ] - تش C دج J [أإآٱ] a ا a ى a ع a ئ y ؤ w ء - ة a
ب b پ p ت t ث T ج J چ C ح h خ x د d ذ d ر r ز z ژ Z س s ش S ص s ض d ط t ظ z غ g ف f ڤ v ق k ك k ک k گ g ل l م m ن n
ه h و w ي y ی y ہ h ے e ں n [^a-zA-Z] -
""")
# --- scripts of syllables, from their usual romanisation
_INDIC = _rules("ph|f f chh?|c C kh k gh g th t dh d bh b jh|j J sh S zh z ng N v v w v y(?![aeiou]) i [^a-zA-Z] -")
_KANA = _rules("""
(?<=[vfw])u_(?=[aeiou]) - (?<=[kg])u_(?=[aeiou]) w (?<=[td])[eo]_(?=[iu]) -
(?<=sh|ch)i_y?(?=[aueo]) - (?<=j)i_y?(?=[aueo]) - (?<=ts)u_(?=[aeio]) - (?<=[td])e_(?=yu) - i_(?=y) - i_e ye u_ u _ -
sh S ch C ts c j J ([aeiou])\\1 \\1 [^a-zA-Z] -
""")
_HANGUL = _rules(
    "(?<=[aeiou])s+$ t jj?eu zu cheu cu sy S kk k tt t pp p ss s jj J "
    "ch C j J eo o eu u ae e ng(?![aeiou]) N wi wi [^a-zA-Z] -"
)
_PINYIN_SYLLABLE = _rules("^zh|^j J ^ch|^q C ^sh|^x S ng$ N ^r(?=[aeiou]) Z ^yi i ^yu u ^wu u [^a-zA-Z] -")
_THAI = _rules("ph p th t kh k ch C ae e eo e ng N [^a-zA-Z] -")
# What may stand behind a name in one word with it.
_PARTICLE = re.compile(
    "(?:씨|님|군|양)?(?:은|는|이|가|을|를|의|에|에게|에게서|에서|와|과|랑|이랑|도|로|으로|만|께|께서|한테|처럼|"
    "보다|부터|까지|라는|이라는|란|"
    "이란|라고|이라고|라면|이라면|야|이야|다|이다|입니다|예요|이에요|였다|이었다|인가|인가요|인지|일까|일까요|에는|에도|와의|과의|이나|나)?"
)
# What most Koreans are called, in traditional and simplified characters.
_KOREAN_LAST_NAMES = frozenset(
    "金李朴崔鄭郑姜趙赵尹張张林韓韩申吳吴徐權权黃黄安宋柳全高文孫孙梁裵裴白曺曹許许南沈劉刘盧卢河郭成車车具禹朱任羅罗閔闵"
    "辛池陳陈嚴严元蔡千方楊杨孔玄咸卞潘"
)
_KOREAN_NAME = 3  # characters
_SMALL_KANA = frozenset("ァィゥェォャュョヮぁぃぅぇぉゃゅょゎ")
_ENDINGS = re.compile("(?:ом|ем|ём|ым|им|ого|его|ому|ему|ой|ою|ых|ами|ах|ю|а|у|е|ы|и|я)$", re.IGNORECASE)
_ARABIC_PREFIX = re.compile("[وفبلك]?ال|[وفبلك]")
_HEBREW_PREFIX = re.compile("[ושמכ]?[הבלמשכ]|ו")


def _plain(text: str) -> str:
    """Small, without accents; letters of more than one form are one."""
    small = unicodedata.normalize("NFD", text.lower())
    return unicodedata.normalize("NFC", "".join(c for c in small if not "\u0300" <= c <= "\u036f" or c == "\u0306"))


def _word(text: str, start: int, script: str, sounds: str, **more: bool) -> Unit:
    return Unit(start, start + len(text), script, (sounds,), capital=text[:1].isupper(), **more)


def _latin(text: str, start: int) -> Iterator[Unit]:
    yield Unit(start, start + len(text), "latin", _latin_readings(text), capital=text[:1].isupper())


@lru_cache(maxsize=1 << 15)
def _latin_readings(word: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, (latin_sounds(word), pinyin_sounds(word))))) or ("",)


def _cyrillic(text: str, start: int) -> Iterator[Unit]:
    ending = _ENDINGS.search(text)
    cut = ending.start() if ending and ending.start() > 2 else len(text)
    sounds = _substituted(_CYRILLIC, text.lower())
    if cut < len(text):
        yield _word(text[:cut], start, "cyrillic", _substituted(_CYRILLIC, text[:cut].lower()))
        yield _word(text[cut:], start + cut, "cyrillic", _substituted(_CYRILLIC, text[cut:].lower()), begins=False)
    else:
        yield _word(text, start, "cyrillic", sounds)


def _greek(text: str, start: int) -> Iterator[Unit]:
    yield _word(text, start, "greek", _substituted(_GREEK, _plain(text)))


def _prefixed(
    prefix: re.Pattern[str], rules: tuple[tuple[re.Pattern[str], str], ...], script: str
) -> Callable[[str, int], Iterator[Unit]]:
    """Words that begin with others: "and", "to", "the" are a letter or two."""

    def read(text: str, start: int) -> Iterator[Unit]:
        match = prefix.match(text)
        cut = match.end() if match and len(text) - match.end() > 2 else 0
        for i in range(cut):
            yield _word(text[i], start + i, script, _substituted(rules, text[i]), ends=False)
        yield _word(text[cut:], start + cut, script, _substituted(rules, text[cut:]))

    return read


def _indic(text: str, start: int) -> Iterator[Unit]:
    letters = [_indic_letter(c, text[i + 1 : i + 2]) for i, c in enumerate(text)]
    yield _word(text, start, "indic", _substituted(_INDIC, re.sub(r"a$", "", "".join(letters)) or "a"))


@lru_cache(maxsize=1 << 12)
def _indic_letter(character: str, after: str) -> str:
    name = unicodedata.name(character, "")
    if "ANUSVARA" in name or "CANDRABINDU" in name:
        return "n"
    if "NUKTA" in name or "VIRAMA" in name:
        return ""
    follows = unicodedata.name(after, "") if after else ""
    plain = "sh" if re.search(" LETTER (?:SHA|SSA)$", name) else _ascii(character)
    if name.endswith(" LETTER DDA") and "NUKTA" in follows:
        plain = "r"
    consonant = plain[-1:] not in tuple("aeiou") and unicodedata.category(character) == "Lo"
    bare = " SIGN " not in follows and "VOWEL" not in follows
    return (
        plain + "a" if consonant and after and (bare or "CANDRABINDU" in follows or "ANUSVARA" in follows) else plain
    )


def _kana(text: str, start: int) -> Iterator[Unit]:
    letters = "".join(f"_{_ascii(c)}" if c in _SMALL_KANA else _ascii(c) for c in text if c not in "ッっ")
    yield _word(text, start, "kana", _substituted(_KANA, letters))


def _hangul(text: str, start: int) -> Iterator[Unit]:
    text = unicodedata.normalize("NFC", text)
    for i, c in enumerate(text):
        ends = i + 1 == len(text) or _PARTICLE.fullmatch(text, i + 1) is not None
        yield Unit(start + i, start + i + 1, "hangul", (_substituted(_HANGUL, _ascii(c)),), begins=i == 0, ends=ends)


def _han(text: str, start: int) -> Iterator[Unit]:
    inside = _inside(text, TRANSCRIBING)
    korean = 0  # characters of what may be a Korean name, from here on
    for i, c in enumerate(text):
        borders = {"begins": not inside[i], "ends": not inside[i + 1]}
        korean = _KOREAN_NAME if borders["begins"] and c in _KOREAN_LAST_NAMES else korean - 1
        yield Unit(start + i, start + i + 1, "han", _han_sounds(c, korean > 0), **borders)


def _transcribed(text: str, start: int) -> Iterator[Unit]:
    """As `_han`, of words of the name of a foreigner."""
    inside = _inside(text, TRANSCRIBING_WITH_DOTS)
    for i, c in enumerate(text):
        sounds = TRANSCRIBED.get(c) or _han_sounds(c, korean=False)[0]
        yield Unit(start + i, start + i + 1, "han", (sounds,), not inside[i], not inside[i + 1])


def _inside(text: str, characters: Container[str]) -> list[bool]:
    """Whether each character, and the end, stands between two that no name begins or ends between."""
    return [False, *(before in characters and c in characters for before, c in pairwise(text)), False]


@lru_cache(maxsize=1 << 14)
def _han_sounds(character: str, korean: bool) -> tuple[str, ...]:
    """As Chinese, and as Koreans read it."""
    chinese = _substituted(_PINYIN_SYLLABLE, _ascii(character))
    syllable = korean_syllables().get(character) if korean else None
    return (chinese, _substituted(_HANGUL, _ascii(syllable))) if syllable else (chinese,)


_THAI_SYLLABLE = re.compile("[เแโใไ]?[ก-ฮ][ะ-ฺ็-๋]*อ?(?:[ก-ฮ][ิุ]?์)?[^ก-ฮเแโใไ]*")


def _thai(text: str, start: int) -> Iterator[Unit]:
    for match in _THAI_SYLLABLE.finditer(text):
        spoken = re.sub("([เแโใไ])([ก-ฮ])", r"\2\1", re.sub("[ก-ฮ][ิุ]?์", "", match[0]))
        sounds = _substituted(_THAI, "".join(map(_ascii, spoken)))
        yield Unit(start + match.start(), start + match.end(), "thai", (sounds,))


_READERS: dict[str, Callable[[str, int], Iterator[Unit]]] = {
    "latin": _latin,
    "cyrillic": _cyrillic,
    "greek": _greek,
    "hebrew": _prefixed(_HEBREW_PREFIX, _HEBREW, "hebrew"),
    "arabic": _prefixed(_ARABIC_PREFIX, _ARABIC, "arabic"),
    "indic": _indic,
    "thai": _thai,
    "hangul": _hangul,
    "kana": _kana,
    "hiragana": _kana,
    "han": _han,
}
CASED = frozenset(("latin", "greek", "cyrillic"))
UNSPACED = frozenset(("han", "thai"))
