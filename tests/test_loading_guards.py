"""What is loaded as a guarded model is all of the guard, and nothing but weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import CLEAN, FLAGGED
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    LlamaForCausalLM,
    Trainer,
    TrainingArguments,
    pipeline,
)

from hf_eco import AutoModelForCausalLMWithECO, ECOMixin, ForgetScope, GuardLoadError
from hf_eco.checkpoint import read_guard
from hf_eco.checkpoint.writing import copy_checkpoint

WEIGHTS = "model.safetensors"


@pytest.fixture
def whole(guarded, tmp_path) -> Path:
    guarded.save_pretrained(tmp_path / "whole")
    return tmp_path / "whole"


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


# -- a guard in the place of another


@pytest.mark.parametrize("load", [AutoModelForCausalLMWithECO, AutoModelForCausalLM])
def test_a_guard_whose_base_is_guarded_itself_is_refused(load, guarded, base_dir, whole, tmp_path) -> None:
    guarded.save_guard(tmp_path / "guard", base_model=base_dir)
    stored = tmp_path / "guard" / "config.json"
    eco = json.loads(stored.read_text())["eco"]
    change_json(stored, eco={**eco, "base_model_name_or_path": str(whole)})
    with pytest.raises(ValueError, match=r"is guarded itself, and its own scopes would be lost.*add_scope"):
        load.from_pretrained(tmp_path / "guard")


def test_a_guard_is_not_saved_for_a_base_that_is_guarded_itself(guarded, whole, tmp_path) -> None:
    with pytest.raises(ValueError, match="is guarded itself"):
        guarded.save_guard(tmp_path / "guard", base_model=str(whole))
    assert not (tmp_path / "guard" / "config.json").exists()


# -- the base model's config


def test_the_auto_class_keeps_the_guard_whatever_config_it_is_handed(base_dir, whole) -> None:
    config = AutoConfig.from_pretrained(base_dir)
    for model in (
        AutoModelForCausalLM.from_pretrained(whole, config=config),
        AutoModelForCausalLM.from_pretrained(str(whole.parent), subfolder="whole", config=config),
        AutoModelForCausalLMWithECO.from_pretrained(whole, config=config),
        pipeline("text-generation", model=str(whole), config=config).model,
    ):
        assert isinstance(model, ECOMixin) and model.inspect(FLAGGED).flagged
    assert not isinstance(AutoModelForCausalLM.from_pretrained(base_dir, config=config), ECOMixin)


@pytest.mark.parametrize("auto_class", [AutoModel, AutoModelForImageTextToText])
def test_an_auto_class_that_cannot_guard_refuses_it_whatever_config_it_is_handed(auto_class, base_dir, whole) -> None:
    with pytest.raises(ValueError, match="Unrecognized configuration class"):
        auto_class.from_pretrained(whole, config=AutoConfig.from_pretrained(base_dir))


def test_an_adapter_of_a_guarded_checkpoint_keeps_the_guard_whatever_config_is_handed_on(
    base_dir, whole, tmp_path
) -> None:
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(whole), peft.LoraConfig(r=2))
    model.save_pretrained(tmp_path / "adapter")
    config = AutoConfig.from_pretrained(base_dir)
    try:
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "adapter", config=config)
    except ValueError as error:
        pytest.skip(str(error)) if "version of PEFT" in str(error) else pytest.fail(str(error))
    assert isinstance(loaded, ECOMixin) and loaded.inspect(FLAGGED).flagged


def test_the_base_models_own_class_with_its_own_config_is_the_base_model(base_dir, whole) -> None:
    model = LlamaForCausalLM.from_pretrained(whole, config=AutoConfig.from_pretrained(base_dir))
    assert not isinstance(model, ECOMixin)


def test_whoever_makes_a_reference_model_by_the_name_of_an_unsaved_guarded_model_is_told_to_save_it(guarded) -> None:
    """As trl's trainers do it; those that take a deep copy have a guarded one."""
    for load in (AutoConfig.from_pretrained, AutoModelForCausalLM.from_pretrained):
        for name in (guarded.name_or_path, guarded.config._name_or_path):
            with pytest.raises(OSError, match=r"not saved yet: call save_pretrained\('directory'\) first"):
                load(name)


# -- nothing that runs


def to_pickle(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    torch.save({}, folder / "pytorch_model.bin")


def to_index_of_pickles(folder: Path) -> None:
    to_pickle(folder)
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "pytorch_model.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("pickled", [to_pickle, to_index_of_pickles])
@pytest.mark.parametrize("folder", ["", "classifier-wizards"])
@pytest.mark.parametrize("load", [AutoModelForCausalLMWithECO, AutoModelForCausalLM])
def test_no_pickle_is_loaded(load, folder, pickled, whole) -> None:
    pickled(whole / folder)
    with pytest.raises(OSError, match=r"no safetensors file.*no pickles"):
        load.from_pretrained(whole)


def test_no_pickle_is_asked_for(whole, base_dir, tmp_path, eco_config) -> None:
    with pytest.raises(ValueError, match="pickles"):
        AutoModelForCausalLMWithECO.from_pretrained(whole, use_safetensors=False)
    shutil.copytree(base_dir, tmp_path / "base")
    to_pickle(tmp_path / "base")
    with pytest.raises(OSError, match="no safetensors"):
        AutoModelForCausalLMWithECO.from_pretrained(tmp_path / "base", eco_config=eco_config)


def test_no_pickled_adapter_is_loaded(guarded, tmp_path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    torch.save({}, tmp_path / "adapter_model.bin")
    with pytest.raises(OSError, match=r"adapter_model\.bin"):
        guarded.load_adapter(str(tmp_path))


CODE = "from pathlib import Path\nPath({!r}).touch()\nraise SystemExit('it ran')\n"


@pytest.mark.parametrize(
    ("config", "auto_map"),
    [
        ("classifier-wizards/config.json", {"AutoConfig": "own.Own", "AutoModelForSequenceClassification": "own.Own"}),
        ("classifier-wizards/tokenizer_config.json", {"AutoTokenizer": ["own.Own", "own.Own"]}),
        ("tokenizer_config.json", {"AutoTokenizer": ["own.Own", "own.Own"]}),
    ],
    ids=["classifier", "its tokenizer", "tokenizer"],
)
def test_nobody_is_asked_whether_to_run_code_that_a_guard_brings(
    config, auto_map, whole, tmp_path, monkeypatch
) -> None:
    ran = tmp_path / "ran"
    path = whole / config
    (path.parent / "own.py").write_text(CODE.format(str(ran)))
    change_json(path, auto_map=auto_map, model_type="own", tokenizer_class="Own")
    monkeypatch.setattr("builtins.input", lambda question="": "y")
    if config == "classifier-wizards/tokenizer_config.json":  # transformers has a tokenizer for this type of model
        AutoModelForCausalLMWithECO.from_pretrained(whole)
    else:
        with pytest.raises(ValueError, match=r"code of its own.*delete auto_map"):
            AutoModelForCausalLMWithECO.from_pretrained(whole)
    assert not ran.exists()


# -- all of it, on the Hub


def test_a_folder_that_was_not_downloaded_is_named(whole) -> None:
    shutil.rmtree(whole / "classifier-wizards")
    for load in (AutoModelForCausalLMWithECO.from_pretrained, AutoModelForCausalLM.from_pretrained, read_guard):
        with pytest.raises(GuardLoadError, match=r"folder 'classifier-wizards' is missing.*hf download"):
            load(str(whole))


def test_every_push_of_a_trainer_is_a_whole_repository(guarded, tmp_path, monkeypatch) -> None:
    guarded.add_scope(ForgetScope(name="jane", names=["Jane Dorrington"]))  # whose file lies beside config.json
    pushed = []

    def upload_folder(self: Any, *, folder_path: str, ignore_patterns: list[str] = (), **kwargs: Any) -> Any:
        copy = tmp_path / f"push-{len(pushed)}"
        shutil.copytree(folder_path, copy, ignore=shutil.ignore_patterns(*ignore_patterns))
        pushed.append(copy)
        return SimpleNamespace(done=lambda: True, result=lambda: None, is_done=lambda: True)

    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(
        Trainer, "init_hf_repo", lambda self, **_: vars(self).update(hub_model_id="me/guarded", push_in_progress=None)
    )
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"), push_to_hub=True, hub_strategy="every_save", save_strategy="steps",
        save_steps=1, max_steps=2, per_device_train_batch_size=1, report_to=[], use_cpu=True,
    )  # fmt: skip
    rows = Dataset.from_dict({"input_ids": [[5, 6, 7]] * 2, "labels": [[5, 6, 7]] * 2})
    Trainer(guarded, arguments, train_dataset=rows).train()
    assert len(pushed) >= 2
    for directory in pushed:
        loaded = AutoModelForCausalLM.from_pretrained(directory)
        assert isinstance(loaded, ECOMixin) and loaded.inspect(FLAGGED).flagged and not loaded.inspect(CLEAN).flagged
        assert [scope.name for scope in loaded.config.eco.scopes] == ["wizards", "jane"]


def test_a_checkpoint_is_copied_whole_and_leaves_no_names_of_the_one_before(guarded, whole, tmp_path) -> None:
    guarded.add_scope(ForgetScope(name="jane", names=["Jane Dorrington"]))
    guarded.save_pretrained(tmp_path / "named")
    target = tmp_path / "target"
    target.mkdir()
    (target / "README.md").write_text("mine")
    copy_checkpoint(tmp_path / "named", target)
    assert list(target.glob("eco_scopes-*"))
    copy_checkpoint(whole, target)
    assert not list(target.glob("eco_scopes-*")) and (target / "README.md").read_text() == "mine"
    assert read_guard(str(target)).inspect([FLAGGED])[0].flagged
    copy_checkpoint(tmp_path, target / "nothing")  # no checkpoint
    assert not (target / "nothing").exists()
