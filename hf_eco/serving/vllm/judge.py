"""Verdicts for a server: in a thread of their own, several prompts at once, each prompt judged once."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import torch

from ...checkpoint.following import GuardFollower
from ...errors import GuardError
from ...guard.guard import Guard
from ...guard.verdict import Verdict

_TOGETHER = 64  # prompts
_TOKENS_TOGETHER = 8192
_TOKENS_KEPT = 2**18  # of prompts whose verdicts are remembered


@dataclass(frozen=True)
class Judged:
    """A verdict and the guard that gave it."""

    verdict: Verdict
    guard: Guard


_LASTING = (Judged, GuardError, ValueError)  # what is said of a prompt; another error is the machine's, and may pass


class Judge:
    """Judges prompts by the guard in charge. Whoever asks may wait or not; nobody's event loop is held up.

    Args:
        guard: the guard in charge.
        took: is called with the seconds that some prompts took, and how many they were.
        check: raises for a guard that must not be put in charge.
    """

    def __init__(
        self,
        guard: Guard,
        took: Callable[[float, int], None] = lambda seconds, prompts: None,
        check: Callable[[Guard], None] = lambda guard: None,
    ) -> None:
        check(guard)
        self._guard = guard
        self._took = took
        self._check = check
        self._waiting: SimpleQueue[tuple[tuple[int, ...], Future[Judged]]] = SimpleQueue()
        self._known: OrderedDict[tuple[int, ...], Judged | Exception] = OrderedDict()
        self._known_tokens = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.follower: GuardFollower | None = None

    @property
    def guard(self) -> Guard:
        """The guard in charge."""
        return self._guard

    def put_in_charge(self, guard: Guard) -> None:
        """Judges by `guard` from now on; what the one before said is forgotten. Raises what `check` does."""
        self._check(guard)
        guard.log_like(self._guard)
        with self._lock:
            self._guard = guard
            self._known.clear()
            self._known_tokens = 0

    def follow(self, directory: str, every: float) -> None:
        """Follows the guard in a directory, which is looked at every so many seconds while requests come in. Errors as
        of `model.follow_guard`."""
        follower = GuardFollower(directory, every, self.put_in_charge, lambda: None)
        follower.start(self._guard)
        self.follower = follower

    def submit(self, ids: Sequence[int]) -> Future[Judged]:
        """The verdict on a prompt, once it is there."""
        key = tuple(ids)
        future: Future[Judged] = Future()
        with self._lock:
            if key in self._known and not self._is_due():
                self._known.move_to_end(key)
                _tell(future, self._known[key])
                return future
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="hf-eco-judge", daemon=True)
                self._thread.start()
        self._waiting.put((key, future))
        return future

    def judge(self, ids: Sequence[int]) -> Judged:
        """The verdict on a prompt. Raises what the guard raises."""
        return self.submit(ids).result()

    def _is_due(self) -> bool:
        return self.follower is not None and self.follower.is_due

    def _work(self) -> None:
        while True:
            batch = [self._waiting.get()]
            tokens = len(batch[0][0])
            while len(batch) < _TOGETHER and tokens < _TOKENS_TOGETHER:
                try:
                    batch.append(self._waiting.get_nowait())
                except Empty:
                    break
                tokens += len(batch[-1][0])
            if self.follower is not None:
                self.follower.look()
            self._judge_together(batch)

    def _judge_together(self, batch: Sequence[tuple[tuple[int, ...], Future[Judged]]]) -> None:
        with self._lock:
            guard = self._guard
            found = {key: self._known[key] for key, _ in batch if key in self._known}
        if prompts := list(dict.fromkeys(key for key, _ in batch if key not in found)):
            began = time.perf_counter()
            judged: Sequence[Judged | Exception]
            try:
                judged = self._decide(guard, prompts)
            except Exception:  # that of one prompt is not the others'
                judged = [self._decide_alone(guard, prompt) for prompt in prompts]
            self._took(time.perf_counter() - began, len(prompts))
            for prompt, one in zip(prompts, judged, strict=True):
                found[prompt] = one
                self._remember(guard, prompt, one)
        for key, future in batch:
            _tell(future, found[key])

    @staticmethod
    def _decide(guard: Guard, prompts: Sequence[tuple[int, ...]]) -> list[Judged]:
        with torch.inference_mode():
            return [Judged(verdict, guard) for verdict in guard.decide(prompts)]

    def _decide_alone(self, guard: Guard, prompt: tuple[int, ...]) -> Judged | Exception:
        try:
            return self._decide(guard, [prompt])[0]
        except Exception as error:
            return error

    def _remember(self, guard: Guard, key: tuple[int, ...], judged: Judged | Exception) -> None:
        with self._lock:
            if guard is not self._guard or key in self._known:
                return
            if not isinstance(judged, _LASTING):
                return
            self._known[key] = judged
            self._known_tokens += len(key)
            while self._known_tokens > _TOKENS_KEPT:
                gone, _ = self._known.popitem(last=False)
                self._known_tokens -= len(gone)


def _tell(future: Future[Judged], judged: Judged | Exception) -> None:
    if not future.set_running_or_notify_cancel():  # the client has gone
        return
    if isinstance(judged, Exception):
        future.set_exception(judged.with_traceback(None))  # one that is remembered grows by each that raised it
    else:
        future.set_result(judged)
