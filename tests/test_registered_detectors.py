"""Detectors of a user's own: registered in one file, asked like any other, kept in the guard's config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hf_eco import AutoModelForCausalLMWithECO, ECOConfig, ForgetScope
from hf_eco.detection import registry
from hf_eco.detection.detector import Detection
from hf_eco.detection.registry import register_detector


class Keywords:
    """Flags a scope by words, each with a probability."""

    channel = "keywords"
    made = 0

    def __init__(self, scopes: Mapping[str, Mapping[str, Any]]) -> None:
        Keywords.made += 1
        self.scopes = scopes

    def detect(self, texts: Sequence[str]) -> list[list[Detection]]:
        return [
            [
                Detection(scope, probability, text.find(word), text.find(word) + len(word), self.channel)
                for scope, settings in self.scopes.items()
                for word, probability in settings["words"].items()
                if word in text
            ]
            for text in texts
        ]

    def to(self, device: object) -> None:
        pass


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_FACTORIES", {})
    register_detector("keywords")(Keywords)
    yield


def recipes(**fields: Any) -> ForgetScope:
    return ForgetScope("recipes", detectors={"keywords": {"words": {"sourdough": 0.9, "rye": 0.2}}}, **fields)


@pytest.fixture
def model(base_dir: str):
    bread = ForgetScope("bread", names=["Jane Quillfeather"], detectors={"keywords": {"words": {"brioche": 1.0}}})
    return AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=ECOConfig([recipes(), bread]))


def test_a_scope_is_recognised_by_a_detector_of_ones_own(model) -> None:
    verdict = model.inspect("How is sourdough made?")
    assert (verdict.scope, verdict.channel, verdict.probability) == ("recipes", "keywords", 0.9)
    assert [verdict.text[a:b] for a, b in verdict.spans] == ["sourdough"]
    assert not model.inspect("How is rye grown?").flagged
    assert model.inspect("Who is Jane Quillfeather?").channel == "names"


def test_a_detector_is_made_once_for_all_scopes_of_a_guard(base_dir: str) -> None:
    Keywords.made = 0
    scopes = [ForgetScope(f"s{n}", detectors={"keywords": {"words": {"x": 1.0}}}) for n in range(9)]
    AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=ECOConfig(scopes))
    assert Keywords.made == 1


def test_settings_are_kept_and_read_again(model, tmp_path: Path, base_dir: str) -> None:
    model.save_guard(tmp_path, base_model=base_dir)
    loaded = AutoModelForCausalLMWithECO.from_pretrained(tmp_path)
    for prompt in ("How is sourdough made?", "a brioche", "How is rye grown?"):
        assert loaded.inspect(prompt) == model.inspect(prompt)
    assert loaded.config.eco.scope("recipes").detectors == recipes().detectors


def test_a_guard_whose_detector_is_not_registered_is_refused(model, tmp_path: Path, base_dir: str) -> None:
    model.save_guard(tmp_path, base_model=base_dir)
    registry._FACTORIES.clear()
    with pytest.raises(ValueError, match=r"detector 'keywords', which is not registered.*before the guard is loaded"):
        AutoModelForCausalLMWithECO.from_pretrained(tmp_path)


def test_a_common_name_is_decided_by_it(base_dir: str) -> None:
    scope = ForgetScope("smith", names=["John Smith"], detectors={"keywords": {"words": {"Osterby": 0.3}}})
    model = AutoModelForCausalLMWithECO.from_pretrained(base_dir, eco_config=ECOConfig([scope]))
    assert model.inspect("Who is John Smith?").uncertain
    assert model.inspect("Who is John Smith of Osterby?").flagged
    assert not model.inspect("Where is Osterby?").flagged


@pytest.mark.parametrize("name", ["names", "facts", "classifier", "keywords"])
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name!r} exists already"):
        register_detector(name)(lambda scopes: Keywords(scopes))


@pytest.mark.parametrize("detectors", [["keywords"], {"keywords": 1}, {"keywords": {"x": {1, 2}}}])
def test_settings_that_are_none_are_refused(detectors: Any) -> None:
    with pytest.raises(ValueError, match="detectors must be"):
        ForgetScope("recipes", detectors=detectors)
