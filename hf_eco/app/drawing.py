"""Verdicts and scopes as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..checkpoint.model_card.words import NOT_MEASURED, scope_row
from ..configuration import ForgetScope
from ..guard.verdict import Verdict, stretches

# Colours by role, for gradio's light and dark pages; all else is gradio's own.
STYLE = """<style>
.eco { --mark: #ffd9cc; --mark-text: #7a230a; --bad: #b3401f; --good: #20703f; --unsure: #85590a; --quiet: #5b6470;
  --rule: #dcdfe3; --line: #1d2126; color: var(--body-text-color); line-height: 1.5; overflow-wrap: anywhere; }
.dark .eco { --mark: #6b2a17; --mark-text: #ffd9cc; --bad: #ff9a76; --good: #79d29c; --unsure: #e6bd5c;
  --quiet: #a3abb6; --rule: #3a4049; --line: #e7e9ec; }
.eco h1 { font-size: 1.5rem; line-height: 1.25; margin: .2rem 0 .5rem; }
.eco p, .eco ul { margin: .4rem 0; max-width: 54rem; }
.eco ul { padding-left: 1.2rem; list-style: disc; }
.eco small, .eco .quiet { color: var(--quiet); font-size: .87rem; }
.eco .outcome { font-weight: 600; font-size: 1.05rem; color: var(--good); }
.eco .flagged { color: var(--bad); }
.eco .uncertain { color: var(--unsure); }
.eco .scope { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr 4rem; gap: .7rem;
  align-items: center; max-width: 54rem; margin: .4rem 0; }
.eco .scope b { font-weight: 500; }
.eco .scope i { font-style: normal; text-align: right; font-variant-numeric: tabular-nums; }
.eco .bar { position: relative; height: .7rem; border-radius: .35rem; background: var(--rule); }
.eco .bar span { position: absolute; inset: 0 auto 0 0; border-radius: .35rem; background: var(--good); }
.eco .reached .bar span { background: var(--bad); }
.eco .bar em { position: absolute; top: -.25rem; bottom: -.25rem; width: 2px; margin-left: -1px;
  background: var(--line); }
.eco .prompt { white-space: pre-wrap; max-height: 16rem; overflow-y: auto; border: 1px solid var(--rule);
  border-radius: .5rem; padding: .6rem .8rem; margin: .6rem 0 .3rem; font: .87rem/1.65 ui-monospace, monospace; }
.eco mark { background: var(--mark); color: var(--mark-text); padding: .1em 0; border-radius: .15em; }
.eco u { text-decoration: underline 2px; text-underline-offset: .2em; }
</style>"""


def introduction(name: str, scopes: Sequence[ForgetScope], chats: bool) -> str:
    """What the page is and is not, and what the guard is for."""
    lines = "".join(f"<li>{_scope_line(scope)}</li>" for scope in scopes)
    single = "" if chats else " This model has no chat template: each message is a prompt by itself."
    return f"""{STYLE}<div class="eco"><h1>{escape(name)}</h1>
<p>One model, asked twice: with its <b>guard on</b> and with its <b>guard off</b>. The weights are the same. The guard
recognises prompts that fall in what is to be forgotten and corrupts their tokens' embeddings before the model reads
them, so that it answers like a model that does not know. Any other prompt passes unchanged, and both answers are the
same.{single}</p>
<p>It is to forget:</p><ul>{lines}</ul>
<p class="quiet">The guard suppresses, it does not delete: the other answer shows that the weights still know. It
protects whoever reaches the model through the guarded interface, and this page is none: it hands out unguarded answers
to all who open it. What the model says of a flagged prompt is made up, not a refusal; do not take it for
fact.</p></div>"""


def _scope_line(scope: ForgetScope) -> str:
    row = scope_row(scope, None)
    rates = f"false positives {row['false_positives']}, misses {row['false_negatives']}"
    if row["false_positives"] == NOT_MEASURED:
        rates = f"error rates {NOT_MEASURED}"
    return (
        f"<b>{escape(scope.name)}</b> from p(forget) {row['threshold']}; {escape(rates)}<br>"
        f"<small>{escape(row['corruption'])}</small>"
    )


def verdict_panel(verdict: Verdict, scopes: Sequence[ForgetScope], thresholds: dict[str, float], note: str) -> str:
    """What the guard said of a conversation.

    Args:
        verdict: it.
        scopes: the guard's.
        thresholds: those it was judged by, by scope name.
        note: a sentence about the answers; may be empty.
    """
    kind = "flagged" if verdict.flagged else "uncertain" if verdict.uncertain else ""
    bars = "".join(_bar(s.name, verdict.probabilities[s.name], thresholds[s.name]) for s in scopes)
    legend = ""
    if verdict.tokens:
        legend = " Marked: tokens that are corrupted. Underlined: what the guard recognised."
    outcome = verdict.reason[0].upper() + verdict.reason[1:]
    return f"""<div class="eco"><p class="outcome {kind}">{escape(outcome)}</p>{bars}
<p class="prompt">{marked_prompt(verdict)}</p>
<p class="quiet">The prompt as the guard read it, the chat template's words included.{legend}
{escape(note)}</p></div>"""


def _bar(name: str, probability: float, threshold: float) -> str:
    reached = " reached" if probability >= threshold else ""
    return (
        f'<div class="scope{reached}" title="p(forget) {probability:.4f}, threshold {threshold:.4f}">'
        f"<b>{escape(name)}</b>"
        f'<div class="bar"><span style="width: {100 * probability:.2f}%"></span>'
        f'<em style="left: {100 * threshold:.2f}%"></em></div><i>{probability:.4f}</i></div>'
    )


def marked_prompt(verdict: Verdict) -> str:
    """The prompt, its corrupted tokens in `<mark>` and the spans that made it flagged in `<u>`."""
    pieces = []
    for text, (corrupted, guilty) in stretches(verdict.text, verdict.corrupted, verdict.marks(verdict.spans)):
        piece = f"<u>{escape(text)}</u>" if guilty else escape(text)
        pieces.append(f"<mark>{piece}</mark>" if corrupted else piece)
    return "".join(pieces)
