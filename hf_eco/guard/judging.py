"""What the detectors say about whole conversations: each message, pairs of messages, speakers, and all of it."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..detection.detector import Detection, Detector
from ..detection.log_odds import from_log_odds, log_odds
from ..detection.names import LAST_NAME_LOG_ODDS
from ..detection.windows import Span
from ..errors import GuardError
from .prompt_reader import DecodedPrompt

UNCERTAIN = 0.4  # p(forget) of a text in which nothing but a name that many bear speaks for a scope


@dataclass
class Judgement:
    """What is known of one prompt and one scope.

    Attributes:
        probability: p(forget), the highest that any detector gives.
        channel: the detector that gives it.
        weak: whether only weak detections speak for the scope: a name that many bear, in a text that tells nothing of
            whom it means.
        spans: the characters of the prompt that reach the scope's threshold.
        earlier: likewise, what did so in turns whose flag is over. In that case the rest speaks of the turn in hand.
        turns: the turns that are corrupted, if a flag lasts for some turns.
    """

    probability: float = 0.0
    channel: str | None = None
    weak: bool = False
    spans: tuple[Span, ...] = ()
    earlier: tuple[Span, ...] = ()
    turns: frozenset[int] = frozenset()


def judge_prompts(
    detectors: Sequence[Detector],
    threshold_of: Callable[[str], float],
    prompts: Sequence[DecodedPrompt],
    weak_too: bool = False,
    lasting: int | None = None,
) -> list[dict[str, Judgement]]:
    """For each prompt, a judgement of every scope that a detector speaks of.

    Args:
        detectors: each is asked once, for all scopes and all texts.
        threshold_of: a scope's threshold.
        prompts: the prompts.
        weak_too: whether the spans of weak detections count: where the scope is known to be meant.
        lasting: for how many turns a flag lasts; None for the whole conversation.

    Raises:
        GuardError: a detector gives what is no probability.
    """
    groups = [_read_together(p.segments, _turns_read(p, lasting)) for p in prompts]  # what each text is made of
    texts = [
        ["\n".join(p.text[a:b] for a, b in group) for group in own] for p, own in zip(prompts, groups, strict=True)
    ]
    unique = list(dict.fromkeys(text for own in texts for text in own))  # repeated prompts cost one pass
    said: dict[str, dict[str, list[Detection]]] = {text: {} for text in unique}
    for detector in detectors:
        for text, detections in zip(unique, detector.detect(unique), strict=True):
            for detection in detections:
                if not 0.0 <= detection.probability <= 1.0:  # not a number would be less than any threshold
                    raise GuardError(f"The detector {detection.channel!r} gives p(forget) = {detection.probability}.")
                said[text].setdefault(detection.scope, []).append(detection)
    read = [[(said[text], group) for text, group in zip(*own, strict=True)] for own in zip(texts, groups, strict=True)]
    if lasting is None:
        return [_judgements(own, threshold_of, weak_too) for own in read]
    return [
        _judgements_by_turns(own, threshold_of, weak_too, prompt, lasting)
        for own, prompt in zip(read, prompts, strict=True)
    ]


def _judgements(
    read: Sequence[tuple[dict[str, list[Detection]], tuple[Span, ...]]],
    threshold_of: Callable[[str], float],
    weak_too: bool,
) -> dict[str, Judgement]:
    """The judgements of one prompt, from what was said of each text read from it, and the messages it is made of."""
    found: dict[str, Judgement] = {}
    guilty: dict[str, set[Span]] = {}
    for by_scope, group in read:
        back = _BackToPrompt(group)
        for scope, detections in by_scope.items():
            judgement, own = found.setdefault(scope, Judgement()), guilty.setdefault(scope, set())
            detections = _in_context(detections)
            surest = max(detections, key=lambda detection: detection.probability)
            if surest.probability > judgement.probability:
                judgement.probability, judgement.channel = surest.probability, surest.channel
                judgement.weak = surest.weak
            # Where a message is guilty by itself, the whole tells nothing new. Names are found wherever they stand.
            telling = [d for d in detections if len(group) == 1 or not own or d.channel == "names"]
            reached = [d for d in telling if d.probability >= threshold_of(scope) and (weak_too or not d.weak)]
            own.update(*map(back, {(d.start, d.end) for d in reached}))
    for scope, judgement in found.items():
        judgement.spans = tuple(sorted(guilty[scope]))
    return found


def _judgements_by_turns(
    read: Sequence[tuple[dict[str, list[Detection]], tuple[Span, ...]]],
    threshold_of: Callable[[str], float],
    weak_too: bool,
    prompt: DecodedPrompt,
    lasting: int,
) -> dict[str, Judgement]:
    """The judgements of the turn in hand, where a flag lasts for `lasting` turns.

    A flag begins with the turn in which what speaks for the scope ends; a name may begin in an earlier one. What was
    judged of a turn does not change with those that follow: what is corrupted once stays so in the prompts to come.
    """
    found: dict[str, Judgement] = {}
    flags: dict[str, list[tuple[int, set[int], list[Span]]]] = {}  # when each begins, what it touches, its spans
    turn_of = dict(zip(prompt.segments, prompt.turns, strict=True))
    lasts = {*_turns_read(prompt, lasting), *itertools.pairwise(prompt.segments)}  # read of longer conversations too
    for by_scope, group in read:
        back, own_turns = _BackToPrompt(group), {turn_of[segment] for segment in group}
        for scope, detections in by_scope.items():
            judgement, own = found.setdefault(scope, Judgement()), flags.setdefault(scope, [])
            over = {turn for begun, _, _ in own for turn in range(begun, begun + lasting)}
            # With a flagged turn in it, the group tells nothing new. Names are found wherever they stand.
            new = len(group) == 1 or (group in lasts and not own_turns & over)
            for detection in _in_context(detections):
                if not new and detection.channel != "names":
                    continue
                spans = back((detection.start, detection.end))
                touched = {turn for segment, turn in turn_of.items() if _meet(segment, spans)} or own_turns
                begins = max(touched)
                in_force = begins == 0 or begins > prompt.last_turn - lasting
                if in_force and detection.probability > judgement.probability:
                    judgement.probability, judgement.channel = detection.probability, detection.channel
                    judgement.weak = detection.weak
                if detection.probability >= threshold_of(scope) and (weak_too or not detection.weak):
                    own.append((begins, touched, spans))
    every = range(prompt.last_turn + 1)
    for scope, own in flags.items():
        judgement = found[scope]
        current = [begins == 0 or begins > prompt.last_turn - lasting for begins, _, _ in own]
        judgement.spans, judgement.earlier = (
            tuple(sorted({s for (_, _, spans), now in zip(own, current, strict=True) if now is wanted for s in spans}))
            for wanted in (True, False)
        )
        judgement.turns = frozenset(
            turn
            for begins, touched, _ in own
            for turn in (every if begins == 0 else touched | set(range(begins, begins + lasting)))
        )
    return found


def _meet(segment: Span, spans: Sequence[Span]) -> bool:
    return any(start < segment[1] and segment[0] < end for start, end in spans)


def _in_context(detections: Sequence[Detection]) -> list[Detection]:
    """The detections of one scope in one text, weak ones with the probability that the others lend them: as in a
    trained head, a name adds to the log-odds of a text that speaks for the scope besides. A text that does not leaves
    a weak one as it is, unless a classifier says so, which has learnt what is of the scope and what is not."""
    others = [d for d in detections if not d.weak and d.channel != "names"]
    surest = max(others, key=lambda d: d.probability, default=None)
    lent = 0.0 if surest is None else from_log_odds(log_odds(surest.probability) + LAST_NAME_LOG_ODDS)
    decided = lent >= UNCERTAIN or any(d.channel == "classifier" for d in others)
    most = lent if decided else UNCERTAIN
    return [replace(d, probability=min(d.probability, most), weak=not decided) if d.weak else d for d in detections]


def _read_together(messages: tuple[Span, ...], turns: Sequence[tuple[Span, ...]] = ()) -> list[tuple[Span, ...]]:
    """What is judged of a conversation: each message, each two in a row, each speaker's, and the whole; so a name in
    one turn and the question in another meet, next to each other or with an answer between. And `turns`, if a flag
    lasts for some."""
    groups = [
        *((message,) for message in messages),
        *turns,
        *itertools.pairwise(messages),
        messages[0::2],
        messages[1::2],
        messages,
    ]
    return list(dict.fromkeys(group for group in groups if group))


def _turns_read(prompt: DecodedPrompt, lasting: int | None) -> list[tuple[Span, ...]]:
    """The messages of each turn, then those of each `lasting` turns in a row; with what stands before the first."""
    if lasting is None:
        return []
    placed = list(zip(prompt.segments, prompt.turns, strict=True))
    return [
        tuple(segment for segment, turn in placed if turn == 0 or last - width < turn <= last)
        for width in (1, lasting)
        for last in range(1, prompt.last_turn + 1)
    ]


class _BackToPrompt:
    """Where a span of the segments' texts, joined by one character each, lies in the prompt."""

    def __init__(self, segments: Sequence[Span]) -> None:
        self._segments = segments
        self._begin = [0, *itertools.accumulate(end - start + 1 for start, end in segments)]

    def __call__(self, span: Span) -> list[Span]:
        spans: list[Span] = []
        for number in range(max(bisect_right(self._begin, span[0]) - 1, 0), len(self._segments)):
            (start, end), before = self._segments[number], self._begin[number]
            if before >= span[1]:
                break
            first, last = max(span[0] - before, 0), min(span[1] - before, end - start)
            if first < last:
                spans.append((start + first, start + last))
        return spans
