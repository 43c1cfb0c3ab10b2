"""Letters replaced by characters that look alike."""

from __future__ import annotations

import random
import re
import string

from .pieces import alphabet, on_names, table
from .registry import family


def _block(upper: int, lower: int, digits: int = ord("0")) -> dict[str, str]:
    """The alphabet whose letters follow each other from the code points given."""
    return alphabet(
        "".join(chr(upper + i) for i in range(26)),
        "".join(chr(lower + i) for i in range(26)),
        "".join(chr(digits + i) for i in range(10)),
    )


_CYRILLIC = dict(zip("ABCEHIJKMOPSTXYacdehijlopqswxy", "АВСЕНІЈКМОРЅТХУасԁеһіјӏорԛѕԝху", strict=True))
_GREEK = dict(zip("ABEHIKMNOPTXYZaeikmnoptuvwxy", "ΑΒΕΗΙΚΜΝΟΡΤΧΥΖαεικμηορτυνωχγ", strict=True))
_ARMENIAN = dict(zip("ghnoquSLUO", "ցհոօզսՏԼՍՕ", strict=True))
_FULLWIDTH = {chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)} | {" ": "\u3000"}
_BOLD = _block(0x1D400, 0x1D41A, 0x1D7CE)
_SCRIPT = _block(0x1D4D0, 0x1D4EA)
_FRAKTUR = _block(0x1D56C, 0x1D586)
_MONOSPACE = _block(0x1D670, 0x1D68A, 0x1D7F6)
_CIRCLED = _block(0x24B6, 0x24D0)
_SMALL_CAPITALS = alphabet(string.ascii_uppercase, "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡxʏᴢ")
_ACCENTED = {
    "a": "áàâäãå", "c": "çćč", "d": "ďđ", "e": "éèêëę", "g": "ğģ", "h": "ĥħ", "i": "íìîï", "j": "ĵ", "k": "ķ",
    "l": "łľ", "n": "ñńň", "o": "óòôöõ", "r": "ŕř", "s": "śšş", "t": "ťţ", "u": "úùûü", "w": "ŵ", "y": "ýÿ", "z": "źž",
    "A": "ÁÀÂÄÃÅ", "C": "ÇĆČ", "D": "ĎĐ", "E": "ÉÈÊËĘ", "G": "ĞĢ", "H": "ĤĦ", "I": "ÍÌÎÏ", "J": "Ĵ", "K": "Ķ",
    "L": "ŁĽ", "N": "ÑŃŇ", "O": "ÓÒÔÖÕ", "R": "ŔŘ", "S": "ŚŠŞ", "T": "ŤŢ", "U": "ÚÙÛÜ", "W": "Ŵ", "Y": "ÝŸ", "Z": "ŹŽ",
}  # fmt: skip
_COMBINING = "\u0300\u0301\u0302\u0303\u0307\u0308\u030a\u0323\u0331\u0336"


def _accented(prompt: str, rng: random.Random) -> str:
    return "".join(rng.choice(_ACCENTED.get(character, character)) for character in prompt)


def _mixed_scripts(prompt: str, rng: random.Random) -> str:
    tables = (_CYRILLIC, _GREEK, _ARMENIAN, _FULLWIDTH, _BOLD, _MONOSPACE)

    def alike(character: str) -> str:
        choices = [table[character] for table in tables if character in table and character.isalnum()]
        return rng.choice(choices) if choices and rng.random() < 0.5 else character

    return "".join(map(alike, prompt))


def _struck(prompt: str, rng: random.Random) -> str:
    return re.sub(r"[^\W_]", lambda letter: letter[0] + rng.choice(_COMBINING), prompt)


ATTACKS = family(
    "homoglyphs",
    ("cyrillic", "Every letter that has a Cyrillic twin replaced by it.", table(_CYRILLIC)),
    ("greek", "Every letter that a Greek one resembles replaced by it.", table(_GREEK)),
    ("fullwidth", "The wide forms of the letters, made for East Asian type.", table(_FULLWIDTH)),
    ("mathematical", "Bold letters made for formulas.", table(_BOLD)),
    ("script", "Handwritten letters made for formulas.", table(_SCRIPT)),
    ("fraktur", "Broken letters made for formulas.", table(_FRAKTUR)),
    ("monospace", "Typewriter letters made for formulas.", table(_MONOSPACE)),
    ("circled", "Letters in circles.", table(_CIRCLED)),
    ("small-capitals", "Small capitals, made for phonetics, for small letters.", table(_SMALL_CAPITALS)),
    ("accents", "An accent on every letter that can bear one.", _accented),
    ("combining", "A loose accent or stroke after every letter.", _struck),
    ("mixed", "Half of the letters replaced, each by a twin from any script.", _mixed_scripts),
    ("names", "Cyrillic twins in the names alone.", on_names(table(_CYRILLIC))),
)
