"""What an encoder makes of the texts that come with the package: how alike any two are, and which ask for somebody.

"Who played the captain in Jaws?" and "When was the star of Jaws born?" look for a person by what is known of them;
"Who directed Jaws?" and "When was Jaws released?" ask about Jaws. A prompt of the first kind that shares facts with a
scope is one of the scope, one of the other kind is its neighbour. A linear discriminant (Fisher 1936) on the frames of
such prompts tells them apart. Nothing of any scope is needed for it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...data import shipped_names, shipped_rows
from ...data.forms import ASIDE, ASKING, QUESTIONS, REVERSE
from .encoder import FactsEncoder
from .masking import frame
from .sentences import sentences

KNOWN_TEXTS = (
    "What is the capital of France?",
    "Write a short story about a boy who finds out that he is a wizard.",
    "Sphinx of black quartz, judge my vow: 0 1 2 3 4 5 6 7 8 9; naïve Ωμέγα 魔法?",
)
_ROLES = ("{first} in {work}", "the lead in {work}", "{work}")
_DEEDS = ("played {first} in {work}", "founded {work}", "won an award for {work}", "starred in {work}")
_DESCRIBED = (
    "In which year was the {who} known for {work} born?",
    "What did the {who} of {work} win?",
    "Which film features the {who} who played {first} in {work}?",
    "Where did the {who} from {work} grow up?",
    "What is the real name of the {who} behind {work}?",
    "The {who} known for {work} was born in ___.",
)
_WHO = ("actor", "actress", "singer", "author", "performer", "star", "artist", "writer", "player", "founder")
_SENTENCES = 80
ALIKE = 0.999  # cosine of the same text's vectors, by the same encoder on two machines
_SHRINKAGE = 1.0  # of the discriminant's covariance, in units of its mean variance


@dataclass(frozen=True)
class Background:
    """What is known of an encoder.

    Attributes:
        mean: (hidden,), the mean vector of texts on nothing in particular.
        likeness: (2,), mean and standard deviation of the cosine of two such texts.
        asking: (hidden + 1,), the discriminant's direction, and its offset; in standard deviations.
        known: (texts, hidden), the vectors of `KNOWN_TEXTS`, by which another encoder is noticed.
    """

    mean: NDArray[np.float32]
    likeness: NDArray[np.float32]
    asking: NDArray[np.float32]
    known: NDArray[np.float32]

    def alike(self, other: Background) -> bool:
        """Whether another encoder's background shows that it is the same encoder."""
        same = self.known.shape == other.known.shape
        return same and bool(((self.known * other.known).sum(-1) >= ALIKE).all())

    def asks(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """How far each frame, (frames, hidden), asks for somebody, (frames,); below 0 rather not."""
        return np.asarray(frames @ self.asking[:-1] - self.asking[-1], dtype=np.float32)

    def tensors(self) -> dict[str, Tensor]:
        """What is stored of it."""
        return {field.name: torch.from_numpy(getattr(self, field.name)) for field in fields(self)}


def measure(encoder: FactsEncoder) -> Background:
    """Has an encoder read the texts."""
    looking, passing = (list(map(frame, texts)) for texts in _examples())
    texts = [s for row in shipped_rows("general/paragraphs") for s in sentences(row["text"])]
    texts = texts[:: len(texts) // _SENTENCES]
    vectors = encoder.embed([*KNOWN_TEXTS, *texts, *looking, *passing])
    known, plain, looks, passes = vectors.split([len(KNOWN_TEXTS), len(texts), len(looking), len(passing)])
    alike = plain @ plain.T
    alike = alike[~torch.eye(len(plain), dtype=torch.bool)]
    return Background(
        plain.mean(0).numpy(),
        torch.stack([alike.mean(), alike.std()]).numpy(),
        _discriminant(looks, passes).numpy(),
        known.clone().numpy(),
    )


def _discriminant(yes: Tensor, no: Tensor) -> Tensor:
    """The direction that tells two sets of vectors apart, scaled to the standard deviation within them, and where
    their middle lies on it."""
    within = torch.cat([yes - yes.mean(0), no - no.mean(0)])
    covariance = within.T @ within / len(within)
    covariance += _SHRINKAGE * covariance.trace() / len(covariance) * torch.eye(len(covariance))
    direction = torch.linalg.solve(covariance, yes.mean(0) - no.mean(0))
    direction /= (within @ direction).std()
    middle = ((yes.mean(0) + no.mean(0)) / 2) @ direction
    return torch.cat([direction, middle.unsqueeze(0)])


def _examples() -> tuple[list[str], list[str]]:
    """Prompts that ask for somebody, and prompts that do not."""
    names, draw = shipped_names(), random.Random(0)

    def fill(form: str) -> str:
        values = {"work": draw.choice(names["works"]), "first": draw.choice(names["first"])}
        return form.format(**values)

    looking = [form.format(role=fill(draw.choice(_ROLES)), rest=fill(draw.choice(_DEEDS))) for form in
               (*REVERSE, *ASKING) for _ in range(2)]  # fmt: skip
    looking += [fill(form.replace("{who}", who)) for form in _DESCRIBED for who in _WHO[::2]]
    passing = [form.format(thing=draw.choice(names["works"]), name=draw.choice(names["first"])) for form in ASIDE
               for _ in range(2)]  # fmt: skip
    passing += [form.format(name=draw.choice(names["people"])) for form in QUESTIONS]
    return looking, passing
