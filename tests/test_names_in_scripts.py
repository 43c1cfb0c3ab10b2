"""A name is found in other scripts than it was given in, and ordinary sentences in them name nobody."""

from __future__ import annotations

import csv
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest

from hf_eco.detection.names.detector import NamesDetector
from hf_eco.detection.names.hashed import HashedNamesDetector, hash_names
from hf_eco.detection.names.index import NameIndex
from hf_eco.detection.names.scripts import scripts_in
from hf_eco.detection.names.sounds import CLASSES, may_begin, near_keys

SENTENCES = Path(__file__).parents[1] / "benchmarks" / "data" / "native_sentences.tsv"
# A person's name in Latin letters, and as readers of each script write it.
SPELLINGS = {
    "Harry Potter": [
        "ハリー・ポッター", "哈利·波特", "هاري بوتر", "हैरी पॉटर", "해리 포터", "Гарри Поттер", "Χάρι Πότερ",
        "הארי פוטר", "แฮร์รี่ พอตเตอร์",
    ],
    "Barack Obama": [
        "バラク・オバマ", "巴拉克·奥巴马", "باراك أوباما", "बराक ओबामा", "버락 오바마", "Барак Обама", "Μπαράκ Ομπάμα",
        "ברק אובמה", "บารัก โอบามา",
    ],
    "Robert Lewandowski": [
        "ロベルト・レヴァンドフスキ", "罗伯特·莱万多夫斯基", "روبرت ليفاندوفسكي", "रॉबर्ट लेवांडोवस्की",
        "로베르트 레반도프스키",
        "Роберт Левандовский", "Ρόμπερτ Λεβαντόφσκι", "רוברט לבנדובסקי",
    ],
    "Margaret Thatcher": [
        "マーガレット・サッチャー", "玛格丽特·撒切尔", "مارغريت ثاتشر", "मार्गरेट थैचर", "Маргарет Тэтчер",
    ],
    "James Watson": ["جيمس واتسون", "ג'יימס ווטסון", "제임스 왓슨", "ジェームズ・ワトソン", "詹姆斯·沃森"],
    "Priyanka Chopra": ["प्रियंका चोपड़ा", "프리양카 초프라", "プリヤンカー・チョープラー"],
    "Charles de Gaulle": ["شارل ديغول", "샤를 드골", "夏尔·戴高乐"],  # in one word with a particle
    "Muammar Gaddafi": ["معمر القذافي"],  # with the article
    "Enrique Ruzic": ["Энрике Ружич", "エンリケ・ルジック", "恩里克·鲁日克"],  # qu and c, as they may be read
    "George Washington": ["乔治·华盛顿"],  # characters as dialects read them
    "Bill Gates": ["Билл Гейтс", "ビル・ゲイツ", "بيل غيتس"],  # ordinary words in English
    "Xi Jinping": ["习近平", "習近平", "시진핑", "Си Цзиньпин"],
    "Son Heung-min": ["손흥민", "सन ह्युंग-मिन", "Сон Хын Мин"],
    "Haruki Murakami": ["무라카미 하루키", "Харуки Мураками", "ハルキ・ムラカミ", "हारुकी मुराकामी"],
}  # fmt: skip
FRAMES = {
    "hiragana": "{}とは誰ですか？", "han": "{}是谁？", "hangul": "{}는 누구인가요?", "arabic": "من هو {}؟",
    "hebrew": "מי זה {}?",
    "indic": "{} कौन है?", "cyrillic": "Кто такой {}?", "greek": "Ποιος είναι ο {};", "thai": "{}คือใคร",
}  # fmt: skip
PAIRS = [(name, native) for name, spellings in SPELLINGS.items() for native in spellings]


def sentences() -> list[str]:
    with SENTENCES.open(encoding="utf-8", newline="") as lines:
        return [row["sentence"] for row in csv.DictReader(lines, delimiter="\t")]


def index_of(*names: str) -> NameIndex:
    index: NameIndex = NameIndex()
    index.add("scope", names)
    return index


@pytest.fixture(scope="module")
def everybody() -> NameIndex:
    return index_of(*SPELLINGS)


@pytest.mark.parametrize(("name", "native"), PAIRS)
def test_a_latin_name_is_found_where_it_stands_in_another_script(everybody: NameIndex, name: str, native: str) -> None:
    for frame in FRAMES.values():
        text = frame.format(native)
        if not _same_script(frame, native):
            continue
        found = everybody.find(text)
        assert found.keys() == {name}
        assert text[found[name].start : found[name].end] == native


def _same_script(frame: str, native: str) -> bool:
    kana, han = {"kana", "hiragana"}, {"han"}
    frame_scripts, own = scripts_in(frame.format("")), scripts_in(native)
    return bool(frame_scripts & own) or bool(frame_scripts & kana and own & (kana | han))


@pytest.mark.parametrize(
    ("given", "text", "mention"),
    [
        ("Мария Дубровская", "Where does Maria Dubrovskaya live?", "Maria Dubrovskaya"),
        ("Мария Дубровская", "マリア・ドゥブロフスカヤとは誰ですか？", "マリア・ドゥブロフスカヤ"),
        ("해리 포터", "Who is Harry Potter?", "Harry Potter"),
        ("هاري بوتر", "Who is Harry Potter?", "Harry Potter"),
        ("ハリー・ポッター", "Кто такой Гарри Поттер?", "Гарри Поттер"),
        ("习近平", "When was Xi Jinping born?", "Xi Jinping"),
        ("ムラカミ・ハルキ", "What did Haruki Murakami write?", "Haruki Murakami"),
    ],
)
def test_a_name_given_in_another_script_is_found_in_latin_letters_and_elsewhere(
    given: str, text: str, mention: str
) -> None:
    found = index_of(given).find(text)
    assert text[found[given].start : found[given].end] == mention


@pytest.mark.parametrize(
    ("text", "mention"),
    [
        ("В книге о Гарри Поттере есть сова.", "Гарри Поттер"),  # declined
        ("كتاب عن لهاري بوتر", "هاري بوتر"),  # "to" is part of the word
        ("הספר על להארי פוטר", "הארי פוטר"),
        ("해리 포터에게 편지가 왔다", "해리 포터"),
    ],
)
def test_what_grammar_adds_to_a_name_does_not_hide_it(everybody: NameIndex, text: str, mention: str) -> None:
    found = everybody.find(text)["Harry Potter"]
    assert mention in text[found.start : found.end] and len(text[found.start : found.end]) <= len(mention) + 2


@pytest.mark.parametrize("sentence", sentences())
def test_ordinary_sentences_name_nobody(everybody: NameIndex, sentence: str) -> None:
    assert everybody.find(sentence) == {}


def test_a_short_name_does_not_stand_in_ordinary_chinese() -> None:
    index = index_of("Yao Ming", "Wei Wang", "Li Ming", "Ma Long")
    for sentence in ("一里路有多长？", "你需要明白这一点。", "为了往前走，他离开了那里。"):
        assert index.find(sentence) == {}


# Japanese names in characters, in Latin letters, and in kana.
JAPANESE = [
    ("村上春樹", "Haruki Murakami", "むらかみはるき"),
    ("山口百恵", "Momoe Yamaguchi", "ヤマグチ・モモエ"),  # kuchi is voiced
    ("大野一郎", "Ichirō Ōno", "おおのいちろう"),  # a long o, however it is written
    ("佐々木翔太", "Shota Sasaki", "ササキ・ショウタ"),  # the character before, once more
    ("長谷川健二", "Kenji Hasegawa", "はせがわけんじ"),  # read as a whole
    ("神保哲平", "Teppei Jimbo", "じんぼてっぺい"),  # m for n, double letters
    ("吉本ばなな", "Banana Yoshimoto", "ヨシモト・バナナ"),  # partly in kana
]


@pytest.mark.parametrize(("written", "latin", "kana"), JAPANESE)
def test_a_japanese_name_is_found_by_how_its_characters_are_read(written: str, latin: str, kana: str) -> None:
    first, last = latin.split()
    for given in (latin, f"{last} {first}", kana):
        index = index_of(given)
        for frame in ("{}とは誰ですか？", "昨日、作家の{}さんに会った。", "{}の小説", "作家{}氏"):
            text = frame.format(written)
            mention = index.find(text)[given]
            assert text[mention.start : mention.end] == written and not mention.weak
    index = index_of(written)
    for spelling in (latin, f"{last} {first}", latin.lower(), kana):
        text = f"{spelling}の小説" if spelling == kana else f"what did {spelling} write?"
        mention = index.find(text)[written]
        assert text[mention.start : mention.end] == spelling and not mention.weak


@pytest.mark.parametrize(
    ("given", "text", "mention"),
    [
        ("Haruki Murakami", "村上春树是谁？", "村上春树"),  # simplified
        ("Haruki Murakami", "村上　春樹とは誰ですか？", "村上　春樹"),
        ("Taira no Kiyomori", "平清盛とは誰ですか？", "平清盛"),
        ("Ban Ki-moon", "潘基文是谁？", "潘基文"),  # Korean, in Chinese characters
        ("金大中", "Who was Kim Dae-jung?", "Kim Dae-jung"),  # a small letter behind a hyphen
        ("반기문", "Who is Ban Ki-moon?", "Ban Ki-moon"),
        ("習近平", "シュウ・キンペイとは誰ですか？", "シュウ・キンペイ"),  # Chinese, as Japanese read it
    ],
)
def test_names_in_chinese_characters_are_read_as_each_language_reads_them(given: str, text: str, mention: str) -> None:
    found = index_of(given).find(text)
    assert text[found[given].start : found[given].end] == mention


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("習近平", "习近平"),  # simplified
        ("刘国强", "劉國強"),  # traditional
        ("宮澤喜一", "宮沢喜一"),  # as Japan writes it since 1946
        ("齋藤健", "斉藤健"),
        ("渡邊恒雄", "渡辺恒雄"),
        ("渡邉恒雄", "渡边恒雄"),
        ("髙嶋幸太", "高島幸太"),
    ],
)
def test_a_name_in_characters_is_found_in_other_forms_of_them(given: str, said: str) -> None:
    key = bytes(16)
    records = {"a": hash_names("a", [given], key)}
    for detector in (NamesDetector({"a": [given]}), HashedNamesDetector(records, key)):
        for text in (f"他问，{said}是谁？", f"Who is {said}?", f"「{said}さんは」"):
            (found,) = detector.detect([text])
            assert any(text[d.start : d.end] == said and not d.weak for d in found)
            assert not detector.detect([text.replace(said, said[:-1] + "亀")])[0]


@pytest.mark.parametrize(
    "text",
    [
        "村上龍の小説を読みました。",  # another first name
        "田中春樹さんに会った。",  # another last name
        "春樹と村上について話した。",  # not next to each other
        "利根川進とは誰ですか？",  # 利根 may be read Satoshi Kon, but goes on
        "今後の予定を教えてください。",
        "我们下面有一个明智的办法。",
    ],
)
def test_other_words_in_characters_are_nobody(text: str) -> None:
    index = index_of("Haruki Murakami", "Satoshi Kon", "Goro Kon", "Ichiro Akechi")
    assert not [name for name, mention in index.find(text).items() if not mention.weak]


def test_in_the_middle_of_chinese_a_japanese_name_is_uncertain() -> None:
    """Nothing says where a word begins there."""
    assert index_of("Haruki Murakami").find("他昨天读了村上春树写了很久那本书。")["Haruki Murakami"].weak


def test_other_people_of_one_of_the_names_are_others() -> None:
    index = index_of("Charles Darwin", "Neil Armstrong", "David Beckham")
    for text in ("Чарльз Диккенс", "Луи Армстронг", "데이비드 캐머런", "チャールズ・チャップリン", "ديفيد كاميرون"):
        assert index.find(text) == {}


def test_a_name_of_ordinary_words_is_not_looked_for_by_sound() -> None:
    assert index_of("The Office").find("Де Офис") == {}


def test_removed_names_are_found_no_more_and_leave_nothing_behind() -> None:
    index: NameIndex = NameIndex()
    index.add("kept", ["Margaret Thatcher"])
    gone = ["Harry Potter", "習近平", "Haruki Murakami", "長谷川健二", "むらかみはるか"]
    index.add("gone", gone)
    texts = ("ハリー・ポッター", "Кто такой Гарри Поттер?", "Xi Jinping", "村上春樹", "Kenji Hasegawa", "村上春香")
    assert all(index.find(text) for text in texts)
    index.remove("gone", gone)
    assert not any(index.find(text) for text in texts)
    index.add("again", ["Harry Potter"])
    assert index.find(texts[0]).keys() == {"Harry Potter"}
    index.remove("again", ["Harry Potter"])
    index.remove("kept", ["Margaret Thatcher"])
    assert not index._sounds._given and not any(table._heard for table in index._sounds._tables.values())
    assert not index._sounds._kanji._letters and not index._sounds._kanji._written
    assert not index._sounds._kanji._characters


def test_names_that_come_later_are_found_alike() -> None:
    early, late = index_of(*SPELLINGS), index_of("Margaret Thatcher")
    late.find("ハリー・ポッターとは誰ですか？")  # the table for kana is made now
    late.add("scope", list(SPELLINGS))
    for _, native in PAIRS:
        assert early.find(native) == late.find(native) == pickle.loads(pickle.dumps(early)).find(native)


def test_a_guards_detector_says_where_the_mention_stands() -> None:
    detector = NamesDetector({"request-1": ["Harry Potter"]})
    text = "友達とハリー・ポッターを読みました。"
    (found, *_) = detector.detect([text])[0]
    assert found.scope == "request-1" and found.probability > 0.8
    assert text[found.start : found.end] == "ハリー・ポッター"


def test_text_in_latin_letters_is_judged_as_before() -> None:
    index = index_of(*SPELLINGS)
    for text in ("Who is Harry Potter?", "Where is Hary Poter, and Xi Jinping?", "Señor Barack Óbama", "plain words"):
        assert not list(index._sounds.mentions(text))


def test_ascii_text_does_not_load_the_tables_of_other_scripts() -> None:
    code = (
        "import sys\nfrom hf_eco.detection.names.index import NameIndex\n"
        "index = NameIndex()\nindex.add(1, ['Harry Potter'])\nassert index.find('Who is Harry Potter?')\n"
        "assert 'anyascii' not in sys.modules\nindex.find('ハリー・ポッター')\nassert 'anyascii' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_stretch_is_given_up_that_goes_on_as_a_name() -> None:
    draw = random.Random(0)

    def some(least: int, most: int) -> str:
        return "".join(draw.choice(CLASSES[:3]) for _ in range(draw.randint(least, most)))

    given_up = 0
    for _ in range(5_000):
        looked_for, start, further = some(1, 6), some(0, 4), some(0, 3)
        beginnings = {looked_for[:i] for i in range(len(looked_for) + 1)}
        endings = {looked_for[i:] for i in range(len(looked_for) + 1)}
        if not may_begin(start, beginnings):
            given_up += 1
            assert looked_for not in near_keys(start + further, beginnings, endings)
    assert given_up > 500
