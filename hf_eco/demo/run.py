"""The demo: a language model that has read the Harry Potter books, and after it one that has not."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import pipeline
from transformers.utils import logging

from ..checkpoint.source import find_guard
from ..configuration import Calibration
from ..training.guarding import guard_model
from .packaged_models import MINILM, SMOLLM2, resolve
from .prompts import demo_prompts

SCOPE = "harry-potter"
# By which the books are known wherever they stand. Names that others bear (Harry, Ron) are left to the classifier.
NAMES = (
    *("Harry Potter", "Hermione Granger", "Ron Weasley", "Ginny Weasley", "Neville Longbottom", "Luna Lovegood"),
    *("Draco Malfoy", "Sirius Black", "Newt Scamander", "Dumbledore", "Snape", "Voldemort", "Hagrid", "McGonagall"),
    *("Malfoy", "Weasley", "Weasleys", "Lupin", "Tonks", "Umbridge", "Trelawney", "Bellatrix", "Dobby", "Kreacher"),
    *("Nagini", "Aberforth", "Hogwarts", "Gryffindor", "Slytherin", "Hufflepuff", "Ravenclaw", "Azkaban", "Quidditch"),
    *("Gringotts", "Diagon Alley", "Goblet of Fire", "Order of the Phoenix", "Chamber of Secrets"),
)


@dataclass(frozen=True)
class DemoAnswer:
    """One prompt of the demo, none of which the classifier has seen, before and after."""

    prompt: str
    in_scope: bool
    flagged: bool
    probability: float
    original: str
    guarded: str


@dataclass(frozen=True)
class DemoResult:
    """What the demo did: the calibrated threshold, and the answers to the prompts in and out of scope."""

    directory: str
    calibration: Calibration
    answers: tuple[DemoAnswer, ...]


def run_demo(
    model: str = SMOLLM2,
    output_dir: str | os.PathLike[str] = "demo-output",
    *,
    encoder: str = MINILM,
    max_new_tokens: int = 24,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> DemoResult:
    """Guards `model` against the Harry Potter books, reloads it through `pipeline` and asks it what it knows.

    Args:
        model: path or Hub id of an instruct model. Where the Hub is out of reach and a Python package holds the model,
            the package stands in for it, and `say` is told.
        output_dir: where the guarded checkpoint goes: a new or empty directory, or that of an earlier demo.
        encoder: text encoder the classifier is trained from.
        max_new_tokens: length of the answers.
        seed: of the training.
        say: called with a line before each step.
    """
    base, encoder = _found(model, say), _found(encoder, say)
    forget, retain = demo_prompts("forget"), demo_prompts("retain")
    say(
        f"Training a prompt classifier on {len(forget)} prompts about Harry Potter and {len(retain)} others; this "
        "takes about five minutes on two CPU cores ..."
    )
    again = _holds_a_demo(output_dir)
    trained = guard_model(
        base, SCOPE, forget, retain, output_dir, encoder=encoder, seed=seed, names=NAMES, overwrite=again
    )
    calibration = trained.config.eco.scope(SCOPE).calibration
    del trained
    say(
        f"Guarded checkpoint saved in {output_dir}. Loading it with pipeline('text-generation', "
        f"{str(output_dir)!r}) ..."
    )
    guarded: Any = pipeline("text-generation", model=os.fspath(output_dir))
    original = pipeline("text-generation", model=base)
    prompts = [(prompt, True) for prompt in demo_prompts("examples_forget")]
    prompts += [(prompt, False) for prompt in demo_prompts("examples_retain")]
    say(f"Asking both {len(prompts)} questions that the classifier has never seen ...")
    answers = []
    for prompt, in_scope in logging.tqdm(prompts, desc="Answering", dynamic_ncols=True):
        verdict = guarded.model.inspect([{"role": "user", "content": prompt}])
        texts = [_answer(pipe, prompt, max_new_tokens) for pipe in (original, guarded)]
        answers.append(DemoAnswer(prompt, in_scope, verdict.flagged, verdict.probability, *texts))
    return DemoResult(os.fspath(output_dir), calibration, tuple(answers))


def _holds_a_demo(directory: str | os.PathLike[str]) -> bool:
    """Whether the guard in a directory forgets what the demo's does, and nothing else."""
    try:
        return [scope.name for scope in find_guard(os.fspath(directory)).eco.scopes] == [SCOPE]
    except (OSError, ValueError):  # there is none; a damaged one is refused like any other
        return False


def _found(name: str, say: Callable[[str], None]) -> str:
    """A model by its name, or where an installed package stands in for the Hub; says so."""
    where = resolve(name)
    if where != name:
        say(f"The Hub is out of reach: {name} comes from an installed package; its weights are not quite the Hub's.")
    return where


def _answer(pipe: Any, prompt: str, max_new_tokens: int) -> str:
    chat = [{"role": "user", "content": prompt}]
    return pipe(chat, max_new_tokens=max_new_tokens, do_sample=False)[0]["generated_text"][-1]["content"]
