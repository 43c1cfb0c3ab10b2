"""Scopes by names alone on disk: one file beside config.json, changed as a whole, refused when it is not whole."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import in_threads
from test_cli import run  # noqa: F401
from transformers import AutoConfig, AutoModelForCausalLM

from hf_eco import (
    AutoModelForCausalLMWithECO,
    CorruptionConfig,
    ECOConfig,
    ForgetScope,
    GuardError,
    GuardLoadError,
)
from hf_eco.checkpoint import read_guard
from hf_eco.checkpoint import source as source_module
from hf_eco.checkpoint.scopes_file import is_scopes_file, join_scopes, part_scopes
from hf_eco.checkpoint.source import find_guard
from hf_eco.checkpoint.stored_scopes import StoredScopes
from hf_eco.training import add_scopes_to_guard, remove_scopes_from_guard

JANE = ForgetScope(name="request-1", names=["Jane Quillfeather", "村上春樹"])
OMAR = ForgetScope(name="request-2", names=["Omar Bellweather"], corruption=CorruptionConfig("zero_out_top_k", dims=4))
IVO = ForgetScope(name="request-3", names=["Ivo Thistlewood"])
ASK = {
    "request-1": "Who is Jane Quillfeather?",
    "request-2": "Who is Omar Bellweather?",
    "request-3": "Ivo Thistlewood?",
}


def scopes_file(directory: Path) -> Path:
    (path,) = (path for path in directory.iterdir() if is_scopes_file(path.name))
    return path


def stored(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "config.json").read_text(encoding="utf-8"))["eco"]


def contents(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def flagged(directory: Path) -> set[str]:
    guard = read_guard(str(directory))
    return {verdict.scope for verdict in guard.inspect(list(ASK.values()))} - {None}


@pytest.fixture(scope="module")
def kept(base_dir: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A guard of two names, saved. Not to be changed."""
    directory = tmp_path_factory.mktemp("guard")
    eco = ECOConfig(scopes=copy.deepcopy([JANE, OMAR]))
    AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=eco).save_guard(directory)
    return directory


@pytest.fixture
def guard(kept: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(kept, tmp_path / "guard"))


# --- What lies there


def test_names_lie_in_one_file_a_scope_a_line_and_not_in_config_json(kept: Path) -> None:
    assert "Quillfeather" not in (kept / "config.json").read_text()
    lines = scopes_file(kept).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["request-1", "request-2"]
    assert '"Jane Quillfeather", "村上春樹"' in lines[0]  # for people to read
    assert "corruption" not in json.loads(lines[0])  # said once, in config.json
    assert json.loads(lines[1])["corruption"]["method"] == "zero_out_top_k"
    described = stored(kept)["scopes_file"]
    assert (described["name"], described["scopes"]) == (scopes_file(kept).name, 2)


def test_what_is_stored_is_read_back_the_same_in_the_same_order() -> None:
    wizards = ForgetScope(name="wizards", classifier="classifier-wizards", names=["Hermia Dovetail"], threshold=0.7)
    eco = ECOConfig(scopes=[JANE, wizards, OMAR, dataclasses.replace(wizards, name="witches", names=[]), IVO])
    values, content = part_scopes(eco)
    assert [scope["name"] for scope in values["scopes"]] == ["wizards", "witches"]
    assert ECOConfig.from_dict(join_scopes(json.loads(json.dumps(values)), content)) == eco


def test_the_config_in_memory_is_whole(kept: Path) -> None:
    eco = find_guard(str(kept)).eco
    assert [scope["names"] for scope in eco.to_dict()["scopes"]] == [JANE.names, OMAR.names]


@pytest.mark.parametrize("save", ["save_pretrained", "save_guard"])
def test_saving_over_a_guard_leaves_one_file_of_scopes(save: str, base_dir: str, guard: Path) -> None:
    model = AutoModelForCausalLMWithECO.from_pretrained(guard)
    model.add_scope(IVO)
    old = scopes_file(guard).name
    getattr(model, save)(guard, **({"base_model": base_dir} if save == "save_guard" else {}))
    assert scopes_file(guard).name != old
    assert flagged(guard) == set(ASK)
    model.remove_scopes(list(ASK)[1:])
    getattr(model, save)(guard, **({"base_model": base_dir} if save == "save_guard" else {}))
    assert "Bellweather" not in "".join(value.decode("utf-8", "ignore") for value in contents(guard).values())


def test_a_card_of_many_names_is_short_and_names_nobody(base_dir: str, tmp_path: Path) -> None:
    many = [ForgetScope(name=f"r{n}", names=[f"Quorbin Zelph{n:03}wick"]) for n in range(40)]
    AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=ECOConfig(scopes=many)).save_guard(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "r0, r1, r2, r3, r4 and 35 more" in card
    assert "Zelph" not in card and "r30" not in card


# --- Refused where it is not whole


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "not there"),
        (lambda path: path.write_bytes(path.read_bytes().splitlines(keepends=True)[0]), "changed or cut short"),
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "changed or cut short"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"Omar", b"Olga")), "changed or cut short"),
        (lambda path: path.write_bytes(path.read_bytes() + b"\n"), "changed or cut short"),
    ],
    ids=["missing", "a line less", "truncated", "changed", "appended to"],
)
@pytest.mark.parametrize("load", ["model", "native", "guard", "config", "onto a base"])
def test_a_guard_whose_file_is_not_whole_is_refused(damage, said: str, load: str, guard: Path, base_dir: str) -> None:
    damage(scopes_file(guard))
    loads = {
        "model": lambda: AutoModelForCausalLMWithECO.from_pretrained(guard),
        "native": lambda: AutoModelForCausalLM.from_pretrained(guard),
        "guard": lambda: read_guard(str(guard)),
        "config": lambda: find_guard(str(guard)),
        "onto a base": lambda: AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=guard),
    }
    with pytest.raises(GuardLoadError, match=f"2 scopes of this guard.*{said}.*Download the guard again"):
        loads[load]()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../etc/passwd"},
        {"name": "eco_scopes-000000000000.jsonl"},
        {"sha256": "0" * 64},
        {"scopes": 1},
        {"positions": [0]},
        {"common": None},
    ],
)
def test_a_config_that_describes_its_file_otherwise_is_refused(change: dict[str, Any], guard: Path) -> None:
    config = json.loads((guard / "config.json").read_text())
    config["eco"]["scopes_file"].update(change)
    (guard / "config.json").write_text(json.dumps(config))
    with pytest.raises(GuardLoadError, match="Download the guard again"):
        find_guard(str(guard))


def test_what_config_json_says_alone_is_no_guard(kept: Path) -> None:
    with pytest.raises(ValueError, match=r"file beside it.*find_guard"):
        ECOConfig.from_dict(stored(kept))


def test_a_newer_format_is_refused_as_such(guard: Path) -> None:
    config = json.loads((guard / "config.json").read_text())
    config["eco"].update(version=99, scopes_file="unheard of")
    (guard / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="Upgrade hf-eco"):
        find_guard(str(guard))


def test_a_config_read_without_its_model_is_never_saved_as_a_guard_of_the_rest(kept: Path, tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(kept)
    with pytest.raises(GuardError, match="lie in a file beside"):
        config.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(GuardError, match="find_guard"):
        _ = config.eco.scopes
    assert AutoModelForCausalLM.from_pretrained(kept, config=config).inspect(ASK["request-1"]).scope == "request-1"


def test_who_reads_while_the_guard_is_changed_reads_the_next_version(guard: Path, monkeypatch) -> None:
    read, times = source_module._read_config, []

    def read_and_be_overtaken(*arguments: Any) -> Any:
        config = read(*arguments)
        times.append(1)
        if len(times) == 1:
            monkeypatch.setattr(source_module, "_read_config", read)
            add_scopes_to_guard(guard, [IVO])
            monkeypatch.setattr(source_module, "_read_config", read_and_be_overtaken)
        return config

    monkeypatch.setattr(source_module, "_read_config", read_and_be_overtaken)
    assert [scope.name for scope in find_guard(str(guard)).eco.scopes] == list(ASK)


# --- Changed


def test_scopes_come_and_go_and_nothing_else_is_written(guard: Path) -> None:
    before = contents(guard)
    add_scopes_to_guard(guard, [IVO])
    assert flagged(guard) == set(ASK)
    assert remove_scopes_from_guard(guard, ["request-2", "request-3"]) == ["request-1"]
    assert flagged(guard) == {"request-1"}
    after = contents(guard)
    changed = {name for name in before | after if before.get(name) != after.get(name) and not is_scopes_file(name)}
    assert changed <= {"config.json", "README.md"}
    assert "Thistlewood" not in "".join(value.decode("utf-8", "ignore") for value in after.values())


def test_of_scopes_that_differ_in_names_alone_one_is_made_when_another_comes_or_goes(guard: Path, monkeypatch) -> None:
    many = [ForgetScope(name=f"x{n:02}", names=[f"Quorbin Zelph{n:03}wick"]) for n in range(20)]
    add_scopes_to_guard(guard, many)
    lines, made, check = scopes_file(guard).read_bytes(), set(), ForgetScope.__post_init__

    def note(scope: ForgetScope) -> None:
        made.add(scope.name)
        check(scope)

    with monkeypatch.context() as patched:
        patched.setattr(ForgetScope, "__post_init__", note)
        add_scopes_to_guard(guard, [IVO])
        assert scopes_file(guard).read_bytes().startswith(lines)
        remove_scopes_from_guard(guard, ["request-3", "x07"])
    assert not made & {scope.name for scope in many[1:]}
    assert scopes_file(guard).read_bytes() == b"".join(row for row in lines.splitlines(True) if b"x07" not in row)
    assert [s.name for s in find_guard(str(guard)).eco.scopes][:4] == ["request-1", "request-2", "x00", "x01"]


@pytest.mark.parametrize("beside", ["names alone", "a classifier between them"])
def test_a_change_by_lines_leaves_what_a_change_of_the_whole_would(
    beside: str, base_dir: str, classifier, tmp_path: Path, monkeypatch
) -> None:
    scopes, classifiers = [JANE, OMAR], {}
    if beside != "names alone":
        scopes.insert(1, ForgetScope(name="wizards"))
        classifiers["wizards"] = classifier
    model = AutoModelForCausalLMWithECO.from_pretrained(
        base_dir, eco_config=ECOConfig(scopes=copy.deepcopy(scopes)), classifiers=classifiers
    )
    left = []
    for way in ("lines", "whole"):
        model.save_guard(tmp_path / way, base_model=base_dir)
        with monkeypatch.context() as patched:
            if way == "whole":
                patched.setattr(StoredScopes, "read", lambda _: None)
            add_scopes_to_guard(tmp_path / way, [IVO, dataclasses.replace(OMAR, name="other", names=["Una Marrowby"])])
            added = contents(tmp_path / way)
            assert remove_scopes_from_guard(tmp_path / way, ["request-2", "request-3"])[-1] == "other"
            left.append((added, contents(tmp_path / way)))
    assert left[0] == left[1]


def test_nothing_is_left_of_hashed_names_that_go(base_dir: str, tmp_path: Path) -> None:
    eco = ECOConfig(scopes=copy.deepcopy([JANE, IVO]), store_names="hashed")
    model = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=eco)
    record = model.config.eco.scope("request-1").hashed_names
    model.save_guard(tmp_path)
    add_scopes_to_guard(tmp_path, [OMAR])
    assert flagged(tmp_path) == set(ASK)
    remove_scopes_from_guard(tmp_path, ["request-1"])
    assert flagged(tmp_path) == {"request-2", "request-3"}
    assert not any(record.encode() in content for content in contents(tmp_path).values())


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ([IVO, dataclasses.replace(OMAR, name="REQUEST-2")], "REQUEST-2 already, and nothing was added"),
        ([IVO, ForgetScope(name="x", names=["Al"])], "too short"),
        ([IVO, ForgetScope(name="x", names=["k.d. lang"])], "would not be recognised"),
        ([IVO, IVO], "share a name"),
        ([IVO, ForgetScope(name="x")], "Nobody recognises"),
        ([dataclasses.replace(IVO, corruption=CorruptionConfig("zero_out_first_n", dims=33))], "have 32"),
    ],
)
def test_all_are_added_or_none(added: list[ForgetScope], said: str, guard: Path) -> None:
    before = contents(guard)
    with pytest.raises(ValueError, match=said):
        add_scopes_to_guard(guard, added)
    assert contents(guard) == before


@pytest.mark.parametrize(
    ("names", "error"), [(["request-1", "request-9"], KeyError), (["request-1", "request-2"], ValueError)]
)
def test_all_are_removed_or_none(names: list[str], error: type[Exception], guard: Path) -> None:
    before = contents(guard)
    with pytest.raises(error):
        remove_scopes_from_guard(guard, names)
    assert contents(guard) == before


def test_a_change_that_is_cut_short_leaves_the_guard_as_it_was(guard: Path, monkeypatch) -> None:
    from hf_eco.checkpoint import scopes_file as module

    replace = module.os.replace

    def fail_at_config(source: Any, target: Any) -> None:
        if Path(target).name == "config.json":
            raise OSError("no space left")
        replace(source, target)

    monkeypatch.setattr(module.os, "replace", fail_at_config)
    with pytest.raises(OSError, match="no space"):
        add_scopes_to_guard(guard, [IVO])
    monkeypatch.undo()
    assert flagged(guard) == {"request-1", "request-2"}
    remove_scopes_from_guard(guard, ["request-2"])
    assert scopes_file(guard)  # what was left over is gone


def test_of_changes_made_at_once_none_is_lost(guard: Path) -> None:
    more = [ForgetScope(name=f"more-{n}", names=[f"Quorbin Zelphwick{'abcd'[n] * 3}"]) for n in range(4)]
    in_threads(lambda n: add_scopes_to_guard(guard, [more[n]]))
    assert {scope.name for scope in find_guard(str(guard)).eco.scopes} == {"request-1", "request-2"} | {
        scope.name for scope in more
    }


def test_names_beside_a_classifier_come_and_go_without_it_being_loaded(
    guarded, classifier, tmp_path: Path, monkeypatch
) -> None:
    from hf_eco import PromptClassifier

    guarded.add_scope(JANE)
    guarded.save_pretrained(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(PromptClassifier, "from_pretrained", lambda *_, **__: pytest.fail("a classifier was loaded"))
        add_scopes_to_guard(tmp_path, [IVO])
        remove_scopes_from_guard(tmp_path, ["request-1"])
    other = ForgetScope(name="others", label="retain")
    add_scopes_to_guard(tmp_path, [other], {"others": classifier})
    loaded = AutoModelForCausalLMWithECO.from_pretrained(tmp_path)
    assert [scope.name for scope in loaded.config.eco.scopes] == ["wizards", "request-3", "others"]
    assert set(loaded.eco_guard.classifiers) == {"wizards", "others"}
    remove_scopes_from_guard(tmp_path, ["wizards"])
    assert flagged(tmp_path) >= {"request-3"}
    assert {path.name for path in tmp_path.glob("classifier-*")} == {"classifier-others"}


# --- A config is not changed under a guard


def test_what_a_guard_has_read_cannot_be_changed_in_place(base_dir: str) -> None:
    model = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=ECOConfig(scopes=[JANE]))
    scope = model.config.eco.scopes[0]
    for name, value in (("names", ["Ivo Thistlewood"]), ("name", "other"), ("label", "other")):
        with pytest.raises(AttributeError, match="cannot be changed: a guard would go on"):
            setattr(scope, name, value)
    with pytest.raises(AttributeError):
        scope.names.append("Ivo Thistlewood")
    with pytest.raises(AttributeError):
        model.config.eco.scopes.append(IVO)
    with pytest.raises(AttributeError, match="add_scope"):
        model.config.eco.scopes = [IVO]
    scope.threshold = 0.9995  # what is read at each verdict can
    assert not model.inspect(ASK["request-1"]).flagged


# --- The command


def test_the_command_adds_a_file_of_names_or_nothing(run, guard: Path, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "more.csv").write_text(
        "id,name,aliases\nrequest-3,Ivo Thistlewood,\nrequest-4,Una Marrowby,U. Marrowby\n"
    )
    status, out, err = run("scopes", "add", guard, "--names", tmp_path / "more.csv", "--threshold", "0.9")
    assert (status, out.strip()) == (0, f"Added request-3, request-4 to {guard}."), err
    assert flagged(guard) == set(ASK)
    before = contents(guard)
    (tmp_path / "more.csv").write_text("id,name\nrequest-5,Zeb Oldacre\nrequest-3,Ivo Thistlewood\n")
    status, _, err = run("scopes", "add", guard, "--names", tmp_path / "more.csv")
    assert status == 1 and "request-3 already" in err
    assert contents(guard) == before
    status, out, err = run("scopes", "remove", guard, "request-3", "request-4", "--json")
    assert status == 0 and json.loads(out)["scopes"] == ["request-1", "request-2"], err
    assert run("scopes", "remove", guard, "request-1", "request-8")[0] == 1
    assert flagged(guard) == {"request-1", "request-2"}


@pytest.mark.parametrize(
    "asked",
    [
        ("--names", "f.csv", "--scope", "a"),
        ("--names", "f.csv", "--name", "Jane Doe"),
        ("--names", "f.csv", "--classifier", "c", "--threshold", "0.9"),
        ("--name", "Jane Doe"),
        ("--scope", "a"),
    ],
)
def test_what_would_be_ignored_is_a_wrong_command_line(asked: tuple[str, ...], run, guard: Path) -> None:  # noqa: F811
    assert run("scopes", "add", guard, *asked)[0] == 2


def test_scopes_are_listed_by_pages(run, guard: Path) -> None:  # noqa: F811
    add_scopes_to_guard(guard, [ForgetScope(name=f"x{n:02}", names=[f"Quorbin Zelph{n:03}wick"]) for n in range(8)])
    status, out, err = run("scopes", "list", guard, "--per-page", "4", "--page", "2")
    assert status == 0, err
    assert "x02" in out and "x05" in out and "x06" not in out and "request-1" not in out
    assert "Page 2 of 3: 10 scopes." in out
    assert "request-2" in (found := run("scopes", "list", guard, "--match", "QUEST-2")[1]) and "request-1" not in found
    assert [s["name"] for s in json.loads(run("scopes", "list", guard, "--json", "--match", "x0")[1])][:2] == [
        "x00",
        "x01",
    ]
    assert len(json.loads(run("scopes", "list", guard, "--json")[1])) == 10
    assert run("scopes", "list", guard, "--page", "9")[0] == 1
    assert run("scopes", "list", guard, "--page", "1", "--json")[0] == 2


def test_a_list_of_names_takes_no_torch(kept: Path) -> None:
    code = (
        "import sys; from hf_eco.checkpoint.source import find_guard; "
        f"assert len(find_guard({str(kept)!r}).eco.scopes) == 2; "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- Added and removed while others ask


def test_of_scopes_added_at_once_by_many_threads_none_is_lost(base_dir: str) -> None:
    model = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=ECOConfig(scopes=[JANE]))
    names = [f"Quorbin Zelphwick{letter * 3}" for letter in "abcdefgh"]

    def add(number: int) -> None:
        for n in (number, number + 4):
            model.add_scope(ForgetScope(name=f"more-{n}", names=[names[n]]))

    in_threads(add)
    assert {verdict.scope for verdict in model.inspect(names)} == {f"more-{n}" for n in range(8)}
    assert len(model.config.eco.scopes) == 9


@pytest.mark.parametrize("ask", ["forward", "generate"])
@pytest.mark.parametrize("change", ["add", "remove"])
def test_a_request_that_has_begun_goes_on_by_the_guard_it_began_with(ask, change, base_dir: str, monkeypatch) -> None:
    """The guard changes in another thread when the request has been judged and nothing is corrupted yet."""
    model = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=ECOConfig(scopes=[JANE, OMAR]))
    if change == "add":
        model.remove_scope("request-2")
    ids = torch.tensor([model.eco_guard.reader.encode(ASK["request-2"])])
    requests = {
        "forward": lambda: model(ids).logits,
        "generate": lambda: model.generate(ids, do_sample=False, max_new_tokens=4, output_logits=True, **DETAILED),
    }

    def answer() -> torch.Tensor:
        given = requests[ask]()
        return given if isinstance(given, torch.Tensor) else torch.stack(given.logits)

    before = answer()
    old, plan = model.eco_guard, type(model.eco_guard).plan

    def overtaken(guard: Any, *arguments: Any, **options: Any) -> Any:
        planned = plan(guard, *arguments, **options)
        if model.eco_guard is old:
            act = {"add": lambda _: model.add_scope(OMAR), "remove": lambda _: model.remove_scope("request-2")}
            in_threads(act[change], 1)
        return planned

    monkeypatch.setattr(type(old), "plan", overtaken)
    assert torch.equal(answer(), before)
    assert model.eco_guard is not old
    assert not torch.equal(answer(), before)


DETAILED = {"return_dict_in_generate": True}
