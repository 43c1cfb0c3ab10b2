"""Escapes, such as HTML entities and percent signs, and markup inside words."""

from __future__ import annotations

import html
import re

from .addresses import in_address
from .invisible import INVISIBLE
from .traced import Edit

_ESCAPE = re.compile(
    r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,8});|(?:%[0-9A-Fa-f]{2})+|(?:\\u[0-9a-fA-F]{4})+"
    r"|\\u\{[0-9a-fA-F]{1,6}\}|\\U[0-9a-fA-F]{8}|(?:\\x[0-9a-fA-F]{2})+"
)
_ALL_ESCAPED = re.compile(rf"(?:{_ESCAPE.pattern}){{4,}}")
_INLINE_TAG = r"</?(?:b|i|u|s|a|q|em|strong|span|font|small|big|mark|code|tt|ins|del|sub|sup|wbr)\b[^<>]{0,200}>"
_MARKUP = re.compile(rf"(?<=[^\W\d_])(?:{_INLINE_TAG}|<!--[^<>]{{0,200}}-->)+(?=[^\W\d_])", re.IGNORECASE)


def escapes(text: str) -> list[Edit]:
    """HTML entities, percent-encoding and backslash escapes of letters and digits, undone."""
    if not ("&" in text or "%" in text or "\\" in text):
        return []
    edits = []
    escaped = 0  # where the last run of escapes ends
    for match in _ESCAPE.finditer(text):
        plain = _unescaped(match[0])
        if match.start() >= escaped and (run := _ALL_ESCAPED.match(text, match.start())):
            escaped = run.end()
        if match.start() < escaped:
            edits.append(Edit(*match.span(), plain))
            continue
        inside = text[match.start() - 1 : match.start()].isalpha() and text[match.end() : match.end() + 1].isalpha()
        hidden = inside and (INVISIBLE.fullmatch(plain) or (plain == " " and "&" not in match[0]))
        if any(c.isalnum() for c in plain) or (hidden and not in_address(text, match.start())):
            edits.append(Edit(*match.span(), plain))
    return edits


def _unescaped(escape: str) -> str:
    """What a match of `_ESCAPE` stands for."""
    if escape[0] == "&":
        return html.unescape(escape)
    if escape[0] == "%" or escape[1] == "x":
        octets = bytes.fromhex(escape.replace("%", "").replace("\\x", ""))
        try:
            return octets.decode()
        except UnicodeDecodeError:
            return octets.decode("latin-1")
    if escape[2] != "{" and escape[1] == "u":
        return bytes.fromhex(escape.replace("\\u", "")).decode("utf-16-be", "replace")
    code = int(escape[2:].strip("{}"), 16)
    return chr(code) if code < 0x110000 else ""


def markup(text: str) -> list[Edit]:
    """Tags and comments inside words, gone."""
    return [Edit(*match.span(), "") for match in _MARKUP.finditer(text)] if "<" in text else []
