"""How words sound, whatever script they are written in, and how far one sound is from another.

A word is a string of phonemes, one character each: vowels `aeiou`; consonants `pbfvtdszkgmnlrhwy`, `T` (th), `S` (sh),
`Z` (zh), `C` (ch), `J` (dzh), `c` (ts), `x` (kh), `N` (ng); and what Latin letters leave open: `G` (g before e or i),
`j`, `H` (ch), `q` (c before e or i), `Q` (c at the end), each read in several ways. `|` stands between words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container, Iterator, Mapping
from functools import lru_cache
from itertools import groupby, islice, product

from ..disguises.language import accentless

GAP = "|"
VOWELS = frozenset("aeiou")
_WEAK = frozenset("hwy")  # consonants that come and go between languages

# What Latin letters say, the first that fits; of a letter with an accent, before the accent is taken off.
_LATIN_RULES = (
    ("ñ|ń|ň", "ny"), ("[çś]", "s"), ("[šş]", "S"), ("[žż]", "Z"), ("[čć]", "C"), ("ź", "z"), ("ğ", "g"),
    ("ř", "r"), ("ß", "s"), ("[æøö]", "e"), ("ł", "l"), ("đ", "d"), ("þ", "T"), ("ı", "i"), ("ę", "en"),
    ("ą", "on"), ("[^a-z]", ""), ("t?sch|sh|sz(?!$)", "S"), ("tch|tsh|cz", "C"),
    ("ch(?=[rl])|ck|q(?!u)|cqu|(?<=[a-z])qu(?=[eiy])", "k"), ("ch", "H"), ("ph", "f"), ("th", "T"),
    ("gh(?=[aeiou])|gu(?=[eiy])", "g"), ("(?<=[aeiou])gh", ""), ("kh", "x"), ("zh", "Z"),
    ("d(?:zh|j|g(?=[eiy]))", "J"), ("tz|ts(?=[uk])|(?<![a-z])ts", "c"), ("qu", "kw"), ("(?<![a-z])x", "z"),
    ("x", "ks"), ("(?<![a-z])wr", "r"), ("wh", "hw"), ("(?<=[aiu])nh(?=[ao](?![a-z]))", "ny"),
    ("(?<![a-z])kn", "n"), ("ng(?![aeiou])", "N"), ("mb(?![a-z])", "m"), ("sc(?=[iey])", "S"),
    ("(?<=[aeiou])c(?![a-z])", "Q"), ("c(?=[eiy])", "q"), ("c", "k"), ("g(?=[eiy])", "G"), ("bh", "b"),
    ("dh", "d"), ("ie(?![a-z])", "i"), ("y(?=[aeiou])", "y"), ("y", "i"), ("oo|ou", "u"),
    ("(?<=j)ea(?=n)", "a"), ("ee|ea", "i"), ("eau|au", "o"), ("(?<=[aeo])w(?![a-z])", ""),
    ("(?<=[oe])w(?=sk|cz)", "v"),
)  # fmt: skip

# Pinyin, the romanisation of Mandarin, reads some letters in its own way.
_PINYIN_SYLLABLE = (
    "(?:zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw])?"
    "(?:iang|uang|iong|ang|eng|ing|ong|iao|ian|uai|uan|ai|an|ao|ei|en|er|ia|ie|in|iu|ou|ua|ue|ui|un|uo|a|e|i|o|u)"
)
_PINYIN = re.compile(f"(?:{_PINYIN_SYLLABLE})+")
_PINYIN_RULES = (
    ("zh|j", "J"), ("ch|q", "C"), ("sh|x", "S"), ("ng(?![aeiou])", "N"), ("r(?=[aeiou])", "Z"),
    ("yi", "i"), ("yu", "u"), ("wu", "u"),
)  # fmt: skip

# Groups of consonants; the first letter names the class in a key.
_CLASSES = {"P": "pbfv", "T": "td", "S": "szSZCJc", "K": "kgx", "M": "m", "N": "nN", "R": "lr"}
_CLASS = {sound: name for name, sounds in _CLASSES.items() for sound in sounds} | dict(
    T="T", G="S", j="S", H="S", q="S", Q="S"
)
CLASSES = "".join(_CLASSES)
MOST_KEYS = 16  # of one name
_OFTEN_OTHER_AT_THE_END = frozenset("tdsvm")
_LONG_KEY = 4  # classes of a key of which one may be missing, or too many; one more, and one may be another


def _reader(rules: tuple[tuple[str, str], ...]) -> Callable[[str], str]:
    """Reads a word by the first rule that fits at each place; a letter that none fits is a phoneme itself."""
    pattern = re.compile("|".join(f"({pattern})" for pattern, _ in rules))
    return lambda word: pattern.sub(lambda match: rules[(match.lastindex or 1) - 1][1], word)


_read_latin, _read_pinyin = _reader(_LATIN_RULES), _reader(_PINYIN_RULES)
_DOUBLE = re.compile(r"([b-df-hj-np-tv-z])\1+")


@lru_cache(maxsize=1 << 14)
def latin_sounds(word: str) -> str:
    """The phonemes of a word in Latin letters, as most languages would read it."""
    small = "".join(c if c in _ACCENTED else accentless(c) for c in word.lower())
    return _read_latin(_DOUBLE.sub(r"\1", small))


_ACCENTED = frozenset("ñńňçśšşžżčćźğřßæøöłđþıęą")


@lru_cache(maxsize=1 << 14)
def pinyin_sounds(word: str) -> str | None:
    """The phonemes of a word that may be pinyin; None if it cannot."""
    small = accentless(word.lower()).replace("'", "")
    return _read_pinyin(small) if small.isascii() and _PINYIN.fullmatch(small) else None


def weight(phonemes: str, unvowelled: bool = False, r_is_lost: bool = False) -> float:
    """How much a name says: 1 for a consonant, 0.3 for one that comes and goes, 0.25 for a vowel, 0.1 for one that is
    not written, 0.4 for an r that is lost before consonants."""
    vowel = 0.1 if unvowelled else 0.25
    heard = sum(vowel if c in VOWELS else 0.3 if c in _WEAK else 1.0 for c in phonemes if c != GAP)
    return heard - 0.6 * len(_R_BEFORE_CONSONANTS.findall(phonemes)) if r_is_lost else heard


_R_BEFORE_CONSONANTS = re.compile("r(?![aeiou])")


def keys(phonemes: str, options: Mapping[str, tuple[str, ...]], unvowelled: bool = False) -> Iterator[str]:
    """The classes of the consonants, in each way in which they may be written in another script; of neighbours of one
    class one stays.

    Args:
        phonemes: of a name or of a stretch of a text.
        options: for some phonemes (marked as `_kind` does) the classes they may become, "" for none.
        unvowelled: whether there may be a vowel that is not written between any two consonants.
    """
    kinds = [_kind(sound, phonemes[i + 1 : i + 2]) for i, sound in enumerate(phonemes)]
    open_ = sorted({kind for kind in kinds if kind in options})
    fixed = {kind: _CLASS.get(kind[0], ".") for kind in set(kinds)}
    seen = set()
    for chosen in islice(product(*(options[kind] for kind in open_)), MOST_KEYS):
        read = fixed | dict(zip(open_, chosen, strict=True))
        between = "." if unvowelled else ""
        key = "".join(name for name, _ in groupby(between.join(read[kind] or "." for kind in kinds)) if name != ".")
        if key not in seen:
            seen.add(key)
            yield key


@lru_cache(maxsize=1 << 12)
def _kind(sound: str, after: str) -> str:
    """A phoneme, marked where the next decides what becomes of it: `r-` before no vowel, `n~` before a stop, `nm`,
    `t~` before an s, `tu`, `t$` at the end of a word."""
    if sound in "rl" and after not in VOWELS:
        return f"{sound}-"
    if sound in "nmN" and after == "m":
        return f"{sound}m"
    if sound in _OFTEN_OTHER_AT_THE_END and not after:
        return f"{sound}$"
    if sound in "td" and after and after in "szSu":
        return "tu" if after == "u" else "t~"
    return f"{sound}~" if sound in "nm" and after and after in "bdgptk" else sound


def near_keys(key: str, beginnings: Container[str], endings: Container[str]) -> Iterator[str]:
    """`key`, and those that are one class away from it where it is long enough to bear that.

    Args:
        key: of a stretch of a text, which may be any length.
        beginnings: those of all keys that are looked for, the empty one and whole keys among them.
        endings: in the same way.
    """
    yield key
    if len(key) < _LONG_KEY:
        return
    for i in range(len(key) + 1):
        before, from_here, behind = key[:i], key[i:], key[i + 1 :]
        if before not in beginnings:
            return
        if from_here and behind in endings:
            yield before + behind
            if len(key) > _LONG_KEY:
                yield from (before + name + behind for name in CLASSES)
        if from_here in endings:
            yield from (before + name + from_here for name in CLASSES)


def may_begin(key: str, beginnings: Container[str]) -> bool:
    """Whether one of the `near_keys` of `key`, or of a longer one that begins with it, may be among those that are
    looked for.

    Args:
        key: of a stretch of a text, which may be any length.
        beginnings: those of all keys that are looked for, the empty one and whole keys among them.
    """
    if key in beginnings:
        return True
    for i in range(len(key)):
        before, from_here, behind = key[:i], key[i:], key[i + 1 :]
        if before not in beginnings:
            return False
        if before + behind in beginnings:
            return True
        if any(before + name + rest in beginnings for name in CLASSES for rest in (from_here, behind)):
            return True
    return False


class Distances:
    """What it costs to hear one phoneme for another in a name that a script writes.

    Args:
        near: pairs of phonemes and what an exchange costs, as "pb.35 td.2"; lower ones hold.
        dropped: phonemes that a name may lose, and what each costs.
        added: phonemes that a script puts in.
        gap: what a word more or less costs.
        unheard: sounds before which a script does not write an m or n.
        article: what a script may write before a word.
        vowel: what it costs to lose a vowel that has no other beside it.
    """

    def __init__(
        self,
        near: str = "",
        dropped: str = "",
        added: str = "",
        gap: float = 0.3,
        unheard: str = "",
        article: str = "",
        vowel: float = 0.2,
    ) -> None:
        self.exchanged = {pair: cost for pair, cost in _pairs(near)}
        self.dropped = {part[:1]: float(part[1:]) for part in dropped.split()}
        self.added = {part[:1]: float(part[1:]) for part in added.split()}
        self.gap = gap
        self._rows: dict[tuple[str, bool], dict[str, float]] = {}
        self.unheard, self.article, self.vowel = unheard, article, vowel

    def __or__(self, other: Distances) -> Distances:
        """Those of two scripts, of which the lower hold."""
        both = Distances(gap=min(self.gap, other.gap))
        both.unheard, both.article = self.unheard + other.unheard, self.article or other.article
        both.vowel = max(self.vowel, other.vowel)
        for name in ("exchanged", "dropped", "added"):
            mine, others = getattr(self, name), getattr(other, name)
            setattr(both, name, {k: min(mine.get(k, 9.0), others.get(k, 9.0)) for k in {**mine, **others}})
        return both

    def between(self, name: str, heard: str, most: float) -> float:
        """The least cost of hearing `heard` where `name` is meant; infinite if it is more than `most`."""
        more, fewer = len(heard) - heard.count(GAP) - len(name), len(name) - name.count(GAP) - len(heard)
        if _LEAST * max(more, fewer) > most:
            return math.inf
        row = [0.0]
        puts = [self._put(heard, j) for j in range(len(heard))]
        for put in puts:
            row.append(row[-1] + put)
        for i, sound in enumerate(name):
            before, drop = row, self._drop(name, i)
            costs = self._row(sound, i == 0 or name[i - 1] == GAP)
            row = [before[0] + drop]
            for j, other in enumerate(heard):
                cost = before[j] + (0.0 if sound == other else costs.get(other, _UNLIKE))
                down = before[j + 1] + drop
                if down < cost:
                    cost = down
                right = row[j] + puts[j]
                row.append(right if right < cost else cost)
            if min(row) > most:
                return math.inf
        return row[-1] if row[-1] <= most else math.inf

    def _row(self, sound: str, first: bool) -> dict[str, float]:
        """What it costs to hear each other phoneme for one; `first` of a word or not."""
        if (sound, first) not in self._rows:
            made = self._made(sound)
            self._rows[sound, first] = {
                other: cost * (_FIRST if first and cost > _ALIKE else 1.0) for other, cost in made.items()
            }
        return self._rows[sound, first]

    def _made(self, sound: str) -> dict[str, float]:
        made = {}
        for other in _PHONEMES:
            cost = _EXCHANGED.get(frozenset((sound, other)))
            if cost is None:
                if sound in VOWELS and other in VOWELS:
                    cost = _VOWEL
                elif sound in VOWELS or other in VOWELS or GAP in (sound, other):
                    cost = _UNLIKE
                else:
                    cost = _SAME_CLASS if _CLASS.get(sound) and _CLASS.get(sound) == _CLASS.get(other) else _OTHER
            made[other] = min(cost, self.exchanged.get(frozenset((sound, other)), _UNLIKE))
        return made

    def _drop(self, name: str, i: int) -> float:
        """What it costs if sound `i` of a name is not heard."""
        sound, after = name[i], name[i + 1 : i + 2]
        if sound == GAP:
            return self.gap
        ends = after in ("", GAP)
        if sound in "rl" and after not in VOWELS:
            return self.dropped.get(sound, 0.35 if sound == "r" else 0.8)
        if sound == "g" and name[i - 1 : i] in ("n", "N"):
            return 0.15
        if sound in "td" and after and after in "szS":
            return 0.15
        if sound in "mn" and after and after in self.unheard:
            return 0.1
        if sound == "e" and (ends or name[i + 1 : i + 3] in ("s", "s|")) and not VOWELS.isdisjoint(name[:i]):
            return 0.05
        if sound == "h" and after not in VOWELS:
            return 0.1
        if sound in VOWELS and self.vowel > 0.2 and after not in VOWELS and name[i - 1 : i] not in VOWELS:
            return self.vowel
        if ends and sound in _OFTEN_SILENT:
            return 0.6
        if sound in "rl":
            return 1.0
        return self.dropped.get(sound, _DROPPED.get(sound, 1.0))

    def _put(self, heard: str, j: int) -> float:
        sound = heard[j]
        if sound == GAP:
            return self.gap
        if j < len(self.article) and heard.startswith(self.article):
            return 0.1
        if sound in "gJ" and heard[j - 1 : j] in ("n", "N"):
            return 0.15
        if sound in "mnN" and heard[j + 1 : j + 2] in ("m", "n"):
            return 0.1
        if heard[j - 1 : j] == sound:
            return 0.1
        if sound == "h" and heard[j + 1 : j + 2] in ("", GAP):
            return 0.1
        if sound in _WEAK and heard[j - 1 : j] in ("", GAP):
            return 0.7
        return self.added.get(sound, _DROPPED.get(sound, 1.0))


def _pairs(text: str) -> Iterator[tuple[frozenset[str], float]]:
    for part in text.split():
        yield frozenset(part[:2]), float(part[2:])


_PHONEMES = "aeiou" + "".join(_CLASSES.values()) + "hwyTGjHqQ" + GAP
_UNLIKE = 9.0
_LEAST = 0.025  # any phoneme too many or too few costs more
_OTHER = 1.1
_SAME_CLASS = 0.6
_VOWEL = 0.35
_ALIKE = 0.25
_FIRST = 2.0  # times as much as elsewhere costs a sound that is not alike at the beginning of a word
_OFTEN_SILENT = frozenset("txsdp")  # at the end of a word
_DROPPED = dict.fromkeys("aeiou", 0.2) | {"h": 0.3, "w": 0.35, "y": 0.25}
_EXCHANGED = dict(
    _pairs(
        "ei.12 ea.12 ao.12 ou.12 ae.12 wu.05 wo.1 yi.05 ye.15 ji.2 "
        "pb.35 fv.3 pf.4 bv.35 pv.6 bf.5 wv.2 wf.5 wb.5 td.3 Tt.2 Ts.25 Tf.5 Td.35 Tz.35 "
        "sz.2 sS.35 sc.2 zZ.3 zc.3 zJ.4 SC.4 SZ.3 SJ.5 CJ.35 Cc.3 cJ.4 JZ.25 sC.5 tC.5 tc.5 dJ.5 "
        "GJ.05 Gg.08 GZ.15 Gx.3 Gh.35 Gz.35 GS.35 GC.35 Gk.4 Gy.3 "
        "jJ.05 jZ.15 jy.1 jx.2 jh.25 jz.35 jS.35 jC.3 jc.4 jg.4 "
        "qs.05 qc.12 qC.12 qT.1 qS.15 qz.3 qk.4 qt.4 qZ.4 qJ.4 "
        "QC.05 Qk.05 Qc.1 Qq.1 QS.2 Qg.2 "
        "HC.05 Hx.1 Hk.15 HS.15 Hc.3 Hh.2 Hs.4 HJ.3 HZ.4 Hg.4 "
        "kg.3 kx.3 gx.35 xh.15 hg.35 hk.5 nm.45 nN.05 mN.5 lr.4 yJ.3 yZ.4"
    )
)
