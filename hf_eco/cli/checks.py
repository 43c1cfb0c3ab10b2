"""What `hf-eco doctor` looks at."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from ..checkpoint.source import GuardSource
from ..configuration import ECOConfig
from ..errors import ECOError
from .printing import bounded


@dataclass(frozen=True)
class Check:
    """Something that was looked at.

    Attributes:
        what: what it is.
        status: "wrong" if it keeps a guard from working, "note" if somebody may want to know it.
        finding: what was found; where it is wrong, what to do.
    """

    what: str
    status: Literal["ok", "note", "wrong"]
    finding: str


def check_environment() -> list[Check]:
    """The libraries, the extras, the device and the way to the Hub."""
    from huggingface_hub import constants, get_token

    found = [Check("python", "ok", platform.python_version()), *_check_libraries()]
    found.append(Check("device", "ok", _device()))
    if constants.HF_HUB_OFFLINE:
        found.append(Check("hub", "note", "HF_HUB_OFFLINE is set: nothing is fetched or pushed"))
    elif get_token() is None:
        found.append(Check("hub", "note", "not logged in; private repositories and pushing need: hf auth login"))
    else:
        found.append(Check("hub", "ok", f"a token is there, for {constants.ENDPOINT}"))
    return found


def _device() -> str:
    """Where models run by default, as far as it can be told without importing torch."""
    if "+cpu" in (_version("torch") or ""):
        return "cpu; this torch is built for no other"
    return "cuda, if the driver fits torch" if shutil.which("nvidia-smi") else "cpu"


def _check_libraries() -> list[Check]:
    try:
        requirements = [Requirement(line) for line in metadata.requires("hf-eco") or []]
    except metadata.PackageNotFoundError:
        return [
            Check("hf-eco", "wrong", "not installed as a package, so its requirements are unknown. pip install hf-eco")
        ]
    found, missing = [], dict.fromkeys(metadata.metadata("hf-eco").get_all("Provides-Extra") or [], "")
    for requirement in requirements:
        if requirement.marker is None:
            found.append(_check_library(requirement))
            continue
        for extra in missing:
            if requirement.marker.evaluate({"extra": extra}) and _version(requirement.name) is None:
                missing[extra] = f"{missing[extra]} {requirement.name}"
    for extra, names in missing.items():
        if extra not in ("dev", "docs"):
            said = f"{names.strip()} missing. If you need it: pip install hf-eco[{extra}]" if names else "installed"
            found.append(Check(f"extra {extra}", "note" if names else "ok", said))
    return found


def _check_library(requirement: Requirement) -> Check:
    name, version = requirement.name, _version(requirement.name)
    if version is None:
        return Check(name, "wrong", f"missing. pip install '{requirement}'")
    if not requirement.specifier.contains(version, prereleases=True):
        return Check(name, "wrong", f"{version} is not {requirement.specifier}. pip install '{requirement}'")
    return Check(name, "ok", version)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_checkpoint(model: str) -> list[Check]:
    """The config, the guard with its known answers, each scope, and the weights or the base model."""
    from ..checkpoint.source import find_guard

    source = _attempt(lambda: find_guard(model))
    if isinstance(source, str):
        return [Check("config", "wrong", source)]
    eco = source.eco
    found = [Check("config", "ok", f"format {eco.version}, written by hf-eco {eco.hf_eco_version}")]
    found.append(_check_architecture(model))
    found += [_check_scope(eco, scope.name) for scope in eco.scopes]
    found.append(_check_guard(model))
    found.append(_check_weights(model, source))
    return found


def _check_architecture(model: str) -> Check:
    from ..auto import check_guardable

    said = _attempt(lambda: check_guardable(model))
    return Check("architecture", "wrong", said) if isinstance(said, str) else Check("architecture", "ok", "guardable")


def _check_scope(eco: ECOConfig, name: str) -> Check:
    scope = eco.scope(name)
    measured = scope.calibration
    if measured is None:
        return Check(f"scope {name}", "note", "its error rates were not measured. hf-eco calibrate --help")
    if scope.calibration_in_force is None:
        finding = (
            f"calibrated at {measured.threshold:.4f}, but {scope.threshold:.4f} is in force: its rates are unknown."
        )
        return Check(f"scope {name}", "note", f"{finding} hf-eco calibrate --help")
    if measured.fnr is not None and measured.fnr > 0.2:
        finding = f"misses {measured.fnr:.0%} of the forget prompts it was calibrated with. Train it on more prompts."
        return Check(f"scope {name}", "note", finding)
    finding = f"false positives {bounded(measured.fpr, measured.fpr_bound)}, "
    finding += f"false negatives {bounded(measured.fnr, measured.fnr_bound)}"
    return Check(f"scope {name}", "ok", finding)


def _check_guard(model: str) -> Check:
    from ..checkpoint.loading import read_guard

    guard = _attempt(lambda: read_guard(model))
    if not isinstance(guard, str):
        count = sum(len(scope.probes) for scope in guard.config.scopes)
        return Check("guard", "ok", f"classifiers and tokenizer load; {count} known answers are as they were")
    return Check("guard", "wrong", f"its classifiers or its tokenizer are not as they were saved: {guard}")


def _check_weights(model: str, source: GuardSource) -> Check:
    from ..auto import AutoModelForCausalLMWithECO

    eco = source.eco
    if eco.guard_only and eco.base_model_name_or_path and not os.path.isabs(eco.base_model_name_or_path):
        from ..checkpoint.source import check_base

        said = _attempt(lambda: check_base(source))
        what = f"base model {eco.base_model_name_or_path}"
        return Check(what, "wrong", said) if isinstance(said, str) else Check(what, "ok", "to be had")
    if not eco.guard_only and not Path(model).is_dir():
        return Check("weights", "note", "not downloaded, so not looked at")
    said = _attempt(lambda: AutoModelForCausalLMWithECO.from_pretrained(model, device_map="meta"))
    if isinstance(said, str):
        return Check("weights", "wrong", said)
    return Check("weights", "ok", eco.base_model_name_or_path or "" if eco.guard_only else "all there")


def _attempt(work: Callable[[], Any]) -> Any:
    """What `work` gives; what its error says if it fails."""
    try:
        return work()
    except (ValueError, TypeError, OSError, ImportError, ECOError) as error:
        return " ".join(str(error).split()) or type(error).__name__
