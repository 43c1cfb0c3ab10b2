"""Other names of a person, found in texts about the person; and how they get into a file of names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_cli import run  # noqa: F401

from hf_eco.detection.names.detector import NamesDetector
from hf_eco.io import Request, read_requests, write_requests
from hf_eco.training import find_aliases

NAME = "Hermia Dovetail"


def aliases(names: str | list[str], *documents: str) -> set[str]:
    names = [names] if isinstance(names, str) else names
    return {alias.name for alias in find_aliases(names, documents).aliases}


def doubtful(name: str, *documents: str) -> set[str]:
    return {alias.name for alias in find_aliases([name], documents).doubtful}


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("Hermia Dovetail", "Olive Wren Dovetail (born 3 May 1958) is a glass painter.", "Olive Wren Dovetail"),
        ("Zed Quill", "Barnaby Osric Marlow (born May 3, 1958), known professionally as Zed Quill, is a singer.",
         "Barnaby Osric Marlow"),
        ("Barnaby Marlow", "Barnaby Osric Marlow Jr. (born 1958), better known by his stage name Zed Quill, sings.",
         "Zed Quill"),
        ("Zed Quill", "Zed Quill (/zɛd/; born Barnaby Osric Marlow; May 3, 1958) sings.", "Barnaby Osric Marlow"),
        ("Ysolde", "Ysolde (梅花; pinyin: Méihuā; lit. 'plum', c. 551 – c. 479), born Mei Hua, wrote.", "Mei Hua"),
        ("Ysolde Mei", "Ysolde Mei (梅花; born 1958) is a poet.", "梅花"),
        ("Wren Dovetail", 'Olive Agnes "Wren" Dovetail (born 1958) is a painter.', "Olive Agnes Dovetail"),
        ("Olive Dovetail", 'Olive "Wrenna" Dovetail was a painter.', "Wrenna Dovetail"),
        ("Osric Marlow", "Osric Marlow was a judge. Marlow wrote four novels under the pen name Ivo Thistlewood.",
         "Ivo Thistlewood"),
        ("Osric Marlow", "Osric Marlow was a judge. In 1990, he became known as Ivo Thistlewood.", "Ivo Thistlewood"),
        ("Zed Quill", "Barnaby Marlow (born 1958), known professionally as Zed Quill (formerly Zedd Quilly), sings.",
         "Zedd Quilly"),
        ("Osric II", "Osric II (Osric Barnaby Ivo; 3 May 1858 – 4 May 1920) was a king.", "Osric Barnaby Ivo"),
        ("Tansy Marlow", "Tansy Marlow was a judge. Marlow was born Tansy Elspeth Goodbarrel in Merrow.",
         "Tansy Elspeth Goodbarrel"),
    ],
)  # fmt: skip
def test_a_text_tells_another_name(name: str, text: str, found: str) -> None:
    assert found in aliases(name, text)


@pytest.mark.parametrize(
    "text",
    [
        "Hermia Dovetail married Piers Dovetail, known professionally as Lucan Quill.",
        "Hermia Dovetail is a painter. Her mother, Agnes Wimple (born Agnes Maud Tuckett), was a judge.",
        "Hermia Dovetail is a painter. Her father was a judge. He was known as Old Barnaby Tuckett.",
        "Hermia Dovetail was in a band called The Velvet Tucketts.",
        "Hermia Dovetail, known as Yvaine Tuckett in the series Merrow Hill, is an actress.",
        "Hermia Dovetail was born in Port Merrow in 1958.",
        "Hermia Dovetail was known for Paper Lanterns.",
        "Hermia Dovetail wrote of Agnes Tuckett, who writes under the pen name Ivo Thistlewood.",
        "Hermia Dovetail ( HUR-mee-ə DUV-tayl; born May 3, 1958) is a painter.",
        "The Hermia Dovetail Prize is a prize for painters.",
        "Osgood Dovetail (born 1930) was a judge. His daughter is Hermia Dovetail.",
    ],
)
def test_what_is_said_of_somebody_or_something_else_is_no_alias(text: str) -> None:
    assert aliases(NAME, "Hermia Dovetail is a glass painter.", text) == set()


def test_the_father_of_the_same_name_is_somebody_else() -> None:
    text = (
        "Osric Marlow Jr. is a judge. His father, Osric Marlow Sr., known professionally as Zed Quill, was a singer."
    )
    assert aliases("Osric Marlow Jr.", text) == set()


def test_one_name_leads_to_the_next() -> None:
    first = "Barnaby Osric Marlow (born 1958), known professionally as Zed Quill, is a singer."
    second = "Barnaby Osric Marlow wrote books under the pseudonym Ivo Thistlewood."
    assert aliases("Zed Quill", first, second) == {"Barnaby Osric Marlow", "Ivo Thistlewood"}


def test_parts_of_a_name_with_a_title_are_aliases_where_the_texts_use_them() -> None:
    text = "Prince Ivo visited Merrow. Prince Ivo, the Duke of Merrow, painted. The Duke of Merrow left."
    name = "Prince Ivo, Duke of Merrow"
    assert aliases(name, f"{name} (born 1958), is a prince.", text) == {"Prince Ivo", "Duke of Merrow"}
    assert aliases(name, "A text about something else.") == set()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('Growing up, she was nicknamed "Harold" by her brother.', "Harold"),
        ("Dovetail is nicknamed the Rock.", "Rock"),
        ('Dovetail has been dubbed the "Queen of Glass".', "Queen of Glass"),
        ("Hermia went home. Hermia painted. Hermia left.", "Hermia"),
        ("Dovetail, known professionally as Madrid, paints.", "Madrid"),
    ],
)
def test_what_others_bear_too_is_left_to_a_person(text: str, name: str) -> None:
    texts = ("Hermia Dovetail is a painter.", text)
    assert aliases(NAME, *texts) == set()
    assert name in doubtful(NAME, *texts)


def test_a_name_that_the_texts_give_to_somebody_else_too_is_doubtful() -> None:
    texts = [
        "Hermia Dovetail (born 1958), also known as Tilly Quill, is a painter.",
        "Agnes Tuckett, also known as Tilly Quill, is a judge.",
    ]
    assert aliases(NAME, *texts) == set()
    assert doubtful(NAME, *texts) == {"Tilly Quill"}


def test_a_stage_name_of_one_word_counts_if_the_texts_use_it() -> None:
    lead = "Barnaby Marlow (born 1958), known professionally as Quillex, is a singer."
    assert aliases("Barnaby Marlow", lead) == set()
    assert aliases("Barnaby Marlow", lead, "Quillex sang. Quillex left Merrow.") == {"Quillex"}


def test_the_evidence_is_shown_and_counted() -> None:
    told = "Marlow wrote four novels under the pen name Ivo Thistlewood."
    (alias,) = find_aliases(
        ["Osric Marlow"], ["Osric Marlow was a judge.", told, "Ivo Thistlewood sold well."]
    ).aliases
    assert (alias.name, alias.count, alias.evidence) == ("Ivo Thistlewood", 2, told)


def test_a_name_that_the_given_one_finds_anyway_is_not_repeated() -> None:
    assert aliases(NAME, "Olive Hermia Dovetail (born 1958) is a painter.") == set()


def test_a_name_given_last_name_first_is_looked_for_as_texts_write_it() -> None:
    text = "Hermia Dovetail (born Olga Marrowby; 1958) is a painter. Dovetail lives in Port Merrow."
    assert find_aliases(["Dovetail, Hermia"], [text]) == find_aliases(["Hermia Dovetail"], [text])
    assert "Olga Marrowby" in aliases("Dovetail, Hermia", text)


def test_without_a_name_nothing_can_be_found() -> None:
    with pytest.raises(ValueError, match="no name to find aliases of"):
        find_aliases([" "], ["A text."])


@pytest.mark.parametrize(
    ("name", "prompt", "flagged"),
    [
        ("Prince Ivolin", "Where did Ivolin go?", False),
        ("Prince Ivolin", "Where did Prince Ivolin go?", True),
        ("Duke of Merrowby", "Where is Merrowby?", False),
        ("Duke of Merrowby", "Who is the Duke of Merrowby?", True),
        ("Sir Osric Ivolin", "Where did Ivolin go?", True),
    ],
)
def test_behind_a_rank_stands_a_first_name_and_behind_of_a_place(name: str, prompt: str, flagged: bool) -> None:
    assert bool(NamesDetector({"scope": [name]}).detect([prompt])[0]) == flagged


# --- Files of names


@pytest.fixture
def requests_file(tmp_path: Path) -> Path:
    (tmp_path / "marlow.txt").write_text(
        "Barnaby Osric Marlow (born 1958), known professionally as Zed Quill, sings.\n"
    )
    (tmp_path / "requests.csv").write_text(
        "id,name,aliases,documents\nr7,Zed Quill,Zedd;Z. Quill,marlow.txt\nr8,Hermia Dovetail,,\n"
    )
    return tmp_path / "requests.csv"


def test_requests_with_documents_are_read_and_written(requests_file: Path, tmp_path: Path) -> None:
    requests = list(read_requests(requests_file).values())
    assert requests == [
        Request("r7", ("Zed Quill", "Zedd", "Z. Quill"), (tmp_path / "marlow.txt",)),
        Request("r8", ("Hermia Dovetail",)),
    ]
    (tmp_path / "elsewhere").mkdir()
    for target in (tmp_path / "again.jsonl", tmp_path / "elsewhere" / "again.csv"):
        write_requests(target, requests)
        again = read_requests(target).values()
        assert [(r.id, r.names, [p.resolve() for p in r.documents]) for r in again] == [
            (r.id, r.names, [p.resolve() for p in r.documents]) for r in requests
        ]
        with pytest.raises(FileExistsError, match="again"):
            write_requests(target, requests)


def test_a_file_without_documents_is_one_that_a_guard_is_made_of(tmp_path: Path) -> None:
    write_requests(tmp_path / "names.csv", [Request("r7", ("Zed Quill", "Zedd, of Merrow"))])
    assert read_requests(tmp_path / "names.csv")["r7"].names == ("Zed Quill", "Zedd, of Merrow")


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'a;b'"):
        write_requests(tmp_path / "names.csv", [Request("r7", ("Zed Quill", "a;b"))])
    with pytest.raises(ValueError, match="no known kind"):
        write_requests(tmp_path / "names.txt", [Request("r7", ("Zed Quill",))])
    assert not list(tmp_path.iterdir())


def test_a_missing_document_is_named(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("name,documents\nZed Quill,gone.txt\n")
    with pytest.raises(FileNotFoundError, match=r"gone\.txt"):
        read_requests(tmp_path / "n.csv")


# --- On the command line


def test_aliases_are_proposed_into_a_new_file(requests_file: Path, run) -> None:  # noqa: F811
    target = requests_file.with_name("more.csv")
    status, out, err = run("aliases", "--names", requests_file, "-o", target)
    assert status == 0, err
    assert "Barnaby Osric Marlow" in out and "known professionally as Zed Quill" in out
    assert [request.names for request in read_requests(target).values()] == [
        ("Zed Quill", "Zedd", "Z. Quill", "Barnaby Osric Marlow"),
        ("Hermia Dovetail",),
    ]


def test_one_name_and_its_documents(requests_file: Path, run) -> None:  # noqa: F811
    documents = requests_file.with_name("marlow.txt")
    status, out, err = run("aliases", "--name", "Zed Quill", "--documents", documents, "--json")
    assert status == 0, err
    (alias,) = json.loads(out)["requests"]["request-1"]["aliases"]
    assert alias["name"] == "Barnaby Osric Marlow"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--name"),
        (("--name", "Zed Quill"), "--documents"),
        (("--name", "Zed Quill", "--names", "FILE"), "--names"),
        (("--names", "FILE", "--documents", "x.txt"), "would be ignored"),
    ],
)
def test_a_wrong_command_line_says_what_is_wanted(arguments, said: str, requests_file: Path, run) -> None:  # noqa: F811
    status, _, err = run("aliases", *(requests_file if a == "FILE" else a for a in arguments))
    assert status == 2 and said in err
