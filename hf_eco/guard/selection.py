"""Which tokens of a flagged prompt are corrupted."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..detection.entities import EntityTagger
from ..detection.windows import Span
from .prompt_reader import DecodedPrompt


def select_tokens(
    prompt: DecodedPrompt,
    mode: str,
    tagger: EntityTagger | None = None,
    spans: Sequence[Span] = (),
    turns: Collection[int] | None = None,
) -> tuple[int, ...]:
    """Indices of the tokens of a flagged prompt that are corrupted.

    Args:
        prompt: the prompt.
        mode: "content", the tokens of what somebody wrote; "all", all but the last (Liu et al. 2024); "entities",
            those that the tagger marks within the content, all of the content where it marks none (the paper's NER
            variant); "mentions", those of the spans that flagged the prompt, all of the content where there is none.
        tagger: needed for "entities".
        spans: the characters that flagged the prompt, for "mentions".
        turns: the turns of which tokens are corrupted; None for all.

    Raises:
        ValueError: an unknown mode, or "entities" without a tagger.
    """
    everything = _whole(prompt, turns)
    if mode == "all":
        last = len(prompt.offsets) - 1
        return tuple(token for token in everything if token != last) or tuple(everything)
    if mode not in ("content", "entities", "mentions"):
        raise ValueError(f"Unknown selection {mode!r}. Use 'content', 'all', 'entities' or 'mentions'.")
    segments = prompt.segments if turns is None else _of_turns(prompt, turns)
    content = prompt.content if turns is None else frozenset(prompt.tokens_in(segments))
    chosen: Sequence[int] = ()
    if mode == "mentions":
        chosen = prompt.tokens_in(spans)
    if mode == "entities":
        if tagger is None:
            raise ValueError("Selecting entities needs a token classifier. Give the scope entities='path or Hub id'.")
        entities = [
            (start + first, start + last)
            for start, end in segments
            for first, last in tagger.spans(prompt.text[start:end])
        ]
        chosen = prompt.tokens_in(entities)
    # A name may begin in a turn that is clean otherwise.
    tokens = (prompt.content if mode == "mentions" else content).intersection(chosen) or content
    return tuple(sorted(tokens) or everything)  # a flagged prompt is never left whole


def _of_turns(prompt: DecodedPrompt, turns: Collection[int]) -> list[Span]:
    return [segment for segment, turn in zip(prompt.segments, prompt.turns, strict=True) if turn in turns]


def _whole(prompt: DecodedPrompt, turns: Collection[int] | None) -> Sequence[int]:
    """The tokens of a prompt, or of some turns of it, without what is exempt from judging."""
    whole: Sequence[int] = range(len(prompt.offsets))
    if turns is not None:
        spans = [(own[0][0], own[-1][1]) for turn in sorted(turns) if (own := _of_turns(prompt, [turn]))]
        whole = prompt.tokens_in(spans)
    exempt = set(prompt.tokens_in(prompt.exempt)) if prompt.exempt else set()
    return [token for token in whole if token not in exempt] if exempt else whole
