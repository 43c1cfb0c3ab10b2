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
    everything = tuple(range(len(prompt.offsets)))
    if mode == "all":
        return everything[:-1] or everything
    if mode not in ("content", "entities", "mentions"):
        raise ValueError(f"Unknown selection {mode!r}. Use 'content', 'all', 'entities' or 'mentions'.")
    content = prompt.tokens_in(prompt.segments)
    if mode == "mentions":
        content = tuple(sorted(set(prompt.tokens_in(spans)) & set(content))) or content
    if mode == "entities":
        if tagger is None:
            raise ValueError("Selecting entities needs a token classifier. Give the scope entities='path or Hub id'.")
        entities = [
            (start + first, start + last)
            for start, end in prompt.segments
            for first, last in tagger.spans(prompt.text[start:end])
        ]
        content = tuple(sorted(set(prompt.tokens_in(entities)) & set(content))) or content
    return content or everything  # a flagged prompt is never left whole
