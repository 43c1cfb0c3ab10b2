r"""Letters drawn of several characters: |-| for h, |\/| for m."""

from __future__ import annotations

import re
from functools import lru_cache

from .addresses import in_address
from .language import average_cost, pair_cost
from .traced import Edit

_SHAPES = {
    "a": r"/-\ /\ 4 @ ^", "b": r"|3 |8 8 ]3", "c": r"( [ < {", "d": r"|) [) |] c|", "e": r"3 [- €", "f": r"|= |#",
    "g": r"6 9 (_+ (_-", "h": r"|-| #  }{ )-( ]-[ [-] /-/ (-) |~|", "i": r"1 ! |", "j": r"_| _/ ;", "k": r"|< |{ |(",
    "l": r"|_ 1 | [_", "m": r"|\/| /\/\ /v\ |v| ^^ [v] (v) {v}", "n": r"|\| /\/ [\] |\|", "o": r"0 () []",
    "p": r"|> |° |* |o |^ |7", "q": r"0_ (,) 9 O_", "r": r"|2 |? |~ 12 2 I2", "s": r"5 $", "t": r"7 + -|-",
    "u": r"|_| (_) \_/", "v": r"\/", "w": r"\/\/ \^/ vv \|/", "x": r">< % )( }{",
    "y": r"`/ '/ \|/ ¥", "z": r"2 ~/_ 7_",
}  # fmt: skip
_DRAWN: dict[str, list[str]] = {}
for _letter, _row in _SHAPES.items():
    for _shape in _row.split():
        _DRAWN.setdefault(_shape, []).append(_letter)
_WIDEST = max(map(len, _DRAWN))
_STROKES = re.compile(r"\|-\||\|_|_\||\||\\/|/\\|/-\\|\|[<>=)(23]|\(\)|><|(?<=\w)\((?=\w)|(?<!\S)\(\w+(?![\w)]*\))")
_TOKEN = re.compile(r"\S+")
_ENDS = "?.,!:;\"'"
_JOINTS = ("'", "’", "-")  # between the parts of a word
_LEAST_DRAWN = 3  # tokens drawn, or letters of one
_SELDOM = 1.0  # nats
_READS = 3.3  # nats per letter
_LONGEST = 120  # characters of a token


def read_strokes(text: str) -> tuple[str, list[Edit]]:
    """Words drawn of strokes and brackets, where most of a text is, in letters."""
    if len(_STROKES.findall(text)) < _LEAST_DRAWN:
        return "", []
    edits = []
    for token in _TOKEN.finditer(text):
        if len(token[0]) > _LONGEST or token[0].isalpha() or in_address(text, token.start()):
            continue
        plain, drawn = _read(token[0])
        if plain and (drawn or any(c.isalpha() for c in token[0]) or len(plain) < 4):
            edits.append((Edit(*token.span(), plain), drawn))
    drawn_letters = sum(drawn for _, drawn in edits)
    words = re.findall("[a-z]+", " ".join(edit.text for edit, _ in edits))
    if drawn_letters < _LEAST_DRAWN or sum(map(len, words)) < 6 or average_cost(" ".join(words)) > _READS:
        return "", []
    return "strokes", [edit for edit, _ in edits]


def _oddity(shape: str, letter: str) -> float:
    """Nats that a shape must be likelier by than the usual one of its letter."""
    if shape.isalnum() or shape == _SHAPES[letter].split()[0]:
        return 0.0
    return 3.0 * _SELDOM if shape == "|" else _SELDOM


@lru_cache(maxsize=1 << 15)
def _read(token: str) -> tuple[str, int]:
    """The likeliest word drawn by `token`, and how many of its letters are drawn; "" if it is none."""
    core = token.rstrip(_ENDS)
    marks = token[len(core) :]
    if marks.startswith("!"):
        core, marks = token, ""
    # for each end within the token and each last letter: cost, word and letters drawn so far
    best: list[dict[str, tuple[float, str, int]]] = [{" ": (0.0, "", 0)}] + [{} for _ in core]
    for start in range(len(core)):
        for width in range(1, _WIDEST + 1):
            shape = core[start : start + width].lower()
            if len(shape) < width:
                break
            if shape in _JOINTS:
                for last, (cost, word, drawn) in best[start].items():
                    total = cost + pair_cost(last, " ") + _SELDOM
                    if " " not in best[start + 1] or total < best[start + 1][" "][0]:
                        best[start + 1][" "] = total, word + shape, drawn
            letters = [shape] if width == 1 and shape.isascii() and shape.isalpha() else _DRAWN.get(shape, ())
            for letter in letters:
                for last, (cost, word, drawn) in best[start].items():
                    total = cost + pair_cost(last, letter) + _oddity(shape, letter)
                    known = best[start + width].get(letter)
                    if known is None or total < known[0]:
                        is_drawn = width > 1 and not shape.isalnum()
                        best[start + width][letter] = total, word + letter, drawn + is_drawn
    if not best[-1]:
        return "", 0
    last, (_, word, drawn) = min(best[-1].items(), key=lambda end: end[1][0] + pair_cost(end[0], " "))
    return word + marks, drawn
