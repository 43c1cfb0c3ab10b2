"""Names and documents on a command line: whom each scope is about."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from ..configuration import DEFAULT_ENCODER, NAME_CONTEXTS
from ..io import PromptSource, Request, read_requests
from ..io.name_files import check_one_name
from .application import Misuse
from .arguments import NameContext


def named_in(file: str) -> dict[str, Request]:
    """The requests in a file of names.

    Raises:
        ValueError: as `read_requests`; or a name is too short, or a context is none.
    """
    from ..detection.names.index import check_name

    requests = read_requests(file)
    for request in requests.values():
        if request.context and request.context not in NAME_CONTEXTS:
            known = ", ".join(NAME_CONTEXTS)
            raise ValueError(f"{request.where} has the context {request.context!r}, which is none. Use {known}.")
        for name in request.names:
            try:
                check_name(name)
            except ValueError as error:
                raise ValueError(f"{request.where}: {error}") from error
    return requests


def given_names(scope: str, names: Sequence[str]) -> Request:
    """The request of a scope whose names were given by --name. Raises ValueError if one may be several names."""
    for name in names:
        check_one_name(name, "--name")
    return Request(scope, tuple(names))


def contexts_of(requests: Mapping[str, Request], context: NameContext | None) -> dict[str, str]:
    """Whether a name is enough for each scope: by its own row, or else by --context."""
    of_all = "auto" if context is None else context.value
    return {scope: own.context or of_all for scope, own in requests.items()}


def documents_of(
    requests: Mapping[str, Request], file: PromptSource | None, encoder: str | None, guard: str | None = None
) -> dict[str, list[str]]:
    """The documents of each scope that has some. Says on standard error which encoder reads them, if it may have to be
    downloaded: asking the Hub can take a while.

    Args:
        requests: whom each scope is about.
        file: documents on whom the only one is about.
        encoder: what is to read them.
        guard: the stored guard that the scopes are added to; its own encoder is taken where it has one.

    Raises:
        ValueError: there are several scopes and `file`, or an encoder and no documents; `Misuse` where the command
            line alone says so.
    """
    wrong = ValueError if any(request.where for request in requests.values()) else Misuse
    if file is not None and len(requests) > 1:
        raise wrong(
            "--documents are about one scope, and there are several. Name each one's own in the column documents of a "
            "file of names, see --names."
        )
    given = [] if file is None else file.prompts()
    texts = {scope: [*own.texts(), *given] for scope, own in requests.items()}
    texts = {scope: own for scope, own in texts.items() if own}
    if encoder is not None and not texts:
        raise wrong("--encoder reads documents, and there are none. Leave it out, or give documents.")
    if texts and not (encoder is not None and os.path.isdir(encoder)) and (encoder or not _has_encoder(guard)):
        print(
            f"The documents are read by the text encoder {encoder or DEFAULT_ENCODER}, which is downloaded if it is "
            "not on this machine. Where the Hub is out of reach, pass --encoder DIRECTORY.",
            file=sys.stderr,
        )
    return texts


def _has_encoder(guard: str | None) -> bool:
    from ..checkpoint.source import find_guard

    return guard is not None and any(scope.by_facts for scope in find_guard(guard).eco.scopes)
