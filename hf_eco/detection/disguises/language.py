"""What reads like language: function words, and how likely a string of letters is as a word."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from operator import add


def word_list(text: str) -> list[str]:
    """A long list, written as text."""
    return text.split()


QUESTION_WORDS = frozenset(word_list("who whom whose what when where which why how"))
AUXILIARIES = frozenset(word_list("is are was were does did do has have had can could will would should"))
DETERMINERS = frozenset(word_list("the a an his her its their my your our this"))
PREPOSITIONS = frozenset(word_list("of in on at to from by with for about into as than"))
# Of English and of the languages that Latin letters are most used for.
_OTHER_FUNCTION_WORDS = word_list("""
and or but if then that these those it he she they we you me him them us be been being am not no yes so there
here please tell explain describe write give name list show make help know answer question https www com also all
any some more most many much one two first other only up out over after before between because while during
through under again very just like same each such own too now new year years time people world el la los las
un una de del en y que es por para con su se lo como quien donde cuando fue son al mas le les des du et est
dans pour une qui que sur avec son sa par ce cette il elle au aux pas ne der die das und ist den von zu mit
ein eine auf fur im dem nicht wer wie wo war sich des als auch il di che non per sono chi cosa della nel uno
gli piu da os um uma do dos na no em com foi quem onde mais het een van op te dat wie wat niet zijn voor met
""")
FUNCTION_WORDS = QUESTION_WORDS.union(AUXILIARIES, DETERMINERS, PREPOSITIONS, _OTHER_FUNCTION_WORDS)
WORD = re.compile(r"[^\W\d_]+")
# -3 ln P(next letter | letter), from "0" up, rows and columns a space (the word's end) and a to z: counted over
# English prose and names.
_LETTER_PAIRS = word_list("""
I7:99;9;:7?>;:;9:=;86>>8B?E 7G<:<EA=C;H>6:5I=I676==AB<B :7=?B4EFE98F6DE6AF8=A7FFF8F ;6H=F6HC5:H98EE6BG:A6:GFH>H
2:BD=6D@G7IH>AB7FH<9B;DAH>I 3:A;9<=@D?HD;;7B=@67:D=?;=A 46FGG9:DG6FE;GG5DG8D;9GGG@G 49BDD4E=98FE:A;9FG9<?9G>GBF
75EHE3IIH8IIBBC6FI=D=?IFI<I ;<=9:::<IEH?9;47>G:67B<G@I? 85AAA3?AA<A>AAA6AA>@A7@AAAA 39ABC4DB?7DB=?:=>D>8?=B?D>D
57BB95<EH7GA7@D8AID:;:AAI9H 75:BG3EEF8HGD;B78HA<D:HGH;H 49D:77B7C;E@?B=:EIF:6>@GI>E 6@<=:;8>C?I=:95;;I6;98=9E@E
86BF@5EG:9GE6DC69G6=8;GEG<F ?BBBBBBBBBBB@BBBBBBBB0ABBBB 56A>:5C=E7I??<;8@H99:<BBI9H 2<D<E7EG;9I>>A@:<DH96;IAI;I
48G?G6EI47II?DE8EI:;;<H?I=G ;;<;<5?;F:HB887A:H767EGHABD =5DDD2DDC6DDCDC9CDA@DCDDDCD 77EFC8FG36GC:G<7FG;>BEGGGDG
48A5A7ABA:BBBAB@5BB@7BBB>AB 1@AAC:@EF=DG??<::F@::DE>GFG 35@@@5@@@9@:>@?:@@??@;@=@==
""")
_LETTERS = " abcdefghijklmnopqrstuvwxyz"
_PAIR_COST = {
    first + second: (ord(cost) - ord("0")) / 3
    for first, row in zip(_LETTERS, _LETTER_PAIRS, strict=True)
    for second, cost in zip(_LETTERS, row, strict=True)
}
_FUNCTION_WORD_COST = 5.5  # nats: about one word in 250, which the common ones are at least


@lru_cache(maxsize=1 << 15)
def word_cost(word: str) -> float:
    """-ln P(word) in nats, for a word of a to z; about 2.6 for each letter and the end of an English one."""
    padded = f" {word} "
    cost = sum(map(_PAIR_COST.__getitem__, map(add, padded, padded[1:])))
    return min(cost, _FUNCTION_WORD_COST) if word in FUNCTION_WORDS else cost


def pair_cost(first: str, second: str) -> float:
    """-ln P(second | first) in nats, for letters a to z and " ", a word's end."""
    return _PAIR_COST[first + second]


def is_latin(word: str) -> bool:
    """Whether all of `word` are letters a to z and A to Z."""
    return word.isascii() and word.isalpha()


def average_cost(text: str) -> float:
    """Nats per letter of the words of `text`, ends of words counted as letters; infinite if it has no Latin word."""
    words = [word for word in WORD.findall(text.lower()) if word.isascii()]
    return sum(map(word_cost, words)) / sum(len(word) + 1 for word in words) if words else float("inf")


def accentless(text: str) -> str:
    """`text` with the letters' accents taken off."""
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
