"""The page: its parts, what happens when they are used, and the server that shows it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedTokenizerBase

from ..auto import AutoModelForCausalLMWithECO
from ..checkpoint.loading import load_tokenizer
from ..checkpoint.source import find_guard
from ..errors import ECOError
from ..io.optional import import_extra
from ..modeling import ECOMixin
from .answers import Message, TwoAnswers
from .drawing import introduction, verdict_panel

if TYPE_CHECKING:
    from gradio import Blocks

_STEP = 0.0001  # of the threshold sliders
_FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # none from elsewhere
_UNASKED = '<div class="eco"><p class="quiet">What the guard saw in your message will stand here.</p></div>'
_SAME = "Both answers are the same, to the letter."
_THRESHOLDS = (
    "A prompt is flagged when p(forget) reaches the threshold. These are for you and this page alone: the guard keeps "
    "its own, for which its error rates were measured. Moving one judges the conversation anew; the next message is "
    "answered under it."
)


@dataclass
class _Talk:
    """What has been said, to each side."""

    guarded: list[Message] = field(default_factory=list)
    unguarded: list[Message] = field(default_factory=list)

    def asked(self, text: str) -> _Talk:
        """The talk with one message more and its answers still empty, so that the roles take turns even where somebody
        stops the answer."""
        said = [{"role": "user", "content": text}, {"role": "assistant", "content": ""}]
        return _Talk([*self.guarded, *map(dict, said)], [*self.unguarded, *map(dict, said)])

    def shown(self) -> list[list[Message]]:
        """Both sides as gradio's chats take them, which read all they are given as HTML. Dots stand for an answer that
        has not begun."""
        sides = (self.guarded, self.unguarded)
        return [[{**m, "content": escape(m["content"], quote=False) or "…"} for m in side] for side in sides]


class _Page:
    """What the page does; `gradio` is the module."""

    def __init__(self, model: TwoAnswers, gradio: ModuleType) -> None:
        self.model, self.gradio = model, gradio

    def ask(self, text: str, talk: _Talk, length: float, *sliders: float) -> Iterator[tuple[object, ...]]:
        """The text box, both chats, the panel and the talk, as the answers grow. Where something is wrong, a notice
        says so and the message stays in its box; what is typed meanwhile stays, too."""
        unchanged = self.gradio.skip()
        try:
            if not text.strip():
                raise ValueError("Write a message first.")
            talk, thresholds, tokens = talk.asked(text), self.thresholds(sliders), int(length)
            for conversation in (talk.guarded, talk.unguarded):
                self.model.check_length(conversation[:-1], tokens)
            yield "", *talk.shown(), self.panel(talk, thresholds), talk
            for answer in self.model.guarded(talk.guarded[:-1], thresholds, tokens):
                talk.guarded[-1]["content"] = answer
                yield unchanged, *talk.shown(), unchanged, talk
            for answer in self.model.unguarded(talk.unguarded[:-1], tokens):
                talk.unguarded[-1]["content"] = answer
                yield unchanged, *talk.shown(), unchanged, talk
            yield unchanged, *talk.shown(), self.panel(talk, thresholds), talk
        except (ValueError, ECOError) as error:
            self.gradio.Warning(escape(str(error)), title="No answer")
            yield (unchanged,) * 5

    def clear(self) -> tuple[str, list[Message], list[Message], str, _Talk]:
        """The same as nothing asked yet."""
        return "", [], [], _UNASKED, _Talk()

    def judge(self, talk: _Talk, *sliders: float) -> str:
        """The panel under other thresholds."""
        return self.panel(talk, self.thresholds(sliders)) if talk.guarded else _UNASKED

    def thresholds(self, sliders: tuple[float, ...]) -> dict[str, float]:
        """By scope name. A slider that was not moved stands for the guard's own threshold, to the last digit."""
        pairs = zip(self.model.scopes, sliders, strict=True)
        return {s.name: s.threshold if abs(s.threshold - value) < _STEP else value for s, value in pairs}

    def panel(self, talk: _Talk, thresholds: dict[str, float]) -> str:
        """What the guard says of the conversation so far, the last answer left aside."""
        verdict = self.model.judge(talk.guarded[:-1], thresholds)
        same = talk.guarded == talk.unguarded and talk.guarded[-1]["content"]
        return verdict_panel(verdict, self.model.scopes, thresholds, _SAME if same else "")


def build(model: ECOMixin, tokenizer: PreTrainedTokenizerBase) -> Blocks:
    """The page for a guarded model, a `gradio.Blocks`; `.launch()` shows it.

    What it does to your model: while an answer is written with the guard on, the model's thresholds are those of the
    page. Give it a model that serves nobody else.

    Args:
        model: the guarded model.
        tokenizer: its tokenizer.

    Raises:
        TypeError: the model has no guard.
        ImportError: gradio is not installed.
    """
    gr = import_extra("gradio", extra="app")
    page = _Page(TwoAnswers(model, tokenizer), gr)
    scopes, name = page.model.scopes, Path(str(model.name_or_path)).name or "A guarded model"
    with gr.Blocks(title=f"{name}: guard on, guard off", analytics_enabled=False) as blocks:
        gr.HTML(introduction(name, scopes, page.model.chats))
        talk = gr.State(_Talk())
        with gr.Row():
            # plain text: markdown would hide a part of what was written
            options = {"height": 380, "min_width": 300, "buttons": [], "render_markdown": False}
            guarded = gr.Chatbot(label="Guard on", placeholder="Answers with the guard", **options)
            unguarded = gr.Chatbot(label="Guard off", placeholder="Answers without it", **options)
        box = gr.Textbox(label="Your message", placeholder="Ask both", lines=1, max_lines=6, autofocus=True)
        with gr.Row():
            send = gr.Button("Ask", variant="primary", min_width=90)
            stop = gr.Button("Stop", min_width=90)
            clear = gr.Button("Clear", min_width=90)
        subjects = [scope.name.replace("-", " ").replace("_", " ") for scope in scopes[:3]]
        gr.Examples([f"Tell me about {s}." for s in subjects] + ["What is the capital of France?"], box, label="Try")
        panel = gr.HTML(_UNASKED)
        with gr.Accordion("Thresholds and length", open=len(scopes) <= 3):
            gr.Markdown(_THRESHOLDS)
            sliders = [
                gr.Slider(
                    _STEP, 1, round(s.threshold, 4), step=_STEP, label=f"Threshold of {s.name}", buttons=["reset"]
                )
                for s in scopes
            ]
            length = gr.Slider(8, 512, 128, step=8, label="Longest answer, in tokens", buttons=["reset"])
        shown = [box, guarded, unguarded, panel, talk]
        asked = gr.on(
            [box.submit, send.click],
            page.ask,
            [box, talk, length, *sliders],
            shown,
            api_name="ask",
            trigger_mode="once",
        )
        stop.click(None, cancels=[asked], api_visibility="private")
        emptied = [clear.click, guarded.clear, unguarded.clear]
        gr.on(emptied, page.clear, None, shown, cancels=[asked], api_visibility="private")
        moved = [slider.change for slider in sliders]
        gr.on(moved, page.judge, [talk, *sliders], panel, trigger_mode="always_last", api_visibility="private")
    return blocks


def launch(
    path: str | os.PathLike[str], *, share: bool = False, port: int | None = None, device: str | None = None
) -> None:
    """Loads a guarded checkpoint, or a guard with its base, and shows the page until interrupted.

    Args:
        path: path or Hub id.
        share: give the page a public address too, for as long as it runs, through gradio's own servers.
        port: the first free one from 7860 on if None.
        device: where the model runs, e.g. "cuda:1"; cuda if there is one, else cpu, if None.

    Raises:
        ImportError: gradio is not installed.
        ValueError: there is no guard at `path`.
        OSError: a file is missing, or the port is taken.
    """
    gr = import_extra("gradio", extra="app")
    path = os.fspath(path)
    find_guard(path)  # what is wrong with the path is said before anything is loaded
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = AutoModelForCausalLMWithECO.from_pretrained(path, device_map=where)
    build(model, load_tokenizer(path)).launch(
        share=share, server_port=port, theme=gr.themes.Default(**_FONTS), footer_links=["settings"], show_error=True
    )
