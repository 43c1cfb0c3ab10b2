"""The guard: classifiers, selection and corruption put together. It knows token ids and a tokenizer, no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..configuration import ECOConfig, ForgetScope, Probe
from ..corruption import corrupt, mixes_positions
from ..detection.classifier import PromptClassifier
from ..detection.entities import EntityTagger
from ..detection.log_odds import log_odds
from ..detection.sharing import share_encoders
from ..detection.windows import Span
from ..errors import GuardError, GuardLoadError
from .judging import judge_by_classifier
from .plan import Plan, ScoringProtocol, count_positions
from .prompt_reader import Chat, DecodedPrompt, PromptReader
from .selection import select_tokens
from .verdict import Verdict

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


class Guard:
    """Decides which prompts fall in a forget scope and corrupts their embeddings.

    Args:
        config: the scopes.
        classifiers: each scope's classifier, by scope name. Scopes may share one.
        tokenizer: the guarded model's tokenizer.
        taggers: the token classifiers of the scopes with `tokens="entities"`, by scope name.

    Raises:
        ValueError: a scope lacks its classifier or tagger, or its classifier lacks the scope's label.
    """

    def __init__(
        self,
        config: ECOConfig,
        classifiers: Mapping[str, PromptClassifier],
        tokenizer: PreTrainedTokenizerBase,
        taggers: Mapping[str, EntityTagger] | None = None,
    ) -> None:
        self.config = config
        self.reader = PromptReader(tokenizer)
        self.classifiers = share_encoders(
            {scope.name: (_for_scope(classifiers, scope, "classifier"), scope.label) for scope in config.scopes}
        )
        self.taggers = {
            scope.name: _for_scope(taggers or {}, scope, "token classifier")
            for scope in config.scopes
            if scope.tokens == "entities"
        }
        for scope in config.scopes:
            self.classifiers[scope.name].label_index(scope.label)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The guarded model's tokenizer."""
        return self.reader.tokenizer

    def to(self, device: torch.device | str) -> None:
        """Moves the classifiers to `device`."""
        for model in {id(m): m for m in (*self.classifiers.values(), *self.taggers.values())}.values():
            model.to(device)

    # -- deciding

    def decide(self, prompts: Sequence[Sequence[int]], known: Sequence[str | None] | None = None) -> list[Verdict]:
        """A verdict for each prompt.

        Each message of a chat is judged by itself, with its neighbour, with the others of its speaker, and the
        conversation as a whole: a message that was flagged once is flagged however long the conversation goes on.

        Args:
            prompts: token ids without padding, one list for each prompt.
            known: the scope each conversation is known to fall in from before, None where it is not.
        """
        read = [self.reader.read(ids) for ids in prompts]
        # (probability, guilty spans) by scope, for each prompt
        judged: list[dict[str, tuple[float, tuple[Span, ...]]]] = [{} for _ in read]
        for classifier in {id(c): c for c in self.classifiers.values()}.values():
            scopes = [s for s in self.config.scopes if self.classifiers[s.name] is classifier]
            for row, result in zip(judged, judge_by_classifier(classifier, scopes, read), strict=True):
                row.update(result)
        known = known or [None] * len(read)
        return [self._verdict(*row) for row in zip(read, judged, known, strict=True)]

    def _verdict(
        self, prompt: DecodedPrompt, judged: dict[str, tuple[float, tuple[Span, ...]]], known: str | None = None
    ) -> Verdict:
        flagged = [s for s in self.config.scopes if judged[s.name][0] >= s.threshold]
        if known is not None:  # unless that scope is guarded no more
            flagged = [s for s in self.config.scopes if s.name == known] or flagged
        uncertain = [
            s
            for s in self.config.scopes
            if s.abstain_threshold is not None and judged[s.name][0] >= s.abstain_threshold
        ]
        scope = max(flagged or uncertain or self.config.scopes, key=lambda s: judged[s.name][0])
        probability, spans = judged[scope.name]
        return Verdict(
            flagged=bool(flagged),
            scope=scope.name if flagged else None,
            probability=probability,
            threshold=scope.threshold,
            probabilities={name: p for name, (p, _) in judged.items()},
            spans=spans if flagged else (),
            tokens=select_tokens(prompt, scope.tokens, self.taggers.get(scope.name)) if flagged else (),
            text=prompt.text,
            offsets=prompt.offsets,
            uncertain=bool(uncertain) and not flagged,
        )

    def select(self, ids: Sequence[int], scope: str) -> tuple[int, ...]:
        """Indices of the tokens of a row, prompt and answer, that the paper protocol corrupts for `scope`."""
        own = self.config.scope(scope)
        return select_tokens(self.reader.read(ids), own.tokens, self.taggers.get(scope))

    def plan(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        prompt_mask: Tensor | None = None,
        known: Sequence[str | None] | None = None,
        protocol: ScoringProtocol = "strict",
    ) -> Plan:
        """Decides about a batch.

        Args:
            input_ids: (batch, sequence) integer.
            attention_mask: (batch, sequence), zero for padding; None if there is none.
            prompt_mask: (batch, sequence) bool, True for the tokens that belong to the prompt rather than to an answer
                that is scored; a row without any is all prompt. None if all rows are.
            known: as for `decide`.
            protocol: "paper" to corrupt the selected tokens of a flagged row's answer too.
        """
        ids = input_ids.detach().to("cpu", torch.int64)
        attended = self._attended(ids, attention_mask)
        prompt = attended
        if prompt_mask is not None:
            bounded = attended & prompt_mask.detach().cpu().bool()
            prompt = torch.where(bounded.any(-1, keepdim=True), bounded, attended)
        columns = [row.nonzero().squeeze(-1) for row in prompt]
        verdicts = self.decide([ids[row, c].tolist() for row, c in enumerate(columns)], known)
        selected = torch.zeros_like(attended)
        for row, verdict in enumerate(verdicts):
            whole = attended[row].nonzero().squeeze(-1)
            own = prompt[row, whole]
            selected[row, whole] = self._corrupted_in(verdict, ids[row, whole].tolist(), own, protocol)
        return Plan(tuple(verdicts), ids, attended, selected, count_positions(attended))

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

    def _attended(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, sequence) bool, what is read of `ids`: all but padding, that is, special tokens that `mask` hides,
        and a run of one token over again that it hides at either end of a row. Other text is read whether or not the
        mask shows it: not every model obeys a mask, and what is hidden in one pass may be shown in the next."""
        if mask is None:
            return torch.ones_like(ids, dtype=torch.bool)
        if mask.dim() != 2 or any(size not in (1, wanted) for size, wanted in zip(mask.shape, ids.shape, strict=True)):
            raise GuardError(
                f"The guard reads an attention_mask of the prompts' own shape, {tuple(ids.shape)}, and was given "
                f"{tuple(mask.shape)}. Pass one prompt per row and a mask of that shape."
            )
        hidden = ~mask.detach().cpu().bool().expand_as(ids)
        padding = self.reader.are_special(ids)
        for end in (False, True):
            row, masked = (t.flip(-1) if end else t for t in (ids, hidden))
            run = ((row == row[:, :1]) & masked).long().cumprod(-1).bool()
            run &= run.sum(-1, keepdim=True) > 1
            padding |= run.flip(-1) if end else run
        attended = ~(hidden & padding)
        return attended | ~attended.any(-1, keepdim=True)

    def inspect(self, prompts: Sequence[str | Chat]) -> list[Verdict]:
        """A verdict for each prompt: a string, or a chat (a list of messages), rendered by the chat template.

        Raises:
            TypeError: `prompts` is one string.
        """
        if isinstance(prompts, str):
            raise TypeError("inspect() takes a list of prompts, got one string. Put it in a list.")
        return self.decide([self.reader.encode(prompt) for prompt in prompts])

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
        for scope in self.config.scopes:
            rows = torch.tensor([flagged_for == scope.name for flagged_for in plan.scopes])
            mask = plan.selected & rows.unsqueeze(-1)
            if not mask.any():
                continue
            how = scope.corruption
            if mixes_positions(how.method) and not complete:
                raise GuardError(
                    f"Corruption {how.method!r} needs the whole prompt in one forward pass. Run it without a filled "
                    "cache and without prefill_chunk_size, or use another method."
                )
            if mixes_positions(how.method) and bool((mask.any(-1) & (mask.sum(-1) < 2)).any()):
                raise GuardError(
                    f"A prompt of one token has no order to change by {how.method!r}. Use another method."
                )
            embeddings = corrupt(
                embeddings,
                mask,
                how.method,
                positions=plan.positions,
                token_ids=plan.ids,
                dims=how.dims,
                strength=how.strength,
                seed=how.seed,
            )
        return embeddings

    # -- known answers

    def record_probes(self) -> None:
        """Stores known answers with each scope that has none, from prompts the classifier says something about."""
        for scope in self.config.scopes:
            if not scope.probes:
                prompts = [text.format(name=scope.name) for text in _DEFAULT_PROBES]
                scope.probes = [
                    Probe(prompt, ids, verdict.probabilities[scope.name])
                    for prompt, ids, verdict in self._probe_answers(prompts)
                ]

    def check_probes(self) -> None:
        """Compares the known answers with what this guard says now.

        Raises:
            GuardLoadError: the tokenizer or a classifier is not the one the guard was saved with.
        """
        for scope in self.config.scopes:
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
                        "guard again; do not swap its classifier folder."
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
        return "Guard(\n" + "\n".join(lines) + "\n)"


def _band(scope: ForgetScope) -> str:
    return "" if scope.abstain_threshold is None else f" (uncertain from {scope.abstain_threshold:g})"


def _for_scope(models: Mapping[str, Any], scope: ForgetScope, what: str) -> Any:
    if scope.name not in models:
        raise ValueError(f"Scope {scope.name!r} has no {what}.")
    return models[scope.name]
