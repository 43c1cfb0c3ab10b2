"""A guarded checkpoint is saved, uploaded and loaded like any other, and never comes back unguarded."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import CLEAN, FLAGGED, MEASURED
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    BertForTokenClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    PreTrainedTokenizerFast,
    Qwen2ForCausalLM,
    pipeline,
)

from hf_eco import (
    AutoModelForCausalLMWithECO,
    CorruptionConfig,
    ECOConfig,
    EntityTagger,
    ForgetScope,
    GuardError,
    GuardLoadError,
    PromptClassifier,
)
from hf_eco.configuration import FORMAT_VERSION
from hf_eco.modeling import ECOMixin

GREEDY = {"do_sample": False, "max_new_tokens": 6}
CHATS = [[{"role": "user", "content": text}] for text in (FLAGGED, CLEAN)]
CLASSIFIER_FILES = {f"classifier-wizards/{f}" for f in ("config.json", "model.safetensors")} | {
    f"classifier-wizards/{f}" for f in ("tokenizer.json", "tokenizer_config.json")
}
GUARD_FILES = CLASSIFIER_FILES | {
    "README.md",
    "chat_template.jinja",
    "config.json",
    "modeling_eco.py",
    "tokenizer.json",
    "tokenizer_config.json",
}
WHOLE_FILES = GUARD_FILES | {"generation_config.json", "model.safetensors"}


# -- what the tests share: one guarded model, saved both ways; nobody changes these


@pytest.fixture(scope="module")
def tokenizer(base_dir):
    return AutoTokenizer.from_pretrained(base_dir)


@pytest.fixture(scope="module")
def inputs(tokenizer):
    """A flagged and a clean chat."""
    options = {"add_generation_prompt": True, "return_dict": True, "return_tensors": "pt"}
    return [tokenizer.apply_chat_template(chat, **options) for chat in CHATS]


@pytest.fixture(scope="module")
def answers(inputs):
    """answers(model): the tokens it answers the flagged and the clean chat with."""
    return lambda model: [model.generate(**x, **GREEDY)[0, x["input_ids"].shape[1] :].tolist() for x in inputs]


def wizards(classifier: str, strength: float = 10.0, **scope) -> ECOConfig:
    corruption = CorruptionConfig(method="rand_noise_first_n", dims=8, strength=strength, seed=3)
    return ECOConfig(scopes=[ForgetScope(name="wizards", classifier=classifier, corruption=corruption, **scope)])


@pytest.fixture(scope="module")
def original(base_dir, classifier_dir):
    return AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=wizards(classifier_dir))


@pytest.fixture(scope="module")
def expected(original, base_dir, answers):
    """What the model answers before it is saved; what the base answers to a flagged prompt is something else."""
    flagged, clean = answers(original)
    known, same = answers(LlamaForCausalLM.from_pretrained(base_dir))
    assert flagged != known and clean == same
    return [flagged, clean]


@pytest.fixture(scope="module")
def whole(original, tmp_path_factory) -> Path:
    """Base weights and guard."""
    original.save_pretrained(directory := tmp_path_factory.mktemp("whole"))
    return directory


@pytest.fixture(scope="module")
def guard_only(original, tmp_path_factory) -> Path:
    original.save_guard(directory := tmp_path_factory.mktemp("guard"))
    return directory


@pytest.fixture(scope="module")
def other_base(base_dir, tmp_path_factory) -> str:
    """The base with other weights."""
    torch.manual_seed(1)
    directory = tmp_path_factory.mktemp("other") / "base"
    shutil.copytree(base_dir, directory)
    LlamaForCausalLM(LlamaConfig.from_pretrained(base_dir)).save_pretrained(directory)
    return str(directory)


def contents(directory) -> dict[str, bytes]:
    """Every file below `directory`, by its relative path."""
    files = (path for path in Path(directory).rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def read_config(directory) -> dict:
    return json.loads((Path(directory) / "config.json").read_text())


def edited(directory, target: Path, edit) -> Path:
    """A copy of `directory` at `target`, its config.json changed by `edit`."""
    shutil.copytree(directory, target)
    config = read_config(target)
    edit(config)
    (target / "config.json").write_text(json.dumps(config))
    return target


def scope_of(config: dict) -> dict:
    return config["eco"]["scopes"][0]


def strength_of(model) -> float:
    return model.config.eco.scopes[0].corruption.strength


FACTORIES = pytest.mark.parametrize(
    "factory", [AutoModelForCausalLMWithECO, AutoModelForCausalLM], ids=lambda factory: factory.__name__
)

# -- a saved checkpoint is the model that was saved


def test_a_saved_checkpoint_holds_the_promised_files_and_no_others(whole, guard_only):
    assert contents(whole).keys() == WHOLE_FILES
    assert contents(guard_only).keys() == GUARD_FILES


@FACTORIES
@pytest.mark.parametrize("options", [{}, {"device_map": "cpu"}, {"local_files_only": True}], ids=str)
def test_a_reloaded_checkpoint_answers_as_before_saving(whole, answers, expected, factory, options):
    model = factory.from_pretrained(whole, **options)
    assert isinstance(model, ECOMixin) and answers(model) == expected


@FACTORIES
@pytest.mark.parametrize("kind", ["whole", "guard_only"])
def test_a_checkpoint_loads_from_a_subfolder(request, tmp_path, answers, expected, factory, kind):
    shutil.copytree(request.getfixturevalue(kind), tmp_path / "sub")
    assert answers(factory.from_pretrained(tmp_path, subfolder="sub")) == expected


@FACTORIES
def test_a_sharded_checkpoint_answers_as_before_saving(original, tmp_path, answers, expected, factory):
    original.save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert answers(factory.from_pretrained(tmp_path)) == expected


@FACTORIES
def test_a_checkpoint_loads_in_another_dtype(whole, base_dir, classifier_dir, answers, original, factory):
    fresh = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=wizards(classifier_dir), dtype="bfloat16")
    model = factory.from_pretrained(whole, dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16 and answers(model) == answers(fresh)
    assert model.inspect(FLAGGED) == original.inspect(FLAGGED)  # the classifier keeps its own dtype


@FACTORIES
@pytest.mark.parametrize("kind", ["whole", "guard_only"])
def test_what_from_pretrained_is_told_about_the_model_is_heeded(request, answers, expected, factory, kind):
    # Fails for a guard-only directory by AutoModelForCausalLM: AutoConfig puts both into the config it hands on, and
    # ECOMixin.from_pretrained drops that config (its name_or_path and eco apart, it is the one wanted).
    options = {"attn_implementation": "eager", "use_cache": False}
    model = factory.from_pretrained(request.getfixturevalue(kind), **options)
    assert (model.config._attn_implementation, model.config.use_cache) == ("eager", False)
    assert answers(model) == expected


@FACTORIES
def test_loading_info_is_returned_where_it_is_asked_for(whole, answers, expected, factory):
    model, info = factory.from_pretrained(whole, output_loading_info=True)
    assert answers(model) == expected and not info["missing_keys"]


@pytest.mark.parametrize("kind", ["whole", "guard_only"])
@pytest.mark.parametrize("row", [0, 1], ids=["flagged", "clean"])
def test_a_pipeline_gives_the_guarded_answer_to_a_chat_and_to_a_string(
    request, original, base, tokenizer, answers, expected, kind, row
):
    pipe = pipeline("text-generation", model=str(request.getfixturevalue(kind)), device="cpu")
    by_chat = pipe(CHATS[row], **GREEDY)[0]["generated_text"][-1]["content"]
    assert by_chat == tokenizer.decode(expected[row], skip_special_tokens=True)
    text = CHATS[row][0]["content"]
    ids = tokenizer(text, return_tensors="pt")
    by_string = pipe(text, **GREEDY, return_tensors=True)[0]["generated_token_ids"]
    assert by_string == original.generate(**ids, **GREEDY)[0].tolist()
    assert (by_string == base.generate(**ids, **GREEDY)[0].tolist()) == (row == 1)


def test_a_checkpoint_can_be_saved_over_the_one_it_was_loaded_from(whole, tmp_path, answers, expected):
    directory = edited(whole, tmp_path / "own", lambda config: None)
    AutoModelForCausalLMWithECO.from_pretrained(directory).save_pretrained(directory)
    files = contents(directory)
    assert files.keys() == WHOLE_FILES and files["model.safetensors"] == contents(whole)["model.safetensors"]
    assert answers(AutoModelForCausalLMWithECO.from_pretrained(directory)) == expected


def test_a_scope_that_selects_entities_keeps_its_token_classifier(base_dir, classifier_dir, tmp_path):
    torch.manual_seed(0)
    labels = {"id2label": {0: "O", 1: "NAME"}, "label2id": {"O": 0, "NAME": 1}}
    tagger = BertForTokenClassification.from_pretrained(classifier_dir, **labels)
    EntityTagger(tagger, AutoTokenizer.from_pretrained(classifier_dir)).save_pretrained(str(tmp_path / "tagger"))
    config = wizards(classifier_dir, tokens="entities", entities=str(tmp_path / "tagger"))
    model = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=config)
    model.save_pretrained(tmp_path / "saved")
    folder = {f.replace("classifier-", "tokens-") for f in CLASSIFIER_FILES}
    assert contents(tmp_path / "saved").keys() == WHOLE_FILES | folder
    reloaded = AutoModelForCausalLMWithECO.from_pretrained(tmp_path / "saved")
    assert reloaded.inspect(FLAGGED) == model.inspect(FLAGGED)
    assert reloaded.eco_guard.taggers["wizards"].spans(FLAGGED) == model.eco_guard.taggers["wizards"].spans(FLAGGED)


# -- fail closed: in a process of its own, with hf_eco installed but not imported, and without it

NATIVE_ROUTES = ["LlamaForCausalLM", "LlamaModel", "LlamaConfig", "Qwen2ForCausalLM"]
PLAIN_ROUTES = ["AutoModelForCausalLM", "AutoModel", "AutoConfig", "pipeline", *NATIVE_ROUTES]
TRUSTING_ROUTES = ["AutoModelForCausalLM", "pipeline"]
SCRIPT = """
import json, multiprocessing, sys
request = json.loads(sys.argv[1])
if request["absent"]:
    class Absent:
        def find_spec(self, name, *_):
            if name.partition(".")[0] == "hf_eco":
                raise ModuleNotFoundError("No module named 'hf_eco'", name="hf_eco")
    sys.meta_path.insert(0, Absent())
import torch, transformers

def attempt(directory, route, kwargs):
    try:
        if route == "pipeline":
            loaded = transformers.pipeline("text-generation", model=directory, **kwargs).model
        else:
            loaded = getattr(transformers, route).from_pretrained(directory, **kwargs)
        ids = torch.tensor([request["ids"]])
        answer = loaded.generate(ids, **request["options"])[0, ids.shape[1]:].tolist() if kwargs else None
        return {"loaded": str(type(loaded)), "answer": answer}
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}

def attempts(kind, kwargs, call):
    tasks = [(directory, route, kwargs) for directory in request["directories"] for route in request[kind]]
    found = {directory: {} for directory in request["directories"]}
    for (directory, route, _), result in zip(tasks, call(attempt, tasks)):
        found[directory][route] = result
    return found

results = {"plain": attempts("plain", {}, lambda f, tasks: [f(*task) for task in tasks])}
results["imported"] = "hf_eco" in sys.modules
# a process each: the first to import hf_eco registers guarded checkpoints for those that follow
with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
    call = lambda f, tasks: pool.starmap(f, tasks, chunksize=1)
    results["trusting"] = attempts("trusting", {"trust_remote_code": True}, call)
with open(request["output"], "w") as file:
    json.dump(results, file)
"""


@pytest.fixture(scope="module")
def processes(whole, guard_only, inputs, tmp_path_factory):
    """What the routes gave in a process with hf_eco (False) and in one without it (True)."""
    directory = tmp_path_factory.mktemp("processes")
    (directory / "script.py").write_text(SCRIPT)
    running = {}
    for absent in (False, True):
        home = directory / f"home-{absent}"
        request = {
            "absent": absent,
            "directories": [str(whole), str(guard_only)],
            "plain": PLAIN_ROUTES,
            "trusting": TRUSTING_ROUTES,
            "ids": inputs[0]["input_ids"][0].tolist(),
            "options": GREEDY,
            "output": str(directory / f"{absent}.json"),
        }
        running[absent] = subprocess.Popen(
            [sys.executable, "script.py", json.dumps(request)],
            cwd=directory,
            env=os.environ
            | {"HF_HOME": str(home), "HF_MODULES_CACHE": str(home / "modules")}
            | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    results = {}
    for absent, process in running.items():
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        results[absent] = json.loads((directory / f"{absent}.json").read_text())
    return results


ABSENT = pytest.mark.parametrize("absent", [False, True], ids=["hf_eco-not-imported", "hf_eco-absent"])


@ABSENT
@pytest.mark.parametrize("kind", ["whole", "guard_only"])
def test_no_route_loads_a_guarded_directory_without_hf_eco(request, processes, absent, kind):
    results = processes[absent]["plain"][str(request.getfixturevalue(kind))]
    assert {route: result for route, result in results.items() if "loaded" in result} == {}
    assert results.keys() == set(PLAIN_ROUTES) and not processes[absent]["imported"]
    for route in NATIVE_ROUTES:
        assert "pip install hf-eco" in results[route]["message"], route


@pytest.mark.parametrize("kind", ["whole", "guard_only"])
def test_with_trust_remote_code_the_guarded_model_is_loaded_or_hf_eco_asked_for(request, processes, expected, kind):
    # Fails with hf_eco: AutoConfig passes name_or_path=..., and so does GuardedConfig.from_pretrained a second time.
    directory = str(request.getfixturevalue(kind))
    for route in TRUSTING_ROUTES:
        assert processes[False]["trusting"][directory][route].get("answer") == expected[0], route
        refused = processes[True]["trusting"][directory][route]
        assert "pip install hf-eco" in refused["message"], route
    assert processes[True]["trusting"][directory]["AutoModelForCausalLM"]["error"] == "ImportError"


@pytest.mark.parametrize("kind", ["whole", "guard_only"])
@pytest.mark.parametrize(
    "route", [LlamaForCausalLM, LlamaModel, LlamaConfig, Qwen2ForCausalLM, AutoModel], ids=lambda route: route.__name__
)
def test_native_classes_refuse_a_guarded_directory_after_import_hf_eco_too(request, route, kind):
    with pytest.raises(Exception, match=r"hf.eco"):
        route.from_pretrained(request.getfixturevalue(kind))


@pytest.mark.parametrize("route", [LlamaForCausalLM, LlamaModel], ids=lambda route: route.__name__)
def test_native_classes_refuse_the_guarded_config_handed_to_them(whole, route):
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        route.from_pretrained(whole, config=AutoConfig.from_pretrained(whole))


# -- Hub ids, from a cache laid out by hand


def commit_of(repo_id: str, revision: str) -> str:
    return hashlib.sha1(f"{repo_id}@{revision}".encode()).hexdigest()


def lay_out(cache: Path, repo_id: str, **revisions) -> None:
    """Puts directories into a Hub cache, as the revisions of `repo_id`."""
    root = cache / f"models--{repo_id.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    for revision, directory in revisions.items():
        commit = commit_of(repo_id, revision)
        (root / "refs" / revision).write_text(commit)
        shutil.copytree(directory, root / "snapshots" / commit)


@pytest.fixture(scope="module")
def hub(whole, base_dir, other_base, classifier_dir, tmp_path_factory):
    """Arguments to load from a cache of me/guarded, me/base and two guards of me/base, each with two revisions.

    Guards have main and other, which has strength 1; the base has main and v1, which has the weights of base_dir.
    """
    tmp = tmp_path_factory.mktemp("hub")
    arguments = {"cache_dir": str(tmp / "cache"), "local_files_only": True}

    def weaken(config):
        scope_of(config)["corruption"]["strength"] = 1.0

    lay_out(tmp / "cache", "me/guarded", main=whole, other=edited(whole, tmp / "whole", weaken))
    lay_out(tmp / "cache", "me/base", main=other_base, v1=base_dir)
    lay_out(tmp / "cache", "me/classifier", main=classifier_dir)
    model = AutoModelForCausalLMWithECO.from_pretrained(
        "me/base", revision="v1", eco_config=wizards("me/classifier"), **arguments
    )
    for name, base in {"guard": {}, "guard-of-main": {"base_model": "me/base"}}.items():
        model.save_guard(tmp / name, **base)
        lay_out(tmp / "cache", f"me/{name}", main=tmp / name, other=edited(tmp / name, tmp / f"{name}-weak", weaken))
    return arguments


@FACTORIES
@pytest.mark.parametrize(
    "revision, strength",
    [({}, 10.0), ({"revision": "other"}, 1.0), ({"revision": commit_of("me/guarded", "other")}, 1.0)],
    ids=["main", "branch", "commit"],
)
def test_a_guarded_checkpoint_loads_by_hub_id_and_revision(hub, answers, expected, factory, revision, strength):
    model = factory.from_pretrained("me/guarded", **revision, **hub)
    assert strength_of(model) == strength and answers(model)[1] == expected[1]
    assert (answers(model) == expected) == (strength == 10.0)
    assert model.name_or_path == model.config.name_or_path == "me/guarded"


@FACTORIES
@pytest.mark.parametrize("revision, strength", [({}, 10.0), ({"revision": "other"}, 1.0)], ids=["main", "other"])
def test_a_guard_fetches_its_base_at_the_revision_it_was_made_for(hub, answers, expected, factory, revision, strength):
    model = factory.from_pretrained("me/guard", **revision, **hub)
    eco = model.config.eco
    assert (eco.base_model_name_or_path, eco.base_revision) == ("me/base", commit_of("me/base", "v1"))
    assert strength_of(model) == strength and answers(model)[1] == expected[1]
    assert model.name_or_path == model.config.name_or_path == "me/guard"


@FACTORIES
def test_a_guards_revision_is_not_that_of_its_base(hub, answers, other_base, factory):
    model = factory.from_pretrained("me/guard-of-main", revision="other", **hub)
    assert strength_of(model) == 1.0
    assert answers(model)[1] == answers(LlamaForCausalLM.from_pretrained(other_base))[1]


@pytest.mark.parametrize("eco_revision, strength", [(None, 10.0), ("other", 1.0)])
def test_a_guard_by_hub_id_is_put_on_a_base(hub, answers, expected, eco_revision, strength):
    options = {"eco_config": "me/guard", "eco_revision": eco_revision, **hub}
    model = AutoModelForCausalLMWithECO.from_pretrained("me/base", revision="v1", **options)
    assert strength_of(model) == strength and answers(model)[1] == expected[1]


# -- guards without a base


@FACTORIES
def test_a_guard_and_its_base_answer_as_before_saving(guard_only, base_dir, tmp_path, answers, expected, factory):
    model = factory.from_pretrained(guard_only)
    assert answers(model) == expected
    assert model.name_or_path == model.config.name_or_path == str(guard_only)
    model.save_pretrained(tmp_path)  # base and guard together
    assert not read_config(tmp_path)["eco"]["guard_only"] and contents(tmp_path).keys() == WHOLE_FILES
    assert answers(factory.from_pretrained(tmp_path)) == expected


@pytest.mark.parametrize("kind", ["whole", "guard_only"])
def test_a_guard_by_path_is_put_on_a_base(request, base_dir, answers, expected, kind):
    guard = request.getfixturevalue(kind)
    assert answers(AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=guard)) == expected


def test_a_guard_names_its_base_wherever_it_is_loaded(
    base_dir, classifier_dir, tmp_path, monkeypatch, answers, expected
):
    monkeypatch.chdir(Path(base_dir).parent)
    model = AutoModelForCausalLMWithECO.from_pretrained(Path(base_dir).name, eco_config=wizards(classifier_dir))
    model.save_guard(tmp_path / "guard")
    assert read_config(tmp_path / "guard")["eco"]["base_model_name_or_path"] == base_dir
    monkeypatch.chdir(tmp_path)
    assert answers(AutoModelForCausalLMWithECO.from_pretrained("guard")) == expected


def test_a_guard_names_the_base_it_was_put_on(guard_only, other_base, tmp_path, answers):
    model = AutoModelForCausalLMWithECO.from_pretrained(other_base, eco_config=guard_only)
    model.save_guard(tmp_path)
    assert answers(AutoModelForCausalLMWithECO.from_pretrained(tmp_path)) == answers(model)


def test_save_guard_names_the_base_it_is_told(original, base_dir, tmp_path):
    original.save_guard(tmp_path, base_model="me/base", base_revision="v1")
    eco = read_config(tmp_path)["eco"]
    assert (eco["base_model_name_or_path"], eco["base_revision"], eco["guard_only"]) == ("me/base", "v1", True)
    own = original.config.eco
    assert (own.base_model_name_or_path, own.base_revision, own.guard_only) == (base_dir, None, False)


# -- known answers, and what else is refused


def without_merges(directory) -> None:
    """Gives a directory a tokenizer that knows single bytes alone."""
    file = Path(directory) / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["model"]["merges"] = []
    file.write_text(json.dumps(tokenizer))


@pytest.mark.parametrize("where", ["argument", "checkpoint", "base"])
def test_another_tokenizer_is_refused(whole, guard_only, base_dir, tmp_path, where):
    # Fails for "base": the guard brings a tokenizer along, and that is the one probed, not the base's own.
    shutil.copytree(whole if where == "checkpoint" else base_dir, tmp_path / "copy")
    without_merges(tmp_path / "copy")
    arguments = {
        "argument": (whole, {"tokenizer": AutoTokenizer.from_pretrained(tmp_path / "copy")}),
        "checkpoint": (tmp_path / "copy", {}),
        "base": (tmp_path / "copy", {"eco_config": guard_only}),
    }
    path, options = arguments[where]
    with pytest.raises(GuardLoadError, match="another tokenizer"):
        AutoModelForCausalLMWithECO.from_pretrained(path, **options)


@FACTORIES
def test_another_classifier_is_refused(whole, tmp_path, factory):
    shutil.copytree(whole, tmp_path / "copy")
    folder = str(tmp_path / "copy" / "classifier-wizards")
    classifier = PromptClassifier.from_pretrained(folder)
    classifier.model.classifier.weight.data.neg_()
    classifier.save_pretrained(folder)
    with pytest.raises(GuardLoadError, match="not the one the guard was saved with"):
        factory.from_pretrained(tmp_path / "copy")


@FACTORIES
@pytest.mark.parametrize("kind", ["whole", "guard_only"])
@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda config: config.pop("eco"), "damaged"),
        (lambda config: config.pop("base_config"), "damaged"),
        (lambda config: config["base_config"].pop("base_model_type"), "damaged"),
        (lambda config: config["eco"].update(version=FORMAT_VERSION + 1, scopes="unheard of"), "Upgrade"),
        (lambda config: scope_of(config).update(classifier="../x"), "folders of its own"),
        (lambda config: scope_of(config).update(classifier="me/other"), "folders of its own"),
        (lambda config: scope_of(config).update(classifier="classifier-wizards/../.."), "folders of its own"),
        (lambda config: scope_of(config).update(classifier=None), "folders of its own"),
        (lambda config: scope_of(config).update(tokens="entities", entities="/etc"), "folders of its own"),
        (lambda config: config["eco"].update(scopes=[]), "scopes"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_a_damaged_newer_or_escaping_config_is_refused(request, tmp_path, factory, kind, damage, message):
    directory = edited(request.getfixturevalue(kind), tmp_path / "copy", damage)
    with pytest.raises(ValueError, match=message):
        factory.from_pretrained(directory)


def test_unknown_keys_warn_and_load(whole, tmp_path, caplog, answers, expected):
    def add(config):
        config["eco"]["mood"] = "good"
        scope_of(config)["colour"] = "blue"

    with caplog.at_level(logging.WARNING, logger="hf_eco"):
        model = AutoModelForCausalLMWithECO.from_pretrained(edited(whole, tmp_path / "copy", add))
    assert answers(model) == expected
    assert "'mood'" in caplog.text and "'colour'" in caplog.text


@pytest.mark.parametrize("folder", [".", "classifier-wizards"])
def test_missing_weights_are_an_error(whole, tmp_path, folder):
    shutil.copytree(whole, tmp_path / "copy")
    (tmp_path / "copy" / folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"model\.safetensors"):
        AutoModelForCausalLMWithECO.from_pretrained(tmp_path / "copy")


def test_a_missing_repository_is_named(base_dir, classifier_dir, whole, tmp_path):
    nowhere = str(tmp_path / "nowhere")
    load = AutoModelForCausalLMWithECO.from_pretrained
    for arguments in (
        {"pretrained_model_name_or_path": nowhere},
        {"pretrained_model_name_or_path": base_dir, "eco_config": nowhere},
        {"pretrained_model_name_or_path": base_dir, "eco_config": wizards(nowhere)},
    ):
        with pytest.raises(OSError, match="nowhere"):
            load(**arguments)


def test_a_model_needs_one_guard_and_no_two(base_dir, classifier_dir, guard_only, whole):
    load = AutoModelForCausalLMWithECO.from_pretrained
    with pytest.raises(ValueError, match="carries no guard"):
        load(base_dir)
    with pytest.raises(ValueError, match="carries no guard"):
        load(base_dir, eco_config=base_dir)
    for guarded in (whole, guard_only):
        with pytest.raises(ValueError, match="guarded already"):
            load(guarded, eco_config=wizards(classifier_dir))
    with pytest.raises(TypeError, match="dict"):
        load(base_dir, eco_config={"scopes": []})


def test_a_classifier_must_be_safetensors(base_dir, classifier_dir, tmp_path):
    shutil.copytree(classifier_dir, tmp_path / "pickled")
    state = PromptClassifier.from_pretrained(classifier_dir).model.state_dict()
    (tmp_path / "pickled" / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=wizards(str(tmp_path / "pickled")))


def test_what_cannot_be_saved_leaves_the_directory_as_it_was(base_dir, classifier_dir, whole, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(whole, directory)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(directory))
    with pytest.raises(GuardError, match="no guard"):
        model.save_pretrained(directory)
    with pytest.raises(GuardError, match="no guard"):
        model.save_guard(directory)
    baseless = AutoModelForCausalLMWithECO.from_pretrained(directory)
    baseless.config.eco.base_model_name_or_path = None
    with pytest.raises(ValueError, match="base_model="):
        baseless.save_guard(directory)
    assert contents(directory) == contents(whole)


# -- the model card


def test_the_model_card_says_what_was_measured_and_what_was_not(base_dir, classifier_dir, tmp_path):
    config = wizards(classifier_dir, threshold=0.75, calibration=MEASURED)
    witches = ForgetScope(name="witches", classifier=classifier_dir, threshold=0.625)
    config = ECOConfig(scopes=[*config.scopes, witches])
    model = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=config)
    model.save_guard(tmp_path)
    rows = [line for line in (tmp_path / "README.md").read_text().splitlines() if line.startswith("| w")]
    measured, unmeasured = sorted(rows, key=lambda row: "witches" in row)
    for part in (
        "wizards",
        "0.7500",
        "0.004 (≤ 0.012 at 90%, n = 310)",
        "0.021 (≤ 0.046 at 90%, n = 190)",
        "strength 10",
    ):
        assert part in measured
    assert "0.6250" in unmeasured and unmeasured.count("not measured") == 2 and "not measured" not in measured


def test_the_model_card_names_a_base_on_the_hub(original, tmp_path):
    original.save_guard(tmp_path / "hub", base_model="me/base")
    original.save_guard(tmp_path / "local")
    assert "base_model: me/base" in (tmp_path / "hub" / "README.md").read_text()
    assert "base_model:" not in (tmp_path / "local" / "README.md").read_text()  # nobody else has that directory


@pytest.mark.parametrize("save", ["save_pretrained", "save_guard"])
def test_a_model_card_that_is_there_is_kept(original, tmp_path, save):
    (tmp_path / "README.md").write_text("mine")
    getattr(original, save)(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_tokenizer_at_hand_need_not_lie_beside_the_base(
    base_dir, classifier_dir, tmp_path, tokenizer, answers, expected
):
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        shutil.copy(Path(base_dir) / name, tmp_path)
    config = wizards(classifier_dir)
    model = AutoModelForCausalLMWithECO.from_pretrained(tmp_path, eco_config=config, tokenizer=tokenizer)
    assert answers(model) == expected and isinstance(tokenizer, PreTrainedTokenizerFast)
