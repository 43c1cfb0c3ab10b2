"""One message must not stop a server: the work of a verdict grows with the length of a text, whatever the text.

The bound: 3,200 bytes of a text that was made to take long take at most ten times the function calls of as much
ordinary text, for plain and hashed names together. Calls are counted, not seconds: they do not hang on the machine.
`benchmarks/adversarial_texts.py` measures seconds, of more families and longer texts.
"""

from __future__ import annotations

import cProfile
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hf_eco.detection.names.detector import NamesDetector
from hf_eco.detection.names.hashed import HashedNamesDetector, hash_names
from hf_eco.guard.judging import judge_prompts
from hf_eco.guard.prompt_reader import DecodedPrompt

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from adversarial_texts import FAMILIES, names, ordinary

KEY = b"k" * 32
SIZE = 3_200  # bytes
MOST = 10  # times the work of ordinary text of the same length


@pytest.fixture(scope="module")
def detectors():
    known = names()[::25]
    plain = NamesDetector({name: [name] for name in known})
    records = {f"request-{i}": hash_names(f"request-{i}", [name], KEY) for i, name in enumerate(known)}
    hashed = HashedNamesDetector(records, KEY)
    for detector in (plain, hashed):
        detector.detect([ordinary(400), *(FAMILIES[name](100) for name in ("cyrillic", "greek", "kana", "han"))])
    return [plain, hashed]


@pytest.fixture(scope="module")
def usual(detectors) -> int:
    return work(detectors, ordinary(SIZE))


def calls(function: Callable[[], object]) -> int:
    """How many functions are called, of Python and of C."""
    profile = cProfile.Profile()
    profile.runcall(function)
    return sum(entry.callcount for entry in profile.getstats())


def work(detectors, text: str) -> int:
    return calls(lambda: judge_prompts(detectors, lambda scope: 0.5, [DecodedPrompt(text, (), ((0, len(text)),))]))


SOME = (
    "a_long_word_before_a_name", "last_name", "full_name_joined", "almost_joined", "names_of_all", "near_names_joined",
    "spellings_of_one", "middle_names", "unknown_names", "run_together", "dotted_letters", "han_name", "random_hangul",
    "base64_nested", "apart", "side_by_side", "random_han",
)  # fmt: skip


@pytest.mark.parametrize("family", SOME)
def test_no_text_takes_many_times_the_work_of_ordinary_text(family, detectors, usual):
    assert work(detectors, FAMILIES[family](SIZE)) <= MOST * usual
