"""One encoder for all scopes that stand on the same one, so that it runs once."""

from __future__ import annotations

from collections.abc import Mapping

from .classifier import PromptClassifier
from .heads import ScopeHead


def share_encoders(classifiers: Mapping[str, tuple[PromptClassifier, str]]) -> dict[str, PromptClassifier]:
    """The classifiers with one object for all scopes whose encoder is the same, so that it runs once for all of them.

    Each scope keeps its own head, and a head's scores depend on nothing but the encoder and itself. Heads of no scope
    are left behind. Scopes whose heads bear the same label, but are not the same, keep encoders of their own.

    Args:
        classifiers: by scope, its classifier and label.
    """
    shared = {scope: classifier for scope, (classifier, _) in classifiers.items()}
    several = len({id(classifier) for classifier in shared.values()}) > 1
    # for each encoder, sets of heads that can stand on it together: the classifiers they come from, by scope
    encoders: dict[str, list[tuple[dict[str, ScopeHead], dict[str, PromptClassifier]]]] = {}
    for scope, (classifier, label) in classifiers.items():
        if classifier.heads is None:
            continue
        label = classifier.labels[classifier.label_index(label)]
        own = classifier.heads.heads[label]
        alike = encoders.setdefault(classifier.encoder_fingerprint if several else "", [])
        for heads, sources in alike:
            # labels are found whatever their case
            if all(head is own for other, head in heads.items() if other.lower() == label.lower()):
                heads[label] = own
                sources[scope] = classifier
                break
        else:
            alike.append(({label: own}, {scope: classifier}))
    for heads, sources in (group for alike in encoders.values() for group in alike):
        first = next(iter(sources.values()))
        if first.heads is not None and first.heads.heads != heads:
            first = first.with_heads(heads)
        shared.update(dict.fromkeys(sources, first))
    return shared
