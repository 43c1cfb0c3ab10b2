"""How like two texts are, and how varied one is: measures that compare words.

`references` is what should be said, or once was; `generated` what a model says, one for each reference. Whether a high
similarity is good depends on the set: on a retain set it is, on a forget set it is to be like the retain model's.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import regex
from numpy.typing import ArrayLike, NDArray
from transformers import PreTrainedTokenizerBase

from ...io.optional import import_extra
from .checks import Floats, as_row, check_finite, check_pairs, check_texts
from .words import folded, spaced, words, words_and_symbols

_ARTICLES = {"a", "an", "the"}
_PUNCTUATION = regex.compile(rf"[\p{{P}}{regex.escape(string.punctuation)}]", regex.V1)


class Overlap(NamedTuple):
    """Of n pairs of texts, each (n,) and from 0 to 1.

    Attributes:
        precision: how much of the generated text is in the reference.
        recall: how much of the reference is in the generated text.
        f1: the harmonic mean of both.
    """

    precision: Floats
    recall: Floats
    f1: Floats


def rouge(
    references: Sequence[str], generated: Sequence[str], kind: Literal["rouge1", "rouge2", "rougeL"] = "rougeL"
) -> Overlap:
    """ROUGE: words (rouge1) or pairs of words (rouge2) in common, or the longest common subsequence of words (rougeL).

    Words are runs of letters, their marks, and digits, without case; each character is one in scripts without spaces
    (Chinese, Japanese, Thai, Lao, Khmer, Burmese ...). English ones of more than three letters are stemmed (Porter).
    Symbols count only where a text has nothing else. Source: Lin, "ROUGE: A Package for Automatic Evaluation of
    Summaries", ACL workshop 2004. On ASCII text the scores are those of rouge-score, which counts; it knows no other
    letters, and cuts "café" to "caf".

    Args:
        references: n texts.
        generated: n texts. An empty one scores 0.
        kind: which of the three.

    Raises:
        TypeError: a text is no string.
        ValueError: the numbers of texts differ, there are none, a reference is blank, or `kind` is unknown.
        ImportError: rouge-score is missing.
    """
    check_pairs(references, generated)
    if kind not in ("rouge1", "rouge2", "rougeL"):
        raise ValueError(f"Unknown kind {kind!r}. Use 'rouge1', 'rouge2' or 'rougeL'.")
    scorer = import_extra("rouge_score.rouge_scorer", "eval").RougeScorer([kind], tokenizer=_StemmedWords())
    scores = [scorer.score(reference, text)[kind] for reference, text in zip(references, generated, strict=True)]
    return Overlap(*np.array(scores, dtype=np.float64).T)


def rouge_l_recall(answers: Sequence[str], generated: Sequence[str]) -> Floats:
    """The recall of `rouge` with the kind rougeL, which is TOFU's accuracy of generated answers (arXiv 2401.06121,
    section 2.2): (n,), from 0 to 1. TOFU takes the mean. Errors as in `rouge`."""
    return rouge(answers, generated, "rougeL").recall


def bleu(references: Sequence[str], generated: Sequence[str]) -> Floats:
    """Sentence BLEU of each pair, from 0 to 1: (n,).

    sacreBLEU's: up to four words in a row, tokenisation 13a, exponential smoothing, no orders longer than the text,
    divided by 100. In scripts without spaces (Chinese, Japanese, Thai ...) each character is a word. Source: Papineni
    et al., "BLEU: a Method for Automatic Evaluation of Machine Translation", ACL 2002; Post, "A Call for Clarity in
    Reporting BLEU Scores", WMT 2018.

    Raises:
        TypeError: a text is no string.
        ValueError: the numbers of texts differ, there are none, or a reference is blank.
        ImportError: sacrebleu is missing.
    """
    check_pairs(references, generated)
    sentence_bleu = import_extra("sacrebleu", "eval").sentence_bleu
    pairs = zip(map(spaced, references), map(spaced, generated), strict=True)
    scores = [sentence_bleu(text, [reference]).score for reference, text in pairs]
    return np.array(scores, dtype=np.float64) / 100


def corpus_bleu(references: Sequence[str], generated: Sequence[str]) -> float:
    """sacreBLEU of the whole set, from 0 to 1, which is not the mean of its sentences'. Otherwise as `bleu`."""
    check_pairs(references, generated)
    texts = list(map(spaced, generated)), [list(map(spaced, references))]
    corpus = import_extra("sacrebleu", "eval").corpus_bleu(*texts, force=True)
    return float(corpus.score) / 100


def meteor(references: Sequence[str], generated: Sequence[str]) -> Floats:
    """METEOR of each pair without synonyms, from 0 to 1: (n,).

    Words that are equal, then words with an equal stem (Porter), are aligned; recall counts nine times as much as
    precision, and scattered matches cost up to half. Words are those of `rouge`, and single symbols. The stage that
    matches synonyms is left out, because WordNet has to be downloaded; scores are therefore somewhat lower than full
    METEOR's. Source: Lavie and Agarwal, "METEOR: An Automatic Metric for MT Evaluation with
    High Levels of Correlation with Human Judgments", WMT 2007, section 2, with nltk's parameters.

    Raises:
        TypeError: a text is no string.
        ValueError: the numbers of texts differ, there are none, or a reference is blank.
        ImportError: nltk is missing.
    """
    check_pairs(references, generated)
    score = import_extra("nltk.translate.meteor_score", "eval").single_meteor_score
    pairs = [
        (words_and_symbols(folded(reference)), words_and_symbols(folded(text)))
        for reference, text in zip(references, generated, strict=True)
    ]
    return np.array([score(reference, text, wordnet=_NoSynonyms()) for reference, text in pairs], dtype=np.float64)


def exact_match(references: Sequence[str], generated: Sequence[str]) -> NDArray[np.bool_]:
    """Whether each generated text is its reference: (n,).

    Compared without case, punctuation of any script, the words a, an and the, and with single spaces. What consists of
    such things alone ("A", "+") keeps them. Source: Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine
    Comprehension of Text", EMNLP 2016, section 6.1.

    Raises:
        TypeError: a text is no string.
        ValueError: the numbers of texts differ, there are none, or a reference is blank.
    """
    check_pairs(references, generated)
    return np.array([_bare(reference) == _bare(text) for reference, text in zip(references, generated, strict=True)])


def average_similarity_gap(unlearned: Mapping[str, ArrayLike], retain: Mapping[str, ArrayLike]) -> float:
    """How far a model's texts are from as similar to the references as the retain model's are: the mean over several
    similarities of |mean of the unlearned model's scores - mean of the retain model's|.

    Low is good; 0: on average the texts are just as similar, neither more (knowledge left) nor less (rubbish). From 0
    to 1 where the similarities are. Source: Liu et al., "Large Language Model Unlearning via Embedding-Corrupted
    Prompts", NeurIPS 2024, arXiv 2406.07933, for texts from books and news. The similarities are the caller's choice,
    usually ROUGE, BLEU, METEOR and BERTScore.

        def similarities(texts):
            return {"rouge-l": rouge(references, texts).f1, "bleu": bleu(references, texts)}

        average_similarity_gap(similarities(unlearned_texts), similarities(retain_texts))

    Args:
        unlearned: by the name of a similarity, its scores of the unlearned model's texts: (n,).
        retain: the same of the retain model's texts.

    Raises:
        ValueError: the names differ, there are none, or a score is missing or not finite.
    """
    if not unlearned or unlearned.keys() != retain.keys():
        raise ValueError(f"Both must have the same similarities, got {sorted(unlearned)} and {sorted(retain)}.")
    gaps = [as_row(name, unlearned[name]).mean() - as_row(name, retain[name]).mean() for name in unlearned]
    return check_finite("The mean of the gaps", np.abs(gaps).mean())


def unique_token_ratio(generated: Sequence[str], tokenizer: PreTrainedTokenizerBase | None = None) -> Floats:
    """The share of distinct tokens among the tokens of each text: (n,), from 0 to 1.

    Low: the text repeats itself. It falls with a text's length, so compare texts of about the same length. A text
    without tokens has 0. The mean over the texts is reported by Liu et al. 2024 (arXiv 2406.07933).

    Args:
        generated: n texts.
        tokenizer: says what the tokens are; special tokens are not added. None: the words of `rouge`, and single
            symbols.

    Raises:
        TypeError: a text is no string.
        ValueError: there are no texts.
    """
    check_texts("generated", generated)
    tokens: list[list[str]]
    if tokenizer is None:
        tokens = [words_and_symbols(folded(text)) for text in generated]
    else:
        tokens = [tokenizer.tokenize(text) for text in generated]
    return np.array([len(set(own)) / max(len(own), 1) for own in tokens], dtype=np.float64)


class _StemmedWords:
    """Says what the words of a text are, as rouge-score asks it."""

    def __init__(self) -> None:
        self._stem = import_extra("nltk.stem.porter", "eval").PorterStemmer().stem

    def tokenize(self, text: str) -> list[str]:
        return [self._stem(word) if len(word) > 3 and word.isascii() else word for word in words(text)]


class _NoSynonyms:
    """Stands in for WordNet."""

    def synsets(self, word: str) -> list[object]:
        return []


def _bare(text: str) -> str:
    whole = folded(text).split()
    plain = _PUNCTUATION.sub("", " ".join(whole)).split()
    return " ".join([word for word in plain if word not in _ARTICLES] or plain or whole)
