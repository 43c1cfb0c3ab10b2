"""What a guard's configuration accepts, what it refuses, and how it is written down and read again."""

from __future__ import annotations

import copy
import json
import logging
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig

from hf_eco import configuration
from hf_eco._version import __version__
from hf_eco.checkpoint.format import check_repo_folder, composite_config, split_composite_config
from hf_eco.configuration import FORMAT_VERSION, Calibration, CorruptionConfig, ECOConfig, ForgetScope, Probe
from hf_eco.corruption import corruption_methods, takes_strengths

CALIBRATION = Calibration(
    threshold=0.9,
    fpr=0.0,
    fpr_bound=0.01,
    fnr=0.02,
    fnr_bound=0.05,
    n_forget=200,
    n_retain=300,
    max_fpr=0.01,
    confidence=0.95,
)
SCOPE = ForgetScope(
    name="harry-potter",
    classifier="classifier-harry-potter",
    threshold=0.9,
    corruption=CorruptionConfig(method="zero_out_top_k", dims=None, strength=2.5, seed=3),
    tokens="entities",
    label="yes",
    entities="tokens-people",
    calibration=CALIBRATION,
    probes=[Probe(prompt="Who is Harry?", input_ids=[1, 2, 3], probability=0.99)],
)
BIOLOGY = ForgetScope(name="biology", corruption=CorruptionConfig(dims=3, strength=[0.5, 2.0, 8.0]))
GUARD = ECOConfig(scopes=[SCOPE, BIOLOGY], base_model_name_or_path="me/base", base_revision="abc")


def through_json(values: dict[str, Any]) -> dict[str, Any]:
    """`values` as they come back from a config.json."""
    return json.loads(json.dumps(values))


# ---------------------------------------------------------------------------------------------------------------------
# Written down and read again

scope_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}", fullmatch=True)
rates = st.floats(0, 1)
counts = st.integers(0, 10**9)
references = st.none() | st.text(min_size=1)
scopes = st.builds(
    ForgetScope,
    name=scope_names,
    classifier=references,
    threshold=st.floats(0, 1, exclude_min=True),
    corruption=st.builds(
        CorruptionConfig,
        method=st.sampled_from(corruption_methods()),
        dims=st.none() | st.integers(1, 10**6),
        strength=st.floats(0, allow_infinity=False),
        seed=st.integers(0, 2**63 - 1),
    ),
    tokens=st.sampled_from(["content", "all"]),
    label=st.text(),
    entities=references,
    calibration=st.none()
    | st.builds(Calibration, rates, rates, rates, rates, rates, counts, counts, rates, rates, method=st.text()),
    probes=st.lists(
        st.builds(Probe, prompt=st.text(), input_ids=st.lists(counts, max_size=5), probability=rates), max_size=2
    ),
)
guards = st.builds(
    ECOConfig,
    scopes=st.lists(scopes, min_size=1, max_size=3, unique_by=lambda scope: scope.name),
    base_model_name_or_path=references,
    base_revision=references,
    guard_only=st.booleans(),
)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(guards)
def test_a_guard_comes_back_from_json_as_it_was(guard: ECOConfig) -> None:
    assert ECOConfig.from_dict(through_json(guard.to_dict())) == guard


def test_a_strength_for_each_dimension_comes_back_from_json() -> None:
    corruption = ECOConfig.from_dict(through_json(GUARD.to_dict())).scope("biology").corruption
    assert corruption == BIOLOGY.corruption and corruption.strength == [0.5, 2.0, 8.0]
    assert corruption.in_words == "rand_noise_first_n, dims 3, strength 0.5 to 8"


@pytest.mark.parametrize("version", [1, 2])
def test_a_guard_of_a_development_version_is_refused(version: int) -> None:
    """They say version 1 or 2 of a format that was settled later, and corrupt otherwise."""
    values = {"version": version, "hf_eco_version": "0.1.0", "scopes": [{"name": "biology"}]}
    with pytest.raises(ValueError, match=r"hf-eco 0\.1\.0, a development version.*Make the guard again"):
        ECOConfig.from_dict(values)


def test_a_guard_of_an_older_version_is_upgraded_step_by_step(monkeypatch) -> None:
    def rename(values: dict) -> dict:
        return {"scopes" if key == "areas" else key: value for key, value in values.items()}

    def recase(values: dict) -> dict:
        return {**values, "scopes": [{"name": scope["name"].lower()} for scope in values["scopes"]]}

    monkeypatch.setattr(configuration, "FORMAT_VERSION", 3)
    monkeypatch.setattr(configuration, "_UPGRADES", {1: rename, 2: recase})
    values = {"version": 1, "areas": [{"name": "Biology"}]}
    before = copy.deepcopy(values)
    assert ECOConfig.from_dict(values).scopes == (ForgetScope(name="biology"),)
    assert values == before
    assert ECOConfig.from_dict({**values, "version": 3, "scopes": [{"name": "Own"}]}).scopes[0].name == "Own"


def test_the_table_of_built_in_methods_says_what_they_are() -> None:
    """Guards are read by it without torch."""
    table = configuration._BUILT_IN_METHODS
    assert table == {method: takes_strengths(method) for method in table}
    assert table.keys() <= set(corruption_methods())


def test_a_calibrated_scope_has_the_threshold_and_the_band_that_were_measured() -> None:
    scope = ForgetScope(name="biology", tokens="all", label="yes", corruption=BIOLOGY.corruption)
    measured = replace(CALIBRATION, threshold=0.9, abstain_threshold=0.4)
    made = scope.calibrated(measured)
    assert (made.threshold, made.abstain_threshold, made.calibration) == (0.9, 0.4, measured)
    assert made.calibration_in_force is measured
    assert replace(made, threshold=0.5, abstain_threshold=None, calibration=None) == scope
    assert (scope.threshold, scope.calibration) == (0.5, None)
    without_band = made.calibrated(replace(measured, abstain_threshold=None))
    assert without_band.abstain_threshold is None


def test_what_is_written_carries_the_version_that_writes_it() -> None:
    read = ECOConfig.from_dict({**GUARD.to_dict(), "hf_eco_version": "0.0.1"})
    assert read.hf_eco_version == "0.0.1"
    assert read.to_dict()["hf_eco_version"] == __version__
    assert read.to_dict()["version"] == FORMAT_VERSION


def test_a_value_left_out_takes_its_default() -> None:
    assert ECOConfig.from_dict({"scopes": [{"name": "biology"}]}) == ECOConfig(scopes=[ForgetScope(name="biology")])


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ([], "ECOConfig"),
        (["scopes", 0], "ForgetScope"),
        (["scopes", 0, "corruption"], "CorruptionConfig"),
        (["scopes", 0, "calibration"], "Calibration"),
        (["scopes", 0, "probes", 0], "Probe"),
    ],
)
def test_an_unknown_key_is_dropped_with_a_warning(
    path: list[str | int], owner: str, caplog: pytest.LogCaptureFixture
) -> None:
    values = place = GUARD.to_dict()
    for step in path:
        place = place[step]
    place["invented_later"] = 1
    with caplog.at_level(logging.WARNING, logger="hf_eco.configuration"):
        assert ECOConfig.from_dict(values) == GUARD
    (message,) = caplog.messages
    assert message.startswith(f"{owner}: ") and "invented_later" in message


def test_a_guard_of_a_newer_format_is_refused_before_anything_else_in_it_is_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    newer = {
        "version": FORMAT_VERSION + 1,
        "scopes": "something only the newer format understands",
        "invented_later": 1,
    }
    with pytest.raises(
        ValueError, match=rf"format version {FORMAT_VERSION + 1}.*Upgrade hf-eco: pip install -U hf-eco"
    ):
        ECOConfig.from_dict(newer)
    assert not caplog.messages


@pytest.mark.parametrize(
    "damaged",
    [
        None,
        [],
        {},
        {"scopes": None},
        {"scopes": ["harry-potter"]},
        {"scopes": {"name": "harry-potter"}},
        {"scopes": [{}]},
        {"scopes": [{"name": "x", "corruption": None}]},
        {"scopes": [{"name": "x", "corruption": "zero_out_top_k"}]},
        {"scopes": [{"name": "x", "calibration": {"threshold": 0.5}}]},
        {"scopes": [{"name": "x", "calibration": 0.5}]},
        {"scopes": [{"name": "x", "probes": ["Who is Harry?"]}]},
        {"scopes": [{"name": "x", "probes": [{"prompt": "Who is Harry?"}]}]},
    ],
    ids=str,
)
def test_a_guard_that_cannot_be_read_is_refused_when_it_is_read(damaged: Any) -> None:
    """Not later, when the first prompt is flagged."""
    with pytest.raises(ValueError):
        ECOConfig.from_dict(damaged)


# ---------------------------------------------------------------------------------------------------------------------
# Accepted and refused values


@pytest.mark.parametrize(
    ("cls", "field", "values", "advice"),
    [
        (CorruptionConfig, "method", ["rand_noise", None], "Use one of: add_value_first_n, "),
        (
            CorruptionConfig,
            "method",
            ["rand_noise", None],
            "register your own with @hf_eco.corruption.register_corruption",
        ),
        (CorruptionConfig, "dims", [0, -1], "Use dims=None for all dimensions"),
        (CorruptionConfig, "dims", [1.0, "1", True], "dims must be an integer"),
        (CorruptionConfig, "strength", [-1.0], "must not be negative"),
        (CorruptionConfig, "strength", [float("nan"), float("inf"), None, True], "must be a finite number"),
        (CorruptionConfig, "strength", ["1", "rms", "", "-1rms", "nanrms", "2 x rms"], "root mean square"),
        (CorruptionConfig, "seed", [-1, 2**63], "must lie in [0, 2**63)"),
        (CorruptionConfig, "seed", [1.0, "1", None, True], "seed must be an integer"),
        (
            ForgetScope,
            "name",
            ["", "a/b", "../a", ".a", "-a", "a b", "a\n", "naïve", "a" * 97, None, 1],
            "Use letters, digits, '.', '_' and '-', e.g. 'harry-potter'",
        ),
        (ForgetScope, "threshold", [0.0, -0.1, 1.1], "Use hf_eco.training.calibrate_threshold"),
        (ForgetScope, "threshold", [float("nan"), "0.5", None, True], "must be a finite number"),
        (ForgetScope, "tokens", ["words", None], "Use one of: content, all, entities"),
        (ECOConfig, "scopes", [[], {"name": "biology"}, None], "Use scopes=[ForgetScope(...)]"),
        (ECOConfig, "version", [FORMAT_VERSION + 1], "Upgrade hf-eco: pip install -U hf-eco"),
        (ECOConfig, "version", ["1", None, True, 0], "damaged"),
    ],
)
def test_a_wrong_value_is_refused_with_the_value_and_what_to_do(
    cls: type, field: str, values: list[Any], advice: str
) -> None:
    required: dict[type, dict[str, Any]] = {ForgetScope: {"name": "biology"}, ECOConfig: {"scopes": GUARD.scopes}}
    for value in values:
        with pytest.raises(ValueError) as error:
            cls(**{**required.get(cls, {}), field: value})
        assert repr(value) in str(error.value) and advice in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dims": 2, "strength": [1.0, -1.0]}, "must not be negative, got strength=[1.0, -1.0]"),
        ({"dims": 2, "strength": [1.0, "2"]}, "must be a finite number, got strength='2'"),
        ({"dims": 3, "strength": [1.0, 2.0]}, "There are 2 strengths for 3 dimensions"),
        (
            {"dims": None, "strength": [1.0, 2.0]},
            "A list of strengths needs its number as dims, got 2 strengths and dims=None",
        ),
        ({"method": "zero_out_top_k", "dims": 1, "strength": [1.0]}, "takes one strength, got a list"),
    ],
)
def test_strengths_that_do_not_fit_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        CorruptionConfig(**values)


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (CorruptionConfig, {"dims": 1, "strength": 0.0, "seed": 0}),
        (CorruptionConfig, {"dims": None, "strength": 1.7e308, "seed": 2**63 - 1}),
        (ForgetScope, {"name": "a", "threshold": 1.0}),
        (ForgetScope, {"name": "0._-" + "a" * 92, "threshold": 5e-324}),
    ],
)
def test_the_ends_of_a_range_belong_to_it(cls: type, values: dict[str, Any]) -> None:
    assert asdict(cls(**values)).items() >= values.items()


def test_choosing_entities_needs_a_token_classifier() -> None:
    with pytest.raises(ValueError, match=r"tokens='entities' needs a token classifier\. Pass entities="):
        ForgetScope(name="biology", tokens="entities")


@pytest.mark.parametrize("names", ["aba", "abA"])
def test_no_two_scopes_share_a_name_or_a_folder(names: str) -> None:
    with pytest.raises(ValueError, match=f"Two scopes share a name: a, {names[2]}[.]"):
        ECOConfig(scopes=[ForgetScope(name=name) for name in names])


def test_a_scope_is_found_by_its_name() -> None:
    assert GUARD.scope("harry-potter") is SCOPE
    with pytest.raises(KeyError, match="'chemistry'; the guard holds harry-potter, biology"):
        GUARD.scope("chemistry")


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/b",
        "me/model",
        "classifier-",
        "tokens-",
        "classifier",
        "classifier-../x",
        "classifier-a/b",
        "classifier-a\\b",
        "classifier-.a",
        "classifier-a\n",
        "./classifier-a",
        "/classifier-a",
        "",
        None,
        1,
    ],
)
def test_a_guard_repository_names_no_folder_but_its_own(name: Any) -> None:
    with pytest.raises(ValueError) as error:
        check_repo_folder(name)
    assert repr(name) in str(error.value)


@settings(derandomize=True, deadline=None)
@given(st.sampled_from(["classifier", "tokens"]), st.just("harry-potter") | scope_names)
def test_every_scope_has_a_folder_in_a_guard_repository(kind: str, scope: str) -> None:
    assert check_repo_folder(f"{kind}-{scope}") == f"{kind}-{scope}"


# ---------------------------------------------------------------------------------------------------------------------
# config.json of a guarded checkpoint

BASES = [
    {"model_type": "llama", "hidden_size": 8, "vocab_size": 100, "dtype": "bfloat16"},
    {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}, "vision_config": {"model_type": "siglip"}},
    {"model_type": "gpt2", "quantization_config": {"quant_method": "bitsandbytes"}, "transformers_version": "5.23.0"},
]


@pytest.mark.parametrize("base", BASES, ids=lambda base: base["model_type"])
def test_base_config_and_guard_come_back_from_the_composite_config(base: dict[str, Any]) -> None:
    before = copy.deepcopy(base)
    composite = through_json(composite_config(base, GUARD.to_dict()))
    assert composite["model_type"] == "eco"
    again, eco = split_composite_config(composite)
    assert again == base == before
    assert eco is not None and ECOConfig.from_dict(eco) == GUARD


@pytest.mark.parametrize("base", BASES, ids=lambda base: base["model_type"])
def test_an_unguarded_config_is_handed_back_as_it_is(base: dict[str, Any]) -> None:
    assert split_composite_config(base) == (base, None)


@pytest.mark.parametrize("base", BASES, ids=lambda base: base["model_type"])
def test_no_nested_dict_of_the_composite_config_can_be_mistaken_for_the_base_config(base: dict[str, Any]) -> None:
    """A native config class adopts a nested dict that names its own model_type, and forgets the guard beside it."""
    composite = composite_config(base, GUARD.to_dict())
    assert not [key for key, value in composite.items() if isinstance(value, dict) and "model_type" in value]


@pytest.mark.parametrize("base", BASES, ids=lambda base: base["model_type"])
def test_what_loaders_read_first_stands_at_the_top_of_the_composite_config(base: dict[str, Any]) -> None:
    composite = composite_config(base, GUARD.to_dict())
    for key in ("dtype", "quantization_config", "transformers_version"):
        assert composite.get(key) == base.get(key)


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "gpt2", "opt", "gemma3", "gemma3_text", "aria_text"])
def test_a_native_config_class_refuses_a_guarded_checkpoint_and_says_what_to_install(
    model_type: str, tmp_path: Path
) -> None:
    base = AutoConfig.for_model(model_type)
    (tmp_path / "config.json").write_text(json.dumps(composite_config(through_json(base.to_dict()), GUARD.to_dict())))
    with pytest.raises(Exception, match="pip install hf-eco"):
        type(base).from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        {"base_config": None},
        {"base_config": "llama"},
        {"base_config": {"hidden_size": 8}},
        {"eco": None},
        {"eco": []},
    ],
    ids=str,
)
def test_a_composite_config_without_its_guard_or_its_base_is_refused(damage: dict[str, Any]) -> None:
    composite = {**composite_config(BASES[0], GUARD.to_dict()), **damage}
    for broken in (composite, {key: value for key, value in composite.items() if value is not None}):
        with pytest.raises(ValueError, match=r"'eco' but lacks base_config or eco.*damaged"):
            split_composite_config(broken)
