"""Characters that are, or look like, Latin letters."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

_SMALL_CAPITALS = dict(zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnopqrstuvwyz", strict=True))
# What Unicode does not call confusable and a reader takes for a Latin letter all the same, in a word of Latin ones.
_ALIKE_IN_CONTEXT = dict(
    zip("кнтмвпяьшзигдлєіїґғκητνωιυχεθσγρβμπδςλψ", "khtmbnrbw3urdneiirfkntvwiuxe0oypbundsly", strict=True)
)
# Strokes are no marks to Unicode, unlike accents.
STROKED = str.maketrans("łđħøŧɨƀɍʉıð", "ldhotibruid") | {
    ord("ß"): "ss",
    ord("æ"): "ae",
    ord("œ"): "oe",
    ord("þ"): "th",
}
# Whose letters may pose as Latin ones.
ALPHABETS = frozenset(("LATIN", "CYRILLIC", "GREEK", "COPTIC", "ARMENIAN", "CHEROKEE", "LISU", "DESERET"))


@lru_cache(maxsize=1)
def _confusables() -> dict[str, str]:
    """Unicode's table of confusable characters (UTS 39), those of the alphabets that look like one of a-z, 0-9."""
    from confusable_homoglyphs.confusables import confusables_data  # 1 MB of tables, needed by few texts

    table = {}
    for character, alike in confusables_data.items():
        letters = [entry["c"] for entry in alike if len(entry["c"]) == 1 and entry["c"].isascii()]
        letters = [letter for letter in letters if letter.isalnum()]
        if len(character) == 1 and not character.isascii() and letters and alphabet_of(character) in ALPHABETS:
            table[character] = letters[0].lower()
    return table


@lru_cache(maxsize=1 << 12)
def alphabet_of(character: str) -> str:
    """The first word of a character's Unicode name, "CYRILLIC" for instance; "" if it has none."""
    return unicodedata.name(character, "").partition(" ")[0]


@lru_cache(maxsize=1 << 12)
def unstyled(character: str) -> str:
    """The ASCII letters or digit that `character` is a variant of (fullwidth, bold, circled, small capital), or ""."""
    if character in _SMALL_CAPITALS:
        return _SMALL_CAPITALS[character]
    code = ord(character)
    for first in (0x1F150, 0x1F170):  # negative circled and squared capitals
        if first <= code < first + 26:
            return chr(ord("A") + code - first)
    if unicodedata.category(character) in ("No", "Nl") or character in "ªº":  # x², Ⅷ, 1º are honest
        return ""
    plain = unicodedata.normalize("NFKC", character).strip("()〔〕")
    return plain if plain != character and plain.isascii() and plain.isalnum() else ""


@lru_cache(maxsize=1 << 12)
def latin_twin(character: str) -> str:
    """The ASCII letter that Unicode holds `character` to be confusable with, in its case, or ""."""
    small = character.lower()
    alike = _confusables().get(small) or _confusables().get(character, "")
    return alike.upper() if small != character else alike


@lru_cache(maxsize=1 << 12)
def latin_twin_in_context(character: str) -> str:
    """The ASCII letter that a reader takes `character` for among Latin letters, in its case, or ""."""
    alike = latin_twin(character) or _ALIKE_IN_CONTEXT.get(character.lower(), "")
    return alike.upper() if character.isupper() else alike
