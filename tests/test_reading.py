"""Files and data sets as people have them: what is read, and what is refused by a line that says what to do."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from hf_eco.evaluation import AnswersTask, ContinuationTask, MultipleChoiceTask, PromptsTask, TofuTask
from hf_eco.evaluation.task_rows import read_rows
from hf_eco.io import PromptSource, read_prompts, read_requests
from hf_eco.io.prompt_files import read_questions

WRONG = ["in Oslo, Norway", 'in "Rome"', "it's in Bonn"]


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# -- Encodings, separators, compression


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "Кто?\r\n\r\nWho?\r\n".encode("utf-8-sig")),
        ("a.txt", "Кто?\nWho?".encode("utf-16")),
        ("a.TXT", "Кто?\rWho?\r".encode("utf-32")),
        ("a.txt.gz", gzip.compress("Кто?\nWho?\n".encode(), mtime=0)),
        ("a.csv", "id;prompt\n1;Кто?\n2;Who?\n"),
        ("a.csv", "id\tprompt\n1\tКто?\n2\tWho?\n"),
        ("a.tsv", "prompt\tid\nКто?\t1\nWho?\t2\n"),
        ("a.csv.gz", gzip.compress("prompt,id\nКто?,1\nWho?,2\n".encode("utf-16"), mtime=0)),
        ("a.jsonl.gz", gzip.compress('{"query": "Кто?"}\n{"query": "Who?"}'.encode(), mtime=0)),
        ("a.json", '[{"prompt": "Кто?"}, {"prompt": null}, {"prompt": NaN}, {"prompt": " "}, {"prompt": "Who?"}]'),
        ("a.csv", "id,prompt\n1,Кто?\n2,\n3,nan\n4,None\n5\n6,Who?\n"),
        ("a.jsonl", '{"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Кто?"}]}\n'
         '{"conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "I."}]}'),
        ("a.jsonl", '{"prompt": [{"role": "user", "content": [{"type": "text", "text": "Кто?"}]}]}\n"Who?"'),
        ("a.csv", 'messages\n"[{""role"": ""user"", ""content"": ""Кто?""}]"\n'
         '"[{\'role\': \'user\', \'content\': \'Who?\'}]"\n'),
    ],
)  # fmt: skip
def test_prompts_are_read_as_people_save_them(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert read_prompts(written(tmp_path / name, content)) == ["Кто?", "Who?"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "Кто?\n".encode("cp1251"), r"is not a text file .* Save it as UTF-8"),
        ("a.txt", "Who?\n".encode("utf-16-le"), r"without a byte-order mark.*Save it as UTF-8"),
        ("a.jsonl.gz", gzip.compress(b'{"prompt": "Who?"}', mtime=0)[:-9], r"no whole gzip file"),
        ("a.txt.gz", b"Who?", r"no whole gzip file"),
        ("a.parquet", b"PAR1", r"no whole Parquet file"),
        ("a.xlsx", b"PK", r"is of no known kind. Use .txt, .jsonl"),
        ("a.csv", 'prompt;kind,other\na;b,c\n', r"may be parted by any of \[',', ';'\]"),
        ("a.csv", 'prompt,prompt\na,b\n', r"several columns are called 'prompt'"),
        ("a.csv", 'prompt\n"Who?\nWhat?\n', r"not CSV \(unexpected end of data\)"),
        ("a.csv", "name\nJane\n", r"line 2: there is no column 'prompt' or .* among \['name'\].* FILE,column="),
        ("a.jsonl", '{"prompt": "Who \\ud800 ?"}', r"holds half a character, U\+D800"),
        ("a.jsonl", '{"prompt": 7}', r"holds 7, which is neither a text nor a chat"),
        ("a.jsonl", '{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}',
         r"the user speaks 2 times.*into a column of its own"),
        ("a.jsonl", '{"messages": [{"role": "user", "content": [{"type": "image"}]}]}', r"a message without text"),
        ("a.jsonl", '{"prompt": ' + "1" * 5000 + "}", r"line 1: not JSON"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_a_line_that_says_what_to_do(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_prompts(written(tmp_path / name, content))


def test_a_parquet_file_is_read_as_any_other(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    rows = [
        {"query": "Who?", "answer": "I", "perturbed_answer": WRONG},
        {"query": None, "answer": "", "perturbed_answer": []},
    ]
    pandas.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    assert read_prompts(tmp_path / "a.parquet") == ["Who?"]
    assert read_rows(tmp_path / "a.parquet") == rows


def test_only_a_line_end_ends_a_line(tmp_path: Path) -> None:
    lines = ["Who\u2028is\x85he?", "What\x0cis\x0bit\x1c?"]
    assert read_prompts(written(tmp_path / "a.txt", "\n".join(lines))) == lines
    names = written(tmp_path / "n.txt", "Jane\u2028Doe\nAl Roe\n")
    assert [own.names for own in read_requests(names).values()] == [("Jane\u2028Doe",), ("Al Roe",)]


def test_rows_without_a_prompt_are_counted(tmp_path: Path, caplog) -> None:
    written(tmp_path / "a.csv", "id,prompt\n1,Who?\n2,None\n3,\n")
    with caplog.at_level(logging.WARNING):
        assert read_prompts(tmp_path / "a.csv") == ["Who?"]
    assert "2 rows of" in caplog.text and "hold no prompt" in caplog.text


# -- Lists in cells


@pytest.mark.parametrize(
    "write", [json.dumps, str, lambda texts: str(tuple(texts)).replace("(", "[").replace(")", "]")]
)
def test_a_list_in_a_cell_is_scored_as_the_list(tmp_path: Path, write: Any) -> None:
    pandas = pytest.importorskip("pandas")
    row = {"question": "Where?", "answer": "in Lund", "paraphrased_answer": "Lund", "perturbed_answer": WRONG}
    written(tmp_path / "a.jsonl", json.dumps(row))
    pandas.DataFrame([{**row, "perturbed_answer": write(WRONG)}]).to_csv(tmp_path / "a.csv", index=False)
    tasks = [AnswersTask(tmp_path / f"a.{ending}", kind="forget") for ending in ("csv", "jsonl")]
    assert tasks[0].rows == tasks[1].rows and tasks[0].rows[0].wrong == tuple(WRONG)
    assert TofuTask("forget05", tmp_path / "a.csv").rows == tasks[0].rows
    choice = pandas.DataFrame([{"question": "Where?", "choices": write(WRONG), "answer": 1}])
    choice.to_csv(tmp_path / "c.csv", index=False)
    assert MultipleChoiceTask(tmp_path / "c.csv").rows[0].options == tuple(WRONG)
    names = pandas.DataFrame([{"name": "Jane Doe", "aliases": write(["Janey", "J. Doe"])}])
    names.to_csv(tmp_path / "n.csv", index=False)
    assert read_requests(tmp_path / "n.csv")["request-1"].names == ("Jane Doe", "Janey", "J. Doe")


@pytest.mark.parametrize(
    "cell", ["['a' 'b']", "['a'\n 'b']", "[a, b]", "array(['a', 'b'], dtype=object)", "['a', None]", "[1, 2]"]
)
def test_what_looks_like_a_list_and_is_none_of_texts_is_refused(tmp_path: Path, cell: str) -> None:
    written(tmp_path / "a.csv", f'question,answer,perturbed_answer\nWhere?,Lund,"{cell}"\n')
    with pytest.raises(ValueError, match=r"row 0: column 'perturbed_answer' holds .*list"):
        AnswersTask(tmp_path / "a.csv", kind="forget")


def test_an_answer_that_is_not_there_is_no_answer(tmp_path: Path) -> None:
    written(tmp_path / "a.csv", "question,answer,paraphrased_answer,perturbed_answer\nWhere?,Lund,nan,None\n")
    (row,) = AnswersTask(tmp_path / "a.csv", kind="retain").rows
    assert (row.paraphrased, row.wrong) == ("Lund", ())
    written(tmp_path / "b.csv", "question,answer\nWhere?,None\n")
    with pytest.raises(ValueError, match="column 'answer' holds None"):
        AnswersTask(tmp_path / "b.csv", kind="retain")
    with pytest.raises(ValueError, match="no wrong answers"):
        read_questions(tmp_path / "a.csv", needs_wrong=True)


# -- What columns, configurations and splits are called


@pytest.mark.parametrize(
    "row",
    [
        {"query": "Where?", "answer": "Lund", "level": "2"},  # RWKU
        {"text": "Where?", "labels": "Lund"},  # KnowUnDo
        {"prompt": "Where?", "gt": "Lund"},  # MUSE
        {"instruction": "Where?", "output": "Lund"},
        {"messages": [{"role": "user", "content": "Where?"}], "response": "Lund"},
    ],
)
def test_the_columns_of_common_data_sets_are_known(tmp_path: Path, row: dict[str, Any]) -> None:
    file = written(tmp_path / "a.jsonl", json.dumps(row))
    assert read_prompts(file) == ["Where?"]
    (read,) = AnswersTask(file, kind="forget").rows
    assert (read.prompt, read.answer) == ("Where?", "Lund") and [read] == read_questions(file)


def test_columns_of_any_name_are_named(tmp_path: Path) -> None:
    file = written(
        tmp_path / "a.jsonl", json.dumps({"q": {"text": "Where?"}, "a": "Lund", "w": ["Oslo"], "text": "other"})
    )
    (row,) = AnswersTask(file, kind="forget", column="q.text", answer_column="a", wrong_column="w").rows
    assert (row.prompt, row.answer, row.wrong) == ("Where?", "Lund", ("Oslo",))
    assert PromptSource.parse(f"{file},column=q.text,answer=a,wrong=w").questions(needs_wrong=True) == [row]
    assert (
        PromptsTask(file, column="q.text").prompts
        == PromptSource.parse(f"{file},column=q.text").prompts()
        == ["Where?"]
    )
    for refused, option in (
        (lambda: AnswersTask(file, kind="forget", answer_column="b"), "FILE,answer="),
        (lambda: AnswersTask(file, kind="forget", answer_column="a", wrong_column="b"), "FILE,wrong="),
        (lambda: PromptsTask(file, column="b"), "FILE,column="),
        (lambda: ContinuationTask(file, column="b"), "FILE,column="),
    ):
        with pytest.raises(ValueError, match=rf"no column 'b' among \['q', 'a', 'w', 'text'\].*{option}"):
            refused()


def test_a_file_has_neither_configurations_nor_splits_and_txt_no_columns(tmp_path: Path) -> None:
    file = written(tmp_path / "a.txt", "Who?\n")
    for said in ({"config": "bio"}, {"split": "test"}, {"column": "prompt"}):
        with pytest.raises(ValueError, match=r"is a \.txt file and has no"):
            read_prompts(file, **said)


def test_a_comma_in_a_files_own_name_is_no_option(tmp_path: Path) -> None:
    odd = written(tmp_path / "a,split=b.txt", "Who?\n")
    assert PromptSource.parse(str(odd)).prompts() == ["Who?"]
    for text in ("a.jsonl,split=a,split=b", "a.jsonl,column=", ",column=a", "a.jsonl,colum=a"):
        with pytest.raises(ValueError, match="column"):
            PromptSource.parse(text)


@pytest.fixture
def hazards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A data set like cais/wmdp: two configurations, one split; and one with two splits, none of them train."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    directory = tmp_path / "hazards"
    directory.mkdir()
    card, splits = ["---", "configs:"], {"bio": ["test"], "cyber": ["test"], "both": ["dev", "test"]}
    for config, own in splits.items():
        card += [f"- config_name: {config}", "  data_files:"]
        for split in own:
            card += [f"  - split: {split}", f"    path: {config}_{split}_rows.jsonl"]
            row = {"question": f"{config} {split}?", "choices": ["a", "b"], "answer": 1, "text": "x"}
            written(directory / f"{config}_{split}_rows.jsonl", json.dumps(row) + "\n")
    written(directory / "README.md", "\n".join([*card, "---", ""]))
    return str(directory)


def test_a_data_set_of_several_configurations_and_splits_says_which_there_are(hazards: str) -> None:
    for refused in (
        lambda: read_prompts(hazards),
        lambda: read_prompts(hazards, config="chem"),
        lambda: PromptsTask(hazards, config="chem"),
        lambda: MultipleChoiceTask(hazards),
        lambda: ContinuationTask(hazards),
        lambda: PromptSource.parse(hazards).prompts(),
    ):
        with pytest.raises(
            ValueError, match=r"has the configurations bio, cyber, both.*config=\.\.\., or .*,config=bio"
        ):
            refused()
    for said in ({}, {"split": "train"}):
        with pytest.raises(ValueError, match=r"has the splits dev, test.*split=\.\.\., or .*,split=dev"):
            read_prompts(hazards, config="both", **said)
    assert read_prompts(hazards, config="bio") == ["bio test?"]  # its only split
    assert PromptsTask(hazards, config="both", split="dev").prompts == ["both dev?"]
    assert PromptSource.parse(f"{hazards},config=both,split=test,column=text").prompts() == ["x"]
    assert MultipleChoiceTask(hazards, config="cyber").rows[0].question == "cyber test?"
    assert ContinuationTask(hazards, config="cyber", column="question").passages == ["cyber test?"]
    assert AnswersTask(hazards, kind="forget", config="both", split="dev", answer_column="text").rows[0].answer == "x"
