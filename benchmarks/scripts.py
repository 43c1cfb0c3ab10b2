"""Names in other scripts than they were given in: how many are found, and how many are found where they do not stand.

    python benchmarks/scripts.py --others names.txt --json scripts.json

Well-known people, by their names in Latin letters, are looked for in a short question in eight languages that spells
them as its readers do (`data/native_spellings.tsv`). Rows with an even number were used in development; those with an
odd one were not, and are "held out". Printed for each language: "recall", by half; "reverse", the recall of the
native spelling as the scope's name in a question in English; "others", the share of the questions in which somebody
else is found, of the same people and of those of `--others`; "sentences", in how many of the ordinary sentences of
`data/native_sentences.tsv` somebody is found. Mentions that leave a prompt uncertain count as not found.

With `--spellings data/native_spellings_development.tsv` the people are 227 others, all of whom were used in
development; "tw" is how Taiwan writes those whom it writes otherwise.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import time
from pathlib import Path

from hf_eco.detection.names.detector import NamesDetector
from hf_eco.detection.names.words import long_enough
from hf_eco.io import read_requests

DATA = Path(__file__).parent / "data"
QUESTIONS = {
    "ru": "Кто такой {}?",
    "el": "Ποιος είναι ο {};",
    "ar": "من هو {}؟",
    "he": "מי זה {}?",
    "hi": "{} कौन है?",
    "ja": "{}とは誰ですか？",
    "zh": "{}是谁？",
    "tw": "{}是誰？",
    "ko": "{}는 누구인가요?",
}
THRESHOLD = 0.5


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def found(detector: NamesDetector, text: str) -> set[str]:
    return {own.scope for own in detector.detect([text])[0] if own.probability >= THRESHOLD and not own.weak}


def share(flags: list[bool]) -> float:
    return sum(flags) / len(flags)


def measure(language: str, people: list[dict[str, str]], detector: NamesDetector, native: NamesDetector) -> dict:
    question = QUESTIONS[language]
    start = time.perf_counter()
    named = [found(detector, question.format(person[language])) for person in people]
    spent = time.perf_counter() - start
    hits = [person["name"] in own for person, own in zip(people, named, strict=True)]
    back = [person[language] in found(native, f"Who is {person['name']}?") for person in people]
    wrong = [bool(own - {person["name"]}) for person, own in zip(people, named, strict=True)]
    sentences = [row["sentence"] for row in rows(DATA / "native_sentences.tsv") if row["language"] == language]
    return {
        "language": language,
        "recall_development": share(hits[::2]),
        "recall_held_out": share(hits[1::2]),
        "reverse_held_out": share(back[1::2]),
        "others": share(wrong),
        "sentences": sum(bool(found(detector, sentence)) for sentence in sentences),
        "of_sentences": len(sentences),
        "question_ms": 1000 * spent / len(people),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--others", help="More names for the index: .txt, one a line; .csv or .jsonl.")
    parser.add_argument("--spellings", type=Path, default=DATA / "native_spellings.tsv")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    people = rows(options.spellings)
    languages = [language for language in QUESTIONS if language in people[0]]
    others = itertools.chain(*(r.names for r in read_requests(options.others).values())) if options.others else ()
    detector = NamesDetector({name: [name] for name in [person["name"] for person in people] + list(others)})
    detector.detect([QUESTIONS[language].format(people[0][language]) for language in languages])  # the tables
    made = []
    for language in languages:
        spelt = [person for person in people if person[language]]
        native = NamesDetector(
            {person[language]: [person[language]] for person in spelt if long_enough(person[language])}
        )
        made.append(measure(language, spelt, detector, native))
        print({key: round(value, 3) if isinstance(value, float) else value for key, value in made[-1].items()})
    if options.json:
        result = {"command": "benchmarks/scripts.py", "names": len(detector), "rows": made}
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
