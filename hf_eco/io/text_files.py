"""The text of a file: its encoding, its compression, its lines."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path

# By the mark at a file's beginning; that of UTF-32 begins like that of UTF-16.
_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAVE_AS = "Save it as UTF-8; in Excel: Save As, type 'CSV UTF-8'"


def kind_of(path: Path) -> str:
    """The ending that says what a file holds, in small letters: ".csv" of "A.CSV.gz"."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def read_text(path: Path) -> str:
    """The text of a file, with "\\n" for every line end: in UTF-8, or in UTF-16 or UTF-32 with a byte-order mark; one
    that ends in .gz is unpacked.

    Raises:
        OSError: there is no such file.
        ValueError: it is not text, or damaged.
    """
    data = read_bytes(path)
    encoding = next((name for mark, name in _ENCODINGS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{str(path)!r} is not a text file (byte {error.start} is no {encoding.removesuffix('-sig').upper()}). "
            f"{_SAVE_AS}."
        ) from error
    if "\0" in text:
        raise ValueError(
            f"{str(path)!r} is not a text file (it holds zero bytes; it may be UTF-16 without a byte-order mark). "
            f"{_SAVE_AS}."
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_bytes(path: Path) -> bytes:
    """What is in a file; one that ends in .gz is unpacked. Raises OSError, and ValueError if it cannot be unpacked."""
    if not path.exists():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    data = path.read_bytes()
    if not path.name.lower().endswith(".gz"):
        return data
    try:
        return gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{str(path)!r} is no whole gzip file ({error}). Pack it anew.") from error


def read_lines(path: Path) -> list[str]:
    """The lines of a file. Only a line end parts them: a form feed, U+0085 and U+2028 may stand in a line."""
    return read_text(path).split("\n")


def check_unicode(text: str, where: str) -> str:
    """`text`, if it can be written down. Raises ValueError if it holds half a character (a lone surrogate)."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where} holds half a character, U+{ord(text[error.start]):04X} (a lone surrogate), so it is no text. "
            "Write the character whole, leave it out, or decode what you read with errors='replace'."
        ) from error
    return text
