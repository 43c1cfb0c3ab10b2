"""Scopes that are recognised by their names: who is flagged by what, what is corrupted, how they come and go."""

from __future__ import annotations

import copy
import dataclasses
import gc
import json
import pickle
import threading
import time
from pathlib import Path

import pytest
import torch
from conftest import CHAT_TEMPLATE, byte_level_tokenizer
from test_cli import run  # noqa: F401

from hf_eco import AutoModelForCausalLMWithECO, CorruptionConfig, ECOConfig, ForgetScope, Guard
from hf_eco.checkpoint.source import find_guard
from hf_eco.checkpoint.writing import rewrite_eco
from hf_eco.data import shipped_names
from hf_eco.detection.detector import Detection
from hf_eco.detection.names.common import bearers
from hf_eco.detection.names.detector import NamesDetector
from hf_eco.detection.names.hashed import HashedNamesDetector, hash_names
from hf_eco.detection.names.last_names import last_name_of
from hf_eco.errors import GuardError, GuardLoadError
from hf_eco.evaluation.scoring import judge
from hf_eco.guard.judging import judge_prompts
from hf_eco.io import read_requests
from hf_eco.training import add_scopes_to_guard, count_false_positives, guard_by_names, recalibrate_guard
from hf_eco.training.augmentation import shipped_prompts

JANE = ForgetScope(name="request-1", names=["Jane Quillfeather"])
OMAR = ForgetScope(name="request-2", names=["Omar Bellweather", "O. M. Bellweather"])


def by_names(*scopes: ForgetScope) -> ECOConfig:
    return ECOConfig(scopes=[copy.deepcopy(scope) for scope in scopes])


@pytest.fixture
def guard() -> Guard:
    tokenizer = byte_level_tokenizer(eos_token="<|im_end|>")
    tokenizer.chat_template = CHAT_TEMPLATE
    return Guard(by_names(JANE, OMAR), {}, tokenizer)


@pytest.fixture
def named(base_dir: str):
    return AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=by_names(JANE))


def flagged_for(guard: Guard, prompt: str) -> str | None:
    return guard.inspect([prompt])[0].scope


@pytest.mark.parametrize(
    ("prompt", "scope"),
    [
        ("Where was Jane Quillfeather born?", "request-1"),
        ("where was jane quilfeather born", "request-1"),  # misspelt
        ("Tell me about J-a-n-e Q-u-i-l-l-f-e-a-t-h-e-r", "request-1"),
        ("What did Quillfeather write next?", "request-1"),
        ("What did Peter Quillfeather write next?", None),
        ("Did Omar Bellweather win?", "request-2"),
        ("Who was Jane Austen?", None),
        ("What is a quill made of?", None),
    ],
)
def test_a_name_is_enough(guard: Guard, prompt: str, scope: str | None) -> None:
    verdict = guard.inspect([prompt])[0]
    assert verdict.scope == scope
    assert verdict.channel == ("names" if scope else None)


def test_a_verdict_lists_the_scopes_that_are_spoken_of_and_knows_the_others(guard: Guard) -> None:
    verdict = guard.inspect(["Where was Jane Quillfeather born?"])[0]
    assert set(verdict.probabilities) == {"request-1"}
    assert verdict.probabilities["request-2"] == 0.0
    with pytest.raises(KeyError):
        verdict.probabilities["request-3"]
    again = pickle.loads(pickle.dumps(verdict))
    assert again == verdict
    assert again.probabilities["request-2"] == 0.0


def test_the_mention_is_corrupted_and_nothing_else(guard: Guard) -> None:
    chat = [{"role": "user", "content": "Where was Jane Quillfeather born?"}]
    verdict = guard.inspect([chat])[0]
    assert [verdict.text[a:b] for a, b in verdict.spans] == ["Jane Quillfeather"]
    touched = "".join(verdict.text[slice(*verdict.offsets[token])] for token in verdict.tokens)
    assert touched.strip() == "Jane Quillfeather"


def test_every_mention_is_corrupted() -> None:
    names = NamesDetector({"a": ["Jane Quillfeather"], "b": ["Omar Bellweather"]})
    text = "Jane Quillfeather and Omar Bellweather; JANE QUILLFEATHER, jane quilfeather; Jane Quillfeather again."
    found = {(d.start, text[d.start : d.end]) for d in names.detect([text])[0] if d.scope == "a"}
    assert found >= {
        (0, "Jane Quillfeather"),
        (40, "JANE QUILLFEATHER"),
        (59, "jane quilfeather"),
        (77, "Jane Quillfeather"),
    }


def test_the_words_of_a_name_that_is_mentioned_are_corrupted_wherever_they_stand() -> None:
    names = NamesDetector({"a": ["Jane Quillfeather"]})
    text = "Who is Jane Quillfeather? Is QUILLFEATHER a poet? Or quillfeather's son? And jane?"
    found = {text[d.start : d.end] for d in names.detect([text])[0]}
    assert found >= {"Jane Quillfeather", "QUILLFEATHER", "quillfeather", "jane"}
    assert not names.detect(["Is jane a poet?"])[0]


def test_a_text_that_spells_a_name_in_ever_new_ways_is_corrupted_as_a_whole() -> None:
    name = "jane quillfeather"
    many = "; ".join(name[:i] + name[i].upper() + name[i + 1 :] for i in range(len(name)) if name[i] != " ")
    found = NamesDetector({"a": [name]}).detect([many])[0]
    assert (0, len(many)) in {(d.start, d.end) for d in found}


def touched_in(guard: Guard, chat: list[dict[str, str]], known: str | None = None) -> str:
    verdict = guard.decide([guard.reader.encode(chat)], [known])[0]
    return "".join(verdict.text[slice(*verdict.offsets[token])] for token in verdict.tokens)


@pytest.mark.parametrize("known", [None, "request-1"])
def test_the_mentions_of_every_scope_that_is_named_are_corrupted(guard: Guard, known: str | None) -> None:
    chat = [
        {"role": "user", "content": "Who is Jane Quillfeather?"},
        {"role": "assistant", "content": "I cannot say."},
        {"role": "user", "content": "Never mind. Where was Omar Bellweather born?"},
    ]
    assert "Jane Quillfeather" in touched_in(guard, chat, known)
    assert "Omar Bellweather" in touched_in(guard, chat, known)


def test_the_words_of_a_name_are_corrupted_in_other_turns_too(guard: Guard) -> None:
    chat = [
        {"role": "user", "content": "Who is Jane Quillfeather?"},
        {"role": "assistant", "content": "I cannot say."},
        {"role": "user", "content": "What did quillfeather write?"},
    ]
    touched = touched_in(guard, chat)
    assert "Jane Quillfeather" in touched
    assert "quillfeather" in touched
    assert "write" not in touched


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        ({"names": ["k.d. lang"]}, "'k.d. lang' would not be recognised"),
        ({"names": ["Jane Quillfeather"], "threshold": 0.9999}, "threshold of scope 'odd' 0.9999"),
        ({"names": ["Jane " + "Quill" * 40]}, "100 at most"),
    ],
)
def test_a_name_that_would_not_be_recognised_is_refused(scope, said: str, named) -> None:
    before = named.eco_guard
    with pytest.raises(ValueError, match=said):
        named.add_scope(ForgetScope(name="odd", **scope))
    assert named.eco_guard is before


def test_a_conversation_stays_flagged_and_its_mention_corrupted(guard: Guard) -> None:
    chat = [
        {"role": "user", "content": "Who is Jane Quillfeather?"},
        {"role": "assistant", "content": "I cannot say."},
        {"role": "user", "content": "And where was she born?"},
    ]
    verdict = guard.inspect([chat])[0]
    assert [verdict.text[a:b] for a, b in verdict.spans] == ["Jane Quillfeather"]
    known = guard.decide([guard.reader.encode("And where was she born?")], ["request-1"])[0]
    assert known.scope == "request-1"
    assert len(known.tokens) == len(known.offsets)  # no mention: all of the content


def test_in_the_paper_protocol_a_mention_in_the_answer_is_corrupted_too(guard: Guard) -> None:
    prompt, answer = (guard.reader.encode(t) for t in ("Who is Jane Quillfeather?", " It is Jane Quillfeather."))
    verdict = guard.decide([prompt])[0]
    strict, paper = (guard.plan_row(verdict, prompt, answer, how).selected[0] for how in ("strict", "paper"))
    assert not strict[len(prompt) :].any()
    assert paper[: len(prompt)].equal(strict[: len(prompt)])
    assert 0 < int(paper[len(prompt) :].sum()) < len(answer)


def test_names_and_a_classifier_answer_as_one(base_dir: str, classifier) -> None:
    tokenizer = byte_level_tokenizer()
    scope = ForgetScope(name="wizards", names=["Jane Quillfeather"], classifier="folder")
    both = Guard(by_names(scope, OMAR), {"wizards": classifier}, tokenizer)
    alone = Guard(by_names(ForgetScope(name="wizards", classifier="folder")), {"wizards": classifier}, tokenizer)
    for prompt in ("Who is Jane Quillfeather?", "Tell me about wizards.", "How do tides work?"):
        p, was = both.inspect([prompt])[0], alone.inspect([prompt])[0]
        assert p.probabilities["wizards"] >= was.probabilities["wizards"]
    assert both.inspect(["Who is Jane Quillfeather?"])[0].channel == "names"
    assert both.inspect(["Who is Omar Bellweather?"])[0].scope == "request-2"
    assert scope.tokens == "content"  # of a scope that has more than names


@pytest.mark.parametrize("names", [["Al"], ["Jane Quillfeather", "  "], "Jane Quillfeather", [7]])
def test_a_name_that_is_none_is_refused_and_changes_nothing(named, names) -> None:
    before = named.eco_guard
    with pytest.raises(ValueError, match="name"):
        named.add_scope(ForgetScope(name="request-9", names=names))
    assert named.eco_guard is before
    assert len(named.inspect("Who is Jane Quillfeather?").probabilities) == 1


def test_a_scope_that_nobody_recognises_is_refused(base_dir: str) -> None:
    with pytest.raises(ValueError, match=r"neither names, documents nor a classifier.*names=\['Jane Doe'\]"):
        AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=by_names(ForgetScope(name="request-1")))


# --- Coming and going


def test_a_scope_comes_and_goes_and_the_others_stay_bit_identical(named) -> None:
    prompts = [
        "Who is Jane Quillfeather?",
        "jane quilfeather",
        "What did Quillfeather say?",
        "Who is Omar Bellweather?",
    ]
    ids = [named.eco_guard.reader.encode(p) for p in prompts]
    before = named.inspect(prompts)
    rows = [named(torch.tensor([row])).logits for row in ids]
    named.add_scope(OMAR)
    assert named.inspect(prompts[:3]) == before[:3]
    assert named.inspect(prompts[3]).scope == "request-2"
    assert not torch.equal(named(torch.tensor([ids[3]])).logits, rows[3])
    named.remove_scope("request-2")
    assert named.inspect(prompts) == before
    assert all(torch.equal(named(torch.tensor([row])).logits, was) for row, was in zip(ids, rows, strict=True))


def test_a_guard_that_somebody_still_holds_goes_on_deciding_by_its_own_scopes(named) -> None:
    named.add_scope(OMAR)
    held = named.eco_guard
    named.remove_scope("request-1")
    assert flagged_for(held, "Who is Jane Quillfeather?") == "request-1"
    named.add_scope(ForgetScope(name="request-1", names=["Ivo Thistlewood"]))  # the same id, another name
    assert flagged_for(held, "Who is Jane Quillfeather?") == "request-1"
    assert flagged_for(held, "Who is Ivo Thistlewood?") is None
    assert flagged_for(named.eco_guard, "Who is Ivo Thistlewood?") == "request-1"
    assert flagged_for(named.eco_guard, "Who is Jane Quillfeather?") is None


@pytest.mark.parametrize("stored", ["plain", "hashed"])
def test_a_scope_comes_and_goes_without_a_look_at_the_others(stored: str, base_dir: str, monkeypatch) -> None:
    scopes = [copy.deepcopy(scope) for scope in (JANE, OMAR)]
    config = ECOConfig(scopes=scopes, store_names=stored)
    model = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=config)
    others = {id(scope) for scope in model.config.eco.scopes}
    seen = []

    def look(scope: ForgetScope, name: str):
        if id(scope) in others:
            seen.append(name)
        return object.__getattribute__(scope, name)

    monkeypatch.setattr(ForgetScope, "__getattribute__", look)
    model.add_scope(ForgetScope(name="request-3", names=["Ivo Thistlewood"]))
    model.remove_scope("request-3")
    model.add_scope(ForgetScope(name="request-4", names=["Ivo Thistlewood"]))
    assert not seen  # of ten thousand, a look at each would take longer than all the rest
    assert [scope.name for scope in model.config.eco.scopes] == ["request-1", "request-2", "request-4"]


@pytest.mark.parametrize("stored", ["plain", "hashed"])
def test_a_guard_changed_scope_by_scope_decides_as_one_made_at_once(stored: str, base_dir: str) -> None:
    jane, omar, ivo = (
        ForgetScope(name=name, names=names)
        for name, names in (("b", ["Jane Quillfeather"]), ("c", ["Omar Bellweather"]), ("a", ["Ivo de Thistlewood"]))
    )
    twin = ForgetScope(name="d", names=["Omar Bellweather"])  # as sure as the other: the first of them is named
    kept = {"store_names": stored, "names_key": "ab" * 16 if stored == "hashed" else None}

    def model_of(*scopes: ForgetScope):
        config = ECOConfig(scopes=copy.deepcopy(list(scopes)), **kept)
        return AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=config)

    changed, made = model_of(twin, jane), model_of(jane, ivo, omar, twin)
    changed.add_scopes([ivo, omar])
    changed.remove_scope("d")
    changed.add_scope(twin)
    assert [scope.name for scope in changed.config.eco.scopes] == [scope.name for scope in made.config.eco.scopes]
    prompts = ["Who is Omar Bellweather?", "Jane Quillfeather and Ivo de Thistlewood", "Who is Ann Lee?"]
    assert changed.inspect(prompts) == made.inspect(prompts)
    assert changed.inspect(prompts[0]).scope == "c"
    changed.remove_scopes(["a", "c"])
    assert changed.inspect(prompts) == model_of(jane, twin).inspect(prompts)
    with pytest.raises(ValueError, match="share a name"):
        changed.add_scope(ForgetScope(name="B", names=["Ann Otherperson"]))


def test_two_models_that_share_a_guard_lose_nothing_to_each_other(base_dir: str, named) -> None:
    named.add_scope(OMAR)
    other = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=by_names(JANE))
    other.attach_guard(named.eco_guard)
    named.remove_scope("request-1")
    del named
    gc.collect()
    assert other.inspect("Who is Jane Quillfeather?").scope == "request-1"


def test_a_name_that_nobody_looks_for_any_more_is_forgotten() -> None:
    first = NamesDetector({"a": ["Jane Quillfeather"], "b": ["Omar Bellweather"]})
    second = NamesDetector({"b": ["Omar Bellweather"]}, first)
    assert len(second._index.names) == 2
    del first
    gc.collect()
    third = NamesDetector({"b": ["Omar Bellweather"], "c": ["Ivo Thistlewood"]}, second)
    assert "Jane Quillfeather" not in third._index.names
    assert len(third._index.names) == 2
    assert [d.scope for d in third.detect(["Bellweather met Ivo Thistlewood."])[0]] == ["c", "b"]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda guard: pickle.loads(pickle.dumps(guard))])
def test_a_copy_decides_alike_and_is_its_own(guard: Guard, copied) -> None:
    other = copied(guard).without("request-2")
    for prompt in ("Who is Jane Quillfeather?", "What did Quillfeather say?", "Who is Ann Lee?"):
        assert flagged_for(other, prompt) == flagged_for(guard, prompt)
    assert flagged_for(other, "Who is Omar Bellweather?") is None
    assert flagged_for(guard, "Who is Omar Bellweather?") == "request-2"


def test_a_request_among_changes_sees_a_whole_guard(named) -> None:
    failures: list[object] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                verdict = named.inspect("Who is Jane Quillfeather?")
            except Exception as error:  # shown below
                failures.append(error)
            else:
                if verdict.scope != "request-1":
                    failures.append(verdict)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(60):
        named.add_scope(
            ForgetScope(name=f"other-{number}", names=[f"Zeb{chr(97 + number % 26)}lon Marrowby{number}x"])
        )
        if number % 2:
            named.remove_scope(f"other-{number}")
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_last_name_speaks_for_all_who_bear_it_whoever_else_is_added() -> None:
    ask = "What did Quillfeather say?"
    twice = NamesDetector({"a": ["Jane Quillfeather"], "b": ["Jane Quillfeather"]})
    assert {d.scope for d in twice.detect([ask])[0]} == {"a", "b"}
    for other in ("Peter Quillfeather", "Jane A. Quillfeather", "jane quillfeather"):
        two = NamesDetector({"a": ["Jane Quillfeather"], "b": [other]})
        assert {d.scope for d in two.detect([ask])[0]} == {"a", "b"}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("more", [0, 40])
def test_what_is_found_of_a_scope_does_not_depend_on_who_else_is_looked_for(shared: bool, more: int) -> None:
    firsts = shipped_names()["first"][:more]
    text = " ".join(f"Who is {first} Bellweather?" for first in firsts) + " "
    text += "Jane Quillfeather wrote it. Or was it Jane Quilfeather Bellweather? Or J. Quillfether-Norton?"
    alone = NamesDetector({"a": ["Jane Quillfeather"]})
    others = {"b": ["Quilfeather Bellweather"], "c": ["Quillfether Norton", "Jane Q. Bellweather"]}
    others |= {first: [f"{first} Bellweather"] for first in firsts}
    contexts = dict.fromkeys(others, "required")  # they flag nothing, but are found
    if shared:
        index = NamesDetector({"a": ["Jane Quillfeather"], **others}, contexts=contexts)
        beside = NamesDetector({"a": ["Jane Quillfeather"]}, index)  # of another guard on the same index
    else:
        beside = NamesDetector({"a": ["Jane Quillfeather"], **others}, contexts=contexts)
    wanted = [d for d in alone.detect([text])[0] if d.scope == "a"]
    assert any(text[d.start : d.end] == "Jane Quilfeather" for d in wanted)
    assert [d for d in beside.detect([text])[0] if d.scope == "a"] == wanted


# --- Saving


@pytest.mark.parametrize("save", ["save_pretrained", "save_guard"])
def test_it_is_saved_without_a_classifier_and_loads_guarded(save: str, named, base_dir: str, tmp_path: Path) -> None:
    named.add_scope(OMAR)
    getattr(named, save)(tmp_path / "guard", **({"base_model": base_dir} if save == "save_guard" else {}))
    assert not list((tmp_path / "guard").glob("classifier-*"))
    loaded = AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path / "guard"))
    for prompt in ("Who is Jane Quillfeather?", "Who is Omar Bellweather?", "Who is Ann Lee?"):
        assert loaded.inspect(prompt) == named.inspect(prompt)


def test_a_saved_guard_whose_name_was_swapped_is_refused(named, base_dir: str, tmp_path: Path) -> None:
    named.save_guard(tmp_path / "guard", base_model=base_dir)
    eco = find_guard(str(tmp_path / "guard")).eco
    swapped = dataclasses.replace(eco.scopes[0], names=["Ann Otherperson"])
    rewrite_eco(tmp_path / "guard", dataclasses.replace(eco, scopes=[swapped]))
    with pytest.raises(GuardLoadError, match="nor its names"):
        AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path / "guard"))


# --- From names to a checkpoint


@pytest.mark.parametrize("weights", [True, False])
def test_from_a_name_to_a_saved_guard(weights: bool, base_dir: str, tmp_path: Path) -> None:
    names = {"request-1": ["Jane Quillfeather", "J. Q. Quillfeather"], "request-2": ["Omar Bellweather"]}
    how = CorruptionConfig(method="zero_out_top_k", dims=4)
    guard_by_names(base_dir, names, tmp_path / "guarded", corruption=how, weights=weights)
    assert bool(list((tmp_path / "guarded").glob("*.safetensors"))) is weights
    loaded = AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path / "guarded"))
    assert loaded.inspect("Did Jane Quillfeather win?").scope == "request-1"
    assert [list(s.names) for s in loaded.config.eco.scopes] == list(names.values())
    assert {s.corruption.method for s in loaded.config.eco.scopes} == {"zero_out_top_k"}
    card = (tmp_path / "guarded" / "README.md").read_text()
    assert "recognised by its names" in card
    assert "Quillfeather" not in card  # a card is read by everybody


@pytest.mark.parametrize(("names", "said"), [({}, "no names"), ({"a": ["Al"]}, "too short"), ({"a": []}, "Nobody")])
def test_what_cannot_be_guarded_by_name_leaves_nothing_behind(names, said, base_dir: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        guard_by_names(base_dir, names, tmp_path / "guarded")
    assert not list(tmp_path.iterdir())


def test_false_positives_are_counted_on_general_prompts_and_on_ones_own(guard: Guard) -> None:
    shipped = count_false_positives(guard)
    assert shipped.n > 1000
    assert shipped.flagged == ()
    assert 0 < shipped.bound < 0.01
    own = count_false_positives(guard, ["How do tides work?", "Who is Jane Quillfeather?"], confidence=0.9)
    assert own.flagged == ("Who is Jane Quillfeather?",)
    assert (own.n, own.confidence) == (2, 0.9)
    with pytest.raises(ValueError, match="positive"):
        count_false_positives(guard, [])
    retain = ["Who is Jane  Quillfeather?", "who is Jane Quillfeather?", "What grows in a peat bog near Doe Lake?"]
    both = count_false_positives(guard, retain=retain)
    assert (both.n, both.flagged) == (shipped.n + 2, ("Who is Jane  Quillfeather?",))
    with pytest.raises(TypeError, match="list of prompts"):
        count_false_positives(guard, retain="one prompt")


def test_what_takes_a_classifier_says_so(named, base_dir: str, tmp_path: Path) -> None:
    named.save_guard(tmp_path / "guard", base_model=base_dir)
    with pytest.raises(ValueError, match="recognised by its names alone"):
        recalibrate_guard(tmp_path / "guard", ["How do tides work?"], ["Who is Jane Quillfeather?"])


def test_an_evaluation_judges_anew_when_the_names_change(guard: Guard) -> None:
    ids = tuple(guard.reader.encode("Who is Ivo Thistlewood?"))
    assert judge(guard, [ids]) == [None]
    other = guard.joined_by(Guard(by_names(ForgetScope(name="x", names=["Ivo Thistlewood"])), {}, guard.tokenizer))
    assert judge(other, [ids])[0].scope == "x"


def test_a_scope_by_name_is_added_to_a_stored_guard(named, base_dir: str, tmp_path: Path) -> None:
    named.save_guard(tmp_path / "guard", base_model=base_dir)
    add_scopes_to_guard(tmp_path / "guard", [OMAR])
    loaded = AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path / "guard"))
    assert loaded.inspect("Who is Omar Bellweather?").scope == "request-2"


def test_the_command_guards_by_name(run, base_dir: str, tmp_path: Path) -> None:  # noqa: F811
    guard = str(tmp_path / "guard")
    status, out, err = run("guard", base_dir, "--name", "Jane Quillfeather", "-o", guard, "--guard-only")
    assert status == 0, err
    assert "It flags 0 of" in out
    status, out, err = run("scopes", "add", guard, "--scope", "omar", "--name", "Omar Bellweather")
    assert status == 0, err
    for prompt, scope in (("Who is Jane Quillfeather?", "request-1"), ("Who is Omar Bellweather?", "omar")):
        assert json.loads(run("inspect", guard, prompt, "--json")[1])[0]["scope"] == scope
    (tmp_path / "names.csv").write_text("id,name,aliases\nr7,Ivo Thistlewood,I. V. Thistlewood; Ivo the Great\n")
    status, out, err = run(
        "guard", base_dir, "--names", tmp_path / "names.csv", "-o", guard, "--guard-only", "--json", "--overwrite"
    )
    assert status == 0, err
    assert json.loads(out)["names"] == {"r7": ["Ivo Thistlewood", "I. V. Thistlewood", "Ivo the Great"]}


def test_the_command_judges_prompts_of_ones_own_beside_the_general_ones(run, base_dir: str, tmp_path: Path) -> None:  # noqa: F811
    own = tmp_path / "own.txt"
    own.write_text("Who is Jane Quillfeather?\nHow deep is a peat bog near Doe Lake?\n")
    options = ["--name", "Jane Quillfeather", "--guard-only", "--retain", own]
    status, out, err = run("guard", base_dir, *options, "-o", tmp_path / "guard")
    assert status == 0, err
    assert "It flags 1 of" in out and "general prompts and yours" in out and "flagged: Who is Jane" in out
    status, out, err = run("guard", base_dir, *options, "-o", tmp_path / "guard", "--json", "--overwrite")
    assert status == 0, err
    measured = json.loads(out)["false_positives"]
    assert measured["n"] == len(shipped_prompts()) + 2


# --- Files of names


@pytest.mark.parametrize(
    ("file", "text", "requests"),
    [
        ("n.txt", "Jane Doe\n\nOmar Lee\n", {"request-1": ["Jane Doe"], "request-2": ["Omar Lee"]}),
        ("n.csv", "name,id\nJane Doe,a7\nOmar Lee,\n", {"a7": ["Jane Doe"], "request-2": ["Omar Lee"]}),
        ("n.jsonl", '{"name": "Jane Doe", "aliases": ["J. Doe"]}\n', {"request-1": ["Jane Doe", "J. Doe"]}),
        ("n.jsonl", '{"id": 0, "name": "Jane Doe"}\n', {"0": ["Jane Doe"]}),
        ("n.csv", "name,aliases\n村上春樹,Haruki Murakami;\n", {"request-1": ["村上春樹", "Haruki Murakami"]}),
    ],
)
def test_names_are_read(file: str, text: str, requests: dict[str, list[str]], tmp_path: Path) -> None:
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert {key: list(request.names) for key, request in read_requests(tmp_path / file).items()} == requests


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("n.txt", "\n", "holds no names"),
        ("n.yaml", "a: b", "no known kind"),
        ("n.csv", "id,name\na,Jane Doe\na,Omar Lee\n", "id of another request, 'a'"),
        ("n.csv", "id,name\na,\n", "has no name"),
        ("n.csv", "name,article\nJane Doe,jane.txt\n", "'article', which is not read"),
        ("n.jsonl", '"Jane Doe"\n', "no object with a name"),
        ("n.jsonl", '{"name": "Jane Doe", "aliases": [7]}\n', "aliases that are no names"),
        ("n.jsonl", '{"name": "Jane Doe", "aliases": 7}\n', "aliases that are no names"),
    ],
)
def test_a_file_that_is_none_of_names_is_refused(file: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        read_requests(tmp_path / file)


# --- What they cost


def test_the_benchmark_says_what_is_found_and_what_is_flagged(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    main = __import__("names").main
    (tmp_path / "names.txt").write_text("Jane Quillfeather\nOmar Bellweather\n")
    (tmp_path / "prompts.txt").write_text("How do tides work?\nWho is Omar Bellweather?\n")
    given = [str(tmp_path / "names.txt"), "--prompts", str(tmp_path / "prompts.txt"), "--counts", "1", "2"]
    main([*given, "--rounds", "1", "--json", str(tmp_path / "out.json")])
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [(row["scopes"], row["recall"], row["flagged"]) for row in rows] == [(1, 1.0, 0), (2, 1.0, 1)]
    assert rows[1]["flagged_prompts"] == ["Who is Omar Bellweather?"]
    assert rows[0]["verdict_ratio"] == 1.0


# --- What only looks like a name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Theo Falcón", "Did the Falcons win?"),  # ordinary words
        ("William Mace", "What will make them laugh?"),
        ("Anna Carre", "is a football field equal to an acre?"),
        ("Johan Reuter", "In this film John Ritter falls over."),  # somebody else's name, of common words
        ("León Bergman", "Leo Berman runs the shop."),
        ("William Richard", "William, Richard and Ann were there."),  # a list
        ("Bo Canova", "Dancers of Bossanova wanted"),  # within a word
        ("Inga Flor", "Answer1: tile flooring Answer2: stone"),
    ],
)
def test_words_that_people_write_are_no_misspelt_name(name: str, text: str) -> None:
    assert not NamesDetector({"a": [name]}).detect([text])[0]


@pytest.mark.parametrize(
    "text",
    [
        "Where was Theo Falcon born?",
        "Where was Teo Falcón born?",
        "where was theo falcn born",
        "Falcón, Theo: where was he born?",
        "Where was T-h-e-o F-a-l-c-ó-n born?",
    ],
)
def test_a_misspelt_name_is_still_found(text: str) -> None:
    assert NamesDetector({"a": ["Theo Falcón"]}).detect([text])[0]


@pytest.mark.parametrize(
    ("text", "found", "weak"),
    [
        ("What did Quillfeather write?", True, False),
        ("A novel by Ann Quillfeather. What else did Quillfeather write?", False, None),  # another one
        ('A novel by Ann "Nan" Quillfeather. What else did Quillfeather write?', False, None),
        ("What did van Quillfeather write?", False, None),
        ("Is there a school in Quillfeather?", False, None),  # a place
        ("Is Quillfeather & Sons a firm?", False, None),
        ("He lives in Ypsilanti, Quillfeather., with a cat.", False, None),
        ("What did Quillfeather write? " + "It is said so. " * 40, True, True),  # a long text
    ],
)
def test_a_last_name_counts_where_it_can_be_nobody_else(text: str, found: bool, weak: bool | None) -> None:
    detections = NamesDetector({"a": ["Jane Quillfeather"]}).detect([text])[0]
    assert bool(detections) == found
    assert all(d.weak is weak for d in detections)


def test_a_last_name_that_many_bear_tells_little() -> None:
    detections = NamesDetector({"a": ["Jane Norton"]}).detect(["What did Norton write?"])[0]
    assert [d.weak for d in detections] == [True]


@pytest.mark.parametrize("name", ["Jane Robin", "Jane Baker"])
def test_a_last_name_that_is_a_first_name_or_a_word_tells_nothing(name: str) -> None:
    assert not NamesDetector({"a": [name]}).detect([f"What did {name.split()[1]} write?"])[0]


def test_a_title_is_no_last_name() -> None:
    assert not NamesDetector({"a": ["Jane Quillfeather, Duchess of Wexbridge"]}).detect(["Is Wexbridge a town?"])[0]


def test_whom_a_scope_is_about_does_not_hang_on_the_other_scopes() -> None:
    alone, text = NamesDetector({"a": ["Jane Quillfeather"]}), "What did Quillfeather write?"
    among = NamesDetector(
        {"a": ["Jane Quillfeather"], **{f"b{i}": [f"{n} Quillfeather"] for i, n in enumerate("XYZ")}}
    )
    assert alone.detect([text])[0] == [d for d in among.detect([text])[0] if d.scope == "a"]


# --- Names that many bear


def by_context(**fields) -> ECOConfig:
    return by_names(ForgetScope(name="smith", **{"names": ["John Smith"], **fields}))


@pytest.mark.parametrize(
    ("fields", "flagged"),
    [
        ({}, False),
        ({"context": "ignored"}, True),
        ({"names": ["Jane Quillfeather"]}, True),
    ],
)
def test_a_name_that_many_bear_leaves_a_prompt_uncertain(fields, flagged: bool) -> None:
    guard = Guard(by_context(**fields), {}, byte_level_tokenizer())
    verdict = guard.inspect([f"Who is {guard.config.scopes[0].names[0]}?"])[0]
    assert (verdict.flagged, verdict.uncertain) == (flagged, not flagged)
    assert bool(verdict.tokens) == flagged


class Context:
    """A detector that says of whom a text speaks with one probability."""

    channel = "classifier"

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def detect(self, texts):
        return [[Detection("smith", self.probability, 0, 3, self.channel)] for _ in texts]


@pytest.mark.parametrize(("context", "flagged"), [(0.001, False), (0.2, True), (0.9, True)])
def test_a_name_that_many_bear_adds_to_what_the_rest_of_the_prompt_tells(context: float, flagged: bool) -> None:
    guard = Guard(by_context(), {}, byte_level_tokenizer())
    prompts = [guard.reader.read(guard.reader.encode(text)) for text in ("Who is John Smith?", "Who is it?")]
    named, unnamed = judge_prompts([guard.names, Context(context)], lambda _: 0.5, prompts)
    assert (named["smith"].probability >= 0.5) == flagged
    assert named["smith"].probability > unnamed["smith"].probability or context == 0.9
    assert unnamed["smith"].probability == context
    assert not named["smith"].weak  # a classifier has decided


@pytest.mark.parametrize(("context", "flagged"), [(0.02, False), (0.04, False), (0.1, True)])
def test_what_documents_do_not_say_tells_nothing_against_a_name(context: float, flagged: bool) -> None:
    guard, facts = Guard(by_context(), {}, byte_level_tokenizer()), Context(context)
    facts.channel = "facts"
    prompts = [guard.reader.read(guard.reader.encode("Who is John Smith?"))]
    named = judge_prompts([guard.names, facts], lambda _: 0.5, prompts)[0]["smith"]
    assert named.weak == (not flagged)
    assert named.probability >= 0.4


def test_a_low_threshold_flags_no_name_that_many_bear() -> None:
    guard = Guard(by_context(threshold=0.3), {}, byte_level_tokenizer())
    verdict = guard.inspect(["Who is John Smith?"])[0]
    assert not verdict.flagged and verdict.uncertain and not verdict.tokens


def test_names_that_are_not_enough_need_something_else() -> None:
    with pytest.raises(ValueError, match=r"'smith' says that its names are not enough.*documents"):
        Guard(by_context(names=["Jane Quillfeather"], context="required"), {}, byte_level_tokenizer())


@pytest.mark.parametrize("probability", [float("nan"), -0.1, 1.5])
def test_a_detector_that_gives_no_probability_is_refused(guard: Guard, probability: float) -> None:
    prompts = [guard.reader.read(guard.reader.encode("Who is it?"))]
    with pytest.raises(GuardError, match="'classifier' gives p"):
        judge_prompts([Context(probability)], lambda _: 0.5, prompts)


def test_making_a_guard_says_which_names_many_bear(base_dir: str, caplog) -> None:
    from transformers.utils import logging

    logging.enable_propagation()
    try:
        AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=by_context())
    finally:
        logging.disable_propagation()
    assert "'John Smith' of scope 'smith' (some 49,359 people)" in caplog.text
    assert "context='ignored'" in caplog.text


def test_an_unknown_context_is_refused() -> None:
    with pytest.raises(ValueError, match="context='maybe' is unknown"):
        by_context(context="maybe")


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("DMX", "Who is DMX?", "DMX"),
        ("DMX", "who is dmx", "dmx"),
        ("DMX", "Who are the DMXers?", None),
        ("Elizabeth II", "When was Elizabeth II born?", "Elizabeth II"),
        ("Elizabeth II", "When was Elizabeth Bishop born?", None),
        ("Jane Quillfeather", "Is Ms. Quillfeather at home?", "Quillfeather"),
        ("Jane Quillfeather", "Is Senator Quillfeather at home?", "Quillfeather"),
    ],
)
def test_a_name_is_found_in_the_ways_in_which_people_say_it(name: str, text: str, found: str | None) -> None:
    said = {text[d.start : d.end] for d in NamesDetector({"a": [name]}).detect([text])[0] if not d.weak}
    assert said == ({found} if found else set())


@pytest.mark.parametrize("name", ["USA", "the", "AI", "dmx"])
def test_a_short_name_that_is_a_word_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="too short"):
        NamesDetector({"a": [name]})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("Fernsby, Clara Odette", "Clara Odette Fernsby"),
        ("FERNSBY, CLARA ODETTE", "Clara Odette Fernsby"),
        ("Fernsby, Hugo, Jr.", "Hugo Fernsby"),
        ("Fernsby Jr., Hugo", "Hugo Fernsby"),
        ("Fernsby, Hugo Marlow III", "Hugo Marlow Fernsby"),
        ("Ortega Windle, Inés", "Inés Ortega Windle"),
        ("van Thornbury, Ilse", "Ilse van Thornbury"),
        ("Fernsby، Clara", "Clara Fernsby"),
        ("Hugo Fernsby, Jr.", "Hugo Fernsby"),
        ("Hugo Fernsby, MD", "Hugo Fernsby"),
        ("Clara Fernsby, Duchess of Marlowe", "Clara Fernsby Duchess of Marlowe"),
        ("Edmund, the Elder", "Edmund the Elder"),
        ("Good Evening, Marlowe", "Good Evening, Marlowe"),
    ],
)
def test_a_name_that_is_given_with_its_last_name_first_is_found(given: str, said: str) -> None:
    key = bytes(16)
    for detector in (
        NamesDetector({"a": [given]}),
        HashedNamesDetector({"a": hash_names("a", [given], key)}, key),
    ):
        (found,) = detector.detect([f"Who is {said}?"])
        assert max(detection.probability for detection in found) > 0.95
        (found,) = detector.detect(["Who is Peter Ashdown?"])
        assert not found


def test_a_last_name_that_is_given_first_is_the_last_name() -> None:
    assert last_name_of("Fernsby, Clara Odette") == "Fernsby"
    assert last_name_of("Clara Fernsby, Duchess of Marlowe") is None
    assert bearers("Brown, David") == bearers("David Brown") > 0


@pytest.mark.parametrize("stored", ["plain", "hashed"])
@pytest.mark.parametrize("filler", [("?", " so an Open Window"), ("", "An Open Window "), ("An Open Window", "! ")])
def test_the_time_that_a_text_takes_grows_with_its_length(stored: str, filler: tuple[str, str]) -> None:
    key, names = bytes(16), ["Open Window", "Clara Fernsby"]
    hashed = HashedNamesDetector({"a": hash_names("a", names, key)}, key)
    detector = NamesDetector({"a": names}) if stored == "plain" else hashed
    once, often = filler

    def work(length: int) -> int:
        """Processor time, in nanoseconds; only the ratio of two is compared, and generously."""
        text = once * (length if len(once) == 1 else 1) + often * (length // len(often))
        start = time.process_time_ns()
        detector.detect([text])
        return time.process_time_ns() - start

    work(100)  # what is read once, is read
    assert work(16_000) < 8 * 4 * work(2_000)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Window is what he read.", False),
        ("He paused. Window is what he read.", False),
        ("He paused: “Window", False),
        ("He read Window twice.", True),
        ("He read … Window", True),
        ("the_ Window", True),
        ("HE READ WINDOW TWICE.", False),
    ],
)
def test_a_word_that_begins_a_sentence_is_not_capitalised_as_a_name(text: str, found: bool) -> None:
    assert bool(NamesDetector({"a": ["Window"]}).detect([text])[0]) is found


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["Clara Fernsby", "Hugo Fernsby"], "Clara Fernsby met Hugo Fernsby."),
        (["Clara Fernsby", "Hugo Clara"], "Hugo Clara Fernsby, then Clara fernsby. Fernsby left."),
        (["Clara Fernsby", "Clara Fernsby Windle"], "Clara Fernsby Windle saw Clara Fernsby, and clara went."),
    ],
)
@pytest.mark.parametrize("stored", ["plain", "hashed"])
def test_what_is_corrupted_for_a_scope_does_not_hang_on_the_other_scopes(stored: str, names, text: str) -> None:
    key, scopes = bytes(16), {f"scope-{number}": [name] for number, name in enumerate(names)}

    def places(*wanted: str) -> dict[str, set[tuple[int, int]]]:
        own = {scope: scopes[scope] for scope in wanted}
        records = {scope: hash_names(scope, given, key, "required") for scope, given in own.items()}
        contexts = dict.fromkeys(own, "required")
        plain = NamesDetector(own, contexts=contexts) if stored == "plain" else HashedNamesDetector(records, key)
        found: dict[str, set[tuple[int, int]]] = {}
        for detection in plain.detect([text])[0]:
            found.setdefault(detection.scope, set()).update((i, i + 1) for i in range(detection.start, detection.end))
        return found

    together = places(*scopes)
    assert together == {scope: places(scope)[scope] for scope in scopes}


@pytest.mark.parametrize("name", ["Clara Ferns\ud83dby", "\udc80Clara Fernsby"])
def test_a_name_with_half_of_a_character_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        NamesDetector({"a": [name]})
    with pytest.raises(ValueError, match="lone surrogate"):
        hash_names("a", [name], bytes(16))


@pytest.mark.parametrize(
    ("name", "text", "strong"),
    [
        ("Dr. Susan Miller", "Who is Dr. Susan Miller?", False),
        ("Sir Robert Brown", "Who is Sir Robert Brown?", False),
        ("Susan Odette Miller", "Who is Susan Odette Miller?", True),
        ("Susan Odette Miller", "Who is Susan O. Miller?", False),
        ("Susan Odette Miller", "Who is Susan Odette Marlow Miller?", False),
        ("Susan Odette Miller", "Who is Susan Clara Ann Miller?", None),
        ("Clara Odette Fernsby", "Who is Clara Odette Ann Fernsby?", True),
        ("Clara O. Fernsby", "Who is Clara Odette Ann Fernsby?", True),
        ("Clara Odette Fernsby", "Who is Clara O. Ann Fernsby?", True),
        ("Clara Odette Fernsby", "Who is Clara Ann Marlow Fernsby?", None),
        ("Clara Fernsby", "Who is Clara Ann Fernsby?", True),
    ],
)
@pytest.mark.parametrize("stored", ["plain", "hashed"])
def test_titles_and_middle_names_tell_whom_a_name_is_about(stored: str, name: str, text: str, strong) -> None:
    key = bytes(16)
    hashed = HashedNamesDetector({"a": hash_names("a", [name], key)}, key)
    (found,) = (NamesDetector({"a": [name]}) if stored == "plain" else hashed).detect([text])
    surest = [d for d in found if d.probability > 0.95]
    assert (any(not d.weak for d in surest) if surest else None) is strong


JANES, ROBERT, JEAN = ["Jane Quillfeather"], ["Robert Quillfeather"], ["Jean-Pierre Quillfeather"]
JANE_M = ["Jane M. Quillfeather"]


@pytest.mark.parametrize(
    ("names", "text", "strong"),
    [
        (JANES, "Who is J. Quillfeather?", True),
        (JANES, "Who is J Quillfeather?", True),
        (JANES, "Ask Dr. J. M. Quillfeather's pupils.", True),
        (JANES, "Who is J.M. Quillfeather?", True),
        (JANES, "Who is JM Quillfeather?", True),
        (JANES, "Smith, K., Quillfeather, J. M., & Jones, L. (2019)", True),
        (JANES, "What did Quillfeather J. write?", True),
        (JANES, "Did J. Quillfeather know K. Quillfeather?", True),
        (JANES, "Did J. Quillfeather write it? " + "It is said so. " * 40, False),  # a long text
        (["Jane Quillfeather", "J. M. Quillfeather"], "Who is J. Quillfeather?", True),
        (JANES, "Who is K. Quillfeather?", None),
        (JANES, "Quillfeather, K. (2019)", None),
        (JANES, "What did K. Quillfeather write? And Quillfeather?", None),
        (JANES, "Who is Mary J. Quillfeather?", None),
        (JANES, "Is J. Quillfeather John Quillfeather?", None),
        (JANES, "Who is J. Quillfeather-Marlow?", None),
        (JANES, "Who is J. Quillfeather Marlow?", None),
        (JANES, "According to Quillfeather, I am right.", True),  # no initial
        (JANES, "Is Quillfeather, M.D., a doctor?", True),
        (JANES, "Quillfeather, K. Smith and L. Jones wrote it.", True),
        (JANE_M, "Who is J. Quillfeather?", True),
        (JANE_M, "Who is J. M. Quillfeather?", True),
        (JANE_M, "Who is J. K. Quillfeather?", None),
        (ROBERT, "Who is B. Quillfeather?", True),  # Bob
        (JEAN, "Who is J.-P. Quillfeather?", True),
        (JEAN, "Who is J.-M. Quillfeather?", None),
        (["Jane Norton"], "Who is J. Norton?", False),  # many are called so
        (["Jane Robin"], "Who is J. Robin?", None),
        (["Иван Квиллфезеров"], "Кто такой И. Квиллфезеров?", True),
        (["Иван Квиллфезеров"], "Кто такой П. Квиллфезеров?", None),
        (["Γιώργος Κουιλφεδέρης"], "Ποιος είναι ο Γ. Κουιλφεδέρης;", True),
    ],
)
@pytest.mark.parametrize("stored", ["plain", "hashed"])
def test_initials_tell_whose_last_name_it_is(stored: str, names: list[str], text: str, strong: bool | None) -> None:
    assert strength(stored, names, text) is strong


@pytest.mark.parametrize(
    ("name", "text", "strong"),
    [
        ("Jane M. Quillfeather", "Who is Jane Quillfeather?", True),
        ("Jane M. Quillfeather", "Who is Jane Margaret Quillfeather?", True),
        ("Jane M. Quillfeather", "Who is Jane Kate Quillfeather?", None),
        ("Jane M. Quillfeather", "I saw Jane. Quillfeather left.", None),
        ("Robert Marlow Quillfeather", "Who is Bob Quillfeather?", True),
        ("Dr. Jane Quillfeather", "Who is Jane Quillfeather?", True),
        ("Иван Иванович Квиллфезеров", "Кто такой Иван Квиллфезеров?", True),
        ("Susan Odette Miller", "Who is Susan Miller?", False),  # others are called so
        ("José Luis Rodríguez", "Who is José Rodríguez?", False),
        ("Quill Marlow Feathers", "Where is Quill Feathers?", None),  # perhaps nobody's name
        ("Harry Quill and the Bellweather", "Who is Harry Bellweather?", None),
    ],
)
@pytest.mark.parametrize("stored", ["plain", "hashed"])
def test_whoever_has_a_middle_name_is_called_without_it_too(stored: str, name: str, text: str, strong) -> None:
    assert strength(stored, [name], text) is strong


@pytest.mark.parametrize("text", ["Who are the Quillfeathers?", "Ask the Quillfeathers' cook."])
@pytest.mark.parametrize("stored", ["plain", "hashed"])
def test_a_family_is_not_one_of_them_for_sure(stored: str, text: str) -> None:
    assert strength(stored, JANES, text) is False
    assert strength(stored, JANES, text.replace("the ", "")) is None


def strength(stored: str, names: list[str], text: str) -> bool | None:
    """Whether somebody is found for sure; None if not at all."""
    key = bytes(16)
    hashed = HashedNamesDetector({"a": hash_names("a", names, key)}, key)
    (found,) = (NamesDetector({"a": names}) if stored == "plain" else hashed).detect([text])
    return any(not d.weak and d.probability > 0.9 for d in found) if found else None
