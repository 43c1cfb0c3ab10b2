"""The guarded model: `ECOMixin`, and the guarded classes and configs made for each architecture on demand."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, overload

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteriaList

from ._transformers import (
    ADAPTER_FILES,
    DOWNLOAD_ARGUMENTS,
    causal_lm_of,
    check_weights,
    config_and_model_arguments,
    holds_adapter_alone,
    register_causal_lm,
)
from .checkpoint.following import GuardFollower
from .checkpoint.guarded_config import AUTO_CLASS, ECOConfigMixin, building_guarded, is_for_loaders
from .checkpoint.hub_upload import UPLOAD_ARGUMENTS, save_and_upload, upload
from .checkpoint.loading import load_guard, load_tokenizer
from .checkpoint.source import base_of, guard_for, note_base
from .checkpoint.writing import (
    check_storable,
    name_folders,
    rewriting_checkpoint,
    write_guard,
    write_guard_only,
)
from .configuration import ECOConfig, ForgetScope, resolve_strengths
from .corruption import mixes_positions
from .detection.classifier import PromptClassifier
from .detection.entities import EntityTagger
from .errors import GuardError
from .guard.guard import Guard
from .guard.plan import ScoringProtocol
from .guard.prompt_reader import Chat, prompts_of
from .guard.reach import check_dims_fit
from .guard.verdict import Verdict
from .inference.answer_watch import EVERY, AnswerWatch
from .inference.caches import returned_cache
from .inference.continuous_batching import follow, guardable_batching
from .inference.embedding import note_embeddings
from .inference.generate_call import by_name, read_generate_call, refuse_embeddings
from .inference.generate_options import watched_options
from .inference.guardability import examine_structure
from .inference.hooks import EmbeddingHooks
from .io.directories import check_room

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo
    from transformers.generation.utils import GenerateOutput
    from typing_extensions import Self

    class _Model(PreTrainedModel):  # what the mixin is mixed into
        config: Any
        config_class: Any

        def generate(self, *args: Any, **kwargs: Any) -> Any: ...
        def heal_tokens(self, *args: Any, **kwargs: Any) -> Any: ...
        def init_continuous_batching(self, *args: Any, **kwargs: Any) -> Any: ...

else:
    _Model = object

__all__ = ["AUTO_CLASS", "ECOMixin", "find_guarded", "guarded_config_class", "guarded_model_class", "without_wrapper"]

# ---------------------------------------------------------------------------------------------------------------------
# Guarded classes


# Part of the name of a guarded model that has no directory yet. Whoever loads a model by it (a trainer that makes its
# reference model so) is told by the error what to do.
_SAVE_FIRST = "call save_pretrained('directory') first"
_classes: dict[type, type] = {}
_lock = threading.RLock()
_changing = threading.RLock()  # held while the guard of a model is changed


def guarded_config_class(base: type[PreTrainedConfig]) -> type[PreTrainedConfig]:
    """`<base>WithECO`, e.g. `LlamaConfigWithECO`; the same class every time."""
    return _guarded_class(base, ECOConfigMixin, base.__name__ + "WithECO")


def guarded_model_class(base: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """The guarded subclass of `base`; it has the base's name, because pipelines and losses go by the name."""
    made: Any = _guarded_class(base, ECOMixin, base.__name__)
    if causal_lm_of(base.config_class) is base:  # type: ignore[arg-type]
        register_causal_lm(made.config_class, made)
    return made


def borrows_class(config: PreTrainedConfig, model_class: Any) -> bool:
    """True if `config` is of a model type without a model class of its own, as Exaone's is, whose model is Llama's.
    With the config of the guarded `model_class` it would be saved as a Llama whose weights have Exaone's names, and be
    lost. (Of a model that sees or hears it is the text config that belongs to the class.)"""
    own = model_class._eco_base_class.config_class
    return not isinstance(config, own) and config.get_text_config() is config


def as_guarded_config(config: PreTrainedConfig, config_class: type[PreTrainedConfig]) -> Any:
    """The guarded config, of class `config_class`, with the values of a native one, and no guard yet."""
    if not issubclass(config_class, type(config)):
        return config_class.from_dict({**config.to_dict(), "name_or_path": config.name_or_path})
    guarded = object.__new__(config_class)  # with what no dictionary holds, the attention's implementation say
    vars(guarded).update(copy.deepcopy(vars(config)))
    return guarded


def belongs_to_part(config: PreTrainedConfig, model_class: Any) -> bool:
    """True if `config` is that of a model that sees or hears, and `model_class` the guarded class of its text part."""
    own = model_class._eco_base_class.config_class
    return not isinstance(config, own) and config.get_text_config() is not config


def _guarded_class(base: type, mixin: type, name: str) -> type:
    if issubclass(base, mixin):
        return base
    with _lock:
        if base not in _classes:
            qualname = base.__name__ + "WithECO"
            _classes[base] = made = type(name, (mixin, base), {"__module__": __name__, "__qualname__": qualname})
            globals()[qualname] = made
        return _classes[base]


def __getattr__(name: str) -> Any:
    # makes guarded classes on demand, so that pickles find them in another process
    base = getattr(transformers, name.removesuffix("WithECO"), None) if name.endswith("WithECO") else None
    if isinstance(base, type) and issubclass(base, PreTrainedModel):
        return guarded_model_class(base)
    if isinstance(base, type) and issubclass(base, PreTrainedConfig):
        return guarded_config_class(base)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# ---------------------------------------------------------------------------------------------------------------------
# Models


class ECOMixin(_Model):
    """Guards a causal language model: `class MyGuardedModel(ECOMixin, MyForCausalLM)`.

    What this does to your model: every forward pass and every `generate` first asks the guard about the prompt. If the
    prompt falls in a forget scope, the embeddings of its tokens are corrupted before the decoder sees them; if not,
    nothing is changed, to the bit. The weights are never touched and the state dict stays the base model's own.
    `with model.disable_guard()` is the way back.

    A forward pass knows which tokens are prompt from `prompt_lengths` or else from `labels == -100`; without either,
    and in any row without bounds, the whole row is prompt.
    """

    _eco_base_class: type[PreTrainedModel]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        bases = [c for c in cls.__mro__ if issubclass(c, PreTrainedModel) and not issubclass(c, ECOMixin)]
        if not bases:
            raise TypeError(f"{cls.__name__} guards nothing. Write: class {cls.__name__}(ECOMixin, SomeForCausalLM).")
        cls._eco_base_class = bases[0]
        cls.config_class = guarded_config_class(bases[0].config_class)  # type: ignore[arg-type]

    def __init__(self, config: PreTrainedConfig, *args: Any, **kwargs: Any) -> None:
        with building_guarded():
            super().__init__(config, *args, **kwargs)
        if is_for_loaders(self.config.architectures):
            vars(self.config)["architectures"] = [type(self).__name__]
        examine_structure(self)
        self._eco = EmbeddingHooks(self)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "config" and "_eco" in vars(self) and not isinstance(value, ECOConfigMixin):
            raise GuardError(
                f"A guarded model keeps its own config: with {type(value).__name__}, which says nothing of the guard, "
                "it would be saved without it. Within another model, use the base model."
            )
        super().__setattr__(name, value)
        if isinstance(value, nn.Module) and "_eco" in vars(self):
            self._eco.install()  # it may be another decoder

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        if isinstance(found, PreTrainedModel) and not torch.compiler.is_dynamo_compiling():
            hooks = vars(self).get("_eco")  # whoever asks for the decoder is about to run it
            if hooks is not None and hooks.missing():
                hooks.install()
        return found

    @classmethod
    def is_custom_code(cls) -> bool:
        """What the base class says, so that its weights are converted as usual."""
        return cls._eco_base_class.is_custom_code()

    # -- the guard

    @property
    def eco_guard(self) -> Guard:
        """The attached guard. Raises GuardError if there is none."""
        return self._eco.planner.ready(None)

    def attach_guard(self, guard: Guard) -> None:
        """Puts `guard` in charge, in place of any other, and has it log where that did, if it has no log of its own;
        its config becomes `self.config.eco`.

        Raises:
            ValueError: a scope corrupts more dimensions than the embeddings have.
            GuardError: the model's architecture cannot be guarded (a few tokens are run through it to find out), or it
                follows a guard on disk.
        """
        with _changing:
            self._check_not_following()
            self._attach(guard, guard.config.scopes)

    def _attach(self, guard: Guard, new: Sequence[ForgetScope]) -> None:
        """As `attach_guard`, where all scopes but the new ones were guarded before."""
        check_dims(self, new)
        name_folders(guard)
        old = self._eco.planner.guard
        if old is None or guard.reader is not old.reader:
            guard.reader.check_round_trip()
        if guard.config.embedding_rms is None:
            self._note_embeddings(guard.config)
        resolve_strengths(new, guard.config.embedding_rms)
        self._eco.examine(guard)
        if old is not None and guard.log is None:
            guard.log_like(old)
        self.config.eco = guard.config
        self._eco.planner.guard = guard

    @overload
    def inspect(self, prompts: str | Chat) -> Verdict: ...  # type: ignore[overload-overlap]

    @overload
    def inspect(self, prompts: Sequence[str | Chat]) -> list[Verdict]: ...

    def inspect(self, prompts: str | Chat | Sequence[str | Chat]) -> Verdict | list[Verdict]:
        """What the guard decides about a prompt; a list of verdicts for a list of prompts.

        Args:
            prompts: a string, a message, a chat (list of messages), or a list of strings and chats.

        Returns:
            A [`Verdict`][hf_eco.Verdict], or a list of them.

        Raises:
            TypeError: `prompts` is something else.
            ValueError: a prompt holds what is no text, half of a surrogate pair say.
        """
        guard = self.eco_guard
        guard.to(self.device)
        read, alone = prompts_of(prompts)
        verdicts = guard.inspect(read)
        return verdicts[0] if alone else verdicts

    @contextmanager
    def disable_guard(self) -> Iterator[None]:
        """Inside, in this thread or asyncio task, the model runs unguarded; for the owner's comparison of before and
        after. Do not `yield` inside it: whoever goes on meanwhile runs unguarded too."""
        with self._eco.context.disabled():
            yield

    @contextmanager
    def prompt_lengths(
        self, lengths: Sequence[int] | Tensor, *, protocol: ScoringProtocol = "strict"
    ) -> Iterator[None]:
        """Inside, row i's prompt is its first `lengths[i]` tokens, padding not counted; what follows is an answer: not
        read by the classifier, not corrupted. For scoring answers where there are no labels.

        Args:
            lengths: one for each row.
            protocol: "paper" to corrupt, in flagged rows, the tokens of the answer that the scope's `tokens` selects
                too, which is what published figures of ECO prompts are measured with (Liu et al. 2024). The answer's
                own words then do not give away what the prompt withholds. Without a cache only.

        Raises:
            ValueError: a length is negative, or the protocol unknown.
        """
        given = lengths.tolist() if isinstance(lengths, Tensor) else lengths
        with self._eco.context.prompt_lengths(given, protocol):
            yield

    def add_scope(
        self, scope: ForgetScope, classifier: PromptClassifier | None = None, tagger: EntityTagger | None = None
    ) -> None:
        """Guards one scope more, without reloading the model. The other scopes' verdicts stay as they are. A scope by
        names (`ForgetScope(name="request-0017", names=["Jane Doe"])`) needs nothing more, and takes milliseconds; one
        with documents, as long as its encoder takes to read them. Safe while others use the model: a request sees the
        old guard or the new one.

        Args:
            scope: the scope.
            classifier: its classifier; loaded from `scope.classifier` if None.
            tagger: its token classifier, for `tokens="entities"`; loaded from `scope.entities` if None.

        Raises:
            ValueError: a scope of that name exists, a name is too short, or the classifier lacks the scope's label.
        """
        given = {scope.name: classifier} if classifier is not None else {}
        self.add_scopes([scope], given, {scope.name: tagger} if tagger is not None else {})

    def add_scopes(
        self,
        scopes: Sequence[ForgetScope],
        classifiers: Mapping[str, PromptClassifier] | None = None,
        taggers: Mapping[str, EntityTagger] | None = None,
    ) -> None:
        """Guards many scopes more at once: all of them, or, where one cannot be guarded, none.

        Args:
            scopes: the scopes.
            classifiers: classifiers at hand, by scope; others are loaded as for `add_scope`.
            taggers: token classifiers at hand, by scope; likewise.

        Raises:
            ValueError: as `add_scope`.
            GuardError: the model follows a guard on disk.
        """
        self._check_not_following()
        old = self._eco.planner.guard
        tokenizer = old.tokenizer if old is not None else load_tokenizer(str(self.name_or_path))
        kept = {} if old is None else old.config.how_names_are_kept
        addition = ECOConfig(scopes=copy.deepcopy(list(scopes)), **kept)
        names, facts = (None, None) if old is None else (old.names, old.facts)
        new = load_guard(addition, tokenizer, classifiers or {}, taggers or {}, names=names, facts=facts)
        with _changing:  # whoever changes it meanwhile is not undone
            self._check_not_following()
            old = self._eco.planner.guard
            self._attach(new if old is None else old.joined_by(new), new.config.scopes)

    def remove_scope(self, name: str) -> None:
        """Stops guarding scope `name`.

        Raises:
            KeyError: there is no such scope.
            ValueError: it is the last one; a model without any scope is the base model.
            GuardError: the model follows a guard on disk.
        """
        self.remove_scopes([name])

    def remove_scopes(self, names: Sequence[str]) -> None:
        """Stops guarding many scopes at once: all of them, or, where one is unknown, none.

        Raises:
            KeyError: one of them is unknown.
            ValueError: none would be left.
            GuardError: the model follows a guard on disk.
        """
        with _changing:
            self._check_not_following()
            self._attach(self.eco_guard.without(*names), ())

    def set_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Has the guard read with a tokenizer that tokens were added to; until then, prompts with their ids are
        refused. What is saved from now on holds it.

            tokenizer.add_tokens(["<think>"])
            model.resize_token_embeddings(len(tokenizer))
            model.set_tokenizer(tokenizer)

        Args:
            tokenizer: has each token of the old one, by the same id.

        Raises:
            ValueError: it does not.
            GuardError: it loses letters or spaces, or the model follows a guard on disk.
            GuardLoadError: prompts whose verdicts are known read otherwise now.
        """
        with _changing:
            self._check_not_following()
            self.attach_guard(self.eco_guard.reading_with(tokenizer))

    def follow_guard(self, directory: str | os.PathLike[str], every: float | None = 1.0) -> GuardFollower:
        """From now on the guard is the one in `directory`, as it is changed there: by `hf-eco scopes add`, by
        `save_guard`, by a copy put in its place. It is looked at between requests: one that has begun goes on by the
        guard it began with.

        A version that cannot be loaded, or that was made for another base model or tokenizer, is never put in charge.
        The guard in charge stays, an error is logged at every look, and the follower's `error` says what is wrong.

        Args:
            directory: of a guarded checkpoint or a guard.
            every: seconds between two looks at the directory, by which a request may be answered by the version
                before. The request that finds a new one waits until it is loaded; None looks only when you call
                `refresh()`, in a thread of your own, say.

        Returns:
            The follower, to read `error`, to `refresh()`, to `stop()`; also a context manager that stops at its end.

        Raises:
            GuardError: there is no guard in charge whose tokenizer to read by, or the model follows one already.
            OSError: there is no such directory, or its guard cannot be trusted (`GuardLoadError`).
            ValueError: it carries no guard, or its guard does not fit the model.
        """
        with _changing:
            self._check_not_following()
            follower = GuardFollower(directory, every, self._put_in_charge, self._unfollow)
            follower.start(self.eco_guard)
            self._eco.planner.follower = follower
        return follower

    def _put_in_charge(self, guard: Guard) -> None:
        with _changing:
            self._attach(guard, guard.config.scopes)

    def _unfollow(self) -> None:
        self._eco.planner.follower = None

    def _check_not_following(self) -> None:
        follower = self._eco.planner.follower
        if follower is not None:
            raise GuardError(
                f"This model follows the guard in {follower.directory!r}, which would undo a change made here. Change "
                "it there (hf-eco scopes add, scopes remove), or stop following first."
            )

    # -- running

    @torch.no_grad()
    def generate(self, inputs: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor | GenerateOutput:
        """As the base model's `generate`; the guard decides once, about the whole conversation given.

        Where an option can put words into the model's mouth, what is generated is judged as well (docs/routes.md).

        Raises:
            GuardError: the prompt comes in a form the guard cannot read (`inputs_embeds`, a cache it did not fill or
                whose rows have moved), or such an option made the answer fall in a scope.
        """
        if not self._eco.context.enabled:
            return super().generate(inputs, *args, **kwargs)
        kwargs = by_name(self, args, kwargs)
        refuse_embeddings(kwargs)
        if kwargs.get("cache_implementation") == "paged":  # continuous batching, which plans each request by itself
            return super().generate(inputs, **kwargs)
        outer, planner = self._eco.context.generation, self._eco.planner
        recipe = None if outer is not None else vars(self).get("_own_generate")  # it may call generate in its turn
        call = read_generate_call(self, inputs, kwargs, recipe is not None)
        with planner.generation(call) as generation:
            watch = None
            if call.watched and not (outer is not None and outer.healing):
                watch = AnswerWatch(generation, call.watched, call.every or EVERY)
            if watch is not None and call.every is not None:
                kwargs["stopping_criteria"] = StoppingCriteriaList([*(kwargs.get("stopping_criteria") or ()), watch])
            if recipe is None:
                output = super().generate(inputs, **kwargs)
            else:
                output = recipe(*(() if inputs is None else (inputs,)), model=self, **kwargs)
            sequences = output if isinstance(output, Tensor) else getattr(output, "sequences", None)
            if watch is not None and sequences is not None:
                watch.judge(sequences)
        for cache in (call.cache, returned_cache(output)):
            if cache is not None:
                planner.remember(generation, cache, sequences)
        return output

    def heal_tokens(self, input_ids: Tensor, tokenizer: Any = None) -> Tensor:
        """As the base model's; what comes of it is the prompt, and is judged as such."""
        running = self._eco.context.generation
        if running is not None:
            running.healing = True
        try:
            healed = super().heal_tokens(input_ids, tokenizer)
        finally:
            if running is not None:
                running.healing = False
        if self._eco.context.enabled:
            self._eco.planner.replan(healed, tokenizer.pad_token_id)
        return healed

    def init_continuous_batching(
        self, generation_config: Any = None, continuous_batching_config: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        """As the base model's; every request is guarded by itself. Blocks are not shared between requests, and CUDA
        graphs, compiled passes and asynchronous batches are not used, whatever `continuous_batching_config` says.

        Raises:
            GuardError: the guard is disabled in this thread; batches are run in another one, where it is not. Or a
                scope changes the order of tokens, which takes whole prompts. Or an option may dictate answers.
        """
        if not self._eco.context.enabled:
            raise GuardError(
                "Continuous batching runs in a thread of its own, where the guard is on. To compare with the "
                "unguarded model, use generate in `with model.disable_guard()`."
            )
        for scope in self.eco_guard.config.scopes:
            if mixes_positions(scope.corruption.method):
                raise GuardError(
                    f"Scope {scope.name!r} corrupts by {scope.corruption.method!r}, which takes whole prompts, and "
                    "continuous batching cuts them in pieces. Use another method, or generate."
                )
        if continuous_batching_config is None:
            continuous_batching_config = getattr(generation_config, "continuous_batching_config", None)
        options = generation_config if generation_config is not None else self.generation_config
        if dictating := watched_options(lambda name: getattr(options, name, None)):
            raise GuardError(
                f"{' and '.join(dictating)} may dictate what is generated, and continuous batching does not judge "
                "that. Leave it out, or use generate."
            )
        config = guardable_batching(continuous_batching_config)
        manager = super().init_continuous_batching(generation_config, config, *args, **kwargs)
        follow(manager)
        return manager

    # -- saving and loading

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: dict[str, Any] | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Saves the base weights and the guard; `from_pretrained(save_directory)` gives the guarded model back. The
        directory is the old one or the new one at any time, and whatever else it holds stays.

        Args:
            save_directory: created if need be.
            is_main_process: False on all but one process of a distributed run.
            state_dict: as for any model.
            push_to_hub: also upload the directory, to `repo_id` (default: the directory's name).
            kwargs: as for any model; repo_id, private, token, revision, create_pr, commit_message, commit_description
                are for the upload, tags for the model card.

        Raises:
            GuardError: there is no guard.
            ValueError: a scope would never flag, or change nothing.
            OSError: the directory cannot be written, the disk lacks room, or another process is writing there.
        """
        guard = self.eco_guard
        self._note_embeddings(guard.config)
        resolve_strengths(guard.config.scopes, guard.config.embedding_rms)
        check_storable(guard.config)
        guard.check_tokenizer()
        options = {name: kwargs.pop(name) for name in UPLOAD_ARGUMENTS if name in kwargs}
        tags = _card_tags(self, kwargs.pop("tags", None))
        token = kwargs.get("token")
        if not is_main_process or holds_adapter_alone(self):
            super().save_pretrained(save_directory, is_main_process, state_dict, False, **kwargs)
        else:
            check_room(save_directory, _bytes_of(self.state_dict() if state_dict is None else state_dict))
            # nothing is lost where a model is saved over itself
            instead = guard.config if os.path.abspath(save_directory) != self.name_or_path else None
            with rewriting_checkpoint(save_directory, with_weights=True, instead=instead) as staged:
                super().save_pretrained(staged, is_main_process, state_dict, False, **kwargs)
                write_guard(guard, staged, tags=tags, previous=save_directory)
            _name_guarded(self, os.path.abspath(save_directory))
        if not is_main_process:
            return
        if push_to_hub:
            # after the guard is written: what transformers uploads inside its own save_pretrained would lack it
            repo_id = options.pop("repo_id", os.path.basename(os.path.abspath(save_directory)))
            upload(save_directory, repo_id, token=token, tags=tags, **options)

    def save_guard(
        self,
        save_directory: str | os.PathLike[str],
        *,
        base_model: str | None = None,
        base_revision: str | None = None,
        tags: str | Sequence[str] | None = None,
    ) -> None:
        """Saves the guard alone. The directory names its base model, and loads like a whole checkpoint:
        `from_pretrained(save_directory)` fetches the base, `from_pretrained(base, eco_config=save_directory)` puts the
        guard on a base at hand.

        Args:
            save_directory: created if need be.
            base_model: path or Hub id of the base model to name; the one the guard was put on if None.
            base_revision: its revision.
            tags: for the model card, beside "eco" and "unlearning".

        Raises:
            GuardError: there is no guard.
            ValueError: no base model is known.
        """
        guard = self.eco_guard
        guard.check_tokenizer()
        self._note_embeddings(guard.config)
        resolve_strengths(guard.config.scopes, guard.config.embedding_rms)
        config = copy.deepcopy(self.config)
        config.architectures = [type(self).__name__]
        if base_model is not None:
            config.eco.base_model_name_or_path, config.eco.base_revision = base_model, base_revision
            config.eco.base_subfolder = None
        write_guard_only(guard, config, save_directory, _card_tags(self, tags))

    def _note_embeddings(self, eco: ECOConfig) -> None:
        """Writes into a guard's config how this model embeds tokens."""
        with self.disable_guard():
            note_embeddings(eco, self.get_input_embeddings(), self.config.get_text_config().vocab_size)

    def push_to_hub(  # type: ignore[override]
        self,
        repo_id: str,
        *,
        max_shard_size: int | str = "50GB",
        tags: str | Sequence[str] | None = None,
        token: str | bool | None = None,
        private: bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str | None = None,
        commit_description: str | None = None,
    ) -> CommitInfo:
        """Uploads the guarded checkpoint, exactly what `save_pretrained` writes, to `repo_id`, in one commit. After an
        interruption, call it again: what has arrived is not sent twice.

        Args:
            repo_id: created if need be.
            max_shard_size: as for `save_pretrained`.
            tags: for the model card, beside "eco" and "unlearning".
            token: access token; the one you are logged in with if None.
            private: of a new repository.
            revision: branch to commit to, created if need be.
            create_pr: open a pull request instead of committing.
            commit_message: first line of the commit's message.
            commit_description: the rest of it.

        Returns:
            huggingface_hub's CommitInfo.
        """
        tags = _card_tags(self, tags)
        return save_and_upload(
            lambda directory: self.save_pretrained(directory, max_shard_size=max_shard_size, tags=tags),
            repo_id,
            tags=tags,
            token=token,
            private=private,
            revision=revision,
            create_pr=create_pr,
            commit_message=commit_message,
            commit_description=commit_description,
        )

    def push_guard_to_hub(
        self,
        repo_id: str,
        *,
        base_model: str | None = None,
        base_revision: str | None = None,
        tags: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> CommitInfo:
        """Uploads the guard alone, exactly what `save_guard` writes, to `repo_id`; `kwargs` as for `push_to_hub`.

        Raises:
            ValueError: the base model is a directory of this machine, which nobody else could load.
        """
        tags = _card_tags(self, tags)
        return save_and_upload(
            lambda directory: self.save_guard(
                directory, base_model=base_model, base_revision=base_revision, tags=tags
            ),
            repo_id,
            tags=tags,
            **kwargs,
        )

    def load_adapter(self, peft_model_id: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """As the base model's; of safetensors alone.

        Raises:
            OSError: as the base model's; or the adapter's weights are a pickle.
        """
        if peft_model_id is not None:
            config = kwargs.get("load_config")
            given = {**(config.download_kwargs if config else {}), **kwargs, **(kwargs.get("adapter_kwargs") or {})}
            download = {name: given[name] for name in DOWNLOAD_ARGUMENTS if name in given}
            check_weights(os.fspath(peft_model_id), ADAPTER_FILES, **download)
        return super().load_adapter(peft_model_id, *args, **kwargs)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *model_args: Any,
        eco_config: ECOConfig | str | os.PathLike[str] | None = None,
        eco_revision: str | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        classifiers: Mapping[str, PromptClassifier] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Loads a guarded checkpoint, a guard-only repository with its base, or a base model that is guarded now.

        Args:
            pretrained_model_name_or_path: path or Hub id.
            model_args: as for any model.
            eco_config: the guard to put on a base model: an [`ECOConfig`][hf_eco.ECOConfig], or a path or Hub id of a
                guarded or guard-only repository. None if `pretrained_model_name_or_path` is guarded itself.
            eco_revision: revision of the repository `eco_config` names.
            tokenizer: the model's tokenizer; loaded from beside the model if None.
            classifiers: classifiers already at hand, by scope name, for an ECOConfig.
            kwargs: as for any model: revision, subfolder, token, local_files_only, dtype, device_map ...

        Raises:
            ValueError: there is no guard, or its config is damaged or newer than this version of hf-eco.
            GuardLoadError: the guard's known answers differ: a wrong tokenizer or classifier.
            OSError: a repository or one of its files is missing.
        """
        if pretrained_model_name_or_path is None:
            raise ValueError("Pass the path or Hub id of the model; weights of your own come by load_state_dict.")
        path = os.fspath(pretrained_model_name_or_path)
        download = {name: kwargs[name] for name in DOWNLOAD_ARGUMENTS if name in kwargs}
        if kwargs.setdefault("use_safetensors", True) is not True:
            raise ValueError("use_safetensors=False would read pickles, which can run code. Leave it out.")
        config, kwargs = cls._guarded_config(path, kwargs.pop("config", None), kwargs)
        # a config that AutoConfig has read lacks the scopes that lie beside it
        whole = config.name_or_path == path and isinstance(config.eco, ECOConfig)
        known = config.eco if whole else None
        source = guard_for(path, known, eco_config, eco_revision, download)
        base = path
        if source.replaces_base:
            base, kwargs = base_of(source, kwargs)
        if kwargs.get("gguf_file") is None:
            check_weights(base, **{name: kwargs[name] for name in DOWNLOAD_ARGUMENTS if name in kwargs})
        loaded = super().from_pretrained(base, *model_args, config=config, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if tokenizer is None:
            # beside the model that was named: put on a base with another tokenizer, a guard must not pass its probes
            tokenizer = load_tokenizer(path, kwargs.get("gguf_file"), **download)
        guard = load_guard(source.eco, tokenizer, classifiers or {}, {}, source)
        if eco_config is not None:
            note_base(guard.config, base, download)
        guard.config.guard_only = False
        model.attach_guard(guard)
        model.config.architectures = [type(model).__name__]
        if "generate" in vars(model):  # the repository's own, which transformers has put in the method's place
            model._own_generate = vars(model).pop("generate").func
        # Base and guard that were put together just now have no name of their own yet.
        _name_guarded(model, path if eco_config is None else f"{base} (guarded, not saved yet: {_SAVE_FIRST})")
        return loaded

    @classmethod
    def _guarded_config(cls, path: str, config: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The guarded config for the model at `path`, parsed once, and the arguments that are left for the model."""
        if not isinstance(config, PreTrainedConfig):
            where = path if config is None else os.fspath(config)
            return config_and_model_arguments(cls.config_class, where, kwargs)
        if isinstance(config, ECOConfigMixin):
            return config, kwargs
        config_class = guarded_config_class(type(config)) if borrows_class(config, cls) else cls.config_class
        return as_guarded_config(config, config_class), kwargs


def check_dims(model: PreTrainedModel, scopes: Sequence[ForgetScope]) -> None:
    """Raises ValueError if a scope corrupts more dimensions than the model's embeddings have."""
    check_dims_fit(scopes, _embedding_size(model.get_input_embeddings()), type(model).__name__)


def _bytes_of(state_dict: Mapping[str, Any]) -> int:
    """How much room weights take on disk, tied ones counted once."""
    tensors = {(t.device, t.data_ptr() or name): t for name, t in state_dict.items() if isinstance(t, Tensor)}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _card_tags(model: PreTrainedModel, tags: str | Sequence[str] | None) -> tuple[str, ...]:
    """Those of `add_model_tags`, and `tags`."""
    tags = (tags,) if isinstance(tags, str) else tags or ()
    return tuple(dict.fromkeys((*(model.model_tags or ()), *tags)))


def _name_guarded(model: Any, name: str) -> None:
    """What is trained on a model, an adapter say, names it; it must not name the unguarded base."""
    model.name_or_path = model.config.name_or_path = name


def without_wrapper(model: Any) -> Any:
    """The model within peft's wrapper, if it has one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def find_guarded(model: Any) -> ECOMixin:
    """The guarded model that `model` is, or holds within peft's wrapper.

    Raises:
        GuardError: it has no guard.
    """
    found = without_wrapper(model)
    if not isinstance(found, ECOMixin):
        raise GuardError(f"{type(model).__name__} has no guard. Load it by AutoModelForCausalLMWithECO.")
    return found


def _embedding_size(embedding: nn.Module) -> int:
    size: Any = getattr(embedding, "embedding_dim", None)
    weight: Any = embedding.weight
    return int(weight.shape[-1] if size is None else size)
