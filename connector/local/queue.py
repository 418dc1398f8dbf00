"""The tokens that are enqueued: those of the batches that are not over, by account and model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Level:
    """Hold how full the queue of an account and a model is, and the integral of that up to `changed_at`."""

    first_at: float
    changed_at: float
    tokens: int = 0
    token_seconds: float = 0.0

    def change(self, tokens: int, now: float) -> None:
        self.token_seconds += self.tokens * (now - self.changed_at)
        self.changed_at = now
        self.tokens += tokens


class Queue:
    """Let batches in up to a limit, and measure how full the queue is; safe to use from several threads.

    It knows what this process has seen: a runner that goes on with batches lets them in again by `restore`.
    """

    def __init__(self, limit: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._levels: dict[tuple[str, str], _Level] = {}
        self._held: dict[str, tuple[_Level, int]] = {}

    def enter(self, batch_id: str, account: str, model: str, tokens: int) -> bool:
        """Let a batch in, or return False where there is no room for it; one that is in stays."""
        with self._lock:
            if batch_id in self._held:
                return True
            level = self._level(account, model)
            if self.limit is not None and level.tokens + tokens > self.limit:
                return False
            self._hold(batch_id, level, tokens)
            return True

    def restore(self, batch_id: str, account: str, model: str, tokens: int) -> None:
        """Let a batch in that was let in by an earlier process, whatever the limit is now."""
        with self._lock:
            self._hold(batch_id, self._level(account, model), tokens)

    def leave(self, batch_id: str) -> None:
        """Let go of a batch that is over; one that never was let in is none."""
        with self._lock:
            level, tokens = self._held.pop(batch_id, (None, 0))
            if level is not None:
                level.change(-tokens, self._clock())

    def show(self, account: str) -> dict[str, dict[str, float]]:
        """Tell of each model that an account has asked: the tokens enqueued now, their integral and its seconds."""
        with self._lock:
            now = self._clock()
            return {
                model: {
                    "enqueued_tokens": level.tokens,
                    "enqueued_token_seconds": level.token_seconds + level.tokens * (now - level.changed_at),
                    "seconds": now - level.first_at,
                }
                for (owner, model), level in self._levels.items()
                if owner == account
            }

    def _level(self, account: str, model: str) -> _Level:
        now = self._clock()
        return self._levels.setdefault((account, model), _Level(now, now))

    def _hold(self, batch_id: str, level: _Level, tokens: int) -> None:
        level.change(tokens, self._clock())
        self._held[batch_id] = (level, tokens)
