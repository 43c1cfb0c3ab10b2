"""What a classifier says about whole conversations: each message, pairs of messages, speakers, and all of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ..configuration import ForgetScope
from ..detection.classifier import PromptClassifier
from ..detection.windows import Span
from .prompt_reader import DecodedPrompt


def judge_by_classifier(
    classifier: PromptClassifier, scopes: Sequence[ForgetScope], prompts: Sequence[DecodedPrompt]
) -> list[dict[str, tuple[float, tuple[Span, ...]]]]:
    """For each prompt and scope of one classifier: p(forget), and the spans that reach the scope's threshold."""
    groups = [_read_together(p.segments) for p in prompts]  # what each text is made of
    texts = [
        ["\n".join(p.text[a:b] for a, b in group) for group in own] for p, own in zip(prompts, groups, strict=True)
    ]
    unique = list(dict.fromkeys(text for own in texts for text in own))  # repeated prompts cost one pass
    scored = dict(zip(unique, classifier.score_spans(unique), strict=True))

    def judge(scope: ForgetScope, texts: list[str], groups: list[tuple[Span, ...]]) -> tuple[float, tuple[Span, ...]]:
        label = classifier.label_index(scope.label)
        highest: float = 0.0
        guilty: set[Span] = set()
        for text, group in zip(texts, groups, strict=True):
            highest = max([highest, *(span.probabilities[label] for span in scored[text])])
            if len(group) == 1 or not guilty:  # where a message is guilty by itself, the whole tells nothing new
                reached = [span for span in scored[text] if span.probabilities[label] >= scope.threshold]
                guilty.update(*(_back_to_prompt((span.start, span.end), group) for span in reached))
        return highest, tuple(sorted(guilty))

    return [{s.name: judge(s, *own) for s in scopes} for own in zip(texts, groups, strict=True)]


def _read_together(messages: tuple[Span, ...]) -> list[tuple[Span, ...]]:
    """What is judged of a conversation: each message, each two in a row, each speaker's, and the whole; so a name in
    one turn and the question in another meet, next to each other or with an answer between."""
    groups = [
        *((message,) for message in messages),
        *itertools.pairwise(messages),
        messages[0::2],
        messages[1::2],
        messages,
    ]
    return list(dict.fromkeys(group for group in groups if group))


def _back_to_prompt(span: Span, segments: Sequence[Span]) -> list[Span]:
    """Where `span` of the segments' texts, joined by one character each, lies in the prompt."""
    spans, before = [], 0
    for start, end in segments:
        first, last = max(span[0] - before, 0), min(span[1] - before, end - start)
        if first < last:
            spans.append((start + first, start + last))
        before += end - start + 1
    return spans
