"""A guard that does not tell who asked: names are recognised, and no file of the guard holds them."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import CHAT_TEMPLATE, byte_level_tokenizer
from test_cli import run  # noqa: F401

from hf_eco import AutoModelForCausalLMWithECO, ECOConfig, ForgetScope, Guard
from hf_eco.checkpoint.source import find_guard, read_eco
from hf_eco.checkpoint.writing import rewrite_eco
from hf_eco.detection.names.hashed import HashedNamesDetector, hash_names, made_up_name
from hf_eco.errors import GuardLoadError
from hf_eco.training import add_scopes_to_guard, guard_by_names

NAMES = {
    "request-1": ["Jane Quillfeather"],
    "request-2": ["Omar Bellweather", "Zoë O'Brannigan"],
    "request-3": ["村上春樹", "Ivo van Thistlewood"],
    "request-4": ["The Office"],
}
WORDS = ("quillfeather", "bellweather", "brannigan", "thistlewood", "村上春樹", "jane", "omar")
KEY = bytes(range(16))


def hashed(**options: object) -> ECOConfig:
    scopes = [ForgetScope(name=scope, names=names) for scope, names in NAMES.items()]
    return ECOConfig(scopes=scopes, store_names="hashed", **options)


@pytest.fixture
def guard() -> Guard:
    tokenizer = byte_level_tokenizer(eos_token="<|im_end|>")
    tokenizer.chat_template = CHAT_TEMPLATE
    made = Guard(hashed(), {}, tokenizer)
    made.record_probes()
    return made


@pytest.fixture
def named(base_dir: str):
    return AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=hashed())


@pytest.mark.parametrize(
    ("prompt", "scope"),
    [
        ("Where was Jane Quillfeather born?", "request-1"),
        ("where was jane quillfeather born", "request-1"),
        ("WHERE WAS JANE QUILLFEATHER BORN", "request-1"),
        ("Quillfeather, Jane: where was she born?", "request-1"),
        ("Who is janequillfeather?", "request-1"),
        ("Who is Jane Quill feather?", "request-1"),
        ("Who is Jane_Quillfeather?", "request-1"),
        ("Tell me about J-a-n-e Q-u-i-l-l-f-e-a-t-h-e-r", "request-1"),
        ("Who is Jáne Quìllfeather?", "request-1"),
        ("Who is Jane Quilfeather?", "request-1"),  # a letter left out
        ("Who is Jane Quillfeatther?", "request-1"),  # added
        ("Who is Jane Quillfeazher?", "request-1"),  # replaced
        ("Who is Jane Quillfeahter?", "request-1"),  # swapped
        ("What did Quillfeather write next?", "request-1"),
        ("Who is Jane M. Quillfeather?", "request-1"),
        (base64.b64encode(b"Who is Jane Quillfeather, and where was she born?").decode(), "request-1"),
        ("What did zoe o'brannigan win?", "request-2"),
        ("What did Zoe OBrannigan win?", "request-2"),
        ("What did O’Brannigan say?", None),  # another apostrophe, and no first name
        ("村上春樹の本を教えて", "request-3"),
        ("Is Ivo van Thistlewood tall?", "request-3"),
        ("I watch The Office every night.", "request-4"),
        ("Who cleans the office at night?", None),
        ("What did Peter Quillfeather write next?", None),
        ("Who was Jane Austen?", None),
        ("What is a quill made of? Feather is one word.", None),
        ("Which omar is in the plain? Bell weather.", None),
    ],
)
def test_a_name_is_recognised_by_its_hashes(guard: Guard, prompt: str, scope: str | None) -> None:
    verdict = guard.inspect([prompt])[0]
    assert verdict.scope == scope
    assert verdict.channel == ("names" if scope else None)


def test_a_misspelt_word_that_is_a_word_of_its_own_is_no_slip() -> None:
    detector = HashedNamesDetector({"a": hash_names("a", ["Martin Houser"], KEY)}, KEY)
    assert detector.detect(["Is Martin Houzer here?"])[0]
    assert not detector.detect(["Is Martin House open?"])[0]


def test_every_mention_is_corrupted_and_nothing_else(guard: Guard) -> None:
    chat = [
        {"role": "user", "content": "Who is Jane Quillfeather? And quillfeather's son?"},
        {"role": "assistant", "content": "I cannot say."},
        {"role": "user", "content": "Never mind. Where was Omar Bellweather born?"},
    ]
    verdict = guard.inspect([chat])[0]
    touched = "".join(verdict.text[slice(*verdict.offsets[token])] for token in verdict.tokens)
    assert all(name in touched for name in ("Jane Quillfeather", "quillfeather", "Omar Bellweather"))
    assert "born" not in touched
    assert "son" not in touched


# --- No file, and nothing that is shown, holds a name


def files_that_tell(directory: Path, *more: str) -> list[str]:
    """Files in which a name or one of its words stands, as it is or in a JSON string."""
    told = [word for name in (*WORDS, *more) for word in (name, json.dumps(name)[1:-1])]
    found = []
    for path in directory.rglob("*"):
        if path.is_file():
            content = path.read_bytes().lower()
            found += [f"{path.name}: {word}" for word in told if word.lower().encode() in content]
    return found


@pytest.mark.parametrize("weights", [True, False])
def test_no_file_of_the_guard_holds_a_name(weights: bool, base_dir: str, tmp_path: Path) -> None:
    guard_by_names(base_dir, NAMES, tmp_path / "plain", weights=weights)
    assert files_that_tell(tmp_path / "plain")  # the search finds names where there are some
    model = guard_by_names(base_dir, NAMES, tmp_path / "guarded", store_names="hashed", weights=weights)
    assert files_that_tell(tmp_path / "guarded") == []
    loaded = AutoModelForCausalLMWithECO.from_pretrained(tmp_path / "guarded")
    loaded.add_scope(ForgetScope(name="request-9", names=["Anselm Hollowbrook"]))
    loaded.remove_scope("request-2")
    loaded.save_guard(tmp_path / "again", base_model=base_dir)
    assert files_that_tell(tmp_path / "again", "anselm", "hollowbrook") == []
    add_scopes_to_guard(tmp_path / "guarded", [ForgetScope(name="request-9", names=["Anselm Hollowbrook"])])
    assert files_that_tell(tmp_path / "guarded", "anselm", "hollowbrook") == []
    for own in (loaded, AutoModelForCausalLMWithECO.from_pretrained(tmp_path / "guarded")):
        assert own.inspect("Who is Anselm Hollowbrook?").scope == "request-9"
        assert own.inspect("Who is Jane Quillfeather?") == model.inspect("Who is Jane Quillfeather?")
    assert loaded.inspect("Who is Omar Bellweather?").scope is None


def test_nothing_in_memory_that_is_shown_tells_a_name(named) -> None:
    shown = repr(named.eco_guard) + json.dumps(named.config.eco.to_dict()) + repr(named.inspect("Who are you?"))
    assert not [word for word in WORDS if word in shown.lower()]
    assert all(not scope.names for scope in named.config.eco.scopes)
    assert named.eco_guard.names_of("request-1") == []
    assert b"quillfeather" not in pickle.dumps(named.eco_guard).lower()


def test_the_config_that_a_guard_was_made_from_stays_the_owners(named) -> None:
    config = hashed()
    Guard(config, {}, byte_level_tokenizer())
    assert config.scopes[0].names == ("Jane Quillfeather",)


@pytest.mark.parametrize(
    ("scope", "name"),
    [("osterhagen2", "Zoe Osterhagen"), ("zosterhagen", "Zoe Osterhagen"), ("oster_hagen", "Zoe Osterhagen"),
     ("oster.4.hagen", "Zoe Osterhagen"), ("ostergard", "Ivo Østergård"), ("oestergaard", "Ivo Østergård"),
     ("moller-2026", "Kim Möller"), ("moeller", "Kim Möller"), ("brook", "Lily Brook"),
     ("obrannigan", "Al O'Brannigan"),
     ("request-brook", "Lily Brook"), ("lim7", "Bo Lim")],
)  # fmt: skip
def test_a_scope_that_tells_a_part_of_the_name_is_refused(scope: str, name: str) -> None:
    with pytest.raises(ValueError, match="called after the name"):
        hash_names(scope, [name], KEY)


@pytest.mark.parametrize(
    ("scope", "name"), [("request-17", "Ann Quest"), ("case-4", "Lily Brook"), ("the-4", "The Brook")]
)
def test_a_scope_that_tells_nothing_of_the_name_is_taken(scope: str, name: str) -> None:
    assert hash_names(scope, [name], KEY)


def test_a_warning_of_a_common_name_does_not_tell_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("hf_eco.guard.naming.logger.warning", said.append)
    config = ECOConfig(scopes=[ForgetScope(name="request-5", names=["Mary Johnson"])], store_names="hashed")
    Guard(config, {}, byte_level_tokenizer())
    assert len(said) == 1
    assert "request-5" in said[0]
    assert not [word for word in ("mary", "johnson", "people)") if word in said[0].lower()]


@pytest.mark.parametrize("scope", ["jane-doe", "JaneDoe", "r1.jane_x", "the-doe-file"])
def test_a_scope_that_is_called_after_the_name_is_refused(scope: str) -> None:
    config = ECOConfig(scopes=[ForgetScope(name=scope, names=["Jane Doe"])], store_names="hashed")
    with pytest.raises(ValueError, match="called after the name"):
        Guard(config, {}, byte_level_tokenizer())


def test_a_scope_may_share_letters_with_a_name() -> None:
    config = ECOConfig(scopes=[ForgetScope(name="request-1", names=["Ann Quest"])], store_names="hashed")
    assert len(Guard(config, {}, byte_level_tokenizer()).names) == 1


def test_known_answers_recorded_with_the_names_are_made_anew(named, base_dir: str) -> None:
    plain = ECOConfig(scopes=[ForgetScope(name="request-1", names=["Jane Quillfeather"])])
    told = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=plain).config.eco
    assert "Quillfeather" in told.scopes[0].probes[0].prompt
    kept = ECOConfig(scopes=copy.deepcopy(told.scopes), store_names="hashed")
    made = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=kept).config.eco
    assert "quillfeather" not in json.dumps(made.to_dict()).lower()
    assert made.scopes[0].probes


# --- A guard that is damaged is not lost silently


@pytest.mark.parametrize("damage", ["cut", "swapped", "key", "text"])
def test_hashes_that_are_not_those_that_were_saved_are_refused(damage: str, named, base_dir, tmp_path: Path) -> None:
    named.save_guard(tmp_path, base_model=base_dir)
    eco = find_guard(str(tmp_path)).eco
    first, second, *rest = [scope.hashed_names for scope in eco.scopes]
    damaged = {
        "cut": [first[:-32], second],
        "swapped": [second, first],
        "key": [first, second],
        "text": ["Jane Quillfeather", second],
    }[damage]
    scopes = [replace(s, hashed_names=own) for s, own in zip(eco.scopes, [*damaged, *rest], strict=True)]
    key = "00" * 16 if damage == "key" else eco.names_key
    rewrite_eco(tmp_path, replace(eco, scopes=scopes, names_key=key))
    with pytest.raises(GuardLoadError, match="request-1' are damaged"):
        AutoModelForCausalLMWithECO.from_pretrained(tmp_path)


def test_known_answers_name_nobody_and_notice_other_rules_and_another_tokenizer(named, monkeypatch) -> None:
    probes = [probe for scope in named.config.eco.scopes for probe in scope.probes]
    assert len({probe.prompt for probe in probes}) == len(NAMES)
    assert all(probe.probability > 0.99 for probe in probes)
    named.eco_guard.check_probes()
    with monkeypatch.context() as patch:  # as a version of hf-eco would that normalises otherwise
        patch.setattr("hf_eco.detection.names.name_forms._form", lambda kind, words: f"{kind}: {' '.join(words)}")
        with pytest.raises(GuardLoadError, match="not the one the guard was saved with"):
            named.eco_guard.check_probes()
    probes[0].input_ids = probes[0].input_ids[:-1]
    with pytest.raises(GuardLoadError, match="another tokenizer"):
        named.eco_guard.check_probes()


def test_made_up_names_differ_by_scope_and_key() -> None:
    made = {made_up_name(f"request-{i}", bytes([j]) * 16) for i in range(200) for j in range(5)}
    assert len(made) == 1000
    assert all(len(name.split()) == 2 for name in made)


def test_the_number_of_hashes_does_not_tell_how_long_a_name_is() -> None:
    sizes = {len(base64.b64decode(hash_names("a", [name], KEY))) - 9 for name in ("Jan Dough", "Jane Doughty")}
    assert len(sizes) == 1
    assert not sizes.pop() % (16 * 8)


# --- The key


def test_guards_hash_by_keys_of_their_own(base_dir: str) -> None:
    one, other = (Guard(hashed(), {}, byte_level_tokenizer()).config for _ in range(2))
    assert one.names_key != other.names_key
    hashes = [
        set(base64.b64decode(c.scopes[0].hashed_names)[i : i + 8] for i in range(9, 200, 8)) for c in (one, other)
    ]
    assert not hashes[0] & hashes[1]


def test_a_key_from_the_environment_is_needed_and_not_stored(base_dir, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("HF_ECO_NAMES_KEY", raising=False)
    with pytest.raises(GuardLoadError, match="Set HF_ECO_NAMES_KEY"):
        Guard(hashed(names_key="environment"), {}, byte_level_tokenizer())
    secret = "a secret of the house, kept elsewhere"
    monkeypatch.setenv("HF_ECO_NAMES_KEY", secret)
    guard_by_names(base_dir, NAMES, tmp_path / "g", store_names="hashed", names_key="environment", weights=False)
    assert files_that_tell(tmp_path / "g", secret) == []
    load = AutoModelForCausalLMWithECO.from_pretrained
    assert load(tmp_path / "g").inspect("Who is Jane Quillfeather?").scope == "request-1"
    monkeypatch.setenv("HF_ECO_NAMES_KEY", secret + "!")
    with pytest.raises(GuardLoadError, match="set the one that it was made with"):
        load(tmp_path / "g")
    monkeypatch.delenv("HF_ECO_NAMES_KEY")
    with pytest.raises(GuardLoadError, match="Set HF_ECO_NAMES_KEY"):
        load(tmp_path / "g")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"store_names": "secret"}, "no way to keep names"),
        ({"store_names": "hashed", "names_key": "1234"}, "16 to 64 bytes"),
        ({"names_key": "00" * 16}, "store_names='hashed'"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ECOConfig(scopes=[ForgetScope(name="request-1", names=["Jane Quillfeather"])], **options)


def test_guards_of_different_keys_are_not_joined(guard: Guard) -> None:
    other = ECOConfig([ForgetScope(name="request-9", names=["Anselm Hollowbrook"])], store_names="hashed")
    with pytest.raises(ValueError, match="by one key"):
        guard.joined_by(Guard(other, {}, guard.tokenizer))


@pytest.mark.parametrize(
    ("names", "said"), [(["Al"], "too short"), (["k.d. lang"], "would not be recognised"), (["  "], "names must be")]
)
def test_a_name_that_would_not_be_recognised_is_refused(names: list[str], said: str, named) -> None:
    before = named.eco_guard
    with pytest.raises(ValueError, match=said):
        named.add_scope(ForgetScope(name="request-9", names=names))
    assert named.eco_guard is before


# --- Coming and going


def test_a_scope_comes_and_goes_and_the_others_stay_bit_identical(named) -> None:
    prompts = ["Who is Jane Quillfeather?", "jane quilfeather", "What did Quillfeather say?", "How do tides work?"]
    before = named.inspect(prompts)
    rows = [named(torch.tensor([named.eco_guard.reader.encode(p)])).logits for p in prompts]
    held = named.eco_guard
    named.add_scope(ForgetScope(name="request-9", names=["Anselm of the Far Hollow Brook Quillfeather"]))
    after = named.inspect(prompts)
    assert [v.probabilities["request-1"] for v in after] == [v.probabilities["request-1"] for v in before]
    assert [v.tokens for v in after] == [v.tokens for v in before]
    named.remove_scope("request-9")
    assert named.inspect(prompts) == before
    again = [named(torch.tensor([named.eco_guard.reader.encode(p)])).logits for p in prompts]
    assert all(torch.equal(now, was) for now, was in zip(again, rows, strict=True))
    named.remove_scope("request-1")
    assert held.inspect(["Who is Jane Quillfeather?"])[0].scope == "request-1"
    assert named.inspect("Who is Jane Quillfeather?").scope is None


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda guard: pickle.loads(pickle.dumps(guard))])
def test_a_copy_decides_alike_and_is_its_own(guard: Guard, copied) -> None:
    other = copied(guard).without("request-2")
    assert other.inspect(["Who is Jane Quillfeather?"])[0].scope == "request-1"
    assert other.inspect(["Who is Omar Bellweather?"])[0].scope is None
    assert guard.inspect(["Who is Omar Bellweather?"])[0].scope == "request-2"


def test_a_classifier_that_holds_names_is_refused(classifier, monkeypatch) -> None:
    scope = ForgetScope(name="request-1", names=["Jane Quillfeather"], classifier="folder")
    config = ECOConfig(scopes=[scope], store_names="hashed")
    both = Guard(config, {"request-1": classifier}, byte_level_tokenizer())
    assert both.inspect(["Who is Jane Quillfeather?"])[0].channel == "names"
    monkeypatch.setattr(type(classifier), "names", lambda self, label: ["Jane Quillfeather"])
    with pytest.raises(ValueError, match="looks for names, which stand in clear"):
        Guard(config, {"request-1": classifier}, byte_level_tokenizer())


# --- The command


def test_the_command_makes_a_guard_that_tells_no_name(run, base_dir: str, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "requests.csv").write_text("id,name\nrequest-1,Jane Quillfeather\nrequest-2,Omar Bellweather\n")
    names = ["--names", str(tmp_path / "requests.csv"), "--store-names", "hashed"]
    made = run("guard", base_dir, "-o", str(tmp_path / "guarded"), *names, "--json")
    assert json.loads(made[1])["names"] == ["request-1", "request-2"]
    assert files_that_tell(tmp_path / "guarded") == []
    assert "of which hashes are kept" in (tmp_path / "guarded" / "README.md").read_text()
    eco = read_eco(str(tmp_path / "guarded"), {})
    assert eco is not None
    assert [scope.tokens for scope in eco.scopes] == ["mentions", "mentions"]
    shown = run("scopes", "list", str(tmp_path / "guarded"))[1]
    shown += run("inspect", str(tmp_path / "guarded"), "Who are you?", "--json")[1]
    assert "request-1" in shown
    assert "quillfeather" not in shown.lower()
