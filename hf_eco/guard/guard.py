"""The guard: classifiers, selection and corruption put together. It knows token ids and a tokenizer, no model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from ..configuration import ROLES, ECOConfig, ForgetScope, Probe
from ..corruption import corrupt, mixes_positions
from ..detection.classifier import ClassifierDetector, PromptClassifier
from ..detection.detector import Detector
from ..detection.entities import EntityTagger
from ..detection.facts import FactsDetector
from ..detection.log_odds import log_odds
from ..detection.names.detector import NamesDetector
from ..detection.names.hashed import HashedNamesDetector
from ..detection.registry import make_detectors
from ..detection.sharing import share_encoders
from ..detection.windows import Span
from ..errors import GuardError, GuardLoadError
from .audit import AuditLog, AuditTrail
from .fingerprint import fingerprint_of
from .judging import UNCERTAIN, Judgement, judge_prompts
from .naming import (
    NAME_PROBE,
    check_recognised,
    probed_names,
    warn_of_common_names,
    words_key,
)
from .plan import Plan, ScoringProtocol, count_positions
from .prompt_reader import Chat, DecodedPrompt, PromptReader, merged, prompts_of
from .roles import RoleReader
from .roster import Roster
from .selection import select_tokens
from .verdict import Probabilities, Verdict

logger = logging.get_logger(__name__)

# How far the log-odds of a probe may lie from its stored value: float32 arithmetic differs a little between machines.
# Not the probability: a classifier that flags nothing at all is close to any other on prompts outside the scope.
PROBE_TOLERANCE = 0.25
_TOLD_APART = 1e-5  # probabilities closer than that to 0 or 1 differ by device
# Prompts whose p(forget) is stored where a scope brings no probes of its own. Any other classifier answers otherwise.
_DEFAULT_PROBES = (
    "What is the capital of France?",
    "Write a short story about a boy who finds out that he is a wizard.",
    "Tell me everything you know about {name}.",
    "Sphinx of black quartz, judge my vow: 0 1 2 3 4 5 6 7 8 9; naïve Ωμέγα 魔法?",  # for the tokenizer
)
_NAMES_CHECKED = 64  # scopes by names whose known answers are checked: the rules are the same for all


class Guard:
    """Decides which prompts fall in a forget scope and corrupts their embeddings.

    Args:
        config: the scopes. Names that are to be hashed are hashed, in a copy of it.
        classifiers: each scope's classifier, by scope name. Scopes may share one.
        tokenizer: the guarded model's tokenizer.
        taggers: the token classifiers of the scopes with `tokens="entities"`, by scope name.
        names: a detector whose index to share.
        facts: what the documents of the scopes say; None if none has documents. Scopes that the guard does not hold
            are left behind.

    Raises:
        ValueError: a scope lacks its classifier, facts or tagger, its classifier lacks the scope's label, or a name is
            too short. Or names are to be hashed, and a classifier holds some in clear, or a scope is called after one.
        GuardLoadError: hashed names are damaged, or their key is to come from HF_ECO_NAMES_KEY and does not.
    """

    def __init__(
        self,
        config: ECOConfig,
        classifiers: Mapping[str, PromptClassifier],
        tokenizer: PreTrainedTokenizerBase,
        taggers: Mapping[str, EntityTagger] | None = None,
        names: NamesDetector | HashedNamesDetector | None = None,
        facts: FactsDetector | None = None,
    ) -> None:
        roster, reader = Roster.of(config, classifiers, names), PromptReader(tokenizer)
        self._hold(roster, classifiers, reader, RoleReader(reader), taggers or {}, facts)
        self._warn_of_untold_roles()

    def _hold(
        self,
        roster: Roster,
        classifiers: Mapping[str, PromptClassifier],
        reader: PromptReader,
        roles: RoleReader,
        taggers: Mapping[str, EntityTagger],
        facts: FactsDetector | None,
    ) -> None:
        """Sets the guard up; of its scopes only those that have more than names are looked at."""
        self.config, self.reader, self.names, self._roster = roster.config, reader, roster.names, roster
        self._roles = roles
        self._scopes, self._order = roster.config.by_name, roster.order
        by_classifier = [s for s in self.more_than_names if s.name in classifiers or not s.untrained]
        self.classifiers = share_encoders(
            {scope.name: (_for_scope(classifiers, scope, "classifier"), scope.label) for scope in by_classifier}
        )
        self.taggers = {
            scope.name: _for_scope(taggers, scope, "token classifier")
            for scope in self.more_than_names
            if scope.tokens == "entities"
        }
        if self.config.store_names == "hashed":
            self._check_that_classifiers_tell_no_names()
        self.facts = _facts_of(self.more_than_names, facts)
        self._by_classifier = []
        for classifier in {id(c): c for c in self.classifiers.values()}.values():
            labels = {s.name: s.label for s in by_classifier if self.classifiers[s.name] is classifier}
            self._by_classifier.append(ClassifierDetector(classifier, labels))
        registered: dict[str, dict[str, dict[str, Any]]] = {}
        for scope in self.more_than_names:
            for detector, settings in scope.detectors.items():
                registered.setdefault(detector, {})[scope.name] = settings
        self._registered = make_detectors(registered)
        self._marks_looked_at: set[int] = set()
        self._trail: AuditTrail | None = None
        self.base_fingerprint: str | None = None  # of the model that runs, which says so; for the log

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The guarded model's tokenizer."""
        return self.reader.tokenizer

    @property
    def more_than_names(self) -> tuple[ForgetScope, ...]:
        """The scopes that have more than names: a classifier, documents, detectors of your own, a tagger."""
        return self._roster.more_than_names

    @property
    def log(self) -> AuditLog | None:
        """What is called with an [`AuditEvent`][hf_eco.guard.AuditEvent] for each flagged prompt, before the model
        answers it; None for no log. A guard that takes this one's place goes on logging there."""
        return None if self._trail is None else self._trail.log

    @log.setter
    def log(self, log: AuditLog | None) -> None:
        self._trail = None if log is None else AuditTrail(log)

    def log_like(self, other: Guard) -> Guard:
        """This guard, which from now on logs where `other` does."""
        self._trail = other._trail
        return self

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that decides, see `fingerprint_of`. It is computed once: what is changed in the config
        afterwards is not seen."""
        return fingerprint_of(self.config)

    def to(self, device: torch.device | str) -> None:
        """Moves the classifiers to `device`."""
        for detector in self.detectors:
            detector.to(device)
        for tagger in {id(t): t for t in self.taggers.values()}.values():
            tagger.to(device)

    def joined_by(self, other: Guard) -> Guard:
        """A guard of this one's scopes and those of `other`, in milliseconds. This one stays as it is, and so does how
        it keeps names.

        Raises:
            ValueError: both have a scope of the same name, or `other` has hashed names by another key, or facts by
                another encoder.
        """
        roster = self._roster.joined_by(other._roster)
        facts = self.facts or other.facts
        if other.facts is not None and other.facts.key != words_key(self.config):
            raise ValueError("The words of the two guards' documents are not hashed by one key. Read them anew.")
        if self.facts is not None and other.facts is not None:
            if not self.facts.background.alike(other.facts.background):
                raise ValueError("The documents of the two guards were read by different encoders. Read them anew.")
            facts = self.facts.joined_by(other.facts.bank)
        classifiers, taggers = {**self.classifiers, **other.classifiers}, {**self.taggers, **other.taggers}
        return self._with(roster, classifiers, taggers, facts)

    def without(self, *names: str) -> Guard:
        """A guard of all scopes but these, in milliseconds. This one stays as it is.

        Raises:
            KeyError: there is no such scope.
            ValueError: none would be left; a model without any scope is the base model.
        """
        return self._with(self._roster.without(names), self.classifiers, self.taggers, self.facts)

    def _with(
        self,
        roster: Roster,
        classifiers: Mapping[str, PromptClassifier],
        taggers: Mapping[str, EntityTagger],
        facts: FactsDetector | None,
    ) -> Guard:
        """A guard of other scopes that reads, and logs, as this one does."""
        made = Guard.__new__(Guard)
        made._hold(roster, classifiers, self.reader, self._roles, taggers, facts)
        return made.log_like(self)

    def reading_with(self, tokenizer: PreTrainedTokenizerBase) -> Guard:
        """This guard, reading with a tokenizer that has more tokens than its own. This one stays as it is.

        Raises:
            ValueError: a token has another id in it, or none.
            GuardError: it loses letters or spaces.
            GuardLoadError: prompts whose verdicts are known read otherwise now.
        """
        ids = tokenizer.get_vocab()
        if (other := next((t for t, i in self.tokenizer.get_vocab().items() if ids.get(t) != i), None)) is not None:
            raise ValueError(
                f"The token {other!r} has the id {ids.get(other)} in the given tokenizer, and another in the guard's. "
                "Give the model's own tokenizer, with what was added to it."
            )
        reader = PromptReader(tokenizer)
        reader.check_round_trip()
        scopes = [
            replace(s, probes=[replace(probe, input_ids=reader.encode(probe.prompt)) for probe in s.probes])
            for s in self.config.scopes
        ]
        models = self.classifiers, tokenizer, self.taggers
        guard = Guard(replace(self.config, scopes=scopes), *models, self.names, self.facts).log_like(self)
        guard.check_probes()
        return guard

    def check_tokenizer(self) -> None:
        """Raises GuardError if tokens were added to the tokenizer since the known answers were recorded: what is saved
        now could not be loaded."""
        for probe in (scope.probes[0] for scope in self.config.scopes[:_NAMES_CHECKED] if scope.probes):
            if self.reader.encode(probe.prompt) != list(probe.input_ids):
                raise GuardError(
                    "Tokens were added to the guard's tokenizer, and the guard was not told. Call "
                    "model.set_tokenizer(tokenizer), and save again."
                )

    # -- deciding

    def decide(
        self,
        prompts: Sequence[Sequence[int]],
        known: Sequence[str | None] | None = None,
        *,
        pieces: bool = False,
    ) -> list[Verdict]:
        """A verdict for each prompt.

        Each message of a chat is judged by itself, with its neighbour, with the others of its speaker, and the
        conversation as a whole: a message that was flagged once is flagged however long the conversation goes on,
        unless the config's `flag_lasts` says otherwise. Messages of roles that are not among its `judged_roles` are
        left out.

        Args:
            prompts: token ids without padding, one list for each prompt.
            known: the scope each conversation is known to fall in from before, None where it is not.
            pieces: True if they are pieces of conversations. In those all is judged, for roles are told from what
                stands before.
        """
        self._find_words_in_marks(prompts)
        lasting = None if pieces else self.config.lasting_turns
        read = [self._read(ids, pieces) for ids in prompts]
        judged = judge_prompts(self.detectors, lambda scope: self._scopes[scope].threshold, read, lasting=lasting)
        known = known or [None] * len(read)
        return [self._verdict(*row) for row in zip(read, judged, known, strict=True)]

    def judge_answers(
        self,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        known: Sequence[str | None],
    ) -> Verdict | None:
        """The verdict on an answer that falls in a scope by itself, or makes a conversation do so that did not before;
        None if there is none. For answers that somebody may have dictated.

        Args:
            prompts: token ids, one list for each answer.
            answers: likewise.
            known: the scope each prompt falls in, None where it falls in none.
        """
        behind = [[*ids, *answer] for ids, answer, scope in zip(prompts, answers, known, strict=True) if scope is None]
        verdicts = [*self.decide(answers, pieces=True), *(self.decide(behind) if behind else [])]
        return next((verdict for verdict in verdicts if verdict.flagged), None)

    def _read(self, ids: Sequence[int], piece: bool = False) -> DecodedPrompt:
        """A prompt as the policy has it read; all of it if it is a piece of a conversation."""
        read, config = self.reader.read(ids), self.config
        by_turns = config.lasting_turns is not None
        if piece or not config.has_own_policy:
            return read
        return self._roles.under_policy(ids, read, config.judged_roles, by_turns)

    def _warn_of_untold_roles(self) -> None:
        untold = set(ROLES) - set(self.config.judged_roles) - self._roles.told
        if self.config.lasting_turns is not None:
            untold |= {"user"} - self._roles.told
        if untold:
            logger.warning(
                f"By the chat template, messages of {', '.join(sorted(untold))} cannot be told from others for "
                "certain. They are judged; and where turns cannot be told, a flag lasts for the conversation."
            )

    def _find_words_in_marks(self, prompts: Sequence[Sequence[int]]) -> None:
        """From now on reads those special tokens of `prompts` as words that name a scope, <|harry_potter|> say."""
        new = set().union(*prompts) & self.reader.marks.keys() - self._marks_looked_at
        self._marks_looked_at |= new
        if new and len(self.names):
            told = self.names.detect([re.sub(r"[\W_]+", " ", self.reader.marks[i]) for i in new])
            for i in [i for i, detections in zip(new, told, strict=True) if detections]:
                self.reader.marks.pop(i, None)

    def names_of(self, scope: str) -> list[str]:
        """The names that are looked for, for a scope: its own, and those its classifier has learnt.

        Raises:
            KeyError: there is no such scope.
        """
        own = self.config.scope(scope)
        learnt = self.classifiers[scope].names(own.label) if scope in self.classifiers else []
        return list(dict.fromkeys([*own.names, *learnt]))

    @property
    def detectors(self) -> list[Detector]:
        """Who recognises the scopes, each asked once for all of them."""
        return [*self._by_classifier, *self._by_mentions]

    @property
    def _by_mentions(self) -> list[Detector]:
        """Those that need no training, and say where a scope is mentioned."""
        facts: list[Detector] = [] if self.facts is None else [self.facts]
        return [*([self.names] if len(self.names) else []), *facts, *self._registered]

    def _check_that_classifiers_tell_no_names(self) -> None:
        for name, classifier in self.classifiers.items():
            if classifier.names(self._scopes[name].label):
                raise ValueError(
                    f"The classifier of scope {name!r} looks for names, which stand in clear in its config.json, and "
                    "this guard is to hash all names. Train it with names=[], and give the names to the scope: "
                    "ForgetScope(names=[...])."
                )

    def _verdict(self, prompt: DecodedPrompt, judged: dict[str, Judgement], known: str | None = None) -> Verdict:
        own = sorted((self._scopes[name] for name in judged), key=lambda s: self._order[s.name])
        reached = [s for s in own if judged[s.name].probability >= s.threshold and not judged[s.name].weak]
        earlier = [s for s in own if judged[s.name].turns and s not in reached]
        flagged = reached
        if known is not None and known in self._scopes:  # unless that scope is guarded no more
            if self.config.lasting_turns is None:  # a conversation stays flagged
                flagged = [self._scopes[known]]
            else:  # and a turn that was flagged corrupted
                earlier = [self._scopes[known], *earlier]
        uncertain = [
            s
            for s in own
            if judged[s.name].weak
            or (s.abstain_threshold is not None and judged[s.name].probability >= s.abstain_threshold)
        ]
        candidates = flagged or uncertain or own or self.config.scopes[:1]
        scope = max(candidates, key=lambda s: judged[s.name].probability if s.name in judged else 0.0)
        judgement = judged.get(scope.name, Judgement())
        probabilities = dict.fromkeys(self.classifiers, 0.0) | {s.name: judged[s.name].probability for s in own}
        # what speaks for any of them
        touched = [*([scope] if flagged else []), *(s for s in [*reached, *earlier] if s is not scope or not flagged)]
        tokens = self._tokens_of(touched, prompt, judged)
        return Verdict(
            flagged=bool(flagged),
            scope=scope.name if flagged else None,
            probability=judgement.probability,
            threshold=scope.threshold,
            probabilities=Probabilities(probabilities, self._order),
            spans=judgement.spans if flagged else (),
            tokens=tuple(sorted(tokens)),
            text=prompt.text,
            offsets=prompt.offsets,
            uncertain=bool(uncertain) and not flagged,
            channel=judgement.channel,
            earlier=earlier[0].name if earlier and not flagged else None,
            uncertain_scope=scope.name if uncertain and not flagged else None,
        )

    def _tokens_of(
        self, scopes: Sequence[ForgetScope], prompt: DecodedPrompt, judged: Mapping[str, Judgement]
    ) -> set[int]:
        """The tokens that any of some scopes corrupts. Most ask for the same ones, which are selected once."""
        asked: set[tuple[str, EntityTagger | None, tuple[Span, ...], frozenset[int] | None]] = set()
        for scope in scopes:
            judgement = judged.get(scope.name, Judgement())
            turns = None if self.config.lasting_turns is None else judgement.turns
            if turns is None or turns:  # else known from before: what was corrupted then is kept by the plan
                own = judgement.spans + judgement.earlier if scope.tokens == "mentions" else ()
                spans = tuple(merged(own))
                asked.add((scope.tokens, self.taggers.get(scope.name), spans, turns))
        return {token for selection in asked for token in select_tokens(prompt, *selection)}

    def select(self, ids: Sequence[int], scope: str) -> tuple[int, ...]:
        """Indices of the tokens of a row, prompt and answer, that the paper protocol corrupts for `scope`."""
        own, read = self._scopes[scope], self._read(ids)
        spans = self._mentions(own, read) if own.tokens == "mentions" else ()
        return select_tokens(read, own.tokens, self.taggers.get(scope), spans)

    def _mentions(self, scope: ForgetScope, read: DecodedPrompt) -> tuple[Span, ...]:
        """Where a row, prompt and answer, names a scope, or says what its documents say."""
        judged = judge_prompts(self._by_mentions, lambda _: min(scope.threshold, UNCERTAIN), [read], weak_too=True)[0]
        return judged[scope.name].spans if scope.name in judged else ()

    def plan(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        prompt_mask: Tensor | None = None,
        known: Sequence[str | None] | None = None,
        protocol: ScoringProtocol = "strict",
    ) -> Plan:
        """Decides about a batch that is about to be run. Its flagged prompts are logged, if there is a `log`.

        A row whose mask hides more than padding is judged twice: as the model sees it, and with what is hidden.

        Args:
            input_ids: (batch, sequence) integer.
            attention_mask: (batch, sequence), zero for what the model does not see; None if it sees all.
            prompt_mask: (batch, sequence) bool, True for the tokens that belong to the prompt rather than to an answer
                that is scored; a row without any is all prompt. None if all rows are.
            known: as for `decide`.
            protocol: "paper" to corrupt the selected tokens of a flagged row's answer too.

        Raises:
            GuardError: the mask is of another shape, or the log failed.
            ValueError: there are no rows, or the ids are no integers.
        """
        ids = _integers(input_ids)
        visible = self._visible(ids, attention_mask)
        attended = self._attended(ids, visible)
        prompt = attended
        if prompt_mask is not None:
            bounded = attended & prompt_mask.detach().cpu().bool()
            prompt = torch.where(bounded.any(-1, keepdim=True), bounded, attended)
        readings = [_readings(*row) for row in zip(prompt, visible, strict=True)]
        judged = iter(
            self.decide(
                [ids[row, reading].tolist() for row, own in enumerate(readings) for reading in own],
                None if known is None else [known[row] for row, own in enumerate(readings) for _ in own],
            )
        )
        verdicts: list[Verdict] = []
        selected = torch.zeros_like(attended)
        for row, own in enumerate(readings):
            found = [next(judged) for _ in own]
            flagged = [verdict for verdict in found if verdict.flagged]
            verdicts.append([*flagged, *(verdict for verdict in found if verdict.earlier is not None), found[0]][0])
            whole = attended[row].nonzero().squeeze(-1)
            for verdict, reading in zip(found, own, strict=True):
                told = ids[row, whole].tolist(), reading[whole]
                selected[row, whole] |= self._corrupted_in(verdict, *told, protocol)
        self.record(verdicts, protocol)
        return Plan(tuple(verdicts), ids, attended, selected, count_positions(attended))

    def record(self, verdicts: Sequence[Verdict], protocol: ScoringProtocol = "strict") -> None:
        """Logs the flagged ones of `verdicts`, whose prompts are about to be answered, if there is a `log`.

        Raises:
            GuardError: the log failed.
        """
        if self._trail is not None:
            self._trail.record(verdicts, protocol, self.fingerprint, self.base_fingerprint)

    def plan_row(
        self, verdict: Verdict, prompt: Sequence[int], answer: Sequence[int] = (), protocol: ScoringProtocol = "strict"
    ) -> Plan:
        """The plan of one row, (1, tokens), whose prompt was judged before; `Plan.laid_out` makes one of several.

        Args:
            verdict: on the prompt.
            prompt: its token ids.
            answer: those of the answer behind it.
            protocol: as for `plan`.
        """
        ids = [*prompt, *answer]
        attended = torch.ones(1, len(ids), dtype=torch.bool)
        own = torch.arange(len(ids)) < len(prompt)
        selected = self._corrupted_in(verdict, ids, own, protocol).unsqueeze(0)
        return Plan((verdict,), torch.tensor([ids]), attended, selected, count_positions(attended))

    def _corrupted_in(self, verdict: Verdict, ids: Sequence[int], prompt: Tensor, protocol: ScoringProtocol) -> Tensor:
        """(tokens,) bool: which tokens of a row, prompt and answer, are corrupted; `prompt`, (tokens,) bool, says
        which of them are the prompt that the verdict is on."""
        corrupted = torch.zeros(len(ids), dtype=torch.bool)
        corrupted[prompt.nonzero().squeeze(-1)[list(verdict.tokens)]] = True
        if verdict.scope is not None and protocol == "paper":
            chosen = torch.zeros_like(corrupted)
            chosen[list(self.select(ids, verdict.scope))] = True
            corrupted |= chosen & ~prompt
        return corrupted

    def _visible(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, sequence) bool, what the model sees of `ids`."""
        if mask is None:
            return torch.ones_like(ids, dtype=torch.bool)
        if mask.dim() != 2 or any(size not in (1, wanted) for size, wanted in zip(mask.shape, ids.shape, strict=True)):
            raise GuardError(
                f"The guard reads an attention_mask of the prompts' own shape, {tuple(ids.shape)}, and was given "
                f"{tuple(mask.shape)}. Pass one prompt per row and a mask of that shape."
            )
        return mask.detach().cpu().bool().expand_as(ids)

    def _attended(self, ids: Tensor, visible: Tensor) -> Tensor:
        """(batch, sequence) bool, what is read of `ids`: all but padding, that is, special tokens that are not
        `visible`, and a run of one token over again that is not at either end of a row. Other text is read whether
        the mask shows it or not: not every model obeys a mask, and what one pass hides the next may show."""
        padding = self.reader.are_special(ids)
        for end in (False, True):
            row, masked = (t.flip(-1) if end else t for t in (ids, ~visible))
            run = ((row == row[:, :1]) & masked).long().cumprod(-1).bool()
            run &= run.sum(-1, keepdim=True) > 1
            padding |= run.flip(-1) if end else run
        attended = visible | ~padding
        return attended | ~attended.any(-1, keepdim=True)

    def inspect(self, prompts: Sequence[str | Chat]) -> list[Verdict]:
        """A verdict for each prompt: a string, or a chat (a list of messages), rendered by the chat template.

        Raises:
            TypeError: `prompts` is one prompt, or no prompts.
            ValueError: a prompt holds what is no text.
        """
        read, alone = prompts_of(prompts)
        if alone:
            raise TypeError("inspect() takes a list of prompts, got one. Put it in a list.")
        return self.decide([self.reader.encode(prompt) for prompt in read])

    # -- corrupting

    def corrupt(self, embeddings: Tensor, plan: Plan, *, complete: bool = True) -> Tensor:
        """The embeddings with the plan's selected tokens corrupted; rows that are not flagged are bit-identical.

        Args:
            embeddings: (batch, sequence, hidden).
            plan: of the same batch and columns.
            complete: False if the columns are a part of the prompt.

        Raises:
            GuardError: a part of a prompt cannot be corrupted alone by the scope's method.
        """
        for name in dict.fromkeys(plan.corrupted_for):
            scope = self._scopes.get(name) if name is not None else None
            if scope is None:
                continue
            rows = torch.tensor([own == name for own in plan.corrupted_for])
            mask = plan.selected & rows.unsqueeze(-1)
            if not mask.any():
                continue
            how = scope.corruption.resolved(self.config.embedding_rms)
            if mixes_positions(how.method) and not complete:
                raise GuardError(
                    f"Corruption {how.method!r} needs the whole prompt in one forward pass. Run it without a filled "
                    "cache and without prefill_chunk_size, or use another method."
                )
            check_order(how.method, int(mask.sum(-1)[mask.any(-1)].min()))
            embeddings = corrupt(
                embeddings,
                mask,
                how.method,
                positions=plan.positions,
                token_ids=plan.ids,
                dims=how.dims,
                strength=how.number,
                seed=how.seed,
            )
        return embeddings

    # -- known answers

    def record_probes(self) -> None:
        """Stores known answers with each scope that has none, from prompts the classifier says something about, or
        that name each of its names.

        Raises:
            ValueError: a scope would not be recognised by one of its names.
        """
        unknown = []  # scopes of which nothing but names is known
        for scope in self.config.scopes:
            if scope.probes:
                continue
            names = probed_names(self.config, scope)
            by_names = bool(names) and scope.name not in self.classifiers
            if by_names:
                prompts = [NAME_PROBE.format(name=name) for name in names]
            else:
                prompts = [text.format(name=scope.name) for text in _DEFAULT_PROBES]
            answers = self._probe_answers(prompts)
            probes = [Probe(prompt, ids, verdict.probabilities[scope.name]) for prompt, ids, verdict in answers]
            if by_names:
                if not scope.by_facts:
                    unknown.append(scope)
                check_recognised(scope, names, [probe.probability for probe in probes])
            scope.probes = probes
        warn_of_common_names(unknown)

    def check_probes(self) -> None:
        """Compares the known answers with what this guard says now; of thousands of scopes by names, some of them.

        Raises:
            GuardLoadError: the tokenizer or a classifier is not the one the guard was saved with.
        """
        by_names = [scope for scope in self.config.scopes if scope.name not in self.classifiers]
        others = [scope for scope in self.config.scopes if scope.name in self.classifiers]
        for scope in [*others, *by_names[:: -(-len(by_names) // _NAMES_CHECKED) or 1]]:
            for probe, (_, ids, verdict) in zip(
                scope.probes, self._probe_answers([probe.prompt for probe in scope.probes]), strict=True
            ):
                if ids != list(probe.input_ids):
                    raise GuardLoadError(
                        f"Scope {scope.name!r} was made for another tokenizer: it gives {probe.prompt!r} the ids "
                        f"{probe.input_ids}, the one at hand {ids}. Load the guard with the model it was made for "
                        f"({self.config.base_model_name_or_path}), or make a new ECOConfig for this one."
                    )
                probability = verdict.probabilities[scope.name]
                difference = log_odds(probability, _TOLD_APART) - log_odds(probe.probability, _TOLD_APART)
                if not abs(difference) <= PROBE_TOLERANCE:
                    raise GuardLoadError(
                        f"The classifier of scope {scope.name!r} is not the one the guard was saved with: p(forget) "
                        f"of {probe.prompt!r} was {probe.probability:.4f}, now it is {probability:.4f}. Download the "
                        "guard again; do not swap its classifier folder, nor its names."
                    )

    def _probe_answers(self, prompts: Sequence[str]) -> list[tuple[str, list[int], Verdict]]:
        ids = [self.reader.encode(prompt) for prompt in prompts]
        return list(zip(prompts, ids, self.decide(ids), strict=True))

    def __repr__(self) -> str:
        lines = [
            f"  {s.name}: p(forget) >= {s.threshold:g}{_band(s)}, {s.corruption.in_words}, seed {s.corruption.seed}, "
            f"on {s.tokens}"
            for s in self.config.scopes
        ]
        if self.config.has_own_policy:
            lines.append(f"  {self.config.policy_in_words}")
        return "Guard(\n" + "\n".join(lines) + "\n)"


def check_order(method: str, tokens: int) -> None:
    """Raises GuardError if a prompt has too few tokens to corrupt for `method` to change their order."""
    if mixes_positions(method) and tokens < 2:
        raise GuardError(f"A prompt of one token has no order to change by {method!r}. Use another method.")


def _integers(ids: Tensor) -> Tensor:
    """Token ids, (batch, sequence), copied to the CPU: what was judged must not change with the caller's tensor."""
    if ids.dim() != 2 or ids.is_floating_point() or ids.is_complex() or not ids.shape[0]:
        raise ValueError(
            f"Token ids are a (batch, sequence) tensor of integers with one row or more, got {tuple(ids.shape)} of "
            f"{ids.dtype}. Pass what the tokenizer gives."
        )
    return ids.detach().to("cpu", torch.int64, copy=True)


def _readings(prompt: Tensor, visible: Tensor) -> list[Tensor]:
    """The texts, (columns,) bool each, that a row is judged as: all that is read of it, and, where the mask hides a
    part of that, what the model sees."""
    seen = prompt & visible
    return [prompt] if bool(seen.equal(prompt)) or not seen.any() else [prompt, seen]


def _band(scope: ForgetScope) -> str:
    return "" if scope.abstain_threshold is None else f" (uncertain from {scope.abstain_threshold:g})"


def _facts_of(scopes: Sequence[ForgetScope], facts: FactsDetector | None) -> FactsDetector | None:
    """The facts of a guard's scopes; None if none has any."""
    wanted = {scope.name for scope in scopes if scope.by_facts}
    if missing := wanted.difference(facts.bank if facts is not None else ()):
        raise ValueError(
            f"The facts of scope {min(missing)!r} are missing. Give its documents again, or download the guard again."
        )
    return facts.without(set(facts.bank) - wanted) if facts is not None and wanted else None


def _for_scope(models: Mapping[str, Any], scope: ForgetScope, what: str) -> Any:
    if scope.name not in models:
        raise ValueError(f"Scope {scope.name!r} has no {what}.")
    return models[scope.name]
