"""What holds punctuation and odd letters by right: web addresses, e-mail addresses and names of files."""

from __future__ import annotations

import re

from .language import WORD, word_list

_NEAR = 200  # characters; no address is longer, for this purpose
_ADDRESS = re.compile(r"://|www\.|@\w[\w-]{0,60}\.")
_SUFFIXES = frozenset(
    word_list("""
com org net edu gov io ai co uk de fr ru cn jp eu us info me dev app js ts py md txt json jsonl csv html xml
css pdf doc docx xls xlsx ppt pptx jpg jpeg png gif svg mp zip gz tar exe sh bat cpp java rs go rb php sql yml
yaml toml ini cfg log tv ly gg wav mov avi iso dll db
""")
)


def in_address(text: str, index: int) -> bool:
    """Whether the character is in a URL or an e-mail address."""
    start = max(text.rfind(c, max(0, index - _NEAR), index) for c in " \n\t") + 1
    around = text[start or max(0, index - _NEAR) : index + _NEAR].split(None, 1)
    return bool(around and _ADDRESS.search(around[0]))


def is_file_name(word: str) -> bool:
    """Whether `word` is a file or a site: something before one of the usual suffixes."""
    return "." in word and any(piece in _SUFFIXES for piece in WORD.findall(word.lower())[1:])
