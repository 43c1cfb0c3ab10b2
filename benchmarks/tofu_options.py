"""What may be asked of a TOFU table: which corruptions, learnt by what, measured on how much."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from common import BFLOAT16

from hf_eco.demo.packaged_models import MINILM
from hf_eco.evaluation.scoring import ScoringProtocol


@dataclass(frozen=True)
class Variant:
    """A corruption whose one free value, strength or dims, is to be learnt."""

    method: str
    tokens: str
    dims: int | None = 1
    learns: str = "strength"
    entities: str | None = None


def taggers(options: argparse.Namespace) -> dict[str, str]:
    """The token classifiers that are given, by what they mark."""
    return {name: path for name in ("entities", "statements") if (path := getattr(options, name))}


def variants(options: argparse.Namespace) -> dict[str, Variant]:
    """The corruptions that are compared, by name."""
    found = {}
    for where, tagger in {"content": None, "all": None, **taggers(options)}.items():
        tokens = "entities" if tagger else where
        found[f"noise-{where}"] = Variant("rand_noise_first_n", tokens, entities=tagger)
        found[f"noise-every-dim-{where}"] = Variant("rand_noise_first_n", tokens, None, entities=tagger)
        found[f"zero-{where}"] = Variant("zero_out_top_k", tokens, learns="dims", entities=tagger)
        found[f"flip-{where}"] = Variant("flip_sign_top_k", tokens, learns="dims", entities=tagger)
    return found


@dataclass(frozen=True)
class Recipe:
    """How a variant's free value is learnt: under which protocol, by which score, and from where it is known what the
    score should be."""

    variant: str
    protocol: ScoringProtocol
    score: str
    surrogate: str

    def __str__(self) -> str:
        return f"{self.variant}, learnt {self.protocol} by {self.score}, {self.surrogate}"


def recipes(options: argparse.Namespace) -> list[Recipe]:
    """All that are asked for."""
    names = options.variants or variants(options)
    return [Recipe(*how) for how in product(names, options.protocols, options.scores, options.surrogates)]


def add_options(parser: argparse.ArgumentParser, work_dir: str) -> None:
    """What may be asked of a table of models."""
    add_learning(parser, work_dir)
    parser.add_argument("--limit", type=int, help="rows of each set; all if not given")
    parser.add_argument(
        "--own-words",
        type=int,
        default=0,
        metavar="N",
        help="also answer the forget set's first N questions with the model's own words corrupted; none if not given",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")


def add_learning(parser: argparse.ArgumentParser, work_dir: str) -> None:
    """How corruptions are learnt, and where everything goes."""
    parser.add_argument("--encoder", default=MINILM, help="text encoder of the prompt classifier")
    parser.add_argument("--entities", metavar="TAGGER", help="a token classifier that marks entities; none: left out")
    parser.add_argument("--statements", metavar="TAGGER", help="one that marks questions' entities and whole answers")
    parser.add_argument("--variants", nargs="*", help="corruptions to compare; all if not given")
    parser.add_argument(
        "--scores",
        nargs="+",
        default=["log_truth_ratio"],
        choices=("log_truth_ratio", "answer_probability", "rouge_l_recall"),
        help="what is learnt by",
    )
    parser.add_argument(
        "--surrogates",
        nargs="+",
        default=["counterfactual"],
        choices=("counterfactual", "look-alikes", "retain"),
        help="what the score should be: by made-up names, questions no model was trained on, or the retain model",
    )
    parser.add_argument(
        "--protocols", nargs="+", default=["strict", "paper"], choices=("strict", "paper"), help="what is learnt under"
    )
    parser.add_argument(
        "--dtype",
        default="bfloat16" if BFLOAT16 else "float32",
        choices=("bfloat16", "float32"),
        help="of the table's models (default on this machine: %(default)s)",
    )
    parser.add_argument("--work-dir", type=Path, default=Path(work_dir), help="checkpoints and finished parts")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)


def check_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends the program, before any work is done, if a corruption is asked for that there is not."""
    known = variants(options)
    for name in options.variants or ():
        if name not in known:
            parser.error(f"argument --variants: there is no {name!r}. Use {', '.join(known)}.")
