"""A guarded checkpoint goes to the Hub and comes back, by huggingface_hub's own client, over HTTP."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from conftest import CLEAN, FLAGGED, add_adapter
from hub_stand_in import HubStandIn
from huggingface_hub import HfApi, ModelCard
from transformers import AutoModelForCausalLM, LlamaForCausalLM, pipeline

from hf_eco import (
    AutoModelForCausalLMWithECO,
    CorruptionConfig,
    ECOConfig,
    ForgetScope,
    GuardLoadError,
    PromptClassifier,
)
from hf_eco.checkpoint import read_guard
from hf_eco.checkpoint.hub_upload import upload
from hf_eco.modeling import ECOMixin

ME, STRANGER = "hf_mine", "hf_strangers"
GREEDY = {"do_sample": False, "max_new_tokens": 6}
PUSHES = pytest.mark.parametrize("route", ["push_to_hub", "push_guard_to_hub", "save_pretrained"])


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    """A Hub that is "me"'s and a "stranger"'s, to which all clients in this process go; nobody is logged in."""
    with HubStandIn({ME: "me", STRANGER: "stranger"}).serving() as server:
        server.be_the_hub(monkeypatch, tmp_path)
        yield server


def contents(directory: str | Path) -> dict[str, bytes]:
    paths = (path for path in Path(directory).rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}


def answers(model: Any, ids: Any) -> list[list[int]]:
    return [model.generate(**row, **GREEDY)[0].tolist() for row in ids]


def wizards(classifier: str) -> ECOConfig:
    corruption = CorruptionConfig(method="rand_noise_first_n", dims=8, strength=10.0, seed=3)
    return ECOConfig(scopes=[ForgetScope(name="wizards", classifier=classifier, corruption=corruption)])


def push(model: Any, route: str, repo_id: str, directory: Path, **options: Any) -> dict[str, bytes]:
    """Pushes by `route`; what `save_pretrained` or `save_guard` has written into `directory` for comparison."""
    tags = {name: options[name] for name in ("tags",) if name in options}
    if route == "push_guard_to_hub":
        model.push_guard_to_hub(repo_id, base_model="me/base", base_revision="main", **options)
        model.save_guard(directory, base_model="me/base", base_revision="main", **tags)
    elif route == "push_to_hub":
        model.push_to_hub(repo_id, **options)
        model.save_pretrained(directory, **tags)
    else:
        model.save_pretrained(directory, push_to_hub=True, repo_id=repo_id, **options)
    return contents(directory)


@pytest.fixture(scope="module")
def made(base_dir: str, classifier_dir: str) -> Any:
    """The guarded model that is pushed; nobody changes it."""
    return AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=wizards(classifier_dir))


@pytest.fixture(scope="module")
def ids(made: Any) -> list[Any]:
    return [made.eco_guard.tokenizer(text, return_tensors="pt") for text in (FLAGGED, CLEAN)]


@pytest.fixture(scope="module")
def expected(made: Any, base_dir: str, ids: Any) -> list[list[int]]:
    """What the guarded model answers; to the flagged prompt something else than the base."""
    guarded, known = answers(made, ids), answers(LlamaForCausalLM.from_pretrained(base_dir), ids)
    assert guarded[0] != known[0] and guarded[1] == known[1]
    return guarded


# -- pushing


@PUSHES
def test_what_is_uploaded_is_what_is_saved_byte_by_byte(made, hub, tmp_path, route):
    saved = push(made, route, "me/x", tmp_path / "saved", token=ME)
    assert hub.files("me/x") == saved
    assert {name.partition("/")[0] for name in saved} >= {"classifier-wizards", "config.json", "README.md"}
    assert ("model.safetensors" in saved) == (route != "push_guard_to_hub")
    assert set(HfApi(token=ME).list_repo_files("me/x")) == {*saved, ".gitattributes"}
    downloaded = huggingface_hub.snapshot_download("me/x", token=ME)
    assert {name: data for name, data in contents(downloaded).items() if name != ".gitattributes"} == saved


@PUSHES
def test_a_new_repository_is_private_where_that_is_asked_for(made, hub, tmp_path, route):
    push(made, route, "me/x", tmp_path / "saved", token=ME, private=True)
    assert hub.repositories["me/x"].private
    push(made, route, "me/y", tmp_path / "saved", token=ME)
    assert not hub.repositories["me/y"].private


@PUSHES
def test_a_push_is_one_commit_with_the_message_given_on_the_branch_named(made, hub, tmp_path, route):
    options = {"commit_message": "Guard it", "commit_description": "At last.", "revision": "dev", "token": ME}
    saved = push(made, route, "me/x", tmp_path / "saved", **options)
    repository = hub.repositories["me/x"]
    assert hub.files("me/x", "dev") == saved and hub.files("me/x", "main") == {}
    commit = repository.heads["dev"]
    assert (commit.message, commit.description) == ("Guard it", "At last.") and len(repository.commits) == 2


@PUSHES
def test_a_pull_request_leaves_the_branch_alone(made, hub, tmp_path, route):
    hub.create("me/x", {"README.md": b"---\ntags: []\n---\n"})
    saved = push(made, route, "me/x", tmp_path / "saved", create_pr=True, token=ME)
    assert hub.files("me/x").keys() == {"README.md"}
    proposed = hub.files("me/x", "refs/pr/1")
    assert {name: data for name, data in proposed.items() if name != "README.md"} == {
        name: data for name, data in saved.items() if name != "README.md"
    }


def test_a_push_returns_where_it_went(made, hub):
    info = made.push_to_hub("me/x", token=ME)
    assert info.oid == hub.repositories["me/x"].heads["main"].oid and info.commit_url.startswith(hub.endpoint)
    proposal = made.push_to_hub("me/x", token=ME, create_pr=True, tags=["new"])
    assert proposal.pr_revision == "refs/pr/1"
    more = made.push_to_hub("me/x", token=ME, revision="refs/pr/1", tags=["newer"])
    assert hub.repositories["me/x"].heads["refs/pr/1"].oid == more.oid


def test_pushing_the_same_again_makes_no_commit_and_sends_nothing_large(made, hub):
    made.push_to_hub("me/x", token=ME)
    hub.requests.clear()
    made.push_to_hub("me/x", token=ME)
    assert len(hub.repositories["me/x"].commits) == 2 and not hub.asked("^PUT")


@PUSHES
@pytest.mark.parametrize("tags", [["wizardry", "eco"], "wizardry"], ids=["list", "string"])
def test_tags_reach_the_model_card(made, hub, tmp_path, route, tags):
    push(made, route, "me/x", tmp_path, token=ME, tags=tags)
    metadata = ModelCard(hub.files("me/x")["README.md"].decode()).data
    assert metadata.tags == ["eco", "unlearning", "wizardry"]
    assert "wizardry" in HfApi(token=ME).model_info("me/x").tags


def test_a_model_card_of_ones_own_on_the_hub_is_kept(made, hub, caplog):
    own = b"---\nlicense: mit\ntags:\n- mine\n---\n\n# My model\n"
    hub.create("me/x", {"README.md": own})
    with caplog.at_level(logging.WARNING, logger="hf_eco"):
        made.push_to_hub("me/x", token=ME)
    assert hub.files("me/x")["README.md"] == own and "kept" in caplog.text
    made.push_to_hub("me/x", token=ME, tags=["eco"])
    card = ModelCard(hub.files("me/x")["README.md"].decode())
    assert card.data.tags == ["mine", "eco"] and card.data.license == "mit" and "# My model" in card.text


def test_an_older_guard_leaves_nothing_behind_and_everything_else_stays(made, base_dir, classifier_dir, hub):
    hub.create("me/x", {"notes.txt": b"mine", "adapter_model.safetensors": b"mine", "docs/a.md": b"mine"})
    made.push_to_hub("me/x", token=ME, max_shard_size="20KB")
    assert "model.safetensors.index.json" in hub.files("me/x")
    other = ECOConfig(scopes=[dataclasses.replace(wizards(classifier_dir).scopes[0], name="witches")])
    renamed = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=other)
    renamed.push_to_hub("me/x", token=ME)
    files = hub.files("me/x")
    assert not [
        name for name in files if name.startswith(("classifier-wizards", "model-")) or name.endswith(".index.json")
    ]
    assert {files[name] for name in ("notes.txt", "adapter_model.safetensors", "docs/a.md")} == {b"mine"}
    weights = files["model.safetensors"]
    renamed.push_guard_to_hub("me/x", base_model="me/base", token=ME)
    assert hub.files("me/x")["model.safetensors"] == weights  # a guard alone has no say in them


def test_an_interrupted_upload_changes_nothing_and_goes_on_where_it_broke_off(made, hub, tmp_path):
    made.push_to_hub("me/x", token=ME, tags=["before"])
    before = hub.files("me/x")
    saved = tmp_path / "saved"
    made.save_pretrained(saved, max_shard_size="10KB")
    shards = sorted(saved.glob("model-*.safetensors"))
    assert len(shards) > 4
    hub.refuse_uploads_after = 3
    with pytest.raises(Exception, match=r"broken off|Error while uploading"):
        made.push_to_hub("me/x", token=ME, max_shard_size="10KB")
    assert hub.files("me/x") == before and len(hub.repositories["me/x"].commits) == 2  # nobody loads half of it
    hub.refuse_uploads_after = None
    hub.requests.clear()
    made.push_to_hub("me/x", token=ME, max_shard_size="10KB")
    assert hub.files("me/x") == contents(saved)
    assert len(hub.asked("^PUT")) == len(shards) - 3


def test_what_cannot_be_pushed_is_refused_before_anything_is_created(made, hub, base_dir, tmp_path):
    with pytest.raises(ValueError, match="base_model="):
        made.push_guard_to_hub("me/x", token=ME)
    with pytest.raises(ValueError, match="one of the two"):
        made.push_to_hub("me/x", token=ME, create_pr=True, revision="dev")
    with pytest.raises(ValueError, match="without a guard"):
        upload(base_dir, "me/x", token=ME)
    with pytest.raises(OSError, match="no directory"):
        upload(tmp_path / "nowhere", "me/x", token=ME)
    assert not hub.repositories and not hub.requests


def test_a_push_without_the_right_to_is_an_error(made, hub):
    hub.create("me/x")
    for arguments in ({}, {"token": STRANGER}, {"token": "hf_wrong"}):
        with pytest.raises(OSError, match=r"40[13]"):
            made.push_to_hub("me/x", **arguments)
    assert hub.files("me/x") == {}


def test_a_saved_directory_is_pushed_as_it_stands(made, hub, tmp_path):
    made.save_guard(tmp_path, base_model="me/base")
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("not to be uploaded")
    upload(tmp_path, "me/x", token=ME)
    assert hub.files("me/x") == {
        name: data for name, data in contents(tmp_path).items() if not name.startswith(".git")
    }


def test_an_adapter_trained_on_a_guarded_model_is_pushed_and_names_it(made, hub, tmp_path, ids):
    peft = pytest.importorskip("peft")
    made.push_to_hub("me/guarded", token=ME)
    model = AutoModelForCausalLMWithECO.from_pretrained("me/guarded", token=ME)
    add_adapter(model, peft.LoraConfig(target_modules=["q_proj"]))
    model.save_pretrained(tmp_path, push_to_hub=True, repo_id="me/adapter", token=ME)
    assert hub.files("me/adapter") == contents(tmp_path) and "adapter_model.safetensors" in hub.files("me/adapter")
    loaded = AutoModelForCausalLMWithECO.from_pretrained("me/adapter", token=ME)
    assert loaded.inspect(FLAGGED).flagged and answers(loaded, ids) == answers(made, ids)


# -- loading


@pytest.fixture
def private(hub, made, base_dir, tmp_path) -> HubStandIn:
    """The Hub with me/guarded, me/guard and me/base, me/classifier, all of them private."""
    base = contents(base_dir) | {"README.md": b"---\nlicense: apache-2.0\n---\n# Base\n"}
    made.eco_guard.classifiers["wizards"].save_pretrained(str(tmp_path / "classifier"))
    hub.create("me/classifier", contents(tmp_path / "classifier"), private=True)
    commit = hub.create("me/base", base, private=True).heads["main"]
    made.push_to_hub("me/guarded", token=ME, private=True)
    made.push_guard_to_hub("me/guard", base_model="me/base", base_revision=commit.oid, token=ME, private=True)
    hub.requests.clear()
    return hub


FACTORIES = pytest.mark.parametrize(
    "factory", [AutoModelForCausalLMWithECO, AutoModelForCausalLM], ids=lambda factory: factory.__name__
)
REPOSITORIES = pytest.mark.parametrize("repo_id", ["me/guarded", "me/guard"])


@FACTORIES
@REPOSITORIES
def test_a_private_guard_comes_back_as_it_went_with_a_token_for_every_part(private, ids, expected, factory, repo_id):
    model = factory.from_pretrained(repo_id, token=ME)
    assert isinstance(model, ECOMixin) and answers(model, ids) == expected and model.inspect(FLAGGED).flagged
    needed = {"classifier-wizards/model.safetensors", "config.json", "tokenizer.json", "model.safetensors"}
    asked = {request.path.rpartition("/resolve/")[2].partition("/")[2] for request in private.asked("resolve")}
    assert asked >= needed
    assert {request.user for request in private.asked("resolve")} == {"me"}
    assert {request.path.split("/")[2] for request in private.asked("resolve")} == (
        {"guarded"} if repo_id == "me/guarded" else {"guard", "base"}
    )


@REPOSITORIES
@pytest.mark.parametrize("token", [None, STRANGER])
def test_strangers_get_nothing_of_a_private_guard(private, repo_id, token):
    with pytest.raises(OSError, match=repo_id):
        AutoModelForCausalLMWithECO.from_pretrained(repo_id, token=token)
    with pytest.raises(OSError):
        pipeline("text-generation", model=repo_id, token=token)


def test_a_private_classifier_and_base_are_fetched_with_the_token(private, ids, expected, tmp_path):
    model = AutoModelForCausalLMWithECO.from_pretrained("me/base", eco_config=wizards("me/classifier"), token=ME)
    assert answers(model, ids) == expected
    eco = model.config.eco
    head = private.repositories["me/base"].heads["main"].oid
    assert (eco.base_model_name_or_path, eco.base_revision) == ("me/base", head)
    model.push_guard_to_hub("me/new", token=ME)
    metadata = ModelCard(private.files("me/new")["README.md"].decode()).data
    assert (metadata.base_model, metadata.license) == ("me/base", "apache-2.0")
    assert (
        AutoModelForCausalLMWithECO.from_pretrained("me/base", eco_config="me/new", token=ME).inspect(FLAGGED).flagged
    )
    assert PromptClassifier.from_pretrained("me/classifier", token=ME).score([FLAGGED])[0] > 0.5


@FACTORIES
def test_a_guard_is_loaded_at_the_revision_asked_for(private, made, factory):
    first = private.repositories["me/guarded"].heads["main"].oid
    made.config.eco.scopes[0].corruption.strength, before = 1.0, made.config.eco.scopes[0].corruption.strength
    try:
        made.push_to_hub("me/guarded", token=ME)
        made.push_to_hub("me/guarded", token=ME, revision="dev", tags=["dev"])
    finally:
        made.config.eco.scopes[0].corruption.strength = before

    def strength(**revision: str) -> float:
        return factory.from_pretrained("me/guarded", token=ME, **revision).config.eco.scopes[0].corruption.strength

    assert (strength(), strength(revision="dev"), strength(revision=first)) == (1.0, 1.0, 10.0)


@pytest.fixture
def named(private, made, tmp_path) -> HubStandIn:
    """The same Hub with me/named, a guard by names in a private repository: on main of two names, on "one" of one; and
    me/below, where the first lies in a folder."""
    scopes = [ForgetScope(name=f"request-{n}", names=[name]) for n, name in enumerate(NAMES)]
    for count, branch in ((1, "one"), (2, "main")):
        model = AutoModelForCausalLMWithECO.from_pretrained(
            "me/base", eco_config=ECOConfig(scopes=scopes[:count]), token=ME
        )
        model.push_guard_to_hub("me/named", token=ME, private=True, revision=branch)
    below = {f"deep/{name}": data for name, data in private.files("me/named").items()}
    private.create("me/below", below, private=True)
    private.requests.clear()
    return private


NAMES = ["Jane Quillfeather", "Omar Bellweather"]


def scopes_files(files: Any) -> list[str]:
    return [name for name in files if name.startswith("eco_scopes-")]


@FACTORIES
def test_a_file_of_names_comes_from_the_hub_with_its_guard(named, factory, tmp_path):
    options = {"token": ME, "cache_dir": tmp_path / "cache"}
    for revision, flagged in ((None, [True, True]), ("one", [True, False])):
        model = factory.from_pretrained("me/named", **options, **({"revision": revision} if revision else {}))
        assert [verdict.flagged for verdict in model.inspect(NAMES)] == flagged
    asked = [request for request in named.asked("resolve") if "eco_scopes-" in request.path]
    assert len({request.path for request in asked}) >= 2 and {request.user for request in asked} == {"me"}
    named.requests.clear()
    offline = factory.from_pretrained("me/named", local_files_only=True, **options)
    assert [verdict.flagged for verdict in offline.inspect(NAMES)] == [True, True]
    guard = read_guard("me/below", subfolder="deep", token=ME)
    assert [verdict.flagged for verdict in guard.inspect(NAMES)] == [True, True]
    onto = AutoModelForCausalLMWithECO.from_pretrained("me/base", eco_config="me/named", eco_revision="one", **options)
    assert [verdict.flagged for verdict in onto.inspect(NAMES)] == [True, False]


def test_a_file_of_names_that_the_hub_lacks_is_refused(named):
    files = dict(named.files("me/named"))
    del files[scopes_files(files)[0]]
    named.repositories["me/named"].commit("main", files, "lost")
    with pytest.raises(GuardLoadError, match="not there"):
        AutoModelForCausalLMWithECO.from_pretrained("me/named", token=ME)


def test_a_push_leaves_one_file_of_names_and_uploads_no_other(named, tmp_path):
    before = scopes_files(named.files("me/named"))
    model = AutoModelForCausalLMWithECO.from_pretrained("me/named", token=ME)
    model.remove_scope("request-1")
    model.save_guard(tmp_path / "less")
    (tmp_path / "less" / before[0]).write_bytes(b"left over")
    upload(tmp_path / "less", "me/named", token=ME)
    after = scopes_files(named.files("me/named"))
    assert len(before) == len(after) == 1 and before != after
    assert not any(b"Bellweather" in data or data == b"left over" for data in named.files("me/named").values())


def test_the_base_of_a_guard_is_the_commit_it_was_made_for(private, ids, expected):
    repository = private.repositories["me/base"]
    repository.commit("main", repository.heads["main"].files | {"model.safetensors": b"other weights"}, "changed")
    assert answers(AutoModelForCausalLMWithECO.from_pretrained("me/guard", token=ME), ids) == expected


def test_a_gated_or_missing_base_is_named_with_what_to_do(private):
    guard, base = private.repositories["me/guard"], private.repositories["me/base"]
    guard.private = base.private = False
    base.gated = set()
    for token in (None, STRANGER):
        with pytest.raises(OSError, match=r"'me/guard' is a guard.* base model 'me/base'") as error:
            AutoModelForCausalLMWithECO.from_pretrained("me/guard", token=token)
        for part in ("gated", "pass token=", "eco_config='me/guard'"):
            assert part in str(error.value)
    assert not private.asked(r"me/guard/resolve/.*safetensors")  # known before anything large is fetched
    base.gated.add("stranger")
    assert AutoModelForCausalLMWithECO.from_pretrained("me/guard", token=STRANGER).inspect(FLAGGED).flagged
    del private.repositories["me/base"]
    with pytest.raises(OSError, match=r"'me/guard' is a guard.*base model 'me/base'"):
        AutoModelForCausalLMWithECO.from_pretrained("me/guard", force_download=True)


def test_a_base_directory_of_another_machine_is_named(made, tmp_path):
    made.save_guard(tmp_path, base_model=str(tmp_path / "nowhere"))
    with pytest.raises(OSError, match=r"base model '.*nowhere' is not to be had"):
        AutoModelForCausalLMWithECO.from_pretrained(tmp_path)


def test_a_gated_guard_says_so(private):
    private.repositories["me/guarded"].private, private.repositories["me/guarded"].gated = False, set()
    with pytest.raises(OSError, match="gated"):
        AutoModelForCausalLMWithECO.from_pretrained("me/guarded", token=STRANGER)


@REPOSITORIES
def test_a_pipeline_loads_a_guard_from_the_hub(private, made, repo_id):
    pipe = pipeline("text-generation", model=repo_id, token=ME, device="cpu")
    assert isinstance(pipe.model, ECOMixin)
    said = pipe(FLAGGED, **GREEDY, return_tensors=True)[0]["generated_token_ids"]
    own = made.eco_guard.tokenizer(FLAGGED, return_tensors="pt")
    assert said == made.generate(**own, **GREEDY)[0].tolist()


SCRIPT = """
import json, os, sys
from transformers import pipeline
pipe = pipeline("text-generation", model="me/guarded", trust_remote_code=True)
text, options = json.loads(sys.argv[1])
found = pipe(text, **options, return_tensors=True)[0]["generated_token_ids"]
print(json.dumps([found, "hf_eco" in sys.modules]))
"""


def test_a_fresh_process_that_is_logged_in_loads_it_through_its_own_code(private, made, ids, expected, tmp_path):
    environment = {"HF_ENDPOINT": private.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": ME}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([FLAGGED, GREEDY])],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [expected[0], True]
    assert {request.user for request in private.asked("resolve")} == {"me"}
