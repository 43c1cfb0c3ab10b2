"""The hf-eco command for somebody who has a file of names: what is refused, and what is said."""

from __future__ import annotations

import ast
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from test_cli import run  # noqa: F401

import hf_eco
from hf_eco import AutoModelForCausalLMWithECO, ECOConfig, ForgetScope
from hf_eco.checkpoint.source import find_guard
from hf_eco.cli.wording import PHRASES, in_options
from hf_eco.io import Request, read_requests, write_requests
from hf_eco.training import guard_by_names, guard_model, naming
from hf_eco.training.augmentation import shipped_prompts

PYTHON = re.compile(r"\b[a-z_]+=['\[{(]|\b\w+=(None|True|\.\.\.)|\bmodel\.\w+\(|\bECOConfig\(|\bForgetScope\(")


@pytest.fixture(autouse=True)
def few_general_prompts(monkeypatch) -> tuple[str, ...]:
    few = shipped_prompts()[:40]
    monkeypatch.setattr(naming, "shipped_prompts", lambda: few)
    return few


@pytest.fixture
def guard(base_dir: str, tmp_path: Path) -> Path:
    guard_by_names(base_dir, {"request-1": ["Jane Quillfeather"]}, tmp_path / "g", weights=False)
    return tmp_path / "g"


def refused(ended: tuple[int, str, str]) -> tuple[int, str]:
    """How a command ended that was refused with one line."""
    status, out, err = ended
    assert out == "" and err.startswith("Error: ") and err.count("\n") == 1, err
    assert not PYTHON.search(err), err
    return status, err


# --- Guards in the place of guards


def test_a_guard_is_replaced_only_where_that_is_asked_for(run, guard: Path, base_dir: str) -> None:  # noqa: F811
    again = ["guard", base_dir, "--name", "Omar Bellweather", "-o", guard, "--guard-only"]
    before = {path: path.read_bytes() for path in guard.rglob("*") if path.is_file()}
    status, said = refused(run(*again))
    assert status == 1 and "scopes add" in said and "--overwrite" in said
    with pytest.raises(FileExistsError, match="overwrite=True"):
        guard_by_names(base_dir, {"request-1": ["Omar Bellweather"]}, guard)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        guard_model(base_dir, "omar", ["Who is Omar?"], ["Who is Ann?"], guard)
    assert {path: path.read_bytes() for path in guard.rglob("*") if path.is_file()} == before
    status, _, err = run(*again, "--overwrite")
    assert status == 0, err
    assert list(find_guard(str(guard)).eco.scopes[0].names) == ["Omar Bellweather"]


def test_saving_over_a_guard_of_other_scopes_says_which_are_lost(base_dir: str, tmp_path: Path, caplog) -> None:
    one, other = (ECOConfig([ForgetScope(name=key, names=["Jane Quillfeather"])]) for key in ("one", "other"))
    models = [AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=eco) for eco in (one, other)]
    for save in ("save_pretrained", "save_guard"):
        caplog.clear()
        for model in (models[0], models[0]):
            getattr(model, save)(tmp_path / save)
        assert " held " not in caplog.text
        getattr(models[1], save)(tmp_path / save)
        assert "held one, which" in caplog.text


# --- Files of names


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("n.csv", "id,nmae\nr1,Jane Doe\n", "The header of .*n.csv' has the field 'nmae'.* Did you mean 'name'"),
        ("n.jsonl", '{"name": "A. Bell"}\n{"nam": "Jane Doe"}\n', "line 2 has the field 'nam'.* Did you mean 'name'"),
        ("n.csv", "name,Name\nJane Doe,Omar Lee\n", "several fields 'name'"),
        ("n.csv", "name;aliases\nOmar Bell;O. M. Bell, Omar the Poet\n", "line 2 .*write 'O. M. Bell; Omar the Poet'"),
        ("n.csv", "name;aliases\nOmar Bell;Omar, Barry\n", "write 'Omar; Barry'"),
        ("n.csv", "name;aliases\n村上春樹;村上、Haruki Murakami\n", "write '村上; Haruki Murakami'"),
        ("n.txt", "Jane Doe, Omar Bell\n", "line 1: 'Jane Doe, Omar Bell' may be one name or several"),
        ("n.txt", "# erasure requests\nJane Doe\n", "line 1 begins with '#'"),
        ("n.csv", "name\nJosé Núñez\n".encode("cp1252"), "Excel: Save As, type 'CSV UTF-8'"),  # type: ignore[list-item]
    ],
)
def test_what_is_wrong_in_a_file_of_names_is_said_where_it_stands(file, text, said, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=said) as refusal:
        read_requests(tmp_path / file)
    assert not re.search(r"125\d|iconv|leave .* out", str(refusal.value))


@pytest.mark.parametrize(
    ("name", "aliases"),
    [
        ("Jane Doe", "Doe, J.;Jane Doe, Jr.;Jane, Duchess of Wexbridge"),
        ("Doe, Jane", "Doe, J."),
        ("García Márquez, Gabriel", ""),
        ("van der Berg, Jan Pieter", ""),
        ("Jane Doe, PhD", '["Ray, Man", "Jane"]'),
    ],
)
def test_a_comma_within_one_name_is_taken_and_written_again(name: str, aliases: str, tmp_path: Path) -> None:
    (tmp_path / "n.jsonl").write_text(json.dumps({"Name": name, "ALIASES": aliases}))
    (request,) = read_requests(tmp_path / "n.jsonl").values()
    assert request.names[0] == name
    write_requests(tmp_path / "again.csv", [request])
    assert list(read_requests(tmp_path / "again.csv").values()) == [request]


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("nowhere.csv", None, "There is no file"),
        ("n.txt", "Jane Quillfeather\nAl\n", "line 2: The name 'Al' is too short"),
        ("n.csv", "id,name\na,Jane Quillfeather\nb,Al\n", "line 3: The name 'Al' is too short"),
        ("n.csv", "id,name\nrequest-1,Omar Bellweather\n", "a column id"),
    ],
)
def test_a_command_that_reads_names_says_file_and_line(run, guard: Path, file, text, said, tmp_path) -> None:  # noqa: F811
    if text is not None:
        (tmp_path / file).write_text(text)
    status, err = refused(run("scopes", "add", guard, "--names", tmp_path / file))
    assert status == 1 and said in err


def test_a_row_says_whether_its_name_is_enough(run, guard: Path, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "n.csv").write_text("id,name,context\na,John Smith,ignored\nb,James Smith,\n")
    status, _, err = run("scopes", "add", guard, "--names", tmp_path / "n.csv")
    assert status == 0, err
    assert [scope.context for scope in find_guard(str(guard)).eco.scopes] == ["auto", "ignored", "auto"]
    (tmp_path / "n.csv").write_text("id,name,context\nc,Mary Smith,always\n")
    assert "line 2 has the context 'always'" in refused(run("scopes", "add", guard, "--names", tmp_path / "n.csv"))[1]


def test_several_names_in_one_option_are_refused(run, base_dir: str, tmp_path: Path) -> None:  # noqa: F811
    status, err = refused(run("guard", base_dir, "--name", "Jane Doe, Omar Bell", "-o", tmp_path / "g"))
    assert status == 1 and "may be one name or several" in err


# --- What is not there


def test_a_missing_encoder_is_named_with_the_option_that_names_another(
    run,  # noqa: F811
    guard: Path,
    base_dir: str,
    tmp_path: Path,
    monkeypatch,
) -> None:
    (tmp_path / "d.txt").write_text("Jane Quillfeather painted barns in Wexbridge and kept bees there.\n")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    common = ["--documents", tmp_path / "d.txt", "--encoder", "nobody/encoder"]
    for command in (
        ["guard", base_dir, "--name", "Jane Quillfeather", "-o", tmp_path / "other", "--guard-only"],
        ["scopes", "add", guard, "--scope", "b", "--name", "Omar Bellweather"],
    ):
        status, _, err = run(*command, *common)
        first, second = err.splitlines()
        assert status == 1 and "text encoder nobody/encoder" in first, err
        assert second.startswith("Error: The text encoder 'nobody/encoder'") and "pass --encoder '" in second


@pytest.mark.parametrize("path", ["./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c", "guarded/"])
def test_a_path_that_is_not_there_is_not_asked_of_the_hub(run, path: str, monkeypatch) -> None:  # noqa: F811
    def asked(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr("transformers.utils.hub.cached_file", asked)
    for command in (
        ["inspect", path, "Who?"],
        ["scopes", "list", path],
        ["guard", path, "--name", "Jane Doe", "-o", "x"],
    ):
        status, err = refused(run(*command))
        assert status == 1 and path in err and "There is no" in err


# --- What is said of a guard


def test_false_positives_are_kept_with_the_guard_and_shown(run, base_dir: str, few_general_prompts, tmp_path) -> None:  # noqa: F811
    guard, n = tmp_path / "g", len(few_general_prompts)
    status, out, err = run("guard", base_dir, "--name", "Jane Quillfeather", "-o", guard, "--guard-only")
    assert status == 0 and f"0 of {n}" in out, err
    (scope,) = find_guard(str(guard)).eco.scopes
    measured = scope.calibration_in_force
    assert (measured.fpr, measured.n_retain, measured.fnr) == (0.0, n, None) and 0 < measured.fpr_bound < 0.1
    row = run("scopes", "list", guard, "--json")
    assert json.loads(row[1])[0]["calibration"]["fpr_bound"] == measured.fpr_bound
    card = (guard / "README.md").read_text()
    assert f"n = {n}" in card and "its error rates were not measured" not in card
    assert AutoModelForCausalLMWithECO.from_pretrained(str(guard), device_map="meta").config.eco.scopes[0].calibration


def test_a_list_shows_names_and_finds_by_them(run, guard: Path) -> None:  # noqa: F811
    add = ["scopes", "add", guard, "--scope", "r2", "--name", "Omar Bellweather", "--context", "required"]
    refused(run(*add))  # nothing but a name, which is said not to be enough
    status, _, err = run(*add[:-1], "ignored")
    assert status == 0, err
    out = run("scopes", "list", guard, "--match", "bellw")[1]
    assert "Omar" in out and "ignored" in out and "request-1" not in out


def test_inspect_says_who_spoke_and_for_which_scope(run, guard: Path) -> None:  # noqa: F811
    run("scopes", "add", guard, "--scope", "smith", "--name", "John Smith")
    status, out, err = run("inspect", guard, "Who is John Smith?", "Who is Jane Quillfeather?", "Why?")
    assert status == 0, err
    assert "uncertain" in out and "'smith' (John Smith)" in out and "--context ignored" in out
    assert out.count("found by names") == 2
    assert [
        row["uncertain_scope"] for row in json.loads(run("inspect", guard, "Who is John Smith?", "--json")[1])
    ] == ["smith"]


def test_last_names_that_flag_by_themselves_are_told(run, base_dir: str, tmp_path: Path) -> None:  # noqa: F811
    names = ["--name", "Jane Quillfeather", "--name", "Ann Smith", "--guard-only", "-o", tmp_path / "g"]
    status, out, err = run("guard", base_dir, *names)
    assert status == 0, err
    assert "1 last names flag a prompt by themselves: Quillfeather." in out
    assert "Quillfeather" not in run("guard", base_dir, *names, "--overwrite", "--threshold", "0.95")[1]


# --- One rule, and one language


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["scopes", "remove", "{guard}", "nobody"], 1),
        (["scopes", "add", "{guard}", "--scope", "request-1", "--name", "Omar Bellweather"], 1),
        (["scopes", "list", "{guard}", "--page", "9"], 1),
        (["scopes", "add", "{guard}", "--scope", "b"], 2),
        (["scopes", "add", "{guard}", "--scope", "b", "--name", "Omar Bellweather", "--encoder", "e"], 2),
        (["guard", "{base}", "--name", "Jane Doe", "-o", "x", "--encoder", "e"], 2),
        (["guard", "{guard}", "--name", "Jane Doe", "-o", "x"], 1),
        (["guard", "{base}", "--name", "Jane Doe", "-o", "x", "--tokens", "entities"], 1),
        (["guard", "{base}", "--name", "Jane Doe", "-o", "x", "--dims", "-1"], 1),
        (["inspect", "{base}", "Who?"], 1),
    ],
)
def test_status_2_is_what_the_command_line_alone_tells(run, guard: Path, base_dir: str, arguments, status) -> None:  # noqa: F811
    assert refused(run(*(part.format(guard=guard, base=base_dir) for part in arguments)))[0] == status


def test_warnings_speak_of_options(run, base_dir: str, tmp_path: Path) -> None:  # noqa: F811
    status, _, err = run("guard", base_dir, "--name", "John Smith", "--guard-only", "-o", tmp_path / "g")
    assert status == 0 and "--context 'ignored'" in err and not PYTHON.search(err), err
    assert err.count("John Smith") == 1 and not logging.getLogger("hf_eco").handlers


def test_every_phrase_that_is_put_otherwise_is_one_of_the_library() -> None:
    texts = []
    for path in Path(hf_eco.__file__).parent.rglob("*.py"):
        if "cli" not in path.parts:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    texts.append(
                        "".join(part.value if isinstance(part, ast.Constant) else "x" for part in node.values)
                    )
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
    assert [phrase for phrase in PHRASES if not any(phrase in text for text in texts)] == []


def test_arguments_are_put_as_options() -> None:
    options = {"encoder": "--encoder", "dims": "--dims", "max_fpr": "--max-fpr", "name": "--name"}
    said = "Use dims=None, not dims=-1; names=['Jane Doe'], max_fpr or encoder='a b'; other='x' stays."
    assert in_options(said, options) == (
        "Use --dims 0, not --dims -1; --name 'Jane Doe', --max-fpr or --encoder 'a b'; other='x' stays."
    )


def test_a_request_says_where_it_stands_and_is_the_same_elsewhere() -> None:
    assert Request("a", ("Jane Doe",), where="line 1") == Request("a", ("Jane Doe",))
