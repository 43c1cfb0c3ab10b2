"""What texts say of names: "A, known professionally as B", 'A "B" C', "B (born A; 5 May 1958)"."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from .subjects import CAPITALISED, POSSESSIVE


class Source(Enum):
    """How a text gives a name, in words for a person."""

    NAME = "a text says so"
    NICKNAME = "a text gives it as a nickname"
    WITHIN = "a text writes the nickname within it"
    SCRIPT = "a text gives it in its own script"
    OPENING = "a text opens with it"
    SHORT = "the texts often use it for the name in full"


@dataclass(frozen=True)
class Statement:
    """A sentence that says that `of` is called `name`; if `of` is "", whoever the document is about."""

    of: str
    name: str
    source: Source
    sentence: str


_PARTICLES = "(?:(?:af|al|bin|bint|da|das|de|del|della|den|der|di|do|dos|du|el|ibn|la|las|le|of|the|van|von|zu)\\s+)"
_WORD = rf"(?:{CAPITALISED}\.?)"
_RUN = rf"(?:\d+\s+)?{_WORD}(?:\s+{_PARTICLES}{{0,2}}{_WORD})*"
_OPEN, _CLOSE = "[\"“'‘]", "[\"”'’](?!\\w)"
_NICK = rf"{_OPEN}(?P<nick>[^\"“”‘’()]{{2,30}}?){_CLOSE}"
# A name, also with a nickname within it
_NAME = re.compile(rf"(?<![\w-]){_RUN}(?:\s+{_NICK}\s+{_RUN})?(?:,\s+(?:Jr|Sr)\b\.?)?")

_ADVERBS = (
    r"(?:\b(?:affectionately|also|better|briefly|colloquially|commonly|earlier|formerly|frequently|generally|"
    r"informally|internationally|later|legally|mononymously|more|most|mostly|now|often|originally|popularly|"
    r"previously|professionally|simply|sometimes|then|usually|well|widely)\s+)*"
)
_NOUN = (
    r"(?:(?:\w+\s+)?(?:alias|moniker|mononym|nickname|pseudonym|sobriquet)|"
    r"(?:artistic|birth|full|given|legal|maiden|original|pen|professional|real|ring|screen|stage)\s+name)"
)
_OWN = r"(?:his|her|their|the|a)\s+"
# What stands between two names of which the second is the first one's, ...
_LINK = re.compile(
    rf"(?<![\w-])(?:known\s+{_ADVERBS}(?:as|by)(?:\s+{_OWN}(?:{_NOUN}|names?)(?:\s+of)?,?)?|referred\s+to\s+as|"
    r"nicknamed|dubbed|called|styled|christened|baptised|baptized|renamed|born|née|nee|aka|a\.k\.a\.|alias)\s+"
)
# ... before it: who does what ...
_VERB = re.compile(
    rf"[,\s]*(?:\bwho\s+)?(?:\b(?:is|was|has\s+been|had\s+been|became|has\s+become|came\s+to\s+be)\s+)?{_ADVERBS}$"
)
_CALLED = re.compile(rf"\b(?:is|was|became|been)\s+{_ADVERBS}$")
_AND = re.compile(rf"\band\s+{_ADVERBS}(?:is|was|became)\s+{_ADVERBS}$")
# ... and what says by itself that the name behind it is the sentence's subject's.
_OWN_LINK = re.compile(
    rf"\b(?:(?:under|by|uses?|used|using|adopted|took|assumed)\s+{_OWN}{_NOUN}(?:\s+of)?|"
    rf"(?:[Hh]is|[Hh]er|[Tt]heir)\s+{_NOUN}\s+(?:is|was)|"
    r"changed\s+(?:his|her|their)\s+(?:legal\s+)?name\s+(?:legally\s+)?to)[\s,]+"
)
_PRONOUN = re.compile(r"\b(?:[Hh]e|[Ss]he|[Tt]hey)$")
_OTHERS = re.compile(r"\b(?:who|whose|whom|which|that)\b")
_NAMED = re.compile(rf"(?P<the>[Tt]he\s+)?(?:{_OPEN}(?P<quoted>[^\"“”‘’()]{{2,60}}?),?{_CLOSE}|(?P<plain>{_RUN}))")
_NEXT = re.compile(
    r"\s+or\s+(?:simply\s+|just\s+)?|,?\s*\(?(?:and\s+)?(?:also|briefly|earlier|formerly|previously)\s+"
)
# Words of a link that give a name, and no epithet
_PROPER = re.compile(
    r"(?:a\.?k\.?a|alias|artistic|baptised|baptized|better|birth|born|changed|christened|full|given|legal|legally|maiden|"
    r"mononymously|née|nee|original|originally|pen|professional|professionally|pseudonym|real|renamed|ring|screen|"
    r"stage)\b"
)
_NICKNAMED = ("nicknamed", "dubbed", "called", "referred", "styled")
_ROLE = re.compile(
    r"\b(?:album|book|character|episode|film|movie|novel|part|play(?:s|ed|ing)?|portray(?:s|ed|ing)|role|series|show|"
    r"sitcom|song)\b"
)
_NEAR = 40  # characters in which a role makes a character's name of a name

_LONGEST_PARENTHESIS = 400  # characters of a sentence; behind more of them a parenthesis was never closed
_HEADING = re.compile(r"^(=+)[^=\n]+\1", re.MULTILINE)
_BREAK = re.compile(r"(?<=[.!?])[\"”’')]*\s+(?=[\"“‘'(]?[^\W\d_a-z])|\n+")
_NO_BREAK = re.compile(r"(?:\b(?:Jr|Sr|St|Dr|Mr|Mrs|Ms|Prof|Lt|Capt|Gen|Sgt|Rev|No|vs|b|c|d)|\b[A-Z])\.$")
_FRONTED = re.compile(
    r"(?:After|Although|As|At|Before|By|During|For|From|Growing|In|On|Since|Until|When|While|[A-Z]\w+ly)\b[^,]*,\s+"
)
_SUBJECT_PRONOUN = re.compile(r"(?:He|She|They|he|she|they)\b")
_CALENDAR = frozenset(
    {
        "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
        "december", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "christmas",
        "easter",
    }
)  # fmt: skip
_SOUNDS = re.compile(r"/[^/]*/|\[[^\]]*\]")
_RESPELT = re.compile(r"[^\W\d_]-[^\W\d_A-Z]|[A-Z]{2}|[\u0250-\u02af]")  # for how it is spoken: "LOO-ee DRY-fəs"
_PARENTHESIS = re.compile(r"\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)")
_LIFE = re.compile(r"\b\d{4}\b|\bborn\b|\bBCE?\b")
_SAYS_WHO = re.compile(r",?\s+(?:is|was)\s+(?:an?|the|born)\b")


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, without headings in wiki markup."""
    text = _HEADING.sub("", text)
    found, start = [], 0
    for gap in _BREAK.finditer(text):
        sentence = text[start : gap.start()]
        inside = sentence.count("(") > sentence.count(")") and len(sentence) < _LONGEST_PARENTHESIS
        if not inside and not _NO_BREAK.search(sentence):
            found.append(text[start : gap.end()].strip())
            start = gap.end()
    return [sentence for sentence in (*found, text[start:].strip()) if sentence]


def statements_in(sentences: Sequence[str]) -> list[Statement]:
    """What a document says of names, in its order.

    A pronoun stands for the subject of the last sentence that has a name for its subject, and for whoever the document
    is about where none has yet. Behind a sentence with another subject ("His father was ...") it is left unread.
    """
    found: list[Statement] = []
    subject: str | None = ""
    for number, sentence in enumerate(sentences):
        subject = _subject(sentence, subject)
        for name, source, of in (
            *_in_names(sentence),
            *_in_parentheses(sentence),
            *_by_links(sentence, subject),
            *(_opening(sentence) if not number else ()),
        ):
            found.append(Statement(of, name, source, sentence))
    return found


def names_in(text: str) -> Iterator[tuple[str, int, int]]:
    """Every run of capitalised words, without a nickname within it; where it starts and ends in the text."""
    for match in _NAME.finditer(text):
        yield _plain(match), match.start(), match.end()


_Found = tuple[str, Source, str]  # a name, how it is given, and whose it is


def _plain(match: re.Match[str]) -> str:
    if match["nick"] is None:
        return _clean(match[0])
    before = match.string[match.start() : match.start("nick") - 1]
    return _clean(before + match.string[match.end("nick") + 1 : match.end()])


def _clean(name: str) -> str:
    name = POSSESSIVE.sub("", " ".join(name.split()).rstrip(",;:"))
    return name if re.search(r"\b(?:Jr|Sr|[A-Z])\.$", name) else name.rstrip(".")


def _subject(sentence: str, before: str | None) -> str | None:
    """The name that is the sentence's subject; the one `before` where it is a pronoun; None where it is neither."""
    fronted = _FRONTED.match(sentence)
    at = fronted.end() if fronted else 0
    if _SUBJECT_PRONOUN.match(sentence, at):
        return before
    name = _NAME.match(sentence, at)
    if name is None or name[0] in ("His", "Her", "Their", "The", "A", "An"):
        return None
    return None if POSSESSIVE.search(name[0]) else _plain(name)


def _in_names(sentence: str) -> Iterator[_Found]:
    """Names with a nickname within them: without it, and the nickname with the last name."""
    for match in _NAME.finditer(sentence):
        if match["nick"] is not None and match["nick"][:1].isupper():
            whole = _plain(match)
            short = f"{match['nick'].strip(' ,')} {_clean(sentence[match.end('nick') + 1 : match.end()])}"
            yield whole, Source.WITHIN, short
            yield short, Source.WITHIN, whole


def _in_parentheses(sentence: str) -> Iterator[_Found]:
    """What stands in the parenthesis behind a name: in another script, or as names in full where a life begins."""
    for match in _NAME.finditer(sentence):
        parenthesis = _PARENTHESIS.match(sentence, match.end())
        if parenthesis is None:
            continue
        pieces = re.split(r"[;,]", _SOUNDS.sub("", parenthesis[1]))
        for number, piece in enumerate(pieces):
            own = piece.rpartition(":")[2].strip(" '\"“”‘’")
            if _in_another_script(own):
                yield own, Source.SCRIPT, _plain(match)
            whole = _NAME.fullmatch(piece.strip())
            in_full = whole and " " in whole[0] and not number and len(pieces) > 1 and _LIFE.search(parenthesis[1])
            if whole and in_full and not _RESPELT.search(whole[0]):
                yield _plain(whole), Source.NAME, _plain(match)


def _in_another_script(piece: str) -> bool:
    letters = [letter for letter in piece if letter.isalpha()]
    return len(letters) > 1 and not any(
        unicodedata.name(letter, "LATIN").startswith(("LATIN", "MODIFIER")) for letter in letters
    )


def _by_links(sentence: str, subject: str | None) -> Iterator[_Found]:
    """Names behind words like "known as"."""
    for link in _LINK.finditer(sentence):
        of = _whose(sentence[: link.start()], subject)
        if of is not None:
            yield from _behind(sentence, link, of)
    for link in _OWN_LINK.finditer(sentence):
        if subject is not None and not _OTHERS.search(sentence[: link.start()]):
            yield from _behind(sentence, link, subject)


def _whose(left: str, subject: str | None) -> str | None:
    """Of whom a sentence that begins with `left` says a name next; None if of nobody with a name."""
    closed = re.sub(_PARENTHESIS, lambda match: " " if match.end() < len(left) else match[0], left)
    outside, opened, within = closed.rpartition("(")
    if opened:  # a parenthesis speaks of the name before it, if no other stands in it
        before = None if any(" " in name for name, _, _ in names_in(within)) else outside.rstrip()
    elif _AND.search(closed):
        return subject
    else:
        before = _VERB.sub("", closed)
        if _PRONOUN.search(before):
            return subject
    if before is None:
        return None
    return next((name for name, _, end in names_in(before) if end == len(before)), None)


def _behind(sentence: str, link: re.Match[str], of: str) -> Iterator[_Found]:
    """The name behind a link, and others behind "or"."""
    before = sentence[max(0, link.start() - _NEAR) : link.start()]
    proper = bool(_PROPER.search(before[-20:] + link[0]))
    at = link.end()
    while (named := _NAMED.match(sentence, at)) is not None:
        name = _clean(named["quoted"] or named["plain"])
        words = {word.lower() for word in re.findall(r"\w+", name)}
        behind = sentence[named.end() : named.end() + _NEAR]
        if words & _CALENDAR or not name[:1].isalnum() or name[:1].islower() or POSSESSIVE.search(named[0]):
            return
        if not proper and (_ROLE.search(before) or _ROLE.search(behind)):
            return
        quoted = named["the"] is not None or named["quoted"] is not None
        epithet = link[0].startswith(_NICKNAMED) or (not proper and (quoted or _CALLED.search(before)))
        yield name, Source.NICKNAME if epithet else Source.NAME, of
        more = _NEXT.match(sentence, named.end())
        if more is None:
            return
        at = more.end()


def _opening(sentence: str) -> Iterator[_Found]:
    """The name with which a document opens, if it says who that is."""
    match = _NAME.match(sentence)
    if match is None:
        return
    parenthesis = _PARENTHESIS.match(sentence, match.end())
    if (parenthesis and _LIFE.search(parenthesis[1])) or _SAYS_WHO.match(sentence, match.end()):
        yield _plain(match), Source.OPENING, ""
