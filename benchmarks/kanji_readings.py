"""Makes hf_eco/data/kanji.json: how Japanese names, and Korean names in Chinese characters, are read, and
which characters stand for each other.

    python benchmarks/kanji_readings.py --unihan DIR --names DIR --opencc DIR

`--unihan` holds Unihan_Readings.txt, Unihan_OtherMappings.txt and Unihan_Variants.txt of the Unicode Character
Database (Unicode License; Debian's package `unicode-data` has them). `--names` holds first_name_man_org.csv,
first_name_woman_org.csv and last_name_org.csv of the package `japanese-personal-name-dataset` 0.4.0 (MIT).
`--opencc` holds JPVariants.txt of the package `opencc-python-reimplemented` 0.1.7 (Apache License 2.0).

Unihan says how a character is read in words. How it is read in names is learnt from names and their kana: a name whose
other characters are known says how the last one is read, and a reading counts if several names say so. Names that are
still not read character by character (長谷川 hasegawa) are kept whole, if they are last names.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from hf_eco.data import SHIPPED
from hf_eco.detection.names.kanji import later, plain_romaji, romaji_of_kana

NOTICE = (
    "Readings of characters, made by benchmarks/kanji_readings.py from three sources. "
    "1. The Unihan database of the Unicode Character Database 15.0, Copyright (c) 1991-2022 Unicode, Inc. All rights "
    "reserved. Distributed under the Terms of Use in https://www.unicode.org/copyright.html and the Unicode License, "
    "https://www.unicode.org/license.txt: permission is granted, free of charge, to deal in the data files without "
    "restriction, provided that this copyright and permission notice appear with all copies. "
    "2. japanese-personal-name-dataset 0.4.0, Copyright (c) 2022 shuheilocale, MIT License: permission is granted, "
    "free of charge, to deal in it without restriction, provided that the above copyright notice and this permission "
    "notice are included in all copies or substantial portions. "
    "3. The dictionary JPVariants of OpenCC, as opencc-python-reimplemented 0.1.7 holds it, Copyright (c) Carbo Kuo "
    "and the contributors of OpenCC, Apache License 2.0, http://www.apache.org/licenses/LICENSE-2.0; merged "
    "with the first. "
    'All are provided "as is", without warranty of any kind, express or implied.'
)
READ_IN_NAMES = {"金": "김"}  # Kim
ALIKE = ("邊邉", "渕淵", "桑桒")  # in last names; the sources do not say so
_CHARACTER = re.compile("[\u3400-\u9fff\ufa0e-\ufa29]")
ROUNDS = 4
ENOUGH = 2  # names that say a reading that Unihan does not have
MUCH_MORE = 10
WELL_KNOWN = 10  # names with a character, which then say its native readings,
LONG = 5  # unless one has so many letters that it is hardly there by accident
_ENDINGS = re.compile("(?:i|ru|eru|aru|u|mu|ku|su|shii|ka|raka|yaka)$")

Readings = dict[str, set[str]]


def unihan(folder: Path, file: str, *fields: str) -> dict[str, dict[str, str]]:
    """character -> field -> value."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for line in (folder / f"Unihan_{file}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("U+"):
            point, field, value = line.split("\t")
            if field in fields:
                found[chr(int(point[2:], 16))][field] = value
    return found


class Words(NamedTuple):
    """How characters are read in words: `said` in a dictionary, `sino` those of them that come from Chinese, and what
    a name `may` make of a verb."""

    said: Readings
    sino: Readings
    may: Readings


def readings_in_words(folder: Path) -> Words:
    words = Words(defaultdict(set), defaultdict(set), defaultdict(set))
    for character, fields in unihan(folder, "Readings", "kJapaneseOn", "kJapaneseKun").items():
        words.sino[character] |= {plain_romaji(reading) for reading in fields.get("kJapaneseOn", "").lower().split()}
        native = fields.get("kJapaneseKun", "").lower().split()
        words.said[character] |= words.sino[character] | {plain_romaji(reading) for reading in native}
        words.may[character] |= {plain_romaji(stem) for reading in native for stem in _stems(reading)}
    return words


def _stems(reading: str) -> Iterator[str]:
    """hiroi -> hiro, noboru -> nobo, nobori."""
    match = _ENDINGS.search(reading)
    if match and match.start() > 1 and reading[match.start() - 1] in "aeioun":
        yield reading[: match.start()]
    if reading.endswith("u"):
        yield reading[:-1] + "i"


def names(folder: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(first names, last names), each with its reading."""
    first = []
    for file in ("first_name_man_org.csv", "first_name_woman_org.csv"):
        with (folder / file).open(encoding="utf-8", newline="") as lines:
            for kana, _, *written in csv.reader(lines):
                first += [(name, plain_romaji(romaji_of_kana(kana))) for name in written]
    with (folder / "last_name_org.csv").open(encoding="utf-8", newline="") as lines:
        last = [(name, plain_romaji(romaji_of_kana(kana))) for name, _, kana, _ in csv.reader(lines)]
    return first, last


def aligned(name: str, sound: str, known: Readings) -> tuple[int, list[tuple[str, str]]]:
    """How many characters are not read as known at least, and one such reading."""
    best: dict[tuple[int, int], tuple[int, list[tuple[str, str]]]] = {(0, 0): (0, [])}
    for i, character in enumerate(name):
        for start in range(len(sound) + 1):
            if (i, start) not in best:
                continue
            cost, so_far = best[i, start]
            variants = {v: r for r in known.get(character, ()) for v in later(r, sound[:start])}
            for end in range(start, len(sound) + 1):
                part = sound[start:end]
                if part in variants:
                    here, reading = 0, variants[part]
                elif 0 < end - start <= 8 and _is_syllables(sound, start, end):
                    here, reading = 1, part
                else:
                    continue
                if (i + 1, end) not in best or cost + here < best[i + 1, end][0]:
                    best[i + 1, end] = (cost + here, [*so_far, (character, reading)])
    return best.get((len(name), len(sound)), (len(name) + 1, []))


def _is_syllables(sound: str, start: int, end: int) -> bool:
    """Whether a part of a name begins and ends where a syllable does."""
    return all(cut in (0, len(sound)) or sound[cut - 1] in "aeioun" for cut in (start, end))


def learnt(pairs: list[tuple[str, str]], words: Words) -> dict[str, dict[str, int]]:
    """For each character of names, its readings and how many names say them."""
    known: Readings = {character: own | words.may[character] for character, own in words.said.items()}
    for _ in range(ROUNDS):
        counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for name, sound in pairs:
            unknown, parts = aligned(name, sound, known)
            if unknown <= 1:
                for character, reading in parts:
                    counts[character][reading] += 1
        for character, own in counts.items():
            known[character] = known.get(character, set()) | set(_established(own))
    return counts


def _established(counts: dict[str, int]) -> list[str]:
    """Readings that enough names say, without those that are another with a neighbour's sound."""
    return [
        reading
        for reading, count in counts.items()
        if count >= ENOUGH
        and not any(
            other != reading and (reading.endswith(other) or reading.startswith(other)) and more > MUCH_MORE * count
            for other, more in counts.items()
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unihan", type=Path, required=True)
    parser.add_argument("--names", type=Path, required=True)
    parser.add_argument("--opencc", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=SHIPPED / "kanji.json")
    options = parser.parse_args()
    first, last = names(options.names)
    words = readings_in_words(options.unihan)
    lists = set(unihan(options.unihan, "OtherMappings", "kJoyoKanji", "kJinmeiyoKanji"))
    in_family, in_given = (readings_in_names(pairs, words, lists) for pairs in (last, first))
    whole = [pair for pair in dict.fromkeys(last) if _is_kanji(pair[0]) and aligned(*pair, in_family)[0]]
    hangul = korean(options.unihan)
    known = set(in_family) | set(in_given) | set("".join(hangul.values()))
    made = {
        "notice": NOTICE,
        "family": inverted((c, r) for c, own in in_family.items() for r in own),
        "family_whole": inverted(whole, " "),
        "given": inverted((c, r) for c, own in in_given.items() for r in own),
        "korean": hangul,
        "variants": variants(options.unihan, known),
        "alike": " ".join(alike(options.unihan, options.opencc)),
    }
    options.output.write_text(json.dumps(made, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


def readings_in_names(pairs: list[tuple[str, str]], words: Words, lists: set[str]) -> Readings:
    """For each character of a list or of a name, its readings in names of a kind."""
    pairs = [pair for pair in dict.fromkeys(pairs) if _is_kanji(pair[0])]
    counts = learnt(pairs, words)
    alone: Readings = defaultdict(set)
    for name, sound in pairs:
        alone[name].add(sound)
    found: Readings = {}
    for character in sorted(lists | set(counts)):
        own, said = counts.get(character, {}), words.said[character]
        expected = said | words.may[character]
        found[character] = {r for r in own if r in expected} | set(_established(own)) | alone[character]
        if sum(own.values()) < WELL_KNOWN:
            found[character] |= said
        else:
            found[character] |= {r for r in said if r in words.sino[character] or len(r) >= LONG}
    return found


def inverted(pairs: Iterable[tuple[str, str]], between: str = "") -> dict[str, str]:
    """reading -> all that are read so."""
    found: dict[str, set[str]] = defaultdict(set)
    for written, reading in pairs:
        if any(c in "aeiou" for c in reading):
            found[reading].add(written)
    return {reading: between.join(sorted(own)) for reading, own in sorted(found.items())}


def _is_kanji(name: str) -> bool:
    return bool(re.fullmatch("[\u4e00-\u9fff]+", name))


def korean(folder: Path) -> dict[str, str]:
    """Syllable -> characters of KS X 1001 that are read so; in the reading that schools teach if there is one."""
    found: dict[str, str] = defaultdict(str)
    for character, fields in sorted(unihan(folder, "Readings", "kHangul").items()):
        entries = [entry.split(":") for entry in fields["kHangul"].split()]
        entries.sort(key=lambda entry: "E" not in entry[1])
        syllable, source = entries[0]
        if "0" in source:
            found[READ_IN_NAMES.get(character, syllable)] += character
    return dict(sorted(found.items()))


def variants(folder: Path, known: set[str]) -> dict[str, str]:
    """Characters that mainland China simplified -> those that others write in their place."""
    found = {}
    for character, fields in sorted(unihan(folder, "Variants", "kTraditionalVariant").items()):
        others = {chr(int(point[2:], 16)) for point in fields["kTraditionalVariant"].split()} & known - {character}
        if others:
            found[character] = "".join(sorted(others))
    return found


def alike(unihan_folder: Path, opencc_folder: Path) -> list[str]:
    """Groups of characters of which one stands for the other. Where Unihan says that two mean the same, or do in some
    uses, it must say so of both: otherwise one often means more."""
    groups: dict[str, set[str]] = {}
    for pair in (*_unihan_pairs(unihan_folder), *_opencc_pairs(opencc_folder), *ALIKE):
        if all(map(_CHARACTER.fullmatch, pair)):
            joined = set().union(*(groups.get(character, {character}) for character in pair))
            groups.update(dict.fromkeys(joined, joined))
    return sorted({"".join(sorted(group)) for group in groups.values() if len(group) > 1})


def _unihan_pairs(folder: Path) -> Iterator[str]:
    same = ("kSimplifiedVariant", "kTraditionalVariant", "kZVariant")
    similar = ("kSemanticVariant", "kSpecializedSemanticVariant")
    said = {
        field: {
            character + chr(int(point.partition("<")[0][2:], 16))
            for character, own in unihan(folder, "Variants", field).items()
            for point in own[field].split()
        }
        for field in (*same, *similar)
    }
    for field in same:
        yield from said[field]
    for field in similar:
        yield from (pair for pair in said[field] if pair[::-1] in said[field])
    for character, fields in unihan(folder, "OtherMappings", "kJinmeiyoKanji").items():
        if point := fields["kJinmeiyoKanji"].partition(":U+")[2]:
            yield character + chr(int(point, 16))


def _opencc_pairs(folder: Path) -> Iterator[str]:
    for line in (folder / "JPVariants.txt").read_text(encoding="utf-8").splitlines():
        character, variants = line.split("\t")
        yield from (character + variant for variant in variants.split())


if __name__ == "__main__":
    main()
