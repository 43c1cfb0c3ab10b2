"""Which tokens of a flagged prompt are corrupted."""

from __future__ import annotations

from collections.abc import Sequence

from ..detection.entities import EntityTagger
from ..detection.windows import Span
from .prompt_reader import DecodedPrompt


def select_tokens(
    prompt: DecodedPrompt, mode: str, tagger: EntityTagger | None = None, spans: Sequence[Span] = ()
) -> tuple[int, ...]:
    """Indices of the tokens of a flagged prompt that are corrupted.

    Args:
        prompt: the prompt.
        mode: "content", the tokens of what somebody wrote; "all", all but the last (Liu et al. 2024); "entities",
            those that the tagger marks within the content, all of the content where it marks none (the paper's NER
            variant); "mentions", those of the spans that flagged the prompt, all of the content where there is none.
        tagger: needed for "entities".
        spans: the characters that flagged the prompt, for "mentions".

    Raises:
        ValueError: an unknown mode, or "entities" without a tagger.
    """
    everything = range(len(prompt.offsets))
    if mode == "all":
        return tuple(everything[:-1] or everything)
    if mode not in ("content", "entities", "mentions"):
        raise ValueError(f"Unknown selection {mode!r}. Use 'content', 'all', 'entities' or 'mentions'.")
    chosen: Sequence[int] = ()
    if mode == "mentions":
        chosen = prompt.tokens_in(spans)
    if mode == "entities":
        if tagger is None:
            raise ValueError("Selecting entities needs a token classifier. Give the scope entities='path or Hub id'.")
        entities = [
            (start + first, start + last)
            for start, end in prompt.segments
            for first, last in tagger.spans(prompt.text[start:end])
        ]
        chosen = prompt.tokens_in(entities)
    tokens = prompt.content.intersection(chosen) or prompt.content
    return tuple(sorted(tokens) or everything)  # a flagged prompt is never left whole
