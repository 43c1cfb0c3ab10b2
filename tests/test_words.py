"""What the metrics of texts take for words: in every script, and in English just as rouge-score does."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_eco.evaluation.metrics import bleu, exact_match, meteor, rouge, rouge_l_recall, unique_token_ratio
from hf_eco.evaluation.metrics.words import spaced, words, words_and_symbols

for library in ("rouge_score", "sacrebleu", "nltk"):
    pytest.importorskip(library)

# An answer, how many words it has, and the same with another word in the place of one
ANSWERS = {
    "Russian": ("Он родился в Москве, в 1952 году.", 7, "Он родился в Киеве, в 1952 году."),
    "Greek": ("Γεννήθηκε στην Αθήνα το φθινόπωρο.", 5, "Γεννήθηκε στην Πάτρα το φθινόπωρο."),
    "Hindi": ("उनका जन्म दिल्ली में हुआ था।", 6, "उनका जन्म मुंबई में हुआ था।"),
    "Arabic": ("وُلِدَ في القاهرة قبل الحرب", 5, "وُلِدَ في بغداد قبل الحرب"),
    "Persian": ("او می‌خواهد در تهران بماند", 5, "او می‌خواهد در شیراز بماند"),
    "Korean": ("그는 서울에서 태어났다 그리고 자랐다", 5, "그는 부산에서 태어났다 그리고 자랐다"),
    "Japanese": ("彼は1952年に東京で生まれた。", 12, "彼は1953年に東京で生まれた。"),
    "Chinese": ("她在北京出生。", 6, "她在北方出生。"),
    "Thai": ("เขาเกิดที่น่าน", 10, "เขาเกิดที่น่าย"),
    "Burmese": ("သူမန္တလေး", 4, "သူမန္တလော"),
    "French": ("Il a étudié à l’école de Liège.", 8, "Il a étudié à l’école de Namur."),
}


@pytest.mark.parametrize("script", ANSWERS)
def test_an_answer_is_compared_word_by_word_in_its_script(script: str) -> None:
    answer, count, other = ANSWERS[script]
    assert len(words(answer)) == count
    assert rouge_l_recall([answer] * 3, [answer, other, "🎉"]) == pytest.approx([1, (count - 1) / count, 0])
    assert rouge([answer], [answer], "rouge2").f1 == 1
    assert bleu([answer], [answer]) == pytest.approx([1])
    assert 0.3 < bleu([answer], [other])[0] < 1
    assert meteor([answer], [answer])[0] > 0.95 > meteor([answer], [other])[0]
    assert exact_match([answer] * 2, [answer.rstrip("।.。") + "!", other]).tolist() == [True, False]


def test_marks_stay_with_their_letter_and_what_cannot_be_seen_parts_no_word() -> None:
    assert words("हिन्दी") == ["हिन्दी"] and words("น้ำ") == ["น้ำ"]
    assert words("Cafe\u0301 for\u00adget می\u200cخواهد a\u200bb") == ["café", "forget", "میخواهد", "a", "b"]
    assert words("ΟΔΟΣ Straße") == words("οδος STRASSE")
    assert words_and_symbols("हिन्दी? 東京!") == ["हिन्दी", "?", "東", "京", "!"]
    assert unique_token_ratio(["हिन्दी हिन्दी", "東東東京"]) == pytest.approx([1 / 2, 1 / 2])


def test_symbols_count_where_a_text_has_nothing_else() -> None:
    assert rouge_l_recall(["∞", "∞", "+ -", "?"], ["∞", "0", "+", "Is it?"]).tolist() == [1, 0, 0.5, 0]
    assert exact_match(["+", "A", "The", "a"], ["-", "", "the.", "A."]).tolist() == [False, False, True, True]


_SOME_WORDS = ["The", "running", "dogs'", "well-known", "it's", "42%", "of", "U.S.", "cities_and", "happily", "were,"]
_ENGLISH = st.one_of(
    st.text(st.characters(min_codepoint=9, max_codepoint=126), min_size=1, max_size=60),
    st.lists(st.sampled_from(_SOME_WORDS), min_size=1, max_size=20).map(" ".join),
)
_WITH_WORDS = _ENGLISH.filter(lambda text: any(map(str.isalnum, text)))


@settings(max_examples=300, deadline=None)
@given(
    _ENGLISH.filter(lambda text: any(map(str.isalnum, text))),
    _ENGLISH,
    st.sampled_from(["rouge1", "rouge2", "rougeL"]),
)
def test_rouge_of_ascii_text_is_rouge_scores_to_the_bit(reference: str, generated: str, kind: str) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    expected = RougeScorer([kind], use_stemmer=True).score(reference, generated)[kind]
    assert tuple(np.ravel(rouge([reference], [generated], kind))) == tuple(expected)
    assert spaced(generated) == generated  # so BLEU is sacreBLEU's


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1, max_size=30).filter(lambda text: bool(words(text))))
def test_whatever_the_script_a_text_is_like_itself(text: str) -> None:
    for same in (text, unicodedata.normalize("NFD", text)):
        assert rouge_l_recall([text], [same]) == [1] and exact_match([text], [same]).all()
    assert bleu([text], [text]) == pytest.approx([1]) and meteor([text], [text])[0] >= 0.5
