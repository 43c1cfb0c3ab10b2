"""The audit trail: which prompts were flagged, and why, without the prompts.

A guard's `log` is a callable that is given an `AuditEvent` for each flagged prompt before the model answers it:
`model.eco_guard.log = JsonLinesLog("audit.jsonl")`. What is only looked at, by `inspect`, is not logged, nor are
prompts that pass or leave the guard uncertain. A log that fails has the request refused: nothing is answered
unrecorded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from ..errors import GuardError
from ..io.locking import locked
from .plan import ScoringProtocol
from .verdict import Verdict

_KEY_SIZES = range(16, 65)  # bytes


@dataclass(frozen=True)
class AuditEvent:
    """A flagged prompt that the model is about to answer, corrupted.

    Attributes:
        time: when it was judged, in UTC (ISO 8601).
        scope: the scope it falls in.
        channel: the detector that flagged it, "names" or "classifier"; None where the conversation was flagged before.
        probability: p(forget).
        threshold: the scope's.
        protocol: how an answer that is scored is corrupted, "strict" or "paper"; "strict" where none is scored.
        guard: the guard's fingerprint, `Guard.fingerprint`.
        base: the base model's: a hash of its config and weights. None where weights are offloaded, so that they cannot
            be read, and where a guard plans without a model.
        prompt: a keyed hash (BLAKE2b, 16 bytes, in hexadecimal) of the prompt as the guard reads it, `Verdict.text`.
    """

    time: str
    scope: str
    channel: str | None
    probability: float
    threshold: float
    protocol: ScoringProtocol
    guard: str
    base: str | None
    prompt: str


AuditLog = Callable[[AuditEvent], object]


def prompt_hash(text: str, key: bytes) -> str:
    """The keyed hash of a prompt, as an `AuditEvent` holds it.

    Args:
        text: the prompt as the guard reads it, `Verdict.text`.
        key: 16 to 64 bytes.
    """
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16, key=key).hexdigest()


class AuditTrail:
    """Where a guard's flagged prompts are logged.

    Args:
        log: is called with each event. If it has an attribute `key` (bytes), prompts are hashed by that; by a key that
            is made now, and lasts as long as the trail, if not.

    Raises:
        TypeError: `log` cannot be called.
    """

    def __init__(self, log: AuditLog) -> None:
        if not callable(log):
            raise TypeError(f"A guard's log is called with each AuditEvent, got {log!r}. Use e.g. JsonLinesLog(path).")
        self.log = log
        self._key: bytes = getattr(log, "key", None) or secrets.token_bytes(32)

    def record(self, verdicts: Sequence[Verdict], protocol: ScoringProtocol, guard: str, base: str | None) -> None:
        """Logs the flagged ones of `verdicts`.

        Raises:
            GuardError: the log failed.
        """
        for verdict in verdicts:
            if verdict.scope is None:
                continue
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            why = verdict.scope, verdict.channel, verdict.probability, verdict.threshold
            event = AuditEvent(now, *why, protocol, guard, base, prompt_hash(verdict.text, self._key))
            try:
                self.log(event)
            except Exception as error:
                raise GuardError(
                    f"A flagged prompt could not be logged ({type(error).__name__}: {error}), so it is not answered. "
                    "Mend the log, or set model.eco_guard.log = None."
                ) from error


class JsonLinesLog:
    """Appends each event to a file, as one line of JSON. Threads and processes of one machine may share the file: each
    locks it for the moment in which it writes (flock; not safe on network file systems). What could be written in part
    only is cut off again; behind what a process left that was killed while it wrote, a new line begins.

    Args:
        path: the file; created with the first event, for its owner's eyes alone.
        key: by which prompts are hashed, 16 to 64 bytes. None for the one in the file `<path>.key`, which is made at
            random if there is none, readable by its owner alone. Whoever has the key can tell whether a prompt that
            they have is in the log; keep it apart from logs that you hand on.

    Raises:
        ValueError: the key is of another length.
        FileNotFoundError: the log is there, and the file of its key has gone.
        OSError: the key's file can be neither read nor made.
    """

    def __init__(self, path: str | os.PathLike[str], key: bytes | None = None) -> None:
        self.path = Path(path).absolute()
        self.key = _key_beside(self.path) if key is None else key
        if len(self.key) not in _KEY_SIZES:
            raise ValueError(
                f"The key of an audit log has 16 to 64 bytes, got {len(self.key)}. Use e.g. secrets.token_bytes(32)."
            )

    def __call__(self, event: AuditEvent) -> None:
        line = (json.dumps(dataclasses.asdict(event), ensure_ascii=False) + "\n").encode()
        with locked(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600) as file:
            size = os.fstat(file).st_size
            if size and os.lseek(file, -1, os.SEEK_END) >= 0 and os.read(file, 1) != b"\n":
                line = b"\n" + line
            if (written := os.write(file, line)) < len(line):
                os.ftruncate(file, size)  # nobody has written behind it: the file is locked
                raise OSError(f"only {written} of {len(line)} bytes could be written to {str(self.path)!r}")

    def hash_of(self, text: str) -> str:
        """What the log says in place of a prompt, to look for it: `log.hash_of(model.inspect(prompt).text)`."""
        return prompt_hash(text, self.key)


def _key_beside(path: Path) -> bytes:
    """The key of the log at `path`. Of several processes that make one at the same time, one succeeds."""
    file = path.with_name(path.name + ".key")
    if not file.exists():
        if path.exists() and path.stat().st_size and not file.exists():  # another process may have made both meanwhile
            raise FileNotFoundError(
                f"The log {str(path)!r} is there, and {str(file)!r}, the key that its prompts were hashed by, is not. "
                "Put the key back, pass it as JsonLinesLog(path, key), or move the log away to begin a new one."
            )
        handle, made = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")  # readable by its owner alone
        try:
            with os.fdopen(handle, "w", encoding="ascii") as stream:
                stream.write(secrets.token_hex(32) + "\n")
            os.link(made, file)
        except FileExistsError:
            pass  # another process has made one meanwhile
        finally:
            os.unlink(made)
    try:
        return bytes.fromhex(file.read_text(encoding="ascii").strip())
    except ValueError as error:
        raise ValueError(
            f"{str(file)!r} holds no key in hexadecimal. Put the one back that was there, or move the log and the key "
            "away to begin a new one."
        ) from error
