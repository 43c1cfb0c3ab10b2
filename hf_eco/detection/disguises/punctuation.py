"""Letters spaced or punctuated apart, and words run together."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

from .addresses import in_address, is_file_name
from .language import FUNCTION_WORDS, WORD, accentless, is_latin, word_cost, word_list
from .leet import without_leet
from .traced import Edit

_APART = re.compile(
    r"(?<![^\W_])[^\W\d_]((?:[ \t]{1,3}|\s?[.\-*_/\\,|·•~+:;^=#]\s?|[ \t]{0,3}\n{1,2}[ \t]{0,3}))"
    r"(?:[^\W_]|[@$!])(?:\1(?:[^\W_]|[@$!]))+(?![^\W_])"
)
_PUNCTUATED = re.compile(r"(?<![\w./\\-])[^\W\d_]+(?:[!-/:;?@\[-`|~·•]{1,3}[^\W\d_]+)+(?![\w/\\(\[=])")
_BROKEN = 3.0
_SELDOM_INSIDE = frozenset(".*~^|·•_`#")  # words: "and/or", "well-known" and "key:value" are honest
_INNER_CAPITAL = re.compile("[A-Z](?<=[a-z][A-Z])")
_RUN_TOGETHER = re.compile(r"(?<![\w.$@/#\\-])[A-Z]?[a-z]+(?:[A-Z][a-z]+)+(?![\w(\[=.]|\s?=)")
_BRANDS = frozenset(
    word_list("""
JavaScript TypeScript YouTube GitHub GitLab LinkedIn PowerPoint PowerShell WordPress OpenStack FaceTime PayPal
WhatsApp TikTok SnapChat FedEx MasterCard PlayStation AirBnb DreamWorks MacBook AirPods LaTeX BibTeX PyTorch
TensorFlow NumPy DeepMind StackOverflow HuggingFace CoffeeScript DevOps WiFi eBay iPhone iPad iPod iMac iTunes
iCloud
""")
)
_PROGRAM_NAMES = ("Error", "Exception", "Warning")
_PARTICLE = re.compile(r"^(?:Mc|Mac|De|Di|La|Le|Van|Fitz|O)[A-Z][a-z]+$")


def letters_apart(text: str) -> list[Edit]:
    """Letters spaced or punctuated apart, together again. Initials, answer options and formulae stay."""
    edits = []
    acronyms = True
    for match in _APART.finditer(text):
        kept = [i for i in range(match.start(), match.end(), len(match[1]) + 1)]
        word = "".join(text[i] for i in kept)
        letters = sum(c.isalpha() for c in word)
        if 2 * letters < len(word) or letters < 2 + match[1].isspace() or not _says_something(word):
            continue
        acronyms = acronyms and match[1] == "." and word[:-1].isupper() and len(word) < 5
        edits.append(Edit(*match.span(), word, kept))
    return [] if acronyms else edits


def _says_something(word: str) -> bool:
    """Whether letters that stood apart make a word: "jeff", not "abcd" or "xyz"."""
    word = accentless(word.lower())
    if not word.isascii():
        return True
    plain = without_leet(word)
    return bool(re.search("[aeiouy]", plain)) and is_latin(plain) and word_cost(plain) < 3.35 * (len(plain) + 1)


@lru_cache(maxsize=1 << 12)
def _brokenness(word: str) -> float:
    """Nats by which the pieces of `word` are stranger than it is in one: about -2 for each mark of a compound
    ("pure-blood"), +2 for each mark in the middle of a word."""
    pieces = WORD.findall(accentless(word.lower()))
    if not all(map(is_latin, pieces)):
        return 0.0
    return sum(map(word_cost, pieces)) - word_cost("".join(pieces)) - 0.75 * (len(pieces) - 1)


def inner_punctuation(text: str) -> list[Edit]:
    """Punctuation strewn into words, taken out; words that underscores join, parted. Names of files and of programs'
    parts stay, and so do compounds unless every other word is one."""
    matches = [match for match in _PUNCTUATED.finditer(text) if not is_file_name(match[0])]
    matches = [match for match in matches if any(not c.isalpha() and c not in "'’" for c in match[0])]
    if not matches:
        return []
    everywhere = len(matches) > 1 and 2 * len(matches) > text.count(" ")
    everywhere = everywhere or (len(matches) > 1 and sum(_brokenness(match[0]) for match in matches) > _BROKEN)
    edits = []
    for match in matches:
        pieces = WORD.findall(match[0])
        marks = [i for i, c in enumerate(match[0], match.start()) if not c.isalpha()]
        kinds = {text[i] for i in marks}
        if all(len(piece) == 1 for piece in pieces) or in_address(text, match.start()):
            continue
        if kinds == {"_"}:
            functions = sum(piece.lower() in FUNCTION_WORDS for piece in pieces)
            if all(piece[0].isupper() for piece in pieces) or (len(pieces) > 3 and functions > 1):
                edits += [Edit(i, i + 1, " ") for i in marks]
                continue
        sentences = any(piece[0].isupper() and before[-1].islower() for before, piece in pairwise(pieces))
        program = match[0].islower() and kinds <= {".", "_"}
        if everywhere or (kinds <= _SELDOM_INSIDE and not sentences and not program and not match[0].isupper()):
            edits += [Edit(i, i + 1, "") for i in marks]
    return edits


def run_together(text: str) -> list[Edit]:
    """Words run together in CamelCase, parted; names of programs' parts and brands stay."""
    if not _INNER_CAPITAL.search(text):
        return []
    edits = []
    for match in _RUN_TOGETHER.finditer(text):
        pieces = re.findall("[A-Z][a-z]+", match[0])
        if match[0] in _BRANDS or match[0][0].islower() or _PARTICLE.match(match[0]) or pieces[-1] in _PROGRAM_NAMES:
            continue
        if len(pieces) == 2 and min(map(len, pieces)) < 3:  # NaCl
            continue
        for i, c in enumerate(match[0][1:], match.start() + 1):
            if c.isupper():
                edits.append(Edit(i, i, " ", [i]))
    return edits
