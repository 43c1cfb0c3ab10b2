"""A guard as data: the dataclasses that a user writes."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import logging
import math
import numbers
import re
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, cast

from ._version import __version__
from .errors import GuardError

logger = logging.getLogger(__name__)

FORMAT_VERSION = 2
_RMS = "rms"
DEFAULT_STRENGTH = f"1.2{_RMS}"
# Corruptions by name; what the default leaves is said in docs/corruption.md.
PRESETS: dict[str, dict[str, Any]] = {
    "default": {"method": "rand_noise_first_n", "dims": None, "strength": DEFAULT_STRENGTH},
    "paper": {"method": "rand_noise_first_n", "dims": 1, "strength": 100.0},
}
DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"  # of texts, for facts and for trained heads
TOKEN_SELECTIONS = ("content", "all", "entities", "mentions")
NAME_CONTEXTS = ("auto", "ignored", "required")
NAME_STORES = ("plain", "hashed")
ROLES = ("system", "user", "assistant", "tool")  # of a conversation's messages
CONVERSATION, TURN = "conversation", "turn"  # how long a flag lasts, where that is no number of turns
KEY_IN_ENVIRONMENT = "environment"  # in place of the key of the names' hashes
# The methods that hf_eco.corruption brings: whether each takes one strength for each dimension. By this table a
# guard's config is read without importing torch. Any other method is looked up where corruptions are registered.
_BUILT_IN_METHODS = {
    "add_value_first_n": True,
    "add_value_least_k": False,
    "flip_sign_first_n": False,
    "flip_sign_top_k": False,
    "rand_noise_first_n": True,
    "rand_noise_rand_n": False,
    "rand_noise_top_k": False,
    "reverse_order": False,
    "set_rand_noise_first_n": True,
    "shuffle": False,
    "sub_value_first_n": True,
    "sub_value_top_k": False,
    "zero_out_first_n": False,
    "zero_out_top_k": False,
}
# Development versions whose guards say format 1 or 2 and mean something else by it.
_BEFORE_THE_FORMAT = ("0.1.0",)

SCOPES_FILE = "scopes_file"  # says, in config.json, which file holds the scopes by names alone
_FIXED = ("name", "names", "hashed_names", "context", "detectors", "label")  # of a scope, once it is made
_NAMES_KEY = re.compile(r"(?:[0-9a-f]{2}){16,64}")
_SCOPE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def _help(text: str, **kwargs: Any) -> Any:
    return field(metadata={"help": text}, **kwargs)


def in_short(names: Collection[str], most: int = 5) -> str:
    """The first of `names` for a person to read, and how many more there are."""
    first = ", ".join(itertools.islice(names, most))
    return first if len(names) <= most else f"{first} and {len(names) - most:,} more"


@cache
def _field_names(cls: type) -> frozenset[str]:
    return frozenset(f.name for f in dataclasses.fields(cls))


def _from_dict(cls: type, values: Any) -> Any:
    """`values` if it is a `cls` already, else the dataclass `cls` made from it; keys it does not know are dropped
    with a warning."""
    if isinstance(values, cls):
        return values
    if not isinstance(values, dict):
        raise ValueError(f"{cls.__name__} must be a {cls.__name__} or a dictionary of its fields, got {values!r}.")
    known = _field_names(cls)
    if unknown := values.keys() - known:
        names = sorted(map(str, unknown))
        logger.warning(f"{cls.__name__}: unknown keys {names} are ignored; another version of hf-eco may need them.")
        values = {key: value for key, value in values.items() if key in known}
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(f"{cls.__name__} cannot be read from {values!r}: {error}.") from error


@dataclass
class CorruptionConfig:
    """How the embeddings of a flagged prompt are corrupted (Liu et al. 2024, section 3.3).

    Raises:
        ValueError: a field is out of its range, or `method` is not registered.
    """

    method: str = _help(
        "Name of a corruption function, see `hf_eco.corruption.corruption_methods()`.", default="rand_noise_first_n"
    )
    dims: int | None = _help("Embedding dimensions corrupted per token; None means all of them.", default=None)
    strength: float | list[float] | str = _help(
        "Standard deviation of the noise, or the value added or subtracted, or a list of one for each of `dims` "
        "dimensions; methods that zero, flip or permute ignore it. '1.2rms' is 1.2 times the root mean square of the "
        "model's embeddings; the number takes its place as soon as the scope is attached to a model.",
        default=DEFAULT_STRENGTH,
    )
    seed: int = _help("Seed of the noise: the same seed corrupts the same prompt in the same way.", default=0)

    def __post_init__(self) -> None:
        _check_method(self.method)
        if self.dims is not None:
            self.dims = _integer("dims", self.dims)
            if self.dims < 1:
                raise ValueError(f"dims must be positive, got dims={self.dims}. Use dims=None for all dimensions.")
        if isinstance(self.strength, str):
            self.strength = _in_rms(self.strength)
        elif isinstance(self.strength, (list, tuple)):
            _check_strengths(self.method, len(self.strength), self.dims)
            self.strength = [_finite_number("strength", value) for value in self.strength]
        else:
            self.strength = _finite_number("strength", self.strength)
        if min(self.strengths) < 0:
            raise ValueError(
                f"strength must not be negative, got strength={self.strength}. Use 0 or more, e.g. "
                f"{DEFAULT_STRENGTH!r}."
            )
        self.seed = _integer("seed", self.seed)
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must lie in [0, 2**63), got seed={self.seed}. Use e.g. seed=0.")

    @classmethod
    def preset(cls, name: str, seed: int = 0) -> CorruptionConfig:
        """One of `PRESETS`: "default", which needs no learning and fits any model, or "paper", one dimension with
        strength 100 (Liu et al. 2024, section 4), for results that are compared with published ones.

        Raises:
            ValueError: there is no such preset.
        """
        if name not in PRESETS:
            raise ValueError(f"Unknown preset {name!r}. Use one of: {', '.join(PRESETS)}.")
        return cls(**PRESETS[name], seed=seed)

    @property
    def in_rms(self) -> float | None:
        """The strength as a multiple of the root mean square of the embeddings, where it is given as one."""
        return float(self.strength.removesuffix(_RMS)) if isinstance(self.strength, str) else None

    @property
    def number(self) -> float | list[float]:
        """The strength as a number, or one for each dimension. Raises ValueError if it is a multiple still, that no
        model has said the number of."""
        if isinstance(self.strength, str):
            raise ValueError(f"strength={self.strength!r} is no number before it is attached to a model.")
        return self.strength

    def resolved(self, rms: float | None) -> CorruptionConfig:
        """This corruption with a number for its strength.

        Args:
            rms: root mean square of the model's embeddings; None if nobody knows.

        Raises:
            GuardError: nobody knows, and the strength is a multiple of it.
        """
        if self.in_rms is None:
            return self
        if rms is None:
            raise GuardError(
                f"strength={self.strength!r} is a multiple of the root mean square of the model's embeddings, and "
                "nobody has looked what that is. Attach the scope to a model that has its weights in memory "
                "(model.add_scope); for a stored guard, load the model and save it again. Or use a number."
            )
        return dataclasses.replace(self, strength=round(self.in_rms * rms, 6))

    @property
    def strengths(self) -> tuple[float, ...]:
        """The strength of each dimension, or the one of all; where it is given as a multiple, that."""
        if isinstance(self.strength, list):
            return tuple(self.strength)
        return (self.strength if isinstance(self.strength, float) else cast(float, self.in_rms),)

    @property
    def in_words(self) -> str:
        """The corruption in a few words."""
        return f"{self.method}, dims {self.dims or 'all'}, strength {self.strength_in_words}"

    @property
    def strength_in_words(self) -> str:
        """The strength, or the lowest and the highest of several."""
        if self.in_rms is not None:
            return f"{self.in_rms:g} times the embeddings' root mean square"
        return " to ".join(f"{value:g}" for value in sorted({min(self.strengths), max(self.strengths)}))


@dataclass
class Calibration:
    """The error rates measured when a scope's threshold was chosen, with their upper confidence bounds.

    All of them speak of prompts like those they were measured on, and of a classifier that has not changed since.
    """

    threshold: float = _help("A prompt is flagged when p(forget) reaches this value.")
    fpr: float = _help("False positive rate: share of the held-out retain prompts that are flagged.")
    fpr_bound: float = _help("Upper confidence bound of the false positive rate.")
    fnr: float | None = _help(
        "False negative rate: share of the held-out forget prompts that are not flagged; None if it was not measured."
    )
    fnr_bound: float | None = _help(
        "Upper confidence bound of the false negative rate, uncertain prompts counted as missed; None as well then."
    )
    n_forget: int = _help("Held-out forget prompts the rates were measured on.")
    n_retain: int = _help("Held-out retain prompts the rates were measured on.")
    max_fpr: float | None = _help("The false positive rate that was asked for; None if none was.")
    confidence: float = _help("Confidence of each bound, in (0, 1).")
    method: str = _help("How the bounds were computed.", default="clopper-pearson")
    abstain_threshold: float | None = _help(
        "From here up to the threshold a prompt is uncertain; equal to the threshold if no band is needed to keep "
        "max_fnr, None if none was asked for.",
        default=None,
    )
    max_fnr: float | None = _help("The rate of prompts of the scope below the band that was asked for.", default=None)
    abstain_fnr: float | None = _help(
        "Share of the held-out forget prompts that score below the band: neither flagged nor uncertain.", default=None
    )
    abstain_fnr_bound: float | None = _help("Upper confidence bound of that share.", default=None)
    abstain_retain: float | None = _help("Share of the held-out retain prompts in the band.", default=None)
    near_fpr: float | None = _help("Share of the near misses that are flagged.", default=None)
    max_near_fpr: float | None = _help("The share of flagged near misses that was asked for.", default=None)
    n_near: int = _help("Near misses: prompts that look like the scope but are outside of it.", default=0)
    retain_scores: list[float] = _help(
        "Log-odds of the retain prompts' scores, sorted: all, or some at even distances where they are many. New "
        "scores are compared with them.",
        default_factory=list,
    )
    forget_scores: list[float] = _help("The same of the forget prompts.", default_factory=list)


@dataclass
class LearnedCorruption:
    """How a scope's corruption was learnt, see [`optimize_corruption`][hf_eco.training.optimize_corruption].

    It speaks of the scope's corruption as long as that is `corruption`, on prompts like those it was learnt from.
    """

    corruption: CorruptionConfig = _help("The corruption that was learnt.")
    parameters: list[str] = _help(
        "What of it was learnt: 'strength', 'dims', both, or 'strengths', one for each dimension."
    )
    score: str = _help("The score of the guarded model on forget prompts that the corruption was learnt by.")
    protocol: str = _help("How answers were scored: 'strict', they stay clean; 'paper', they are corrupted too.")
    value: float = _help("The score with the corruption.")
    standard_error: float = _help("Standard error of the score, by the bootstrap over the prompts.")
    unguarded: float = _help("The score without the guard.")
    surrogate: str = _help("How the score of a model that never learnt the scope was estimated.")
    surrogate_value: float = _help("That estimate.")
    surrogate_n: int = _help("Questions that the estimate is the mean of; 1 where it is a number that was given.")
    n_prompts: int = _help("Prompts that were scored.")
    trials: int = _help("Corruptions that were tried.")
    prompts_sha256: str = _help("Fingerprint of the prompts, see `hf_eco.training.labelled_prompts.prompts_sha256`.")
    seed: int = _help("Seed of the search.")
    hf_eco_version: str = _help("Version of hf-eco that learnt it.", default=__version__)

    def __post_init__(self) -> None:
        self.corruption = _from_dict(CorruptionConfig, self.corruption)


@dataclass
class Probe:
    """A known answer: a prompt, the ids the model's tokenizer gives it and the p(forget) the classifier gave it."""

    prompt: str
    input_ids: list[int]
    probability: float


@dataclass
class EmbeddingProbe:
    """How a token is embedded: the first values of its row. By some of them an engine that embeds otherwise, by
    another scale say, is told."""

    token_id: int
    values: list[float]


@dataclass
class ForgetScope:
    """One body of knowledge to be forgotten: who recognises it and what happens to its prompts.

    Raises:
        ValueError: a field is out of its range.
    """

    name: str = _help("Short name of the scope; letters, digits, '.', '_' and '-'. It names the classifier's folder.")
    classifier: str | None = _help(
        "Path or Hub id of the sequence classifier that gives p(forget | prompt). Scopes may share one. None for a "
        "scope that is recognised by its names or documents.",
        default=None,
    )
    names: Sequence[str] = _help(
        "Full names of whom or what is to be forgotten, and other names for them. They are found however they are "
        "spelt; nothing is trained.",
        default=(),
    )
    context: str = _help(
        "Whether a name by itself is enough. 'auto': unless thousands of people bear it; 'ignored': always; "
        "'required': never. Where it is too little, the prompt is uncertain, unless something else in it speaks for "
        "the scope too.",
        default="auto",
    )
    hashed_names: str = _help(
        "What is kept of the names in a guard with store_names='hashed'; the guard writes it, and drops the names.",
        default="",
    )
    documents: list[str] = _help(
        "Texts on whom or what is to be forgotten, say articles. Prompts that speak of what they say are found, "
        "though they name nobody; nothing is trained. A guard keeps vectors of the sentences, never the texts: once "
        "it is made, this list is empty.",
        default_factory=list,
    )
    encoder: str | None = _help(
        "Path or Hub id of the text encoder that compares prompts with the documents, one for all scopes of a guard; "
        f"None takes the guard's, or else {DEFAULT_ENCODER}. In a stored guard the folder of its facts.",
        default=None,
    )
    facts_sha256: str = _help(
        "SHA-256 of what is kept of the documents; the guard writes it, and facts that differ are refused when a "
        "stored guard is loaded.",
        default="",
    )
    detectors: dict[str, dict[str, Any]] = _help(
        "Detectors of your own that recognise the scope: by the name each is registered under, its settings for the "
        "scope, in types that JSON knows.",
        default_factory=dict,
    )
    threshold: float = _help("A prompt is flagged when p(forget) >= threshold.", default=0.5)
    abstain_threshold: float | None = _help(
        "A prompt is uncertain when abstain_threshold <= p(forget) < threshold: it is not corrupted, but its verdict "
        "says so, for the application to refuse, ask or log. None for no such band.",
        default=None,
    )
    corruption: CorruptionConfig = _help("What is done to a flagged prompt.", default_factory=CorruptionConfig)
    tokens: str = _help(
        "Which tokens are corrupted: 'content' (all but special tokens and the chat template's words), 'all' (all but "
        "the last), 'entities' (those the token classifier marks), 'mentions' (those that flagged the prompt; content "
        "where there are none, as for entities). '' takes mentions for a scope without a classifier, content for any "
        "other.",
        default="",
    )
    label: str = _help("The classifier's label (config.label2id) that means 'forget'.", default="forget")
    entities: str | None = _help("Path or Hub id of the token classifier, for tokens='entities'.", default=None)
    calibration: Calibration | None = _help("The rates measured when the threshold was chosen.", default=None)
    learned: LearnedCorruption | None = _help("How the corruption was learnt; None where it was chosen.", default=None)
    probes: list[Probe] = _help("Known answers, checked whenever the guard is loaded.", default_factory=list)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _SCOPE_NAME.fullmatch(self.name):
            raise ValueError(
                f"A scope's name becomes a folder name, got name={self.name!r}. "
                "Use letters, digits, '.', '_' and '-', e.g. 'harry-potter'."
            )
        self.threshold = _finite_number("threshold", self.threshold)
        if not 0.0 < self.threshold <= 1.0:
            raise ValueError(
                f"threshold is a probability in (0, 1], got threshold={self.threshold}. "
                "Use hf_eco.training.calibrate_threshold to choose one."
            )
        if self.abstain_threshold is not None:
            self.abstain_threshold = _finite_number("abstain_threshold", self.abstain_threshold)
            if not 0.0 < self.abstain_threshold <= self.threshold:
                raise ValueError(
                    f"abstain_threshold must lie in (0, threshold], got abstain_threshold={self.abstain_threshold} "
                    f"with threshold={self.threshold}. Use abstain_threshold=None for no uncertain prompts."
                )
        if isinstance(self.names, str) or not all(isinstance(name, str) and name.strip() for name in self.names):
            raise ValueError(f"names must be a list of names, got names={self.names!r}. Use e.g. names=['Jane Doe'].")
        if self.context not in NAME_CONTEXTS:
            raise ValueError(f"context={self.context!r} is unknown. Use one of: {', '.join(NAME_CONTEXTS)}.")
        vars(self)["names"] = tuple(self.names)
        if isinstance(self.documents, str) or not all(
            isinstance(text, str) and text.strip() for text in self.documents
        ):
            raise ValueError(
                f"documents must be a list of texts, got {_shortened(self.documents)}. Use ['an article']."
            )
        self.documents = list(self.documents)
        vars(self)["detectors"] = _plain_settings(self.detectors)
        if self.tokens == "":
            self.tokens = "mentions" if self.untrained else "content"
        if self.tokens not in TOKEN_SELECTIONS:
            raise ValueError(
                f"tokens={self.tokens!r} is no selection of tokens. Use one of: {', '.join(TOKEN_SELECTIONS)}."
            )
        if self.tokens == "entities" and not self.entities:
            raise ValueError("tokens='entities' needs a token classifier. Pass entities='path or Hub id'.")
        self.corruption = _from_dict(CorruptionConfig, self.corruption)
        if self.calibration is not None:
            self.calibration = _from_dict(Calibration, self.calibration)
        if self.learned is not None:
            self.learned = _from_dict(LearnedCorruption, self.learned)
        self.probes = [_from_dict(Probe, probe) for probe in self.probes]

    def __setattr__(self, name: str, value: Any) -> None:
        # A guard reads them once, when it is made. A change that no guard would notice must not look like one.
        if name in _FIXED and name in vars(self):
            raise AttributeError(
                f"The {name} of scope {self.name!r} cannot be changed: a guard would go on by what it has read. Make "
                f"another scope, dataclasses.replace(scope, {name}=...), and put it in this one's place by "
                "model.remove_scope and model.add_scope."
            )
        super().__setattr__(name, value)

    @property
    def untrained(self) -> bool:
        """True of a scope that is recognised without a classifier: by its names, its documents, or detectors of your
        own."""
        return self.classifier is None and bool(self.names or self.hashed_names or self.by_facts or self.detectors)

    def calibrated(self, calibration: Calibration) -> ForgetScope:
        """A copy of the scope with the threshold, and the band of uncertain prompts, that were measured."""
        return dataclasses.replace(
            self,
            threshold=calibration.threshold,
            abstain_threshold=calibration.abstain_threshold,
            calibration=calibration,
        )

    @property
    def by_facts(self) -> bool:
        """Whether documents help to recognise it."""
        return bool(self.documents) or self.encoder is not None

    @property
    def calibration_in_force(self) -> Calibration | None:
        """The calibration, if it was made for the threshold in force: rates of another one say nothing."""
        c = self.calibration
        return c if c is not None and c.threshold == self.threshold else None

    @property
    def learned_in_force(self) -> LearnedCorruption | None:
        """How the corruption was learnt, if what was learnt is the corruption in force."""
        learned = self.learned
        return learned if learned is not None and learned.corruption == self.corruption else None


@dataclass
class ECOConfig:
    """A guard: its forget scopes, and the base model it was made for.

    Raises:
        ValueError: there is no scope, two scopes share a name, the format is newer than this version of hf-eco, or
            `store_names` and `names_key` do not go together, or the policy is unknown.
    """

    scopes: Sequence[ForgetScope] = _help(
        "The forget scopes. A prompt that falls in any of them is corrupted. Once a guard is made, they come and go "
        "by `model.add_scope` and `model.remove_scope`."
    )
    base_model_name_or_path: str | None = _help("The unguarded model the guard was made for.", default=None)
    base_revision: str | None = _help("The commit of the base model, where it came from the Hub.", default=None)
    base_subfolder: str | None = _help(
        "The folder of the base model in its repository, if it is not at the root.", default=None
    )
    guard_only: bool = _help(
        "True in a repository that holds the guard without the base model's weights.", default=False
    )
    store_names: str = _help(
        "How the scopes' names are kept: 'plain', as they are given; 'hashed', as keyed hashes, so that no file of "
        "the guard tells a name. The guard hashes the names as soon as it is made.",
        default="plain",
    )
    names_key: str | None = _help(
        "Key of the hashes, 16 to 64 bytes in hexadecimal; made at random if None. 'environment' for a key that is "
        "read from HF_ECO_NAMES_KEY and never stored.",
        default=None,
    )
    judged_roles: Sequence[str] = _help(
        "Whose messages are judged, of 'system', 'user', 'assistant' and 'tool'; the user's always are. The "
        "others' are neither judged nor corrupted. Where the chat template does not tell roles, everything is judged.",
        default=ROLES,
    )
    flag_lasts: str | int = _help(
        "How long a flagged conversation stays flagged: 'conversation', to its end; 'turn', until the user's next "
        "message, which is judged afresh; or a number of turns. What was flagged stays corrupted in any case.",
        default=CONVERSATION,
    )
    embedding_probes: Sequence[EmbeddingProbe] = _help(
        "How the guarded model embeds some tokens, recorded when it is saved. An engine other than transformers is "
        "checked by them before it answers.",
        default=(),
    )
    embedding_rms: float | None = _help(
        "Root mean square of the guarded model's embeddings, recorded with them: the unit of a strength like "
        "'1.2rms'.",
        default=None,
    )
    version: int = _help("Version of the on-disk format.", default=FORMAT_VERSION)
    hf_eco_version: str = _help("Version of hf-eco that wrote this.", default=__version__)

    def __post_init__(self) -> None:
        if isinstance(self.version, bool) or not isinstance(self.version, int) or self.version < 1:
            raise ValueError(f"This guard's format version is {self.version!r}, which is none: its config is damaged.")
        if self.version > FORMAT_VERSION:
            raise ValueError(
                f"This guard is written in format version {self.version!r}, hf-eco {__version__} reads up to "
                f"{FORMAT_VERSION}. Upgrade hf-eco: pip install -U hf-eco"
            )
        if not isinstance(self.scopes, (list, tuple)) or not self.scopes:
            raise ValueError(
                f"scopes must be a list of ForgetScopes, got {self.scopes!r}. Use scopes=[ForgetScope(...)]."
            )
        vars(self)["scopes"] = tuple(
            [scope if type(scope) is ForgetScope else _from_dict(ForgetScope, scope) for scope in self.scopes]
        )
        self.embedding_probes = [_from_dict(EmbeddingProbe, probe) for probe in self.embedding_probes]
        if len(self._folded) < len(self.scopes):
            counts = Counter(scope.name.casefold() for scope in self.scopes)
            raise _shared_names([s.name for s in self.scopes if counts[s.name.casefold()] > 1])
        self._check_names_key()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "scopes" and name in vars(self):  # for the same reason as a scope's names
            raise AttributeError(
                "The scopes of a guard's config cannot be changed: a guard would go on by what it has read. Use "
                "model.add_scope and model.remove_scope, or make another config, dataclasses.replace(config, "
                "scopes=[...])."
            )
        if name == "judged_roles":
            value = checked_roles(value)
        elif name == "flag_lasts":
            value = checked_duration(value)
        super().__setattr__(name, value)

    @property
    def lasting_turns(self) -> int | None:
        """For how many turns a flag lasts; None for the whole conversation."""
        if isinstance(self.flag_lasts, str):
            return {CONVERSATION: None, TURN: 1}[self.flag_lasts]
        return self.flag_lasts

    @property
    def policy(self) -> dict[str, Any]:
        """What the operator decides about conversations."""
        return {"judged_roles": self.judged_roles, "flag_lasts": self.flag_lasts}

    @property
    def has_own_policy(self) -> bool:
        """Whether the policy is another than the default, by which everything counts to the end."""
        return (tuple(self.judged_roles), self.flag_lasts) != (ROLES, CONVERSATION)

    @property
    def policy_in_words(self) -> str:
        """The policy in a few words."""
        lasts = f"{self.flag_lasts} turns" if isinstance(self.flag_lasts, int) else f"the {self.flag_lasts}"
        return f"judges what {', '.join(self.judged_roles)} write; a flag lasts for {lasts}"

    def _check_names_key(self) -> None:
        """Makes the key of hashed names, if there is none. Raises ValueError if it is no key, or not needed."""
        if self.store_names not in NAME_STORES:
            raise ValueError(f"store_names={self.store_names!r} is no way to keep names. Use 'plain' or 'hashed'.")
        if self.store_names == "hashed":
            self.names_key = self.names_key or secrets.token_hex(16)
            if self.names_key != KEY_IN_ENVIRONMENT and not _NAMES_KEY.fullmatch(self.names_key):
                raise ValueError(
                    f"names_key is no key of 16 to 64 bytes in hexadecimal; it has {len(self.names_key)} characters. "
                    "Use names_key=None to have one made, or names_key='environment'."
                )
        elif self.names_key is not None or any(scope.hashed_names for scope in self.scopes):
            raise ValueError("Hashed names and their key belong to a guard with store_names='hashed'. Say so.")

    @property
    def how_names_are_kept(self) -> dict[str, Any]:
        """What another config takes over, for its names to be kept in the same way."""
        return {"store_names": self.store_names, "names_key": self.names_key}

    @cached_property
    def by_name(self) -> Mapping[str, ForgetScope]:
        """The scopes by their names, in their order."""
        return {scope.name: scope for scope in self.scopes}

    @cached_property
    def _folded(self) -> frozenset[str]:
        """The names of the scopes in small letters: some file systems know no case."""
        return frozenset(scope.name.casefold() for scope in self.scopes)

    def scope(self, name: str) -> ForgetScope:
        """The scope called `name`. Raises KeyError if there is none."""
        if name not in self.by_name:
            raise KeyError(f"No scope is called {name!r}; the guard holds {in_short(self.by_name)}.")
        return self.by_name[name]

    def joined_by(self, other: ECOConfig) -> ECOConfig:
        """A config of these scopes and those of `other`, all else as in this one. The scopes are not looked at one by
        one: of ten thousand that are there, one more costs the copy of a table.

        Raises:
            ValueError: both have a scope of the same name, or they keep names in different ways.
        """
        if other.how_names_are_kept != self.how_names_are_kept:
            raise ValueError(
                "The names of the two guards are not kept in one way: in both as they are given, or hashed by one "
                "key. Give the names themselves."
            )
        if twice := self._folded & other._folded:
            raise _shared_names([scope.name for scope in other.scopes if scope.name.casefold() in twice])
        return self._holding({**self.by_name, **other.by_name}, self._folded | other._folded)

    def without(self, names: Collection[str]) -> ECOConfig:
        """A config of all scopes but these.

        Raises:
            KeyError: there is no such scope.
            ValueError: none would be left.
        """
        if unknown := [name for name in names if name not in self.by_name]:
            held = in_short(self.by_name)
            raise KeyError(f"No scope is called {in_short([*map(repr, unknown)])}; the guard holds {held}.")
        left = dict(self.by_name)
        for name in set(names):
            del left[name]
        if not left:
            raise ValueError(
                f"Without {in_short(names)} the guard would lose its last scope. To be rid of the guard, load the "
                "base model itself."
            )
        return self._holding(left, self._folded.difference(map(str.casefold, names)))

    def _holding(self, by_name: Mapping[str, ForgetScope], folded: frozenset[str]) -> ECOConfig:
        """A copy of this config with other scopes, which have been checked."""
        other = copy.copy(self)
        vars(other).update(scopes=tuple(by_name.values()), by_name=by_name, _folded=folded)
        return other

    def to_dict(self) -> dict[str, Any]:
        """The whole guard as a dictionary. On disk, scopes by names alone lie in a file beside `config.json`; see
        `hf_eco/checkpoint/scopes_file.py`."""
        return {**dataclasses.asdict(self), "version": FORMAT_VERSION, "hf_eco_version": __version__}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ECOConfig:
        """Reads what [`to_dict`][hf_eco.ECOConfig.to_dict] wrote, in any version so far; a dictionary without
        "version" is taken for one of this version. Unknown keys are dropped with a warning.

        Raises:
            ValueError: the format is newer than this version of hf-eco, or a development version's; a value is out of
                its range; or some of the scopes lie in a file that has not been read.
        """
        values = _upgraded(values)
        if isinstance(values, dict) and isinstance(version := values.get("version"), int) and version > FORMAT_VERSION:
            values = {"scopes": [], "version": version}  # say "upgrade" before anything else can be wrong
        elif isinstance(values, dict) and SCOPES_FILE in values:
            raise ValueError(
                "This is what config.json says of a guard, and some of its scopes lie in a file beside it. Read the "
                "whole guard: hf_eco.checkpoint.source.find_guard(directory).eco"
            )
        return _from_dict(cls, values)


def resolve_strengths(scopes: Sequence[ForgetScope], rms: float | None) -> None:
    """Has each scope say its strength as a number, see `CorruptionConfig.resolved`."""
    for scope in scopes:
        scope.corruption = scope.corruption.resolved(rms)


def _shared_names(twice: Sequence[str]) -> ValueError:
    return ValueError(
        f"Two scopes share a name: {in_short(twice)}. Give each its own; it names the classifier's folder."
    )


# From format version n to n + 1, by n: what a later version would take for granted, said. Version 2 put the scopes by
# names alone into a file of their own, and takes nothing for granted.
_UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


def _upgraded(values: Any) -> Any:
    """The dictionary of a guard of an older format version as this version writes it; any other value as it is.

    Raises:
        ValueError: a development version wrote it, before the format was settled.
    """
    if not isinstance(values, dict):
        return values
    if values.get("hf_eco_version") in _BEFORE_THE_FORMAT:
        raise ValueError(
            f"This guard was saved by hf-eco {values['hf_eco_version']}, a development version whose format is not "
            "read any more. Make the guard again: hf-eco guard --help"
        )
    version = values.get("version", FORMAT_VERSION)
    if not isinstance(version, int):
        return values  # ECOConfig says what is wrong with it
    while version in _UPGRADES and version < FORMAT_VERSION:
        values = _UPGRADES[version](copy.deepcopy(values))
        version += 1
    return values


def checked_roles(roles: Any) -> tuple[str, ...]:
    """`roles` in the order of `ROLES`. Raises ValueError if they are none, or the user's is not among them."""
    if not isinstance(roles, (list, tuple, set, frozenset)) or any(role not in ROLES for role in roles):
        raise ValueError(f"judged_roles are some of {', '.join(map(repr, ROLES))}, got {roles!r}. Use those alone.")
    if "user" not in roles:
        raise ValueError(f"A guard judges what users write, got judged_roles={roles!r}. Add 'user'.")
    return tuple(role for role in ROLES if role in roles)


def checked_duration(value: Any) -> str | int:
    """`value` if a flag can last so long. Raises ValueError if not."""
    if value in (CONVERSATION, TURN) and isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"flag_lasts is {CONVERSATION!r}, {TURN!r} or a number of turns, got {value!r}. Use e.g. {CONVERSATION!r}."
        )
    return value


def _check_method(method: str) -> None:
    if method in _BUILT_IN_METHODS:
        return
    from .corruption import corruption_methods  # with torch; yours are registered there

    if method not in corruption_methods():
        raise ValueError(
            f"Unknown corruption method {method!r}. Use one of: {', '.join(corruption_methods())}; "
            "or register your own with @hf_eco.corruption.register_corruption(name) before the guard is loaded."
        )


def _in_rms(strength: str) -> str:
    """A strength like "1.2rms". Raises ValueError if it is none."""
    number = strength.strip().lower().removesuffix(_RMS).strip()
    try:
        factor = float(number)
    except ValueError:
        factor = math.nan
    if not strength.strip().lower().endswith(_RMS) or not math.isfinite(factor) or factor < 0:
        raise ValueError(
            f"strength is a number, a list of numbers, or a multiple of the embeddings' root mean square, got "
            f"strength={strength!r}. Use e.g. strength={DEFAULT_STRENGTH!r}."
        )
    return f"{factor:g}{_RMS}"


def _check_strengths(method: str, count: int, dims: int | None) -> None:
    if _BUILT_IN_METHODS.get(method) and count == dims:
        return
    from .corruption import check_strengths

    check_strengths(method, count, dims)


def _plain_settings(detectors: Any) -> dict[str, dict[str, Any]]:
    """A copy of the settings of detectors, as JSON keeps them. Raises ValueError if it cannot."""
    if detectors == {}:
        return {}
    try:
        plain = json.loads(json.dumps(detectors))
    except (TypeError, ValueError) as error:
        raise ValueError(f"detectors must be types that JSON knows: {error}.") from error
    if not isinstance(plain, dict) or not all(isinstance(settings, dict) for settings in plain.values()):
        raise ValueError(f"detectors must be settings by detector, got {detectors!r}. Use e.g. {{'keywords': {{}}}}.")
    return plain


def _shortened(value: Any) -> str:
    """What `value` is, without the whole of somebody's article."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _finite_number(name: str, value: Any) -> float:
    if type(value) is float and math.isfinite(value):  # of thousands of scopes; the rest takes longer to tell
        return value
    # numbers.Real takes in numpy's
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(float(value)):
        raise ValueError(f"{name} must be a finite number, got {name}={value!r}. Use e.g. {name}=0.5.")
    return float(value)


def _integer(name: str, value: Any) -> int:
    if type(value) is int:  # likewise
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError(f"{name} must be an integer, got {name}={value!r}. Use e.g. {name}=1.")
    return int(value)
